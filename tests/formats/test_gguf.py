"""The GGUF cases of the bad-input list, each with a benign twin, and agreement with gguf-py."""

from __future__ import annotations

import struct
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
import smollm2
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor import errors
from auditor.formats import cursor
from auditor.formats import gguf as module
from auditor.formats.gguf import Skipped, parse, sniff
from auditor.limits import LIMITS
from auditor.sources.base import Blob, BytesSource, FileInfo, Range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from auditor.formats.base import Container

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
U64_MAX = 2**64 - 1
PATH = "model.gguf"


# --- a file, byte by byte -------------------------------------------------------------------------------


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return u64(len(raw)) + raw


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + u32(kind) + value


def array(kind: int, count: int, items: bytes = b"") -> bytes:
    return u32(kind) + u64(count) + items


def record(name: str | bytes = "w", dims: Sequence[int] = (8,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + u32(len(dims)) + b"".join(map(u64, dims)) + u32(kind) + u64(offset)


def build(
    *,
    pairs: Iterable[bytes] = (),
    records: Iterable[bytes] = (),
    data: int | bytes = 0,
    version: int = 3,
    pair_count: int | None = None,
    record_count: int | None = None,
    alignment: int = 32,
) -> bytes:
    """Join the parts; `data` is the tensor data, or how many bytes of it."""
    pairs, records = list(pairs), list(records)
    head = b"GGUF" + u32(version)
    head += u64(len(records) if record_count is None else record_count)
    head += u64(len(pairs) if pair_count is None else pair_count)
    head += b"".join(pairs) + b"".join(records)
    if records:
        head += bytes(-len(head) % alignment)
    return head + (bytes(data) if isinstance(data, int) else data)


def read(content: bytes) -> Container:
    return parse(BytesSource({PATH: content}).blob(PATH))


def one(kind: int = 0, dims: Sequence[int] = (8,), data: int = 32, **options: object) -> bytes:
    """Build a file of a single tensor."""
    return build(records=[record("w", dims, kind, **options)], data=data)  # type: ignore[arg-type]


def meta(key: str | bytes, kind: int, value: bytes, *, alignment: int = 32) -> bytes:
    """Build a file of a single key-value pair and a tensor."""
    return build(pairs=[pair(key, kind, value)], records=[record()], data=32, alignment=alignment)


def nested(depth: int) -> bytes:
    return array(ARRAY, 1) * (depth - 1) + array(U8, 1, b"\x07")


def two(second: int, *, data: int = 64, names: tuple[str, str] = ("a", "b")) -> bytes:
    """Build a file of two tensors of 32 bytes, the second at `second`."""
    return build(records=[record(names[0]), record(names[1], offset=second)], data=data)


MINIMAL = build(pairs=[pair("general.architecture", STRING, text("llama"))], records=[record()], data=32)


# --- what is accepted -----------------------------------------------------------------------------------


def test_minimal() -> None:
    container = read(MINIMAL)
    assert container.format == "gguf"
    assert container.files == (PATH,)
    assert dict(container.metadata) == {"general.architecture": "llama"}
    (entry,) = container.tensors
    assert (entry.name, entry.dtype, entry.shape, entry.file) == ("w", "F32", (8,), PATH)
    assert (entry.start, entry.stop) == (len(MINIMAL) - 32, len(MINIMAL))


def test_zero_dimension_is_an_empty_tensor() -> None:
    (entry,) = read(one(dims=(32, 0), kind=8, data=0)).tensors
    assert entry.shape == (0, 32)
    assert entry.count == 0
    assert entry.start == entry.stop


def test_shape_is_row_major() -> None:
    (entry,) = read(one(kind=12, dims=(512, 3, 2), data=2 * 3 * 2 * 144)).tensors
    assert entry.shape == (2, 3, 512)
    assert entry.stop - entry.start == 2 * 3 * 2 * 144


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(build(), id="nothing at all"),
        pytest.param(build(pairs=[pair("k", U8, b"\1")]), id="a vocabulary file without tensors"),
        pytest.param(build(pairs=[pair("k", U8, b"\1")]) + bytes(9), id="the same, padded"),
        pytest.param(build(records=[record()], data=32, version=2), id="version 2"),
        pytest.param(one(dims=(), data=4), id="no dimensions: a scalar"),
        pytest.param(one(dims=(2, 2, 2, 1), data=32), id="four dimensions"),
        pytest.param(one(dims=(3,), data=12), id="last tensor not padded"),
        pytest.param(one(dims=(3,), data=32), id="last tensor padded to the alignment"),
        pytest.param(one(data=4096), id="last tensor padded to a page"),
        pytest.param(
            build(records=[record("a", offset=32), record("b", offset=0)], data=64), id="tensors in another order"
        ),
        pytest.param(
            build(records=[record("a", (0,)), record("b"), record("c", (0,), offset=32)], data=32),
            id="empty tensors at the borders of another",
        ),
    ],
)
def test_accepted(content: bytes) -> None:
    container = read(content)
    assert len(container.tensors) == struct.unpack_from("<Q", content, 8)[0]


@pytest.mark.parametrize("alignment", [1, 2, 4, 8, 32, 64, 4096, 65536])
def test_alignment_is_any_power_of_two_up_to_a_page(alignment: int) -> None:
    second = -(-12 // alignment) * alignment
    content = build(
        pairs=[pair("general.alignment", U32, u32(alignment))],
        records=[record("a", (3,)), record("b", (3,), offset=second)],
        data=second + 12,
        alignment=alignment,
    )
    container = read(content)
    assert container.tensors[0].start % alignment == 0
    assert container.tensors[1].stop == len(content)
    assert container.metadata["general.alignment"] == alignment


# --- what is refused: the list --------------------------------------------------------------------------


class Case(NamedTuple):
    bad: bytes
    error: type[errors.FileError]
    field: str
    twin: bytes


TEMPLATE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"

CASES = {
    "empty": Case(b"", errors.Truncated, "magic", MINIMAL),
    "magic only": Case(b"GGUF", errors.Truncated, "version", MINIMAL),
    "bad magic": Case(b"GGML" + MINIMAL[4:], errors.BadMagic, "magic", MINIMAL),
    "renamed pickle": Case(b"\x80\x04\x95" + bytes(64), errors.BadMagic, "magic", MINIMAL),
    "version 0": Case(build(version=0), errors.UnsupportedVersion, "version", build(version=2)),
    "version 1": Case(build(version=1), errors.UnsupportedVersion, "version", build(version=2)),
    "version future": Case(build(version=99), errors.UnsupportedVersion, "version", build(version=3)),
    "n kv u64max": Case(build(pair_count=U64_MAX), errors.Truncated, "metadata count", build(pair_count=0)),
    "n kv without bytes": Case(build(pair_count=1), errors.Truncated, "metadata count", build(pair_count=0)),
    "n tensors u64max": Case(build(record_count=U64_MAX), errors.Truncated, "tensor count", build(record_count=0)),
    "key len u64max": Case(
        build(pairs=[u64(U64_MAX) + bytes(64)]), errors.Truncated, "metadata key 0 length", meta("k", U8, b"\1")
    ),
    "key too long": Case(
        meta(b"k" * 65536, U8, b"\1"), errors.LimitExceeded, "metadata key 0 length", meta(b"k" * 65535, U8, b"\1")
    ),
    "str len 2 63": Case(
        meta("k", STRING, u64(2**63)), errors.Truncated, 'metadata "k" length', meta("k", STRING, u64(0))
    ),
    "str len past eof": Case(
        build(pairs=[pair("k", STRING, u64(6) + b"short")]),
        errors.Truncated,
        'metadata "k" length',
        build(pairs=[pair("k", STRING, u64(5) + b"short")]),
    ),
    "str len over the cap": Case(
        meta("k", STRING, text(bytes(LIMITS.gguf_string + 1))),
        errors.LimitExceeded,
        'metadata "k" length',
        meta("k", STRING, text(bytes(LIMITS.gguf_string))),
    ),
    "arr len 2 62": Case(
        meta("k", ARRAY, array(U8, 2**62)), errors.Truncated, 'metadata "k" count', meta("k", ARRAY, array(U8, 0))
    ),
    "arr of strings len 2 62": Case(
        meta("k", ARRAY, array(STRING, 2**62)),
        errors.Truncated,
        'metadata "k" count',
        meta("k", ARRAY, array(STRING, 0)),
    ),
    "arr of arrays len 2 62": Case(
        meta("k", ARRAY, array(ARRAY, 2**62)),
        errors.Truncated,
        'metadata "k" count',
        meta("k", ARRAY, array(ARRAY, 0)),
    ),
    "arr nested deep": Case(
        meta("k", ARRAY, nested(5000)), errors.LimitExceeded, 'metadata "k" depth', meta("k", ARRAY, nested(4))
    ),
    "arr bad type": Case(
        meta("k", ARRAY, array(99, 1, b"\1")),
        errors.WrongType,
        'metadata "k" element type',
        meta("k", ARRAY, array(U8, 1, b"\1")),
    ),
    "arr last string past eof": Case(
        build(pairs=[pair("k", ARRAY, array(STRING, 2000, text("a") * 1999 + u64(2**62) + b"a"))]),
        errors.Truncated,
        'metadata "k"',
        build(pairs=[pair("k", ARRAY, array(STRING, 2000, text("a") * 2000))]),
    ),
    "kv bad type": Case(meta("k", 99, b"\1"), errors.WrongType, 'metadata "k" type', meta("k", U8, b"\1")),
    "kv dup key": Case(
        build(pairs=[pair("k", U8, b"\1"), pair("k", U8, b"\1")]),
        errors.DuplicateName,
        "metadata key",
        build(pairs=[pair("k", U8, b"\1"), pair("l", U8, b"\1")]),
    ),
    "kv empty key": Case(meta("", U8, b"\1"), errors.BadName, "metadata key 0", meta("k", U8, b"\1")),
    "kv key not utf8": Case(meta(b"k\xff", U8, b"\1"), errors.NotText, "metadata key 0", meta("k\u00ff", U8, b"\1")),
    "kv key with NUL": Case(
        meta("general.alignment\0", U32, u32(64)), errors.BadName, "metadata key 0", meta("k", U32, u32(64))
    ),
    "kv bool 7": Case(meta("k", BOOL, b"\7"), errors.WrongType, 'metadata "k"', meta("k", BOOL, b"\1")),
    "arr bool 7": Case(
        meta("k", ARRAY, array(BOOL, 2, b"\0\7")),
        errors.WrongType,
        'metadata "k"',
        meta("k", ARRAY, array(BOOL, 2, b"\0\1")),
    ),
    **{
        f"align {value}": Case(
            meta("general.alignment", U32, u32(value)),
            error,
            'metadata "general.alignment"',
            meta("general.alignment", U32, u32(twin), alignment=twin),
        )
        for value, error, twin in [
            (0, errors.BadAlignment, 1),
            (13, errors.BadAlignment, 16),
            (2147483648, errors.LimitExceeded, 65536),
        ]
    },
    **{
        f"align wrong type {kind}": Case(
            meta("general.alignment", kind, value),
            errors.WrongType,
            'metadata "general.alignment"',
            meta("general.alignment", U32, u32(64), alignment=64),
        )
        for kind, value in [(I32, u32(64)), (U64, u64(64)), (STRING, text("64")), (ARRAY, array(U32, 1, u32(64)))]
    },
    "tensor 5 dims": Case(
        one(dims=(2, 2, 2, 1, 1)), errors.LimitExceeded, 'tensor "w" dimensions', one(dims=(2, 2, 2, 1))
    ),
    "tensor n dims 1e6": Case(
        build(records=[text("w") + u32(1_000_000) + bytes(64)], data=32),
        errors.LimitExceeded,
        'tensor "w" dimensions',
        one(),
    ),
    "tensor dims wrap": Case(
        one(dims=(4, 5, (2**62 + 1) // 5), data=16), errors.BadShape, 'tensor "w" shape', one(dims=(4,), data=16)
    ),
    "tensor huge and empty": Case(
        one(dims=(0, 2**62, 2**62)), errors.BadShape, 'tensor "w" shape', one(dims=(0, 2**31, 2**31), data=0)
    ),
    "tensor dim neg": Case(one(dims=(U64_MAX,)), errors.BadShape, 'tensor "w" shape', one(dims=(8,))),
    "tensor nbytes overflow": Case(one(dims=(2**62,)), errors.Truncated, 'tensor "w" data', one(dims=(8,))),
    "tensor mem sum overflow": Case(
        build(records=[record("a", (2**61 - 8,)), record("b", (2**61 - 8,), offset=2**63 - 32)], data=64),
        errors.Truncated,
        'tensor "a" data',
        two(32),
    ),
    "tensor bad type": Case(one(kind=999), errors.UnknownDtype, 'tensor "w" type', one(kind=0)),
    "tensor type -1": Case(one(kind=2**32 - 1), errors.UnknownDtype, 'tensor "w" type', one(kind=0)),
    "tensor removed type": Case(
        one(kind=4, dims=(32,), data=18),
        errors.UnsupportedDtype,
        'tensor "w" type',
        one(kind=2, dims=(32,), data=18),
    ),
    "tensor block indivisible": Case(
        one(kind=2, dims=(48, 2), data=54), errors.BadShape, 'tensor "w" shape', one(kind=2, dims=(96, 1), data=54)
    ),
    "tensor scalar of a block type": Case(
        one(kind=2, dims=(), data=18), errors.BadShape, 'tensor "w" shape', one(kind=0, dims=(), data=4)
    ),
    "tensor offset u64max": Case(one(offset=U64_MAX), errors.BadOffset, 'tensor "w" offset', one()),
    "tensor offset 2 63": Case(one(offset=2**63), errors.Truncated, 'tensor "w" data', one()),
    "tensor offset misaligned": Case(one(offset=3, data=64), errors.BadOffset, 'tensor "w" offset', one()),
    "tensor overlap": Case(two(0), errors.Overlap, 'tensor "b" offset', two(32)),
    "tensor inside another": Case(
        build(records=[record("a", (16,)), record("b", offset=32)], data=64),
        errors.Overlap,
        'tensor "b" offset',
        build(records=[record("a", (16,)), record("b", offset=64)], data=96),
    ),
    "hole before the first": Case(one(offset=32, data=64), errors.Hole, 'tensor "w" offset', one()),
    "hole between two": Case(two(64, data=96), errors.Hole, 'tensor "b" offset', two(32)),
    "bytes after the last": Case(
        one(data=32) + b"PK\5\6", errors.Hole, "bytes after the last tensor", one(data=32) + bytes(4)
    ),
    "zeros after the last, without end": Case(
        one(data=32 + 65536), errors.Hole, "bytes after the last tensor", one(data=32 + 65535)
    ),
    "bytes after an empty header": Case(
        build() + bytes(40) + b"x", errors.Hole, "bytes after the last tensor", build() + bytes(41)
    ),
    "tensor dup name": Case(two(32, names=("a", "a")), errors.DuplicateName, "tensor name", two(32, names=("a", "A"))),
    "tensor name long": Case(
        build(records=[record("n" * 5000)], data=32),
        errors.LimitExceeded,
        "tensor name 0 length",
        build(records=[record("n" * 63)], data=32),
    ),
    "tensor name 64": Case(
        build(records=[record("n" * 64)], data=32),
        errors.LimitExceeded,
        "tensor name 0 length",
        build(records=[record("n" * 63)], data=32),
    ),
    "tensor name empty": Case(
        build(records=[record("")], data=32),
        errors.BadName,
        "tensor name 0",
        build(records=[record("-")], data=32),
    ),
    "tensor name not utf8": Case(
        build(records=[record(b"\xc3")], data=32),
        errors.NotText,
        "tensor name 0",
        build(records=[record(b"\xc3\xa9")], data=32),
    ),
    "tensor name with NUL": Case(
        build(records=[record("w\0x")], data=32),
        errors.BadName,
        "tensor name 0",
        build(records=[record("w x")], data=32),
    ),
    "data truncated": Case(one(data=31), errors.Truncated, 'tensor "w" data', one(data=32)),
    "data absent": Case(
        one(dims=(1024, 1024), data=0), errors.Truncated, 'tensor "w" data', one(dims=(1024, 0), data=0)
    ),
    "data padding absent": Case(
        build(pairs=[pair("k", U8, b"\1")], records=[record(dims=(0,))])[:-1],
        errors.Truncated,
        "tensor data",
        build(pairs=[pair("k", U8, b"\1")], records=[record(dims=(0,))]),
    ),
    "big endian": Case(b"GGUF" + struct.pack(">IQQ", 3, 0, 0), errors.UnsupportedFormat, "byte order", build()),
    "big endian, magic too": Case(
        b"FUGG" + struct.pack(">IQQ", 3, 0, 0), errors.UnsupportedFormat, "byte order", build()
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str) -> None:
    case = CASES[name]
    with pytest.raises(errors.FileError) as caught:
        read(case.bad)
    assert type(caught.value) is case.error
    assert caught.value.file == PATH
    assert caught.value.field == case.field
    assert "\n" not in caught.value.reason


@pytest.mark.parametrize("name", CASES)
def test_benign_twin(name: str) -> None:
    read(CASES[name].twin)


@pytest.mark.parametrize("name", [name for name in CASES if "over the cap" not in name])
def test_refusal_takes_no_memory(name: str) -> None:
    content = CASES[name].bad
    tracemalloc.start()
    try:
        with pytest.raises(errors.FileError):
            read(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(content) + 100_000


@pytest.mark.parametrize(
    ("kind", "name"),
    [(4, "Q4_2"), (5, "Q4_3"), (31, "Q4_0_4_4"), (33, "Q4_0_8_8"), (36, "IQ4_NL_4_4"), (38, "IQ4_NL_8_8")],
)
def test_removed_types_are_refused_by_name(kind: int, name: str) -> None:
    with pytest.raises(errors.UnsupportedDtype, match=name):
        read(one(kind=kind, dims=(256,), data=4096))


# --- metadata -------------------------------------------------------------------------------------------


def test_values_of_every_type() -> None:
    values = {
        "u8": (U8, b"\xff", 255),
        "i8": (I8, b"\xff", -1),
        "u16": (U16, b"\xff\xff", 65535),
        "i16": (I16, b"\xff\xff", -1),
        "u32": (U32, u32(2**32 - 1), 2**32 - 1),
        "i32": (I32, u32(2**32 - 1), -1),
        "f32": (F32, struct.pack("<f", 0.5), 0.5),
        "bool": (BOOL, b"\1", True),
        "string": (STRING, text("\u00e9"), "\u00e9"),
        "empty": (STRING, text(""), ""),
        "u64": (U64, u64(U64_MAX), U64_MAX),
        "i64": (I64, u64(U64_MAX), -1),
        "f64": (F64, struct.pack("<d", 1e300), 1e300),
        "array": (ARRAY, array(I16, 2, b"\1\0\xff\xff"), (1, -1)),
        "bools": (ARRAY, array(BOOL, 2, b"\1\0"), (True, False)),
        "no items": (ARRAY, array(F64, 0), ()),
        "strings": (ARRAY, array(STRING, 2, text("en") + text("")), ("en", "")),
        "arrays": (ARRAY, array(ARRAY, 2, array(U8, 1, b"\1") + array(U8, 0)), ((1,), ())),
    }
    content = build(pairs=[pair(key, kind, raw) for key, (kind, raw, _) in values.items()])
    metadata = dict(read(content).metadata)
    assert metadata == {key: value for key, (_, _, value) in values.items()}
    assert type(metadata["bool"]) is bool


def test_metadata_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        read(MINIMAL).metadata["general.architecture"] = "other"  # type: ignore[index]


@pytest.mark.parametrize(
    ("kind", "name", "item"),
    [
        (STRING, "string", text("token")),
        (F32, "f32", bytes(4)),
        (BOOL, "bool", b"\1"),
        (ARRAY, "array", nested(1)),
    ],
)
def test_long_arrays_are_skipped_and_short_ones_kept(kind: int, name: str, item: bytes) -> None:
    cap = LIMITS.gguf_items
    short, long = (meta("k", ARRAY, array(kind, n, item * n)) for n in (cap, cap + 1))
    kept, skipped = read(short).metadata["k"], read(long).metadata["k"]
    assert isinstance(kept, tuple)
    assert len(kept) == cap
    assert isinstance(skipped, Skipped)
    assert (skipped.kind, skipped.count) == (name, cap + 1)
    assert long[skipped.start : skipped.stop] == item * (cap + 1)


def test_long_text_is_skipped() -> None:
    content = meta("k", STRING, text("x" * (LIMITS.gguf_text + 1)))
    value = read(content).metadata["k"]
    assert isinstance(value, Skipped)
    assert (value.kind, value.count) == ("text", LIMITS.gguf_text + 1)
    assert set(content[value.start : value.stop]) == {ord("x")}


def test_text_that_is_not_utf8_does_not_hide_the_weights() -> None:
    container = read(meta("general.name", STRING, text(b"a\xffb")))
    assert container.metadata["general.name"] == "a\\xffb"
    assert len(container.tensors) == 1


@pytest.mark.parametrize("value", [TEMPLATE, "\x1b[31m<script>\u202e", "NUL \0 inside"])
def test_text_is_only_text(value: str) -> None:
    assert read(meta("general.name", STRING, text(value))).metadata["general.name"] == value


@pytest.mark.parametrize(
    ("cap", "pairs", "field"),
    [
        ({"gguf_kv": 1}, [pair("a", U8, b"\1"), pair("b", U8, b"\1")], "metadata count"),
        ({"gguf_steps": 9}, [pair("a", ARRAY, array(STRING, 10, text("") * 10))], 'metadata "a" count'),
        ({"gguf_steps": 39}, [pair("a", ARRAY, array(ARRAY, 5, array(U8, 0) * 5))], 'metadata "a" count'),
        ({"gguf_kept": 9}, [pair("a" * 10, U8, b"\1")], "metadata keys, bytes in all"),
        ({"gguf_header": 60}, [pair("a" * 30, U8, b"\1")], "header up to metadata key 0"),
    ],
)
def test_caps(monkeypatch: pytest.MonkeyPatch, cap: dict[str, int], pairs: list[bytes], field: str) -> None:
    read(build(pairs=pairs))
    for part in (module, cursor):
        monkeypatch.setattr(part, "LIMITS", replace(LIMITS, **cap, gguf_items=4))
    monkeypatch.setattr(cursor, "_FIRST_BLOCK", 32)
    monkeypatch.setattr(cursor, "_MIN_BLOCK", 1)
    with pytest.raises(errors.LimitExceeded) as caught:
        read(build(pairs=pairs))
    assert caught.value.field == field


def test_tensor_count_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMITS", replace(LIMITS, gguf_tensors=1))
    read(one())
    with pytest.raises(errors.LimitExceeded):
        read(two(32))


def test_what_is_kept_is_capped_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursor, "LIMITS", replace(LIMITS, gguf_kept=20))
    content = build(pairs=[pair(key, STRING, text("x" * 10)) for key in "ab"])
    first, second = read(content).metadata.values()
    assert first == "x" * 10
    assert isinstance(second, Skipped)


# --- reading --------------------------------------------------------------------------------------------


class Counting:
    """A source that notes what is read of one file."""

    uri, kind, revision = "memory:", "memory", None

    def __init__(self, read_range: Callable[[int, int], bytes], size: int) -> None:
        self._read_range = read_range
        self.info = FileInfo(path=PATH, size=size)
        self.ranges: list[Range] = []

    def files(self) -> tuple[FileInfo, ...]:
        return (self.info,)

    def refused(self) -> tuple[()]:
        return ()

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        assert path == PATH
        self.ranges += ranges
        return [self._read_range(*span) for span in ranges]

    @property
    def total(self) -> int:
        return sum(stop - start for start, stop in self.ranges)


def test_only_the_header_is_read() -> None:
    vocabulary = 250_000
    strings, scores = text("\u0120token") * vocabulary, bytes(4 * vocabulary)
    content = build(
        pairs=[
            pair("tokenizer.ggml.tokens", ARRAY, array(STRING, vocabulary, strings)),
            pair("tokenizer.ggml.scores", ARRAY, array(F32, vocabulary, scores)),
            pair("tokenizer.ggml.merges", ARRAY, array(STRING, vocabulary, strings)),
            pair("last", U8, b"\7"),
        ],
        records=[record("w", (1024, 1024))],
        data=4 << 20,
    )
    source = Counting(lambda start, stop: content[start:stop], len(content))
    container = parse(Blob(source, source.info))
    assert container.metadata["last"] == 7
    header = container.tensors[0].start
    assert len(source.ranges) < 14
    assert all(stop - start <= 1 << 20 for start, stop in source.ranges)
    assert source.total < header - len(scores) + (1 << 20)
    assert max(source.ranges).stop < header + (1 << 20)


@pytest.mark.parametrize("block", [1, 2, 7, 8, 9, 64])
def test_any_block_size_gives_the_same_answer(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    strings = b"".join(text("x" * n) for n in range(LIMITS.gguf_items + 1))
    content = build(
        pairs=[pair("a", ARRAY, array(STRING, LIMITS.gguf_items + 1, strings)), pair("b", STRING, text("c" * 99))],
        records=[record()],
        data=32,
    )
    expected = read(content)
    for name in ("_FIRST_BLOCK", "_MIN_BLOCK", "_MAX_BLOCK"):
        monkeypatch.setattr(cursor, name, block)
    assert read(content) == expected


def test_sniff() -> None:
    assert sniff(MINIMAL[:16], len(MINIMAL))
    assert sniff(b"GGUF", 4)
    assert not sniff(b"GGU", 3)
    assert not sniff(b"", 0)
    assert not sniff(b"GGML" + bytes(12), 100)
    assert not sniff(b"\x80\x04\x95GGUF", 100)


def test_parser_does_not_import_gguf_py() -> None:
    code = "import sys, auditor.formats.gguf; sys.exit('gguf' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- mutation -------------------------------------------------------------------------------------------

RICH = build(
    pairs=[
        pair("general.architecture", STRING, text("llama")),
        pair("general.alignment", U32, u32(64)),
        pair("llama.block_count", U32, u32(2)),
        pair("llama.attention.head_count_kv", ARRAY, array(I32, 2, u32(4) * 2)),
        pair("flag", BOOL, b"\1"),
        pair("deep", ARRAY, array(ARRAY, 1, array(STRING, 2, text("a") + text("b")))),
        pair("scale", F64, struct.pack("<d", 0.5)),
    ],
    records=[
        record("token_embd.weight", (32, 4), 8, 0),
        record("blk.0.attn_norm.weight", (16,), 0, 192),
        record("blk.0.ffn_up.weight", (256, 2), 12, 256),
    ],
    data=256 + 288,
    alignment=64,
)
RICH_HEADER = len(RICH) - (256 + 288)


def outcome(content: bytes) -> Container | errors.FileError:
    try:
        return read(content)
    except errors.FileError as error:
        return error


def check_mutant(content: bytes) -> None:
    """Either a typed refusal, or tensors that lie in the file and share nothing."""
    result = outcome(content)
    if isinstance(result, errors.FileError):
        assert result.file == PATH
        assert result.reason
        return
    end = 0
    for entry in result.tensors:
        assert end <= entry.start <= entry.stop <= len(content)
        end = entry.stop


def test_every_truncation() -> None:
    read(RICH)
    for length in range(len(RICH)):
        with pytest.raises(errors.FileError):
            read(RICH[:length])


@pytest.mark.parametrize(
    "change", [0x01, 0xFF, *(pytest.param(change, marks=pytest.mark.slow) for change in (0x80, 0x55))]
)
def test_every_byte_changed(change: int) -> None:
    tracemalloc.start()
    try:
        for place in range(RICH_HEADER):
            mutant = bytearray(RICH)
            mutant[place] ^= change
            check_mutant(bytes(mutant))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


EXTREME = st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63, U64_MAX]).map(u64)


@settings(max_examples=40, deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, RICH_HEADER - 8), st.one_of(EXTREME, st.binary(min_size=1, max_size=8))),
        min_size=1,
        max_size=4,
    ),
    cut=st.integers(0, len(RICH)),
    grow=st.binary(max_size=64),
)
def test_mutants(edits: list[tuple[int, bytes]], cut: int, grow: bytes) -> None:
    mutant = bytearray(RICH)
    for place, raw in edits:
        mutant[place : place + len(raw)] = raw
    check_mutant(bytes(mutant))
    check_mutant(bytes(mutant[:cut]) + grow)


# --- agreement with gguf-py -----------------------------------------------------------------------------

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
TENSORS = st.dictionaries(
    NAMES,
    st.tuples(
        st.sampled_from(["F32", "F16", "I8", "F64", "Q8_0", "Q4_1", "Q4_K", "IQ4_NL"]),
        st.lists(st.integers(1, 3), max_size=3),
        st.integers(1, 3),
    ),
    max_size=5,
)
VALUES = st.dictionaries(
    NAMES,
    st.one_of(
        st.integers(0, 2**32 - 1).map(lambda v: ("uint32", v)),
        st.integers(-(2**63), 2**63 - 1).map(lambda v: ("int64", v)),
        st.floats(allow_nan=False).map(lambda v: ("float64", v)),
        st.booleans().map(lambda v: ("bool", v)),
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).map(lambda v: ("string", v)),
        st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5).map(lambda v: ("array", v)),
        st.lists(st.text(st.characters(codec="utf-8"), max_size=5), min_size=1, max_size=5).map(lambda v: ("array", v)),
    ),
    max_size=5,
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf") / PATH


@settings(max_examples=20, deadline=None)
@given(tensors=TENSORS, values=VALUES, alignment=st.sampled_from([None, 8, 256]))
def test_agrees_with_gguf_py(target: Path, tensors: dict, values: dict, alignment: int | None) -> None:
    import gguf  # noqa: PLC0415 # it is slow to import, and only these tests want it

    writer = gguf.GGUFWriter(target, "llama")
    if alignment:
        writer.add_custom_alignment(alignment)
    values = {f"x.{key}": value for key, value in values.items()}
    for key, (kind, value) in values.items():
        getattr(writer, f"add_{kind}")(key, value)
    for name, (kind, leading, blocks) in tensors.items():
        quant = gguf.GGMLQuantizationType[kind]
        _, size = gguf.GGML_QUANT_SIZES[quant]
        raw = np.zeros((*leading, blocks * size), dtype=np.uint8)
        writer.add_tensor(name, raw, raw_dtype=quant)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    content = target.read_bytes()
    container = read(content)
    reader = gguf.GGUFReader(target)
    theirs = {
        t.name: (t.tensor_type.name, tuple(reversed(t.shape.tolist())), t.data_offset, t.data_offset + t.n_bytes)
        for t in reader.tensors
    }
    assert {t.name: (t.dtype, t.shape, t.start, t.stop) for t in container.tensors} == theirs
    for key, (_, value) in values.items():
        assert container.metadata[key] == (tuple(value) if isinstance(value, list) else value)
        assert reader.fields[key].contents() == value


@pytest.mark.integration
def test_real_model() -> None:
    path = smollm2.fetch()

    def read_range(start: int, stop: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    source = Counting(read_range, path.stat().st_size)
    container = parse(Blob(source, source.info))

    assert len(container.tensors) == 272
    assert container.tensors[-1].stop <= source.info.size
    shapes = {entry.name: (entry.dtype, entry.shape) for entry in container.tensors}
    assert shapes["blk.0.ffn_gate.weight"] == ("Q4_1", (1536, 576))
    assert shapes["token_embd.weight"][1] == (49152, 576)
    expected = {
        "general.architecture": "llama",
        "llama.block_count": 30,
        "llama.attention.head_count": 9,
        "llama.attention.head_count_kv": 3,
        "llama.embedding_length": 576,
        "general.languages": ("en",),
    }
    assert {key: container.metadata[key] for key in expected} == expected
    tokens = container.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, Skipped)
    assert (tokens.kind, tokens.count) == ("string", 49152)
    assert source.total < 5_000_000
    assert len(source.ranges) <= 8
