"""Whether two models share token embeddings, which can be transplanted or frozen without anything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auditor.lineage.stats import unit_rows
from auditor.lineage.tails import log10_swap_tail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedEmbeddings:
    """How far the embeddings of the same tokens agree.

    Attributes
    ----------
    cosine : float
        Mean cosine of the rows of equal tokens.
    log10_p : float
        Exact bound, before correction.
    tokens : int
        Compared.
    """

    cosine: float
    log10_p: float
    tokens: int


def shared_embeddings(reference: Rows, target: Rows) -> SharedEmbeddings | None:
    """Test whether the columns of two embedding matrices belong together.

    Tokens mean the same in both models, so their rows are no more alike than words are; but which dimension of the
    hidden space holds what is arbitrary in each, so under the null the reference's columns are exchangeable. Pairs of
    neighbouring columns are exchanged, see `log10_swap_tail`.

    Parameters
    ----------
    reference, target : ndarray of float, shape (k, d)
        Embeddings of the same tokens. Rows that are zero or not finite in one are left out.

    Returns
    -------
    SharedEmbeddings or None
        None where fewer than two rows can be used.
    """
    x, x_ok = unit_rows(reference)
    y, y_ok = unit_rows(target)
    both = x_ok & y_ok
    x, y = x[both].astype(np.float64), y[both].astype(np.float64)
    if len(x) < 2:
        return None
    cosine = float((x * y).sum(axis=1).mean())
    a, b = (_unit_columns(side - side.mean(axis=0)) for side in (x, y))
    even = a.shape[1] // 2 * 2
    differences = ((a[:, 0:even:2] - a[:, 1:even:2]) * (b[:, 0:even:2] - b[:, 1:even:2])).sum(axis=0)
    return SharedEmbeddings(cosine=cosine, log10_p=log10_swap_tail(differences), tokens=len(x))


def _unit_columns(values: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(values, axis=0)
    return np.asarray(values / np.where(length > 0.0, length, 1.0))
