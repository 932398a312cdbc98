"""`auditor doctor`: what it finds, what it does not show, and when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from clikit import Commands
from hubkit import TOKEN
from loopback_hub import LoopbackHub

from auditor import doctor
from auditor.sources.hub_settings import HubSettings


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "SIGSTORE", "http://127.0.0.1:9")
    for name in doctor._IDENTITIES:  # noqa: SLF001
        monkeypatch.delenv(name, raising=False)
    return Commands(capsys, monkeypatch)


def states(run: Commands, *arguments: str, code: int = 0) -> dict[str, dict[str, str]]:
    done = run("doctor", "-f", "json", *arguments)
    assert done.code == code, done
    return {f"{check['name']} {check['state']}": check for check in done.json}


def test_what_is_there_is_said(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    with LoopbackHub() as hub:
        settings = hub.settings(token=TOKEN)
        monkeypatch.setattr(HubSettings, "current", staticmethod(lambda: settings))
        found = states(run)
        shown = run("doctor")
    assert "reached (HTTP" in found["hub ok"]["text"]
    assert "not reached" in found["sigstore note"]["text"]
    assert "smollm2-135m-instruct" in found["references ok"]["text"]
    assert "auditor references build llama-2-7b" in found["references note"]["fix"]
    assert {"auditor ok", "packages ok", "settings ok", "cache ok", "hub token ok", "identity note"} <= set(found)
    assert TOKEN not in shown.out + shown.err
    assert all(len(line) <= 80 or "/" in line for line in shown.out.splitlines())  # a path is not broken


def test_offline_reaches_for_nothing(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(doctor.httpx2, "head", refuse)
    assert "hub note" in states(run, "--offline")


def test_what_is_broken_fails_with_what_to_do(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("auditor.toml").write_text("fail-no = 1\n")
    monkeypatch.setattr(doctor, "NEEDED", ("numpy", "no-such-package"))
    assert run("doctor", "--offline").code == 1
    found = {f"{check.name} {check.state}": check for check in doctor.examine(offline=True)}
    assert found["packages fail"].text == "not installed: no-such-package"
    assert "did you mean" in found["settings fail"].text
    assert all(check.fix for check in found.values() if check.state == "fail")


def test_a_job_s_identity_is_seen_and_not_shown(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", "eyJ-secret")
    found = states(run, "--offline")
    assert "GitLab CI" in found["identity ok"]["text"]
    assert "eyJ-secret" not in str(found)
