"""The p-values mean what they say: under the null they are uniform or larger, whatever the target looks like."""

from __future__ import annotations

import numpy as np
import pytest
from modelkit import make_sample
from scipy.stats import binom, poisson

from auditor.lineage.aligned import aligned_neurons
from auditor.lineage.references import load_reference
from auditor.lineage.sample import NeuronSample
from auditor.lineage.stats import fixed_points, log10_fixed_point_tail, unit_rows

DRAWS = 2000


def assert_super_uniform(log10_p: np.ndarray) -> None:
    """P(p <= alpha) <= alpha at every alpha, up to a chance of 1e-6 each."""
    for alpha in (0.5, 0.3, 0.1, 0.05, 0.01, 1e-3, 1e-4):
        allowed = binom.ppf(1 - 1e-6, log10_p.size, alpha)
        assert (log10_p <= np.log10(alpha)).sum() <= allowed, alpha


def assert_poisson(counts: np.ndarray) -> None:
    """Fixed points of a uniform permutation are nearly Poisson(1), both ways: the test has its full power."""
    for k in range(4):
        low, high = binom.ppf([1e-6, 1 - 1e-6], counts.size, poisson.pmf(k, 1))
        assert low <= (counts == k).sum() <= high, k


def null_similarities(kind: str, *, hidden: int, neurons: int = 32) -> np.ndarray:
    """Similarities of independent models: new rows for every draw, at the real width."""
    rng = np.random.default_rng(7)
    common = rng.standard_normal(hidden)
    spectrum = np.exp(rng.normal(0, 2, hidden)) if kind == "anisotropic" else np.ones(hidden)
    out = np.empty((DRAWS, neurons, neurons))
    for draw in range(DRAWS):
        total = 0.0
        for _ in ("gate", "up"):
            a, b = rng.standard_normal((2, neurons, hidden), dtype=np.float32) * spectrum
            if kind == "common mean":
                a, b = a + 3 * common, b + 3 * common
            if kind == "hub":
                a[3] = a.mean(0)
                b[3] = b.mean(0)
            a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
            total = total + a @ b.T
        out[draw] = total
    return out


@pytest.mark.parametrize(
    "kind", ["isotropic", *(pytest.param(k, marks=pytest.mark.slow) for k in ("anisotropic", "common mean", "hub"))]
)
def test_one_layer_of_a_real_width(kind: str) -> None:
    counts = fixed_points(null_similarities(kind, hidden=576), np.ones((DRAWS, 32), bool))
    assert_super_uniform(np.array(log10_fixed_point_tail(32))[counts])
    assert_poisson(counts)


@pytest.mark.slow
def test_one_layer_as_wide_as_llama_2() -> None:
    counts = fixed_points(null_similarities("isotropic", hidden=4096), np.ones((DRAWS, 32), bool))
    assert_super_uniform(np.array(log10_fixed_point_tail(32))[counts])
    assert_poisson(counts)


def permuted(sample: NeuronSample, rng: np.random.Generator) -> NeuronSample:
    """Draw from the null given everything else: the reference's neurons in another order, layer by layer."""
    order = np.argsort(rng.random(sample.gate.shape[:2]), axis=1)[..., None]
    return NeuronSample(
        layers=sample.layers,
        neurons=sample.neurons,
        index=sample.index,
        gate=np.take_along_axis(sample.gate, order, 1),
        up=np.take_along_axis(sample.up, order, 1),
    )


@pytest.mark.slow
@pytest.mark.parametrize("target", ["independent", "layers all alike", "the reference itself"])
def test_whole_models(target: str) -> None:
    # Given everything else, only the order of the reference's neurons is random: the worst targets are allowed,
    # one whose layers are copies of one another, even the reference's own neurons.
    rng = np.random.default_rng(3)
    reference = make_sample(1, layers=4, neurons=12, hidden=48)
    other = reference if target == "the reference itself" else make_sample(2, layers=4, neurons=12, hidden=48)
    if target == "layers all alike":
        other = NeuronSample(
            layers=other.layers,
            neurons=other.neurons,
            index=other.index,
            gate=np.repeat(other.gate[:1], 4, 0),
            up=np.repeat(other.up[:1], 4, 0),
        )
    log10_p = np.array([aligned_neurons(permuted(reference, rng), other).log10_p for _ in range(DRAWS)])
    assert_super_uniform(log10_p)
    assert (log10_p > -0.3).mean() < 1.0  # it is a p-value, not a constant


@pytest.mark.parametrize(("reference", "target"), [(5, 5), (5, 6), (0, 29)])
def test_rows_of_a_real_model(reference: int, target: int) -> None:
    # Real rows, with their hubs and their common directions: SmolLM2's own, as they ship with the project.
    sample = load_reference("smollm2-135m-instruct").sample
    rng = np.random.default_rng(11)
    similarity = np.zeros((32, 32))
    for rows in (sample.gate, sample.up):
        units, _ = unit_rows(rows)
        similarity += units[reference] @ units[target].T
    draws = similarity[np.argsort(rng.random((DRAWS, 32)), axis=1)]
    counts = fixed_points(draws, np.ones((DRAWS, 32), bool))
    assert_super_uniform(np.array(log10_fixed_point_tail(32))[counts])
    assert_poisson(counts)
