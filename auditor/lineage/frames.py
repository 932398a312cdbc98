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


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Two maps into the same coordinates.

    Attributes
    ----------
    name : {"plain", "tokens", "anchors", "moments"}
        "plain" changes nothing. "tokens": embeddings of the same tokens. "anchors": gate rows of neurons of the same
        place. "moments": what no rewrite changes but by a rotation, see `moments`.
    reference : ndarray of float32, shape (d, k), or None
        None for the identity. Columns are orthonormal, but of "moments": there they are scaled so that neurons
        spread alike in all directions.
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
