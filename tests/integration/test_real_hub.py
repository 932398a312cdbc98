"""Against a real Hub on loopback: git and LFS repositories behind Olah and nginx, and Olah alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import derive
import numpy as np
import pytest
import smollm2
from hubkit import TOKEN, noise, whole
from huggingface_hub import constants
from modelkit import write_model
from olahkit import OlahHub

import auditor
from auditor import Options
from auditor.errors import GatedRepo, MissingRepo, RangeIgnored
from auditor.sources import LocalSource, Range
from auditor.sources.hub import HubSource
from auditor.sources.hub_settings import HubSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.lineage import FirstLayers

pytestmark = pytest.mark.integration

WEIGHTS = noise(3_000_000, "weights")
FILES = {
    "config.json": b'{"a": 1}',
    "big/model.safetensors": WEIGHTS,
    "small.model": b"abc" * 100,
    "tokenizer.json": noise(900_000),
}
REFERENCE = "smollm2-135m-instruct"


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with SmolLM2 itself, a derivative of it in two shards, and a model of its own."""
    folder = tmp_path_factory.mktemp("models") / "acme"
    (folder / "smol").mkdir(parents=True)
    path = smollm2.fetch()
    shutil.copyfile(path, folder / "smol" / path.name)
    (folder / "smol" / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Smol\n")
    model = derive.load(path)
    tuned = derive.fine_tuned(derive.restacked(model, [0, 5, 10, 15, 20, 25]), change=0.3, seed=1)
    write_model({name: w.astype(np.float16) for name, w in tuned.items()}, folder / "tuned", shards=2)
    (folder / "tuned" / "README.md").write_text("---\nlicense: mit\n---\n# Trained from scratch\n")
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[OlahHub]:
    folder = tmp_path_factory.mktemp("hub")
    server = OlahHub(folder, gated={"acme/gated"}, limited={"acme/limited"})
    files = write(tmp_path_factory.mktemp("files"), FILES)
    for repo in ("acme/plain", "acme/gated", "acme/limited"):
        server.publish(repo, files)
    for name in ("smol", "tuned"):
        server.publish(f"acme/{name}", models / name)
    with server:
        yield server


def settings(endpoint: str, cache: Path = Path("/nonexistent")) -> HubSettings:
    return HubSettings(endpoint=endpoint, cache=cache, token=TOKEN)


@pytest.fixture
def source(hub: OlahHub) -> HubSource:
    return HubSource("acme/plain", settings(hub.endpoint))


def test_every_byte(source: HubSource) -> None:
    assert {info.path: info.size for info in source.files()} == {path: len(data) for path, data in FILES.items()}
    assert {path: whole(source, path) for path in FILES} == FILES


def test_few_requests(source: HubSource) -> None:
    ranges = [Range(start, start + 100) for start in range(100_000, 2_900_000, 200_000)]
    assert source.read("big/model.safetensors", ranges) == [WEIGHTS[start:stop] for start, stop in ranges]
    assert source.http_requests == 2 + 2 + len(ranges)  # commit and list; redirect and head; one each
    assert source.http_bytes < 80_000


def test_revisions_and_a_branch_that_moves(hub: OlahHub, tmp_path: Path) -> None:
    first = write(tmp_path / "first", {"model.safetensors": noise(300_000, "first")})
    second = write(tmp_path / "second", {"model.safetensors": noise(300_000, "second")})
    old = hub.publish("acme/moving", first)
    hub.reload()
    pinned = HubSource("acme/moving@main", settings(hub.endpoint))
    new = hub.publish("acme/moving", second)
    tagged = hub.publish("acme/moving", first, ref="other")
    hub.reload()
    assert pinned.revision == old
    assert whole(pinned, "model.safetensors") == noise(300_000, "first")
    for revision, commit, seed in (("", new, "second"), (f"@{old}", old, "first"), ("@other", tagged, "first")):
        source = HubSource(f"hf://acme/moving{revision}", settings(hub.endpoint))
        assert source.revision == commit
        assert whole(source, "model.safetensors") == noise(300_000, seed)


def test_gated(hub: OlahHub) -> None:
    source = HubSource("acme/gated", settings(hub.endpoint))
    with pytest.raises(GatedRepo, match=f"accept its terms at {hub.endpoint}/acme/gated"):
        whole(source, "big/model.safetensors")


@pytest.mark.parametrize("target", ["acme/absent", "acme/plain@absent"])
def test_missing(hub: OlahHub, target: str) -> None:
    with pytest.raises(MissingRepo):
        HubSource(target, settings(hub.endpoint))


def test_rate_limit(hub: OlahHub) -> None:
    """Two requests a second, no burst: 429 comes between, and is waited out."""
    sources = [HubSource("acme/limited", settings(hub.endpoint)) for _ in range(2)]
    assert sum(source.http_requests for source in sources) > 4
    assert " 429 " in hub.logged()


def test_expired_url(hub: OlahHub, source: HubSource) -> None:
    source.read("big/model.safetensors", [Range(0, 1)])
    hub.expire()
    ranges = [Range(start, start + 100) for start in range(100_000, 2_900_000, 200_000)]
    assert source.read("big/model.safetensors", ranges) == [WEIGHTS[start:stop] for start, stop in ranges]
    assert " 403 " in hub.logged()


def test_connection_cut_in_mid_range(hub: OlahHub, source: HubSource) -> None:
    source.read("big/model.safetensors", [Range(0, 1)])
    hub.trickle = True
    hub.reload()
    read: list[bytes] = []
    reading = threading.Thread(
        target=lambda: read.extend(source.read("big/model.safetensors", [Range(1_000_000, 1_200_000)]))
    )
    before = source.http_bytes
    reading.start()
    while source.http_bytes == before:
        time.sleep(0.01)
    hub.trickle = False
    hub._configure()  # noqa: SLF001 - the worker that takes the killed one's place is started by the old settings
    hub.cut()
    hub.reload()
    reading.join(60)
    assert read == [WEIGHTS[1_000_000:1_200_000]]
    assert source.http_bytes - before > 200_000  # what came before the cut came again


def test_olah_alone_ignores_ranges_and_is_refused(hub: OlahHub) -> None:
    source = HubSource("acme/plain", settings(hub.bare))
    before = source.http_bytes
    with pytest.raises(RangeIgnored, match=rf"{hub.bare[7:]} ignores ranges"):
        source.read("big/model.safetensors", [Range(1_000_000, 1_000_010)])
    assert source.http_bytes == before
    for path in ("config.json", "small.model", "tokenizer.json"):  # whole, and held against their digests
        assert whole(source, path) == FILES[path]


def test_credentials_stay_at_the_endpoint(hub: OlahHub, source: HubSource) -> None:
    whole(source, "big/model.safetensors")
    lines = (hub.folder / "access.log").read_text().splitlines()
    assert any(TOKEN in line for line in lines)
    assert not any(TOKEN in line for line in lines if "/cdn/" in line)


def test_snapshot_that_huggingface_hub_made(hub: OlahHub, tmp_path: Path) -> None:
    script = "import huggingface_hub as h; print(h.snapshot_download('acme/plain', token=False))"
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": ""}
    command = [sys.executable, "-c", script]
    folder = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    source = HubSource("acme/plain", settings(hub.endpoint, tmp_path))
    assert source.served_from == "cache"
    assert {path: whole(source, path) for path in FILES} == FILES
    place = source.on_disk("big/model.safetensors")
    assert place is not None
    assert Path(place.path) == Path(folder, "big/model.safetensors").resolve()
    offline = HubSource("acme/plain", replace(settings(hub.endpoint, tmp_path), offline=True))
    assert (offline.revision, offline.http_requests) == (source.revision, 0)
    assert {path: whole(offline, path) for path in FILES} == FILES


@pytest.mark.parametrize("first_layers", ["few", "all"])
@pytest.mark.parametrize("name", ["smol", "tuned"])
def test_a_repository_is_judged_as_the_same_files_are_locally(
    hub: OlahHub,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    first_layers: FirstLayers,
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    options = Options(against=(REFERENCE,), first_layers=first_layers)
    remote, local = auditor.scan(f"acme/{name}", options), auditor.scan(str(models / name), options)
    assert remote.lineage.candidates == local.lineage.candidates  # far away, no more is read beside a sure verdict
    assert set(remote.lineage.supporting) <= set(local.lineage.supporting)
    assert [(found.id, found.status) for found in remote.findings] == [
        (found.id, found.status) for found in local.findings
    ]
    assert (remote.coverage.unread, remote.exit_code) == (local.coverage.unread, local.exit_code)
    assert (remote.target.kind, local.target.kind) == ("hub", "local")
    assert [file.path for file in remote.target.files] == [info.path for info in LocalSource(models / name).files()]


def test_command_line(hub: OlahHub, tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path), "HF_DEBUG": "1"}
    environment |= {"HF_HUB_OFFLINE": "", "XDG_CACHE_HOME": str(tmp_path)}

    def run(target: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "auditor", "scan", target, "--against", REFERENCE, "--format", "json"]
        return subprocess.run(
            command, env=os.environ | environment | more, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    done = run("acme/tuned@main")
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert (report["target"]["kind"], report["lineage"]["verdict"]) == ("hub", "derived")
    assert len(report["target"]["revision"]) == 40
    refusals = [run("acme/absent"), run("acme/gated"), run("acme/tuned", HF_HUB_OFFLINE="1"), run("acme/..")]
    for refusal in refusals:
        assert refusal.returncode == 2
        assert refusal.stdout == ""
        assert len(refusal.stderr.splitlines()) == 1
    for output in (done, *refusals):
        assert TOKEN not in output.stdout + output.stderr
    assert not list(tmp_path.iterdir())  # nothing is written
