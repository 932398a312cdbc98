"""Rows of a checkpoint by layer and role, decoded to float32 only where asked for."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from auditor.errors import DuplicateName, LimitExceeded, SizeMismatch, UnsupportedDtype
from auditor.formats import dtype_of
from auditor.formats.strictjson import quoted
from auditor.limits import LIMITS
from auditor.model.canonical import canonical_name
from auditor.model.layout import interleaved_heads, interleaved_rows
from auditor.sources.base import Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from auditor.formats import Container, Dtype, TensorEntry
    from auditor.sources.base import Source


class ModelView:
    """One model inside a container.

    Parameters
    ----------
    source : Source
        Where the container's files live.
    container : Container
    prefix : str
        Of the names that belong to this model; "" for most.
    tensors : mapping of (layer or None, role) to TensorEntry
    """

    def __init__(
        self,
        *,
        source: Source,
        container: Container,
        prefix: str,
        tensors: Mapping[tuple[int | None, str], TensorEntry],
    ) -> None:
        self._source = source
        self._tensors = tensors
        self.container = container
        self.prefix = prefix

    @property
    def on_disk(self) -> bool:
        """Every file of the model lies on this machine: reading it costs next to nothing."""
        return all(self._source.on_disk(file) is not None for file in self.container.files)

    def layers(self, *roles: str) -> tuple[int, ...]:
        """Numbers of the layers that have every one of `roles`, ascending."""
        numbers = {layer for layer, _ in self._tensors if layer is not None}
        return tuple(sorted(n for n in numbers if all((n, role) in self._tensors for role in roles)))

    def entries(self) -> tuple[TensorEntry, ...]:
        """Return every tensor whose place in the model is known."""
        return tuple(self._tensors.values())

    def places(self) -> tuple[tuple[int | None, str, TensorEntry], ...]:
        """Return every tensor whose place is known, with its layer and role."""
        return tuple((layer, role, entry) for (layer, role), entry in self._tensors.items())

    def tensor(self, layer: int | None, role: str) -> TensorEntry:
        """Return the entry behind a role.

        Raises
        ------
        KeyError
            When this model has no such tensor.
        """
        return self._tensors[layer, role]

    def rows(self, layer: int | None, role: str, index: NDArray[np.intp]) -> NDArray[np.float32]:
        """Decode some rows of a matrix.

        Parameters
        ----------
        layer : int or None
        role : str
        index : ndarray of int, shape (n,)
            Rows wanted, in Hugging Face order; rows that lie side by side are read as one range.

        Returns
        -------
        ndarray of float32, shape (n, columns)

        Raises
        ------
        KeyError
            When this model has no such tensor.
        IndexError
            When a row is asked for that the matrix does not have.
        FileError
            When the tensor is no matrix, is longer than `LIMITS.row_elements` a row, is of a type that is not
            decoded, its row order cannot be known, or its bytes cannot be read.
        """
        wanted = self._wanted(layer, role, index)
        return wanted.decode(self._source.read(wanted.file, wanted.ranges))

    def rows_of(self, places: Sequence[tuple[int | None, str]], index: NDArray[np.intp]) -> list[NDArray[np.float32]]:
        """Decode the same rows of several matrices, asking the source once for each file.

        A source that is far away can fetch all ranges of a file side by side; files are asked for side by side too.

        Parameters
        ----------
        places : sequence of (layer, role)
        index : ndarray of int, shape (n,)

        Returns
        -------
        list of ndarray of float32, each of shape (n, columns)

        Raises
        ------
        KeyError, IndexError, FileError
            As `rows`.
        """
        wanted = [self._wanted(layer, role, index) for layer, role in places]
        by_file: dict[str, list[_Rows]] = defaultdict(list)
        for rows in wanted:
            by_file[rows.file].append(rows)

        def fetch(file: str) -> list[bytes]:
            return self._source.read(file, [r for rows in by_file[file] for r in rows.ranges])

        if len(by_file) > 1 and self._source.on_disk(wanted[0].file) is None:
            with ThreadPoolExecutor(LIMITS.files_at_once) as pool:
                fetched = dict(zip(by_file, pool.map(fetch, by_file), strict=True))
        else:
            fetched = {file: fetch(file) for file in by_file}
        parts = {file: iter(data) for file, data in fetched.items()}
        return [rows.decode([next(parts[rows.file]) for _ in rows.ranges]) for rows in wanted]

    def _wanted(self, layer: int | None, role: str, index: NDArray[np.intp]) -> _Rows:
        """Work out which bytes hold some rows of a matrix, see `rows`."""
        entry = self._tensors[layer, role]
        if len(entry.shape) != 2:
            raise SizeMismatch(
                file=entry.file, field=f"tensor {quoted(entry.name)}", problem="not a matrix", actual=entry.shape
            )
        _check_row(entry)
        count = entry.shape[0]
        if index.size and not 0 <= index.min() <= index.max() < count:
            raise IndexError(f"rows of {entry.name}: 0 to {count - 1}, asked for {index.min()} to {index.max()}")
        heads = interleaved_heads(self.container, entry, role=role, layer=layer)
        if heads is not None:
            index = interleaved_rows(index, count, heads)
        return _rows(entry, index)

    def vector(self, layer: int | None, role: str) -> NDArray[np.float32]:
        """Decode a one-dimensional tensor, a norm's gains: float32, shape (length,).

        Raises
        ------
        KeyError
            When this model has no such tensor.
        FileError
            As `rows`.
        """
        entry = self._tensors[layer, role]
        if len(entry.shape) != 1:
            raise SizeMismatch(
                file=entry.file, field=f"tensor {quoted(entry.name)}", problem="not a vector", actual=entry.shape
            )
        _check_row(entry)
        wanted = _rows(replace(entry, shape=(1, *entry.shape)), np.arange(1))
        return wanted.decode(self._source.read(wanted.file, wanted.ranges)).reshape(-1)


def model_views(source: Source, container: Container) -> tuple[ModelView, ...]:
    """Find every model in a container: one for each prefix under which MLP blocks stand.

    A wrapper such as LLaVA has one below `language_model.model.`; a file that hides a second model under
    another prefix gives two views, and each is audited.

    Raises
    ------
    DuplicateName
        When two tensors claim the same layer and role.
    LimitExceeded
        When there are more models than `LIMITS.models`, or one has more layers than `LIMITS.layers`.
    """
    groups: dict[str, dict[tuple[int | None, str], TensorEntry]] = defaultdict(dict)
    for entry in container.tensors:
        name = canonical_name(entry.name)
        if name is None:
            continue
        key = (name.layer, name.role)
        if key in groups[name.prefix]:
            raise DuplicateName(
                file=entry.file, field=f"tensor {quoted(entry.name)}", problem="a second tensor for the same place"
            )
        groups[name.prefix][key] = entry
    views = []
    for prefix, tensors in sorted(groups.items()):
        view = ModelView(source=source, container=container, prefix=prefix, tensors=tensors)
        layers = len(view.layers("gate", "up"))
        if layers > LIMITS.layers:
            raise LimitExceeded(file=container.files[0], field="layers", actual=layers, limit=LIMITS.layers)
        if layers:
            views.append(view)
    if len(views) > LIMITS.models:
        raise LimitExceeded(file=container.files[0], field="models", actual=len(views), limit=LIMITS.models)
    return tuple(views)


def _check_row(entry: TensorEntry) -> None:
    if entry.shape[-1] > LIMITS.row_elements:
        field = f"row of {quoted(entry.name)}"
        raise LimitExceeded(file=entry.file, field=field, actual=entry.shape[-1], limit=LIMITS.row_elements)


def unplaced_share(containers: Iterable[Container], views: Iterable[ModelView]) -> float:
    """Share of the bytes in matrices whose place in a model is not known, under whatever names.

    What no view knows was not compared with anything: another architecture, or weights hidden beside a decoy.

    Parameters
    ----------
    containers, views : iterable
        Everything parsed of a target, and the models found in it.

    Returns
    -------
    float
        0 to 1; 0 where there are no matrices.
    """
    placed = {(entry.file, entry.start, entry.name) for view in views for entry in view.entries()}
    total = unplaced = 0
    for container in containers:
        for entry in container.tensors:
            if len(entry.shape) > 1:
                total += entry.stop - entry.start
                unplaced += (entry.stop - entry.start) * ((entry.file, entry.start, entry.name) not in placed)
    return unplaced / total if total else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Rows of a tensor: which bytes to read, and what to make of them."""

    file: str
    ranges: list[Range]
    dtype: Dtype
    shape: tuple[int, int]  # of the rows read: each once, ascending
    place: NDArray[np.intp]  # of the rows wanted among those read

    def decode(self, parts: list[bytes]) -> NDArray[np.float32]:
        if self.dtype.decode is None:  # `_rows` makes none of such a type
            raise TypeError(self.dtype.name)
        raw = np.frombuffer(b"".join(parts), dtype=np.uint8)
        return self.dtype.decode(raw).reshape(self.shape)[self.place]


def _rows(entry: TensorEntry, index: NDArray[np.intp]) -> _Rows:
    columns = entry.shape[1]
    dtype = dtype_of(entry.dtype)
    if dtype.decode is None or columns % dtype.block:
        raise UnsupportedDtype(file=entry.file, field=f"tensor {quoted(entry.name)}", actual=entry.dtype)
    stride = columns // dtype.block * dtype.size
    ordered, place = np.unique(index, return_inverse=True)
    runs = np.split(ordered, np.flatnonzero(np.diff(ordered) != 1) + 1) if index.size else []
    ranges = [Range(entry.start + int(run[0]) * stride, entry.start + (int(run[-1]) + 1) * stride) for run in runs]
    return _Rows(file=entry.file, ranges=ranges, dtype=dtype, shape=(ordered.size, columns), place=place)
