"""What huggingface_hub's variables and files say is what the Hub source does."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hubkit import FILES, REPO, TOKEN
from huggingface_hub import constants
from huggingface_hub.errors import OIDCError
from loopback_hub import LoopbackHub
from modelkit import drifted, make_model, write_model

import auditor
from auditor import Options
from auditor.errors import HubError
from auditor.sources import hub_settings, open_source
from auditor.sources.hub_settings import HubSettings

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import sys
from auditor.sources import open_source
source = open_source(sys.argv[1])
print(source.kind, source.uri, source.revision, len(source.files()))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which nothing of the user's is set."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS"))
    }
    return kept | {"HF_HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "xdg"), "NO_PROXY": "127.0.0.1"}


def run(target: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", SCRIPT, target]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_endpoint_and_token_of_the_environment(tmp_path: Path, environment: dict[str, str]) -> None:
    with LoopbackHub() as hub:
        commit = hub.publish(REPO, FILES)
        done = run(f"hf://{REPO}@main", environment | {"HF_ENDPOINT": hub.endpoint + "/", "HF_TOKEN": TOKEN})
        assert done.stdout.split() == ["hub", f"{hub.endpoint}/{REPO}", commit, str(len(FILES))]
        assert done.stderr == ""
        assert {request.headers.get("authorization") for request in hub.requests} == {f"Bearer {TOKEN}"}
    assert list(tmp_path.rglob("*")) == []  # nothing is written


def test_token_of_a_login(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text(f"{TOKEN}\n")
    with LoopbackHub() as hub:
        hub.publish(REPO, FILES)
        run(REPO, environment | {"HF_ENDPOINT": hub.endpoint})
        assert {request.headers.get("authorization") for request in hub.requests} == {f"Bearer {TOKEN}"}
        hub.requests.clear()
        run(REPO, environment | {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"})
        assert {request.headers.get("authorization") for request in hub.requests} == {None}


def test_offline_asks_nobody(environment: dict[str, str]) -> None:
    with LoopbackHub() as hub:
        hub.publish(REPO, FILES)
        done = run(REPO, environment | {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "1", "HF_TOKEN": TOKEN})
        assert "unset HF_HUB_OFFLINE, or download it first" in done.stderr
        assert hub.requests == []


def test_local_targets_need_no_http_client(tmp_path: Path) -> None:
    script = (
        "import sys; from auditor.sources import open_source; open_source(sys.argv[1]);"
        "print(*(name for name in sys.modules if name.startswith(('httpx', 'huggingface_hub'))))"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "\n"


@pytest.fixture
def _online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.mark.usefixtures("_online")
def test_current(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = HubSettings.current()
    assert (settings.token, settings.offline, settings.cache) == (TOKEN, False, tmp_path / "cache")
    assert TOKEN not in repr(settings)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert HubSettings.current().token is None


@pytest.mark.usefixtures("_online")
@pytest.mark.parametrize("token", ["hf_\u00e4", "hf_a b", "hf_a\x1bb", "hf_a\u2028b"])
def test_token_that_is_none(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match="HF_TOKEN") as caught:
        HubSettings.current()
    assert token not in str(caught.value)


@pytest.mark.usefixtures("_online")
@pytest.mark.parametrize("error", [OIDCError(TOKEN), OSError(TOKEN), NotImplementedError(TOKEN)])
def test_token_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail() -> str:
        raise error

    monkeypatch.setattr(hub_settings, "get_token", fail)
    with pytest.raises(HubError, match="hf auth login") as caught:
        HubSettings.current()
    assert TOKEN not in str(caught.value)


@pytest.mark.usefixtures("_online")
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
def test_proxy_that_is_none(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "nonsense://user:password@proxy")
    with pytest.raises(HubError, match="HTTPS_PROXY") as caught:
        open_source(REPO)
    assert "password" not in str(caught.value)


@pytest.mark.usefixtures("_online")
def test_a_repository_is_judged_as_the_same_files_are_locally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = make_model(1)
    write_model(base, tmp_path / "base")
    folder = write_model(drifted(base, cosine=0.9), tmp_path / "acme" / "tuned", shards=3)
    folder = folder if folder.is_dir() else folder.parent
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Tuned\n")
    monkeypatch.chdir(tmp_path / "base")
    options = Options(against=(str(tmp_path / "base"),))
    with LoopbackHub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        commit = hub.publish("acme/tuned", {path.name: path.read_bytes() for path in folder.iterdir()})
        remote = auditor.scan("acme/tuned", options)
        local = auditor.scan(str(folder), options)
    assert remote.lineage.verdict == "derived"
    assert remote.lineage == local.lineage
    assert [(found.id, found.status) for found in remote.findings] == [(f.id, f.status) for f in local.findings]
    assert (remote.coverage.unread, remote.exit_code) == (local.coverage.unread, local.exit_code)
    assert (remote.target.kind, remote.target.revision) == ("hub", commit)
    assert all(file.digest_source == "hub" for file in remote.target.files if file.path.endswith(".safetensors"))
