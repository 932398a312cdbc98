"""A base model with an adapter merged into it, row by row as they are asked for; nothing is written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from auditor.errors import SizeMismatch, UnsupportedFormat
from auditor.formats.assembled import assembled
from auditor.formats.strictjson import quoted
from auditor.model.reading import check_row, rows_wanted
from auditor.model.view import ModelView

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from auditor.formats import TensorEntry
    from auditor.model.adapter import Adapter, LowRank
    from auditor.sources.base import Source

    Index = NDArray[np.intp]
    Rows = NDArray[np.float32]


def merge(base: ModelView, adapter: Adapter, source: Source) -> MergedView:
    """Merge an adapter into a model.

    Parameters
    ----------
    base : ModelView
    adapter : Adapter
    source : Source
        Where the adapter lies.

    Raises
    ------
    UnsupportedFormat
        It does what is not merged here; all reasons are given.
    SizeMismatch
        It changes what the model does not have, or not in that shape.
    """
    if adapter.problems:
        raise UnsupportedFormat(file=adapter.file, field="adapter", problem="; ".join(adapter.problems[:5]))
    return MergedView(base, adapter, source)


class MergedView(ModelView):
    """What a model becomes with an adapter: `W + scaling * B @ A`, and whole modules in place of the model's.

    Of an embedding that it changes PEFT also saves the whole: then the change is added to what is saved.

    Parameters
    ----------
    base : ModelView
    adapter : Adapter
        Without problems.
    source : Source
        Where the adapter lies.
    """

    def __init__(self, base: ModelView, adapter: Adapter, source: Source) -> None:
        vars(self).update(vars(base))  # the same places and names; what is read of them differs below
        first, *others = base.container.files
        self.container = replace(base.container, files=(f"{first} with {adapter.file}", *others))
        self._base = base
        self.adapter = adapter
        self._saved = ModelView(
            source=source, container=adapter.container, prefix=base.prefix, tensors=dict(adapter.full)
        )
        self._adapter_source = assembled(source, adapter.container)
        self._transposed = {place: self._check(*place, change) for place, change in adapter.changes.items()}

    @property
    def on_disk(self) -> bool:
        """See `ModelView.on_disk`."""
        return self._base.on_disk and self._saved.on_disk

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """See `ModelView.vocabulary`; a tokenizer beside the adapter is not looked for."""
        return self._base.vocabulary

    def tensor(self, layer: int | None, role: str) -> TensorEntry:
        """See `ModelView.tensor`."""
        return (self._saved if (layer, role) in self.adapter.full else self._base).tensor(layer, role)

    def places(self) -> tuple[tuple[int | None, str, TensorEntry], ...]:
        """Return every place with a name that no file has where the values are those of no file."""
        changed = f" with {self.adapter.file}"
        return tuple(
            (layer, role, replace(entry, name=entry.name + changed) if self._is_changed(layer, role) else entry)
            for layer, role, entry in self._base.places()
        )

    def rows(self, layer: int | None, role: str, index: Index) -> Rows:
        """See `ModelView.rows`."""
        before = self._saved if (layer, role) in self.adapter.full else self._base
        return self._changed((layer, role), before.rows(layer, role, index), index)

    def rows_of(self, places: Sequence[tuple[int | None, str]], index: Index) -> list[Rows]:
        """See `ModelView.rows_of`."""
        kept = [place for place in places if place not in self.adapter.full]
        found = iter(self._base.rows_of(kept, index))
        before = [self._saved.rows(*place, index) if place in self.adapter.full else next(found) for place in places]
        return [self._changed(place, rows, index) for place, rows in zip(places, before, strict=True)]

    def vector(self, layer: int | None, role: str) -> Rows:
        """See `ModelView.vector`."""
        return (self._saved if (layer, role) in self.adapter.full else self._base).vector(layer, role)

    def gain(self, layer: int | None, role: str) -> Rows:
        """See `ModelView.gain`; what is added to gains is the base's, whoever saved them."""
        return self.vector(layer, role) + np.float32(self._base.gain_offset)

    def kv_heads(self, layer: int) -> int | None:
        """See `ModelView.kv_heads`: the base's own configuration says it."""
        return self._base.kv_heads(layer)

    def _is_changed(self, layer: int | None, role: str) -> bool:
        return (layer, role) in self.adapter.full or (layer, role) in self.adapter.changes

    def _changed(self, place: tuple[int | None, str], rows: Rows, index: Index) -> Rows:
        change = self.adapter.changes.get(place)
        if change is None or not index.size:
            return rows
        if self._transposed[place]:
            down, up = self._matrix(change.down, np.arange(change.rank)), self._whole(change.up)
            delta = down[:, index].T @ up.T
        else:
            delta = self._matrix(change.up, index) @ self._whole(change.down)
        return rows + np.float32(change.scaling) * delta

    def _whole(self, entry: TensorEntry) -> Rows:
        return self._matrix(entry, np.arange(entry.shape[0]))

    def _matrix(self, entry: TensorEntry, index: Index) -> Rows:
        check_row(entry)
        wanted = rows_wanted(entry, index)
        return wanted.decode(self._adapter_source.read(wanted.file, wanted.ranges))

    def _check(self, layer: int | None, role: str, change: LowRank) -> bool:
        """Say whether a change is added turned over; of embeddings, and of weights that the base keeps as [in, out]."""
        out, into = change.up.shape[0], change.down.shape[1]
        field = f"adapter of {role}" if layer is None else f"adapter of {role} in layer {layer}"
        try:
            shape = self.tensor(layer, role).shape
        except KeyError:
            problem = "the base has no such matrix"
            raise SizeMismatch(file=self.adapter.file, field=field, problem=problem) from None
        if change.embedding and shape == (into, out):
            return True
        fan_in_fan_out = bool(self.adapter.config and self.adapter.config.fan_in_fan_out)
        if not change.embedding and shape == (out, into):
            if fan_in_fan_out and out == into and self._base.architecture != "llama":
                problem = f"square, and of a base ({quoted(self._base.architecture)}) that may keep it turned over"
                raise SizeMismatch(file=self.adapter.file, field=field, problem=problem, actual=shape)
            return False
        if fan_in_fan_out and shape == (into, out):
            return True
        raise SizeMismatch(file=self.adapter.file, field=field, actual=(out, into), limit=shape)
