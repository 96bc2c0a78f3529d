"""How it is measured: programs under valgrind and strace, whose counts repeat exactly, with one preload or none; and tables."""

import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path("build")  # run sets it
CC = os.environ.get("CC", "cc")


def shim():
    return str(BUILD / "libretryshim.so")


def environment(preload, **more):
    """No RETRY_ variables: what a healthy process meets. Preloads do not reach valgrind or strace itself."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RETRY_", "LD_"))}
    return {**clean, **({"LD_PRELOAD": preload} if preload else {}), **more}


def compile_hosts(folder, *names):
    """The programs of this folder by name, in `folder`."""
    for name in names:
        libraries = ["-lcurl"] if name in ("setopt", "perform", "multi") else []
        subprocess.run([CC, "-O2", "-o", Path(folder, name), HERE / f"{name}.c", *libraries], check=True)


def empty_object(folder):
    source = Path(folder, "empty.c")
    source.write_text("")
    subprocess.run([CC, "-shared", "-fPIC", "-o", Path(folder, "empty.so"), source], check=True)
    return str(Path(folder, "empty.so"))


def instructions(argv, preload, **more):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *map(str, argv)]
    told = subprocess.run(command, env=environment(preload, **more), check=True, capture_output=True, text=True).stderr
    return int(re.search(r"Collected : (\d+)", told).group(1))


def system_calls(argv, preload, **more):
    with tempfile.NamedTemporaryFile() as log:
        settings = [part for key, value in {"LD_PRELOAD": preload, **more}.items() if value for part in ("-E", f"{key}={value}")]
        # The libcurl flavours differ in how often they wait; only what is asked of the kernel counts.
        command = ["strace", "-f", "-c", "-U", "calls,name", "-o", log.name, *settings, *map(str, argv)]
        subprocess.run(command, env=environment(None), check=True, stderr=subprocess.DEVNULL)
        return sum(int(line.split()[0]) for line in Path(log.name).read_text().splitlines()
                   if re.match(r"\s*\d+ (?!total)\w+$", line))


def allocations(argv, preload, **more):
    command = ["valgrind", "--tool=memcheck", *map(str, argv)]
    told = subprocess.run(command, env=environment(preload, **more), check=True, capture_output=True, text=True).stderr
    return int(re.search(r"total heap usage: ([\d,]+) allocs", told).group(1).replace(",", ""))


def slope(measure, argv, preload, short, long, **more):
    """Cost of one more operation, so that start-up falls out; N stands in argv for their number."""
    few, many = ([count if part == "N" else part for part in argv] for count in (short, long))
    return (measure(many, preload, **more) - measure(few, preload, **more)) / (long - short)


def table(*header):
    """Starts a Markdown table; rows come by row()."""
    print(f"\n| {' | '.join(header)} |")
    print(f"| {' | '.join('---' for _ in header)} |", flush=True)


def row(*cells):
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def number(value):
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:,.1f}"


def difference(base, value):
    return f"{value - base:+,.0f}" if abs(value - base) >= 0.5 else "0"


def spread(values, unit="s"):
    """Median, smallest and largest."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.1f} {unit}" if round(low, 1) == round(high, 1) else f"{middle:.1f} {unit} ({low:.1f} to {high:.1f})"


def say(*words):
    print(*words, file=sys.stderr, flush=True)
