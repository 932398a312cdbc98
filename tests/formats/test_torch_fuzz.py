"""A little of the fuzzing of torch checkpoints; more of it by `tests/fuzz_targets.py`."""

from __future__ import annotations

import random

from fuzz_targets import TARGETS, mutated


def test_changed_checkpoints_are_refused_or_read_right() -> None:
    target = TARGETS["torch"]
    seeds = target.seeds()
    for valid in seeds:
        target.run(valid)
    rng = random.Random(7)  # noqa: S311 (nothing secret)
    for _ in range(300):
        target.run(mutated(rng.choice(seeds), rng))
