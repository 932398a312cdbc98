"""Gate every new version of a registered model: a receiver for MLflow's webhooks that runs `auditor gate mlflow`.

    export MLFLOW_WEBHOOK_SECRET=...            # the one given to MLflow when the webhook was made
    export MLFLOW_TRACKING_URI=http://mlflow.example:5000
    python scripts/mlflow_webhook.py --listen 127.0.0.1:8765 -- --against llama-2-7b --pass-alias approved

What stands after `--` goes to the gate. A delivery is believed only with MLflow's signature (HMAC-SHA256 over delivery
id, time and body, compared in constant time), made not long ago, and only once. It is answered at once, and gated in
its turn, one version after another; the log says how each ended. Put TLS in front: the secret signs, it hides nothing.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MOST_BYTES = 64 * 1024
"""Of a delivery: MLflow's have under 2 KB, and some more for tags and a description."""
WINDOW = 300
"""Seconds that a delivery may be old, or ahead of our clock."""
MOST_WAITING = 1000
"""Versions that wait for the gate; MLflow tries again later where there are more."""
MOST_REMEMBERED = 100_000
"""Deliveries known by their id; more than come in one window."""
SILENCE = 10
"""Seconds in which a client must have said what it has to say."""
MOST_SECONDS = 6 * 3600
"""One gate may take."""

_NAME = re.compile(r"[^/:\x00-\x1f\x7f]{1,256}")
_VERSION = re.compile(r"[1-9][0-9]{0,9}")


def signature_of(secret: bytes, delivery: str, timestamp: str, body: bytes) -> str:
    """Return what MLflow puts into X-MLflow-Signature."""
    signed = hmac.new(secret, f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(signed.digest()).decode()


class Doorkeeper:
    """Decides which deliveries are believed. May be asked from several threads.

    Parameters
    ----------
    secret : bytes
    now : callable, optional
        Seconds since 1970.
    """

    def __init__(self, secret: bytes, *, now: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._now = now
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def problem(self, headers: Mapping[str, str], body: bytes) -> str:
        """Say why a delivery is not believed; empty where it is."""
        delivery, timestamp = headers.get("X-MLflow-Delivery-Id", ""), headers.get("X-MLflow-Timestamp", "")
        signature = headers.get("X-MLflow-Signature", "")
        if not delivery or not signature or not re.fullmatch("[0-9]{1,12}", timestamp, re.ASCII):
            return "not signed"
        expected = signature_of(self._secret, delivery, timestamp, body)
        if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
            return "wrong signature"
        if abs(self._now() - int(timestamp)) > WINDOW:
            return "signed too long ago, or in the future"
        return ""

    def is_new(self, delivery: str) -> bool:
        """Say whether a believed delivery comes for the first time, and remember it."""
        with self._lock:
            now = self._now()
            while self._seen and next(iter(self._seen.values())) < now - 2 * WINDOW:
                self._seen.popitem(last=False)
            if delivery in self._seen:
                return False
            if len(self._seen) >= MOST_REMEMBERED:
                self._seen.popitem(last=False)
            self._seen[delivery] = now
            return True

    def forget(self, delivery: str) -> None:
        """Let a delivery come again: it could not be taken."""
        with self._lock:
            self._seen.pop(delivery, None)


def target_of(body: bytes) -> str | None:
    """Return the version that a delivery tells of; None where it tells of something else.

    Raises
    ------
    ValueError
        When it is no delivery of MLflow's, or names what can be no version.
    """
    payload = json.loads(body)
    if not isinstance(payload, dict):
        raise ValueError("not an object")  # noqa: TRY004 - of what is sent, not of what a caller does
    if (payload.get("entity"), payload.get("action")) != ("model_version", "created"):
        return None
    data = payload.get("data")
    name, version = (data.get("name"), str(data.get("version"))) if isinstance(data, dict) else (None, "")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not _VERSION.fullmatch(version):
        raise ValueError("not a version of a model")
    return f"models:/{name}/{version}"


class Receiver(ThreadingHTTPServer):
    """Takes deliveries, and gates one version after another.

    Parameters
    ----------
    address : (str, int)
    doorkeeper : Doorkeeper
    command : sequence of str
        The gate, to which the version is added: never a shell's.
    options : sequence of str
        What comes after the version.
    """

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], doorkeeper: Doorkeeper, command: Sequence[str], options: Sequence[str]
    ) -> None:
        super().__init__(address, _Handler)
        self.doorkeeper = doorkeeper
        self.waiting: queue.Queue[str] = queue.Queue(MOST_WAITING)
        self._command = list(command)
        self._options = list(options)
        threading.Thread(target=self._gate, daemon=True).start()

    def _gate(self) -> None:
        while True:
            target = self.waiting.get()
            try:
                done = subprocess.run(
                    [*self._command, target, *self._options],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # reports go to the files that --output names
                    check=False,
                    timeout=MOST_SECONDS,
                )
                say(f"{target}: exit {done.returncode}")
            except (OSError, subprocess.TimeoutExpired) as error:
                say(f"{target}: not gated: {type(error).__name__}")
            finally:
                self.waiting.task_done()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    timeout = SILENCE
    server_version = "auditor-webhook"
    sys_version = ""

    def do_POST(self) -> None:
        """Take one delivery."""
        body = self._body()
        if isinstance(body, int):
            self._answer(body)
        elif problem := self.server.doorkeeper.problem(self.headers, body):
            say(f"refused: {problem}")
            self._answer(401)
        else:
            self._answer(self._take(body))

    def _body(self) -> bytes | int:
        """Return what was sent, or the status of the refusal."""
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,9}", length, re.ASCII):
            return 411
        if int(length) > MOST_BYTES:
            return 413
        body = self.rfile.read(int(length))
        return body if len(body) == int(length) else 400

    def _take(self, body: bytes) -> int:
        """Put what a believed delivery tells of in the queue; return the status of the answer."""
        try:
            target = target_of(body)
        except (ValueError, RecursionError):
            return 400
        delivery = self.headers["X-MLflow-Delivery-Id"]
        if target is None or not self.server.doorkeeper.is_new(delivery):
            return 204
        try:
            self.server.waiting.put_nowait(target)
        except queue.Full:
            self.server.doorkeeper.forget(delivery)
            return 503
        say(f"{target}: taken")
        return 202

    def _answer(self, status: int) -> None:
        self.close_connection = True  # what is left unread of a request is no request
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep what strangers send out of the log."""


def say(text: str) -> None:
    """Write a line to the log; text of a model cannot break out of it."""
    print(text.encode("unicode_escape").decode("ascii"), file=sys.stderr, flush=True)


def read_secret(path: str | None) -> bytes:
    """Read the secret from a file, else from the environment: an argument could be seen by everybody."""
    text = Path(path).read_text(encoding="utf-8") if path else os.environ.pop("MLFLOW_WEBHOOK_SECRET", "")
    if not text.strip():
        raise SystemExit("no secret: set MLFLOW_WEBHOOK_SECRET, or give --secret-file")
    return text.strip().encode()


def main(arguments: Sequence[str] | None = None) -> None:
    """Listen until interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, options = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    parser = argparse.ArgumentParser(description="Gate every new model version that MLflow tells of.")
    parser.add_argument("--listen", default="127.0.0.1:8765", metavar="HOST:PORT")
    parser.add_argument("--secret-file", metavar="FILE", help="default: the variable MLFLOW_WEBHOOK_SECRET")
    parser.add_argument("--auditor", default="auditor", metavar="PROGRAM", help="default: auditor")
    chosen = parser.parse_args(own)
    host, _, port = chosen.listen.rpartition(":")
    doorkeeper = Doorkeeper(read_secret(chosen.secret_file))
    with Receiver((host, int(port)), doorkeeper, [chosen.auditor, "gate", "mlflow"], options) as receiver:
        say(f"listening on {host}:{receiver.server_address[1]}")
        try:
            receiver.serve_forever()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
