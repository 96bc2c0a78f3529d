"""RETRY_RESUME=1 over FTP: REST goes on where the data connection broke, if the file is certainly still the same."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from curl_hosts import curl, names, pattern, run
from ftpserver import FtpProxy, FtpServer, vsftpd

CLIENT = Path(__file__).with_name("download_client.py")
CONTENT = pattern(200000)
OLD = 1500000000  # long before any test
EITHER = pytest.mark.parametrize("multi", [False, True], ids=["easy", "multi"])


@pytest.fixture(name="file")
def file_that_is_old(tmp_path):
    tmp_path.chmod(0o755)
    file = tmp_path / "root" / "file"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    os.utime(file, (OLD, OLD))
    return file


def fetch(*arguments, multi=False, **options):
    return curl("--no-progress-meter", *(["-Z"] if multi else []), *arguments, **{"base_delay_ms": 10, **options})


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@EITHER
@pytest.mark.parametrize("how, error", [("reset", 56), ("close", 18), ("both", 56)])
def test_data_connection_that_breaks(file, multi, how, error):
    with FtpServer(file.parent) as server:
        for settings in ({"shim": False}, {"resume": 0}):
            with FtpProxy(server.port, 50000, how=how) as proxy:
                plain = fetch(proxy.url, multi=multi, **settings)
                assert (plain.returncode, plain.stdout) == (error, CONTENT[:50000])
                assert len(proxy.named("RETR")) == 1 and not proxy.named("MDTM")
        with FtpProxy(server.port, 50000, None, how=how) as proxy:
            result = fetch(proxy.url, multi=multi, resume=1)
            assert (result.returncode, sha256(result.stdout), result.stderr) == (0, sha256(CONTENT), b"")
            assert proxy.named("REST") == ["REST 50000"] and len(proxy.named("RETR")) == 2
            # The time is asked for by the second attempt alone.
            assert proxy.named("MDTM") == ["MDTM file"]
            assert proxy.commands.index("MDTM file") > proxy.commands.index("RETR file")
    assert names(result) == ["attempt_failed", "succeeded"]


@EITHER
@pytest.mark.parametrize("how, error", [("reset", 56), ("close", 18)])
def test_vsftpd(file, multi, how, error):
    with vsftpd(file.parent) as port:
        with FtpProxy(port, 50000, how=how) as proxy:
            assert fetch(proxy.url, multi=multi, shim=False).returncode == error
        with FtpProxy(port, 50000, 70000, None, how=how) as proxy:
            result = fetch(proxy.url, multi=multi, resume=1)
            assert (result.returncode, sha256(result.stdout)) == (0, sha256(CONTENT))
            assert proxy.named("REST") == ["REST 50000", "REST 120000"]


@pytest.mark.parametrize("cuts", [(1, None), (199999, None), (1, 1, 1, 1, None)], ids=str)
def test_where_it_breaks(file, cuts):
    with FtpServer(file.parent) as server, FtpProxy(server.port, *cuts) as proxy:
        result = fetch(proxy.url, resume=1, max_attempts=5)
        assert (result.returncode, sha256(result.stdout)) == (0, sha256(CONTENT))
        places = [sum(cuts[:number]) for number in range(1, len(cuts))]
        assert proxy.named("REST") == [f"REST {place}" for place in places]


def test_breaks_are_bounded_by_the_attempts(file):
    with FtpServer(file.parent) as server, FtpProxy(server.port, 1000) as proxy:
        result = fetch(proxy.url, resume=1)
        assert (result.returncode, result.stdout, len(proxy.named("RETR"))) == (56, CONTENT[:3000], 3)
    assert names(result) == ["attempt_failed", "attempt_failed", "exhausted"]


def test_replies_of_one_session_are_shown(file, tmp_path):
    with FtpServer(file.parent) as server:
        with FtpProxy(server.port, None) as proxy:
            assert fetch("-D", tmp_path / "healthy", proxy.url, shim=False).returncode == 0
        with FtpProxy(server.port, 50000, None, how="both") as proxy:
            result = fetch("-D", tmp_path / "head", proxy.url, resume=1)
            assert (result.returncode, sha256(result.stdout)) == (0, sha256(CONTENT))
    head, healthy = (tmp_path / "head").read_bytes(), (tmp_path / "healthy").read_bytes()
    assert head.count(b"220 ") == healthy.count(b"220 ") == 1 and b"350 " not in head


@EITHER
def test_what_pycurl_is_told(file, multi):
    options = json.dumps({"multi": multi})
    with FtpServer(file.parent) as server:
        def told(*cuts, **settings):
            with FtpProxy(server.port, *cuts) as proxy:
                output = run(["/usr/bin/python3", CLIENT, proxy.url, options], base_delay_ms=10, **settings).stdout
                return json.loads(output), proxy

        (healthy, _), (plain, _) = told(None, shim=False), told(50000, shim=False)
        ours, proxy = told(50000, None, resume=1)
    assert (plain["code"], plain["length"]) == (56, 50000)
    assert proxy.named("REST") == ["REST 50000"]
    for key in ("code", "text", "length", "sha256"):
        assert ours[key] == healthy[key]
    for name in ("SIZE_DOWNLOAD", "CONTENT_LENGTH_DOWNLOAD", "INFO_FILETIME"):
        assert ours["info"][name] == healthy["info"][name], name
    assert ours["progress"][-1] == healthy["progress"][-1]
    assert ours["progress"] == sorted(ours["progress"], key=lambda pair: pair[1]), "progress went back"


@EITHER
def test_new_file_whose_time_the_program_asked_for(file, tmp_path, multi):
    os.utime(file)
    with FtpServer(file.parent) as server:
        with FtpProxy(server.port, 50000) as proxy:
            assert fetch("-R", proxy.url, "-o", tmp_path / "out", multi=multi, shim=False).returncode == 56
        with FtpProxy(server.port, 50000, None) as proxy:
            result = fetch("-R", proxy.url, "-o", tmp_path / "out", multi=multi, resume=1)
            assert (result.returncode, proxy.named("REST")) == (0, ["REST 50000"])
            assert len(proxy.named("MDTM")) == 2
    assert sha256((tmp_path / "out").read_bytes()) == sha256(CONTENT)
    assert int((tmp_path / "out").stat().st_mtime) == int(file.stat().st_mtime)


def replaced(content=CONTENT[::-1], age=0):
    """Puts another file in its place."""
    def then(file):
        file.write_bytes(content)
        os.utime(file, (time.time() - age,) * 2)
    return then


DAY = 86400
REFUSED = {  # age of the file before, what happens in between, arguments, commands that the server lacks
    "replaced": (None, replaced(), [], []),
    "replaced within the day": (None, replaced(age=DAY - 600), [], []),
    "time in the future": (None, replaced(CONTENT, age=-DAY), [], []),
    "new before": (3600, None, [], []),
    "new before, -R, replaced": (3600, replaced(), ["-R"], []),
    "old before, -R, replaced by as old a one": (None, replaced(age=3 * DAY), ["-R"], []),
    "longer": (None, replaced(CONTENT + b"x", age=3 * DAY), [], []),
    "shorter": (None, replaced(CONTENT[:-1], age=3 * DAY), [], []),
    "shorter than what is here": (None, replaced(CONTENT[:1000], age=3 * DAY), [], []),
    "gone": (None, os.unlink, [], []),
    "no SIZE": (None, None, [], ["SIZE"]),
    "no MDTM": (None, None, [], ["MDTM"]),
    "no MDTM, -R": (None, None, ["-R"], ["MDTM"]),
    "no REST": (None, None, [], ["REST"]),
}


@EITHER
@pytest.mark.parametrize("age, then, arguments, without", REFUSED.values(), ids=REFUSED)
def test_file_that_may_be_another(file, age, then, arguments, without, multi):
    if age:
        os.utime(file, (time.time() - age,) * 2)
    with FtpServer(file.parent, without) as server:
        happens = (lambda: then(file)) if then else None
        with FtpProxy(server.port, 50000, None, then=happens) as proxy:
            result = fetch("-w", "%{http_code}", *arguments, proxy.url, multi=multi, resume=1)
            assert (result.returncode, result.stdout[:-3] == CONTENT[:50000]) == (56, True)
            assert b"(56)" in result.stderr
            # It was tried: nobody knows before. Without a size there is nothing to try.
            assert len(proxy.named("SIZE")) == (1 if "SIZE" in without else 2)
    assert names(result)[-1] == "given_up delivered"


OWN = {"ascii": [";type=a"], "-C": ["", "-C", "100"], "-r": ["", "-r", "100-"], "-r closed": ["", "-r", "0-199999"],
       "resume off": ["", "RETRY_RESUME"]}


@pytest.mark.parametrize("arguments", OWN.values(), ids=OWN)
def test_download_that_cannot_go_on(file, arguments):
    suffix, *arguments = arguments
    settings = {"resume": 0 if "RETRY_RESUME" in arguments else 1}
    arguments = [argument for argument in arguments if argument != "RETRY_RESUME"]
    with FtpServer(file.parent) as server:
        with FtpProxy(server.port, 50000) as proxy:
            plain = fetch(*arguments, proxy.url + suffix, shim=False)
            once = len(proxy.named("RETR"))
        with FtpProxy(server.port, 50000) as proxy:
            result = fetch(*arguments, proxy.url + suffix, **settings)
            assert len(proxy.named("RETR")) == once == 1
    assert plain.returncode == 56 and plain.stdout
    assert (result.returncode, result.stdout, result.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert names(result) == ["given_up delivered"]


def test_upload_and_listing_are_not_resumed(file):
    with FtpServer(file.parent) as server:
        with FtpProxy(server.port, 10) as proxy:
            listing = proxy.url.removesuffix("file")
            assert fetch(listing, resume=1).returncode == 56
            assert len(proxy.named("LIST")) == 1 and not proxy.named("REST")
        with FtpProxy(server.port, 0) as proxy:
            result = fetch("--limit-rate", "50K", "-T", file, proxy.url + "2", resume=1)
            assert result.returncode != 0 and not proxy.named("REST")
            assert len(proxy.named("STOR")) == 1
