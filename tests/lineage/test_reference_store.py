"""Sketches at rest and in transport: what was edited, mixed up or made of other files is never used."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referencekit import COMMIT, NAME, REPO, hub, pin_lines, shards, stand_in, write_library

from auditor.errors import AuditError, BadReference, UsageError
from auditor.lineage.references import (
    build_reference,
    cache_folder,
    export_reference,
    has_sketch,
    import_reference,
    install_sketch,
    load_reference,
    verify_reference,
)
from auditor.lineage.sketch import dump_sketch, load_sketch
from auditor.sources import BytesSource, FileInfo

if TYPE_CHECKING:
    from pathlib import Path

    from auditor.lineage.references import Reference

FILES = shards()


class Desk(NamedTuple):
    folder: Path
    cache: Path
    reference: Reference
    data: bytes

    @property
    def path(self) -> Path:
        (path,) = self.cache.glob("*.safetensors")
        return path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    folder = write_library(tmp_path / "library", pin_lines(FILES))
    reference = stand_in(folder)
    data = build_reference(reference, hub(FILES), repo=REPO, tool_version="1")
    return Desk(folder, tmp_path / "cache", reference, data)


def installed(desk: Desk) -> Desk:
    install_sketch(desk.reference, desk.data, cache=desk.cache)
    return desk


def changed(data: bytes, **fields: object) -> bytes:
    sketch = load_sketch(BytesSource({"s": data}).blob("s"))
    return dump_sketch(replace(sketch, **fields), tool_version="1")  # type: ignore[arg-type]


def test_installed_and_loaded(desk: Desk) -> None:
    assert not has_sketch(desk.reference, cache=desk.cache)
    done = install_sketch(desk.reference, desk.data, cache=desk.cache)
    assert has_sketch(desk.reference, cache=desk.cache)
    assert done.path.read_bytes() == desk.data
    assert done.path.name == f"{NAME}-{hashlib.sha256(desk.data).hexdigest()[:16]}.safetensors"
    assert load_reference(NAME, folder=desk.folder, cache=desk.cache).name == NAME
    found = verify_reference(NAME, folder=desk.folder, cache=desk.cache)
    assert found == done
    assert (found.pinned, found.shipped, found.repo, found.revision) == (True, False, REPO, COMMIT)
    assert found.size == len(desk.data)


def test_nothing_else_is_written(desk: Desk) -> None:
    installed(desk)
    assert sorted(path.name for path in desk.cache.iterdir()) == [f"{NAME}-{hashlib.sha256(desk.data).hexdigest()[:16]}.safetensors", f"{NAME}.json"]  # fmt: skip  # noqa: E501
    newer = build_reference(desk.reference, hub(FILES), repo=REPO, tool_version="2")
    install_sketch(desk.reference, newer, cache=desk.cache)
    assert desk.path.read_bytes() == newer
    assert len(list(desk.cache.iterdir())) == 2


def test_another_reference_whose_name_begins_alike_stays(desk: Desk) -> None:
    installed(desk)
    other = desk.cache / f"{NAME}-chat-0123456789abcdef.safetensors"
    other.write_bytes(b"x")
    install_sketch(desk.reference, desk.data, cache=desk.cache)
    assert other.exists()


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "auditor" / "references"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == tmp_path / "home" / ".cache" / "auditor" / "references"


def test_none_there(desk: Desk) -> None:
    for use in (load_reference, verify_reference, export_reference):
        with pytest.raises(BadReference, match=f"not on this machine; run: auditor references build {NAME}"):
            use(NAME, folder=desk.folder, cache=desk.cache)


def test_an_edited_sketch_is_refused(desk: Desk) -> None:
    path = installed(desk).path
    data = bytearray(desk.data)
    data[-1] ^= 1
    path.write_bytes(data)
    for use in (load_reference, verify_reference, export_reference):
        with pytest.raises(BadReference, match=r"sha256 is .*, recorded was .*; make it again"):
            use(NAME, folder=desk.folder, cache=desk.cache)
    path.unlink()
    with pytest.raises(BadReference, match="no such file"):
        load_reference(NAME, folder=desk.folder, cache=desk.cache)


@pytest.mark.parametrize(
    "record",
    [b"", b"[]", b"{}", b"\xff", b'{"version": 1}', b"x" * 5000,
     {"file": "../../evil.safetensors"}, {"name": "other"}, {"version": 2}, {"sha256": "x"}, {"more": 1}],
)  # fmt: skip
def test_a_broken_record_is_refused(desk: Desk, record: bytes | dict[str, object]) -> None:
    path = installed(desk).cache / f"{NAME}.json"
    if isinstance(record, dict):
        record = json.dumps(json.loads(path.read_text()) | record).encode()
    path.write_bytes(record)
    with pytest.raises(BadReference, match=r"not a record of a sketch|over the limit"):
        load_reference(NAME, folder=desk.folder, cache=desk.cache)


def test_a_fifo_in_the_place_of_the_record_does_not_hang(desk: Desk) -> None:
    path = installed(desk).cache / f"{NAME}.json"
    path.unlink()
    os.mkfifo(path)
    assert stat.S_ISFIFO(path.stat().st_mode)
    with pytest.raises(BadReference, match="not a file"):
        load_reference(NAME, folder=desk.folder, cache=desk.cache)


def test_pins_are_held_against_each_time(desk: Desk) -> None:
    """A table of a newer version knows that the digest was wrong, or knows one where there was none."""
    installed(desk)
    write_library(desk.folder, pin_lines(FILES, sha256="2" * 64))
    with pytest.raises(BadReference, match=f"expected sha256 {'2' * 64}, found"):
        load_reference(NAME, folder=desk.folder, cache=desk.cache)


def test_pins_that_became_known_may_fit(desk: Desk) -> None:
    bare = stand_in(write_library(desk.folder, ""))
    install_sketch(bare, build_reference(bare, hub(FILES), repo=REPO, tool_version="1"), cache=desk.cache)
    assert not verify_reference(NAME, folder=desk.folder, cache=desk.cache).pinned
    write_library(desk.folder, pin_lines(FILES))
    assert verify_reference(NAME, folder=desk.folder, cache=desk.cache).pinned


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "llama-2-13b"}, "a sketch of 'llama-2-13b', expected llama-2-7b"),
        ({"license": "mit"}, "licence 'mit', expected llama2"),
        ({"seed": 5}, "not the neurons that seed 5 samples"),
        ({"origin": ()}, "found no record of the file"),
        ({"origin": (FileInfo(path=min(FILES), size=len(FILES[min(FILES)]), sha256="3" * 64),)}, "expected sha256"),
        ({"origin": (FileInfo(path=min(FILES), size=1, sha256="3" * 64),)}, "bytes, found 1 bytes"),
    ],
)
def test_a_sketch_that_contradicts_the_table_is_refused(desk: Desk, fields: dict[str, object], message: str) -> None:
    data = changed(desk.data, **fields)
    with pytest.raises(BadReference, match=message):
        install_sketch(desk.reference, data, cache=desk.cache)
    assert not desk.cache.exists()


def test_a_file_that_is_not_pinned_is_refused(desk: Desk) -> None:
    origin = load_sketch(BytesSource({"s": desk.data}).blob("s")).origin
    more = (*origin, FileInfo(path="more.safetensors", size=1, sha256="4" * 64, digest_source="hub"))
    with pytest.raises(BadReference, match=r"made from more\.safetensors, which is not pinned"):
        install_sketch(desk.reference, changed(desk.data, origin=more), cache=desk.cache)


def test_a_sketch_of_another_shape_is_refused(desk: Desk) -> None:
    small = replace(desk.reference, layers=None, pins=())
    data = build_reference(small, hub(shards(layers=2)), repo=REPO, tool_version="1")
    with pytest.raises(BadReference, match="layers is 2, expected 4"):
        install_sketch(desk.reference, data, cache=desk.cache)


def test_export_and_import(desk: Desk, tmp_path: Path) -> None:
    data, digest = export_reference(NAME, folder=installed(desk).folder, cache=desk.cache)
    assert data == desk.data
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(data)
    there = tmp_path / "there"
    done = import_reference(moved, f"sha256:{digest.upper()}", folder=desk.folder, cache=there)
    assert done.path.parent == there
    assert done.sha256 == digest
    assert load_reference(NAME, folder=desk.folder, cache=there).name == NAME


def test_import_refuses(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "s.safetensors"

    def attempt(data: bytes, digest: str | None = None) -> None:
        file.write_bytes(data)
        import_reference(file, digest or hashlib.sha256(data).hexdigest(), folder=desk.folder, cache=desk.cache)

    with pytest.raises(BadReference, match=f"expected sha256 {'5' * 64}, found"):
        attempt(desk.data, "5" * 64)
    for digest in ("5", "sha256:", f"{'g' * 64}"):
        with pytest.raises(UsageError, match="not a SHA-256"):
            attempt(desk.data, digest)
    with pytest.raises(BadReference, match="which the library does not list; did you mean"):
        attempt(changed(desk.data, name="llama-2-7bb"))
    with pytest.raises(BadReference, match="expected sha256"):
        attempt(changed(desk.data, origin=()))
    with pytest.raises(BadReference, match="not a usable sketch"):
        attempt(b"nothing")
    with pytest.raises(BadReference, match="no such file"):
        import_reference(tmp_path / "absent", "5" * 64, folder=desk.folder, cache=desk.cache)
    assert not desk.cache.exists()


def test_a_cache_that_cannot_be_written_is_said(desk: Desk) -> None:
    desk.cache.write_text("a file in its place")
    with pytest.raises(UsageError, match="cannot be written"):
        install_sketch(desk.reference, desk.data, cache=desk.cache)


def test_the_shipped_sketch_is_verified_and_travels() -> None:
    found = verify_reference("smollm2-135m-instruct")
    assert found.shipped
    data, digest = export_reference("smollm2-135m-instruct")
    assert (found.sha256, found.size) == (digest, len(data))


def test_a_shipped_sketch_has_no_rival(tmp_path: Path) -> None:
    data, digest = export_reference("smollm2-135m-instruct")
    file = tmp_path / "s.safetensors"
    file.write_bytes(data)
    assert import_reference(file, digest, cache=tmp_path / "cache").shipped
    other = changed(data, origin=())
    file.write_bytes(other)
    with pytest.raises(BadReference, match="ships with sha256"):
        import_reference(file, hashlib.sha256(other).hexdigest(), cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@settings(max_examples=60)
@given(data=st.data())
def test_whatever_is_changed_in_the_cache_the_sketch_is_the_one_installed_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = write_library(tmp_path_factory.mktemp("library"), pin_lines(FILES))
    cache = tmp_path_factory.mktemp("cache")
    sketch = build_reference(stand_in(folder), hub(FILES), repo=REPO, tool_version="1")
    install_sketch(stand_in(folder), sketch, cache=cache)
    path = data.draw(st.sampled_from(sorted(cache.iterdir())))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        exported, _ = export_reference(NAME, folder=folder, cache=cache)
    except AuditError:
        return
    assert exported == sketch
