"""Which tensors of a container belong to one model: those whose names begin alike."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from auditor.errors import DuplicateName, LimitExceeded
from auditor.formats.strictjson import quoted
from auditor.limits import LIMITS
from auditor.model.canonical import parse_name
from auditor.model.placing import Named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditor.formats import Container
    from auditor.model.placing import Place


@dataclass(slots=True)
class Group:
    """Tensors under one prefix.

    Attributes
    ----------
    tensors : dict of (layer or None, role) to Named
    """

    tensors: dict[Place, Named] = field(default_factory=dict)

    @property
    def tails(self) -> frozenset[str]:
        """The rows of the name tables that are in use."""
        return frozenset(named.tail for named in self.tensors.values())

    @property
    def layers(self) -> int:
        """Number of layers that have some of an MLP."""
        return len({layer for layer, role in self.tensors if layer is not None and _is_mlp(role)})


def group(container: Container) -> dict[str, Group]:
    """Find the groups of tensors that have MLP blocks, by prefix, sorted.

    What stands outside of the layers (embeddings, head) joins the only model at or below its own prefix, as
    `lm_head` joins `model.language_model.layers`.

    Raises
    ------
    DuplicateName
        When two tensors claim the same place.
    LimitExceeded
        When there are more models or layers than allowed.
    """
    groups: dict[str, Group] = defaultdict(Group)
    for entry in container.tensors:
        parsed = parse_name(entry.name)
        if parsed is None:
            continue
        (prefix, layer, role), tail = parsed
        tensors = groups[prefix].tensors
        if (layer, role) in tensors:
            raise DuplicateName(
                file=entry.file, field=f"tensor {quoted(entry.name)}", problem="a second tensor for the same place"
            )
        tensors[layer, role] = Named(entry, tail)
    models = {prefix: found for prefix, found in sorted(groups.items()) if found.layers}
    if len(models) > LIMITS.models:
        raise LimitExceeded(file=container.files[0], field="models", actual=len(models), limit=LIMITS.models)
    for found in models.values():
        if found.layers > LIMITS.layers:
            raise LimitExceeded(file=container.files[0], field="layers", actual=found.layers, limit=LIMITS.layers)
    below = _below(models)
    for prefix, found in groups.items():
        if prefix not in models and all(layer is None for layer, _ in found.tensors):
            _attach(prefix, found, below)
    return models


_STEPS_UP = 3  # `transformer.embedding.word_embeddings` beside `transformer.encoder.layers` is one
_DEEPEST = 8  # components of a prefix below which things of no layer are looked for; real ones have under five


def _below(models: Mapping[str, Group]) -> dict[str, list[Group]]:
    """List the models at or below each prefix; only those that may have a gate, where there are any."""
    gated = {prefix: model for prefix, model in models.items() if any(_is_gated(role) for _, role in model.tensors)}
    below: dict[str, list[Group]] = defaultdict(list)
    for prefix, model in (gated or models).items():
        parts = prefix.split(".", _DEEPEST)
        above = {"".join(f"{part}." for part in parts[:count]) for count in range(len(parts))}
        for at in {prefix, *above}:
            below[at].append(model)
    return below


def _attach(prefix: str, outside: Group, below: Mapping[str, list[Group]]) -> None:
    at = prefix
    for _ in range(_STEPS_UP):
        found = below.get(at, [])
        if found:
            if len(found) == 1:
                for place, named in outside.tensors.items():
                    found[0].tensors.setdefault(place, named)
            return
        parent, _, _ = at[:-1].rpartition(".")
        at = f"{parent}." if parent else ""


def _is_mlp(role: str) -> bool:
    return role in {"gate", "up", "gate_up"} or role.startswith(("experts.", "shared."))


def _is_gated(role: str) -> bool:
    return _is_mlp(role) and role != "up"
