"""Where the rows of a matrix lie, when they are a part of a stored tensor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from auditor.formats import dtype_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from auditor.formats import TensorEntry

    Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A matrix, or a vector, inside a stored tensor; all of it for most.

    Rows come in runs: row `i` is row `start + i // run * stride + i % run` of the plane.

    Attributes
    ----------
    stored : TensorEntry
        The tensor as its file has it.
    plane : TensorEntry
        The two- or one-dimensional piece of it in which the rows lie.
    count : int
        Number of rows; elements of a vector.
    start, run, stride : int
    transposed : bool
        The plane holds `[in, out]`: its columns are the rows meant here.
    """

    stored: TensorEntry
    plane: TensorEntry
    count: int
    start: int
    run: int
    stride: int
    transposed: bool = False

    @property
    def entry(self) -> TensorEntry:
        """The part as if it were a tensor of its own: its shape, and the bytes in which it lies.

        Exactly these bytes where the rows lie side by side, else those of the plane.
        """
        if self.is_whole:
            return self.plane
        if len(self.plane.shape) != 2:
            return replace(self.plane, shape=(self.count,))
        if self.transposed:
            return replace(self.plane, shape=(self.count, self.plane.shape[0]))
        shape = (self.count, self.plane.shape[1])
        if self.run < self.count:
            return replace(self.plane, shape=shape)
        row = row_bytes(self.plane)
        first = self.plane.start + self.start * row
        return replace(self.plane, shape=shape, start=first, stop=first + self.count * row)

    @property
    def is_whole(self) -> bool:
        """The plane is the matrix."""
        return not self.transposed and self.start == 0 and self.run == self.count == _rows(self.plane, transposed=False)

    def locate(self, index: Index) -> Index:
        """Say where rows stand in the plane.

        Parameters
        ----------
        index : ndarray of int, shape (n,)
            0 to `count` - 1.
        """
        block, within = np.divmod(index, max(self.run, 1))
        return np.asarray(self.start + block * self.stride + within, dtype=np.intp)

    def take(self, start: int, count: int, *, run: int | None = None, stride: int | None = None) -> Part:
        """Return some rows of a part that is not itself split: `count` from `start`, in runs `stride` apart."""
        run = count if run is None else run
        return replace(self, start=start, count=count, run=run, stride=run if stride is None else stride)


def whole(entry: TensorEntry, *, transposed: bool = False) -> Part:
    """Return all of a tensor."""
    count = _rows(entry, transposed=transposed)
    return Part(stored=entry, plane=entry, count=count, start=0, run=count, stride=count, transposed=transposed)


def plane(entry: TensorEntry, number: int, *, transposed: bool = False) -> Part:
    """Return one of the matrices of a tensor of three dimensions.

    Raises
    ------
    ValueError
        When it does not begin and end at a byte of its own: rows are no whole number of quantisation blocks.
    """
    _, rows, columns = entry.shape
    dtype = dtype_of(entry.dtype)
    if columns % dtype.block:
        raise ValueError(f"a row of {columns} is not a whole number of blocks of {dtype.name}")
    size = rows * (columns // dtype.block) * dtype.size
    first = entry.start + number * size
    piece = replace(entry, shape=(rows, columns), start=first, stop=first + size)
    return replace(whole(piece, transposed=transposed), stored=entry)


def row_bytes(entry: TensorEntry) -> int:
    """Bytes of a row of a matrix."""
    return (entry.stop - entry.start) // max(1, entry.shape[0])


def _rows(entry: TensorEntry, *, transposed: bool) -> int:
    if transposed:
        return entry.shape[1]
    return entry.shape[0] if entry.shape else 1
