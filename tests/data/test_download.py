"""Downloads from servers that mean harm: bounded, over TLS, and nothing unverified is kept."""

import hashlib
import shutil
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from svae.data import download, planetoid

FILE = "ind.cora.test.index"
CONTENT = b"1\n2\n" * 1000


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A key and a certificate of localhost that nobody trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate of the server")
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    options = ("-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost")
    name = ("-addext", "subjectAltName=DNS:localhost")
    command = ["openssl", "req", "-x509", *options, *name, "-keyout", file, "-out", f"{file}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    return file


@contextmanager
def serving(answer, certificate=None):
    """Serve `answer(handler)` on loopback; yields its address and the paths that were asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            try:
                answer(self)
            except OSError:  # the client has gone
                self.close_connection = True

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{certificate}.crt", certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"{'https' if certificate else 'http'}://localhost:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(certificate, tmp_path, monkeypatch):
    """Fetch a file of Cora from a server that answers as told; returns what is kept of it."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{certificate}.crt")
    monkeypatch.setattr(download, "LARGEST", 100_000)
    cache = tmp_path / "cache"

    def fetch(answer, seconds=20.0):
        with serving(answer, certificate) as (url, _):
            try:
                planetoid._fetch(f"{url}/{FILE}", FILE, cache, seconds)
            finally:
                fetch.kept = [file.read_bytes() for file in cache.iterdir()]
        return fetch.kept

    return fetch


def _send(handler, content: bytes, *headers: tuple[str, str]) -> None:
    handler.send_response(200)
    for name, value in headers or [("Content-Length", str(len(content)))]:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def _trickle(handler) -> None:
    _send(handler, b"", ("Content-Length", "4000"))
    while True:
        handler.wfile.write(b"1")
        time.sleep(0.05)


def _trickle_headers(handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        handler.wfile.write(b"1")
        time.sleep(0.05)


def _too_much(handler) -> None:
    _send(handler, b"", ("Content-Type", "text/plain"))
    while True:
        handler.wfile.write(bytes(4096))


def _fail(handler) -> None:
    handler.send_error(500)


@pytest.mark.parametrize("blob", [False, True])
def test_the_published_file_is_kept(fetch, monkeypatch, blob):
    known = b"blob %d\0" % len(CONTENT) if blob else b""
    digest = (hashlib.sha1 if blob else hashlib.sha256)(known + CONTENT).hexdigest()
    monkeypatch.setitem(planetoid.HASHES, FILE, f"git:{digest}" if blob else digest)
    assert fetch(lambda handler: _send(handler, CONTENT)) == [CONTENT]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda handler: _send(handler, b"garbage"), "hash"),
        (lambda handler: _send(handler, b"gz", ("Content-Encoding", "gzip")), "hash"),
        (_too_much, "has more than 100000 bytes"),
        (_trickle, "took longer than 1 s"),
        (_trickle_headers, "took longer than 1 s"),
        (_fail, "500 Server Error"),
    ],
    ids=["garbage", "compressed", "too much", "trickle", "trickling headers", "500"],
)
def test_nothing_else_is_kept(fetch, answer, words):
    began = time.monotonic()
    with pytest.raises((OSError, ValueError), match=words):
        fetch(answer, seconds=1.0)
    assert time.monotonic() - began < 10
    assert fetch.kept == []


def test_a_redirect_away_from_tls_is_refused(fetch):
    with serving(lambda handler: _send(handler, CONTENT)) as (url, asked):

        def redirect(handler):
            handler.send_response(302)
            handler.send_header("Location", f"{url}/{FILE}")
            handler.end_headers()

        with pytest.raises(OSError, match=f"leads to {url}/{FILE}, expected https"):
            fetch(redirect)
        assert asked == []
    assert fetch.kept == []


def test_a_server_that_nobody_trusts_is_refused(fetch, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(OSError, match="certificate verify failed"):
        fetch(lambda handler: _send(handler, CONTENT))
    assert fetch.kept == []
