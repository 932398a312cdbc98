"""The fuzz target of quantised matrices, for as many inputs as fast tests have time for."""

from __future__ import annotations

import random

import pytest
from fuzz_targets import TARGETS, fuzz_quant, mutated_quant


def test_valid_inputs_pass() -> None:
    for data in TARGETS["quant"].seeds():
        fuzz_quant(data)


@pytest.mark.parametrize("seed", range(8))
def test_broken_inputs_are_refused_or_read_right(seed: int) -> None:
    seeds = TARGETS["quant"].seeds()[seed::8]
    for number in range(25):
        rng = random.Random(f"{seed} {number}")  # noqa: S311 (nothing secret)
        fuzz_quant(mutated_quant(rng.choice(seeds), rng))
