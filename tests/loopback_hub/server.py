"""An HTTP server in threads that answers by a function, and sends exactly what that returns: lies included."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_DRIP = 16  # bytes a drop


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    host: str  # "hub" or "cdn"
    path: str  # with its query
    headers: dict[str, str]  # names in lower case

    @property
    def range(self) -> tuple[int, int] | None:
        """The bytes asked for: first, and one beyond the last."""
        if (text := self.headers.get("range")) is None:
            return None
        first, last = text.removeprefix("bytes=").split("-")
        return int(first), int(last) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None  # bytes of the body after which the connection ends
    drip: float | None = None  # seconds between drops of the body


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Callable[[str, dict[str, str]], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def process_request(self, request, client_address) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        super().shutdown_request(request)
        self._open.discard(request)

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are part of the tests."""

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 5
        while self._open and time.monotonic() < deadline:
            time.sleep(0.001)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else bodies wait for the acknowledgement of their headers, 40 ms
    server: Server

    def log_message(self, *_: object) -> None:
        """Keep stderr clean."""

    def do_POST(self) -> None:
        self.do_GET(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def do_GET(self, form: bytes = b"") -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.answer(self.path, headers | ({"x-form": form.decode()} if form else {}))
        self.send_response(answer.status)
        framing = {} if "Transfer-Encoding" in answer.headers else {"Content-Length": str(len(answer.body))}
        for name, value in (framing | answer.headers).items():
            self.send_header(name, value)
        self.end_headers()
        body = answer.body[: answer.cut]
        if answer.drip is None:
            self.wfile.write(body)
        else:
            for start in range(0, len(body), _DRIP):
                self.wfile.write(body[start : start + _DRIP])
                time.sleep(answer.drip)
        if answer.cut is not None:
            self.close_connection = True
