"""The pipeline on small models: verdicts, relations, coverage and exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelkit import drifted, make_model, safetensors_bytes, write_model

from auditor.audit import Options, scan
from auditor.enrolling import sketch
from auditor.errors import TargetError
from auditor.limits import Limits

if TYPE_CHECKING:
    from pathlib import Path

    from auditor.report import Report

BASE = make_model(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("base") / "base.sketch"
    path.write_bytes(sketch(str(write_model(BASE, path.parent / "model")), name="base"))
    return str(path)


def audit(target: Path, base: str, **options: object) -> Report:
    return scan(str(target), Options(against=(base,), **options))  # type: ignore[arg-type]


def test_a_copy(tmp_path: Path, base: str) -> None:
    report = audit(write_model(BASE, tmp_path / "m"), base)
    assert report.lineage.verdict == "derived"
    assert report.exit_code == 0
    best = report.lineage.best
    assert best is not None
    assert best.relation is not None
    assert best.relation.kind == "copy"
    assert best.cosine == pytest.approx(1.0, abs=1e-6)
    assert [layer.reference for layer in best.layers] == [0, 1, 2, 3]


def test_a_fine_tune_is_no_copy(tmp_path: Path, base: str) -> None:
    report = audit(write_model(drifted(BASE, cosine=0.9), tmp_path / "m"), base)
    best = report.lineage.best
    assert report.lineage.verdict == "derived"
    assert best is not None
    assert best.relation is not None
    assert best.relation.kind == "modified"
    assert best.cosine == pytest.approx(0.9, abs=0.02)


def test_an_unrelated_model(tmp_path: Path, base: str) -> None:
    report = audit(write_model(make_model(2), tmp_path / "m"), base)
    assert report.lineage.verdict == "independent"
    assert report.exit_code == 0
    best = report.lineage.best
    assert best is not None
    assert best.detection_limit is not None
    assert 0 < best.detection_limit < 0.5
    assert best.relation is None


def test_a_weak_trace_is_no_verdict(tmp_path: Path, base: str) -> None:
    # One neuron in three of one layer: beyond chance, and not beyond doubt.
    target = make_model(2)
    rows = slice(0, 96, 3)
    for role in ("gate", "up"):
        name = f"model.layers.0.mlp.{role}_proj.weight"
        target[name][rows] = BASE[name][rows]
    report = audit(write_model(target, tmp_path / "m"), base)
    best = report.lineage.best
    assert best is not None
    assert best.log10_p is not None
    assert -12 < best.log10_p <= -3
    assert report.lineage.verdict == "inconclusive"
    assert "weak evidence" in str(report.lineage.reason)
    assert report.exit_code == 0
    assert audit(tmp_path / "m", base, fail_on_incomplete=True).exit_code == 3


@settings(max_examples=20, deadline=None)
@given(
    shards=st.integers(1, 4),
    layers=st.permutations(range(4)),
    cosine=st.floats(0.6, 1.0),
    seed=st.integers(0, 1000),
)
def test_no_honest_change_of_form_changes_the_verdict(
    tmp_path_factory: pytest.TempPathFactory, base: str, shards: int, layers: list[int], cosine: float, seed: int
) -> None:
    target = {
        name.replace(f"layers.{old}.", f"layers.{new}."): w
        for new, old in enumerate(layers)
        for name, w in drifted(BASE, cosine=cosine, seed=seed).items()
        if f"layers.{old}." in name
    }
    report = audit(write_model(target, tmp_path_factory.mktemp("t") / "m", shards=shards), base)
    assert report.lineage.verdict == "derived"
    best = report.lineage.best
    assert best is not None
    assert [layer.reference for layer in best.layers] == list(layers)
    assert best.relation is not None
    assert best.relation.reordered == (list(layers) != sorted(layers))


@pytest.mark.parametrize(
    ("shape", "reason"),
    [({"hidden": 128}, "hidden size 128"), ({"neurons": 8}, "8 neurons")],
    ids=["other width", "fewer neurons"],
)
def test_other_shapes_are_not_called_independent(tmp_path: Path, base: str, shape: dict[str, int], reason: str) -> None:
    report = audit(write_model(make_model(2, **shape), tmp_path / "m"), base)
    assert report.lineage.verdict == "inconclusive"
    assert reason in str(report.lineage.reason)
    assert report.exit_code == 3  # nothing was tested


def test_values_that_are_no_numbers(tmp_path: Path, base: str) -> None:
    target = {name: w.copy() for name, w in BASE.items()}
    target["model.layers.1.mlp.up_proj.weight"][:] = np.nan
    report = audit(write_model(target, tmp_path / "m"), base)
    finding = next(finding for finding in report.findings if finding.id == "FILE-003")
    assert finding.status == "warn"
    assert "layers.1.mlp.up_proj" in finding.evidence
    assert report.lineage.verdict == "derived"  # the other layers decide
    best = report.lineage.best
    assert best is not None
    assert best.layers[1].reference is None
    assert best.layers[1].cosine is None
    everywhere = {name: np.full_like(w, np.nan) for name, w in BASE.items()}
    report = audit(write_model(everywhere, tmp_path / "n"), base)
    assert report.lineage.verdict == "inconclusive"
    assert audit(tmp_path / "m", base, fail_on="warn").exit_code == 1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_weights_without_information(tmp_path: Path, base: str, value: float) -> None:
    report = audit(write_model({n: np.full_like(w, value) for n, w in BASE.items()}, tmp_path / "m"), base)
    assert report.lineage.verdict == "inconclusive"
    assert "no usable rows" in str(report.lineage.reason)


def test_a_broken_part_never_gives_a_clean_verdict(tmp_path: Path, base: str) -> None:
    folder = write_model(make_model(2), tmp_path / "m", shards=2)
    assert audit(folder, base).exit_code == 0
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    report = audit(folder, base)
    assert report.lineage.verdict == "inconclusive"
    assert report.exit_code == 3
    assert not report.coverage.complete
    assert shard.name in {unread.path for unread in report.coverage.unread}


def test_a_broken_part_does_not_hide_descent(tmp_path: Path, base: str) -> None:
    folder = write_model(BASE, tmp_path / "m")
    (folder / "extra.gguf").write_bytes(b"GGUF")
    report = audit(folder, base)
    assert report.lineage.verdict == "derived"
    assert report.exit_code == 3


def test_a_second_model_in_the_repository_is_seen(tmp_path: Path, base: str) -> None:
    folder = write_model(make_model(2), tmp_path / "m")
    (folder / "spare").mkdir()
    (folder / "spare" / "weights").write_bytes(safetensors_bytes(drifted(BASE, cosine=0.9)))
    report = audit(folder, base)
    assert report.lineage.verdict == "derived"
    assert report.lineage.best is not None
    assert report.lineage.best.model == "spare/weights"
    assert len(report.lineage.candidates) == 2


def test_a_decoy_beside_weights_of_other_names_is_not_independent(tmp_path: Path, base: str) -> None:
    hidden = {f"experts.{name}": w for name, w in BASE.items()}
    hidden = {name.replace("proj", "linear"): w for name, w in hidden.items()}
    decoy = make_model(2, layers=1)
    report = audit(write_model(decoy | hidden, tmp_path / "m"), base)
    assert report.lineage.verdict == "inconclusive"
    assert "% of the weights are under names" in str(report.lineage.reason)
    tower = {"vision.patch.weight": np.ones((64, 64), np.float32)}  # benign twin: a small part of another kind
    assert audit(write_model(make_model(2) | tower, tmp_path / "n"), base).lineage.verdict == "independent"


def test_models_beyond_the_cap_are_unread(tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        write_model(make_model(i + 5), tmp_path / "m" / str(i))
    assert audit(tmp_path / "m", base).exit_code == 0
    monkeypatch.setattr("auditor.model.subjects.LIMITS", Limits(models=2))
    report = audit(tmp_path / "m", base)
    assert report.exit_code == 3
    assert report.coverage.unread[0].code == "limit-exceeded"


def test_a_model_of_no_known_shape_is_inconclusive(tmp_path: Path, base: str) -> None:
    folder = write_model({"h.0.mlp.c_fc.weight": np.ones((4, 4), np.float32)}, tmp_path / "m")
    report = audit(folder, base)
    assert report.lineage.verdict == "inconclusive"
    assert report.exit_code == 3


def test_only_what_is_needed_is_read(tmp_path: Path, base: str) -> None:
    report = audit(write_model(BASE, tmp_path / "m"), base)
    rows = 4 * 2 * 16 * 64 * 4  # layers, roles, neurons, width, bytes
    assert rows < report.coverage.bytes_read < rows + 10_000


def test_sketching_needs_one_readable_model(tmp_path: Path) -> None:
    folder = write_model(BASE, tmp_path / "m")
    assert sketch(str(folder), name="a") == sketch(str(folder), name="a")
    (folder / "two.gguf").write_bytes(b"GGUF")
    with pytest.raises(TargetError, match="cannot be read whole"):
        sketch(str(folder), name="a")
    (folder / "two.gguf").unlink()
    (folder / "two").mkdir()
    (folder / "two" / "model.safetensors").write_bytes(safetensors_bytes(make_model(2)))
    with pytest.raises(TargetError, match="one model is needed"):
        sketch(str(folder), name="a")
