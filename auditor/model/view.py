"""Rows of a checkpoint by layer and role, decoded to float32 only where asked for."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from auditor.errors import DuplicateName, LimitExceeded, SizeMismatch, UnsupportedDtype
from auditor.formats import dtype_of
from auditor.limits import LIMITS
from auditor.model.canonical import canonical_name
from auditor.model.layout import INTERLEAVED_ARCHITECTURES, interleaved_rows
from auditor.sources.base import Range

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from auditor.formats import Container, TensorEntry
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
        self._heads = _interleaved_heads(container)
        self.container = container
        self.prefix = prefix

    def layers(self, *roles: str) -> tuple[int, ...]:
        """Numbers of the layers that have every one of `roles`, ascending."""
        numbers = {layer for layer, _ in self._tensors if layer is not None}
        return tuple(sorted(n for n in numbers if all((n, role) in self._tensors for role in roles)))

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
        FileError
            When the tensor is no matrix, is longer than `LIMITS.row_elements` a row, is of a type that is not
            decoded, or its bytes cannot be read.
        """
        entry = self._tensors[layer, role]
        if len(entry.shape) != 2:
            raise SizeMismatch(
                file=entry.file, field=f"tensor {entry.name}", problem="not a matrix", actual=entry.shape
            )
        count, columns = entry.shape
        if columns > LIMITS.row_elements:
            raise LimitExceeded(
                file=entry.file, field=f"row of {entry.name}", actual=columns, limit=LIMITS.row_elements
            )
        if role in self._heads:
            index = interleaved_rows(index, count, self._heads[role])
        return _read_rows(self._source, entry, index)

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
                file=entry.file, field=f"tensor {entry.name}", problem="not a vector", actual=entry.shape
            )
        return _read_rows(self._source, replace(entry, shape=(1, *entry.shape)), np.arange(1))[0]


def model_views(source: Source, container: Container) -> tuple[ModelView, ...]:
    """Find every model in a container: one for each prefix under which MLP blocks stand.

    A wrapper such as LLaVA has one below `language_model.model.`; a file that hides a second model under
    another prefix gives two views, and each is audited.

    Raises
    ------
    DuplicateName
        When two tensors claim the same layer and role.
    LimitExceeded
        When there are more layers than `LIMITS.layers`.
    """
    groups: dict[str, dict[tuple[int | None, str], TensorEntry]] = defaultdict(dict)
    for entry in container.tensors:
        name = canonical_name(entry.name)
        if name is None:
            continue
        key = (name.layer, name.role)
        if key in groups[name.prefix]:
            raise DuplicateName(
                file=entry.file, field=f"tensor {entry.name}", problem="a second tensor for the same place"
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
    return tuple(views)


def _interleaved_heads(container: Container) -> dict[str, int]:
    """Return the head count of each role whose rows this container stores interleaved."""
    architecture = container.metadata.get("general.architecture")
    if container.format != "gguf" or architecture not in INTERLEAVED_ARCHITECTURES:
        return {}
    heads = container.metadata.get(f"{architecture}.attention.head_count")
    kv_heads = container.metadata.get(f"{architecture}.attention.head_count_kv", heads)
    return {role: count for role, count in (("q", heads), ("k", kv_heads)) if isinstance(count, int) and count > 0}


def _read_rows(source: Source, entry: TensorEntry, index: NDArray[np.intp]) -> NDArray[np.float32]:
    count, columns = entry.shape
    dtype = dtype_of(entry.dtype)
    if dtype.decode is None or columns % dtype.block:
        raise UnsupportedDtype(file=entry.file, field=f"tensor {entry.name}", actual=entry.dtype)
    if index.size and not 0 <= index.min() <= index.max() < count:
        raise IndexError(f"rows of {entry.name}: 0 to {count - 1}, asked for {index.min()} to {index.max()}")
    stride = columns // dtype.block * dtype.size
    ordered, place = np.unique(index, return_inverse=True)
    runs = np.split(ordered, np.flatnonzero(np.diff(ordered) != 1) + 1) if index.size else []
    ranges = [Range(entry.start + int(run[0]) * stride, entry.start + (int(run[-1]) + 1) * stride) for run in runs]
    raw = np.frombuffer(b"".join(source.read(entry.file, ranges)), dtype=np.uint8)
    return dtype.decode(raw).reshape(-1, columns)[place]
