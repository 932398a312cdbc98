"""Tags and aliases are written in an order that never leaves approval on what was not audited, or did not pass."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from attestkit import write_sketch
from clikit import Commands
from loopback_hub import Answer, Request
from loopback_mlflow import LoopbackMlflow
from modelkit import drifted, make_model, safetensors_bytes

from auditor.sources import mlflow_http

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSES = make_model(2, layers=2, hidden=32, neurons=48)
GATE = ("gate", "mlflow", "models:/chat/1", "--pass-alias", "approved", "--fail-alias", "quarantine")
TAGS = [f"POST set-tag auditor.{name}" for name in ("version", "verdict", "log10_p", "exit_code", "report_sha256")]
DERIVED = [f"POST set-tag auditor.{name}" for name in ("version", "verdict", "reference", "log10_p", "exit_code")]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackMlflow]:
    monkeypatch.setattr(mlflow_http, "_pause", lambda _: None)
    with LoopbackMlflow({"model.safetensors": safetensors_bytes(PASSES)}) as running:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", running.url)
        yield running


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    write_sketch(tmp_path / "base.sketch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUDITOR_AGAINST", "base.sketch")
    return Commands(capsys, monkeypatch)


def fail(server: LoopbackMlflow) -> None:
    """Let the version hold what nobody can read whole: exit code 3."""
    server.files["broken.safetensors"] = b"\xff" * 64


def refuse(server: LoopbackMlflow, what: str, key: str) -> None:
    """Let one write fail for good."""

    def twist(request: Request, answer: Answer) -> Answer:
        form = json.loads(request.headers.get("x-form", "{}"))
        return Answer(status=400) if what in request.path and key in form.values() else answer

    server.twist = twist


def test_a_version_that_passes_is_tagged_and_then_approved(
    server: LoopbackMlflow, run: Commands, tmp_path: Path
) -> None:
    server.aliases["quarantine"] = "1"  # of an earlier audit
    done = run(*GATE, "-o", "json=report.json")
    assert done.code == 0, done.err
    assert server.written() == [*TAGS, "DELETE alias quarantine", "POST alias approved"]
    assert server.aliases == {"approved": "1"}
    sha256 = hashlib.sha256((tmp_path / "report.json").read_bytes()).hexdigest()
    assert f"tag auditor.report_sha256 = {sha256}" in done.err
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert (report["target"]["uri"], report["target"]["kind"]) == ("models:/chat/1", "mlflow")
    assert f"tag auditor.log10_p = {report['lineage']['log10_p']:g}" in done.err


def test_a_version_that_does_not_pass_loses_its_approval_first(server: LoopbackMlflow, run: Commands) -> None:
    fail(server)
    server.aliases["approved"] = "1"
    assert run(*GATE).code == 3
    written = server.written()
    assert written[0] == "DELETE alias approved"
    assert written[-1] == "POST alias quarantine"
    assert server.aliases == {"quarantine": "1"}


def test_an_alias_on_another_version_is_left_there(server: LoopbackMlflow, run: Commands) -> None:
    fail(server)
    server.aliases["approved"] = "7"
    assert run(*GATE).code == 3
    assert server.aliases == {"approved": "7", "quarantine": "1"}


def test_no_alias_is_moved_unless_asked_for(server: LoopbackMlflow, run: Commands) -> None:
    server.aliases["approved"] = "7"
    assert run("gate", "mlflow", "models:/chat/1").code == 0
    assert server.aliases == {"approved": "7"}
    assert server.written() == TAGS


def test_a_derived_version_names_its_reference_and_stale_tags_go(server: LoopbackMlflow, run: Commands) -> None:
    server.version["tags"] = [{"key": "auditor.reference", "value": "old"}, {"key": "mine", "value": "kept"}]
    run(*GATE)
    assert "DELETE delete-tag auditor.reference" in server.written()
    assert "DELETE delete-tag mine" not in server.written()
    base = make_model(1, layers=2, hidden=32, neurons=48)
    server.files["model.safetensors"] = safetensors_bytes(drifted(base, cosine=0.9))
    server.requests.clear()
    done = run(*GATE)
    assert server.written()[: len(DERIVED)] == DERIVED
    assert "tag auditor.verdict = derived" in done.err
    assert "tag auditor.reference = base" in done.err


@pytest.mark.parametrize("tag", ["auditor.version", "auditor.exit_code", "auditor.report_sha256"])
def test_without_every_tag_there_is_no_approval(server: LoopbackMlflow, run: Commands, tag: str) -> None:
    refuse(server, "set-tag", tag)
    done = run(*GATE)
    assert (done.code, server.aliases) == (2, {})
    assert f"not written: tag {tag}" in done.err


def test_where_approval_cannot_be_taken_away_nothing_else_is_written(server: LoopbackMlflow, run: Commands) -> None:
    fail(server)
    server.aliases["approved"] = "1"
    refuse(server, "registered-models/alias", "approved")
    done = run(*GATE)
    assert done.code == 2
    assert "not written: alias approved removed" in done.err
    assert server.written() == ["DELETE alias approved"]


def test_a_busy_registry_is_asked_again(server: LoopbackMlflow, run: Commands) -> None:
    left = [3]

    def busy(request: Request, answer: Answer) -> Answer:
        if "x-form" in request.headers and left[0]:
            left[0] -= 1
            return Answer(status=503)
        return answer

    server.twist = busy
    assert run(*GATE).code == 0
    assert server.aliases == {"approved": "1"}


def test_a_version_that_changed_meanwhile_is_not_marked_and_loses_its_approval(
    server: LoopbackMlflow, run: Commands
) -> None:
    server.aliases["approved"] = "1"
    asked = []

    def swapped(request: Request, answer: Answer) -> Answer:
        if "model-versions/get?" in request.path:
            asked.append(request)
            if len(asked) > 1:  # when the gate looks again
                record = {"model_version": server.version | {"creation_timestamp": 1}}
                return replace(answer, body=json.dumps(record).encode())
        return answer

    server.twist = swapped
    done = run(*GATE)
    assert done.code == 2
    assert "another model was registered under this number" in done.err
    assert (server.written(), server.aliases) == (["DELETE alias approved"], {})
    assert done.out == ""


def test_a_dry_run_changes_nothing_and_says_what_it_would(server: LoopbackMlflow, run: Commands) -> None:
    fail(server)
    server.aliases["approved"] = "1"
    done = run(*GATE, "--dry-run")
    assert done.code == 3
    assert server.written() == []
    said = [line.partition("would be: ")[2] for line in done.err.splitlines()]
    assert (said[0], said[-1]) == ("alias approved removed", "alias quarantine set")
    assert done.out.startswith("I")  # the report


@pytest.mark.parametrize(
    ("aliases", "problem"),
    [
        (("--pass-alias", "latest"), "neither latest nor v1"),
        (("--fail-alias", "a/b"), "an alias is of"),
        (("--pass-alias", "x", "--fail-alias", "x"), "cannot say both"),
    ],
)
def test_an_alias_that_cannot_be_is_told_before_the_audit(
    server: LoopbackMlflow, run: Commands, aliases: tuple[str, ...], problem: str
) -> None:
    done = run("gate", "mlflow", "models:/chat/1", *aliases)
    assert done.code == 2
    assert problem in done.err
    assert server.requests == []


def test_only_a_version_in_the_registry_is_gated(server: LoopbackMlflow, run: Commands) -> None:
    done = run("gate", "mlflow", "base.sketch")
    assert done.code == 2
    assert "models:/name/version" in done.err
    assert server.requests == []


def test_a_usage_error_changes_nothing(server: LoopbackMlflow, run: Commands) -> None:
    server.aliases["approved"] = "1"
    assert run(*GATE, "--against", "nowhere.sketch").code == 2
    assert (server.written(), server.aliases) == ([], {"approved": "1"})
