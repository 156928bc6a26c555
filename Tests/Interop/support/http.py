"""HTTP calls of a test, without proxies from the environment, and the threaded servers that play the other sides."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

TIMEOUT_SECONDS = 40


def call(method, url, token=None, headers=None, timeout=TIMEOUT_SECONDS, **kwargs):
    """One request on a connection of its own: usable from any thread, and across restarts of the gateway."""
    headers = dict(headers or {})
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, headers=headers, timeout=timeout, allow_redirects=False, **kwargs)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        """A gateway that is killed mid-request is part of the tests, not worth a traceback."""


class LoopbackServer:
    """A threaded HTTP/1.1 server on 127.0.0.1. Subclasses answer in `handle(handler, body)`."""

    def __init__(self, port=0):
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body leave as two segments; without this, Nagle delays every answer by 40 ms.
            disable_nagle_algorithm = True

            def _handle(self):
                length = int(self.headers.get("Content-Length") or 0)
                owner.handle(self, self.rfile.read(length))

            do_GET = do_POST = do_PUT = do_DELETE = _handle

            def log_message(self, format, *args):
                pass

        self._server = _Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}"

    def close(self):
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def handle(self, handler, body):
        raise NotImplementedError

    def answer(self, handler, status, body=b"", content_type="application/json", headers=None):
        try:
            handler.send_response(status)
            handler.send_header("Content-Type", content_type)
            handler.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:
            handler.close_connection = True

    def drop(self, handler):
        """Closes the connection without a byte of an answer."""
        handler.close_connection = True
        handler.wfile = _Nowhere()

    def hang(self, handler, seconds=60):
        """Neither answers nor closes, until the server stops."""
        self.stopping.wait(seconds)
        self.drop(handler)


class _Nowhere:
    closed = False

    def write(self, data):
        return len(data)

    def flush(self):
        pass

    def close(self):
        self.closed = True
