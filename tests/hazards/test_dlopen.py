"""dlopen() for all who do not load libcurl's callers is what it was: whose RUNPATH counts, the words of
dlerror(), scopes, namespaces, constructors, threads. Files that are no objects: test_dlopen_files.py."""

import re

import pytest
from dlopen_objects import LIBCURL, answers, empty, folder, host, needs, outcome, plugin, same
from harness import SHIM, built, run

OWN, PROGRAMS = 2, 1  # what a plugin gets for the name that the program has too: by RTLD_DEEPBIND, and else


@pytest.fixture(autouse=True, scope="module")
def objects():
    plugin("plain.so")
    plugin("libcurl-like.so")
    plugin("beside/beside.so")
    plugin("beside/which.so")
    plugin("caller/own/own.so")
    plugin("caller/own/which.so")
    plugin("lacks.so", "-DLACKS")
    plugin("orphan.so", "-Wl,--no-as-needed", empty("libgone.so.1"), "-Wl,--as-needed")
    plugin("needs.so", *needs(LIBCURL))
    plugin("transitive.so", "-Wl,--no-as-needed", plugin("middle.so", *needs(LIBCURL), source="dlopen_caller"), "-Wl,--as-needed",
           "-Wl,-rpath,$ORIGIN")
    plugin("nested.so", f'-DNESTS="{folder()}/plain.so"')
    plugin("nests-curl.so", f'-DNESTS="{folder()}/needs.so"')
    plugin("traces.so", "-DTRACES")
    plugin("traces-curl.so", "-DTRACES", *needs(LIBCURL))
    plugin("leaves.so", "-DLEAVES")
    plugin("leaves-curl.so", "-DLEAVES", *needs(LIBCURL))


CANNOT = "cannot open shared object file: No such file or directory"
ORPHAN = f"libgone.so.1: {CANNOT}"
LACKING = "{folder}/lacks.so: undefined symbol: missing_function"

# Words for the host, and its answers without us; each is asked with us, too.
SAME = {
    # the caller's RUNPATH and $ORIGIN
    "bare name": ("open n beside.so asks", ["open=ok", "asks=1"]),
    "bare name, deepbind": ("open nd beside.so asks", ["open=ok", "asks=2"]),
    "bare name of the library's": ("open n own.so", [f"open=own.so: {CANNOT}"]),
    "library, bare name": ("library n own.so", ["library=ok"]),
    "library, deepbind": ("library nd own.so", ["library=ok"]),
    "library, bare name of the program's": ("library n beside.so", [f"library=beside.so: {CANNOT}"]),
    "library, the same name": (
        "library n which.so open nL {folder}/caller/own/which.so open nL {folder}/beside/which.so",
        ["library=ok", "open=ok", "open=none"]),
    "program, the same name": (
        "open nd which.so open nL {folder}/caller/own/which.so open nL {folder}/beside/which.so",
        ["open=ok", "open=none", "open=ok"]),
    "$ORIGIN": ("open nd $ORIGIN/plain.so asks", ["open=ok", "asks=2"]),
    "library's $ORIGIN": ("library nd $ORIGIN/own/own.so", ["library=ok"]),
    "not the library's $ORIGIN": ("library n $ORIGIN/plain.so", [f"library=$ORIGIN/plain.so: {CANNOT}"]),
    # whose name it is
    "the program": ("open n NULL asks local contested", ["open=ok", "asks=-1", "local=found"]),
    "the program, deepbind": ("open nd NULL local contested", ["open=ok", "local=found"]),
    "relative path": ("open nd ../../{folder}/plain.so asks", ["open=ok", "asks=2"]),
    # flags
    "already loaded": ("open nL libc.so.6 open n {folder}/plain.so open lL {folder}/plain.so asks",
                       ["open=ok"] * 3 + ["asks=1"]),
    "not loaded": ("open nL {folder}/plain.so open lL nowhere.so error", ["open=none", f"open=nowhere.so: {CANNOT}", "error=none"]),
    "lazy": ("open l {folder}/lacks.so asks", ["open=ok", "asks=1"]),
    "lazy, deepbind": ("open ld {folder}/lacks.so asks", ["open=ok", "asks=2"]),
    "now": ("open n {folder}/lacks.so error", [f"open={LACKING}", "error=none"]),
    "now, deepbind": ("open nd {folder}/lacks.so", [f"open={LACKING}"]),
    "local": ("open n {folder}/plain.so global asks", ["open=ok", "global=none"]),
    "global": ("open ng {folder}/plain.so global asks", ["open=ok", "global=found"]),
    "global later": ("open n {folder}/plain.so open ngL {folder}/plain.so global asks", ["open=ok", "open=ok", "global=found"]),
    "closed": ("open nd {folder}/plain.so close open nL {folder}/plain.so", ["open=ok", "close=0", "open=none"]),
    "kept": ("open nkd {folder}/plain.so close open nL {folder}/plain.so", ["open=ok", "close=0", "open=ok"]),
    "deepbind": ("open nd {folder}/plain.so asks", ["open=ok", "asks=2"]),
    "deepbind, global": ("open ngd {folder}/plain.so asks global asks", ["open=ok", "asks=2", "global=found"]),
    "no flag": ("open - {folder}/plain.so", ["open={folder}/plain.so: invalid mode for dlopen(): Invalid argument"]),
    "deepbind alone": ("open d {folder}/needs.so", ["open={folder}/needs.so: invalid mode for dlopen(): Invalid argument"]),
    "unknown flag": ("open nxd {folder}/needs.so", ["open=invalid mode parameter"]),
    # errors, and what is left of an earlier one
    "missing": ("open nd {folder}/no.so error", ["open={folder}/no.so: " + CANNOT, "error=none"]),
    "missing, bare": ("open n no.so", [f"open=no.so: {CANNOT}"]),
    "dependency missing": ("open nd {folder}/orphan.so", [f"open={ORPHAN}"]),
    "earlier error": ("open n {folder}/plain.so local nothing open nd {folder}/plain.so error",
                      ["open=ok", "local=none", "open=ok", "error=none"]),
    # who needs libcurl is asked of the file itself
    "like libcurl by name": ("open nd {folder}/libcurl-like.so asks", ["open=ok", "asks=2"]),
    "needs libcurl by another": ("open nd {folder}/transitive.so asks", ["open=ok", "asks=2"]),
    "needs libcurl, no deepbind": ("open n {folder}/needs.so asks", ["open=ok", "asks=1"]),
    # callers
    "by pointer": ("pointer nd {folder}/plain.so asks", ["pointer=ok", "symbol=dlopen", "asks=2"]),
    "by pointer, bare name": ("pointer n beside.so asks", ["pointer=ok", "symbol=dlopen", "asks=1"]),
    "own namespace": ("space nd {folder}/plain.so open nL {folder}/plain.so", ["space=ok", "open=none"]),
    "own namespace, bare name": ("space n own.so space n beside.so", ["space=ok", f"space=beside.so: {CANNOT}"]),
    "own namespace, needs libcurl": ("space nd {folder}/needs.so", ["space=ok"]),
    "constructor": ("open nd {folder}/nested.so asks", ["nested=2", "open=ok", "asks=2"]),
    "threads": ("threads 16 2 {folder}/plain.so", ["threads=800"]),
    "thread ended by a constructor": ("leave {folder}/leaves.so", ["unwound=yes", "leave=joined"]),
    "thread ended, needs libcurl": ("leave {folder}/leaves-curl.so", ["unwound=yes", "leave=joined"]),
}


BUILDS = {
    "from before glibc 2.34": ["-DOLD_SYMBOL"],
    "control-flow protection": ["-fcf-protection=full"],
    "optimised": ["-O3"],
}
CALLS = ["bare name", "bare name, deepbind", "library, deepbind", "not the library's $ORIGIN", "now, deepbind", "deepbind",
         "by pointer", "own namespace", "constructor", "thread ended, needs libcurl"]


@pytest.mark.parametrize("name", SAME)
def test_same(name):
    words, expected = SAME[name]
    assert same(words) == [line.format(folder=folder()) for line in expected]


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("name", CALLS)
def test_same_for_other_builds(name, build):
    words, expected = SAME[name]
    program = host(f"dlopens-{build.replace(' ', '-')}", *BUILDS[build])
    assert same(words, program) == [line.format(folder=folder()) for line in expected]


def test_the_old_symbol_is_referred_to():
    listing = run(["readelf", "-sW", "--dyn-syms", host("dlopens-from-before-glibc-2.34", "-DOLD_SYMBOL")], shim=False).stdout
    assert re.search(rb"UND dlopen@GLIBC_2\.2\.5 ", listing)


@pytest.mark.parametrize("name", ["traces.so", "traces-curl.so"])
def test_stack(name):
    """No frame of ours is on it, whether a flag is cleared or not, and it is aligned."""
    told = same(f"open nd {{folder}}/{name}")
    frames = [line.removeprefix("frame=") for line in told if line.startswith("frame=")]
    assert frames[0] == f"/{name}" and frames[-1] == "/dlopens"
    assert told[:2] == ["numbers=1.500 2.250", "misaligned=0"] and told[-1] == "open=ok"


# ---- where the flag is cleared --------------------------------------------------------------------


def test_only_the_outer_or_inner_of_two():
    """A constructor's own dlopen is judged by itself."""
    words = "open n {folder}/nests-curl.so asks"
    assert answers(outcome(words, shim=False)) == ["nested=2", "open=ok", "asks=1"]
    assert answers(outcome(words)) == ["nested=1", "open=ok", "asks=1"]


SETTINGS = [
    ("needs.so", {}, PROGRAMS), ("needs.so", {"deepbind": "auto"}, PROGRAMS), ("needs.so", {"deepbind": "drop"}, PROGRAMS),
    ("needs.so", {"deepbind": "keep"}, OWN), ("needs.so", {"curl": 0}, OWN), ("needs.so", {"enabled": 0}, OWN),
    ("needs.so", {"enabled": 0, "deepbind": "drop"}, OWN), ("needs.so", {"skip_programs": "dlopens"}, OWN),
    ("needs.so", {"programs": "others"}, OWN), ("needs.so", {"programs": "dlopens"}, PROGRAMS),
    ("transitive.so", {}, OWN), ("transitive.so", {"deepbind": "drop"}, PROGRAMS), ("transitive.so", {"deepbind": "keep"}, OWN),
    ("plain.so", {}, OWN), ("plain.so", {"deepbind": "drop"}, PROGRAMS),
]


@pytest.mark.parametrize("name, settings, asks", SETTINGS)
def test_setting(name, settings, asks):
    words = f"open nd {{folder}}/{name} asks"
    assert answers(outcome(words, shim=False)) == ["open=ok", f"asks={OWN}"]
    told = outcome(words, **settings)
    assert answers(told) == ["open=ok", f"asks={asks}"] and told[2:] == ("", b"")


@pytest.mark.parametrize("name", ["curl_easy_init", "SSL_CTX_new", "gnutls_init"])
def test_program_that_has_what_libcurl_would_bind_to(name):
    """There the flag is what keeps the two apart."""
    program = host(f"dlopens-{name}", f"-DCLASHES={name}")
    assert same("open nd {folder}/needs.so asks", program) == ["open=ok", f"asks={OWN}"]


def test_malformed_setting():
    told = outcome("open nd {folder}/needs.so asks", deepbind="perhaps")
    assert answers(told) == ["open=ok", f"asks={PROGRAMS}"] and told[2] == "" and b"RETRY_DEEPBIND" in told[3]


@pytest.mark.parametrize("deepbind, asks", [("auto", OWN), ("drop", PROGRAMS)])
def test_bare_name(deepbind, asks):
    """It is the loader that finds the file; unless it is told to, we do not guess which it will be."""
    plugin("beside/bare.so", *needs(LIBCURL))
    assert answers(outcome("open nd bare.so asks", deepbind=deepbind)) == ["open=ok", f"asks={asks}"]


@pytest.mark.parametrize("soname, asks", [
    ("libcurl.so", PROGRAMS), ("libcurl.so.3", PROGRAMS), ("libcurl-gnutls.so.4", PROGRAMS), ("libcurl-nss.so.4", PROGRAMS),
    ("libcur.so.4", OWN), ("mylibcurl.so.4", OWN), ("LIBCURL.so.4", OWN)])
def test_name_of_what_is_needed(soname, asks):
    name = plugin(f"needs-{soname}.so", *needs(soname))
    assert answers(outcome(f"open nd {name} asks")) == ["open=ok", f"asks={asks}"]


LAYOUTS = {
    "sysv hash": ["-Wl,--hash-style=sysv"], "one segment": ["-Wl,-z,noseparate-code"], "four": ["-Wl,-z,separate-code"],
    "moved": ["-Wl,-Ttext-segment=0x40000000"], "large pages": ["-Wl,-z,max-page-size=65536"], "stripped": ["-s"],
    "no relro": ["-Wl,-z,norelro"], "large": ["-include", "large.h"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_of_the_file(layout):
    (folder() / "large.h").write_text("const char large[3 << 20] = {1};\n")
    flags = ["-I", folder(), *LAYOUTS[layout]]
    name = plugin(f"layout-{layout.replace(' ', '-')}.so", *flags, *needs(LIBCURL))
    assert answers(outcome(f"open nd {name} asks")) == ["open=ok", f"asks={PROGRAMS}"]


def test_last_of_many_that_are_needed():
    name = plugin("needs-many.so", *needs(*(f"libneeded{number}.so.1" for number in range(24)), LIBCURL))
    assert answers(outcome(f"open nd {name} asks")) == ["open=ok", f"asks={PROGRAMS}"]


def test_many_threads_at_once():
    assert answers(outcome(f"threads 16 {OWN} {{folder}}/needs.so", shim=False)) == ["threads=800"]
    assert answers(outcome(f"threads 16 {PROGRAMS} {{folder}}/needs.so")) == ["threads=800"]


@pytest.mark.parametrize("flags, mode", [("n", 2), ("l", 1), ("ngdk", 0x110a), ("ld", 9), ("nLd", 0xe), ("nxd", 0x1a), ("d", 8)])
@pytest.mark.parametrize("name, cleared", [("plain.so", 0), ("needs.so", 8)])
def test_no_other_flag_changes(name, cleared, flags, mode):
    """What is next in line, here another preload, gets the call."""
    spy = plugin("spy.so", source="dlopen_spy")
    for preload, expected in ((spy, mode), (f"{built(SHIM)}:{spy}", mode & ~cleared)):
        told = outcome(f"open {flags} {{folder}}/{name}", shim=False, env={"LD_PRELOAD": preload})
        assert told[1].startswith(f"mode={expected:#x}\n")
