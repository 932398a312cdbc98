"""The MLP blocks of a model: one a layer, or several of which each token takes some."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")

Kind = Literal["gate", "up", "down"]

_OF_EXPERT = re.compile(r"experts\.([0-9]{1,5})\.(.+)")  # one digit more than a name can have: shared ones come after


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Block:
    """An MLP block with gate and up.

    Attributes
    ----------
    layer : int
    expert : int or None
        None for the only MLP of a layer. Experts that every token passes through are numbered after the others.
    """

    layer: int
    expert: int | None = None

    def role(self, kind: Kind) -> str:
        """Return the role of one of the block's matrices, as `ModelView.rows` takes it.

        Examples
        --------
        >>> Block(layer=0).role("up"), Block(layer=0, expert=3).role("up")
        ('up', 'experts.3.up')
        """
        return kind if self.expert is None else f"experts.{self.expert}.{kind}"


def blocks(places: Iterable[tuple[int | None, str]]) -> tuple[Block, ...]:
    """Find the blocks of which gate and up are there, by layer and then by expert; a dense one comes first."""
    found: dict[tuple[int, int], set[str]] = defaultdict(set)
    for layer, role in places:
        if layer is None:
            continue
        if role in {"gate", "up"}:
            found[layer, -1].add(role)
        elif (match := _OF_EXPERT.fullmatch(role)) and match[2] in {"gate", "up"}:
            found[layer, int(match[1])].add(match[2])
    return tuple(
        Block(layer=layer, expert=None if expert < 0 else expert)
        for (layer, expert), kinds in sorted(found.items())
        if len(kinds) == 2
    )


def expert_of(role: str) -> int | None:
    """Return the number of the expert whose role this is; None of other roles."""
    match = _OF_EXPERT.fullmatch(role)
    return int(match[1]) if match else None


def number_shared(layer: Mapping[str, T]) -> dict[str, T]:
    """Give the shared expert of a layer the number after the last of the others.

    Parameters
    ----------
    layer : mapping of str to T
        By role.
    """
    numbers = [number for role in layer if (number := expert_of(role)) is not None]
    after = max(numbers, default=-1) + 1
    return {
        f"experts.{after}.{role.removeprefix('shared.')}" if role.startswith("shared.") else role: value
        for role, value in layer.items()
    }
