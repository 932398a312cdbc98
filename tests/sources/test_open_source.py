"""What a user may name as a target, and what is counted of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auditor.errors import BadRepoId, TargetError, Truncated
from auditor.sources import BytesSource, LocalSource, MeteredSource, Range, Source, hub, objectstore, oci, open_source

if TYPE_CHECKING:
    from pathlib import Path


def problem(target: str) -> str:
    with pytest.raises(TargetError) as caught:
        open_source(target)
    return str(caught.value)


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my-model").mkdir()
    (tmp_path / "weights.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)


pytestmark = pytest.mark.usefixtures("_here")


def test_folder_and_file() -> None:
    for target in ("my-model", "./my-model/", "weights.safetensors"):
        source = open_source(target)
        assert isinstance(source, LocalSource)
        assert source.uri == target


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("my-modle", "my-model"),
        ("weights.safetensor", "weights.safetensors"),
        ("./my_model", "my-model"),
        ("../{here}/weight.safetensors", "../{here}/weights.safetensors"),
    ],
)
def test_did_you_mean(tmp_path: Path, wrong: str, right: str) -> None:
    wrong, right = (text.format(here=tmp_path.name) for text in (wrong, right))
    assert problem(wrong) == f"{wrong}: no such file or folder; did you mean {right}?"


def test_nothing_alike() -> None:
    assert problem("zzz") == "zzz: no such file or folder"
    assert problem("absent/zzz/y") == "absent/zzz/y: no such file or folder"


@pytest.mark.parametrize("target", ["org/name", "org/name@main", "hf://org/name", "HF://org/name@refs/pr/1"])
def test_hub_name(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(hub, "HubSource", opened.append)
    open_source(target)
    assert opened == [target]


@pytest.mark.parametrize("target", ["oci://r.example/model:v1", "S3://bucket/key", "gs://bucket/key"])
def test_registries_and_buckets(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    for module, name in ((oci, "OciSource"), (objectstore, "ObjectStoreSource")):
        monkeypatch.setattr(module, name, opened.append)
    open_source(target)
    assert opened == [target]


def test_hub_name_below_a_folder_that_exists_is_a_path_that_does_not(tmp_path: Path) -> None:
    (tmp_path / "org").mkdir()
    assert problem("org/name").endswith("; for the Hub's repository of that name write hf://org/name")
    (tmp_path / "org" / "names").mkdir()
    assert problem("org/name").endswith("; did you mean org/names?")


@pytest.mark.parametrize(
    "target", ["hf://", "hf://org", "hf://../x", "hf://datasets/org/name", "hf://org/name@..", "hf://a/b/c"]
)
def test_hub_name_that_is_none(target: str) -> None:
    with pytest.raises(BadRepoId):
        open_source(target)


@pytest.mark.parametrize(
    "target", ["org/na--me", "org/name@", "org/name@..", "./name", "datasets/squad", "org/name/file"]
)
def test_path_that_resembles_a_hub_name(target: str) -> None:
    assert problem(target) == f"{target}: no such file or folder"


def test_name_that_exists_as_a_path_is_the_path(tmp_path: Path) -> None:
    for name in ("org/name", "hf:/org/name", "s3:/bucket"):
        (tmp_path / name).mkdir(parents=True)
        assert open_source(name).kind == "local"
    assert open_source("hf://org/name").kind == "local"  # a doubled slash is a slash to the file system


@pytest.mark.parametrize(
    "target",
    [
        "oci:/registry/name",
        "https://huggingface.co/org/name",
        "file:///etc/passwd",
        "git+ssh://host/x",
    ],
)
def test_unsupported_schemes_are_named(target: str) -> None:
    assert f"{target.partition(':')[0]}: targets are not supported" in problem(target)


@pytest.mark.parametrize(
    "target", ["a\0b", "\0", "x" * 5000, "x" * 300, "a/" * 3000 + "b", "org/" + "x" * 5000, "\udcff"]
)
def test_names_that_no_file_system_takes(target: str) -> None:
    assert "no such file or folder" in problem(target)


def test_empty_name_is_not_the_current_folder() -> None:
    assert "empty" in problem("")
    assert open_source(".").kind == "local"  # benign twin


@pytest.mark.parametrize("target", ["dangling", "loop"])
def test_broken_link_as_target(tmp_path: Path, target: str) -> None:
    (tmp_path / "dangling").symlink_to("absent")
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be opened" in problem(target)
    assert str(tmp_path) not in problem(target)


def test_folder_that_may_not_be_searched(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "model").mkdir(parents=True)
    closed.chmod(0)
    try:
        if (closed / "model").exists():
            pytest.skip("permissions do not bind this user")
    except PermissionError:
        pass
    try:
        assert "Permission denied" in problem("closed/model")
    finally:
        closed.chmod(0o700)


def test_metered_source_counts() -> None:
    inner = BytesSource({"a": b"0123456789", "b": b""})
    source = MeteredSource(inner)
    assert isinstance(source, Source)
    assert (source.uri, source.kind, source.revision) == (inner.uri, inner.kind, inner.revision)
    assert (source.files(), source.refused()) == (inner.files(), inner.refused())
    assert (source.bytes_read, source.requests) == (0, 0)  # listing reads nothing
    assert source.read("a", [Range(0, 4), Range(2, 4), Range(3, 3)]) == [b"0123", b"23", b""]
    assert source.read("b", []) == []
    assert (source.bytes_read, source.requests) == (6, 3)
    with pytest.raises(Truncated):
        source.read("a", [Range(0, 11)])
    assert (source.bytes_read, source.requests) == (6, 3)
