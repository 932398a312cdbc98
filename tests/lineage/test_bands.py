"""Checkpoints packed along the inputs, far away: a band of columns decides, where a few rows would take nearly all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from loopback_hub import LoopbackHub
from modelkit import drifted, make_model, write_model
from quantkit import CASES, packed_model, view_of

from auditor.audit import Options, scan
from auditor.enrolling import sketch
from auditor.formats.serialize import serialize
from auditor.model.quantised import band_of, packed_rows
from auditor.planning import plan_scan
from auditor.sources import BytesSource
from auditor.sources.hub_settings import HubSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASE = make_model(1, layers=4, hidden=512, neurons=768)
WAYS = [("gptq", False), ("gptq", True), ("awq", False)]


def contents(seed_model: dict[str, np.ndarray], method: str, *, act_order: bool) -> dict[str, bytes]:
    tensors, config = packed_model(seed_model, method, act_order=act_order)
    return {"model.safetensors": serialize(tensors), "config.json": json.dumps(config).encode()}


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("gptq", "awq"))])
@pytest.mark.parametrize(("start", "stop"), [(0, 32), (32, 64), (64, 128), (0, 128)])
def test_a_band_is_those_columns(name: str, start: int, stop: int) -> None:
    case = CASES[name](7)
    source = BytesSource(case.contents())
    band = band_of(view_of(source).stored(0, "gate"), start, stop)
    assert band is not None
    index = np.array([0, 5, 6, 7, len(case.expected) - 1])
    wanted = packed_rows(band, index)
    parts = [part for file, ranges in wanted.reads for part in source.read(file, ranges)]
    assert np.array_equal(wanted.decode(parts), case.expected[index, start:stop])


@pytest.mark.parametrize("name", ["gptq-4", "gptq-act-order", "awq"])
def test_no_band_of_part_of_a_group_or_beyond_the_end(name: str) -> None:
    stored = view_of(BytesSource(CASES[name](7).contents())).stored(0, "gate")
    assert band_of(stored, 8, 40) is None
    assert band_of(stored, 96, 160) is None


@pytest.mark.parametrize("name", ["mlx-4", "nf4", "hqq-4"])
def test_what_keeps_rows_in_one_piece_has_no_bands(name: str) -> None:
    made = {each: make for each, make in CASES.items() if each.startswith(name.split("-", maxsplit=1)[0])}
    assert made
    for make in made.values():
        assert band_of(view_of(BytesSource(make(7).contents())).stored(0, "gate"), 0, 32) is None


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        monkeypatch.setattr(HubSettings, "current", staticmethod(server.settings))
        yield server


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    path = folder / "base.sketch"
    path.write_bytes(sketch(str(write_model(BASE, folder / "base")), name="base"))
    return path


@pytest.mark.parametrize(("method", "act_order"), WAYS)
def test_a_far_away_derivative_is_found_from_a_band(
    hub: LoopbackHub,
    reference: Path,
    method: str,
    act_order: bool,  # noqa: FBT001 (a parameter)
) -> None:
    made = contents(drifted(BASE, cosine=0.8), method, act_order=act_order)
    hub.publish("acme/packed", made)
    options = Options(against=(str(reference),), licence=False)
    report = scan("acme/packed", options)
    best = report.lineage.best
    assert best is not None
    assert (report.lineage.verdict, best.rung) == ("derived", "aligned-neurons")
    assert {layer.target for layer in best.layers} == {1, 2}
    assert all(layer.reference == layer.target for layer in best.layers)
    assert best.cosine == pytest.approx(0.8, abs=0.05)
    header = int.from_bytes(made["model.safetensors"][:8], "little")
    mlp = sum(array.size for name, array in BASE.items() if ".mlp." in name) / 2
    assert report.coverage.bytes_read - header < mlp / 4
    assert "base" in "".join(plan_scan("acme/packed", options).lines())


def test_an_independent_one_says_what_was_not_read(hub: LoopbackHub, reference: Path) -> None:
    made = contents(make_model(2, layers=4, hidden=512, neurons=768), "gptq", act_order=False)
    hub.publish("acme/packed", made)
    report = scan("acme/packed", Options(against=(str(reference),), licence=False))
    best = report.lineage.best
    assert best is not None
    assert report.lineage.verdict == "independent"
    assert len(best.layers) == 4
    assert best.reason is not None
    assert best.reason.startswith("compared in place by 128 of 512 columns")
    assert {rung.rung for rung in best.rungs} == {"aligned-neurons"}
    whole = scan("acme/packed", Options(against=(str(reference),), licence=False, first_layers="all"))
    assert whole.lineage.best is not None
    assert {rung.rung for rung in whole.lineage.best.rungs} == {"aligned-neurons", "framed-neurons"}
    assert whole.coverage.bytes_read > 2 * report.coverage.bytes_read
    assert (whole.lineage.best.detection_limit or 1) < (best.detection_limit or 0)


def test_the_same_model_on_disk_is_read_as_before(reference: Path, tmp_path: Path) -> None:
    for name, data in contents(drifted(BASE, cosine=0.8), "gptq", act_order=True).items():
        (tmp_path / name).write_bytes(data)
    report = scan(str(tmp_path), Options(against=(str(reference),), licence=False))
    best = report.lineage.best
    assert best is not None
    assert report.lineage.verdict == "derived"
    assert len(best.layers) == 4
