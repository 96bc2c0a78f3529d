"""Unmodified programs on curl_multi: curl -Z, pycurl and git."""

import textwrap
from collections import Counter

import pytest

from curl_hosts import crc32, curl, digests, events, lines, names, pattern, run, steps
from harness import FaultServer
from multi_git import NO_SETTINGS, git, git_server, make_repository

PYTHON = "/usr/bin/python3"


# --- curl -Z


PARALLEL = ["-Z", "--no-progress-meter"]


def parallel(server, count, folder, *arguments, **options):
    """curl -Z of some URLs to files; and what these hold."""
    words = [word for number in range(count) for word in ("-o", f"{folder}/{number}", f"{server.url}/{number}")]
    result = curl(*PARALLEL, *arguments, *words, **options)
    files = [folder / str(number) for number in range(count)]
    return result, [file.read_bytes() if file.exists() else None for file in files]


@pytest.mark.parametrize("arguments", [[], ["--parallel-immediate"], ["-f", "--parallel-max", "2"]], ids="".join)
def test_parallel_curl(arguments, tmp_path):
    script = ["503", "reset-after", "empty", "429", "503,close=1", "200,size=100000"]
    with FaultServer(script) as server:
        plain, files = parallel(server, 6, tmp_path, *arguments, shim=False)
        assert sum(file == pattern(100_000) for file in files) < 6
        assert plain.returncode != 0 or b"503 Service Unavailable\n" in files
    with FaultServer(script) as server:
        result, files = parallel(server, 6, tmp_path, *arguments, max_attempts=10)
        assert len(server.requests()) == 11
    assert files == [pattern(100_000)] * 6 and (result.returncode, result.stderr) == (0, b"")
    assert {event["operation"] for event in events(result)} == {"curl_multi"}
    # Two of the five may have ended a kept connection: libcurl itself repeats their requests.
    assert 3 <= Counter(names(result))["attempt_failed"] <= 5


def test_parallel_curl_before_the_port_opens(tmp_path):
    with FaultServer("200", open_after="400ms") as server:
        assert parallel(server, 3, tmp_path, shim=False)[0].returncode == 7
        result, files = parallel(server, 3, tmp_path, max_attempts=40)
        assert files == [b"ok\n"] * 3 and result.returncode == 0 and len(server.requests()) == 3
    assert {event["operation"] for event in events(result)} == {"curl_multi"}


def test_parallel_curl_one_of_which_is_exhausted(tmp_path):
    outcomes = []
    for shim in (False, True):
        with FaultServer("503,body=busy") as busy, FaultServer("200") as server:
            result = curl(*PARALLEL, "-f", "-o", tmp_path / "a", server.url, "-o", tmp_path / "b", f"{busy.url}/b", shim=shim)
            assert len(server.requests()) == 1 and len(busy.requests()) == (3 if shim else 1)
            outcomes.append((result.returncode, result.stdout, result.stderr, (tmp_path / "a").read_bytes()))
    assert outcomes[0] == outcomes[1] and outcomes[0][0] == 22


def test_parallel_curl_posts_once(tmp_path):
    with FaultServer(["503", "200"]) as server:
        result, _ = parallel(server, 2, tmp_path, "-d", "a=b")
        assert digests(server) == [(crc32(b"a=b"), 3)] * 2 and names(result) == ["given_up unsafe"]
    with FaultServer(["503", "reset-after", "200"]) as server:
        result, files = parallel(server, 2, tmp_path, "-d", "a=b", "-H", "Idempotency-Key: 1", max_attempts=10)
        assert digests(server) == [(crc32(b"a=b"), 3)] * 4 and files == [b"ok\n"] * 2


def test_parallel_curl_uploads(tmp_path):
    upload = tmp_path / "upload"
    upload.write_bytes(pattern(200_000))
    with FaultServer(["503", "reset-mid=1000", "200"]) as server:
        arguments = [word for number in range(3) for word in ("-T", upload, f"{server.url}/{number}")]
        result = curl(*PARALLEL, "-H", "Expect:", *arguments, max_attempts=10)
        assert result.stdout == b"ok\n" * 3 and result.returncode == 0
        whole = [digest for digest, step in zip(digests(server), steps(server)) if step == "200"]
        assert whole == [(crc32(pattern(200_000)), 200_000)] * 3


# --- pycurl

LOOPS = {
    "select": """
        while True:
            while multi.perform()[0] == pycurl.E_CALL_MULTI_PERFORM:
                pass
            count = multi.perform()[1]
            read()
            if count == 0:
                break
            if multi.select(1.0) <= 0:
                time.sleep(max(multi.timeout(), 1) / 1000)
        """,
    "lazy select": """
        count = 1
        while count:
            _, count = multi.perform()
            multi.select(0.05)
        read()
        """,
    "socket_action": """
        import selectors
        selector, timer, calls = selectors.DefaultSelector(), [None], 0
        def on_socket(what, file, multi, data):
            if file in selector.get_map():
                selector.unregister(file)
            if what != pycurl.POLL_REMOVE:
                selector.register(file, what & 3)  # POLL_IN, POLL_OUT as selectors spell them
        def on_timer(ms):
            timer[0] = None if ms < 0 else time.monotonic() + ms / 1000
        multi.setopt(pycurl.M_SOCKETFUNCTION, on_socket)
        multi.setopt(pycurl.M_TIMERFUNCTION, on_timer)
        _, count = multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        while count:
            assert timer[0] is not None or selector.get_map(), 'stuck'
            ready = selector.select(None if timer[0] is None else max(timer[0] - time.monotonic(), 0))
            for key, mask in ready:
                _, count = multi.socket_action(key.fd, mask)
            if timer[0] is not None and time.monotonic() >= timer[0]:
                timer[0] = None
                _, count = multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            calls += 1
            read()
        assert calls < 200, calls
        """,
}


def pycurl(loop, server, count, **options):
    """Some GETs in one CurlMulti; prints, sorted, what each came to."""
    program = textwrap.dedent("""
        import io, sys, time, pycurl
        multi, told = pycurl.CurlMulti(), []
        def read():
            while True:
                left, good, bad = multi.info_read()
                told.extend((curl.number, curl.getinfo(pycurl.RESPONSE_CODE), curl.out.getvalue()) for curl in good)
                told.extend((curl.number, code, text) for curl, code, text in bad)
                if not left:
                    return
        curls = []
        for number in range(int(sys.argv[2])):
            curl = pycurl.Curl()
            curl.number, curl.out = number, io.BytesIO()
            curl.setopt(pycurl.URL, f'{sys.argv[1]}/{number}')
            curl.setopt(pycurl.WRITEFUNCTION, curl.out.write)
            curls.append(curl)
        """) + "{}" + textwrap.dedent("""
        for curl in curls:
            multi.remove_handle(curl)
            curl.close()
        print(*sorted(told), sep='\\n')
        """)
    # A handle is added when the callbacks of the multi are there.
    start, add = textwrap.dedent(LOOPS[loop]), "for curl in curls:\n    multi.add_handle(curl)\n"
    at = start.index("_, count = multi.socket_action") if loop == "socket_action" else 0
    return run([PYTHON, "-c", program.replace("{}", start[:at] + add + start[at:], 1), server.url, count], **options)


@pytest.mark.parametrize("loop", LOOPS)
def test_pycurl(loop):
    script = ["503", "empty", "reset-after", "429,close=1", "200"]
    with FaultServer(script) as server:
        plain = pycurl(loop, server, 5, shim=False)
        assert sum("b'ok" in line for line in lines(plain)) <= 1 and len(lines(plain)) == 5
    with FaultServer(script) as server:
        result = pycurl(loop, server, 5, max_attempts=10, base_delay_ms=100)
        assert lines(result) == [rf"({number}, 200, b'ok\n')" for number in range(5)] and result.stderr == b""
        assert len(server.requests()) == 9
    assert {event["operation"] for event in events(result)} == {"curl_multi"}


@pytest.mark.parametrize("loop", LOOPS)
def test_pycurl_exhausted(loop):
    with FaultServer("reset-after") as server:
        plain, result = pycurl(loop, server, 2, shim=False), pycurl(loop, server, 2)
        assert lines(result) == lines(plain) and len(lines(result)) == 2 and len(server.requests()) == 2 + 6


# --- git


@pytest.fixture(scope="module", name="repository")
def make(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("git"))


def clone(url, folder, **options):
    return run(["git", "clone", "-q", url, folder], env=NO_SETTINGS, **options)


FAULTS = {"503": ["503"], "reset": ["reset"], "both": ["503", "reset"]}


@pytest.mark.parametrize("fault", FAULTS)
def test_git_clone(fault, repository, tmp_path):
    bare, newest = repository
    with git_server(bare, {"/info/refs": FAULTS[fault]}) as (url, seen):
        plain = clone(url, tmp_path / "plain", shim=False)
        assert plain.returncode == 128 and b"unable to access" in plain.stderr
    with git_server(bare, {"/info/refs": FAULTS[fault]}) as (url, seen):
        result = clone(url, tmp_path / "clone")
        assert (result.returncode, result.stderr) == (0, b"")
        refs = [outcome for method, path, outcome in seen if method == "GET"]
        assert refs == [*FAULTS[fault], "served"]
        assert {outcome for method, path, outcome in seen if method == "POST"} == {"served"}
    assert git(tmp_path / "clone", "rev-parse", "HEAD") == newest
    assert names(result)[-1] == "succeeded" and events(result)[-1]["operation"] == "curl_multi"


@pytest.mark.parametrize("fault, told", [("503", ["given_up unsafe"]), ("reset", [])])
def test_git_posts_as_often_as_before(fault, told, repository, tmp_path):
    """It asks for objects by POST. libcurl itself repeats the one that ends a kept connection."""
    bare, _ = repository
    outcomes = []
    for shim in (False, True):
        with git_server(bare, {"/git-upload-pack": [fault]}) as (url, seen):
            result = clone(url, tmp_path / f"clone-{shim}", shim=shim)
            outcomes.append((result.returncode, result.stderr.replace(url.encode(), b"URL"), list(seen)))
    assert outcomes[0] == outcomes[1] and names(result) == told
    assert outcomes[0][0] == (128 if fault == "503" else 0)


@pytest.mark.parametrize("fault", ["503", "reset"])
def test_git_clone_of_files(fault, repository, tmp_path):
    """The dumb protocol: each file is refused at first, each object is fetched in the crowd of the others."""
    bare, newest = repository
    with git_server(bare, {"": [fault]}, dumb=True) as (url, seen):
        assert clone(url, tmp_path / "plain", shim=False).returncode == 128
    with git_server(bare, {"": [fault]}, dumb=True) as (url, seen):
        result = clone(url, tmp_path / "clone", base_delay_ms=20, budget="off")
        assert result.returncode == 0, result.stderr
        objects = Counter(path for _, path, _ in seen if "/objects/" in path and "/info/" not in path)
        assert len(objects) == 12 and set(objects.values()) == {2}
    assert git(tmp_path / "clone", "rev-parse", "HEAD") == newest and git(tmp_path / "clone", "fsck", "--full") == ""
    assert {event["operation"] for event in events(result)} == {"curl_multi"}
    # A reset of a kept connection is made good by libcurl itself.
    assert names(result).count("succeeded") >= (14 if fault == "503" else 1)


def test_git_push(repository, tmp_path):
    """What asks for the refs is repeated; what changes them is sent once."""
    bare, newest = repository
    with git_server(bare, {}) as (url, _):
        assert clone(url, tmp_path / "work", shim=False).returncode == 0
    git(tmp_path / "work", "commit", "-q", "--allow-empty", "-m", "more")
    made = git(tmp_path / "work", "rev-parse", "HEAD")
    with git_server(bare, {"/info/refs": ["503", "reset"]}) as (url, seen):
        push = ["git", "-C", tmp_path / "work", "push", "-q", url, "main:pushed"]
        assert run(push, env=NO_SETTINGS, shim=False).returncode == 128
    with git_server(bare, {"/info/refs": ["503", "reset"], "/git-receive-pack": []}) as (url, seen):
        result = run([*push[:-2], url, "main:pushed"], env=NO_SETTINGS)
        assert (result.returncode, result.stderr) == (0, b"")
        assert [outcome for _, path, outcome in seen if path.endswith("/info/refs")] == ["503", "reset", "served"]
        assert [path.rpartition("/")[2] for method, path, _ in seen if method == "POST"].count("git-receive-pack") == 1
    assert git(bare, "rev-parse", "pushed") == made != newest
