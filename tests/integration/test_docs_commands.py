"""The commands of the documentation that want servers, as they stand there: only names of hosts and such are put in.

Which block is which stands in tests/docskit.py; tests/test_docs.py holds that none is left out.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import derive
import extraskit
import pytest
import smollm2
from attestkit import BASE, DERIVED, write_sketch, write_tuned
from docskit import ROOT, bash, blocks, exports, replaced, shell, surroundings
from ggufkit import llama_gguf
from loopback_hub import LoopbackHub
from mlflowkit import MlflowServer
from modelkit import make_model, safetensors_bytes, write_model
from registrykit import DockerRegistry, FakeGcs, Moto, modelpack, send
from sweepkit import held, listing

from auditor.enrolling import sketch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.integration

OWN = make_model(2, layers=2, hidden=32, neurons=48)
CARD = b"---\nlicense: apache-2.0\n---\n# A model\n"
TUNED = {"README.md": CARD, "config.json": b'{"model_type": "llama"}', "model.safetensors": safetensors_bytes(DERIVED)}
MODELS = 16
"""Of an organisation: enough that no shard of four is empty."""
INSTALL = {"pip install '": "pip install --quiet --dry-run --no-build-isolation '", "provenance-auditor[": f"{ROOT}["}
"""This checkout in place of what an index has; in an environment that has all of it nothing is left to fetch."""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Return the folder in which somebody works whose models are held against one base."""
    folder = tmp_path / "desk"
    folder.mkdir()
    write_sketch(folder / "base.sketch")
    (folder / "auditor.toml").write_text('against = ["base.sketch"]\n')
    return folder


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture(scope="module")
def organisation() -> Iterator[LoopbackHub]:
    """Many models, every other one tuned from the base."""
    with LoopbackHub() as hub:
        for number in range(MODELS):
            weights = safetensors_bytes(OWN if number % 2 else DERIVED)
            hub.publish(f"acme/m{number:05}", TUNED | {"model.safetensors": weights})
        hub.twist = listing(hub)
        yield hub


def swept(store: Path) -> list[str]:
    found = held(store).verdicts
    assert found.keys() == {f"acme/m{number:05}" for number in range(MODELS)}
    return [found[name][0] for name in sorted(found)]


# --- docs/mlflow.md


def test_a_version_is_scanned_and_gated(mlflow: MlflowServer, desk: Path, tmp_path: Path) -> None:
    write_tuned(tmp_path / "tuned")
    numbers = [mlflow.register_run("chat", tmp_path / "tuned") for _ in range(3)]
    assert numbers == ["1", "2", "3"]
    mlflow.ask("POST", "registered-models/alias", {"name": "chat", "alias": "champion", "version": "2"})
    script = shell("gate", {"https://mlflow.example": mlflow.url})
    done = bash(script, cwd=desk, env=surroundings(tmp_path))
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^[A-Z]+  |^target +\S+", done.stdout, re.MULTILINE) == [
        *("DERIVED  ", "target     models:/chat/3"),
        *("DERIVED  ", "target     models:/chat/2"),  # which the alias is on
        *("DERIVED  ", "target     models:/chat/3"),
    ]
    assert json.loads((desk / "report.json").read_text())["lineage"]["verdict"] == "derived"
    found = mlflow.version("chat", "3")
    assert found["aliases"] == ["approved"]
    page = (ROOT / "docs" / "mlflow.md").read_text()
    assert set(found["tags"]) == set(re.findall(r"^\| `(auditor\.\w+)` \|", page, re.MULTILINE))


def test_a_webhook_gates_every_new_version(mlflow: MlflowServer, desk: Path, tmp_path: Path) -> None:
    """The receiver and what tells MLflow of it, one after the other in the same shell."""
    (desk / "scripts").symlink_to(ROOT / "scripts")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
    script = "\n".join(
        (
            exports(shell("gate", {"https://mlflow.example": mlflow.url})),
            shell("receiver", {"127.0.0.1:8765": listen}).rstrip() + " 2> receiver.log &",
            "until grep -q 'listening on' receiver.log; do sleep .1; done",
            shell("webhook", {"https://gate.example/": f"http://{listen}/"}),
            "touch told",
            "wait",
        )
    )
    base = write_model(BASE, tmp_path / "base")
    (desk / "base.sketch").write_bytes(sketch(str(base), name="llama-2-7b", license="llama2"))
    hidden = write_tuned(tmp_path / "hidden")  # says of itself what is not so, under that licence
    session = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=desk,
        env=surroundings(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # the receiver ends with it
    )
    try:
        until(lambda: (desk / "told").exists() or session.poll() is not None, seconds=60)
        assert (desk / "told").exists(), session.communicate()[0]
        version = mlflow.register_run("hooked", hidden)
        said = desk / "receiver.log"
        until(lambda: f"models:/hooked/{version}: exit" in said.read_text(), seconds=60)
    finally:
        os.killpg(session.pid, signal.SIGTERM)
        printed, _ = session.communicate(timeout=20)
    (made,) = mlflow.ask("GET", "webhooks")["webhooks"]
    mlflow.ask("DELETE", f"webhooks/{made['webhook_id']}")
    assert (made["name"], made["status"]) == ("audit", "ACTIVE"), printed
    found = mlflow.version("hooked", version)
    assert f"models:/hooked/{version}: exit 1" in said.read_text()
    assert (found["tags"]["auditor.exit_code"], found["aliases"]) == ("1", ["quarantine"])


def until(true: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("it does not happen")
        time.sleep(0.1)


# --- docs/sources.md


def test_an_artifact_is_scanned_by_tag_and_by_digest(desk: Path, tmp_path: Path) -> None:
    with DockerRegistry(tmp_path / "registry") as registry:
        digest = registry.push("acme/chat", modelpack(TUNED), tag="v3")
        where = f"127.0.0.1:{registry.port}"
        script = shell("registry", {"registry.example": where, "sha256:0d1e...": digest})
        done = bash(script, cwd=desk, env=surroundings(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("DERIVED  ") == 2
    assert " ".join(done.stdout.split()).count(f"oci://{where}/acme/chat at {digest}") == 2


KEYS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret-of-nobody"}


@pytest.mark.parametrize("public", [False, True])
def test_buckets_are_scanned_by_what_the_environment_says(desk: Path, tmp_path: Path, *, public: bool) -> None:
    """Every variable is one that the page names, and those of public buckets have the values that it gives them."""
    acl = {"x-amz-acl": "public-read" if public else "private", "Authorization": "of the owner"}
    with Moto(tmp_path / "s3") as s3, FakeGcs(tmp_path / "gs") as gs:
        for store in (s3, gs):
            store.make_bucket("models")
        for path, data in TUNED.items():
            s3.put("models", f"chat/{path}", data)
            send("PUT", f"{s3.url}/models/chat/{path}?acl", headers=acl)
        gs.put("models", "chat/model.gguf", llama_gguf(DERIVED))
        given = {"AWS_ENDPOINT_URL": s3.url, "GOOGLE_BASE_URL": gs.url, "AWS_REGION": "us-east-1"}
        page = (ROOT / "docs" / "sources.md").read_text()
        without = dict(re.findall(r"`((?:AWS|GOOGLE)_SKIP_SIGNATURE)=(\w+)`", page))
        assert len(without) == 2
        given |= without if public else KEYS | {name: without[name] for name in without if name.startswith("GOOGLE")}
        assert all(f"`{name}" in page for name in given)
        env = surroundings(tmp_path, python=extraskit.python(), **given)
        done = bash(shell("buckets", INSTALL), cwd=desk, env=env)
    assert done.returncode == 0, done.stderr
    assert "does not provide the extra" not in done.stderr
    assert done.stdout.count("DERIVED  ") == 2


# --- docs/sweep.md


def test_shards_are_merged(organisation: LoopbackHub, desk: Path, tmp_path: Path) -> None:
    """The first line once for each job, the second when all have ended."""
    env = surroundings(tmp_path, HF_ENDPOINT=organisation.endpoint, HF_HUB_OFFLINE="")
    shard, merge = shell("shards").splitlines()
    for number in range(1, 5):
        part = {"part-1.db": f"part-{number}.db", "--shard 1/4": f"--shard {number}/4"}
        done = bash(replaced(shard, part), cwd=desk, env=env)
        assert done.returncode == 0, done.stderr
    done = bash(merge, cwd=desk, env=env)
    assert done.returncode == 0, done.stderr
    assert swept(desk / "sweep.db") == ["derived", "independent"] * (MODELS // 2)


def test_ray_sweeps_and_a_table_is_written(organisation: LoopbackHub, desk: Path, tmp_path: Path) -> None:
    interpreter = extraskit.python()
    given = {"HF_ENDPOINT": organisation.endpoint, "HF_HUB_OFFLINE": ""}
    env = surroundings(tmp_path, python=interpreter, **given)
    done = bash(shell("ray", INSTALL) + shell("table", INSTALL), cwd=desk, env=env)
    assert done.returncode == 0, done.stderr
    assert "does not provide the extra" not in done.stderr
    assert swept(desk / "sweep.db") == ["derived", "independent"] * (MODELS // 2)
    read = "import pyarrow.parquet as pq; print(*pq.read_table('all.parquet').column('verdict').to_pylist())"
    table = subprocess.run([interpreter, "-c", read], cwd=desk, capture_output=True, text=True, check=True)
    assert sorted(table.stdout.split()) == sorted(["derived", "independent"] * (MODELS // 2))


# --- README.md


def test_the_audit_from_python(tmp_path: Path) -> None:
    """Of a real model in another file, so that a test decides and no digest."""
    derive.write(derive.load(smollm2.fetch()), tmp_path / "copy")
    (block,) = blocks("python")
    text = replaced(block.text, {"path/to/model": str(tmp_path / "copy")}).rstrip()
    *statements, shown = text.splitlines()
    script = "\n".join((*statements, f"print({shown})"))
    env = surroundings(tmp_path, python=Path(sys.executable))
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"derived -[1-9][0-9]{2}\.[0-9]+\n", done.stdout), done.stdout
