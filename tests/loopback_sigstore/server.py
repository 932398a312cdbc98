"""HTTP on 127.0.0.1: brings requests to the services, and lets them fail when told to."""

from __future__ import annotations

import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from loopback_sigstore.messages import RefusedError, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loopback_sigstore.faults import Faults, Service

    Routes = Mapping[tuple[str, str], tuple[Service, Callable[[Request], Reply]]]


class Server:
    """Serves routes, (method, path) to service, from threads of its own."""

    def __init__(self, routes: Routes, faults: Faults) -> None:
        self._http = _Http(routes, faults)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.url = self._http.url
        # A port that is bound and not listened on: it refuses connections, and nobody else can take it meanwhile.
        self._closed = socket.socket()
        self._closed.bind(("127.0.0.1", 0))
        self.closed_url = f"http://127.0.0.1:{self._closed.getsockname()[1]}"

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Serve no more, and let nothing behind."""
        self._http.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._closed.close()


class _Http(ThreadingHTTPServer):
    daemon_threads = False  # joined when the server closes

    def __init__(self, routes: Routes, faults: Faults) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.routes = routes
        self.faults = faults
        self.stopping = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's own types
        """Report what went wrong in a service, unless it is only that the client went away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Http

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        pass

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        route = self.server.routes.get((self.command, url.path))
        if route is None:
            self._send(Reply(status=404))
            return
        service, answer = route
        fault = self.server.faults.meet(service)
        if fault is not None:
            self.server.stopping.wait(fault.wait)
            if fault.reply is not None:
                self._send(fault.reply)
            return
        request = Request(
            base=self.server.url,
            query=dict(parse_qsl(url.query)),
            bearer=self.headers.get("Authorization", "").partition(" ")[2],
            body=body,
        )
        try:
            self._send(answer(request))
        except RefusedError as refusal:
            self._send(refusal.reply())

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)
