"""Torch checkpoints from before zip archives."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torchkit as kit

from auditor.formats import open_checkpoints, torchlegacy
from auditor.limits import LIMITS
from auditor.sources import BytesSource, LocalSource

if TYPE_CHECKING:
    from pathlib import Path

    from auditor.formats import Container

PAIR = {"a.weight": ("F32", (2, 3), np.arange(6, dtype="<f4").tobytes()), "b": ("BF16", (4,), bytes(range(8)))}
GOOD = kit.torch_legacy(PAIR)
BEGIN = len(GOOD) - 8 - 24 - 8 - 8  # of the first storage


def parse(data: bytes) -> Container:
    return torchlegacy.parse(BytesSource({"x.bin": data}).blob("x.bin"))


def codes(container: Container) -> list[str]:
    return [entry.code for entry in container.unread]


def test_good() -> None:
    found = parse(GOOD)
    assert codes(found) == []
    assert {e.name: (e.dtype, e.shape, GOOD[e.start : e.stop]) for e in found.tensors} == PAIR


BROKEN = {
    "cut": (GOOD[:-1], "truncated"),
    "cut in the pickles": (GOOD[:200], "truncated"),
    "magic number only": (torchlegacy.MAGIC, "truncated"),
    "bytes after": (GOOD + b"x", "hole"),
    "another count": (GOOD[:BEGIN] + b"\x07" + GOOD[BEGIN + 1 :], "size-mismatch"),
    "negative count": (GOOD[:BEGIN] + b"\xff" * 8 + GOOD[BEGIN + 8 :], "size-mismatch"),
    "protocol": (GOOD.replace(b"M\xe9\x03.", b"M\xea\x03.", 1), "unsupported-version"),
    "big-endian": (GOOD.replace(b"little_endian\x88", b"little_endian\x89", 1), "unsupported-format"),
    "key not in the object": (GOOD.replace(b"](X\1\0\0\x000", b"](X\1\0\0\x005"), "missing-field"),
    "key twice": (GOOD.replace(b"](X\1\0\0\x000", b"](X\1\0\0\x001"), "bad-pickle"),
    "keys of no text": (GOOD.replace(b"](X\1\0\0\x000", b"](J\1\0\0\0"), "bad-pickle"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_file_has_no_tensors(case: str) -> None:
    data, code = BROKEN[case]
    assert data != GOOD
    found = parse(data)
    assert found.tensors == ()
    assert codes(found) == [code]


@pytest.mark.parametrize("number", range(5))
def test_code_in_any_of_the_pickles_is_named(number: int) -> None:
    evil = b"cposix\nsystem\n(X\x02\x00\x00\x00idtR0"
    at = -1
    for _ in range(number + 1):
        at = GOOD.index(b"\x80\x02", at + 1)
    data = GOOD[: at + 2] + evil + GOOD[at + 2 :]
    found = open_checkpoints(BytesSource({"x.bin": data}))
    (finding,) = (item for item in found.findings if item.id == "FILE-007")
    assert "REDUCE posix.system" in finding.evidence
    assert "x.bin" in {entry.path for entry in found.unread}


def test_long_pickles_are_read_in_growing_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"layers.{i}.mlp.gate_proj.weight": ("U8", (1,), b"x") for i in range(3000)}
    data = kit.torch_legacy(many)
    assert len(data) > 1 << 18
    assert len(parse(data).tensors) == 3000
    monkeypatch.setattr(torchlegacy, "LIMITS", replace(LIMITS, pickle_bytes=1 << 18))
    assert codes(parse(data)) == ["limit-exceeded"]


def test_many_storages_are_counted_where_that_costs_nothing(tmp_path: Path) -> None:
    many = {f"w{i}": ("U8", (1,), b"x") for i in range(LIMITS.zip_proofs + 1)}
    data = kit.torch_legacy(many)
    wrong = data[:-9] + struct.pack("<q", 2) + data[-1:]
    (tmp_path / "x.bin").write_bytes(wrong)
    assert [entry.code for entry in open_checkpoints(LocalSource(tmp_path)).unread] == ["size-mismatch"]
