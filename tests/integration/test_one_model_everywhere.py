"""One model in five places, each a real server or a folder: what is said of it does not depend on where it lies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import registrykit
from hubkit import TOKEN
from mlflowkit import MlflowServer
from modelkit import drifted, make_model, write_model
from olahkit import LFS_SUFFIXES, OlahHub
from registrykit import DockerRegistry, Moto
from sweepkit import auditor, environment

from auditor.enrolling import sketch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

KINDS = ("local", "oci", "s3", "hub", "mlflow")
BASE = make_model(1)

OF_THE_PLACE = {
    "target": ("uri", "kind", "revision", "files"),  # of files only which digests are known; the test holds that
    "coverage": ("bytes_read", "requests", "seconds"),
}
"""Fields of a report that say where a model lies and what reading it there took. All others are the model's."""

KNOWN_UNREAD: dict[str, Callable[[dict[str, bytes]], Iterable[str]]] = {
    "local": lambda _: (),
    "oci": lambda files: files,
    "s3": lambda _: (),
    "hub": lambda files: [path for path in files if path.endswith(LFS_SUFFIXES)],
    "mlflow": lambda _: (),
}
"""Files whose digests a place knows without their being read."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where `chat` is, which descends from the base and does not say so, and `base.sketch`."""
    made = tmp_path_factory.mktemp("models")
    licensed = sketch(str(write_model(BASE, made / "base")), name="llama-2-7b", license="llama2")
    (made / "base.sketch").write_bytes(licensed)
    write_model(drifted(BASE, cosine=0.9), made / "acme" / "chat", shards=2)
    (made / "acme" / "chat" / "README.md").write_text("---\nlicense: mit\n---\n# Trained from scratch\n")
    (made / "acme" / "chat" / "config.json").write_text('{"model_type": "llama", "hidden_size": 64}')
    return made


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, bytes]:
    chat = folder / "acme" / "chat"
    return {path.relative_to(chat).as_posix(): path.read_bytes() for path in sorted(chat.rglob("*"))}


@pytest.fixture(scope="module")
def targets(
    folder: Path, files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Put the model everywhere; return its names, and the environment in which they are understood."""
    chat = folder / "acme" / "chat"
    with contextlib.ExitStack() as servers:
        registry = servers.enter_context(DockerRegistry(tmp_path_factory.mktemp("registry")))
        registry.push("acme/chat", registrykit.modelpack(files), tag="v1")
        bucket = servers.enter_context(Moto(tmp_path_factory.mktemp("s3")))
        bucket.make_bucket("models")
        for path, data in files.items():
            bucket.put("models", f"acme/chat/{path}", data)
        hub = OlahHub(tmp_path_factory.mktemp("hub"))
        hub.publish("acme/chat", chat)
        servers.enter_context(hub)
        mlflow = servers.enter_context(MlflowServer(tmp_path_factory.mktemp("mlflow")))
        version = mlflow.register_run("chat", chat)
        home = tmp_path_factory.mktemp("home")
        variables = environment(hub.endpoint, home) | {
            "HF_TOKEN": TOKEN,
            "AWS_ENDPOINT_URL": bucket.url,
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "secret-of-nobody",
            "AWS_REGION": "us-east-1",
            "MLFLOW_TRACKING_URI": mlflow.url,
            "DOCKER_CONFIG": str(home / "docker"),
        }
        names = {
            "local": str(chat),
            "oci": registry.target("acme/chat", ":v1"),
            "s3": "s3://models/acme/chat",
            "hub": "hf://acme/chat",
            "mlflow": f"models:/chat/{version}",
        }
        yield names, variables


def scan(folder: Path, target: str, variables: dict[str, str], *options: str) -> dict[str, Any]:
    command = auditor("scan", target, "-a", folder / "base.sketch", "--layers", "all", "--format", "json", *options)
    # In a folder where `acme/chat` is no path.
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (1, "")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def of_the_model(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report without what is the place's."""
    return report | {
        part: {key: value for key, value in report[part].items() if key not in gone}
        for part, gone in OF_THE_PLACE.items()
    }


@pytest.mark.parametrize("full", [False, True])
def test_one_model_is_judged_alike_wherever_it_lies(
    folder: Path,
    files: dict[str, bytes],
    targets: tuple[dict[str, str], dict[str, str]],
    *,
    full: bool,
) -> None:
    names, variables = targets
    reports = {place: scan(folder, target, variables, *(["--full"] if full else [])) for place, target in names.items()}
    assert {place: report["target"]["kind"] for place, report in reports.items()} == {kind: kind for kind in KINDS}

    here = reports["local"]
    lineage = here["lineage"]
    assert [lineage[key] for key in ("verdict", "reference", "rung")] == ["derived", "llama-2-7b", "aligned-neurons"]
    assert (lineage["log10_p"] < -20, round(lineage["cosine"], 1), len(lineage["layers"])) == (True, 0.9, 4)
    assert lineage["relation"]["kind"] == "modified"
    assert {"BASE-001", "CARD-001"} <= {found["id"] for found in here["findings"] if found["status"] == "fail"}
    for kind in KINDS:
        assert of_the_model(reports[kind]) == of_the_model(here), kind

    digests = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    for kind, report in reports.items():
        listed = report["target"]["files"]
        assert {info["path"]: info["size"] for info in listed} == {path: len(data) for path, data in files.items()}
        known = {info["path"]: info["sha256"] for info in listed if info["sha256"]}
        assert known == {path: digests[path] for path in (files if full else KNOWN_UNREAD[kind](files))}
        assert (report["target"]["revision"] is None) == (kind in {"local", "s3"})
