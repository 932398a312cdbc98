"""Links of the Hugging Face cache: blobs are accepted, everything else is not, and only in that layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auditor.errors import TargetError
from auditor.sources import LocalSource, Range

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HASH = "ab" * 32


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return a cache with two models, one file of the first in the blobs that all models share."""
    for model in ("models--org--name", "models--org--other"):
        (tmp_path / model / "blobs").mkdir(parents=True)
        (tmp_path / model / "snapshots" / COMMIT / "sub").mkdir(parents=True)
        (tmp_path / model / "refs").mkdir()
        (tmp_path / model / "refs" / "main").write_text(COMMIT)
        (tmp_path / model / "blobs" / "etag").write_bytes(b"weights of " + model.encode())
    store = tmp_path / "blobs" / HASH[:2]
    store.mkdir(parents=True)
    (store / HASH).write_bytes(b"shared")
    (store / f"{HASH}.refs").write_text("models--org--name/blobs/shared\n")
    (tmp_path / "blobs" / ".huggingface-shared-blobs").write_text("1\n")
    (tmp_path / "token").write_text("hf_secret")
    entry = tmp_path / "models--org--name"
    (entry / "blobs" / "shared").symlink_to(f"../../blobs/{HASH[:2]}/{HASH}")
    snapshot = entry / "snapshots" / COMMIT
    (snapshot / "model.safetensors").symlink_to("../../blobs/etag")
    (snapshot / "shared.safetensors").symlink_to("../../blobs/shared")
    (snapshot / "sub" / "model.gguf").symlink_to("../../../blobs/etag")
    (snapshot / "config.json").write_text("{}")
    return tmp_path


def snapshot_of(cache: Path) -> Path:
    return cache / "models--org--name" / "snapshots" / COMMIT


ALL = ["config.json", "model.safetensors", "shared.safetensors", "sub/model.gguf"]


def test_snapshot(cache: Path) -> None:
    source = LocalSource(snapshot_of(cache))
    assert [info.path for info in source.files()] == ALL
    assert source.refused() == ()
    assert source.read("model.safetensors", [Range(0, 7)]) == [b"weights"]
    assert source.read("sub/model.gguf", [Range(0, 7)]) == [b"weights"]
    assert source.read("shared.safetensors", [Range(0, 6)]) == [b"shared"]


def test_absolute_links(cache: Path) -> None:
    link = snapshot_of(cache) / "absolute"
    link.symlink_to(cache / "models--org--name" / "blobs" / "etag")
    assert LocalSource(snapshot_of(cache)).refused() == ()


@pytest.mark.parametrize("kind", ["models", "datasets", "spaces", "kernels"])
def test_every_kind_of_repository(cache: Path, kind: str) -> None:
    entry = (cache / "models--org--name").rename(cache / f"{kind}--org--name")
    assert LocalSource(entry / "snapshots" / COMMIT).refused() == ()


def test_cache_reached_through_a_link(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    link = tmp_path_factory.mktemp("home") / "hub"
    link.symlink_to(cache)
    assert LocalSource(snapshot_of(link)).refused() == ()


def test_single_file_and_folder_of_a_snapshot(cache: Path) -> None:
    source = LocalSource(snapshot_of(cache) / "model.safetensors")
    assert [info.path for info in source.files()] == ["model.safetensors"]
    source = LocalSource(snapshot_of(cache) / "sub")
    assert [info.path for info in source.files()] == ["model.gguf"]
    assert source.refused() == ()


ELSEWHERE = [
    "../../../token",
    "../../refs/main",
    "../../blobs",
    "../../blobs/folder",
    "../../blobs/folder/inner",
    "../../blobs/../refs/main",
    "../../../models--org--other/blobs/etag",
    f"../../../models--org--other/snapshots/{COMMIT}",
    "../../../blobs/.huggingface-shared-blobs",
    f"../../../blobs/{HASH[:2]}",
    f"../../../blobs/{HASH[:2]}/{HASH}.refs",
    f"../../../blobs/cd/{HASH}",
    "../../blobs/escape",
    "../../blobs/other",
    "/etc/passwd",
]


@pytest.mark.parametrize("goal", ELSEWHERE)
def test_link_that_leads_elsewhere_is_refused(cache: Path, goal: str) -> None:
    blobs = cache / "models--org--name" / "blobs"
    (blobs / "folder").mkdir()
    (blobs / "folder" / "inner").write_bytes(b"x")
    (blobs / "escape").symlink_to("../../token")
    (blobs / "other").symlink_to("../../models--org--other/blobs/etag")
    (cache / "blobs" / "cd").mkdir()
    (cache / "blobs" / "cd" / HASH).write_bytes(b"x")
    (snapshot_of(cache) / "link").symlink_to(goal)
    source = LocalSource(snapshot_of(cache))
    assert [(unread.path, unread.code) for unread in source.refused()] == [("link", "unsafe-path")]
    assert [info.path for info in source.files()] == ALL


@pytest.mark.parametrize(
    "layout",
    [
        "models--org--name/revisions/r",
        "name/snapshots/r",
        "--/snapshots/r",
        "xmodels--org--name/snapshots/r",
        "models-org-name/snapshots/r",
        "snapshots/r",
    ],
)
def test_same_links_outside_that_layout_are_refused(tmp_path: Path, layout: str) -> None:
    folder = tmp_path / "cache" / layout
    folder.mkdir(parents=True)
    blobs = folder.parent.parent / "blobs"
    blobs.mkdir()
    (blobs / "etag").write_bytes(b"x")
    (folder / "model.safetensors").symlink_to("../../blobs/etag")
    assert [unread.code for unread in LocalSource(folder).refused()] == ["unsafe-path"]


def test_layout_inside_the_target_gives_no_rights(cache: Path) -> None:
    """Only where the user's own path lies in a cache do links leave it; what a target holds decides nothing."""
    target = cache / "target"
    inner = target / "models--a--b" / "snapshots" / "r"
    inner.mkdir(parents=True)
    (inner / "out").symlink_to("../../../../models--org--name/blobs/etag")
    assert [unread.code for unread in LocalSource(target).refused()] == ["unsafe-path"]
    (target / "models--a--b" / "blobs").mkdir()
    (target / "models--a--b" / "blobs" / "x").write_bytes(b"x")
    (inner / "out").unlink()
    (inner / "out").symlink_to("../../blobs/x")  # benign twin: inside the target anyway
    assert LocalSource(target).refused() == ()


def test_blob_that_is_gone(cache: Path) -> None:
    (cache / "models--org--name" / "blobs" / "etag").unlink()
    source = LocalSource(snapshot_of(cache))
    assert [(u.path, u.code) for u in source.refused()] == [
        ("model.safetensors", "unavailable"),
        ("sub/model.gguf", "unavailable"),
    ]
    with pytest.raises(TargetError):
        LocalSource(snapshot_of(cache) / "model.safetensors")
