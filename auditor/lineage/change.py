"""How the rows of a derived model differ from those they come from: no more than the rows read can carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Rows = NDArray[np.floating]

ChangeKind = Literal["none", "low-rank", "quantised", "pruned", "dense"]

_ROUNDING = 2.0**-8
"""Largest relative error of rounding to bfloat16: below it nothing need have changed."""

_PRUNED = 0.2  # share of values set to zero from which on that is the change; formats of 4 bits and more make fewer
_SUB_BLOCK = 32  # values that share a scale in every common format of few bits
_FEW_LEVELS = 16
_BYTE_LEVELS = 256
_SMALLEST_RANK_ROWS = 8
_EDGE = 1.2  # over the largest singular value that rounding alone would give


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What was done to the rows.

    Attributes
    ----------
    kind : {"none", "low-rank", "quantised", "pruned", "dense"}
        "none": equal up to rounding to 16 bits. "low-rank": the difference has far fewer dimensions than rows were
        read, as a merged low-rank adapter leaves it. "quantised": values lie on few levels. "pruned": values set to
        zero, and the rest little changed. "dense": anything else; full fine-tuning, further training, merging.
    relative : float
        Root mean square of the difference over that of the reference's rows.
    rank : int or None
        Of the difference, in the matrix with the largest; only for "low-rank".
    zeros : float
        Share of values that are zero and were not.
    levels : int or None
        Different values in a group of 32, at most; only for "quantised".
    rows : int
        Rows compared in each matrix.
    """

    kind: ChangeKind
    relative: float
    rank: int | None = None
    zeros: float = 0.0
    levels: int | None = None
    rows: int = 0


def describe_change(pairs: Sequence[tuple[Rows, Rows]]) -> Change | None:
    """Describe what became of some rows.

    Parameters
    ----------
    pairs : sequence of (ndarray of float, shape (n, d), the same)
        Rows of a matrix of the reference, and the same rows in the target.

    Returns
    -------
    Change or None
        None where no row is finite.
    """
    usable = [(a[ok], b[ok]) for a, b in pairs if (ok := np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)).any()]
    if not usable:
        return None
    ours = np.concatenate([a for a, _ in usable]).astype(np.float64)
    theirs = np.concatenate([b for _, b in usable]).astype(np.float64)
    size = float(np.sqrt((ours**2).mean()))
    relative = float(np.sqrt(((theirs - ours) ** 2).mean())) / size if size > 0.0 else 0.0
    zeros = float(((theirs == 0.0) & (ours != 0.0)).mean())
    rows = max(len(a) for a, _ in usable)
    kept = theirs != 0.0
    on_kept = float(np.sqrt(((theirs - ours)[kept] ** 2).mean())) / size if kept.any() and size > 0.0 else 1.0
    levels = max(_levels(b) for _, b in usable)
    ranks = [low_rank(a, b) for a, b in usable]
    kind: ChangeKind = "dense"
    if relative <= _ROUNDING / np.sqrt(3.0):
        kind = "none"
    elif zeros >= _PRUNED and on_kept < relative / 2.0:
        kind = "pruned"
    elif levels <= _FEW_LEVELS or all(_few_values(b) and not _few_values(a) for a, b in usable):
        kind = "quantised"
    elif all(rank is not None for rank in ranks) and any(ranks):
        kind = "low-rank"
    return Change(
        kind=kind,
        relative=relative,
        rank=max((rank for rank in ranks if rank is not None), default=None) if kind == "low-rank" else None,
        zeros=zeros,
        levels=levels if kind == "quantised" else None,
        rows=rows,
    )


def low_rank(ours: Rows, theirs: Rows) -> int | None:
    r"""Rank of the difference of two sets of rows, beyond what rounding them to 16 bits explains.

    Rounding adds independent errors, of a size known from the values, whose largest singular value is near
    :math:`\sigma(\sqrt n + \sqrt d)` (V. A. Marchenko and L. A. Pastur, 1967). What lies above it was put there.

    Parameters
    ----------
    ours, theirs : ndarray of float, shape (n, d)

    Returns
    -------
    int or None
        None where the rank is not below half the rows: the difference is as good as dense, or too few rows were read.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> w = rng.normal(size=(32, 200))
    >>> low_rank(w, w + rng.normal(size=(32, 2)) @ rng.normal(size=(2, 200)))
    2
    """
    n, d = ours.shape
    if n < _SMALLEST_RANK_ROWS:
        return None
    difference = theirs.astype(np.float64) - ours
    sigma = float(np.sqrt((theirs.astype(np.float64) ** 2).mean())) * _ROUNDING / np.sqrt(3.0)
    values = np.linalg.svd(difference, compute_uv=False)
    rank = int((values > _EDGE * sigma * (np.sqrt(n) + np.sqrt(d))).sum())
    return rank if rank < n / 2 else None


def _levels(rows: Rows) -> int:
    """Most different values in any aligned group of 32 of a row: at most 16 where 4 bits hold them."""
    groups = rows[:, : rows.shape[1] // _SUB_BLOCK * _SUB_BLOCK].reshape(-1, _SUB_BLOCK)
    if not groups.size:
        return _BYTE_LEVELS
    ordered = np.sort(groups, axis=1)
    return int((np.diff(ordered, axis=1) != 0.0).sum(axis=1).max()) + 1


def _few_values(rows: Rows) -> bool:
    """Every row has at most 256 different values, where it would have more: eight bits and a scale a row."""
    d = rows.shape[1]
    return d >= 4 * _BYTE_LEVELS and max(len(np.unique(row)) for row in rows) <= _BYTE_LEVELS
