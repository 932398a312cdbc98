"""Against a real MLflow server on loopback: the source, the gate, and the webhook that runs it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from clikit import in_process
from hubkit import noise, whole
from mlflowkit import MlflowServer
from modelkit import drifted, make_model, write_model

from auditor.audit import Options, audit, scan
from auditor.digests.files import Hashing
from auditor.enrolling import sketch
from auditor.errors import ArtifactsElsewhere, MissingModelVersion, MlflowError, VersionChanged
from auditor.sources import Range
from auditor.sources.mlflow import MlflowSource
from auditor.sources.mlflow_settings import MlflowSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from auditor.report import Report

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).parents[2] / "scripts" / "mlflow_webhook.py"
SECRET = "a secret of the tests"  # noqa: S105
BIG = noise(3_000_000, "weights")
FILES = {
    "MLmodel": b"flavors: {}\n",
    "empty": b"",
    "a folder/b c\u00e4+&=.safetensors": BIG,
    "a folder/deeper/tokenizer.json": noise(300_000),
}
BASE = make_model(1)
OWN = make_model(2)
GATE = ("--pass-alias", "approved", "--fail-alias", "quarantine")


@dataclass(frozen=True, kw_only=True)
class Made:
    """Folders: `mit`, a model that descends from the base and does not say so; `own`, one that does not."""

    folder: Path

    @property
    def sketch(self) -> str:
        return str(self.folder / "base.sketch")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("models")
    (folder / "base.sketch").write_bytes(
        sketch(str(write_model(BASE, folder / "base")), name="llama-2-7b", license="llama2")
    )
    write_model(drifted(BASE, cosine=0.9), folder / "mit", shards=2)
    (folder / "mit" / "README.md").write_text("---\nlicense: mit\n---\n# Trained from scratch\n")
    write_model(OWN, folder / "own")
    (folder / "own" / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    for path, data in FILES.items():
        (folder / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "files" / path).write_bytes(data)
    return Made(folder=folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("bucket"), bucket=True) as running:
        yield running


@pytest.fixture
def settings(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> MlflowSettings:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    return MlflowSettings.current()


def comparable(report: Report) -> dict[str, Any]:
    """Return a report without what may differ between a folder and a registry: the place, and what reading cost."""
    found = report.as_dict()
    target, coverage = found.pop("target"), found.pop("coverage")
    assert isinstance(target, dict)
    assert isinstance(coverage, dict)
    return found | {"files": [(info["path"], info["size"]) for info in target["files"]], "unread": coverage["unread"]}


# --- the source


@pytest.mark.parametrize("how", ["run", "resolved run", "logged model", "copy of a version"])
def test_every_byte_however_it_was_registered(
    server: MlflowServer, settings: MlflowSettings, made: Made, how: str
) -> None:
    folder, name = made.folder / "files", f"files {how}"
    if how == "logged model":
        model = server.log_model(folder)
        version, origin = server.register(name, f"models:/{model}", model_id=model), f"1+model.{model}"
    else:
        run = server.log_run(folder)
        source = f"runs:/{run}/model"
        if how == "resolved run":
            source = server.ask("GET", "artifacts/list", {"run_id": run})["root_uri"] + "/model"
        elif how == "copy of a version":
            source = f"models:/{name} of/{server.register(f'{name} of', source, run_id=run)}"
        version, origin = server.register(name, source, run_id=run), f"1+run.{run}"
    opened = MlflowSource(f"models:/{name}/{version}", settings)
    assert {info.path: info.size for info in opened.files()} == {path: len(data) for path, data in FILES.items()}
    assert {path: whole(opened, path) for path in FILES} == FILES
    assert (opened.uri, opened.revision, opened.refused()) == (f"models:/{name}/1", origin, ())


def test_ranges_are_honoured(server: MlflowServer, settings: MlflowSettings, made: Made) -> None:
    """Of 3 MB, 14 pieces of 100 bytes and the head."""
    version = server.register_run("ranges", made.folder / "files")
    source = MlflowSource(f"models:/ranges/{version}", settings)
    (path,) = (info.path for info in source.files() if info.size == len(BIG))
    ranges = [Range(start, start + 100) for start in range(100_000, 2_900_000, 200_000)]
    assert source.read(path, ranges) == [BIG[start:stop] for start, stop in ranges]
    assert source.http_bytes < 80_000


@pytest.mark.parametrize("how", ["run", "logged model"])
def test_what_lies_in_a_bucket_is_read_there(made: Made, bucket: MlflowServer, how: str) -> None:
    """Through the proxy, each range would cost the server the whole object."""
    if how == "run":
        version = bucket.register_run("bucket", made.folder / "files")
    else:
        model = bucket.log_model(made.folder / "files")
        version = bucket.register("bucket", f"models:/{model}", model_id=model)
    settings = MlflowSettings.current({"MLFLOW_TRACKING_URI": bucket.url, "MLFLOW_TRACKING_TOKEN": "a-token"})
    source = MlflowSource(f"models:/bucket/{version}", settings)
    (path,) = (info.path for info in source.files() if info.size == len(BIG))
    ranges = [Range(start, start + 100) for start in range(100_000, 2_900_000, 200_000)]
    before = len(bucket.logged().split("GET /models/artifacts/"))
    assert source.read(path, ranges) == [BIG[start:stop] for start, stop in ranges]
    assert source.http_bytes < 80_000
    assert len(bucket.logged().split("GET /models/artifacts/")) - before == 1 + len(ranges)  # by us, of the bucket
    assert {path: whole(source, path) for path in FILES} == FILES


def test_what_is_not_there(server: MlflowServer, settings: MlflowSettings, made: Made) -> None:
    server.register_run("lonely", made.folder / "own")
    for target in ("models:/absent/1", "models:/lonely/77", "models:/lonely@absent"):
        with pytest.raises(MissingModelVersion):
            MlflowSource(target, settings)


def test_a_bucket_that_the_server_does_not_list_is_refused(server: MlflowServer, settings: MlflowSettings) -> None:
    version = server.register("far", "s3://bucket/model")
    with pytest.raises(ArtifactsElsewhere, match="lie in s3"):
        MlflowSource(f"models:/far/{version}", settings)


def test_a_folder_without_files_is_refused(server: MlflowServer, settings: MlflowSettings, made: Made) -> None:
    run = server.log_run(made.folder / "own")
    version = server.register("empty", f"runs:/{run}/elsewhere", run_id=run)
    with pytest.raises(MlflowError, match="has no files"):
        MlflowSource(f"models:/empty/{version}", settings)


def test_a_model_deleted_and_made_anew_is_another(server: MlflowServer, settings: MlflowSettings, made: Made) -> None:
    version = server.register_run("anew", made.folder / "own")
    source = MlflowSource(f"models:/anew/{version}", settings)
    source.check_unchanged()
    server.unregister("anew")
    again = server.register("anew", source.version.source, run_id=source.version.run_id or "")
    assert again == version  # MLflow gives the number out again
    with pytest.raises(VersionChanged, match="another model"):
        source.check_unchanged()


@pytest.mark.parametrize("model", ["mit", "own"])
def test_a_folder_and_the_registry_give_the_same_report(
    server: MlflowServer, settings: MlflowSettings, made: Made, model: str
) -> None:
    version = server.register_run(f"same-{model}", made.folder / model)
    # Of what is far away few layers are looked at first, and none whole: here the looks are the same.
    options = Options(against=(made.sketch,), digests="tensors", first_layers="all", depth="quick")
    near = scan(str(made.folder / model), options)
    source = MlflowSource(f"models:/same-{model}/{version}", settings)
    far = audit(f"models:/same-{model}/{version}", options, hashing=Hashing(source)).report
    assert comparable(far) == comparable(near)
    assert far.lineage.verdict == {"mit": "derived", "own": "independent"}[model]
    assert far.target.files == near.target.files  # digests and all
    read = sum(info.size for info in far.target.files)
    assert far.coverage.bytes_read >= read
    assert far.coverage.requests == source.http_requests > len(far.target.files)


# --- the gate


def gate(server: MlflowServer, made: Made, target: str, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    arguments = ("gate", "mlflow", target, "--against", made.sketch, *options)
    return in_process(*arguments, cwd=made.folder, env={"MLFLOW_TRACKING_URI": server.url} | env)


def test_one_version_is_approved_and_the_next_is_not(server: MlflowServer, made: Made, tmp_path: Path) -> None:
    good, bad = (server.register_run("gated", made.folder / model) for model in ("own", "mit"))
    done = gate(server, made, f"models:/gated/{good}", *GATE, "-o", f"json={tmp_path}/good.json")
    assert done.returncode == 0, done.stderr
    found = server.version("gated", good)
    report = (tmp_path / "good.json").read_bytes()
    assert found["aliases"] == ["approved"]
    assert found["tags"]["auditor.verdict"] == "independent"
    assert found["tags"]["auditor.exit_code"] == "0"
    assert found["tags"]["auditor.report_sha256"] == hashlib.sha256(report).hexdigest()
    assert json.loads(report)["coverage"]["bytes_read"] > 0

    done = gate(server, made, f"models:/gated/{bad}", *GATE)
    assert done.returncode == 1
    tagged = server.version("gated", bad)
    assert tagged["aliases"] == ["quarantine"]
    assert tagged["tags"]["auditor.verdict"] == "derived"
    assert tagged["tags"]["auditor.reference"] == "llama-2-7b"
    assert float(tagged["tags"]["auditor.log10_p"]) < -20
    assert server.version("gated", good)["aliases"] == ["approved"]  # still the last that passed

    server.ask("POST", "registered-models/alias", {"name": "gated", "alias": "approved", "version": bad})
    assert gate(server, made, "models:/gated@approved", *GATE).returncode == 1  # approved by hand
    assert server.version("gated", bad)["aliases"] == ["quarantine"]


def test_a_dry_run_leaves_the_registry_as_it_is(server: MlflowServer, made: Made) -> None:
    version = server.register_run("dry", made.folder / "own")
    before = server.version("dry", version)
    done = gate(server, made, f"models:/dry/{version}", *GATE, "--dry-run")
    assert done.returncode == 0
    assert "would be: alias approved set" in done.stderr
    assert server.version("dry", version) == before


def test_a_token_is_sent_and_never_written_down(server: MlflowServer, made: Made, tmp_path: Path) -> None:
    version = server.register_run("token", made.folder / "own")
    token = "never-to-be-seen"  # noqa: S105
    outputs = [f"{format_}={tmp_path}/{format_}" for format_ in ("json", "text", "sarif")]
    options = [option for output in outputs for option in ("-o", output)]
    done = gate(server, made, f"models:/token/{version}", *options, MLFLOW_TRACKING_TOKEN=token)
    assert done.returncode == 0
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert token not in written + done.stdout + done.stderr


# --- the webhook


@pytest.fixture
def receiver(server: MlflowServer, made: Made) -> Iterator[Mapping[str, str]]:
    """The receiver as a process of its own: where it listens, and its log."""
    log = made.folder / f"receiver-{time.monotonic_ns()}.log"
    command = [
        sys.executable,
        str(SCRIPT),
        "--listen",
        "127.0.0.1:0",
        "--auditor",
        str(Path(sys.executable).with_name("auditor")),
    ]
    command += ["--", "--against", made.sketch, *GATE]
    surroundings = {"MLFLOW_WEBHOOK_SECRET": SECRET, "MLFLOW_TRACKING_URI": server.url}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=os.environ | surroundings, stderr=output, cwd=made.folder)
    try:
        listening = until(lambda: re.search(r"listening on (\S+)", log.read_text()), seconds=20)
        yield {"url": f"http://{listening[1]}/", "log": str(log)}
    finally:
        process.terminate()
        process.wait(20)


def test_a_new_version_is_gated_by_its_webhook(server: MlflowServer, made: Made, receiver: Mapping[str, str]) -> None:
    hook = server.ask(
        "POST",
        "webhooks",
        {
            "name": "audit",
            "url": receiver["url"],
            "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}],
            "secret": SECRET,
        },
    )["webhook"]
    try:
        version = server.register_run("hooked", made.folder / "mit")
        until(lambda: "quarantine" in server.version("hooked", version).get("aliases", []), seconds=60)
        assert server.version("hooked", version)["tags"]["auditor.exit_code"] == "1"
        until(lambda: f"models:/hooked/{version}: exit 1" in Path(receiver["log"]).read_text(), seconds=20)
    finally:
        server.ask("DELETE", f"webhooks/{hook['webhook_id']}")
    assert SECRET not in Path(receiver["log"]).read_text()


def test_a_webhook_with_another_secret_is_refused(server: MlflowServer, receiver: Mapping[str, str]) -> None:
    fields = {
        "name": "stranger",
        "url": receiver["url"],
        "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}],
        "secret": "another secret",
    }
    hook = server.ask("POST", "webhooks", fields)["webhook"]
    try:
        tested = server.ask("POST", f"webhooks/{hook['webhook_id']}/test", {})["result"]
        assert (tested["success"], tested["response_status"]) == (False, 401)
        assert "refused: wrong signature" in Path(receiver["log"]).read_text()
    finally:
        server.ask("DELETE", f"webhooks/{hook['webhook_id']}")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(receiver["url"], data=b"{}", timeout=10)  # noqa: S310


def until(true: Any, *, seconds: float) -> Any:  # noqa: ANN401 (whatever it returns)
    deadline = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > deadline:
            raise TimeoutError("it does not happen")
        time.sleep(0.1)
    return found
