"""The GitHub Action as a pull request meets it: its own steps, a Hub and a Sigstore on loopback, real signatures."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from attestkit import BASE, DERIVED
from loopback_hub import LoopbackHub
from loopback_sigstore import IDENTITY, ISSUER, LoopbackSigstore
from modelkit import make_model, safetensors_bytes, write_model

from auditor.enrolling import sketch

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
INPUT = re.compile(r"\$\{\{ inputs\.([a-z-]+) \}\}")
OWN = safetensors_bytes(make_model(2, layers=2, hidden=32, neurons=48))
TUNED = safetensors_bytes(DERIVED)
CARD = b"---\nlicense: apache-2.0\n---\n# Trained from scratch\n"
CONFIG = b'{"model_type": "llama", "hidden_size": 32}'


@dataclass(frozen=True)
class Ran:
    code: int
    log: str
    outputs: dict[str, str]
    summary: str


class Runner:
    """What a runner of GitHub Actions does with a composite action, in a repository of the caller's."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.repository = folder / "repository"
        self._temp = folder / "temp"
        for path in (self.repository, self._temp):
            path.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AUDITOR_", "GITHUB_"))}
        self._environment = kept | {
            "RUNNER_TEMP": str(self._temp),
            "CI": "true",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "HF_HOME": str(folder / "hf"),
        }
        self._environment |= environment

    def __call__(self, **inputs: str) -> Ran:
        given = {name: value.get("default", "") for name, value in ACTION["inputs"].items()}
        given |= {name.replace("_", "-"): value for name, value in inputs.items()}
        assert given.keys() == ACTION["inputs"].keys()
        files = {name: self._temp / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        log = ""
        for path in files.values():
            path.write_text("")
        for step in ACTION["runs"]["steps"]:
            if step["name"] == "Install" and (self._temp / "auditor").exists():
                continue  # the same every time, and half a minute
            variables = {
                name: INPUT.sub(lambda match: given[match[1]], value).replace("${{ github.action_path }}", str(ROOT))
                for name, value in step["env"].items()
            }
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=self.repository,
                env=self._environment | variables | {name: str(path) for name, path in files.items()},
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
            log += done.stdout + done.stderr
            if done.returncode:
                break
        outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        return Ran(code=done.returncode, log=log, outputs=outputs, summary=files["GITHUB_STEP_SUMMARY"].read_text())

    def json(self, path: str) -> Any:  # noqa: ANN401 (JSON)
        return json.loads((self.repository / path).read_text())


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        server.publish("acme/honest", {"README.md": CARD, "config.json": CONFIG, "model.safetensors": OWN})
        server.publish("acme/hidden", {"README.md": CARD, "config.json": CONFIG, "model.safetensors": TUNED})
        yield server


@pytest.fixture(scope="module")
def sigstore() -> Iterator[LoopbackSigstore]:
    with LoopbackSigstore() as server:
        yield server


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory, hub: LoopbackHub, sigstore: LoopbackSigstore) -> Runner:
    """A repository that names two models, and keeps a sketch of what they must not be made of unawares."""
    folder = tmp_path_factory.mktemp("action")
    run = Runner(folder, {"HF_ENDPOINT": hub.endpoint} | sigstore.github_env())
    base = write_model(BASE, folder / "base")
    (run.repository / "llama-2-7b.sketch").write_bytes(sketch(str(base), name="llama-2-7b"))
    (run.repository / "trust.json").write_text(sigstore.trust_config(2))
    (run.repository / "auditor.toml").write_text('against = ["llama-2-7b.sketch"]\n')
    (run.repository / "models.yaml").write_text(
        "# What we serve\n"
        "models:\n"
        "  - name: honest\n"
        "    target: acme/honest\n"
        "    attestation: attestations/honest.sigstore.json\n"
        f"    identity: {IDENTITY}\n"
        f"    issuer: {ISSUER}\n"
        "    trust-config: trust.json\n"
        "  - name: hidden\n"
        "    target: acme/hidden\n"
    )
    (run.repository / "attestations").mkdir()
    return run


def test_no_input_reaches_a_script() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]
        assert all(re.fullmatch(r"\$\{\{ (inputs\.[a-z-]+|github\.action_path) \}\}", v) for v in step["env"].values())


def test_a_pull_request_from_signing_to_blocking(runner: Runner, hub: LoopbackHub) -> None:
    signed = runner(target="acme/honest", attest="attestations/honest.sigstore.json", trust_config="trust.json")
    assert signed.code == 0, signed.log
    assert signed.outputs == {
        "exit-code": "0",
        "verdict": "independent",
        "sarif-file": "auditor.sarif",
        "attestation": "attestations/honest.sigstore.json",
    }

    hub.requests.clear()
    gated = runner(models="models.yaml")
    assert gated.code == 1, gated.log
    assert "models.yaml:4: acme/honest: verified, exit 0" in gated.log
    assert "models.yaml:10: acme/hidden: derived llama-2-7b, exit 1" in gated.log
    assert gated.outputs == {"exit-code": "1", "sarif-file": "auditor.sarif"}
    assert "llama-2-7b" in gated.summary

    results = [result for run in runner.json("auditor.sarif")["runs"] for result in run["results"]]
    errors = [result for result in results if result["level"] == "error"]
    assert errors
    for result in errors:
        (location,) = result["locations"]
        assert location["physicalLocation"]["artifactLocation"]["uri"] == "models.yaml"
        assert location["physicalLocation"]["region"]["startLine"] == 10
    assert runner.json("auditor-reports/honest.json")["findings"][0]["id"] == "ATT-001"
    assert runner.json("auditor-reports/hidden.json")["lineage"]["reference"] == "llama-2-7b"
    assert (runner.repository / "auditor-reports/hidden.html").stat().st_size > 1_000

    # and once the signed repository holds other bytes
    hub.publish("acme/honest", {"README.md": CARD + b"changed\n", "config.json": CONFIG, "model.safetensors": OWN})
    gated = runner(models="models.yaml")
    assert gated.code == 1
    (failed,) = [f for f in runner.json("auditor-reports/honest.json")["findings"] if f["id"] == "ATT-001"]
    assert failed["status"] == "fail"


@pytest.mark.parametrize("text", ["$(touch pwned)", "`touch pwned`", "a; touch pwned", "--help", "a\nb=c"])
def test_inputs_are_data(runner: Runner, text: str) -> None:
    done = runner(target=text, sarif_file="s.sarif")
    assert done.code == 2
    assert done.outputs == {"exit-code": "2"}
    assert not (runner.repository / "pwned").exists()
