"""What is in the local Hugging Face cache is read there, if all of it is; offline, nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hubkit import FILES, REPO, WEIGHTS, whole
from loopback_hub import LoopbackHub
from loopback_hub.repository import entry

from auditor.errors import Changed, HubOffline
from auditor.sources import Range
from auditor.sources.hub import HubSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.sources.hub_settings import HubSettings


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        server.publish(REPO, FILES)
        yield server


@pytest.fixture
def commit(hub: LoopbackHub) -> str:
    return hub.repositories[REPO].refs["main"]


@pytest.fixture
def cache(tmp_path: Path, commit: str) -> Path:
    """Return a cache that holds the commit, as huggingface_hub lays it out."""
    for path, content in FILES.items():
        record = entry(path, content)
        lfs = record.get("lfs")
        name = str(lfs["oid"] if isinstance(lfs, dict) else record["oid"])
        blob = entry_of(tmp_path) / "blobs" / name
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = entry_of(tmp_path) / "snapshots" / commit / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    (entry_of(tmp_path) / "refs").mkdir()
    (entry_of(tmp_path) / "refs" / "main").write_text(commit)
    return tmp_path


def entry_of(cache: Path) -> Path:
    return cache / "models--acme--model"


def blob_of(cache: Path, commit: str, path: str) -> Path:
    return (entry_of(cache) / "snapshots" / commit / path).resolve()


def listed(cache: Path, commit: str, changes: dict[str, object] | None = None) -> None:
    """Write the list of files that huggingface_hub 2 keeps beside a snapshot."""
    files = {}
    for path, content in FILES.items():
        record = entry(path, content)
        files[path] = {"size": record["size"], "blob_id": record["oid"]}
        if isinstance(lfs := record.get("lfs"), dict):
            files[path] |= {"lfs_sha256": lfs["oid"], "lfs_size": lfs["size"], "xet_hash": "0" * 64}
    trees = entry_of(cache) / "trees"
    trees.mkdir(exist_ok=True)
    (trees / f"{commit}.json").write_text(json.dumps({"format_version": 1, "files": files | (changes or {})}))


def offline(hub: LoopbackHub, cache: Path) -> HubSettings:
    return replace(hub.settings(cache=cache), offline=True)


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def test_whole_snapshot_is_read_in_the_cache(hub: LoopbackHub, cache: Path, commit: str) -> None:
    before = state(cache)
    source = HubSource(REPO, hub.settings(cache=cache))
    remote = HubSource(REPO, hub.settings())
    assert (source.served_from, remote.served_from) == ("cache", "hub")
    assert (source.kind, source.uri, source.revision) == (remote.kind, remote.uri, commit)
    assert source.files() == remote.files()  # digests included: the blobs lie there under them
    assert {path: whole(source, path) for path in FILES} == FILES
    assert hub.asked("hub", "resolve") == []
    place = source.on_disk("model.safetensors")
    assert place is not None
    assert Path(place.path) == blob_of(cache, commit, "model.safetensors")
    assert state(cache) == before


def test_snapshot_of_another_commit_is_not_used(hub: LoopbackHub, cache: Path) -> None:
    hub.publish(REPO, FILES | {"new.txt": b"new"})
    source = HubSource(REPO, hub.settings(cache=cache))
    assert source.served_from == "hub"
    assert whole(source, "new.txt") == b"new"


@pytest.mark.parametrize("damage", ["absent", "short", "dangling", "escaping", "other blob"])
def test_snapshot_that_is_not_whole_is_not_used(hub: LoopbackHub, cache: Path, commit: str, damage: str) -> None:
    link = entry_of(cache) / "snapshots" / commit / "model.safetensors"
    blob = link.resolve()
    if damage == "short":
        blob.write_bytes(WEIGHTS[:-1])
    elif damage == "dangling":
        blob.unlink()
    else:
        link.unlink()
    if damage == "escaping":
        (cache / "secret").write_bytes(WEIGHTS)
        link.symlink_to(cache / "secret")
    elif damage == "other blob":
        other = blob.with_name("0" * 64)
        other.write_bytes(WEIGHTS)
        link.symlink_to(other)
    source = HubSource(REPO, hub.settings(cache=cache))
    assert source.served_from == "hub"
    assert source.on_disk("model.safetensors") is None
    assert whole(source, "model.safetensors") == WEIGHTS


def test_files_that_lie_there_under_no_digest_carry_none(hub: LoopbackHub, cache: Path, commit: str) -> None:
    """A cache without links: nothing but the size ties the bytes to the Hub's digest."""
    link = entry_of(cache) / "snapshots" / commit / "model.safetensors"
    link.unlink()
    link.write_bytes(bytes(len(WEIGHTS)))
    source = HubSource(REPO, hub.settings(cache=cache))
    assert source.served_from == "cache"
    assert {info.path: info.sha256 for info in source.files()}["model.safetensors"] is None


def test_files_beside_the_listing_are_not_part_of_the_target(hub: LoopbackHub, cache: Path, commit: str) -> None:
    (entry_of(cache) / "snapshots" / commit / "extra.safetensors").write_bytes(b"x")
    source = HubSource(REPO, hub.settings(cache=cache))
    assert sorted(FILES) == [info.path for info in source.files()]


def test_blob_that_changes_under_our_hands(hub: LoopbackHub, cache: Path, commit: str) -> None:
    source = HubSource(REPO, hub.settings(cache=cache))
    blob_of(cache, commit, "model.safetensors").write_bytes(WEIGHTS[::-1])
    with pytest.raises(Changed):
        source.read("model.safetensors", [Range(0, 10)])


# --- offline ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", ["", "@main", "@commit"])
def test_offline(hub: LoopbackHub, cache: Path, commit: str, revision: str) -> None:
    listed(cache, commit)
    before = state(cache)
    source = HubSource(REPO + revision.replace("commit", commit), offline(hub, cache))
    assert (source.kind, source.revision, source.served_from) == ("hub", commit, "offline-cache")
    assert source.uri.endswith(f"/{REPO}#offline-cache")
    assert {path: whole(source, path) for path in FILES} == FILES
    assert source.refused() == ()
    assert {info.sha256 for info in source.files()} == {None}  # nobody vouches for them
    assert (source.http_requests, source.http_bytes) == (0, 0)
    assert hub.requests == []
    assert state(cache) == before


def test_offline_without_a_list_of_files_is_never_complete(hub: LoopbackHub, cache: Path) -> None:
    source = HubSource(REPO, offline(hub, cache))
    assert {path: whole(source, path) for path in FILES} == FILES
    (unread,) = source.refused()
    assert (unread.path, unread.code) == (".", "hub-offline")


def test_offline_with_a_part_of_the_files(hub: LoopbackHub, cache: Path, commit: str) -> None:
    listed(cache, commit, {"second.safetensors": {"size": 3, "blob_id": "0" * 40}})
    with pytest.raises(HubOffline, match="only a part of this revision; unset HF_HUB_OFFLINE"):
        HubSource(REPO, offline(hub, cache))


@pytest.mark.parametrize("target", [f"{REPO}@v1", f"{REPO}@refs/pr/1", f"{REPO}@{'0' * 40}", "acme/other"])
def test_offline_and_not_in_the_cache(hub: LoopbackHub, cache: Path, target: str) -> None:
    with pytest.raises(HubOffline, match="does not hold this revision; unset HF_HUB_OFFLINE"):
        HubSource(target, offline(hub, cache))
    assert hub.requests == []


@pytest.mark.parametrize("ref", ["", "main", "0" * 39, "../../../x", "0" * 5_000, "\u0660" * 40])
def test_offline_with_a_ref_that_is_no_commit(hub: LoopbackHub, cache: Path, ref: str) -> None:
    (entry_of(cache) / "refs" / "main").write_text(ref)
    with pytest.raises(HubOffline):
        HubSource(REPO, offline(hub, cache))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format_version": 2}', '{"format_version": 1, "files": [1]}', "[" * 99_999]
)
def test_offline_with_a_list_that_cannot_be_read(hub: LoopbackHub, cache: Path, commit: str, text: str) -> None:
    listed(cache, commit)
    (entry_of(cache) / "trees" / f"{commit}.json").write_text(text)
    assert [unread.code for unread in HubSource(REPO, offline(hub, cache)).refused()] == ["hub-offline"]


def test_offline_with_a_hostile_name_in_the_list(hub: LoopbackHub, cache: Path, commit: str) -> None:
    listed(cache, commit, {"../../../x": {"size": 3, "blob_id": "0" * 40}})
    source = HubSource(REPO, offline(hub, cache))
    assert [unread.code for unread in source.refused()] == ["unsafe-path"]
    assert len(source.files()) == len(FILES)
