"""Torch checkpoints in zip archives: what is read, from where, and what is refused of an archive."""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torchkit as kit
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.errors import AmbiguousArchive, BadMagic, FileError, LimitExceeded, UnsafePath, UnsupportedFormat
from auditor.formats import open_checkpoints, torchzip
from auditor.formats.assembled import assembled
from auditor.limits import LIMITS
from auditor.model import model_views
from auditor.sources import BytesSource, LocalSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from auditor.formats import Checkpoints, Container
    from auditor.sources import Range

FILE = "pytorch_model.bin"
PAIR = {"a.weight": ("F32", (2, 3), np.arange(6, dtype="<f4").tobytes()), "b": ("BF16", (4,), bytes(range(8)))}


def parse(data: bytes) -> Container:
    return torchzip.parse(BytesSource({FILE: data}).blob(FILE))


def read(**files: bytes) -> Checkpoints:
    return open_checkpoints(BytesSource({name.replace("__", "."): data for name, data in files.items()}))


def contents(data: bytes, container: Container) -> dict[str, kit.Value]:
    return {e.name: (e.dtype, e.shape, data[e.start : e.stop]) for e in container.tensors}


def good() -> kit.Archive:
    described, storages = kit.describe(PAIR)
    return kit.archive_of(kit.pickled(described), storages)


def finding(found: Checkpoints, rule: str) -> tuple[str, str]:
    (one,) = (item for item in found.findings if item.id == rule)
    return one.status, one.evidence


# --- what is read ---------------------------------------------------------------------------------------

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
         "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2}  # fmt: skip


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, kit.Value]:
    out: dict[str, kit.Value] = {}
    for name in draw(st.lists(st.text(min_size=1, max_size=12), max_size=5, unique=True)):
        dtype = draw(st.sampled_from(sorted(SIZES)))
        shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
        length = int(np.prod(shape, dtype=object)) * SIZES[dtype]
        out[name] = (dtype, shape, draw(st.binary(min_size=length, max_size=length)))
    return out


@settings(max_examples=30)
@given(tensors(), st.sampled_from([kit.torch_zip, kit.torch_legacy]))
def test_round_trip(held: dict[str, kit.Value], write: Callable[[dict[str, kit.Value]], bytes]) -> None:
    data = write(held)
    found = read(pytorch_model__bin=data)
    assert found.unread == ()
    got = {k: v for container in found.containers for k, v in contents(data, container).items()}
    assert got == held


def test_archive_as_pythons_own_library_writes_it() -> None:
    described, storages = kit.describe(PAIR)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/data.pkl", kit.pickled(described))
        for key, data in storages.items():
            archive.writestr(f"x/data/{key}", data)
    data = buffer.getvalue()
    assert contents(data, parse(data)) == PAIR


def test_python_reads_the_archives_of_the_kit() -> None:
    with zipfile.ZipFile(io.BytesIO(good().to_bytes())) as archive:
        assert archive.testzip() is None


def test_wide_members_and_no_wide_end() -> None:
    archive = good()
    for entry in archive.entries:
        entry.wide = True
    data = archive.to_bytes()
    assert contents(data, parse(data)) == PAIR
    archive.zip64_end = False
    data = archive.to_bytes()
    assert contents(data, parse(data)) == PAIR


def test_checksums_that_were_not_computed() -> None:
    archive = good()
    for entry in archive.entries:
        entry.crc = 0
    assert parse(archive.to_bytes()).unread == ()


def test_tied_and_overlapping_views_of_one_storage() -> None:
    held = kit.storage("0", "F32", 6)
    views = {
        "whole": kit.tensor(held, "F32", (2, 3)),
        "tied": kit.tensor(held, "F32", (2, 3)),
        "second row": kit.tensor(held, "F32", (3,), offset=3),
        "nothing": kit.tensor(held, "F32", (0, 3), offset=6),
        "one": kit.tensor(held, "F32", (1, 1), stride=(77, 88), offset=5),
    }
    data = kit.archive_of(kit.pickled(kit.mapping(views)), {"0": np.arange(6, dtype="<f4").tobytes()}).to_bytes()
    found = parse(data)
    assert found.unread == ()
    values = {name: np.frombuffer(raw, "<f4").tolist() for name, (_, _, raw) in contents(data, found).items()}
    assert values == {"whole": [*range(6)], "tied": [*range(6)], "second row": [3, 4, 5], "nothing": [], "one": [5]}


@pytest.mark.parametrize(
    ("shape", "stride", "offset", "code"),
    [
        ((3, 2), (1, 3), 0, "not-contiguous"),  # a transposed view
        ((2, 2), (3, 1), 0, "not-contiguous"),  # columns of it
        ((3,), (0,), 0, "not-contiguous"),  # expanded
        ((7,), (1,), 0, "bad-offset"),
        ((2, 3), (3, 1), 1, "bad-offset"),
        ((0,), (1,), 7, "bad-offset"),
        ((1 << 40, 1 << 20), (1 << 20, 1), 0, "bad-offset"),
    ],
)
def test_view_that_is_refused_leaves_the_others(
    shape: tuple[int, ...], stride: tuple[int, ...], offset: int, code: str
) -> None:
    held = kit.storage("0", "F32", 6)
    views = {
        "bad": kit.tensor(held, "F32", shape, stride=stride, offset=offset),
        "good": kit.tensor(held, "F32", (2, 3)),
    }
    found = parse(kit.archive_of(kit.pickled(kit.mapping(views)), {"0": bytes(24)}).to_bytes())
    assert [entry.name for entry in found.tensors] == ["good"]
    assert [entry.code for entry in found.unread] == [code]
    assert '"bad"' in found.unread[0].reason


def test_storage_of_another_size_than_the_pickle_says() -> None:
    described, storages = kit.describe(PAIR)
    found = parse(kit.archive_of(kit.pickled(described), {**storages, "0": bytes(20)}).to_bytes())
    assert [entry.name for entry in found.tensors] == ["b"]
    assert [entry.code for entry in found.unread] == ["size-mismatch"]


def test_storage_that_is_missing_and_one_that_no_tensor_has() -> None:
    described, storages = kit.describe(PAIR)
    found = parse(kit.archive_of(kit.pickled(described), {"1": storages["1"], "2": bytes(9)}).to_bytes())
    assert [entry.name for entry in found.tensors] == ["b"]
    assert [entry.code for entry in found.unread] == ["missing-field", "unsupported-format"]
    assert "archive/data/2" in found.unread[1].reason


def test_nested_dicts_lists_and_numbers_beside_tensors() -> None:
    held = kit.tensor(kit.storage("0", "U8", 2), "U8", (2,))
    inner = kit.mapping({"w": held, "step": b"K\x05", "lr": b"G" + struct.pack(">d", 0.1), "none": b"N"})
    value = kit.mapping({"model": inner, "list": b"](" + held + b"N" + held + b"e"})
    found = parse(kit.archive_of(kit.pickled(value), {"0": b"ab"}).to_bytes())
    assert {entry.name for entry in found.tensors} == {"model.w", "list.0", "list.2"}
    assert found.unread == found.runs == ()


def test_state_dict_of_a_module() -> None:
    """`OrderedDict` with the versions of modules beside it, and parameters."""
    held = kit.tensor(kit.storage("0", "U8", 2), "U8", (2,))
    hooks = kit.named("collections", "OrderedDict") + b")R"
    plain = kit.named("torch._utils", "_rebuild_parameter") + kit.sequence([held, b"\x88", hooks]) + b"R"
    state = kit.mapping({"tensor_model_parallel": b"\x88"})
    with_state = (
        kit.named("torch._utils", "_rebuild_parameter_with_state") + kit.sequence([held, b"\x88", hooks, state]) + b"R"
    )
    value = hooks + b"(" + kit.text("p") + plain + kit.text("s") + with_state + b"u"
    value += kit.mapping({"_metadata": hooks}) + b"b"
    found = parse(kit.archive_of(kit.pickled(value), {"0": b"ab"}).to_bytes())
    assert [entry.name for entry in found.tensors] == ["p", "s"]
    assert found.unread == found.runs == ()


def test_names_twice_are_no_model() -> None:
    held = kit.tensor(kit.storage("0", "U8", 2), "U8", (2,))
    twice = b"}(" + kit.text("w") + held + kit.text("w") + held + b"u"
    apart = kit.mapping({"a.b": held, "a": kit.mapping({"b": held})})
    for value in (twice, apart):
        found = parse(kit.archive_of(kit.pickled(value), {"0": b"ab"}).to_bytes())
        assert found.tensors == ()
        assert found.unread[0].code == "duplicate-name"


# --- what is read from where ----------------------------------------------------------------------------


class Far(BytesSource):
    """Bytes far away: every range is a request."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__(contents)
        self.ranges: list[Range] = []

    def read(self, path: str, ranges: list[Range]) -> list[bytes]:
        self.ranges += ranges
        return super().read(path, ranges)


def large(count: int = 40) -> dict[str, kit.Value]:
    return {f"layers.{i}.mlp.{role}_proj.weight": ("F32", (64, 64), np.full((64, 64), i, "<f4").tobytes())
            for i in range(count) for role in ("gate", "up")}  # fmt: skip


def test_far_archive_is_opened_by_its_ends_and_proved_where_it_is_read() -> None:
    source = Far({FILE: kit.torch_zip(large())})
    (container,) = open_checkpoints(source).containers
    opened = sum(stop - start for start, stop in source.ranges)
    assert len(source.ranges) <= 4
    assert opened < 64 * 1024 + 20 * 1024  # end and directory, and the pickle
    assert len(container.unproved) == 80
    (view,) = model_views(source, container)
    source.ranges.clear()
    for _ in range(2):
        assert (view.rows(7, "gate", np.arange(4, 6)) == 7).all()
    assert [stop - start for start, stop in source.ranges] == [512, 30 + len("archive/data/14"), 512]


def test_member_whose_own_header_leads_elsewhere_is_refused_when_it_is_read() -> None:
    described, storages = kit.describe(large())
    archive = kit.archive_of(kit.pickled(described), storages)
    archive.entries[16].local_extra = 0  # a loader that goes by it reads other bytes
    source = BytesSource({FILE: archive.to_bytes()})
    (container,) = open_checkpoints(source).containers
    (view,) = model_views(source, container)
    name = archive.entries[16].name.rpartition("/")[2]
    assert name == "14"
    view.rows(6, "gate", np.arange(1))
    with pytest.raises(AmbiguousArchive, match="data/14"):
        view.rows(7, "gate", np.arange(1))
    entry = next(e for e in container.tensors if e.name.startswith("layers.7.mlp.gate"))
    with pytest.raises(AmbiguousArchive):
        assembled(source, container).read(FILE, [(entry.start, entry.stop)])  # type: ignore[list-item]


def test_near_archive_is_proved_at_once(tmp_path: Path) -> None:
    described, storages = kit.describe(large())
    archive = kit.archive_of(kit.pickled(described), storages)
    (tmp_path / FILE).write_bytes(archive.to_bytes())
    (container,) = open_checkpoints(LocalSource(tmp_path)).containers
    assert container.unproved == ()
    archive.entries[16].local_extra = 0
    (tmp_path / FILE).write_bytes(archive.to_bytes())
    found = open_checkpoints(LocalSource(tmp_path))
    assert [entry.code for entry in found.unread] == ["ambiguous-archive"]


# --- archives that readers read differently -------------------------------------------------------------


def changed(index: int, **fields: object) -> bytes:
    archive = good()
    archive.entries[index] = replace(archive.entries[index], **fields)
    return archive.to_bytes()


def with_entry(name: str, data: bytes = b"x") -> bytes:
    archive = good()
    archive.entries.append(kit.Entry(name=name, data=data))
    return archive.to_bytes()


def mangled(edit: Callable[[bytearray], object]) -> bytes:
    data = bytearray(good().to_bytes())
    edit(data)
    return bytes(data)


def directory_field(offset: int, value: bytes) -> bytes:
    """Change the first entry of the directory."""

    def edit(data: bytearray) -> None:
        at = data.index(b"PK\1\2") + offset
        data[at : at + len(value)] = value

    return mangled(edit)


def local_field(offset: int, value: bytes) -> bytes:
    def edit(data: bytearray) -> None:
        data[offset : offset + len(value)] = value

    return mangled(edit)


def end_field(offset: int, value: bytes) -> bytes:
    def edit(data: bytearray) -> None:
        at = len(data) - 22 + offset
        data[at : at + len(value)] = value

    return mangled(edit)


def wide_end(*, zip64_end: bool) -> bytes:
    """Claim that the numbers of entries are in the zip64 end record."""
    archive = good()
    archive.zip64_end = zip64_end
    data = archive.to_bytes()
    return data[:-14] + b"\xff\xff\xff\xff" + data[-10:]


AMBIGUOUS = {
    "encrypted in the directory": directory_field(8, b"\x09\x08"),
    "encrypted in its own header": local_field(6, b"\x09\x08"),
    "wrong checksum of the pickle": changed(0, crc=1),
    "another name in its own header": changed(0, local_name="archive/evil.pkl"),
    "another name for a storage": changed(2, local_name="archive/data/1"),
    "compressed in its own header": local_field(8, b"\x08\x00"),
    "bytes before": b"#!/bin/sh\n" + good().to_bytes(),
    "bytes after": good().to_bytes() + b"\n",
    "comment": end_field(20, b"\2\0") + b"hi",
    "comment that is not there": end_field(20, b"\2\0"),
    "two members of a name": with_entry("archive/data/0"),
    "two members of a name in other letters": with_entry("archive/DATA.PKL"),
    "two pickles": with_entry("other/data.pkl"),
    "directory elsewhere": end_field(16, b"\0\0\0\0"),
    "directory shorter": end_field(12, b"\x10\0\0\0"),
    "fewer entries": end_field(8, b"\1\0\1\0"),
    "two sizes": directory_field(20, b"\1\0\0\0"),
    "member into the next": directory_field(20, b"\xff\xff\xff\x7f" * 2),
    "two zip64 fields": changed(0, wide=True, extra=struct.pack("<2H3Q", 1, 24, 0, 0, 0)),
    "name with a line break": with_entry("archive/data\n"),
    "pickle behind the pickle": kit.archive_of(kit.pickled(b"}") + kit.pickled(b"N")).to_bytes(),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_ambiguous_archive_is_refused_and_reported(case: str) -> None:
    found = read(pytorch_model__bin=AMBIGUOUS[case])
    assert [container.tensors for container in found.containers] == []
    assert {entry.code for entry in found.unread} <= {"ambiguous-archive", "truncated"}
    assert found.unread
    if found.unread[0].code == "ambiguous-archive":
        assert finding(found, "FILE-008")[0] == "fail"


def test_benign_twin() -> None:
    found = read(pytorch_model__bin=good().to_bytes())
    assert found.unread == ()
    assert finding(found, "FILE-007") == finding(found, "FILE-008") == ("pass", "")


OTHERWISE: dict[str, tuple[bytes, type[FileError]]] = {
    "slip": (with_entry("../../etc/x"), UnsafePath),
    "absolute": (with_entry("/etc/x"), UnsafePath),
    "drive": (with_entry("C:\\x"), UnsafePath),
    "deflated": (changed(2, method=8), UnsupportedFormat),
    "deflated pickle": (changed(0, method=8), UnsupportedFormat),
    "unknown flags": (changed(0, flags=0x0828), UnsupportedFormat),
    "several parts": (end_field(4, b"\1\0"), UnsupportedFormat),
    "big-endian": (changed(1, data=b"big"), UnsupportedFormat),
    "no pickle": (kit.Archive(entries=[kit.Entry(name="x/y", data=b"")]).to_bytes(), UnsupportedFormat),
    "npz": (kit.Archive(entries=[kit.Entry(name="w.npy", data=b"\x93NUMPY")]).to_bytes(), UnsupportedFormat),
    "no end": (good().to_bytes()[:-22], BadMagic),
    "head only": (b"PK\3\4" + bytes(100), BadMagic),
    "more entries than fit": (wide_end(zip64_end=False), AmbiguousArchive),
    "more entries than there are": (
        wide_end(zip64_end=True).replace(b"\6\0\0\0\0\0\0\0", b"\6\0\0\0\1\0\0\0"),
        LimitExceeded,
    ),
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_refused(case: str) -> None:
    data, error = OTHERWISE[case]
    with pytest.raises(error):
        parse(data)


def test_bomb_is_refused_before_anything_is_inflated() -> None:
    described, storages = kit.describe(PAIR)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", kit.pickled(described) + bytes(1 << 24))
        for key, data in storages.items():
            archive.writestr(f"x/data/{key}", data)
    with pytest.raises(UnsupportedFormat, match="compressed"):
        parse(buffer.getvalue())


def test_nested_archive_is_not_opened_and_not_overlooked() -> None:
    found = parse(with_entry("archive/extra/inner.zip", good().to_bytes()))
    assert {entry.name for entry in found.tensors} == set(PAIR)
    assert "inner.zip" in found.unread[0].reason


def test_torchscript_is_code() -> None:
    archive = good()
    archive.entries.append(kit.Entry(name="archive/code/__torch__.py", data=b"x", method=8))
    found = read(model__pt=archive.to_bytes())
    assert [entry.code for entry in found.unread] == ["unsupported-format"]
    assert "TorchScript" in found.unread[0].reason
    status, evidence = finding(found, "FILE-007")
    assert status == "fail"
    assert "archive/code/__torch__.py" in evidence


@pytest.mark.parametrize(("cap", "value"), [("zip_members", 5), ("zip_directory", 100), ("pickle_bytes", 50)])
def test_limits(monkeypatch: pytest.MonkeyPatch, cap: str, value: int) -> None:
    small = replace(LIMITS, **{cap: value})
    monkeypatch.setattr("auditor.formats.zipdir.LIMITS", small)
    monkeypatch.setattr("auditor.formats.torchzip.LIMITS", small)
    with pytest.raises(LimitExceeded):
        parse(good().to_bytes())


# --- sets of files --------------------------------------------------------------------------------------

ONE, TWO, INDEX = "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json"
MAP = b'{"metadata": {}, "weight_map": {"a.weight": "%s", "b": "%s"}}' % (ONE.encode(), TWO.encode())


def shards() -> dict[str, bytes]:
    one, two = ({name: PAIR[name]} for name in PAIR)
    return {ONE: kit.torch_zip(one), TWO: kit.torch_legacy(two), INDEX: MAP}


def test_sharded() -> None:
    found = open_checkpoints(BytesSource(shards()))
    (container,) = found.containers
    assert (container.format, container.files, found.unread) == ("torch", (ONE, TWO), ())
    assert {entry.name for entry in container.tensors} == set(PAIR)


def test_missing_shard_is_unread() -> None:
    found = open_checkpoints(BytesSource({name: data for name, data in shards().items() if name != TWO}))
    assert {entry.path: entry.code for entry in found.unread}[INDEX] == "missing-shard"


def test_loose_shards_are_one_model_and_an_optimizer_is_none_of_it() -> None:
    files = {name: data for name, data in shards().items() if name != INDEX}
    files["optimizer.pt"] = kit.torch_zip({"state.0.exp_avg": ("F32", (2,), bytes(8))})
    files["scheduler.pt"] = kit.archive_of(kit.pickled(kit.mapping({"last_epoch": b"K\1"}))).to_bytes()
    found = open_checkpoints(BytesSource(files))
    assert [container.files for container in found.containers] == [("optimizer.pt",), (ONE, TWO)]
    assert found.unread == ()
