"""HTTPS: a handshake that breaks is tried again, POST included; one that must not be trusted is not."""

import http.server
import ssl
import threading

import pytest

from curl_hosts import curl, events, names, run
from harness import FaultServer


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the method and the body."""

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = self.command.encode() + b" " + body
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture(name="secure", scope="module")
def secure_server(tmp_path_factory):
    """HOST:PORT of a server with a certificate of its own making for 127.0.0.1, and that certificate."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key", folder / "certificate"
    made = run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out",
                certificate], shim=False)
    assert made.returncode == 0, made.stderr
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"127.0.0.1:{server.server_port}", certificate
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("fault", ["reset", "close"])
@pytest.mark.parametrize("arguments, answer", [([], b"GET "), (["-d", "body"], b"POST body")], ids=["GET", "POST"])
def test_broken_handshake(secure, fault, arguments, answer):
    target, certificate = secure
    script = [fault, fault, f"forward={target}"]
    with FaultServer(script) as server:
        url = server.url.replace("http:", "https:")
        assert curl("--cacert", certificate, url, *arguments, shim=False).returncode in (7, 35)
    with FaultServer(script) as server:
        url = server.url.replace("http:", "https:")
        result = curl("--cacert", certificate, url, *arguments)
        assert (result.returncode, result.stdout, result.stderr) == (0, answer, b"")
        assert len(server.accepts()) == 3
    # A reset can be faster than the end of connect().
    assert {event["error"] for event in events(result)[:2]} <= {"CURLE_SSL_CONNECT_ERROR", "CURLE_COULDNT_CONNECT"}


def test_certificate_that_is_not_trusted(secure):
    with FaultServer(f"forward={secure[0]}") as server:
        result = curl(server.url.replace("http:", "https:"))
        assert result.returncode == 60 and len(server.accepts()) == 1
    assert names(result) == ["not_retryable"]
