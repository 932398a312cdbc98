"""Frames: coordinates in which a rewritten hidden basis cancels.

A function-preserving rewrite of the hidden dimension (rotation, permutation, signs) is an orthogonal map Q once the
gains of norms are folded into the matrices behind them. What the reference and the target share in that space fixes
Q well enough to compare neurons that are *not* part of the frame. A frame is a pair of maps into the same k
coordinates; under the null it is any pair of maps at all, so a test on neurons outside it stays what it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from auditor.lineage.stats import unit_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Units = NDArray[np.float32]

FrameName = Literal["plain", "tokens", "anchors", "moments"]

_SMALLEST = 1e-5  # singular values below this share of the largest are rounding
_STEPS = 80
_ENOUGH = 1e-5  # relative gain of one step below which the alignment of moments has settled


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Two maps into the same coordinates.

    Attributes
    ----------
    name : {"plain", "tokens", "anchors", "moments"}
        "plain" changes nothing. "tokens": embeddings of the same tokens. "anchors": gate rows of neurons of the same
        place. "moments": how all neurons of a layer are spread, whatever their order.
    reference : ndarray of float32, shape (d, k), or None
        Orthonormal columns; None for the identity.
    target : ndarray of float32, shape (d', k), or None
    """

    name: FrameName
    reference: Units | None = None
    target: Units | None = None

    def of_reference(self, rows: Floats) -> Units:
        """Return unit coordinates of rows of the reference, (..., d) to (..., k); of unusable rows all zero."""
        return _coordinates(rows, self.reference)

    def of_target(self, rows: Floats) -> Units:
        """Return unit coordinates of rows of the target, (..., d') to (..., k)."""
        return _coordinates(rows, self.target)

    def mirrored(self) -> Frame:
        """Return the frame with one side's signs changed, for frames that are only known up to that."""
        return Frame(name=self.name, reference=None if self.reference is None else -self.reference, target=self.target)


PLAIN = Frame(name="plain")


def plain_frame(width: int, step: int) -> Frame:
    """Return a frame of every `step`-th coordinate as it is, which costs less than all and hides nothing for good."""
    some = np.eye(width, dtype=np.float32)[:, ::step]
    return Frame(name="plain", reference=some, target=some)


def matched_frame(name: FrameName, reference: Floats, target: Floats) -> Frame | None:
    r"""Fit a frame to vectors of the two models that belong together.

    With unit rows X and Y, the best orthogonal map between them is the polar factor of :math:`X^T Y` (P. H.
    Schönemann, *Psychometrika* 31, 1966). Where there are fewer vectors than dimensions it is found within their
    spans, at the cost of k x k problems; the widths of the two models may differ.

    Parameters
    ----------
    name
        Of the frame.
    reference : ndarray of float, shape (k, d)
    target : ndarray of float, shape (k, d')
        Row i belongs to row i of `reference`. Pairs of which one is unusable are left out.

    Returns
    -------
    Frame or None
        None where fewer than two pairs can be used.
    """
    x, x_ok = unit_rows(reference)
    y, y_ok = unit_rows(target)
    x, y = x[x_ok & y_ok], y[x_ok & y_ok]
    if len(x) < 2:
        return None
    if len(x) >= max(x.shape[1], y.shape[1]):
        u, s, vt = np.linalg.svd(x.T @ y, full_matrices=False)
        keep = s > _SMALLEST * s[0]
        return Frame(name=name, reference=np.ascontiguousarray(u[:, keep]), target=np.ascontiguousarray(vt[keep].T))
    (span_x, within_x), (span_y, within_y) = _span(x), _span(y)
    u, s, vt = np.linalg.svd(within_x.T @ within_y, full_matrices=False)
    keep = s > _SMALLEST * s[0]
    return Frame(name=name, reference=span_x @ u[:, keep], target=span_y @ vt[keep].T)


def moment_frame(
    reference_basis: Units, reference_moments: Floats, target_basis: Units, target_moments: Floats
) -> Frame:
    r"""Fit a frame to second moments: it needs neither tokens, nor the order of neurons, nor their scale.

    A layer's neurons, as unit vectors, have a second moment C = mean of w w^T. A rewrite of the hidden basis takes
    it to :math:`Q^T C Q`; permuted, sign-flipped or rescaled neurons do not change it. Many such pairs (layers by
    gate, up, down) fix Q: the map that maximises :math:`\sum_a \mathrm{tr}(A_a R B_a R^T)`, found by the fixed-point
    iteration :math:`R \leftarrow \mathrm{polar}(\sum_a A_a R B_a)`, which rises at every step where all A and B are
    positive semidefinite, for the aim is convex in R then (H. A. L. Kiers, *Psychometrika* 55, 1990). Multiples of the
    identity change the aim by a constant; without them it settles sooner, and stops where it no longer rises. The
    start: both bases are eigenvectors of the pooled moments, so only signs are open, and the sign of
    :math:`\sum_a (A_a)_{ij} (B_a)_{ij}` says whether i and j have the same; its leading eigenvector gives all.

    Parameters
    ----------
    reference_basis, target_basis : ndarray of float32, shapes (d, k), (d', k)
        Leading eigenvectors of the pooled moments, strongest first.
    reference_moments, target_moments : ndarray of float, shape (a, k, k)
        Moments in those bases; number i of one belongs to number i of the other.

    Returns
    -------
    Frame
        Up to one sign of all coordinates, see `Frame.mirrored`.
    """
    a, b = _standard(reference_moments), _standard(target_moments)
    rotation = np.diag(_signs(a, b))
    before = -np.inf
    for _ in range(_STEPS):
        pulled = np.matmul(np.matmul(a, rotation), b).sum(axis=0)
        now = float((rotation * pulled).sum())
        if now - before <= _ENOUGH * abs(now):
            break
        before = now
        u, _, vt = np.linalg.svd(pulled)
        rotation = u @ vt
    return Frame(
        name="moments", reference=reference_basis @ rotation.astype(np.float32), target=np.asarray(target_basis)
    )


def _standard(moments: Floats) -> NDArray[np.float64]:
    """Take the multiple of the identity away, which says nothing, and scale all moments alike."""
    values = np.asarray(moments, dtype=np.float64)
    k = values.shape[1]
    values = values - np.trace(values, axis1=1, axis2=2)[:, None, None] / k * np.eye(k)
    size = np.sqrt((values**2).sum(axis=(1, 2), keepdims=True))
    return np.asarray(values / np.where(size > 0.0, size, 1.0))


def _signs(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signs of the second basis relative to the first, as far as the moments tell: shape (k,)."""
    agreement = (a * b).sum(axis=0)
    np.fill_diagonal(agreement, 0.0)
    size = np.sqrt(np.abs(agreement).sum(axis=1))
    size = np.where(size > 0.0, size, 1.0)
    leading = np.linalg.eigh(agreement / np.outer(size, size))[1][:, -1]
    return np.where(leading < 0.0, -1.0, 1.0)


def _span(rows: Units) -> tuple[Units, Units]:
    """Return an orthonormal basis (d, r) of the span of rows, and the rows in it (k, r)."""
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    keep = values > _SMALLEST * max(float(values[-1]), 0.0)
    scale = np.sqrt(values[keep])
    left = vectors[:, keep]
    basis = (rows.T @ (left / scale).astype(np.float32)).astype(np.float32)
    return basis, (left * scale).astype(np.float32)


def _coordinates(rows: Floats, onto: Units | None) -> Units:
    units, ok = unit_rows(rows)
    if onto is None:
        return units
    inside, kept = unit_rows(units @ onto)
    inside[~(ok & kept)] = 0.0
    return inside
