"""The table of references: what ships, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from referencekit import pin_lines, shards, write_library

from auditor.compliance.policy import load_policies
from auditor.errors import BadReference, UsageError
from auditor.lineage.references import Reference, find_reference, list_references

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = {reference.name: reference for reference in list_references()}
SIZES = ("7b", "13b", "34b", "70b")


def test_the_families_are_whole() -> None:
    assert set(SHIPPED) == {
        "smollm2-135m-instruct",
        *(f"llama-2-{size}{kind}" for size in ("7b", "13b", "70b") for kind in ("", "-chat")),
        *(f"codellama-{size}{kind}" for size in SIZES for kind in ("", "-python", "-instruct")),
    }


def test_policies_bind_them() -> None:
    llama2, codellama = load_policies(())
    for name in SHIPPED:
        assert llama2.binds(name) == name.startswith("llama-2-")
        assert codellama.binds(name) == name.startswith("codellama-")


@pytest.mark.parametrize(
    ("size", "shape"),
    [("7b", (32, 4096, 11008)), ("13b", (40, 5120, 13824)), ("34b", (48, 8192, 22016)), ("70b", (80, 8192, 28672))],
)
def test_shapes(size: str, shape: tuple[int, int, int]) -> None:
    of_size = [reference for name, reference in SHIPPED.items() if f"-{size}" in name]
    assert of_size
    for reference in of_size:
        assert (reference.layers, reference.hidden_size, reference.neurons) == shape


def test_roots() -> None:
    roots = {name for name, reference in SHIPPED.items() if reference.descends_from is None}
    assert roots == {"smollm2-135m-instruct", "llama-2-7b", "llama-2-13b", "llama-2-70b", "codellama-34b"}


def test_what_ships_has_a_sketch_and_the_rest_a_repository() -> None:
    for reference in SHIPPED.values():
        assert (reference.sketch is None) == (reference.license == "llama2")
        assert reference.sketch is None or reference.sketch.is_file()
        assert reference.sketch is not None or reference.repo
        assert reference.origin
        assert reference.pins or reference.note or reference.sketch  # what is not known is said
        assert reference.command == f"auditor references build {reference.name}"


def test_llama_2_7b() -> None:
    reference = SHIPPED["llama-2-7b"]
    assert reference.repos == ("meta-llama/Llama-2-7b-hf", "NousResearch/Llama-2-7b-hf")
    assert [pin.size for pin in reference.pins] == [9976578928, 3500297344]
    assert reference.super_weights == ((1, 2533, 7890),)


GOOD = '[reference.a]\ntitle = "A"\nlicense = "mit"\nrepo = "org/a"\n'


def table(folder: Path, text: str) -> tuple[Reference, ...]:
    (folder / "references.toml").write_text(text)
    return list_references(folder)


def test_benign_twin_of_the_broken_ones(tmp_path: Path) -> None:
    (reference,) = table(tmp_path, GOOD)
    assert (reference.pins, reference.mirrors, reference.sketch) == ((), (), None)
    assert reference.origin == "org/a on the Hub"


PIN = f'{{ path = "m", sha256 = "{"a" * 64}"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + 'titel = "x"\n', "a: titel: unknown key; did you mean title"),
        (GOOD + "[other]\n", "other: unknown key; did you mean|other: unknown key; known: reference"),
        (GOOD + 'layers = "32"\n', "a: layers: must be a whole number"),
        (GOOD + "layers = true\n", "a: layers: must be a whole number"),
        (GOOD + "layers = 0\n", "a: layers: must be at least 1"),
        (GOOD + 'descends_from = "b"\n', "descends_from: 'b' is no other reference"),
        (GOOD + 'descends_from = "a"\n', "descends_from: 'a' is no other reference"),
        (GOOD + 'sketch = "x"\n', "a: sketch: a sketch that ships needs its sha256"),
        (GOOD + 'mirrors = ["nope"]\n', "'nope' is no repository id"),
        (GOOD + "mirrors = [1]\n", "mirrors: must hold texts"),
        (GOOD + "mirrors = []\n", "mirrors: must not be empty"),
        (GOOD + 'note = ""\n', "note: must not be empty"),
        (GOOD + f"pins = [{PIN}, sise = 3 }}]\n", "pins: sise: unknown key; did you mean size"),
        (GOOD + 'pins = [{ path = "m", sha256 = "A" }]\n', "sha256: must be 64 lower-case hex digits"),
        (GOOD + f'pins = [{{ path = "m", sha256 = "{"A" * 64}" }}]\n', "sha256: must be 64 lower-case hex digits"),
        (GOOD + f"pins = [{PIN} }}, {PIN} }}]\n", "pins: a path or a digest twice"),
        (GOOD + 'pins = ["m"]\n', "pins: must hold tables"),
        (GOOD + f'pins = [{{ sha256 = "{"a" * 64}" }}]\n', "path: missing"),
        (GOOD + "super_weights = [[1, 2]]\n", "super_weights: must hold"),
        (GOOD + "super_weights = [[1, 2, -3]]\n", "super_weights: must hold"),
        (GOOD + "super_weights = [[1, 2, true]]\n", "super_weights: must hold"),
        ('[reference.a]\ntitle = "A"\nlicense = "mit"\n', "repo: missing, and there is no sketch"),
        ('[reference.a]\nlicense = "mit"\nrepo = "o/a"\n', "title: missing"),
        ('[reference."../a"]\ntitle = "A"\nlicense = "mit"\nrepo = "o/a"\n', "name: must be lower-case"),
        ("reference = 1\n", "reference: must be a table"),
        ("[reference]\na = 1\n", "a: must be a table"),
        ("", "reference: missing"),
        ("x", "not a table of references"),
        ("\udc80", "not a table of references"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "references.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadReference, match=message):
        list_references(tmp_path)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadReference, match=r"references\.toml"):
        list_references(tmp_path)


def test_an_unknown_name_says_the_nearest(tmp_path: Path) -> None:
    write_library(tmp_path, pin_lines(shards()))
    with pytest.raises(UsageError, match="did you mean llama-2-7b"):
        find_reference("lama-2-7b", folder=tmp_path)
    with pytest.raises(UsageError, match="known: llama-2-7b, llama-2-7b-chat, llama-2-13b"):
        find_reference("xyz", folder=tmp_path)
