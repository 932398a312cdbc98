"""Packed codes to numbers: bits, scales and zero points, in vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from auditor.formats.dtypes import DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from auditor.formats.base import TensorEntry

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float32]
    Rows = NDArray[np.intp]

BLOCK = 1 << 18
"""Elements decoded at a time: temporaries stay near the cache and do not grow with the matrix."""


def floats(entry: TensorEntry, data: bytes | NDArray[Any]) -> Floats:
    """Decode elements of a tensor of a plain type to float32; an array of its elements keeps its shape."""
    decode = DTYPES[entry.dtype].decode
    if decode is None:  # builders allow none of such a type
        raise TypeError(entry.dtype)
    if isinstance(data, bytes):
        return decode(np.frombuffer(data, dtype=np.uint8))
    values = decode(np.ascontiguousarray(data).reshape(-1).view(np.uint8))
    return values.reshape(data.shape) if values.size == data.size else values


def unpack_bits(packed: Bytes, bits: int, count: int) -> Bytes:
    """Split bytes into codes, the lowest bits first, across the borders of bytes and words.

    Parameters
    ----------
    packed : ndarray of uint8, shape (n, width)
        Little-endian words, seen as bytes.
    bits : int
        1 to 8.
    count : int
        Codes wanted of each row; at most `8 * width // bits`.

    Returns
    -------
    ndarray of uint8, shape (n, count)

    Examples
    --------
    >>> unpack_bits(np.array([[0b11_010_001, 0b1_100_0]], np.uint8), 3, 4).tolist()
    [[1, 2, 3, 4]]
    """
    n, width = packed.shape
    mask = (1 << bits) - 1
    if bits == 8:
        return packed[:, :count]
    if 8 % bits == 0:
        codes = np.empty((n, width, 8 // bits), dtype=np.uint8)
        for place in range(8 // bits):  # ten times as fast as shifting by an array
            codes[..., place] = (packed >> (bits * place)) & mask
        return codes.reshape(n, width * (8 // bits))[:, :count]
    groups = -(-count // 8)  # eight codes in as many bytes as a code has bits
    padded = np.zeros((n, groups * bits), dtype=np.uint8)
    width = min(width, padded.shape[1])
    padded[:, :width] = packed[:, :width]
    parts = padded.reshape(n, groups, bits)
    joined = np.zeros((n, groups), dtype=np.uint64)
    for place in range(bits):
        joined |= parts[..., place].astype(np.uint64) << np.uint64(8 * place)
    spread = joined[..., None] >> np.arange(0, 8 * bits, bits, dtype=np.uint64)
    return (spread.astype(np.uint8) & np.uint8(mask)).reshape(n, groups * 8)[:, :count]


def pair_table(values: Floats, *, low_first: bool) -> NDArray[np.uint64]:
    """Return the two values that each byte of two codes stands for, as the bits of both side by side, shape (256,).

    Parameters
    ----------
    values : ndarray of float32, shape (16,)
    low_first : bool
        The first code of a byte is its low nibble.
    """
    high, low = np.repeat(values, 16), np.tile(values, 16)
    return np.stack([low, high] if low_first else [high, low], axis=1).view(np.uint64).reshape(-1)


def affine(
    codes: NDArray[Any], scale: Floats, *, zero: Floats | float = 0.0, bias: Floats | None = None, group: Rows | None
) -> Floats:
    """Undo an affine quantisation: `(code - zero) * scale + bias`, each of them shared by a group of columns.

    Parameters
    ----------
    codes : ndarray of int or float, shape (n, columns)
    scale : ndarray of float32, shape (n, groups)
    zero : ndarray of float32, shape (n, groups), or float
    bias : ndarray of float32, shape (n, groups), optional
    group : ndarray of int, shape (columns,), or None
        Group of each column; None where groups are equally long and lie side by side.

    Returns
    -------
    ndarray of float32, shape (n, columns)
    """
    out = np.array(codes, dtype=np.float32, order="C")  # a copy, whatever the order of `codes`
    # A hostile scale may be infinite or NaN: that is a value to report, not a warning.
    with np.errstate(over="ignore", invalid="ignore"):
        if group is None:
            parts = out.reshape(*scale.shape, out.shape[1] // scale.shape[1])
            parts -= zero[..., None] if isinstance(zero, np.ndarray) else np.float32(zero)
            parts *= scale[..., None]
            if bias is not None:
                parts += bias[..., None]
        else:
            out -= zero[:, group] if isinstance(zero, np.ndarray) else np.float32(zero)
            out *= scale[:, group]
            if bias is not None:
                out += bias[:, group]
    return out


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Cut rows into blocks of some `BLOCK` elements."""
    step = max(1, BLOCK // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def covering(rows: Rows, per: int) -> tuple[Rows, Rows]:
    """Say which blocks of `per` rows hold some rows, and where the rows stand among all rows of those blocks.

    Examples
    --------
    >>> blocks, place = covering(np.array([3, 9, 10]), 8)
    >>> blocks.tolist(), place.tolist()
    ([0, 1], [3, 9, 10])
    >>> covering(np.array([17]), 8)[1].tolist()
    [1]
    """
    numbers, which = np.unique(rows // per, return_inverse=True)
    return numbers, which * per + rows % per
