"""Uploads from every source that libcurl knows: sent again to the byte, or refused and nothing lost."""

import pytest

from curl_hosts import crc32, digests, host, names, pattern, run, steps
from harness import FaultServer

CONTENT = pattern(200_000)
REWINDABLE = ["postfields", "copypostfields", "seek", "ioctl", "post_seek", "fread", "mime", "mime_seek", "form"]
NOT_REWINDABLE = ["read", "seek_never", "mime_read", "form_stream"]


@pytest.fixture(name="upload", scope="module")
def file_to_upload(tmp_path_factory):
    path = tmp_path_factory.mktemp("upload") / "file"
    path.write_bytes(CONTENT)
    return path


def send(server, kind, upload, **options):
    return run([host("bodies"), server.url, kind, upload], **options)


@pytest.mark.parametrize("kind", REWINDABLE)
def test_body_is_sent_again(kind, upload):
    with FaultServer(["503", "200"]) as server:
        assert send(server, kind, upload, shim=False).stdout == b"503 Service Unavailable\ncode 0 status 503\n"
    script = ["503,close=1", "reset-mid=70000", "reset-after", "200"]
    with FaultServer(script) as server:
        result = send(server, kind, upload, max_attempts=4)
        assert (result.returncode, result.stdout, result.stderr) == (0, b"ok\ncode 0 status 200\n", b"")
        assert steps(server) == ["503", "reset-mid", "reset-after", "200"]
        whole = {(entry["body_crc32"], entry["body_len"]) for entry in server.requests() if entry["complete"]}
        if kind in ("mime", "mime_seek", "form"):
            # A form made by curl_formadd gets a new boundary each time, of the same length.
            assert len({length for _, length in whole}) == 1 and (kind == "form" or len(whole) == 1)
        else:
            expected = CONTENT[100:] if kind == "fread" else CONTENT
            assert whole == {(crc32(expected), len(expected))}
    assert names(result) == ["attempt_failed"] * 3 + ["succeeded"]


@pytest.mark.parametrize("kind", NOT_REWINDABLE)
@pytest.mark.parametrize("step", ["503", "reset-after"])
def test_body_that_cannot_be_sent_again(kind, step, upload):
    with FaultServer([step, "200"]) as server:
        plain = send(server, kind, upload, shim=False)
    with FaultServer([step, "200"]) as server:
        result = send(server, kind, upload)
        assert (result.returncode, result.stdout, result.stderr) == (0, plain.stdout, b"")
        assert len(server.requests()) == 1 and digests(server)[0][1] >= len(CONTENT)
    assert names(result) == ["given_up rewind"]


@pytest.mark.parametrize("kind", NOT_REWINDABLE)
def test_body_that_was_not_read_yet(kind, upload):
    with FaultServer("200", open_after="300ms") as server:
        assert b"code 7" in send(server, kind, upload, shim=False).stdout
        result = send(server, kind, upload, max_attempts=30)
        assert result.stdout == b"ok\ncode 0 status 200\n" and len(server.requests()) == 1


@pytest.mark.parametrize("kind", REWINDABLE + NOT_REWINDABLE)
def test_healthy_upload_is_the_same(kind, upload):
    with FaultServer("200") as server:
        outputs = [send(server, kind, upload, shim=shim).stdout for shim in (False, True)]
        assert outputs == [b"ok\ncode 0 status 200\n"] * 2
        assert len({length for _, length in digests(server)}) == 1
