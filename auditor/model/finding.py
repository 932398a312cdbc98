"""Which models a container holds, and how much of it none of them accounts for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.model.architecture import architecture_of
from auditor.model.config import Config
from auditor.model.grouping import group
from auditor.model.placing import place
from auditor.model.quantised import stored_pieces, with_packed
from auditor.model.view import ModelView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditor.formats import Container
    from auditor.sources.base import Source


def model_views(source: Source, container: Container) -> tuple[ModelView, ...]:
    """Find every model in a container: one for each prefix under which MLP blocks stand.

    A wrapper such as LLaVA has one below `language_model.model.`; a file that hides a second model under
    another prefix gives two views, and each is audited. Where no MLP of the container is known to have a gate, those
    that have none are returned, and those of which it cannot be known: nothing in them can be compared, but they can
    be named.

    Raises
    ------
    DuplicateName
        When two tensors claim the same layer and role.
    LimitExceeded
        When there are more models than `LIMITS.models`, or one has more layers than `LIMITS.layers` or more blocks
        than `LIMITS.blocks`.
    """
    config = Config(source, container)
    groups = group(with_packed(source, container))
    views = []
    for prefix, found in groups.items():
        placed = place(found.tensors, config)
        view = ModelView(
            source=source,
            container=container,
            prefix=prefix,
            tensors=placed.parts,
            architecture=architecture_of(found.tails, config, container.format),
            unplaced=placed.unplaced,
        )
        views.append(view)
    gated = tuple(view for view in views if view.gated)
    return gated or tuple(view for view in views if view.layers("up", "down") or view.unplaced)


def unplaced_share(containers: Iterable[Container], views: Iterable[ModelView]) -> float:
    """Share of the bytes in matrices that no test can say anything of, under whatever names.

    What no view knows was not compared with anything: another architecture, or weights hidden beside a decoy. The same
    holds for MLPs without a gate beside those that have one; where none has, they are what was asked about, and count
    as known.

    Parameters
    ----------
    containers, views : iterable
        Everything parsed of a target, and the models found in it.

    Returns
    -------
    float
        0 to 1; 0 where there are no matrices.
    """
    views = tuple(views)
    gated = [view for view in views if view.gated]
    entries = [view.compared() for view in gated] if gated else [view.entries() for view in views]
    pieces = (piece for found in entries for entry in found for piece in stored_pieces(entry))
    placed = {(piece.file, piece.start, piece.name) for piece in pieces}
    total = unplaced = 0
    for container in containers:
        for entry in container.tensors:
            if len(entry.shape) > 1:
                total += entry.stop - entry.start
                unplaced += (entry.stop - entry.start) * ((entry.file, entry.start, entry.name) not in placed)
    return unplaced / total if total else 0.0
