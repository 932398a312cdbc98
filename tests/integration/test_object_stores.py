"""Against imitations of S3 and Google Cloud Storage on loopback: a model in a bucket is judged as it is on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from clikit import Commands
from modelkit import drifted, make_model, safetensors_bytes, write_model
from registrykit import FakeGcs, Moto

import auditor
from auditor import Options
from auditor.enrolling import sketch
from auditor.errors import BucketError, FileError, MissingObjects
from auditor.sources import LocalSource, Range, open_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from auditor.lineage import FirstLayers

pytestmark = pytest.mark.integration

SECRET = "secret-of-nobody"  # noqa: S105
BASE = make_model(1)
FILES = {
    "README.md": b"---\nlicense: apache-2.0\n---\n# Trained from scratch\n",
    "config.json": json.dumps({"model_type": "llama", "hidden_size": 64}).encode(),
    "sub/model.safetensors": safetensors_bytes(drifted(BASE, cosine=0.9)),
}
W = "sub/model.safetensors"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def gs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcs]:
    with FakeGcs(tmp_path_factory.mktemp("gs")) as server:
        yield server


@pytest.fixture
def stores(s3: Moto, gs: FakeGcs, monkeypatch: pytest.MonkeyPatch) -> dict[str, Moto | FakeGcs]:
    """Both servers, and what a user's environment says of them."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("GOOGLE_BASE_URL", gs.url)
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    return {"s3": s3, "gs": gs}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a sketch of the base, under a name whose licence is checked."""
    folder = tmp_path_factory.mktemp("reference")
    path = folder / "llama-2-7b.sketch"
    path.write_bytes(sketch(str(write_model(BASE, folder / "base")), name="llama-2-7b", license="llama2"))
    return str(path)


def publish(store: Moto | FakeGcs, bucket: str, files: dict[str, bytes]) -> None:
    store.make_bucket(bucket)
    for path, data in {**{f"chat/{path}": data for path, data in files.items()}, "chatty/other": b"x"}.items():
        store.put(bucket, path, data)


@pytest.mark.parametrize("first_layers", ["few", "all"])
@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_bucket_is_judged_as_the_same_files_are_on_disk(
    stores: dict[str, Moto | FakeGcs], reference: str, tmp_path: Path, kind: str, first_layers: FirstLayers
) -> None:
    publish(stores[kind], f"judged-{first_layers}", FILES)
    folder = tmp_path / "chat"
    for path, data in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    options = Options(against=(reference,), first_layers=first_layers)
    remote, local = auditor.scan(f"{kind}://judged-{first_layers}/chat", options), auditor.scan(str(folder), options)
    assert (remote.lineage.verdict, local.lineage.verdict) == ("derived", "derived")
    assert remote.lineage.candidates == local.lineage.candidates
    assert [(found.id, found.status, found.evidence) for found in remote.findings] == [
        (found.id, found.status, found.evidence) for found in local.findings
    ]
    assert (remote.coverage.unread, remote.exit_code) == (local.coverage.unread, local.exit_code) == ((), 1)
    assert [file.path for file in remote.target.files] == [info.path for info in LocalSource(folder).files()]
    assert (remote.target.kind, remote.target.revision) == (kind, None)


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_small_part_of_a_larger_model_is_read(stores: dict[str, Moto | FakeGcs], tmp_path: Path, kind: str) -> None:
    base = make_model(3, layers=12, hidden=256, neurons=768, vocabulary=9000)
    publish(stores[kind], "large", {"model.safetensors": safetensors_bytes(drifted(base, cosine=0.9))})
    against = str(write_model(base, tmp_path / "base"))
    report = auditor.scan(f"{kind}://large/chat", Options(against=(against,)))
    assert report.lineage.verdict == "derived"
    (file,) = report.target.files
    assert file.size > 50_000_000
    assert 100_000 < report.coverage.bytes_read < file.size / 100
    assert report.coverage.requests < 20


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_an_object_that_changes_between_two_reads(stores: dict[str, Moto | FakeGcs], kind: str) -> None:
    """moto knows the condition; fake-gcs-server does not, and its answer is held against the list."""
    publish(stores[kind], "changing", FILES)
    source = open_source(f"{kind}://changing/chat")
    assert source.read(W, [Range(0, 8)]) == [FILES[W][:8]]
    stores[kind].put("changing", f"chat/{W}", FILES[W][:-1] + b"x")
    with pytest.raises(FileError) as caught:
        source.read(W, [Range(300_000, 300_010)])
    assert (caught.value.file, caught.value.code) == (W, "changed")
    (size,) = (info.size for info in source.files() if info.path == "README.md")
    assert source.read("README.md", [Range(0, size)]) == [FILES["README.md"]]


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_one_object(stores: dict[str, Moto | FakeGcs], kind: str) -> None:
    publish(stores[kind], "one", FILES)
    source = open_source(f"{kind}://one/chat/{W}")
    assert [(info.path, info.size) for info in source.files()] == [("model.safetensors", len(FILES[W]))]
    assert source.read("model.safetensors", [Range(300_000, 300_010)]) == [FILES[W][300_000:300_010]]


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_nothing_there(stores: dict[str, Moto | FakeGcs], kind: str) -> None:
    publish(stores[kind], "sparse", FILES)
    with pytest.raises(MissingObjects):
        open_source(f"{kind}://sparse/absent")
    with pytest.raises(MissingObjects if kind == "s3" else BucketError):  # fake-gcs-server answers 500
        open_source(f"{kind}://absent/chat")


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_command_line(
    stores: dict[str, Moto | FakeGcs],
    reference: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    kind: str,
) -> None:
    publish(stores[kind], "commands", FILES)
    monkeypatch.chdir(tmp_path)
    run = Commands(capsys, monkeypatch)
    done = run("scan", f"{kind}://commands/chat", "--against", reference, "--format", "json")
    assert (done.code, done.err) == (1, "")
    assert (done.json["target"]["kind"], done.json["lineage"]["verdict"]) == (kind, "derived")
    absent = run("scan", f"{kind}://commands/absent")
    assert (absent.code, absent.out, len(absent.err.splitlines())) == (2, "", 1)
    assert SECRET not in done.out + absent.err
