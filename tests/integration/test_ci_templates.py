"""The GitLab job and the pre-commit hooks: their own commands, in a repository that names models, by the real tools."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from attestkit import BASE, DERIVED
from modelkit import make_model, write_model
from venvkit import python_of

from auditor.enrolling import sketch

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
JOB = yaml.safe_load((ROOT / "docs/ci/gitlab.yml").read_text())
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
OURS = Path(sys.executable).parent


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository that names two models: one of its own, and one that hides where it comes from."""
    folder = tmp_path / "repository"
    write_model(make_model(2, layers=2, hidden=32, neurons=48), folder / "own")
    write_model(DERIVED, folder / "hidden")
    for name in ("own", "hidden"):
        (folder / name / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Trained from scratch\n")
    base = write_model(BASE, tmp_path / "base")
    (folder / "llama-2-7b.sketch").write_bytes(sketch(str(base), name="llama-2-7b"))
    (folder / "auditor.toml").write_text('against = ["llama-2-7b.sketch"]\n')
    (folder / "models.yaml").write_text("models:\n  - own\n  - hidden\n")
    return folder


def shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AUDITOR_", "GIT_"))}
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=kept | {"PATH": f"{OURS}:{kept['PATH']}", "CI": "true"} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_gitlab_job(repository: Path) -> None:
    """The commands of `script`, with what is installed here in place of what `before_script` would fetch."""
    variables = {name: str(value) for name, value in JOB["variables"].items()}
    job = JOB["auditor"]
    assert "provenance-auditor" in job["before_script"][0]
    done = shell("\n".join(job["script"]), repository, **variables)
    assert done.returncode == 1, done.stderr
    assert "models.yaml:3: hidden: derived llama-2-7b, exit 1" in done.stderr
    reports = job["artifacts"]["reports"]
    quality = json.loads((repository / reports["codequality"]).read_text())
    assert {entry["location"]["path"] for entry in quality} == {"models.yaml"}
    assert {3} <= {entry["location"]["lines"]["begin"] for entry in quality}
    assert (repository / reports["junit"]).read_text().count("<testsuite ") == 2
    assert len(list(repository.glob(reports["cyclonedx"]))) == 2
    assert len(list(repository.glob(f"{job['artifacts']['paths'][0]}/*.html"))) == 2
    assert job["artifacts"]["when"] == "always"
    (repository / "own.txt").write_text("own\n")
    passing = shell("\n".join(job["script"]), repository, **variables | {"MODELS": "own.txt"})
    assert passing.returncode == 0, passing.stderr


def test_the_pre_commit_hooks(repository: Path) -> None:
    """pre-commit itself, which clones this repository, installs it, and runs a hook where the list changed."""
    command = python_of("pre-commit", ["pre-commit"]).with_name("pre-commit")
    head = shell("git rev-parse HEAD", ROOT).stdout.strip()
    config = {
        "repos": [
            {
                "repo": str(ROOT),
                "rev": head,
                "hooks": [{"id": "auditor", "args": ["models.yaml"]}, {"id": "auditor-card", "args": ["hidden"]}],
            }
        ]
    }
    (repository / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    home = {"PRE_COMMIT_HOME": str(repository.parent / "hooks"), "PATH": f"{command.parent}:{os.environ['PATH']}"}
    assert shell("git init -q && git add -A", repository, **home).returncode == 0
    done = shell("pre-commit run --all-files", repository, **home)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "models.yaml:3: hidden: derived llama-2-7b, exit 1" in done.stdout
    (repository / "models.yaml").write_text("models:\n  - own\n")
    passed = shell("git add -A && pre-commit run auditor --files models.yaml", repository, **home)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    skipped = shell("pre-commit run auditor --files llama-2-7b.sketch", repository, **home)
    assert "Skipped" in skipped.stdout
    assert set(HOOKS) == {"auditor", "auditor-card"}
