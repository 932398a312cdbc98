"""Which bytes hold some rows of a matrix, and what they become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auditor.errors import LimitExceeded, UnsupportedDtype
from auditor.formats import dtype_of
from auditor.formats.strictjson import quoted
from auditor.limits import LIMITS
from auditor.sources.base import Range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from auditor.formats import Dtype, TensorEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of a tensor: which bytes to read, and what to make of them."""

    file: str
    ranges: list[Range]
    dtype: Dtype
    shape: tuple[int, int]  # of what is read: rows each once and ascending, or stretches of columns of all rows
    place: NDArray[np.intp]  # of the rows wanted among those read
    transposed: bool = False

    @property
    def reads(self) -> list[tuple[str, list[Range]]]:
        """Files, and the ranges wanted of each, in the order in which `decode` takes them."""
        return [(self.file, self.ranges)]

    def decode(self, parts: list[bytes]) -> NDArray[np.float32]:
        """Make rows, float32 of shape (n, columns), of the bytes of each of `ranges`."""
        if self.dtype.decode is None:  # `rows_wanted` makes none of such a type
            raise TypeError(self.dtype.name)
        raw = np.frombuffer(b"".join(parts), dtype=np.uint8)
        values = self.dtype.decode(raw).reshape(self.shape)
        return np.ascontiguousarray(values[:, self.place].T) if self.transposed else values[self.place]


def rows_wanted(entry: TensorEntry, index: NDArray[np.intp]) -> Rows:
    """Work out which bytes hold some rows of a matrix; rows that lie side by side are one range.

    Parameters
    ----------
    entry : TensorEntry
        Of two dimensions.
    index : ndarray of int, shape (n,)
        Rows that the matrix has.

    Raises
    ------
    UnsupportedDtype
        When its type is not decoded, or rows are no whole number of blocks.
    """
    columns = entry.shape[1]
    dtype = _decoded(entry)
    if columns % dtype.block:
        raise UnsupportedDtype(file=entry.file, field=f"tensor {quoted(entry.name)}", actual=entry.dtype)
    stride = columns // dtype.block * dtype.size
    ordered, place = np.unique(index, return_inverse=True)
    runs = np.split(ordered, np.flatnonzero(np.diff(ordered) != 1) + 1) if index.size else []
    ranges = [Range(entry.start + int(run[0]) * stride, entry.start + (int(run[-1]) + 1) * stride) for run in runs]
    return Rows(file=entry.file, ranges=ranges, dtype=dtype, shape=(ordered.size, columns), place=place)


def columns_wanted(entry: TensorEntry, index: NDArray[np.intp]) -> Rows:
    """Work out the same for rows of a matrix that is stored `[in, out]`.

    Of each stored row, a stretch is read from the first to the last of the columns wanted: neurons that lie side by
    side cost no more than their own bytes, in as many ranges as the matrix takes in.

    Raises
    ------
    UnsupportedDtype
        When its type is not decoded, or packs several columns.
    """
    rows, columns = entry.shape
    dtype = _decoded(entry)
    if dtype.block != 1:
        raise UnsupportedDtype(file=entry.file, field=f"columns of {quoted(entry.name)}", actual=entry.dtype)
    if not index.size:
        return Rows(file=entry.file, ranges=[], dtype=dtype, shape=(rows, 0), place=index, transposed=True)
    first, stop = int(index.min()), int(index.max()) + 1
    starts = [entry.start + (row * columns + first) * dtype.size for row in range(rows)]
    ranges = [Range(start, start + (stop - first) * dtype.size) for start in starts]
    if stop - first == columns:
        ranges = [Range(entry.start, entry.stop)]
    shape = (rows, stop - first)
    return Rows(file=entry.file, ranges=ranges, dtype=dtype, shape=shape, place=index - first, transposed=True)


def _decoded(entry: TensorEntry) -> Dtype:
    dtype = dtype_of(entry.dtype)
    if dtype.decode is None:
        raise UnsupportedDtype(file=entry.file, field=f"tensor {quoted(entry.name)}", actual=entry.dtype)
    return dtype


def check_row(entry: TensorEntry) -> None:
    """Refuse rows that are longer than any model's.

    Raises
    ------
    LimitExceeded
    """
    if entry.shape[-1] > LIMITS.row_elements:
        field = f"row of {quoted(entry.name)}"
        raise LimitExceeded(file=entry.file, field=field, actual=entry.shape[-1], limit=LIMITS.row_elements)
