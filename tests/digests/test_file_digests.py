"""Hashing many files: the right digests whichever way a file is read, and what is not read at all."""

from __future__ import annotations

import hashlib
import os
import subprocess
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pytest

from auditor.digests import files
from auditor.digests.files import Hashing, digest_files
from auditor.digests.layout import tensor_layouts
from auditor.digests.values import TensorLayout, value_digest
from auditor.formats import open_checkpoints
from auditor.formats.serialize import serialize
from auditor.sources import BytesSource, FileInfo, LocalSource, Range

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LARGE = 40_000
"""Bytes of a file that is mapped, where `small` counts as small what is under 4,096."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SMALL", 4096)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands of the processes that are started."""
    commands: list[list[str]] = []
    popen = subprocess.Popen

    def record(command: list[str], **options: object) -> object:
        commands.append(command)
        return popen(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", record)
    return commands


def fill(folder: Path, sizes: dict[str, int]) -> dict[str, str]:
    """Write files of these sizes; return the sha256 of each, in the order of their names."""
    digests = {}
    for name, size in sorted(sizes.items()):
        data = np.random.default_rng(list(name.encode())).bytes(size)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()
    return digests


# --- files ----------------------------------------------------------------------------------------------


def test_many_files_side_by_side(tmp_path: Path, small: None, started: list[list[str]]) -> None:  # noqa: ARG001
    sizes = {f"{i:02}": i * 100 for i in range(40)} | {f"sub/large{i}": LARGE + i for i in range(5)}
    expected = fill(tmp_path, sizes)
    calls: list[tuple[int, int]] = []
    found = digest_files(LocalSource(tmp_path), progress=lambda done, total: calls.append((done, total)), processes=3)
    assert {info.path: info.sha256 for info in found.files} == expected
    assert [info.path for info in found.files] == sorted(expected)
    assert {info.digest_source for info in found.files} == {"computed"}
    assert {info.path: info.size for info in found.files} == sizes
    assert (found.unread, found.tensors) == ((), {})
    assert found.bytes_read == sum(sizes.values())
    assert 1 <= len(started) <= 3  # at most one process for each that hashes, and none for small files
    done = [at for at, _ in calls]
    assert done == sorted(done)
    assert done[-1] == sum(sizes.values())
    assert {total for _, total in calls} == {sum(sizes.values())}


def test_a_file_above_the_real_threshold(tmp_path: Path, started: list[list[str]]) -> None:
    expected = fill(tmp_path, {"at": files.SMALL, "above": files.SMALL + 1})
    found = digest_files(LocalSource(tmp_path))
    assert {info.path: info.sha256 for info in found.files} == expected
    assert len(started) == 1


def test_no_process_for_small_files(tmp_path: Path, started: list[list[str]]) -> None:
    expected = fill(tmp_path, {"a": 0, "b": 1, "c": 5000})
    assert {info.path: info.sha256 for info in digest_files(LocalSource(tmp_path)).files} == expected
    assert started == []


def test_no_files(tmp_path: Path) -> None:
    found = digest_files(LocalSource(tmp_path), progress=lambda *_: pytest.fail("nothing to tell"))
    assert (found.files, found.unread, found.bytes_read) == ((), (), 0)


def test_a_file_that_lies_nowhere_is_read_by_ranges(small: None) -> None:  # noqa: ARG001
    data = {"remote": bytes(range(256)) * 64, "exact": bytes(8192), "short": b"x"}
    done: list[int] = []
    found = digest_files(BytesSource(data), progress=lambda at, _: done.append(at), processes=1)
    assert {info.path: info.sha256 for info in found.files} == {
        path: hashlib.sha256(content).hexdigest() for path, content in data.items()
    }
    assert done[:5] == [4096, 8192, 12288, 16384, 16384]  # as it goes on, not only at the end


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    expected = fill(tmp_path, {"a": 10, "b": 20})
    found = digest_files(LocalSource(tmp_path), ["b", "no such file"])
    assert {info.path: info.sha256 for info in found.files} == {"b": expected["b"]}
    assert found.bytes_read == 20


def test_the_largest_first() -> None:
    class Recording(BytesSource):
        order: list[str] = []  # noqa: RUF012

        def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
            self.order.append(path)
            return super().read(path, ranges)

    source = Recording({"a": bytes(5), "b": bytes(50), "c": bytes(500), "d": bytes(50)})
    digest_files(source, processes=1)
    assert source.order == ["c", "b", "d", "a"]


def test_a_folder_whose_name_is_no_text(tmp_path: Path, small: None) -> None:  # noqa: ARG001
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    expected = fill(folder, {"weights": LARGE, "a": 1})
    found = digest_files(LocalSource(folder))
    assert {info.path: info.sha256 for info in found.files} == expected


def test_a_file_behind_a_link_is_mapped(tmp_path: Path, small: None, started: list[list[str]]) -> None:  # noqa: ARG001
    expected = fill(tmp_path, {"real": LARGE})
    (tmp_path / "link").symlink_to("real")
    found = digest_files(LocalSource(tmp_path))
    assert {info.path: info.sha256 for info in found.files} == expected | {"link": expected["real"]}
    assert found.bytes_read == 2 * LARGE
    assert started


# --- digests that are known -----------------------------------------------------------------------------


class Vouching(BytesSource):
    """A source that knows the digest of one file, as the Hub does."""

    def __init__(self, contents: dict[str, bytes], known: str) -> None:
        super().__init__(contents)
        self.known = known
        self.was_read: list[str] = []

    def files(self) -> tuple[FileInfo, ...]:
        return tuple(
            FileInfo(path=info.path, size=info.size, sha256="ab" * 32, digest_source="hub")
            if info.path == self.known
            else info
            for info in super().files()
        )

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        self.was_read.append(path)
        return super().read(path, ranges)


def test_a_digest_that_the_source_vouches_for_is_not_computed() -> None:
    source = Vouching({"large": bytes(100), "small": b"x"}, "large")
    done: list[tuple[int, int]] = []
    found = digest_files(source, progress=lambda *at: done.append(at))
    assert [(info.path, info.sha256, info.digest_source) for info in found.files] == [
        ("large", "ab" * 32, "hub"),
        ("small", hashlib.sha256(b"x").hexdigest(), "computed"),
    ]
    assert source.was_read == ["small"]
    assert found.bytes_read == 1
    assert done[-1] == (1, 1)


def test_wanted_tensors_are_read_and_the_digest_with_them() -> None:
    source = Vouching({"large": bytes(4), "small": b"x"}, "large")
    layout = TensorLayout(name="w", dtype="F32", shape=(1,), start=0, stop=4)
    found = digest_files(source, tensors={"large": (layout,)})
    assert [(info.path, info.digest_source) for info in found.files] == [("large", "computed"), ("small", "computed")]
    assert found.files[0].sha256 == hashlib.sha256(bytes(4)).hexdigest()
    assert list(found.tensors) == [("large", "w")]


# --- tensors --------------------------------------------------------------------------------------------


def checkpoint() -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Tensors of every width, so that most begin at odd places."""
    rng = np.random.default_rng(5)
    sizes = {"BOOL": 1, "BF16": 2, "F32": 4, "F64": 8, "I8": 1, "F16": 2}
    made = {}
    for i, (dtype, size) in enumerate(sizes.items()):
        count = 1001 + 2 * i
        made[f"{i}.{dtype}"] = (dtype, (count,), rng.integers(0, 2, count * size, dtype=np.uint8).tobytes())
    made["scalar"] = ("F32", (), bytes(4))
    made["none"] = ("F32", (3, 0), b"")
    return made


@pytest.mark.parametrize("mapped", [False, True], ids=["in memory", "mapped"])
def test_values_of_every_tensor_from_the_same_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[list[str]], *, mapped: bool
) -> None:
    if mapped:
        monkeypatch.setattr(files, "SMALL", 1000)
    tensors = checkpoint()
    data = serialize(tensors)
    (tmp_path / "model.safetensors").write_bytes(data)
    source = LocalSource(tmp_path)
    layouts = tensor_layouts(open_checkpoints(source).containers, [])
    found = digest_files(source, tensors=layouts)
    assert found.tensors == {
        ("model.safetensors", name): value_digest(
            TensorLayout(name=name, dtype=dtype, shape=shape, start=0, stop=len(raw)), np.frombuffer(raw, np.uint8)
        )
        for name, (dtype, shape, raw) in tensors.items()
    }
    assert found.files[0].sha256 == hashlib.sha256(data).hexdigest()
    assert found.bytes_read == len(data)
    assert bool(started) == mapped


# --- our own mistakes -----------------------------------------------------------------------------------


class UnforeseenError(Exception):
    pass


def test_what_nobody_foresaw_in_a_thread_is_raised() -> None:
    class Broken(BytesSource):
        def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
            if path == "b":
                raise UnforeseenError
            return super().read(path, ranges)

    with pytest.raises(UnforeseenError):
        digest_files(Broken({"a": b"1", "b": b"2", "c": b"3"}), processes=2)


def test_hashing_beside_other_work_raises_where_its_result_is_asked_for() -> None:
    class Broken(BytesSource):
        def files(self) -> tuple[FileInfo, ...]:
            raise UnforeseenError

    hashing = Hashing(Broken({"a": b"1"}))
    hashing.start()
    with pytest.raises(UnforeseenError):
        hashing.result()


def test_hashing_that_was_never_begun_has_nothing() -> None:
    hashing = Hashing(BytesSource({"a": b"1"}))
    assert not hashing.started
    assert hashing.result() == files.FileDigests(files=())


def test_hashing_begins_once_and_leaves_out_what_it_is_told() -> None:
    done: list[int] = []
    hashing = Hashing(BytesSource({"a": b"1", "b": b"22"}), ignore=["a"], progress=lambda at, _: done.append(at))
    hashing.start()
    hashing.start()
    assert [info.path for info in hashing.result().files] == ["b"]
    assert done[-1] == 2


def test_an_error_of_the_listener_is_raised(tmp_path: Path, small: None) -> None:  # noqa: ARG001
    fill(tmp_path, {"large": LARGE})

    def listener(*_: int) -> NoReturn:
        raise UnforeseenError

    with pytest.raises(UnforeseenError):
        digest_files(LocalSource(tmp_path), progress=listener)
