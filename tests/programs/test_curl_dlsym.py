"""libcurl that is opened with dlopen: functions found by dlsym are the library's own and pass us by; what
they call inside, connect and curl_multi_*, does not. And plugins that are linked with libcurl."""

import functools
import itertools
import textwrap

import pytest

from curl_hosts import compile_c, crc32, digests, events, host, lines, names, run, steps
from harness import FaultServer

PYTHON = "/usr/bin/python3"
LIBRARY = {"openssl": "libcurl.so.4", "gnutls": "libcurl-gnutls.so.4"}
BUSY = "503 Service Unavailable"

# ---- ctypes ---------------------------------------------------------------------------------------

PRELUDE = """\
    import ctypes, sys
    from ctypes import POINTER, byref, c_char_p, c_int, c_long, c_uint, c_void_p
    URL, WRITEFUNCTION, PRIVATE, RESPONSE_CODE = 10002, 20011, 10103, 0x200002
    CALLBACK = ctypes.CFUNCTYPE(ctypes.c_size_t, c_void_p, ctypes.c_size_t, ctypes.c_size_t, c_void_p)

    class Message(ctypes.Structure):
        _fields_ = [("kind", c_int), ("easy", c_void_p), ("result", c_int)]

    class Library:
        def __init__(self, name, mode=ctypes.DEFAULT_MODE):
            self.c = ctypes.CDLL(name, mode)
            self.c.curl_easy_init.restype = self.c.curl_multi_init.restype = c_void_p
            self.c.curl_multi_info_read.restype = POINTER(Message)
            self.callback = CALLBACK(lambda data, size, count, _: self.body.append(ctypes.string_at(data, size * count)) or size * count)
            self.body = []

        def handle(self, url):
            curl = c_void_p(self.c.curl_easy_init())
            self.c.curl_easy_setopt(curl, URL, c_char_p(url.encode()))
            self.c.curl_easy_setopt(curl, WRITEFUNCTION, self.callback)
            return curl

        def tell(self, curl, code):
            status = c_long()
            self.c.curl_easy_getinfo(curl, RESPONSE_CODE, byref(status))
            print(code, status.value, *b"".join(self.body).decode().splitlines(), flush=True)
            self.c.curl_easy_cleanup(curl)
            self.body = []

        def easy(self, url):
            curl = self.handle(url)
            self.tell(curl, self.c.curl_easy_perform(curl))

        def multi(self, url, count=1):
            multi, running = c_void_p(self.c.curl_multi_init()), c_int(1)
            for number in range(count):
                self.c.curl_multi_add_handle(multi, self.handle(url))
            while running.value:
                assert self.c.curl_multi_perform(multi, byref(running)) == 0
                assert running.value == 0 or self.c.curl_multi_poll(multi, None, 0, 1000, None) == 0
            while message := self.c.curl_multi_info_read(multi, byref(running)):
                curl, code = c_void_p(message.contents.easy), message.contents.result
                self.c.curl_multi_remove_handle(multi, curl)
                self.tell(curl, code)
            assert self.c.curl_multi_cleanup(multi) == 0
    """


def python(server, body, **options):
    program = textwrap.dedent(PRELUDE) + "url = sys.argv[1]\n" + textwrap.dedent(body)
    return run([PYTHON, "-c", program, server.url], **options)


every_library = pytest.mark.parametrize("library", LIBRARY.values())
every_way = pytest.mark.parametrize("way", ["easy", "multi"])


@every_library
@every_way
def test_healthy(library, way):
    with FaultServer("200") as server:
        result = python(server, f"library = Library('{library}')\nfor _ in range(3): library.{way}(url)")
        assert lines(result) == ["0 200 ok"] * 3 and result.stderr == result.diag == b""
        assert len(server.requests()) == 3


@every_library
@every_way
def test_port_that_opens_late(library, way):
    """Its connects are ours all the same."""
    program = f"Library('{library}').{way}(url)"
    with FaultServer("200", open_after="20s", lifetime="30s") as server:
        assert lines(python(server, program, shim=False)) == ["7 0"]
        assert lines(python(server, program, nonblock=0)) == ["7 0"]
    with FaultServer("200", open_after="300ms") as server:
        result = python(server, program, max_attempts=100)
        assert lines(result) == ["0 200 ok"] and result.stderr == b"" and len(server.requests()) == 1
    assert names(result)[-1] == "succeeded" and {event["operation"] for event in events(result)} == {"connect"}


@every_library
@every_way
@pytest.mark.parametrize("step, told", [("503,close=1", f"0 503 {BUSY}"), ("empty", "52 0"), ("reset-after", "56 0")])
def test_failures_are_the_programs(library, way, step, told):
    """A transfer whose options nobody saw is not judged."""
    with FaultServer([step, "200"]) as server:
        result = python(server, f"Library('{library}').{way}(url)")
        assert lines(result) == [told] and result.stderr == result.diag == b"" and len(server.requests()) == 1


@pytest.mark.parametrize("order", [["openssl", "gnutls"], ["gnutls", "openssl"]], ids="-".join)
@pytest.mark.parametrize("mode", ["LOCAL", "GLOBAL"])
def test_two_flavours(order, mode):
    names_ = [LIBRARY[flavour] for flavour in order]
    program = f"all = [Library(name, ctypes.RTLD_{mode}) for name in {names_}]\n" \
        "for library in all * 2: library.easy(url); library.multi(url, 3)"
    with FaultServer("200") as server:
        plain, result = python(server, program, shim=False), python(server, program)
        assert lines(result) == lines(plain) and len(lines(plain)) == 16 and result.stderr == result.diag == b""
        assert {line.split()[0] for line in lines(plain)} == {"0"} and len(server.requests()) == 32


@every_library
def test_beside_pycurl(library):
    """pycurl's libcurl, the GnuTLS one, is served; the same library or another one by dlsym is not."""
    program = f"""\
        import io, pycurl
        library, curl, out = Library('{library}'), pycurl.Curl(), io.BytesIO()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.WRITEDATA, out)
        library.easy(url)
        library.multi(url)
        curl.perform()
        print(out.getvalue())
        library.easy(url)
        """
    script = ["503", "503", "503", "200", "503", "200"]
    with FaultServer(script) as server:
        result = python(server, program)
        assert lines(result) == [f"0 503 {BUSY}"] * 2 + ["b'ok\\n'", f"0 503 {BUSY}"] and result.stderr == b""
        assert steps(server) == script[:5]
    assert names(result) == ["attempt_failed", "succeeded"]


# ---- plugins that are linked with libcurl -------------------------------------------------------------


@functools.cache
def plugin(flavour, source):
    return compile_c(f"{source}-{flavour}.so", "-shared", "-fPIC", source=source, libraries=(f"-l:{LIBRARY[flavour]}",))


every_plugin = pytest.mark.parametrize("source", ["fetch", "fetch_multi"])
every_flavour = pytest.mark.parametrize("flavour", LIBRARY)


def fetched(server, flavour, source, flags, **options):
    return run([host("dlsyms"), "plugin", flags, plugin(flavour, source), server.url], **options)


@every_flavour
@every_plugin
@pytest.mark.parametrize("flags", ["n", "l", "nd", "ld"])
def test_plugin_is_served(flavour, source, flags):
    with FaultServer("503,close=1") as server:
        assert lines(fetched(server, flavour, source, flags, shim=False))[0] == f"{flavour} {BUSY}"
    with FaultServer(["empty", "503", "200"]) as server:
        result = fetched(server, flavour, source, flags)
        assert lines(result) == [f"{flavour} ok", f"{flavour} code 0"] and result.stderr == b""
        assert steps(server) == ["empty", "503", "200"]
    assert names(result) == ["attempt_failed", "attempt_failed", "succeeded"]


@every_flavour
@every_plugin
@pytest.mark.parametrize("settings", [{"deepbind": "keep"}, {"curl": 0}, {"enabled": 0}])
def test_plugin_that_keeps_its_flag(flavour, source, settings):
    with FaultServer(["503", "200"]) as server:
        result = fetched(server, flavour, source, "nd", **settings)
        assert lines(result) == [f"{flavour} {BUSY}", f"{flavour} code 0"] and len(server.requests()) == 1
        assert result.stderr == result.diag == b""


@every_plugin
def test_plugin_and_a_port_that_opens_late(source):
    with FaultServer("200", open_after="20s", lifetime="30s") as server:
        assert lines(fetched(server, "openssl", source, "nd", shim=False)) == ["openssl code 7"]
        assert lines(fetched(server, "openssl", source, "nd", deepbind="keep")) == ["openssl code 7"]
    with FaultServer("200", open_after="300ms") as server:
        assert lines(fetched(server, "openssl", source, "nd", max_attempts=100)) == ["openssl ok", "openssl code 0"]


# ---- linked and found, mixed --------------------------------------------------------------------------

# Of the functions that dlsyms.c asks for. Options that only the library saw of a handle that we made: below.
EASY = [ways for ways in itertools.product(["linked", "found"], repeat=3) if ways[:2] != ("linked", "found")]
MULTI = [ways for ways in itertools.product(["linked", "found"], repeat=5) if ways[:2] != ("linked", "found")]
UNSEEN = [("linked", "found", "linked"), ("linked", "found", "linked", "linked", "linked")]
FAILED, FINE = [f"body {BUSY}", "code 0 status 503"], ["body ok", "code 0 status 200"]


def mixed(server, ways, *data, **options):
    return run([host("dlsyms"), "easy" if len(ways) == 3 else "multi", *ways, server.url, *data], **options)


def short(ways):
    return "".join(way[0] for way in ways)


@pytest.mark.parametrize("ways", EASY + MULTI, ids=short)
def test_mixture(ways):
    """One response comes, whole and once, whichever it is; a transfer of which only half is seen is not
    judged by that half. The handle is a good one afterwards."""
    with FaultServer(["503", "200"]) as server:
        assert lines(mixed(server, ways, shim=False)) == FAILED + FINE
    with FaultServer(["503", "200"]) as server:
        result = mixed(server, ways)
        assert lines(result) in (FAILED + FINE, FINE + FINE) and result.stderr == b""
        assert steps(server) == ["503", "200"] + ["200"] * (lines(result)[:2] == FINE)
    with FaultServer(["503", "200"]) as server:
        assert lines(mixed(server, ways, "a=b")) == FAILED + FINE
        assert [entry["method"] for entry in server.requests()] == ["POST", "GET"]
        assert digests(server)[0] == (crc32(b"a=b"), 3)


@pytest.mark.parametrize("ways", UNSEEN, ids=short)
def test_options_that_nobody_saw(ways):
    """A handle of which we know neither URL nor callbacks is not ours to judge."""
    for data, method in ([], "GET"), (["a=b"], "POST"):
        with FaultServer(["503", "200"]) as server:
            assert lines(mixed(server, ways, *data))[:2] == FAILED
            assert [entry["method"] for entry in server.requests()] == [method, "GET"]


@pytest.mark.parametrize("ways", [EASY[0], MULTI[0], ("linked", "linked", "linked", "found", "linked")], ids=short)
def test_little_or_nothing_mixed(ways):
    """Served."""
    with FaultServer(["503", "200", "empty", "200"]) as server:
        result = mixed(server, ways)
        assert lines(result) == FINE * 2 and steps(server)[:2] == ["503", "200"]


@pytest.mark.parametrize("ways", [EASY[1], MULTI[5], MULTI[-1]], ids=short)
def test_mixture_and_a_port_that_opens_late(ways):
    with FaultServer("200", open_after="300ms") as server:
        assert lines(mixed(server, ways, max_attempts=100)) == FINE * 2 and len(server.requests()) == 2
