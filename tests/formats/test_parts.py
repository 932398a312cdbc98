"""Sets of files without an index: joined when they complete each other, never taken for a whole when one lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auditor.errors import MissingShard
from auditor.formats.base import Container, TensorEntry
from auditor.formats.parts import join

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from auditor.errors import FileError


def container(path: str, *names: str, metadata: Mapping[str, object] | None = None) -> Container:
    tensors = tuple(
        TensorEntry(name=name, dtype="F32", shape=(1,), file=path, start=i, stop=i + 4) for i, name in enumerate(names)
    )
    format_ = "gguf" if ".gguf" in path else "safetensors"
    return Container(format=format_, files=(path,), tensors=tensors, metadata=metadata or {})


def joined(
    *containers: Container, listed: Collection[str] | None = None
) -> tuple[list[tuple[str, ...]], tuple[FileError, ...]]:
    loose = {item.files[0]: item for item in containers}
    found, incomplete = join(loose, listed=loose if listed is None else listed)
    assert all(isinstance(error, MissingShard) for error in incomplete)
    return [item.files for item in found], incomplete


def split(path: str, number: object, count: object, *names: str, **more: object) -> Container:
    return container(path, *names, metadata={"split.no": number, "split.count": count, **more})


# --- safetensors ----------------------------------------------------------------------------------------


def test_nothing() -> None:
    assert joined() == ([], ())


def test_shards_of_one_folder_are_joined() -> None:
    found, incomplete = join({p: container(p, p) for p in ("m/b.safetensors", "m/a.safetensors")}, listed=())
    assert incomplete == ()
    assert [item.files for item in found] == [("m/a.safetensors", "m/b.safetensors")]
    assert [entry.name for entry in found[0].tensors] == ["m/a.safetensors", "m/b.safetensors"]
    assert dict(found[0].metadata) == {}


def test_a_shared_name_keeps_them_apart() -> None:
    files, _ = joined(container("a", "x", "y"), container("b", "y", "z"), container("c", "q"))
    assert files == [("a",), ("b",), ("c",)]


def test_folders_are_kept_apart() -> None:
    files, _ = joined(container("a/x", "1"), container("b/x", "2"), container("x", "3"))
    assert sorted(files) == [("a/x",), ("b/x",), ("x",)]


def test_empty_files_are_joined_like_others() -> None:
    assert joined(container("a"), container("b")) == ([("a", "b")], ())


ONE, TWO, THREE = (f"model-{i:05d}-of-00003.safetensors" for i in (1, 2, 3))


def test_numbered_set() -> None:
    files, incomplete = joined(container(ONE, "a"), container(TWO, "b"), container(THREE, "c"))
    assert files == [(ONE, TWO, THREE)]
    assert incomplete == ()


@pytest.mark.parametrize(
    ("there", "absent"), [((ONE, TWO), THREE), ((ONE, THREE), TWO), ((TWO, THREE), ONE), ((TWO,), ONE)]
)
def test_numbered_set_that_lacks_a_part(there: tuple[str, ...], absent: str) -> None:
    files, (error,) = joined(*(container(path, path) for path in there))
    assert files == [there]  # what is there is still evidence
    assert (error.file, error.field) == (there[0], "file name")
    assert error.problem == f"{len(there)} of 3 parts are there; {absent} is not"


def test_part_that_is_there_but_unread_is_not_missing() -> None:
    """It is reported for itself."""
    assert joined(container(ONE, "a"), container(TWO, "b"), listed=[ONE, TWO, THREE])[1] == ()


def test_numbered_sets_are_told_apart() -> None:
    names = ["a-00001-of-00002.safetensors", "b-00002-of-00002.safetensors", "a-00002-of-00002.gguf"]
    _, incomplete = joined(*(container(name, name) for name in names))
    assert sorted(error.file for error in incomplete) == sorted(names)
    names = ["x/a-00001-of-00002.safetensors", "y/a-00002-of-00002.safetensors", "x/a-00002-of-00003.safetensors"]
    _, incomplete = joined(*(container(name, name) for name in names))
    assert len(incomplete) == 3


def test_sets_counted_from_zero() -> None:
    names = ["m-00000-of-00002.safetensors", "m-00001-of-00002.safetensors"]
    assert joined(*(container(name, name) for name in names))[1] == ()
    assert len(joined(container(names[0], "a"))[1]) == 1


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "model-1-of-2.safetensors",
        "model-00001-of-00001.safetensors",
        "model-00001-of-00000.safetensors",
        "00001-of-00002.safetensors",
        "best-of-00003.safetensors",
        "model-00001-of-00002-fixed.safetensors",
        "model-\u0660\u0660\u0660\u0660\u0661-of-00002.safetensors",
    ],
)
def test_names_that_promise_no_more(name: str) -> None:
    assert joined(container(name, "a")) == ([(name,)], ())


def test_part_beyond_the_end() -> None:
    (error,) = joined(container("m-00003-of-00002", "a"), container("m-00001-of-00002", "b"))[1]
    assert "1 of 2 parts are there; m-00002-of-00002 is not" in str(error)


def test_huge_sets_take_no_time() -> None:
    names = [f"m{i}-00001-of-99999.safetensors" for i in range(2000)]
    assert len(joined(*(container(name, name) for name in names))[1]) == len(names)


# --- llama.cpp splits -----------------------------------------------------------------------------------

G1, G2, G3 = (f"model-{i:05d}-of-00003.gguf" for i in (1, 2, 3))


def test_splits_are_joined_under_the_first_ones_metadata() -> None:
    parts = [
        split(G3, 2, 3, "c"),
        split(G1, 0, 3, "a", **{"general.architecture": "llama", "split.tensors.count": 3}),
        split(G2, 1, 3, "b"),
    ]
    (whole,), incomplete = join({part.files[0]: part for part in parts}, listed=())
    assert incomplete == ()
    assert whole.files == (G1, G2, G3)
    assert [entry.name for entry in whole.tensors] == ["a", "b", "c"]
    assert whole.metadata["general.architecture"] == "llama"


BROKEN = {
    "part missing": [split(G1, 0, 3, "a"), split(G3, 2, 3, "c")],
    "first missing": [split(G2, 1, 3, "b"), split(G3, 2, 3, "c")],
    "number twice": [split(G1, 0, 3, "a"), split(G2, 1, 3, "b"), split(G3, 1, 3, "c")],
    "counts differ": [split(G1, 0, 3, "a"), split(G2, 1, 3, "b"), split(G3, 2, 4, "c")],
    "number beyond": [split(G1, 0, 3, "a"), split(G2, 1, 3, "b"), split(G3, 3, 3, "c")],
    "no number": [split(G1, None, 3, "a"), split(G2, 1, 3, "b"), split(G3, 2, 3, "c")],
    "number no integer": [split(G1, 0.5, 3, "a"), split(G2, "1", 3, "b"), split(G3, 2, 3, "c")],
    "name twice": [split(G1, 0, 3, "a"), split(G2, 1, 3, "a"), split(G3, 2, 3, "c")],
    "tensors missing": [
        split(G1, 0, 3, "a", **{"split.tensors.count": 4}),
        split(G2, 1, 3, "b"),
        split(G3, 2, 3, "c"),
    ],
}


@pytest.mark.parametrize("case", BROKEN)
def test_splits_that_are_no_whole(case: str) -> None:
    parts = BROKEN[case]
    files, (error,) = joined(*parts)
    assert files == [part.files for part in parts]  # what is there is still evidence
    assert (error.file, error.field) == (parts[0].files[0], 'metadata "split.count"')


@pytest.mark.parametrize("count", [2, 2**16, -1, float("nan"), "2", (2,), True + 1])
def test_split_under_a_plain_name(count: object) -> None:
    files, (error,) = joined(split("model.gguf", 0, count, "a"))
    assert files == [("model.gguf",)]
    assert error.file == "model.gguf"


@pytest.mark.parametrize("count", [0, 1])
def test_file_that_is_its_own_split(count: int) -> None:
    assert joined(split("model.gguf", 0, count, "a")) == ([("model.gguf",)], ())


def test_quantisations_side_by_side_are_separate_models() -> None:
    files, incomplete = joined(container("q4.gguf", "a"), container("q8.gguf", "a"), container("x.safetensors", "a"))
    assert files == [("q4.gguf",), ("q8.gguf",), ("x.safetensors",)]
    assert incomplete == ()
