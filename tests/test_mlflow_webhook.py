"""The receiver of MLflow's webhooks: what it believes, and what it does not."""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from typing import TYPE_CHECKING

import mlflow_webhook
import pytest
from mlflow_webhook import Doorkeeper, Receiver, signature_of, target_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = b"topsecret"
NOW = 1_800_000_000
BODY = json.dumps(
    {"entity": "model_version", "action": "created", "data": {"name": "team chat", "version": "3"}}
).encode()


def signed(body: bytes = BODY, *, secret: bytes = SECRET, at: int = NOW, delivery: str = "one") -> dict[str, str]:
    return {
        "X-MLflow-Signature": signature_of(secret, delivery, str(at), body),
        "X-MLflow-Timestamp": str(at),
        "X-MLflow-Delivery-Id": delivery,
    }


@pytest.fixture
def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver whose gate writes down how it was called."""
    script = "import json, sys; print(json.dumps(sys.argv[2:]), file=open(sys.argv[1], 'a'))"
    command = [sys.executable, "-c", script, str(tmp_path / "calls")]
    monkeypatch.setattr(mlflow_webhook, "SILENCE", 1)
    with Receiver(("127.0.0.1", 0), Doorkeeper(SECRET, now=lambda: NOW), command, ["--fail-on", "warn"]) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.waiting.join()  # what it says belongs to this test
        running.shutdown()
        thread.join()


def post(receiver: Receiver, body: bytes, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", receiver.server_address[1], timeout=10)
    connection.request("POST", "/", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def calls(folder: Path, count: int) -> list[list[str]]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        lines = (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []
        if len(lines) >= count:
            return [json.loads(line) for line in lines]
        time.sleep(0.02)
    raise TimeoutError("the gate was not run")


def test_a_delivery_is_gated_once_and_never_by_a_shell(receiver: Receiver, tmp_path: Path) -> None:
    assert post(receiver, BODY, signed()) == 202
    assert post(receiver, BODY, signed()) == 204  # the same delivery, seen by somebody who replays it
    evil = BODY.replace(b"team chat", b"x; touch $(pwd)")
    assert post(receiver, evil, signed(evil, delivery="two")) == 202
    assert calls(tmp_path, 2) == [
        ["models:/team chat/3", "--fail-on", "warn"],
        ["models:/x; touch $(pwd)/3", "--fail-on", "warn"],
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(secret=b"wrong"),
        signed(BODY + b" "),
        signed() | {"X-MLflow-Delivery-Id": "another"},
        signed() | {"X-MLflow-Timestamp": str(NOW + 1)},
        signed() | {"X-MLflow-Timestamp": "\u0661"},
        signed() | {"X-MLflow-Signature": signed()["X-MLflow-Signature"].replace("v1,", "v2,")},
        signed() | {"X-MLflow-Signature": ""},
        signed(at=NOW - 301),
        signed(at=NOW + 301),
    ],
)
def test_what_is_not_signed_or_not_now_is_not_believed(headers: dict[str, str]) -> None:
    assert Doorkeeper(SECRET, now=lambda: NOW).problem(headers, BODY)
    assert not Doorkeeper(SECRET, now=lambda: NOW).problem(signed(at=NOW - 300), BODY)


def test_what_is_not_believed_is_answered_with_401(receiver: Receiver, capfd: pytest.CaptureFixture[str]) -> None:
    assert post(receiver, BODY, signed(secret=b"wrong")) == 401
    assert post(receiver, BODY, signed(at=NOW - 301)) == 401
    assert post(receiver, BODY, {}) == 401
    said = capfd.readouterr().err
    assert said.splitlines() == [
        "refused: wrong signature",
        "refused: signed too long ago, or in the future",
        "refused: not signed",
    ]


def test_deliveries_are_bounded(receiver: Receiver) -> None:
    long = b" " * (mlflow_webhook.MOST_BYTES + 1)
    assert post(receiver, b"", signed(b"") | {"Content-Length": str(len(long))}) == 413
    assert post(receiver, b"", {"Content-Length": "-1"}) == 411
    assert post(receiver, b"", {"Content-Length": "1e3"}) == 411


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"[" * 60_000, b'{"entity": "model_version", "action": "created"}', b"\xff"]
    + [BODY.replace(b"team chat", name) for name in (b"../x", b"a:b", b"", b"a\\nb", b"a" * 257)]
    + [BODY.replace(b'"3"', version) for version in (b'"0"', b'"3/4"', b"null", b'"latest"')],
)
def test_a_signed_delivery_that_names_no_version_is_refused(receiver: Receiver, body: bytes) -> None:
    assert post(receiver, body, signed(body)) == 400


def test_other_events_are_taken_note_of_only() -> None:
    assert target_of(BODY) == "models:/team chat/3"
    assert target_of(BODY.replace(b"created", b"deleted")) is None
    assert target_of(BODY.replace(b'"model_version"', b'"prompt"')) is None


def test_a_full_queue_asks_to_come_again(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver.waiting, "put_nowait", _full)
    assert post(receiver, BODY, signed()) == 503
    monkeypatch.undo()
    assert post(receiver, BODY, signed()) == 202


def test_what_was_seen_is_forgotten_only_when_it_is_too_old_to_be_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [float(NOW)]
    door = Doorkeeper(SECRET, now=lambda: clock[0])
    assert door.is_new("one")
    clock[0] += 2 * mlflow_webhook.WINDOW
    assert not door.is_new("one")
    clock[0] += 1
    assert door.is_new("two")
    assert door.is_new("one")
    assert door.problem(signed(at=NOW + mlflow_webhook.WINDOW), BODY)
    monkeypatch.setattr(mlflow_webhook, "MOST_REMEMBERED", 2)
    assert not door.is_new("one")
    assert door.is_new("three")
    assert door.is_new("two")  # the oldest: memory is bounded before all else


def _full(_: str) -> None:
    raise mlflow_webhook.queue.Full
