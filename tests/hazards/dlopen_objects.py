"""The objects that test_dlopen.py and test_dlopen_files.py open, and the host that opens them (dlopens.c).

    folder()/dlopens                      RUNPATH $ORIGIN/caller:$ORIGIN/beside
    folder()/caller/libdlopen_caller.so   RUNPATH $ORIGIN/own
"""

import functools
import subprocess

import hosts
import pytest
from harness import need, run

LIBCURL = "libcurl.so.4"
CODE_FLAGS = ["-shared", "-fPIC"]


@functools.cache
def folder():
    place = hosts.folder() / "dlopens"
    for name in ("caller/own", "beside", "stubs"):
        (place / name).mkdir(parents=True)
    return place


@functools.cache
def plugin(name, *flags, source="dlopen_plugin"):
    """Path of folder()/NAME, a shared object."""
    return hosts.compiled(source, *CODE_FLAGS, *flags, output=folder() / name)


@functools.cache
def empty(soname, *flags):
    """An object without content, of which only the name counts."""
    path = folder() / "stubs" / soname
    made = subprocess.run([need("cc"), *CODE_FLAGS, "-nostdlib", "-x", "c", "/dev/null", f"-Wl,-soname,{soname}",
                           "-o", path, *flags], capture_output=True, text=True)
    return str(path) if made.returncode == 0 else pytest.fail(made.stderr, pytrace=False)


def needs(*sonames, folder_of="stubs"):
    """Linker flags that make an object list these as DT_NEEDED."""
    return ["-Wl,--no-as-needed", *map(empty, sonames), f"-Wl,-rpath,{folder()}/{folder_of}", "-Wl,--as-needed"]


@functools.cache
def host(name="dlopens", *flags):
    caller = plugin("caller/libdlopen_caller.so", "-Wl,-rpath,$ORIGIN/own", source="dlopen_caller")
    return hosts.compiled("dlopens", *flags, "-rdynamic", caller, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/caller:$ORIGIN/beside",
                          output=folder() / name)


def outcome(words, program=None, **options):
    """How the host ended, all that it said, and what the shim told."""
    result = run([program or host(), *words.format(folder=folder()).split()], timeout=60, **options)
    return result.returncode, result.stdout.decode(), result.stderr.decode(), result.diag


def answers(told):
    """A line a word of the host, without what only the comparison is about."""
    lines = [line.partition(" errno=")[0] for line in told[1].splitlines()]
    return [line for line in lines if not line.startswith("descriptors_changed=")]


def same(words, program=None, **options):
    """Asserts that the host does the same without the shim and with it; returns its answers."""
    plain = outcome(words, program, shim=False)
    assert outcome(words, program, **options) == plain
    assert plain[0] == 0 and plain[2] == "" and "descriptors_changed=1" not in plain[1], plain
    return answers(plain)
