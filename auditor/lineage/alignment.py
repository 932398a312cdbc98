r"""Find the rotation between two hidden spaces from what no rewrite of a model changes but by that rotation.

Invariants of one model are matrices A and vectors x; where the other has the rows of everything multiplied by an
orthogonal Q, its own are :math:`B = Q^T A Q` and :math:`y = Q^T x`. Any number of pairs (A, B) and (x, y) gives the
map from y to x, R = Q:

1. Where they are noisy, the least of :math:`\sum_a |A_a R - R B_a|^2 + \sum_b |x_b - R y_b|^2` over *all* matrices R is
   one linear problem, so it has no local optimum to be caught in. It is solved by conjugate gradients (M. Hestenes,
   E. Stiefel, *J. Res. NBS* 49, 1952); its polar factor is the start.
2. From there :math:`\sum_a \mathrm{tr}(A_a R B_a^T R^T) + \sum_b x_b^T R y_b` rises over orthogonal R by the fixed
   point :math:`R \leftarrow \mathrm{polar}` of its gradient (H. A. L. Kiers, *Psychometrika* 55, 1990), each pair
   weighed by how well it agrees: one that does not belong (a replaced vocabulary, another layer) loses its say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Units = NDArray[np.float32]
    Floats = NDArray[np.float64]

_ROUNDS = 3  # of weights
_CLIMBS = 10  # steps in each
_SETTLED = 1e-4  # relative gain of one step below which it has settled
_GRADIENTS = 20  # steps of conjugate gradients
_RIDGE = 0.01  # per pair, so that directions that no pair speaks of stay small
_SMALLEST = 1e-3  # strengths below this share of the largest are treated as this, so that noise is not blown up


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariants:
    """Matrices and vectors of one model, in k orthonormal directions of its hidden space.

    Number i of one model belongs to number i of the other.

    Attributes
    ----------
    symmetric : ndarray of float32, shape (s, k, k)
    general : ndarray of float32, shape (g, k, k)
        Matrices that are not symmetric: they say more.
    vectors : ndarray of float32, shape (v, k)
    """

    symmetric: Units
    general: Units
    vectors: Units

    def whitened(self, strength: Units) -> Invariants:
        """Scale the directions to the same strength, and every matrix and vector to length one.

        Without it the strongest directions decide, and those of any two models fit each other as well as a copy's.
        Multiples of the identity say nothing, and are taken away.

        Parameters
        ----------
        strength : ndarray of float, shape (k,)
            Second moments along the directions, of everything together.
        """
        scale = 1.0 / deviation(strength)
        both = scale[:, None] * scale[None, :]
        symmetric = self.symmetric * both
        k = symmetric.shape[1]
        symmetric = symmetric - np.trace(symmetric, axis1=1, axis2=2)[:, None, None] / k * np.eye(k, dtype=np.float32)
        return Invariants(
            symmetric=_of_length_one(symmetric),
            general=_of_length_one(self.general * both),
            vectors=_of_length_one(self.vectors * scale),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """A rotation between two models.

    Attributes
    ----------
    rotation : ndarray of float32, shape (k, k)
        Orthogonal; takes directions of the second to those of the first.
    symmetric, general, vectors : ndarray of float32
        Cosine of each pair after it.
    """

    rotation: Units
    symmetric: Units
    general: Units
    vectors: Units

    @property
    def cosine(self) -> float:
        """Mean over all pairs of matrices that both models have."""
        each = np.concatenate([self.symmetric, self.general])
        return float(each[each != 0.0].mean()) if each.any() else 0.0


def align(ours: Invariants, theirs: Invariants, *, start: Units | None = None) -> Alignment:
    """Find the rotation that the invariants of two models have in common, see above.

    Parameters
    ----------
    ours, theirs : Invariants
        Whitened, in the same number of directions.
    start : ndarray of float32, shape (k, k), optional
        An orthogonal map to climb from, instead of the linear solution.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, x = rng.standard_normal((3, 8, 8)), rng.standard_normal((1, 8))
    >>> turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    >>> none, one = np.zeros((0, 8, 8)), np.ones(8)
    >>> ours = Invariants(symmetric=none, general=a, vectors=x).whitened(one)
    >>> theirs = Invariants(symmetric=none, general=turn.T @ a @ turn, vectors=x @ turn).whitened(one)
    >>> bool(np.allclose(align(ours, theirs).rotation, turn, atol=1e-2))
    True
    """
    rotation = polar(linear_solution(ours, theirs)) if start is None else start
    aligned = _measured(rotation, ours, theirs)
    for _ in range(_ROUNDS):
        aligned = _measured(_climbed(aligned, ours, theirs), ours, theirs)
    return aligned


def linear_solution(ours: Invariants, theirs: Invariants) -> Units:
    """Solve the linear problem above by conjugate gradients, shape (k, k); it need not be orthogonal."""
    (s, g, x), (t, h, y) = _parts(ours), _parts(theirs)
    gt, ht = g.transpose(0, 2, 1), h.transpose(0, 2, 1)
    left = (s @ s).sum(axis=0) + 0.5 * (gt @ g + g @ gt).sum(axis=0)
    right = (t @ t).sum(axis=0) + 0.5 * (ht @ h + h @ ht).sum(axis=0) + y.T @ y
    right[np.diag_indices_from(right)] += _RIDGE * (1 + len(s) + len(g)) / 10

    def applied(r: Units) -> Units:
        return np.asarray(left @ r + r @ right - 2.0 * _pulled(r, s, t) - 2.0 * _pulled_both(r, g, h))

    residual = x.T @ y
    solution = np.zeros_like(residual)
    step, size = residual, float((residual**2).sum())
    first = size
    for _ in range(_GRADIENTS):
        if size <= 1e-10 * first:
            break
        image = applied(step)
        along = size / float((step * image).sum())
        solution = solution + np.float32(along) * step
        residual = residual - np.float32(along) * image
        before, size = size, float((residual**2).sum())
        step = residual + np.float32(size / before) * step
    return solution


def polar(matrix: Units) -> Units:
    """Nearest orthogonal matrix, shape (k, k)."""
    u, _, vt = np.linalg.svd(matrix)
    return np.asarray(u @ vt)


def deviation(strength: Units) -> Units:
    """Return the standard deviation along each direction, relative to the first: shape (k,), with a floor."""
    relative = strength / (strength[0] if strength[0] > 0.0 else 1.0)
    return np.sqrt(np.maximum(relative, _SMALLEST)).astype(np.float32)


def _climbed(aligned: Alignment, ours: Invariants, theirs: Invariants) -> Units:
    (s, g, x), (t, h, y) = _parts(ours), _parts(theirs)
    s, g = (
        m * np.maximum(w, np.float32(0.0))[:, None, None] for m, w in ((s, aligned.symmetric), (g, aligned.general))
    )
    given = np.float32(0.5) * (x * np.maximum(aligned.vectors, np.float32(0.0))[:, None]).T @ y
    rotation, before = aligned.rotation, -np.inf
    for _ in range(_CLIMBS):
        pulled = _pulled(rotation, s, t) + _pulled_both(rotation, g, h)
        now = float((rotation * (pulled + 2.0 * given)).sum())
        if now - before <= _SETTLED * abs(now):
            break
        before = now
        rotation = polar(np.asarray(pulled + given, dtype=np.float32))
    return rotation


def _measured(rotation: Units, ours: Invariants, theirs: Invariants) -> Alignment:
    (s, g, x), (t, h, y) = _parts(ours), _parts(theirs)
    return Alignment(
        rotation=rotation,
        symmetric=np.array([(a * (rotation @ b @ rotation.T)).sum() for a, b in zip(s, t, strict=True)], np.float32),
        general=np.array([(a * (rotation @ b @ rotation.T)).sum() for a, b in zip(g, h, strict=True)], np.float32),
        vectors=((x @ rotation) * y).sum(axis=1),
    )


def _pulled(rotation: Units, a: Units, b: Units) -> Units:
    """Sum of A R B over pairs of symmetric matrices, shape (k, k)."""
    total = np.zeros_like(rotation)
    for one, other in zip(a, b, strict=True):
        total += one @ (rotation @ other)
    return total


def _pulled_both(rotation: Units, a: Units, b: Units) -> Units:
    """Mean of A R B^T and A^T R B, summed over pairs, shape (k, k)."""
    total = np.zeros_like(rotation)
    for one, other in zip(a, b, strict=True):
        total += one @ (rotation @ other.T)
        total += one.T @ (rotation @ other)
    return np.float32(0.5) * total


def _parts(one: Invariants) -> tuple[Units, Units, Units]:
    return one.symmetric, one.general, one.vectors


def _of_length_one(values: Units) -> Units:
    """Scale each item of the first axis to length one; what is not finite becomes zero."""
    flat = np.asarray(values, dtype=np.float32).reshape(len(values), int(np.prod(values.shape[1:])))
    flat = np.where(np.isfinite(flat).all(axis=1, keepdims=True), flat, np.float32(0.0))
    size = np.sqrt((flat.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return np.asarray(flat / np.where(size > 0.0, size, 1.0), dtype=np.float32).reshape(values.shape)
