"""Which tensors lie where in which file, as value digests need it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from auditor.digests.values import TensorLayout
from auditor.model.layout import interleaved_heads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from auditor.formats import Container
    from auditor.model import ModelView


def tensor_layouts(
    containers: Iterable[Container], views: Iterable[ModelView]
) -> Mapping[str, tuple[TensorLayout, ...]]:
    """Lay out every tensor of every container, by file, in file order.

    Tensors that hold several matrices are one value each, in the order that they are stored in.

    Parameters
    ----------
    containers : iterable of Container
    views : iterable of ModelView
        Models found in them: they say which matrices have interleaved rows.

    Raises
    ------
    FileError
        When the row order of a matrix cannot be known.
    """
    heads = {
        (view.tensor(layer, role).file, view.tensor(layer, role).name): interleaved_heads(
            view.container, view.tensor(layer, role), role=role, layer=layer
        )
        for view in views
        for role in ("q", "k")
        for layer in view.layers(role)
        if len(view.stored(layer, role).shape) == 2 and view.tensor(layer, role) == view.stored(layer, role)
    }
    layouts: dict[str, list[TensorLayout]] = defaultdict(list)
    for container in containers:
        for entry in container.tensors:
            layouts[entry.file].append(
                TensorLayout(
                    name=entry.name,
                    dtype=entry.dtype,
                    shape=entry.shape,
                    start=entry.start,
                    stop=entry.stop,
                    heads=heads.get((entry.file, entry.name)),
                )
            )
    return {
        file: tuple(sorted(found, key=lambda layout: (layout.start, layout.name))) for file, found in layouts.items()
    }
