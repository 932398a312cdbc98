"""The fuzz targets that have no tests of their own, for as many inputs as fast tests have time for."""

from __future__ import annotations

import random

import pytest
from fuzz_targets import GGUF_SEEDS, INDEX, SHARDS, SMALL, TARGETS, adapter_seeds, fuzz_adapters

from auditor.formats import open_checkpoints
from auditor.sources import BytesSource


@pytest.mark.parametrize("name", ["gguf", "safetensors", "index", "adapters", "vocabulary"])
def test_changed_inputs_are_refused_or_read_right(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    for valid in seeds:
        target.run(valid)
    for number in range(60):
        rng = random.Random(f"{name} {number}")  # noqa: S311 (nothing secret)
        target.run(target.mutate(rng.choice(seeds), rng))


def test_what_they_start_from_is_read_whole() -> None:
    index = TARGETS["index"].seeds()[0]
    for files in ({"model.safetensors": SMALL}, {INDEX: index, **SHARDS}, *({"m.gguf": data} for data in GGUF_SEEDS)):
        found = open_checkpoints(BytesSource(files))
        assert (len(found.containers), found.unread) == (1, ())


def test_a_wrong_scaling_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.model.adapter.AdapterConfig.scaling", lambda *_: 7.0)
    with pytest.raises(AssertionError):
        fuzz_adapters(adapter_seeds()[0])
