"""For gdb: goes an instruction at a time through our entries of the waits, and asks at each for the frames.

    gdb -ex 'python WAITS = ["poll", ...]' -x stepped.py --args PROGRAM ...

The program calls the waits one by one, and then all of them again: that time something becomes pending meanwhile.
Says `NAME COUNT plain` or `NAME COUNT late` of each call: how many instructions, all with the same caller.
"""

import gdb


def names():
    frame, found = gdb.newest_frame(), []
    while frame:
        found.append(frame.name() or "??")
        frame = frame.older()
    return found


def caller():
    """Where the entry was called from, and the stack pointer that it gives back."""
    frame = gdb.newest_frame().older()
    return frame.pc(), int(frame.read_register("rsp"))


def where():
    return gdb.execute("info symbol $pc", to_string=True)


def go_through(name, late):
    """From the entry's first instruction to its last."""
    stop = gdb.Breakpoint(name)
    gdb.execute("continue")
    assert where().startswith(f"{name} in section .text of ") and "libretryshim" in where(), where()
    stop.delete()  # the C library's has that name too
    expected, frames, steps = caller(), names(), 0
    assert frames[:2] == [name, "wait_by"] and frames[-1] == "main", frames
    while "libretryshim" in where():
        assert (names(), caller()) == (frames, expected), (where(), names(), frames)
        called = "call " in gdb.execute("x/i $pc", to_string=True)
        gdb.execute("nexti", to_string=True)
        if called and late:
            gdb.execute("set var *(int *)&pending_count = !*(int *)&pending_count")
        steps += 1
    assert names() == frames[1:] and gdb.newest_frame().pc() == expected[0], names()
    print(name, steps, "late" if late else "plain")


gdb.execute("break main")
gdb.execute("run")
for late in (False, True):
    for name in WAITS:  # noqa: F821: given on the command line
        go_through(name, late)
gdb.execute("delete")
gdb.execute("continue")
