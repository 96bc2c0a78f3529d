"""libcurl.so.4 and libcurl-gnutls.so.4: linked, loaded by a plugin, both at once, without versions."""

import functools
import re

import pytest

from curl_hosts import compile_c, folder, lines, names, run, steps
from harness import FaultServer

LIBRARY = {"openssl": "-l:libcurl.so.4", "gnutls": "-l:libcurl-gnutls.so.4"}


@functools.cache
def plugin(flavour):
    return compile_c(f"plugin-{flavour}.so", "-shared", "-fPIC", source="fetch", libraries=(LIBRARY[flavour],))


@functools.cache
def loader(flavour=None):
    """With a libcurl of its own, or without any."""
    if flavour is None:
        return compile_c("loader", source="loader", libraries=())
    objects = compile_c(f"fetch-{flavour}.o", "-c", "-Dfetch=own_fetch", source="fetch", libraries=())
    return compile_c(f"loader-{flavour}", "-DOWN", objects, source="loader", libraries=(LIBRARY[flavour],))


@functools.cache
def unversioned(flavour):
    """The loader, whose own references to curl have no version but find this flavour."""
    soname = LIBRARY[flavour].removeprefix("-l:")
    place = folder() / f"stub-{flavour}"
    place.mkdir()
    stub = compile_c(f"stub-{flavour}/{soname}", "-shared", "-fPIC", f"-Wl,-soname,{soname}", source="stub", libraries=())
    objects = compile_c(f"stub-{flavour}/fetch.o", "-c", "-Dfetch=own_fetch", source="fetch", libraries=())
    return compile_c(f"unversioned-{flavour}", "-DOWN", objects, source="loader", libraries=(stub,))


def check(program, mode, library, flavours):
    """Fails without the shim; with it every fetch recovers, by its own libcurl."""
    expected = [line for flavour in flavours for line in (f"{flavour} ok", f"{flavour} code 0")]
    with FaultServer("empty") as server:
        plain = run([program, mode, library, server.url], shim=False)
        assert plain.stdout.count(b"code 52") == len(flavours)
    with FaultServer(["empty", "503", "200"] * len(flavours)) as server:
        result = run([program, mode, library, server.url])
        assert lines(result) == expected and result.stderr == b""
        assert steps(server) == ["empty", "503", "200"] * len(flavours)
    assert names(result) == ["attempt_failed", "attempt_failed", "succeeded"] * len(flavours)


@pytest.mark.parametrize("own", ["openssl", "gnutls"])
@pytest.mark.parametrize("other", ["openssl", "gnutls"])
def test_both_in_one_process(own, other):
    check(loader(own), "both", plugin(other), [own, other, own])


@pytest.mark.parametrize("flavour", ["openssl", "gnutls"])
@pytest.mark.parametrize("mode, times", [("global", 1), ("reopen", 3)])
def test_plugin(flavour, mode, times):
    check(loader(), mode, plugin(flavour), [flavour] * times)


@pytest.mark.parametrize("flavour", ["openssl", "gnutls"])
def test_caller_without_versions(flavour):
    check(unversioned(flavour), "both", plugin(flavour), [flavour] * 3)


@pytest.mark.parametrize("own, other", [("openssl", "gnutls"), ("gnutls", "openssl")])
def test_caller_without_versions_beside_another_flavour(own, other):
    check(unversioned(own), "both", plugin(other), [own, other, own])


@pytest.mark.parametrize("library", ["libcurl.so.4", "libcurl-gnutls.so.4"])
def test_everything_by_dlsym(library):
    """What is asked of the library itself never reaches us; it works as it does without us."""
    outputs = []
    for shim in (False, True):
        with FaultServer(["200", "503", "reset-after"]) as server:
            results = [run([loader(), "dlsym", library, server.url], shim=shim) for _ in range(3)]
            outputs.append([(result.returncode, result.stdout, result.stderr) for result in results])
            assert len(server.requests()) == 3
    assert outputs[0] == outputs[1] and outputs[0][0] == (0, b"ok\ncode 0\n", b"")


def test_dlsym_in_the_whole_process():
    with FaultServer(["503", "200"]) as server:
        result = run([loader(), "default", "libcurl.so.4", server.url])
        assert lines(result) == ["ok", "code 0"] and steps(server) == ["503", "200"]


@pytest.mark.parametrize("switch", ["curl", "enabled"])
def test_caller_without_versions_when_switched_off(switch):
    """Its library is still found, and nothing else is done."""
    def seen(shim):
        with FaultServer("503,close=1") as server:
            result = run([unversioned("openssl"), "both", plugin("openssl"), server.url], shim=shim, **{switch: 0})
            return lines(result), steps(server), result.stderr, names(result)
    assert seen(True) == seen(False)
    assert seen(True)[1] == ["503"] * 3


def test_hosts_are_what_they_claim():
    """The unversioned caller really is one, and the others are not."""
    def references(program):
        listing = run(["readelf", "-sW", "--dyn-syms", program], shim=False).stdout.decode()
        return set(re.findall(r"UND curl_easy_init(\S*)", listing))
    assert references(unversioned("openssl")) == {""}
    assert references(loader("openssl")) == {"@CURL_OPENSSL_4"} and references(loader("gnutls")) == {"@CURL_GNUTLS_3"}
