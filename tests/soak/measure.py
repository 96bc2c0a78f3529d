"""What a process holds while it rests between two rounds, and whether that grows."""

import os
import re
import statistics
from dataclasses import dataclass
from pathlib import Path

COUNTED = ("heap", "descriptors", "mappings", "threads")
PAGES = ("private_kib", "rss_kib")


@dataclass
class Mark:
    operations: int
    heap: int  # bytes in use by malloc; of hosts in C only
    descriptors: int
    mappings: int
    threads: int
    private_kib: int  # private dirty pages
    rss_kib: int


def mark(pid, operations, heap):
    process = Path(f"/proc/{pid}")
    rollup = dict(re.findall(r"^(\w+): +(\d+) kB", (process / "smaps_rollup").read_text(), re.MULTILINE))
    return Mark(operations, heap, len(os.listdir(process / "fd")), (process / "maps").read_text().count("\n"),
                len(os.listdir(process / "task")), int(rollup["Private_Dirty"]), int(rollup["Rss"]))


def growth(marks, name):
    """From the middle of the first half to the middle of the second."""
    half = len(marks) // 2
    first, second = ([getattr(each, name) for each in part] for part in (marks[:half], marks[half:]))
    return statistics.median(second) - statistics.median(first)


def per_10_000(marks, kib):
    """KiB for each 10,000 operations between the middles of the halves."""
    return kib * 10000 / growth(marks, "operations")
