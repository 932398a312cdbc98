"""Rung 0: the table is as strict as any other input, and a row decides only where it is sure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.errors import BadReference
from auditor.lineage.known import COLUMNS, Confidence, Kinship, KnownFile, KnownFiles, load_known, parse_known
from auditor.lineage.references import Pin, Reference, library_folder, list_references
from auditor.sources import FileInfo

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = load_known()
REFERENCES = {reference.name: reference for reference in list_references()}
TOKENIZER = "9e556afd44213b6bd1be2b850ebbbd98f5481437a8021afaf58ee7fb1818d347"


def file(sha256: str | None, size: int = 1, path: str = "model.safetensors") -> FileInfo:
    return FileInfo(path=path, size=size, sha256=sha256, digest_source="hub" if sha256 else None)


def row(**changed: object) -> KnownFile:
    known = KnownFile(
        sha256="a" * 64, size=None, model="M", repo="o/m", file="m.safetensors", relation="official",
        reference="llama-2-7b", confidence="corroborated", sources=("one", "two"),
    )  # fmt: skip
    return replace(known, **changed)  # type: ignore[arg-type]


# what ships


def test_rows_name_references_that_exist() -> None:
    assert {known.reference for known in SHIPPED.rows} - {None} <= set(REFERENCES)


def test_pins_and_rows_agree() -> None:
    official = {(known.reference, known.file): known for known in SHIPPED.rows if known.relation == "official"}
    for reference in REFERENCES.values():
        for pin in reference.pins:
            known = official[reference.name, pin.path]
            assert (known.sha256, known.size, known.repo) == (pin.sha256, pin.size, reference.repo)
            assert known.decides == (pin.sources > 1)


def test_every_row_that_decides_has_two_sources_or_was_hashed_here() -> None:
    deciding = [known for known in SHIPPED.rows if known.decides]
    assert deciding
    for known in deciding:
        assert known.confidence == "verified" or len(set(known.sources)) >= 2
        assert known.reference
        assert known.file.endswith((".safetensors", ".gguf", ".bin", "layer"))


def test_the_tokenizer_never_decides() -> None:
    matches = SHIPPED.match([file(TOKENIZER, 499_723, "tokenizer.model")])
    assert [match.known.relation for match in matches] == ["shared"]
    assert SHIPPED.decide(matches, REFERENCES.values()) is None
    assert "no evidence of descent" in matches[0].text


def test_nothing_but_weights_is_from_a_reference() -> None:
    for known in SHIPPED.rows:
        if known.relation in {"official", "quantisation", "derived"}:
            assert not known.file.endswith((".json", "tokenizer.model", ".md", ".txt"))


def test_quantisations_are_of_the_variant_that_they_are_named_for() -> None:
    for known in SHIPPED.rows:
        name, reference = known.file.lower(), known.reference or ""
        if known.relation == "quantisation" and "llama-2" in name:
            assert ("chat" in name) == reference.endswith("-chat")
            assert ("13b" in name) == ("13b" in reference)


def test_the_whole_of_llama_2_7b_is_identical_and_half_is_derived() -> None:
    pins = REFERENCES["llama-2-7b"].pins
    files = [file(pin.sha256, pin.size or 0, pin.path) for pin in pins]
    found = SHIPPED.decide(SHIPPED.match(files), REFERENCES.values())
    assert found is not None
    assert (found.verdict, found.reference, found.relation) == ("identical", "llama-2-7b", "official")
    found = SHIPPED.decide(SHIPPED.match(files[:1]), REFERENCES.values())
    assert found is not None
    assert (found.verdict, found.reference) == ("derived", "llama-2-7b")


def test_a_known_quantisation() -> None:
    sha256 = "08a5566d61d7cb6b420c3e4387a39e0078e1f2fe5f055f3a03887385304d4bfa"
    found = SHIPPED.decide(SHIPPED.match([file(sha256, 4_081_004_224, "q.gguf")]), REFERENCES.values())
    assert found is not None
    assert (found.verdict, found.reference, found.relation) == ("derived", "llama-2-7b-chat", "quantisation")


def test_another_model_does_not_exclude() -> None:
    tinyllama = "6e6001da2106d4757498752a021df6c2bdc332c650aae4bae6b0c004dcf14933"
    matches = SHIPPED.match([file(tinyllama, 2_200_119_864)])
    assert [match.known.relation for match in matches] == ["other"]
    assert SHIPPED.decide(matches) is None


# looking up


def test_a_size_that_contradicts_is_no_match() -> None:
    table = KnownFiles([row(size=5)])
    assert table.match([file("a" * 64, 5)])
    assert not table.match([file("a" * 64, 6)])
    assert not table.match([file(None, 5)])
    assert not table.match([FileInfo(path="m", size=5, sha256="a" * 64)])  # a digest that nobody vouches for


def test_only_files_of_a_known_size_are_worth_hashing() -> None:
    table = KnownFiles([row(size=5), row(sha256="b" * 64), row(sha256="c" * 64, size=7, relation="shared")])
    files = [file(None, size, f"{size}") for size in (4, 5, 6, 7)] + [file("a" * 64, 5)]
    assert [info.path for info in table.worth_hashing(files)] == ["5"]


@pytest.mark.parametrize("relation", get_args(Kinship))
@pytest.mark.parametrize("confidence", get_args(Confidence))
def test_what_decides(relation: Kinship, confidence: Confidence) -> None:
    known = row(relation=relation, confidence=confidence)
    assert known.decides == (relation in {"official", "quantisation", "derived"} and confidence != "single")


def test_the_nearest_reference_wins() -> None:
    table = KnownFiles([
        row(relation="derived", reference="llama-2-13b"),
        row(sha256="b" * 64, relation="quantisation", reference="llama-2-7b-chat"),
        row(sha256="c" * 64, relation="official", reference="llama-2-7b"),
    ])  # fmt: skip
    matches = table.match([file("a" * 64), file("b" * 64), file("c" * 64)])
    for these, name in ((matches, "llama-2-7b"), (matches[:2], "llama-2-7b-chat"), (matches[:1], "llama-2-13b")):
        found = table.decide(these)
        assert found is not None
        assert (found.reference, found.verdict) == (name, "derived")
    assert table.decide(()) is None


def test_a_pin_in_one_source_keeps_identical_away() -> None:
    pins = (Pin(path="1", sha256="a" * 64), Pin(path="2", sha256="b" * 64))
    reference = Reference(name="llama-2-7b", title="", license="", pins=pins)
    table = KnownFiles([row(), row(sha256="b" * 64, confidence="single")])
    found = table.decide(table.match([file("a" * 64), file("b" * 64)]), [reference])
    assert found is not None
    assert found.verdict == "derived"


def test_as_dict_and_text() -> None:
    (match,) = KnownFiles([row()]).match([file("a" * 64)])
    assert match.text == "model.safetensors is byte for byte a weight file of M (o/m, m.safetensors); several sources"
    plain = match.as_dict()
    assert (plain["reference"], plain["decides"], plain["digest_source"]) == ("llama-2-7b", True, "hub")


# reading

HEADER = ",".join(COLUMNS) + "\n"
GOOD = f"{'a' * 64},5,M,o/m,m.gguf,official,llama-2-7b,corroborated,one | two,\n"


def test_benign_twin_of_the_broken_ones() -> None:
    (known,) = parse_known((HEADER + GOOD).encode(), file="t").rows
    assert known == row(size=5, file="m.gguf")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: columns must be"),
        (HEADER.replace("note", "notes") + GOOD, "line 1: columns must be"),
        (HEADER + GOOD + GOOD, "line 3: sha256: stands there twice"),
        (HEADER + GOOD.replace("a" * 64, "A" * 64), "line 2: sha256: not 64 lower-case"),
        (HEADER + GOOD.replace("a" * 64, "a" * 32), "line 2: sha256: not 64 lower-case"),
        (HEADER + GOOD.replace(",5,", ",-5,"), "size: not a number of bytes"),
        (HEADER + GOOD.replace(",5,", ",0,"), "size: not a number of bytes"),
        (HEADER + GOOD.replace(",5,", ",\u0665,"), "size: not a number of bytes"),
        (HEADER + GOOD.replace(",5,", f",{'9' * 30},"), "size: not a number of bytes"),
        (HEADER + GOOD.replace("official", "offical"), "relation: 'offical' is none of"),
        (HEADER + GOOD.replace("corroborated", "sure"), "confidence: 'sure' is none of"),
        (HEADER + GOOD.replace("one | two", "one"), "sources: corroborated, with 1 listed"),
        (HEADER + GOOD.replace("one | two", "one | one"), "sources: corroborated, with 2 listed"),
        (HEADER + GOOD.replace("one | two", ""), "sources: missing"),
        (HEADER + GOOD.replace("one | two", "one |  | two"), "sources: corroborated, with 3 listed"),
        (HEADER + GOOD.replace("llama-2-7b", ""), "reference: to be named exactly where"),
        (HEADER + GOOD.replace("official", "shared"), "reference: to be named exactly where"),
        (HEADER + GOOD.replace(",M,", ", M,"), "model: white space"),
        (HEADER + GOOD.replace(",M,", ",\x1b[2J,"), "model: white space at an end, unprintable"),
        (HEADER + GOOD.replace(",M,", f",{'M' * 5000},"), "over 4096 characters"),
        (HEADER + GOOD.replace(",M,", ","), "9 fields, expected 10"),
        (HEADER + GOOD.replace("\n", ",x\n"), "11 fields, expected 10"),
        (HEADER + "\n" + GOOD, "0 fields, expected 10"),
        (HEADER + GOOD.replace(",M,", ',"M,'), "not UTF-8 CSV"),
        (HEADER + GOOD.replace(",M,", ",\udcff,"), "not UTF-8 CSV"),
    ],
)
def test_a_broken_table_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadReference, match=f"^t: .*{message}"):
        parse_known(text.encode("utf-8", "surrogateescape"), file="t")


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadReference, match=r"known_digests\.csv: cannot be read"):
        load_known(tmp_path)


@settings(max_examples=150)
@given(st.integers(0, 4000), st.binary(min_size=1, max_size=2))
def test_a_changed_byte_is_refused_or_changes_no_more_than_it_says(at: int, change: bytes) -> None:
    data = (library_folder() / "known_digests.csv").read_bytes()[:4001].rpartition(b"\n")[0] + b"\n"
    at %= len(data)
    try:
        table = parse_known(data[:at] + change + data[at + len(change) :], file="t")
    except BadReference:
        return
    for known in table.rows:
        assert len(known.sha256) == 64
        assert known.decides <= bool(known.reference)
