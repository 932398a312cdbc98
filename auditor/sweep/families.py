"""Lineage among the swept models: who is like whom, with p-values, whether or not an ancestor is enrolled."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from auditor.errors import BadReference
from auditor.lineage.compact import CompactIndex, CompactSample
from auditor.lineage.verdict import DERIVED_LOG10_P
from auditor.sweep.connection import speaking

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

_NEAREST = 8
_LEAST = 0.52  # share of equal signs: what row cosine .06 gives, and one unrelated pair in 10,000 has


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """The swept model that one is most like.

    Attributes
    ----------
    target : str
    log10_p : float
        Exact, corrected for every swept model of the same shape.
    cosine : float
        Estimated mean row cosine.
    """

    target: str
    log10_p: float
    cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A swept model in its family.

    Attributes
    ----------
    target : str
    family : int
        Models that are joined by sure descent share it; from 1, the largest first.
    size : int
        Of the family.
    nearest : Near or None
        None where no other swept model is surely related.
    verdict, reference : str, str or None
        Of the audit, against what is enrolled.
    """

    target: str
    family: int
    size: int
    nearest: Near | None
    verdict: str
    reference: str | None

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data."""
        return asdict(self)


def family_graph(connection: sqlite3.Connection, path: Path) -> list[Member]:
    """Find the families among the latest results of a store.

    In memory are a kilobyte and a half of each model, and its name.

    Parameters
    ----------
    connection : Connection
    path : Path
        For messages.

    Returns
    -------
    list of Member
        The largest family first, in it in the order of the store. Models that no sample could be taken of are left
        out; their own reports say why.
    """
    with speaking(path):
        rows = connection.execute(
            "SELECT target.entry ->> 'target', result.verdict, result.reference, result.compact FROM target "
            "JOIN result ON result.id = target.result WHERE result.compact IS NOT NULL ORDER BY target.id"
        )
        names: list[tuple[str, str, str | None]] = []
        samples: list[CompactSample] = []
        for target, verdict, reference, data in rows:
            try:
                samples.append(CompactSample.from_bytes(data))
            except BadReference:  # of a damaged or a newer store: as one that no sample was taken of
                continue
            names.append((target, verdict, reference))
    index = CompactIndex(samples)
    head = list(range(len(samples)))  # of the family of each, by union and find
    nearest: list[Near | None] = []
    for place, sample in enumerate(samples):
        near = None
        for relative in index.relatives(sample, at_most=_NEAREST + 1, least=_LEAST):
            if relative.place == place or relative.log10_p > DERIVED_LOG10_P:
                continue
            head[_find(head, place)] = _find(head, relative.place)
            if near is None:
                near = Near(
                    target=names[relative.place][0],
                    log10_p=float(f"{relative.log10_p:.6g}"),
                    cosine=float(f"{relative.cosine:.3g}"),
                )
        nearest.append(near)
    heads = [_find(head, place) for place in range(len(samples))]
    sizes = {each: heads.count(each) for each in set(heads)}
    ranked = sorted(sizes, key=lambda each: (-sizes[each], heads.index(each)))
    number = {each: position for position, each in enumerate(ranked, start=1)}
    members = [
        Member(
            target=target,
            family=number[heads[place]],
            size=sizes[heads[place]],
            nearest=nearest[place],
            verdict=verdict,
            reference=reference,
        )
        for place, (target, verdict, reference) in enumerate(names)
    ]
    return sorted(members, key=lambda member: member.family)


def _find(head: list[int], place: int) -> int:
    while head[place] != place:
        head[place] = head[head[place]]
        place = head[place]
    return place
