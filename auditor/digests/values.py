"""Digests of what a tensor says, not of how a file spells it.

Two tensors have the same value digest if and only if they have the same shape and the same numbers in the same
(Hugging Face) order: whatever they are called, in whichever shard and container they lie, and whether a tool saved
bfloat16 numbers as such or as float32. The digest is `sha256` over a tag, the shape, and one digest for each block of
`BLOCK` elements; a block is hashed in the narrowest of bfloat16, float16, float32 and float64 that holds every number
in it exactly. Bits of NaN and the sign of zero are part of the value; of 8-bit floats, as they are in float32. Integers
of another type are other numbers; they, and types that are not decoded here, are hashed as they are stored.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auditor.formats import dtype_of
from auditor.model.layout import interleaved_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BLOCK = 1 << 20
"""Elements of a block: whole quantisation blocks of every type, and 2 MB of bfloat16, which a cache holds."""

_TAG = b"auditor-tensor-values-1"
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorLayout:
    """Where a tensor's values lie in a file, and in which order.

    Attributes
    ----------
    name : str
    dtype : str
    shape : tuple of int
    start, stop : int
        Bytes of the file.
    heads : int or None
        Number of heads in each of which rows are interleaved, see `auditor.model.layout`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int
    heads: int | None = None


class ValueDigest:
    """The value digest of one tensor, block by block.

    Parameters
    ----------
    layout : TensorLayout
    raw : ndarray of uint8, shape (stop - start,)
        The tensor's bytes; may be a view of a mapped file.
    """

    def __init__(self, layout: TensorLayout, raw: NDArray[np.uint8]) -> None:
        self._layout = layout
        self._raw = raw
        self._hash = hashlib.sha256(_TAG + json.dumps(layout.shape).encode())

    def blocks(self) -> Iterator[int]:
        """Hash block after block; yield how many bytes of the file are needed next, counted from `layout.start`.

        Each block is read when the iterator is asked to go on, so that a caller can read the same bytes just before.
        """
        layout = self._layout
        dtype = dtype_of(layout.dtype)
        count = int(np.prod(layout.shape, dtype=object))
        columns = layout.shape[-1] if layout.shape else 1
        rows = count // columns if columns else 0
        order = interleaved_rows(np.arange(rows), rows, layout.heads) if layout.heads else None
        stride = columns * dtype.size // dtype.block
        for first in range(0, count, BLOCK):
            last = min(first + BLOCK, count)
            stop = -(-last * dtype.size // dtype.block)
            if order is None:
                yield stop
                raw = self._raw[first * dtype.size // dtype.block : stop]
            else:
                wanted = order[first // columns : -(-last // columns)]
                yield (int(wanted.max()) + 1) * stride
                skip = (first - first // columns * columns) * dtype.size // dtype.block
                gathered = self._raw.reshape(rows, stride)[wanted].reshape(-1)
                raw = gathered[skip : skip + (last - first) * dtype.size // dtype.block]
            self._hash.update(_block(raw, layout.dtype))

    def hexdigest(self) -> str:
        """Return the digest of all blocks hashed so far."""
        return self._hash.hexdigest()


def value_digest(layout: TensorLayout, raw: NDArray[np.uint8]) -> str:
    """Return the value digest of a tensor in memory.

    Examples
    --------
    >>> wide = np.array([1.0, -0.5], "<f4")
    >>> a = TensorLayout(name="a", dtype="F32", shape=(2,), start=0, stop=8)
    >>> b = TensorLayout(name="b", dtype="BF16", shape=(2,), start=0, stop=4)
    >>> narrow = (wide.view("<u4") >> 16).astype("<u2").view("u1")
    >>> value_digest(a, wide.view("u1")) == value_digest(b, narrow)
    True
    """
    digest = ValueDigest(layout, raw)
    for _ in digest.blocks():
        pass
    return digest.hexdigest()


def _block(raw: NDArray[np.uint8], dtype: str) -> bytes:
    tag, data = _narrowest(raw, dtype)
    digest = hashlib.sha256(tag + b"\0")
    digest.update(np.ascontiguousarray(data).view(np.uint8).data)
    return digest.digest()


def _narrowest(raw: NDArray[np.uint8], dtype: str) -> tuple[bytes, NDArray[np.generic]]:
    if dtype == "BF16":
        return b"bf16", raw
    known = dtype_of(dtype)
    if known.decode is None or (known.block == 1 and dtype not in _FLOATS and not dtype.startswith("F8")):
        return dtype.lower().encode(), raw  # integers, and types whose values are not decoded: their bytes
    raw = np.ascontiguousarray(raw)
    if dtype != "F64":
        return _narrowest_of(known.decode(raw))
    wide = raw.view("<f8")
    with np.errstate(over="ignore", invalid="ignore"):
        values = wide.astype("<f4")
    exact = np.array_equal(values.astype("<f8").view("<u8"), wide.view("<u8"))
    return _narrowest_of(values) if exact else (b"f64", wide)


def _narrowest_of(values: NDArray[np.float32]) -> tuple[bytes, NDArray[np.generic]]:
    bits = values.view("<u4")
    if not (bits & 0xFFFF).any():
        return b"bf16", (bits >> 16).astype("<u2")
    with np.errstate(over="ignore", invalid="ignore"):
        half = values.astype("<f2")
    if np.array_equal(half.astype("<f4").view("<u4"), bits):
        return b"f16", half
    return b"f32", bits
