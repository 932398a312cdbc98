"""A matrix that several tensors make up: which bytes of them some of its rows need, and what those become.

A quantised checkpoint keeps the codes of a matrix in one tensor and its scales, offsets or codebooks in others.
Every format here gives a `PackedMatrix`: built from the headers of the tensors alone and checked against the
checkpoint's own statement of how it was quantised, it asks for byte ranges and turns them into float32 rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from auditor.errors import LimitExceeded, MissingField, QuantMismatch, SizeMismatch, UnsupportedDtype
from auditor.formats.dtypes import DTYPES
from auditor.formats.strictjson import quoted
from auditor.limits import LIMITS
from auditor.sources.base import Range

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from auditor.formats.base import TensorEntry

    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.float32]
    Rows = NDArray[np.intp]

FLOATS = ("F32", "F16", "BF16")
"""Types that scales are kept in."""


class Read(NamedTuple):
    """Byte ranges of one tensor."""

    entry: TensorEntry
    ranges: Sequence[Range]


class PackedMatrix(Protocol):
    """What a format makes of the tensors of one matrix.

    `rows` is always ascending and without repetition, inside the matrix, and not empty.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Rows (outputs) and columns (inputs) of the matrix that was quantised."""

    def reads(self, rows: Rows) -> list[Read]:
        """Say which bytes `decode` needs for some rows."""

    def decode(self, rows: Rows, data: Sequence[bytes]) -> Floats:
        """Turn the bytes of each read into the rows, float32 of shape (n, columns).

        Raises
        ------
        FileError
            When the bytes contradict the format.
        """


@runtime_checkable
class Bandable(Protocol):
    """A packed matrix whose rows lie across all of it, and of which a band of columns lies side by side instead."""

    def band(self, start: int, stop: int) -> PackedMatrix | None:
        """Return the matrix of the columns from `start` to `stop` alone; None where these are no whole groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """The tensors that make up one matrix, by what stands behind its name.

    Attributes
    ----------
    stem : str
        What the names share: "model.layers.0.mlp.gate_proj".
    entries : mapping of str to TensorEntry
        By the rest of the name: "qweight", "weight.absmax".
    """

    stem: str
    entries: Mapping[str, TensorEntry]

    def get(self, leaf: str, *, dtypes: Collection[str] | None = None) -> TensorEntry | None:
        """Return a piece, None where there is none.

        Raises
        ------
        QuantMismatch
            When it is of none of the types that the format has for it.
        """
        entry = self.entries.get(leaf)
        if entry is not None and dtypes is not None and entry.dtype not in dtypes:
            raise QuantMismatch(
                file=entry.file, field=f"dtype of {quoted(entry.name)}", actual=entry.dtype, limit=", ".join(dtypes)
            )
        return entry

    def need(self, leaf: str, *, dtypes: Collection[str] | None = None) -> TensorEntry:
        """Return a piece that the format cannot do without.

        Raises
        ------
        MissingField
        QuantMismatch
            As `get`.
        """
        entry = self.get(leaf, dtypes=dtypes)
        if entry is None:
            raise MissingField(file=self.file, field=f"tensor {quoted(f'{self.stem}.{leaf}')}")
        return entry

    @property
    def file(self) -> str:
        """The file that errors about the whole name."""
        return next(iter(self.entries.values())).file

    def mismatch(self, problem: str, *, actual: object = None, limit: object = None) -> QuantMismatch:
        """Return the error for pieces that do not belong together."""
        return QuantMismatch(
            file=self.file, field=f"matrix {quoted(self.stem)}", problem=problem, actual=actual, limit=limit
        )

    def unsupported(self, problem: str, *, actual: object = None) -> UnsupportedDtype:
        """Return the error for what is recognised and not decoded."""
        return UnsupportedDtype(file=self.file, field=f"matrix {quoted(self.stem)}", problem=problem, actual=actual)


# --- shapes ---------------------------------------------------------------------------------------------


def matrix_shape(entry: TensorEntry) -> tuple[int, int]:
    """Return the shape of a tensor that must be a matrix.

    Raises
    ------
    SizeMismatch
    """
    if len(entry.shape) != 2:
        raise SizeMismatch(
            file=entry.file, field=f"tensor {quoted(entry.name)}", problem="not a matrix", actual=entry.shape
        )
    return entry.shape[0], entry.shape[1]


def check_shape(entry: TensorEntry, *allowed: tuple[int, ...]) -> None:
    """Hold a piece against the shapes that follow from the other pieces and the configuration.

    Raises
    ------
    QuantMismatch
    """
    if entry.shape not in allowed:
        expected = " or ".join(map(str, allowed))
        raise QuantMismatch(file=entry.file, field=f"shape of {quoted(entry.name)}", actual=entry.shape, limit=expected)


def check_columns(pieces: Pieces, columns: int) -> None:
    """Refuse rows that are too long to read, before anything is planned for them.

    Raises
    ------
    LimitExceeded
    """
    if columns > LIMITS.row_elements:
        field = f"row of {quoted(pieces.stem)}"
        raise LimitExceeded(file=pieces.file, field=field, actual=columns, limit=LIMITS.row_elements)


# --- what to read ---------------------------------------------------------------------------------------


def runs_of(index: Rows) -> list[tuple[int, int]]:
    """Join what lies side by side.

    Examples
    --------
    >>> runs_of(np.array([2, 3, 7]))
    [(2, 4), (7, 8)]
    """
    if not index.size:
        return []
    breaks = np.flatnonzero(np.diff(index) != 1) + 1
    starts, stops = np.concatenate([[0], breaks]), np.concatenate([breaks, [index.size]]) - 1
    return [(int(index[a]), int(index[b]) + 1) for a, b in zip(starts, stops, strict=True)]


def whole(entry: TensorEntry) -> Read:
    """Read all of a small tensor."""
    return _within_limits(Read(entry, [Range(entry.start, entry.stop)]))


def row_read(entry: TensorEntry, rows: Rows, *, count: int | None = None) -> Read:
    """Read rows of a tensor that keeps a row in one piece.

    Parameters
    ----------
    entry : TensorEntry
    rows : ndarray of int, ascending
    count : int, optional
        Rows that the tensor holds; by its shape where left out.
    """
    count = entry.shape[0] if count is None else count
    stride = (entry.stop - entry.start) // max(1, count)
    return element_read(entry, runs_of(rows), size=stride)


def element_read(entry: TensorEntry, runs: Sequence[tuple[int, int]], *, size: int) -> Read:
    """Read runs of elements of `size` bytes, counted from the start of a tensor."""
    return _within_limits(Read(entry, [Range(entry.start + a * size, entry.start + b * size) for a, b in runs]))


def column_read(entry: TensorEntry, columns: Rows) -> Read:
    """Read columns of a matrix: a range for each of its rows and each run of columns.

    Where that would be more than `LIMITS.packed_ranges`, the whole matrix is read. See `columns_of`.
    """
    height, width = entry.shape
    runs = runs_of(columns)
    if _reads_whole(height, width, runs):
        return whole(entry)
    size = DTYPES[entry.dtype].size
    starts = range(entry.start, entry.stop, width * size)
    return _within_limits(Read(entry, [Range(at + a * size, at + b * size) for at in starts for a, b in runs]))


def columns_of(entry: TensorEntry, columns: Rows, data: bytes) -> NDArray[Any]:
    """Return what `column_read` read, shape (rows of the tensor, n), elements as little-endian integers or bytes."""
    height, width = entry.shape
    size = DTYPES[entry.dtype].size
    raw = np.frombuffer(data, dtype=f"<u{size}")
    if not _reads_whole(height, width, runs_of(columns)):
        return raw.reshape(height, columns.size)
    table = raw.reshape(height, width)
    return table if columns.size == width else table[:, columns]


def cut(entry: TensorEntry, start: int, stop: int) -> TensorEntry:
    """Return some rows of a tensor, or elements of a vector, that keeps each in one piece, as a tensor of its own."""
    size = (entry.stop - entry.start) // entry.shape[0]
    shape = (stop - start, *entry.shape[1:])
    return replace(entry, shape=shape, start=entry.start + start * size, stop=entry.start + stop * size)


def _reads_whole(height: int, width: int, runs: list[tuple[int, int]]) -> bool:
    return runs == [(0, width)] or height * len(runs) > LIMITS.packed_ranges


def _within_limits(read: Read) -> Read:
    length = sum(stop - start for start, stop in read.ranges)
    if length > LIMITS.packed_read:
        entry = read.entry
        raise LimitExceeded(
            file=entry.file,
            field=f"tensor {quoted(entry.name)}",
            problem="bytes that some of its rows need",
            actual=length,
            limit=LIMITS.packed_read,
        )
    return read
