"""What a process that the preload lies in has more of: pages, and what the objects are."""

import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

import measure
from measure import environment, number, row, shim, table
from peers import all_peers

TIMES = 7
WAITING = {
    "a program that does nothing": lambda folder: [folder / "nothing", "wait"],
    "python3": lambda folder: ["/usr/bin/python3", "-c", "import socket, sys; print('.', flush=True); sys.stdin.read()"],
}


def resident(argv, preload, **more):
    """KiB of a process that waits: (resident, private and dirty)."""
    process = subprocess.Popen(list(map(str, argv)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               env=environment(preload, **more))
    try:
        process.stdout.read(1)  # it has started
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        return tuple(int(re.search(rf"^{name}: +(\d+) kB", rollup, re.MULTILINE)[1]) for name in ("Rss", "Private_Dirty"))
    finally:
        process.communicate()


def pages(folder, preloads):
    table("memory of a process", "without", *preloads)
    for title, argv in WAITING.items():
        base, *theirs = ([statistics.median(values) for values in zip(*(resident(argv(folder), path, **variables) for _ in range(TIMES)))]
                         for path, variables in [(None, {}), *preloads.values()])
        for column, name in enumerate(("resident", "private and dirty")):
            row(f"{title}: {name}, KiB", number(base[column]), *(f"{each[column] - base[column]:+,.0f}" for each in theirs))


def objects(preloads):
    table("object", *preloads)
    sizes = [list(map(int, subprocess.run(["size", os.path.realpath(path)], check=True, capture_output=True, text=True).stdout
                      .splitlines()[1].split()[:3])) for path, _ in preloads.values()]
    for column, name in enumerate(("code and constants", "data", "zeroed data, touched when used")):
        row(f"{name}, bytes", *(number(each[column]) for each in sizes))


def run():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure.compile_hosts(folder, "nothing")
        preloads = {"retryshim": (shim(), {}), "an empty object": (measure.empty_object(folder), {})}
        preloads.update({peer.name: (peer.path, peer.variables) for peer in all_peers(folder)})
        pages(folder, preloads)
        objects(preloads)
