"""Weight files of true size that hold numbers only where somebody looks, and draw these when they are asked for.

Nothing is written: a file is its headers and, for some ranges, a function that makes their bytes; all else is zeros.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import zlib
from collections import OrderedDict
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))

import torchkit
from loopback_hub import Sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SHARD = 10_000_000_000  # bytes at most, as transformers splits
DTYPES = {"safetensors": "BF16", "torch": "F16"}
_KEPT = 64  # drawn ranges that a file remembers: those of a few tensors are asked for twice
_ALIGNMENT = 64  # bytes, of torch's storages


class Block(NamedTuple):
    """Bytes of a tensor that are not zero: where they begin in it, how many, and what makes them."""

    at: int
    size: int
    draw: Callable[[], bytes]


class Drawn(Sparse):
    """A file of zeros with headers in it, and ranges that are drawn when they are asked for.

    Parameters
    ----------
    name : str
        Its digest is made of this and of the headers: the true one would take minutes.
    size : int
    headers : mapping of int to bytes
        By where they begin.
    blocks : sequence of Block
        By where they begin in the file.
    """

    def __init__(self, name: str, size: int, headers: Mapping[int, bytes], blocks: Sequence[Block]) -> None:
        super().__init__(size, headers)
        self.sha256 = hashlib.sha256(f"{name} {self.sha256}".encode()).hexdigest()
        self._blocks = sorted(blocks)
        self._drawn: OrderedDict[int, bytes] = OrderedDict()

    def __getitem__(self, span: slice) -> bytes:
        start, stop, _ = span.indices(len(self))
        out = bytearray(super().__getitem__(span))
        for block in self._blocks:
            first, last = max(block.at, start), min(block.at + block.size, stop)
            if first < last:
                out[first - start : last - start] = self._bytes(block)[first - block.at : last - block.at]
        return bytes(out)

    def _bytes(self, block: Block) -> bytes:
        found = self._drawn.get(block.at)
        if found is None:
            found = block.draw()
            self._drawn[block.at] = found
            while len(self._drawn) > _KEPT:
                self._drawn.popitem(last=False)
        return found


class Stored(NamedTuple):
    """A tensor to be stored: its shape, and what of it is not zero. Values take two bytes."""

    shape: tuple[int, ...]
    block: Block | None = None

    @property
    def size(self) -> int:
        """Bytes of it."""
        return 2 * prod(self.shape)


def checkpoint(name: str, tensors: Mapping[str, Stored], *, kind: str) -> dict[str, Drawn | bytes]:
    """Lay a model out in files as transformers does, with an index where they are several.

    Parameters
    ----------
    name : str
        Of the model.
    tensors : mapping of str to Stored
    kind : {"safetensors", "torch"}
    """
    parts: list[dict[str, Stored]] = [{}]
    room = SHARD
    for key, tensor in tensors.items():
        if tensor.size > room:
            parts.append({})
            room = SHARD
        parts[-1][key] = tensor
        room -= tensor.size
    stem, suffix = ("model", "safetensors") if kind == "safetensors" else ("pytorch_model", "bin")
    lay_out = safetensors_file if kind == "safetensors" else torch_file
    if len(parts) == 1:
        return {f"{stem}.{suffix}": lay_out(name, parts[0])}
    files: dict[str, Drawn | bytes] = {}
    weight_map: dict[str, str] = {}
    for i, part in enumerate(parts, 1):
        path = f"{stem}-{i:05d}-of-{len(parts):05d}.{suffix}"
        files[path] = lay_out(f"{name} {i}", part)
        weight_map |= dict.fromkeys(part, path)
    index = {"metadata": {"total_size": sum(tensor.size for tensor in tensors.values())}, "weight_map": weight_map}
    return files | {f"{stem}.{suffix}.index.json": json.dumps(index, indent=2).encode()}


def safetensors_file(name: str, tensors: Mapping[str, Stored]) -> Drawn:
    """Lay out a safetensors file."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    starts = {}
    for key, tensor in tensors.items():
        starts[key] = at
        header[key] = {
            "dtype": DTYPES["safetensors"],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.size],
        }
        at += tensor.size
    text = json.dumps(header).encode()
    head = len(text).to_bytes(8, "little") + text
    return Drawn(name, len(head) + at, {0: head}, _moved(tensors, {k: len(head) + v for k, v in starts.items()}))


def torch_file(name: str, tensors: Mapping[str, Stored]) -> Drawn:
    """Lay out a zip archive as `torch.save` does: storages one after another, directory with 64-bit sizes behind."""
    dtype = DTYPES["torch"]
    items = {
        key: torchkit.tensor(torchkit.storage(str(i), dtype, prod(tensor.shape)), dtype, tensor.shape)
        for i, (key, tensor) in enumerate(tensors.items())
    }
    pickle = torchkit.pickled(torchkit.mapping(items))
    archive = _Archive()
    archive.add("data.pkl", pickle)
    archive.add("byteorder", b"little")
    starts = {key: archive.add(f"data/{i}", tensor.size) for i, (key, tensor) in enumerate(tensors.items())}
    archive.add("version", b"3\n")
    archive.finish()
    return Drawn(name, archive.at, archive.headers, _moved(tensors, starts))


def _moved(tensors: Mapping[str, Stored], starts: Mapping[str, int]) -> list[Block]:
    return [
        block._replace(at=starts[key] + block.at)
        for key, tensor in tensors.items()
        if (block := tensor.block) is not None
    ]


class _Archive:
    """A zip archive in the making: `headers` by where they begin, of a file that ends `at`."""

    def __init__(self) -> None:
        self.at = 0
        self.headers: dict[int, bytes] = {}
        self._directory = b""
        self._count = 0

    def add(self, name: str, content: bytes | int) -> int:
        """Add a member: its bytes, or so many of which nothing is said. Return where they begin."""
        data, size = (content, len(content)) if isinstance(content, bytes) else (b"", content)
        path = f"archive/{name}".encode()
        crc = zlib.crc32(data) if isinstance(content, bytes) else 0
        start = self.at
        room = -(start + 30 + len(path) + 4) % _ALIGNMENT
        extra = b"FB" + struct.pack("<H", room) + b"Z" * room
        head = struct.pack("<4s5H3I2H", b"PK\3\4", 0, 0x0808, 0, 0, 0, 0, 0, 0, len(path), len(extra)) + path + extra
        self._put(head + data)
        begin = start + len(head)
        self.at = begin + size
        self._put(struct.pack("<4sI2Q", b"PK\7\x08", crc, size, size))
        wide = struct.pack("<2H3Q", 1, 24, size, size, start)
        full = 0xFFFFFFFF
        self._directory += (
            struct.pack(
                "<4s6H3I5H2I", b"PK\1\2", 0, 0, 0x0808, 0, 0, 0, crc, full, full, len(path), len(wide), 0, 0, 0, 0, full
            )
            + path
            + wide
        )
        self._count += 1
        return begin

    def finish(self) -> None:
        """Write the directory and the end records."""
        at, count, length = self.at, self._count, len(self._directory)
        end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 0, 45, 0, 0, count, count, length, at)
        locator = struct.pack("<4sIQI", b"PK\6\7", 0, at + length, 1)
        last = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, length, min(at, 0xFFFFFFFF), 0)
        self._put(self._directory + end + locator + last)

    def _put(self, data: bytes) -> None:
        self.headers[self.at] = data
        self.at += len(data)
