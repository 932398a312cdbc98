"""Tokens of a model: the three files that say them, and what none of them may do."""

from __future__ import annotations

import json
import struct
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelkit import make_model, safetensors_bytes

from auditor.formats import open_checkpoints
from auditor.limits import LIMITS
from auditor.model import vocabulary
from auditor.model.vocabulary import read_vocabulary
from auditor.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Mapping

MODEL = safetensors_bytes(make_model(1, layers=1, hidden=8, neurons=8, vocabulary=5))
TOKENS = {"<s>": 0, "a": 1, "\u2581b": 2, "\u00e9": 3}


def read(files: Mapping[str, bytes], *, folder: str = "") -> Mapping[str, int]:
    source = BytesSource({folder + "model.safetensors": MODEL, **files})
    (container,) = open_checkpoints(source).containers
    return read_vocabulary(source, container)


# tokenizer.json and vocab.json


def hub(vocabulary: object, **other: object) -> bytes:
    return json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": vocabulary, **other}}).encode()


def test_byte_pairs_keep_a_map() -> None:
    assert read({"tokenizer.json": hub({"a": 0, "\u0120b": 7}, merges=[["a", "b"]])}) == {"a": 0, "\u2581b": 7}


def test_unigram_keeps_a_list_in_the_order_of_rows() -> None:
    assert read({"tokenizer.json": hub([["<unk>", 0.0], ["\u2581the", -3.1], ["a", -4]])}) == {
        "<unk>": 0, "\u2581the": 1, "a": 2,
    }  # fmt: skip


def test_a_plain_vocabulary() -> None:
    assert read({"vocab.json": json.dumps(TOKENS).encode()}) == TOKENS


def test_the_fullest_file_is_read_first() -> None:
    files = {"tokenizer.json": hub({"x": 1}), "vocab.json": b'{"y": 2}', "tokenizer.model": pieces(["z"])}
    assert read(files) == {"x": 1}
    assert read({**files, "tokenizer.json": b"{"}) == {"y": 2}
    assert read({**files, "tokenizer.json": hub({}), "vocab.json": b"[]"}) == {"z": 0}


def test_it_lies_beside_the_model() -> None:
    assert read({"sub/vocab.json": b'{"y": 2}', "vocab.json": b'{"z": 1}'}, folder="sub/") == {"y": 2}
    assert read({"other/vocab.json": b'{"y": 2}'}) == {}


@pytest.mark.parametrize(
    "rows", [{"a": -1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": None}, {"a": [1]}, {"a": 1.5}], ids=repr
)
def test_rows_that_are_none_are_left_out(rows: dict[str, object]) -> None:
    assert read({"vocab.json": json.dumps({**rows, "b": 4}).encode()}) == {"b": 4}


@pytest.mark.parametrize("entry", [[7, 0.0], "text", {"a": 1}, None, 3, [None]], ids=repr)
def test_pieces_that_are_no_text_keep_their_row_empty(entry: object) -> None:
    assert read({"tokenizer.json": hub([["a", 0.0], entry, ["b", 0.0]])}) == {"a": 0, "b": 2}


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"null", b"[]", b"3", b'"a"', b"{}", b'{"model": null}', b'{"model": []}', b'{"model": {}}',
        b'{"model": {"vocab": null}}', b'{"model": {"vocab": "a"}}', b'{"model": {"vocab": 3}}',
        b'{"model": {"vocab": [[]]}}', b'\xff\xfe{"a": 1}', b'{"model": {"vocab": {"a": NaN}}}',
        b'{"model": {"vocab": {"a": 1}}, "model": {"vocab": {"a": 2}}}', b'{"model": {"vocab": {"a": 1, "a": 2}}}',
        b"[" * 100_000, b'{"model": {"vocab": {"\\ud800": 1}}}',
    ],
    ids=repr,
)  # fmt: skip
def test_a_tokenizer_that_is_none_is_as_good_as_absent(text: bytes) -> None:
    assert read({"tokenizer.json": text}) == {}
    assert read({"tokenizer.json": text, "vocab.json": b'{"a": 5}'}) == {"a": 5}


def test_duplicate_keys_have_no_first_or_last() -> None:
    assert read({"vocab.json": b'{"a": 1, "a": 2}'}) == {}


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "tokenizer.model"])
def test_too_large_is_not_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"tokenizer.json": hub({"a": 1}), "vocab.json": b'{"a": 1}', "tokenizer.model": pieces(["x", "a"])}[name]
    monkeypatch.setattr(vocabulary, "LIMITS", replace(LIMITS, tokenizer_bytes=len(data)))
    assert read({name: data})["a"] == 1
    monkeypatch.setattr(vocabulary, "LIMITS", replace(LIMITS, tokenizer_bytes=len(data) - 1))

    source = BytesSource({"model.safetensors": MODEL, name: data})
    (container,) = open_checkpoints(source).containers
    reads: list[str] = []
    whole = source.read
    monkeypatch.setattr(source, "read", lambda path, ranges: reads.append(path) or whole(path, ranges))
    assert read_vocabulary(source, container) == {}
    assert reads == []


# SentencePiece, by a writer of our own


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def piece(text: str | bytes, *, score: float = -1.5, kind: int = 1) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return field(1, raw) + varint(2 << 3 | 5) + struct.pack("<f", score) + varint(3 << 3) + varint(kind)


def pieces(texts: list[str]) -> bytes:
    """Write `ModelProto`: pieces (1), then what trained it (2) and how text is normalised (3)."""
    trainer = varint(3 << 3) + varint(2) + varint(10 << 3 | 1) + struct.pack("<d", 0.9995) + field(7, b"spm")
    return b"".join(field(1, piece(text)) for text in texts) + field(2, trainer) + field(3, field(1, b"identity"))


def test_sentencepiece_rows_are_the_order_of_pieces() -> None:
    assert read({"tokenizer.model": pieces(["<unk>", "<s>", "\u2581the", "\u00e9"])}) == {
        "<unk>": 0, "<s>": 1, "\u2581the": 2, "\u00e9": 3,
    }  # fmt: skip


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u0120"), max_size=20),
        min_size=1,
        unique=True,
    )
)
@settings(max_examples=40)
def test_sentencepiece_round_trip(texts: list[str]) -> None:
    assert read({"tokenizer.model": pieces(texts)}) == {text: row for row, text in enumerate(texts)}


def test_a_piece_that_comes_twice_keeps_its_first_row_and_takes_its_second() -> None:
    assert read({"tokenizer.model": pieces(["a", "b", "a", "c"])}) == {"a": 0, "b": 1, "c": 3}


def test_a_piece_without_text_takes_a_row() -> None:
    data = field(1, varint(3 << 3) + varint(2)) + field(1, piece("a"))
    assert read({"tokenizer.model": data})["a"] == 1


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert read({"tokenizer.model": field(1, piece(b"\xff\xfe")) + field(1, piece("a"))}) == {"\ufffd\ufffd": 0, "a": 1}


@pytest.mark.parametrize(
    "data",
    {
        "a varint that is cut": b"\x0a\x80",
        "a varint without end": b"\x0a" + b"\xff" * 100,
        "a key without end": b"\xff" * 11,
        "a length beyond the end": field(1, piece("a"))[:-1],
        "a length of 2^63": b"\x0a" + varint(2**63 - 1) + b"a",
        "a piece inside that is cut": field(1, b"\x0a\x05ab"),
        "a piece's length beyond the piece, within the file": field(1, b"\x0a\x05ab") + field(1, piece("c")),
        "a fixed field that is cut": field(1, piece("a")) + b"\x0d\x00\x00",
        "a group": b"\x0b\x0c",
        "wire type 7": b"\x0f\x00",
    }.items(),
    ids=lambda item: item[0],
)
def test_a_protocol_buffer_that_is_broken_is_as_good_as_absent(data: tuple[str, bytes]) -> None:
    assert read({"tokenizer.model": data[1]}) == {}


def test_a_length_that_is_told_reserves_nothing() -> None:
    files = {"tokenizer.model": b"\x0a" + varint(2**62) + b"a"}
    tracemalloc.start()
    assert read(files) == {}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


@pytest.mark.parametrize("spare", [-1, 0])
def test_more_fields_than_any_tokenizer_has_are_refused(spare: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"t{i}" for i in range(50)]
    whole = len(texts) + 2  # trainer and normaliser
    monkeypatch.setattr(vocabulary, "LIMITS", replace(LIMITS, tokenizer_fields=whole + spare))
    assert len(read({"tokenizer.model": pieces(texts)})) == (0 if spare else 50)


@given(st.binary(max_size=80))
@settings(max_examples=40)
def test_any_bytes_are_a_vocabulary_or_none(data: bytes) -> None:
    for name in ("tokenizer.json", "vocab.json", "tokenizer.model"):
        for text, row in read({name: data}).items():
            assert isinstance(text, str)
            assert type(row) is int
            assert row >= 0


@given(st.data())
@settings(max_examples=60)
def test_a_file_that_is_cut_or_changed_is_read_or_left(data: st.DataObject) -> None:
    whole = bytearray(pieces(["<unk>", "a", "\u2581bc"]))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    assert all(row >= 0 for row in read({"tokenizer.model": cut}).values())
