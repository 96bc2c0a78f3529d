"""The hazard matrix: every hook at every place, without the shim, with it, and with it before a healthy server.

Each cell either recovers, or does what it does without the shim; which of the two is said here, so that a cell that stops
recovering is seen. Never a crash, a hang, a descriptor more or less, a byte that is not the program's, a request twice.
"""

import pytest
from harness import SHIM, built, run as run_program
from matrix_cells import CONNECTS, CURL, HOOKS, Cell, Ports, run

PLACES = ["main", "constructor", "destructor", "exit", "thread", "cancelled", "cancelled-before", "handler", "fork", "vfork",
          "spawn", "unplugged", "stack", "descriptors", "descriptors-threads", "memory", "mappings", "tight", "sandbox",
          "killing-sandbox", "denied", "chroot", "closed", "bare"]

# What a cell comes to.
RECOVERS = "recovers"
SAME = "same"    # the failure is seen at once; a healthy server is reached
HELPLESS = "helpless"  # the same, with a healthy server too
LAST = "last"    # the same in the end, after attempts that fail alike

# All others recover. The reasons are why nothing better is promised.
EXPECTED = {
    "cancelled-before": {  # connect(2) and the waits are where a pending cancellation acts
        **dict.fromkeys([*CONNECTS, *CURL], HELPLESS),
        "getaddrinfo": HELPLESS,  # POSIX lets it be such a point; its backoff is one
    },
    "descriptors": {
        "epoll-before": SAME,  # the set's registrations are in /proc, where nothing can be opened
        "dlopen": HELPLESS, **dict.fromkeys(CURL, LAST),  # they need a descriptor themselves
    },
    "descriptors-threads": {
        # Another thread may make the descriptor another's while we work on it: a duplicate pins the socket, or nothing does.
        **dict.fromkeys(set(CONNECTS) - {"connect"}, SAME),
        "dlopen": HELPLESS, **dict.fromkeys(CURL, LAST),
    },
    "memory": {"dlopen": HELPLESS, "getaddrinfo": LAST, **dict.fromkeys(CURL, HELPLESS)},  # they need memory themselves
    "mappings": {"dlopen": HELPLESS, CURL[3]: HELPLESS},  # as above
    "sandbox": {
        "connect": SAME,  # a program that does not sleep: no sleep is allowed
        "select": SAME, "pselect": SAME,  # select does not tell failure from readiness, and poll is not allowed
        "epoll-before": SAME,
    },
    "denied": {"epoll-before": SAME, "dlopen": HELPLESS},  # openat
    "chroot": {"epoll-before": SAME},  # no /proc
}

# Cells that are not run, and why.
EXCLUDED = {
    ("sandbox", "dlopen"): "its own calls are nearly all that there are; `denied` has it",
    **{(place, hook): "libcurl's own calls are nearly all that there are; `denied` has it"
       for place in ("sandbox", "killing-sandbox") for hook in CURL},
    ("killing-sandbox", "dlopen"): "as above",
    ("cancelled", "dlopen"): "it does not back off; `cancelled-before` has it",
}

# Bytes of stack, above what the call takes without us: on a healthy way, with a failure, with diagnostics of it.
# The registrations of an epoll set, read from /proc, take more; so does a look into the file that dlopen is given.
STACK = {"healthy": 1536, "failing": 4608, "telling": 8192}
STACK_OF = {"epoll-before": {"failing": 7168}, "dlopen": {"healthy": 3072, "failing": 3072}}

# Bytes of address space, above what the program takes without us: what the object maps (10 MiB), and one for luck.
SPACE = 11 << 20


def hooks_at(place):
    return [hook for hook in HOOKS if (place, hook) not in EXCLUDED]


def expected(place, hook):
    return EXPECTED.get(place, {}).get(hook, RECOVERS)


def options(place, hook, **more):
    """Few attempts where they end in vain; a name service that works where it is memory that lacks."""
    if expected(place, hook) == LAST:
        more = {"max_attempts": 3, **more, "env": {"RESOLVER_FAILURES": 0, **more.get("env", {})}}
    return more


def outcomes(place, late=False, env=lambda hook: {}, hooks=None, **more):
    """A cell a hook, run side by side. env: the environment that a hook's cell needs."""
    hooks = hooks_at(place) if hooks is None else hooks
    with Ports(hooks) as ports:
        cells = [Cell(place, hook, ports, **options(place, hook, env=env(hook), **more)) for hook in hooks]
        return dict(zip(hooks, run(cells, late)))


def plainly(lines):
    """Without what is measured, not compared."""
    return [line for line in lines if not line.startswith(("touched=", "peak_kb="))]


def recovered(lines, hook):
    """What a host says whose failure has been mended."""
    failure = {"getaddrinfo": "EAI_AGAIN", "dlopen": "its own names", **dict.fromkeys(CURL, "Couldn't connect to server")}
    return [line.replace(f"outcome={failure.get(hook, 'ECONNREFUSED')}", "outcome=ok") for line in plainly(lines)]


def delivered_once(cell, times=1):
    if cell.hook in ("getaddrinfo", "dlopen"):
        return cell.got == []
    if cell.hook in CURL:
        return len(cell.got) == times and all(got.startswith(b"GET / HTTP/1.1\r\n") and got.count(b"\r\n\r\n") == 1 and
                                              got.endswith(b"\r\n\r\n.") for got in cell.got)
    return cell.got == [b"r."] * times


def events_are_well(cell, verdict):
    if cell.place in Cell.SILENT:
        return True
    if cell.settings.get("diag") == 0 or cell.hook == "dlopen":
        return cell.events == []
    if verdict == RECOVERS:
        return (cell.events[0], cell.events[-1]) == ("attempt_failed", "succeeded")
    return verdict == LAST or set(cell.events) <= {"not_retryable"} or cell.place == "cancelled-before"


def complaint(plain, cell, verdict):
    """None if the cell is as it must be, else what is wrong."""
    if cell.status != plain.status:
        return f"status {cell.status}, not {plain.status}"
    if cell.noise != plain.noise:
        return f"stray bytes {cell.noise}"
    if verdict == RECOVERS:
        lines = recovered(plain.told, cell.hook)
        if lines == plainly(plain.told):
            return f"nothing to recover from: {plain.told}"
    else:
        lines = plainly(plain.told)
        if cell.place == "cancelled-before" and cell.hook == "getaddrinfo":
            lines = [line.replace("outcome=EAI_AGAIN", "outcome=") for line in lines]
    if plainly(cell.told) != lines:
        return f"said {cell.told}, not {lines}"
    if verdict == RECOVERS and not delivered_once(cell):
        return f"the server got {cell.got}"
    if verdict != RECOVERS and cell.got:
        return f"the server got {cell.got}, and the program failed"
    return None if events_are_well(cell, verdict) else f"told {cell.events}"


def healthy_complaint(plain, cell, verdict):
    if cell.status != plain.status or cell.noise != plain.noise:
        return f"status {cell.status}, stray bytes {cell.noise}"
    if plainly(cell.told) != recovered(plain.told, cell.hook):
        return f"said {cell.told}"
    if not delivered_once(cell, times=2 if cell.place == "cancelled" else 1):
        return f"the server got {cell.got}"
    return f"told {cell.events}" if cell.events else None


def check(plain, cells, judge):
    wrong = {}
    for hook, cell in cells.items():
        verdict = expected(cell.place, hook)
        found = judge(plain[hook], cell, verdict)
        if found:
            wrong[f"{cell.place} x {hook} ({verdict})"] = found
    assert not wrong, "\n".join(f"{name}: {found}" for name, found in wrong.items())


def check_healthy(plain, cells):
    within_reach = {hook: cell for hook, cell in cells.items() if expected(cell.place, hook) in (RECOVERS, SAME)}
    check(plain, within_reach, healthy_complaint)


def measured(cells, name):
    lines = {hook: next(line for line in cell.told if line.startswith(name)) for hook, cell in cells.items()}
    return {hook: int(line.partition("=")[2]) for hook, line in lines.items()}


SPECIAL = ("stack", "tight", "killing-sandbox", "bare")


@pytest.mark.parametrize("place", [place for place in PLACES if place not in SPECIAL])
def test_place(place):
    plain = outcomes(place, shim=False)
    check(plain, outcomes(place, late=True), complaint)
    check_healthy(plain, outcomes(place, healthy=True))


def test_bare_environment():
    """`env -i`: the defaults hold. Their jitter may bring all attempts before a busy test has opened the port, hence the
    turns."""
    plain = outcomes("bare", shim=False)
    cells = outcomes("bare", late=True)
    for _ in range(2):
        early = [hook for hook in cells if complaint(plain[hook], cells[hook], RECOVERS)]
        cells.update(outcomes("bare", late=True, hooks=early))
    check(plain, cells, complaint)
    check_healthy(plain, outcomes("bare", healthy=True))


def test_stack_ends_behind_the_call():
    """As much is left as the call takes without us, and what we say that we need."""
    plain = outcomes("stack", shim=False)
    healthy = outcomes("stack", shim=False, healthy=True)
    taken, taken_healthy = measured(plain, "touched"), measured(healthy, "touched")

    def leaving(kind, taken):
        return lambda hook: {"MATRIX_LEFT": taken[hook] + STACK_OF.get(hook, {}).get(kind, STACK[kind])}

    check_healthy(plain, outcomes("stack", healthy=True, env=leaving("healthy", taken_healthy)))
    check(plain, outcomes("stack", late=True, env=leaving("telling", taken)), complaint)
    check(plain, outcomes("stack", late=True, env=leaving("failing", taken), diag=0), complaint)


def test_tight_address_space():
    peak = measured(outcomes("peak", shim=False), "peak_kb")

    def within(more):
        return lambda hook: {"MATRIX_SPACE": peak[hook] * 1024 + more}

    plain = outcomes("tight", shim=False, env=within(64 << 10))
    check(plain, outcomes("tight", late=True, env=within(SPACE)), complaint)
    check_healthy(plain, outcomes("tight", healthy=True, env=within(SPACE)))


def test_killing_sandbox():
    """What is not on its list ends the process: a healthy blocking connect adds nothing to what the program calls, other
    ways and failures do. Denied rather than killed for, they are done without (`sandbox`)."""
    plain = outcomes("killing-sandbox", shim=False)
    healthy = outcomes("killing-sandbox", healthy=True)
    check(plain, {"connect": healthy["connect"]}, healthy_complaint)
    check_healthy(plain, outcomes("killing-sandbox", healthy=True, env=lambda hook: {"MATRIX_ALLOWED": "healthy"}))
    check(plain, outcomes("killing-sandbox", late=True, env=lambda hook: {"MATRIX_ALLOWED": "recovering"}), complaint)


def test_table_is_about_cells_that_there_are():
    for place, cells in EXPECTED.items():
        assert place in PLACES and set(cells) <= set(HOOKS)
    for place, hook in EXCLUDED:
        assert place in PLACES and hook in HOOKS and hook not in EXPECTED.get(place, {})


# Exported names that no row is named after, and the rows that call them.
CALLED_BY = {
    CURL[0]: ["curl_easy_init", "curl_easy_setopt", "curl_easy_cleanup"],
    CURL[1]: ["curl_multi_init", "curl_multi_add_handle", "curl_multi_perform", "curl_multi_info_read",
              "curl_multi_remove_handle", "curl_multi_cleanup"],
    CURL[3]: ["curl_multi_setopt"],
}
# They do not meet failures; what they do is in tests/programs/test_curl_*.py and test_multi_*.py.
APART = ["curl_easy_duphandle", "curl_easy_getinfo", "curl_easy_pause", "curl_easy_reset", "curl_mime_data_cb",
         "curl_mime_filedata", "curl_multi_socket", "curl_multi_socket_all", "curl_multi_timeout", "libretryshim_version"]


def test_every_exported_function_is_in_the_table():
    listing = run_program(["nm", "-D", "--defined-only", built(SHIM)], shim=False).stdout.decode().split("\n")
    exported = {line.split()[2].partition("@")[0] for line in listing if " T " in line or " W " in line}
    called = {name for names in CALLED_BY.values() for name in names}
    assert "connect" in exported and exported - called - set(APART) <= set(HOOKS)
