"""A web server that answers as a test wants, as a Prometheus or a trainer in trouble would, and a clock to set on."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
from contextlib import contextmanager


class Clock:
    """A clock that a test sets on."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@contextmanager
def answering(answer, context=None):
    """A web server of one answer; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        def do_POST(self):
            answer(self)

        def log_message(self, *arguments):
            """Nothing: tests are quiet."""

        def handle(self):
            try:
                super().handle()
            except OSError:
                """Whoever asked has gone."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def reply(handler, status, body):
    """Send an answer."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def hang(handler):
    """No answer, until whoever asked has gone."""
    handler.rfile.read()


def tls(folder):
    """A server's side of TLS on 127.0.0.1, and the file with its certificate, made a moment ago."""
    key, certificate = folder / "tls.key", folder / "tls.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
            *("-out", str(certificate), "-keyout", str(key)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
