"""Which references a merged model was mixed from, and in what shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from auditor.lineage.reader import ModelReader
    from auditor.lineage.sketch import Sketch

    Rows = NDArray[np.floating]

_FEWEST_LAYERS = 3
_COLLINEAR = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A reference's part in a merge.

    Attributes
    ----------
    reference : str
    weight : float
        Regression coefficient, mean over layers.
    low, high : float
        95% interval for the mean, from how the layers differ (normal approximation).
    """

    reference: str
    weight: float
    low: float
    high: float


def explain_merge(reader: ModelReader, references: Sequence[Sketch]) -> tuple[Share, ...]:
    """Regress the sampled rows of a model on those of the references that it was found to descend from.

    Only references with the same neurons sampled, and layers that all have, can be used together.

    Raises
    ------
    FileError
        When rows of the target cannot be read.
    """
    if len(references) < 2:
        return ()
    first = references[0].sample
    alike = [r for r in references if r.sample.neurons == first.neurons and np.array_equal(r.sample.index, first.index)]
    alike = [r for r in alike if r.sample.hidden_size == first.hidden_size == reader.shape[1]]
    blocks = tuple(block for block in reader.blocks_with(int(first.index[-1])) if block.expert is None)
    blocks = tuple(block for block in blocks if all(block.layer in r.sample.layers for r in alike))
    if len(alike) < 2 or not blocks:
        return ()
    target = reader.sample(first.index, blocks)
    rows = {}
    for reference in alike:
        place = [reference.sample.layers.index(layer) for layer in target.layers]
        rows[reference.name] = np.concatenate([reference.sample.gate[place], reference.sample.up[place]], axis=1)
    return merge_weights(np.concatenate([target.gate, target.up], axis=1), rows)


def merge_weights(target: Rows, references: Mapping[str, Rows]) -> tuple[Share, ...]:
    """Regress a target's rows on those of several references, layer by layer.

    Linear and task-arithmetic merges have constant weights; where layers were mixed differently, or values dropped,
    the interval says so. References that are nearly the same model cannot be told apart, and share a wide interval.

    Parameters
    ----------
    target : ndarray of float, shape (L, n, d)
    references : mapping of str to ndarray of float, shape (L, n, d)
        The same rows of the same layers.

    Returns
    -------
    tuple of Share
        Largest first; empty with fewer than two references or three layers.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(2, 4, 8, 50))
    >>> [(share.reference, round(share.weight, 6)) for share in merge_weights(0.7 * a + 0.3 * b, {"a": a, "b": b})]
    [('a', 0.7), ('b', 0.3)]
    """
    names = list(references)
    if len(names) < 2 or target.shape[0] < _FEWEST_LAYERS:
        return ()
    weights = []
    for layer in range(target.shape[0]):
        x = np.stack([np.asarray(references[name][layer], dtype=np.float64).ravel() for name in names], axis=1)
        y = np.asarray(target[layer], dtype=np.float64).ravel()
        ok = np.isfinite(x).all(axis=1) & np.isfinite(y)
        gram = x[ok].T @ x[ok]
        if not ok.any() or np.linalg.cond(gram) > 1.0 / _COLLINEAR:
            return ()
        weights.append(np.linalg.solve(gram, x[ok].T @ y[ok]))
    values = np.array(weights)
    mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))
    shares = [
        Share(reference=name, weight=float(m), low=float(m - 1.96 * e), high=float(m + 1.96 * e))
        for name, m, e in zip(names, mean, error, strict=True)
    ]
    return tuple(sorted(shares, key=lambda share: -share.weight))
