"""The rotation between two hidden spaces, from invariants alone."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.lineage.alignment import Invariants, align, deviation, linear_solution, polar

K = 24


def drawn(seed: int, *, symmetric: int = 4, general: int = 4, vectors: int = 2) -> Invariants:
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((symmetric, K, K)).astype(np.float32)
    return Invariants(
        symmetric=half + half.transpose(0, 2, 1),
        general=rng.standard_normal((general, K, K)).astype(np.float32),
        vectors=rng.standard_normal((vectors, K)).astype(np.float32),
    ).whitened(np.ones(K, np.float32))


def turned(one: Invariants, turn: np.ndarray, *, noise: float = 0.0, seed: int = 5) -> Invariants:
    """The invariants of the same model after a rotation, and with noise of `noise` times their size."""
    rng = np.random.default_rng(seed)

    def noisy(values: np.ndarray) -> np.ndarray:
        size = values.std() if values.size else 0.0
        return (values + noise * size * rng.standard_normal(values.shape)).astype(np.float32)

    symmetric = noisy(turn.T @ one.symmetric @ turn)
    return Invariants(
        symmetric=(symmetric + symmetric.transpose(0, 2, 1)) / 2,
        general=noisy(turn.T @ one.general @ turn),
        vectors=noisy(one.vectors @ turn),
    ).whitened(np.ones(K, np.float32))


def rotation(seed: int = 1) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((K, K)))[0].astype(np.float32)


@pytest.mark.parametrize("kinds", [(4, 4, 2), (6, 0, 2), (0, 3, 1)])
def test_a_rotation_is_found_from_every_kind(kinds: tuple[int, int, int]) -> None:
    one = drawn(0, symmetric=kinds[0], general=kinds[1], vectors=kinds[2])
    found = align(one, turned(one, rotation()))
    np.testing.assert_allclose(found.rotation, rotation(), atol=2e-2)
    assert found.cosine > 0.999


def test_noise_as_large_as_the_signal_leaves_most_of_it() -> None:
    one = drawn(0)
    found = align(one, turned(one, rotation(), noise=1.0))
    assert float((found.rotation * rotation()).sum()) / K > 0.9


def test_a_pair_that_does_not_belong_loses_its_say() -> None:
    one, other = drawn(0, general=3), drawn(9, general=3)
    theirs = turned(one, rotation())
    mixed = Invariants(
        symmetric=theirs.symmetric,
        general=np.concatenate([theirs.general[:1], other.general[1:]]),
        vectors=theirs.vectors,
    )
    found = align(one, mixed)
    assert float((found.rotation * rotation()).sum()) / K > 0.99
    assert found.general[0] > 0.9
    assert np.abs(found.general[1:]).max() < 0.3


def test_unrelated_invariants_fit_nothing_held_out() -> None:
    one, other, rest, other_rest = (drawn(seed) for seed in (0, 9, 10, 11))
    r = align(one, other).rotation
    assert abs(float((rest.general * (r @ other_rest.general @ r.T)).sum(axis=(1, 2)).mean())) < 0.1


def test_the_rotation_is_orthogonal() -> None:
    r = align(drawn(0), drawn(9)).rotation
    np.testing.assert_allclose(r @ r.T, np.eye(K), atol=1e-4)


def test_whitening_takes_away_what_any_two_models_share() -> None:
    """Two spectra alike make raw second moments alike whatever else they hold; whitened, they are not."""
    strength = np.exp(-np.arange(K) / 4.0).astype(np.float32)
    root = deviation(strength)
    raw = [
        Invariants(
            symmetric=np.diag(strength)[None]
            + 0.1 * root[:, None] * root[None, :] * drawn(seed, symmetric=1).symmetric,
            general=np.zeros((0, K, K), np.float32),
            vectors=np.zeros((0, K), np.float32),
        )
        for seed in (0, 9)
    ]
    plain, white = ([one.whitened(s).symmetric[0] for one in raw] for s in (np.ones(K, np.float32), strength))
    assert float((plain[0] * plain[1]).sum()) > 0.9
    assert abs(float((white[0] * white[1]).sum())) < 0.5


def test_nothing_at_all_and_not_a_number_are_borne() -> None:
    one = drawn(0)
    spoilt = Invariants(symmetric=one.symmetric * np.nan, general=one.general * 0.0, vectors=one.vectors * np.inf)
    spoilt = spoilt.whitened(np.zeros(K, np.float32))
    found = align(one, spoilt)
    assert np.isfinite(found.rotation).all()
    assert found.cosine == 0.0
    assert not linear_solution(one, spoilt).any()


def test_polar_is_the_nearest_rotation() -> None:
    turn = rotation()
    np.testing.assert_allclose(polar(3.0 * turn), turn, atol=1e-5)
