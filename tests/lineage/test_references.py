"""The library, and what can be named in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from modelkit import make_model, write_model

from auditor.enrolling import sketch
from auditor.errors import BadReference, UsageError
from auditor.lineage.references import library_folder, list_references, load_reference, resolve_references

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def library(tmp_path: Path) -> Path:
    model = write_model(make_model(1), tmp_path / "model")
    data = sketch(str(model), name="tiny")
    folder = tmp_path / "library"
    (folder / "sketches").mkdir(parents=True)
    (folder / "sketches" / "tiny.safetensors").write_bytes(data)
    write_table(folder, data)
    return folder


def write_table(folder: Path, data: bytes) -> None:
    import hashlib  # noqa: PLC0415 (only here)

    (folder / "references.toml").write_text(
        '[reference.tiny]\ntitle = "Tiny"\nlicense = "mit"\nsketch = "sketches/tiny.safetensors"\norigin = "a test"\n'
        f'sha256 = "{hashlib.sha256(data).hexdigest()}"\n'
    )


def test_the_shipped_library_is_whole() -> None:
    references = [reference for reference in list_references() if reference.sketch is not None]
    assert "smollm2-135m-instruct" in {reference.name for reference in references}
    for reference in references:
        loaded = load_reference(reference.name)
        assert loaded.name == reference.name
        assert loaded.license == reference.license
        assert loaded.origin
        assert all(file.sha256 for file in loaded.origin)
        assert reference.sketch is not None
        assert reference.sketch.stat().st_size < 3_000_000
    assert (library_folder() / "references.toml").is_file()


def test_the_shipped_sketch_says_what_it_was_made_of() -> None:
    loaded = load_reference("smollm2-135m-instruct")
    assert loaded.sample.layers == tuple(range(30))
    assert loaded.sample.gate.shape == (30, 32, 576)
    assert loaded.sample.neurons == 1536
    assert loaded.origin[0].size == 98_362_432
    assert loaded.origin[0].sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def test_load_by_name(library: Path) -> None:
    assert load_reference("tiny", folder=library).name == "tiny"


def test_an_unknown_name_says_the_nearest(library: Path) -> None:
    with pytest.raises(UsageError, match="did you mean tiny"):
        load_reference("tinny", folder=library)
    with pytest.raises(UsageError, match="known: tiny"):
        load_reference("something else", folder=library)


def test_an_edited_sketch_is_refused(library: Path) -> None:
    path = library / "sketches" / "tiny.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadReference, match="sha256 is"):
        load_reference("tiny", folder=library)
    path.unlink()
    with pytest.raises(BadReference, match="cannot be read"):
        load_reference("tiny", folder=library)


@pytest.mark.parametrize("table", ["", "x", "reference = 1", "[reference.a]\ntitle = 1", "[reference]\na = 1", None])
def test_a_broken_table_is_refused(library: Path, table: str | None) -> None:
    path = library / "references.toml"
    path.unlink() if table is None else path.write_text(table)
    with pytest.raises(BadReference, match=r"references\.toml"):
        list_references(library)


def test_paths_come_before_names(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(make_model(2), tmp_path / "smollm2-135m-instruct")
    (loaded,) = resolve_references(("smollm2-135m-instruct",))
    assert loaded.origin == ()
    (by_file,) = resolve_references((str(library / "sketches" / "tiny.safetensors"),))
    assert by_file.name == "tiny"


def test_a_reference_that_cannot_be_read_whole_is_refused(tmp_path: Path) -> None:
    folder = write_model(make_model(1), tmp_path / "m", shards=2)
    assert resolve_references((str(folder),))
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(BadReference, match="cannot be read whole"):
        resolve_references((str(folder),))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadReference, match="no model"):
        resolve_references((str(tmp_path / "empty"),))
