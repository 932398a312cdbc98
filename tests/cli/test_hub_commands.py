"""Repositories of the Hub at the command line: one line for each refusal, no secret in any, the answer of a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deskkit import OTHER, TARGET, TUNED, Desk
from hubkit import TOKEN, times
from loopback_hub import Answer
from modelkit import make_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from loopback_hub import Request

pytest_plugins = ("deskfixtures",)


@pytest.fixture
def reference(desk: Desk) -> str:
    """Return a sketch of the base, so that nothing else is needed."""
    assert desk("sketch", desk.write(make_model(1), "base"), "-o", "base.sketch").code == 0
    return "base.sketch"


def busy(_: Request, answer: Answer) -> Answer:
    return Answer(status=429, headers={"Retry-After": "7"}) if answer.status == 200 else answer


def gated(desk: Desk) -> str:
    desk.hub.gated.add(TARGET)
    return f"{TARGET}: gated: accept its terms at {desk.hub.endpoint}/{TARGET} "


def missing(desk: Desk) -> str:
    del desk.hub.repositories[TARGET]
    return f"{TARGET}: {desk.hub.endpoint.removeprefix('http://')} knows no such repository (401): no such local path "


def renamed(desk: Desk) -> str:
    desk.hub.renamed[TARGET] = "acme/new-name"
    return f"{TARGET}: renamed: the repository is called acme/new-name now; scan acme/new-name"


def empty(desk: Desk) -> str:
    desk.hub.publish(TARGET, {".gitattributes": b""})
    return f"{TARGET}: the repository holds no files at this revision"


def always_busy(desk: Desk) -> str:
    desk.hub.twist = busy
    return f"{TARGET}: {desk.hub.endpoint.removeprefix('http://')} answers 429, 5 times"


def unreachable(desk: Desk) -> str:
    desk.settings(endpoint="http://127.0.0.1:1", token=TOKEN)
    return f"{TARGET}: 127.0.0.1:1 cannot be reached ([Errno 111] Connection refused), 5 times"


def offline(desk: Desk) -> str:
    desk.settings(offline=True)
    return (
        f"{TARGET}: offline mode is on and the local cache does not hold this revision; unset HF_HUB_OFFLINE, or "
        "download it first"
    )


@pytest.mark.parametrize("refusal", [gated, missing, renamed, empty, always_busy, unreachable, offline])
@pytest.mark.parametrize("token", [None, TOKEN], ids=["nobody", "token"])
def test_every_refusal_is_one_line_and_exit_2(
    desk: Desk,
    reference: str,
    refusal: Callable[[Desk], str],
    token: str | None,
) -> None:
    desk.publish(TUNED)
    desk.settings(token=token)
    expected = refusal(desk)
    desk.hub.requests.clear()
    said = desk.fails("scan", TARGET, "-a", reference)
    assert expected in said
    assert TOKEN not in said
    if token and refusal not in {unreachable, offline}:
        assert {request.headers.get("authorization") for request in desk.hub.asked("hub")} == {f"Bearer {TOKEN}"}
        assert {request.headers.get("authorization") for request in desk.hub.asked("cdn")} <= {None}


@pytest.mark.parametrize("command", [("digest",), ("sketch", "-o", "out"), ("compare", "base.sketch")])
def test_other_commands_refuse_in_the_same_words(desk: Desk, reference: str, command: tuple[str, ...]) -> None:
    assert reference == "base.sketch"
    desk.hub.publish(TARGET, {"README.md": b"# gated"})
    assert missing(desk) in desk.fails(*command, TARGET)
    assert not Path("out").exists()


def test_a_revision_that_is_not_there(desk: Desk, reference: str) -> None:
    desk.publish(TUNED)
    said = desk.fails("scan", f"{TARGET}@v9", "-a", reference)
    where = f"{desk.hub.endpoint}/{TARGET}/commits"
    assert said.endswith(f"{TARGET}@v9: the repository has no such revision; see {where}")


@pytest.mark.parametrize("name", ["acme/na me", "acme/..", "hf://", "hf://acme", "acme/tuned@"])
def test_what_is_no_name_asks_nobody(desk: Desk, name: str) -> None:
    assert desk.fails("scan", name)
    assert desk.hub.requests == []


def test_a_busy_server_is_waited_for(desk: Desk, reference: str, waits: list[float]) -> None:
    desk.publish(TUNED)
    desk.hub.twist = times(1, busy)
    done = desk("scan", TARGET, "-a", reference, "-f", "json", "--fail-on", "never")
    assert (done.code, done.err, done.json["lineage"]["verdict"]) == (0, "", "derived")
    assert len(waits) == 1
    assert waits[0] >= 7


def test_no_token_in_a_report(desk: Desk, reference: str) -> None:
    desk.publish(TUNED)
    desk.settings(token=TOKEN)
    for arguments in (("-f", "json"), (), ("--dry-run",)):
        done = desk("scan", TARGET, "-a", reference, "--fail-on", "never", *arguments)
        assert done.code == 0
        assert TOKEN not in done.out + done.err
    assert {request.headers.get("authorization") for request in desk.hub.asked("hub")} == {f"Bearer {TOKEN}"}
    assert {request.headers.get("authorization") for request in desk.hub.asked("cdn")} == {None}


@pytest.mark.parametrize("model", [TUNED, OTHER])
def test_the_answer_is_that_of_the_same_files_in_a_folder(desk: Desk, reference: str, model: dict[str, Any]) -> None:
    commit = desk.publish(model)
    far, near = (desk.scan(target, "-a", reference, "--quick") for target in (TARGET, desk.write(model)))
    assert far["lineage"] == near["lineage"]
    assert far["findings"] == near["findings"]
    assert (far["target"]["uri"], far["target"]["revision"]) == (f"{desk.hub.endpoint}/{TARGET}", commit)
    assert [entry["size"] for entry in far["target"]["files"]] == [entry["size"] for entry in near["target"]["files"]]


def test_a_revision_is_pinned_before_anything_is_read(desk: Desk, reference: str) -> None:
    """A push while a scan goes on changes nothing in it."""
    old = desk.publish(TUNED)

    def push(request: Request, answer: Answer) -> Answer:
        if "/tree/" in request.path and len(desk.hub.repositories[TARGET].commits) == 1:
            desk.publish(OTHER)
        return answer

    desk.hub.twist = push
    report = desk.scan(TARGET, "-a", reference)
    assert (report["target"]["revision"], report["lineage"]["verdict"]) == (old, "derived")
    desk.hub.twist = lambda _, answer: answer
    assert desk.scan(TARGET, "-a", reference)["lineage"]["verdict"] == "independent"
    assert desk.scan(f"hf://{TARGET}@{old}", "-a", reference)["lineage"]["verdict"] == "derived"


def test_in_a_process_of_its_own(desk: Desk, reference: str) -> None:
    """The variables that huggingface_hub reads at its import are those that count."""
    desk.publish(TUNED)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")} | {
        "HF_ENDPOINT": desk.hub.endpoint,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(desk.folder / "home"),
        "NO_PROXY": "127.0.0.1",
        "CI": "true",
    }
    command = [sys.executable, "-W", "error", "-m", "auditor", "scan", TARGET, "-a", reference, "-f", "json"]
    done = subprocess.run(command, env=environment, cwd=desk.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["lineage"]["verdict"] == "derived"
    assert {request.headers.get("authorization") for request in desk.hub.asked("hub", TARGET)} == {f"Bearer {TOKEN}"}
    assert TOKEN not in done.stdout
