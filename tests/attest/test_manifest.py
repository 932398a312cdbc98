"""Our manifest is Model Signing's, and two manifests that differ are told apart by name."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omskit import their_manifest

from auditor.attest.manifest import (
    IGNORED_PATHS,
    Differences,
    Manifest,
    Resource,
    compare,
    hash_target,
    is_ignored,
    make_manifest,
)
from auditor.digests.values import TensorLayout
from auditor.sources import FileInfo, LocalSource

PARTS = [
    "a", "b", "A", "a.b", "a-b", "a b", "ab", "a!", "a0", "é", "e\u0301", "文", "\U0001f600", "...", ".a", "-", "~",
    "a\nb", "back\\slash", "\x1b[31m", "\u202e", ".git", ".github", ".gitattributes", ".gitignore", ".cache",
    "huggingface", "model.sig", "model.sig.bak", "x" * 120,
]  # fmt: skip
LEGAL = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in {".", ".."}
)
NAMES = st.lists(st.sampled_from(PARTS) | LEGAL, min_size=1, max_size=4).map("/".join)
TREES = st.dictionaries(NAMES, st.binary(max_size=4), max_size=8)


def plant(folder: Path, tree: dict[str, bytes]) -> Path:
    """Write what a file system can hold of a tree: no name is both a file and a folder."""
    for name, data in tree.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
    return folder


def our_manifest(path: Path) -> Manifest:
    hashed = hash_target(LocalSource(path))
    assert hashed.unread == ()
    return hashed.manifest


def by_name(manifest: Manifest) -> dict[str, str]:
    return {resource.name: resource.sha256 for resource in manifest.resources}


def check_equal(path: Path, *, links: bool = False) -> None:
    ours = our_manifest(path)
    theirs, root = their_manifest(path, links=links)
    assert list(by_name(ours).items()) == list(theirs.items())
    assert ours.root == root
    assert ours.follows_links == links


# --- as Model Signing has it ----------------------------------------------------------------------------


@settings(max_examples=25)
@given(TREES)
@example({"a.b": b"1", "a/b": b"2", "a-b": b"3", "a/b.c": b"4", "a/b-c": b"5", "a b": b"6"})
@example({name: name.encode() for name in (".git/x", ".gitignore", ".gitattributes", ".github/w.yml", "kept")})
@example(
    {f"sub/{name}": name.encode() for name in (".git/x", ".gitignore", ".gitattributes", ".github/w", "model.sig")}
)
@example({".git": b"gitdir: elsewhere", "model.sig": b"{}", ".cache/huggingface/download/x": b"1", ".cache/y": b"2"})
@example({"model.sig/inside": b"1", "model.signature": b"2", ".github.io": b"3", ".gitmodules": b"4"})
def test_root_and_names_are_those_of_model_signing(tree: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_equal(plant(Path(folder), tree))


def test_an_empty_folder(tmp_path: Path) -> None:
    check_equal(tmp_path)
    assert our_manifest(tmp_path).root == hashlib.sha256().hexdigest()


def test_a_single_file_is_called_by_its_name_and_has_the_same_root(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    theirs, root = their_manifest(path)
    assert our_manifest(path).root == root
    assert by_name(our_manifest(path)) == {"model.gguf": theirs["."]}


def test_links_inside_are_followed_and_said_so(tmp_path: Path) -> None:
    plant(tmp_path, {"real": b"1", "sub/real": b"2"})
    check_equal(tmp_path)
    (tmp_path / "link").symlink_to("sub/real")
    (tmp_path / "sub" / "up").symlink_to("../real")
    (tmp_path / "chain").symlink_to("link")
    (tmp_path / "folder").symlink_to("sub")
    check_equal(tmp_path, links=True)
    assert list(by_name(our_manifest(tmp_path))) == ["chain", "link", "real", "sub/real", "sub/up"]


def test_an_ignored_link_is_not_followed(tmp_path: Path) -> None:
    plant(tmp_path, {"real": b"1"})
    (tmp_path / ".gitignore").symlink_to("real")
    assert not our_manifest(tmp_path).follows_links


def test_a_snapshot_of_the_hugging_face_cache(tmp_path: Path) -> None:
    entry = tmp_path / "models--org--name"
    snapshot = entry / "snapshots" / ("0" * 40)
    plant(entry / "blobs", {"e1": b"{}", "e2": b"weights"})
    (snapshot / "sub").mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/e1")
    (snapshot / "sub" / "model.safetensors").symlink_to("../../../blobs/e2")
    (snapshot / ".gitattributes").symlink_to("../../blobs/e1")
    check_equal(snapshot, links=True)
    copied = plant(tmp_path / "copied", {"config.json": b"{}", "sub/model.safetensors": b"weights"})
    assert our_manifest(copied).resources == our_manifest(snapshot).resources


# --- what is left out -----------------------------------------------------------------------------------


def test_what_is_left_out_at_the_root_is_kept_below_it(tmp_path: Path) -> None:
    plant(tmp_path, {name: b"" for top in ("", "sub/") for name in (f"{top}model.sig", f"{top}.gitignore")})
    assert list(by_name(our_manifest(tmp_path))) == ["sub/.gitignore", "sub/model.sig"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a", True),
        ("a/b", True),
        ("ab", False),
        ("a.b", False),
        ("b/a", False),
        ("x/y", True),
        ("x", False),
        ("A", False),
    ],
)
def test_ignored_is_a_path_or_what_lies_below(path: str, *, expected: bool) -> None:
    assert is_ignored(path, ["a", "x/y"]) is expected


def test_more_can_be_left_out(tmp_path: Path) -> None:
    plant(tmp_path, {"a": b"1", "out/att.json": b"2", "outer": b"3"})
    manifest = hash_target(LocalSource(tmp_path), ignore=["out"]).manifest
    assert list(by_name(manifest)) == ["a", "outer"]
    assert manifest.ignored == tuple(sorted({*IGNORED_PATHS, "out"}))
    assert manifest.serialization["ignore_paths"] == list(manifest.ignored)


def test_what_is_refused_is_unread_unless_it_is_left_out(tmp_path: Path) -> None:
    plant(tmp_path, {"a": b"1", ".github/x": b"2"})
    (tmp_path / "out").symlink_to("/etc/passwd")
    (tmp_path / ".github" / "out").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "fifo")
    hashed = hash_target(LocalSource(tmp_path))
    assert [(unread.path, unread.code) for unread in hashed.unread] == [
        ("fifo", "not-regular-file"),
        ("out", "unsafe-path"),
    ]
    assert list(by_name(hashed.manifest)) == ["a"]
    assert hash_target(LocalSource(tmp_path), ignore=["out", "fifo"]).unread == ()


def test_a_file_that_changed_is_unread_and_not_in_the_manifest(tmp_path: Path) -> None:
    source = LocalSource(plant(tmp_path, {"a": b"1", "b": b"2"}))
    (tmp_path / "b").write_bytes(b"two")
    hashed = hash_target(source)
    assert [(unread.path, unread.code) for unread in hashed.unread] == [("b", "changed")]
    assert list(by_name(hashed.manifest)) == ["a"]


def test_tensors_and_progress_are_passed_on(tmp_path: Path) -> None:
    source = LocalSource(plant(tmp_path, {"w": bytes(8)}))
    layout = TensorLayout(name="t", dtype="F32", shape=(2,), start=0, stop=8)
    calls: list[tuple[int, int]] = []
    hashed = hash_target(source, tensors={"w": (layout,)}, progress=lambda *at: calls.append(at))
    assert list(hashed.tensors) == [("w", "t")]
    assert calls[-1] == (8, 8)


# --- made of digests that are known ---------------------------------------------------------------------


def test_who_vouches_for_a_digest_is_kept() -> None:
    files = [
        FileInfo(path="b/c", size=1, sha256="01" * 32, digest_source="hub"),
        FileInfo(path="b.c", size=1, sha256="02" * 32, digest_source="computed"),
        FileInfo(path=".gitattributes", size=1, sha256="03" * 32, digest_source="computed"),
        FileInfo(path="unknown", size=1),
    ]
    manifest = make_manifest(files, follows_links=True)
    assert manifest.resources == (
        Resource(name="b/c", sha256="01" * 32, digest_source="hub"),
        Resource(name="b.c", sha256="02" * 32),
    )
    assert manifest.root == hashlib.sha256(bytes([1] * 32 + [2] * 32)).hexdigest()
    assert manifest.serialization == {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": True,
        "ignore_paths": sorted(IGNORED_PATHS),
    }


# --- comparing ------------------------------------------------------------------------------------------


def manifest_of(**contents: str) -> Manifest:
    """Make a manifest of files, each with a letter for its content."""
    return make_manifest(
        FileInfo(path=name, size=1, sha256=hashlib.sha256(content.encode()).hexdigest(), digest_source="computed")
        for name, content in contents.items()
    )


BEFORE = manifest_of(a="1", b="2", c="3")


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (manifest_of(c="3", b="2", a="1"), Differences()),
        (manifest_of(a="1", b="2", c="3", d="4"), Differences(added=("d",))),
        (manifest_of(a="1", c="3"), Differences(missing=("b",))),
        (manifest_of(a="1", b="x", c="3"), Differences(changed=("b",))),
        (manifest_of(a="1", d="2", c="3"), Differences(renamed=(("b", "d"),))),
        (manifest_of(a="2", b="1", c="3"), Differences(changed=("a", "b"))),
        (manifest_of(a="1", b="2", c="3", d="2"), Differences(added=("d",))),
        (manifest_of(a="2", d="1", c="3"), Differences(added=("d",), missing=("b",), changed=("a",))),
        (manifest_of(), Differences(missing=("a", "b", "c"))),
        (manifest_of(z="1", y="2", x="4"), Differences(added=("x",), missing=("c",), renamed=(("a", "z"), ("b", "y")))),
    ],
    ids=[
        "same", "added", "missing", "changed", "renamed", "swapped", "copied", "moved over", "all gone", "several",
    ],
)  # fmt: skip
def test_differences_are_named(now: Manifest, expected: Differences) -> None:
    found = compare(BEFORE, now)
    assert found == expected
    assert bool(found) == (found != Differences())


def test_copies_of_one_content_are_renamed_one_by_one() -> None:
    before = manifest_of(a="same", b="same", c="same")
    assert compare(before, manifest_of(c="same", e="same", d="same")) == Differences(renamed=(("a", "d"), ("b", "e")))
    assert compare(before, manifest_of(d="same")) == Differences(missing=("b", "c"), renamed=(("a", "d"),))
    more = manifest_of(b="same", c="same", d="same", e="same")
    assert compare(before, more) == Differences(added=("e",), renamed=(("a", "d"),))


def test_names_count_where_the_root_does_not_tell(tmp_path: Path) -> None:
    before = our_manifest(plant(tmp_path / "before", {"a": b"1", "b": b"2"}))
    renamed = our_manifest(plant(tmp_path / "renamed", {"a": b"1", "c": b"2"}))
    assert renamed.root == before.root
    assert compare(before, renamed) == Differences(renamed=(("b", "c"),))
    swapped = our_manifest(plant(tmp_path / "swapped", {"a": b"2", "b": b"1"}))
    assert sorted(by_name(swapped).values()) == sorted(by_name(before).values())
    assert swapped.root != before.root
    assert compare(before, swapped) == Differences(changed=("a", "b"))


@given(
    st.dictionaries(st.sampled_from("abcde"), st.sampled_from("123"), max_size=5),
    st.dictionaries(st.sampled_from("abcde"), st.sampled_from("123"), max_size=5),
)
def test_differences_account_for_every_file(before: dict[str, str], now: dict[str, str]) -> None:
    found = compare(manifest_of(**before), manifest_of(**now))
    gone = {*found.missing, *(old for old, _ in found.renamed)}
    come = {*found.added, *(new for _, new in found.renamed)}
    assert gone == set(before) - set(now)
    assert come == set(now) - set(before)
    assert set(found.changed) == {name for name in before.keys() & now.keys() if before[name] != now[name]}
    assert all(before[old] == now[new] for old, new in found.renamed)
    assert not {before[name] for name in found.missing} & {now[name] for name in found.added}
    assert len(found.missing) + len(found.renamed) == len(gone)
    assert len(found.added) + len(found.renamed) == len(come)
    assert bool(found) == (before != now)
