"""The p-values of the rungs above the first mean what they say, on nulls made to be bad.

`benchmarks/lineage/nulls.py` draws the same tests 10,000 times, on trained models too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, poisson

from auditor.lineage.frames import PLAIN
from auditor.lineage.searched import UNIVERSAL, search

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "benchmarks" / "lineage"))

import draws
import nulls
import nulltests

DRAWS = 2000
SEED = 11
MADE_UP = [job for job in nulls.JOBS if "trained" not in job.null and "SmolLM2" not in job.null]


def named(job: nulls.Job) -> str:
    return ", ".join(job.cells)


def test_every_rung_and_frame_has_nulls_of_its_own() -> None:
    assert {(job.rung, job.frame) for job in nulls.JOBS} == {
        ("aligned", "plain"), ("framed", "tokens"), ("framed", "anchors"), ("framed", "moments"),
        ("searched", "plain"), ("searched", "tokens"), ("searched", "moments"), ("embeddings", "columns"),
    }  # fmt: skip
    assert len({named(job) for job in nulls.JOBS}) == len(nulls.JOBS)


@pytest.mark.slow
@pytest.mark.parametrize("job", MADE_UP, ids=named)
def test_p_values_in_use_are_never_too_small(job: nulls.Job) -> None:
    for drawn in job.make(DRAWS, SEED):
        if not drawn.used:
            continue
        for alpha in (0.5, 0.1, 0.05, 0.01, 1e-3):
            allowed = binom.ppf(1 - 1e-6, drawn.log10_p.size, alpha)
            assert (drawn.log10_p <= np.log10(alpha) + 1e-9).sum() <= allowed, (drawn.test, alpha)


@pytest.mark.parametrize("rung", ["aligned", "framed"])
def test_fixed_points_are_those_of_a_random_permutation(rung: str) -> None:
    # Both ways: the counts are neither too large nor too small, whatever rows have in common.
    kinds = {"aligned": "large common mean", "framed": "same embeddings"}
    (job,) = (job for job in MADE_UP if (job.rung, job.null) == (rung, kinds[rung]))
    fixed = job.make(300, SEED)[0]  # 1,200 pairs of layers
    assert fixed.mean == pytest.approx(1.0, abs=0.15)
    assert nulltests.distance(fixed, np.random.default_rng(0))[0] < 0.07
    share = (fixed.log10_p < np.log10(0.5)).mean()  # two or more
    assert share == pytest.approx(poisson.sf(1, 1), abs=0.06)


@pytest.mark.parametrize("kind", ["isotropic", "hubs"])
def test_neurons_that_agree_by_chance_are_binomial(kind: str) -> None:
    (job,) = (job for job in MADE_UP if (job.rung, job.frame, job.null) == ("searched", "plain", kind))
    raw = job.make(600, SEED)[0]
    assert not raw.used
    assert raw.mean is not None
    assert raw.mean == pytest.approx(raw.expected, abs=0.06)
    assert nulltests.distance(raw, np.random.default_rng(0))[0] < 0.09


def test_what_chance_alone_does_not_explain_stays_below_the_allowance() -> None:
    # Neurons whose gate tells of their up agree more often than 1 in m; the nominal p-value allows for that.
    (job,) = (job for job in MADE_UP if job.null == "gate and up coupled")
    raw, nominal, _ = job.make(1000, SEED)
    assert raw.mean is not None
    assert raw.expected is not None
    assert 1.5 * raw.expected < raw.mean < UNIVERSAL * nulltests.QUERIES
    assert (nominal.log10_p <= -3).sum() <= 1


def test_a_copy_is_no_null() -> None:
    # The same machinery finds what is there, so a small p-value was possible all along.
    pair = next(draws.drawn("hubs", layers=(2, 2), neurons=64, width=48, seed=SEED))
    copy = draws.Pair(reference=pair.reference, target=pair.reference)
    found = nulltests.in_order(iter([(copy, PLAIN)] * 2), 8, signed_up=True, shuffle=None)
    assert (found[2].log10_p < -20).all()
    gate, up = pair.reference
    assert (search(gate, up, gate[0], up[0]).log10_p[0]) < -20
