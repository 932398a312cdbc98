"""The whole ladder on drawn models: which rung and frame sees which disguise, and what none of them calls found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from disguisekit import anisotropic, permuted, rotated, with_gains, with_other_embeddings, with_tokens
from modelkit import Model, drifted, make_model, write_model

from auditor.audit import Options, scan
from auditor.enrolling import sketch
from auditor.errors import UsageError
from auditor.lineage.sample import sample_index

if TYPE_CHECKING:
    from pathlib import Path

    from auditor.report import Report

BASE = with_gains(anisotropic(make_model(1, layers=6, hidden=64, neurons=192, vocabulary=300)))
OTHER = with_gains(anisotropic(make_model(2, layers=6, hidden=64, neurons=192, vocabulary=300), seed=6), seed=7)
ORDER = np.random.default_rng(8).permutation(300)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(BASE, tmp_path_factory.mktemp("ladder") / "base")


def audited(model: Model, base: Path | str, tmp_path: Path, **options: Any) -> Report:  # noqa: ANN401 (those of `Options`)
    folder = write_model(model, tmp_path / "target")
    return scan(str(folder), Options(against=(str(base),), licence=False, **options))


DISGUISES = {
    "rotated": (rotated(BASE), "framed-neurons", "tokens"),
    "rotated, drifted": (rotated(drifted(BASE, cosine=0.7)), "framed-neurons", "tokens"),
    "rotated, other embeddings": (with_other_embeddings(rotated(BASE)), "framed-neurons", "anchors"),
    "rotated, tokens renumbered": (with_tokens(rotated(BASE), ORDER), "framed-neurons", "anchors"),
    "permuted": (permuted(BASE), "searched-neurons", "plain"),
    "permuted, drifted": (permuted(drifted(BASE, cosine=0.8)), "searched-neurons", "plain"),
    "rotated, permuted": (rotated(permuted(BASE)), "searched-neurons", "tokens"),
    "rotated, permuted, tokens renumbered": (
        with_tokens(rotated(permuted(BASE)), ORDER),
        "searched-neurons",
        "moments",
    ),
}


@pytest.mark.parametrize("name", DISGUISES)
def test_a_disguise_is_seen_by_its_rung(name: str, base: Path, tmp_path: Path) -> None:
    model, rung, frame = DISGUISES[name]
    report = audited(model, base, tmp_path)
    best = report.lineage.best
    assert best is not None
    assert (report.lineage.verdict, best.rung, best.frame) == ("derived", rung, frame)
    assert best.exact == (rung == "framed-neurons")
    assert best.rungs[-1].frame == frame
    assert best.relation is not None
    assert best.relation.kind == "disguised"


def test_an_independent_model_climbs_every_rung(base: Path, tmp_path: Path) -> None:
    report = audited(OTHER, base, tmp_path)
    best = report.lineage.best
    assert report.lineage.verdict == "independent"
    assert best is not None
    assert [(rung.rung, rung.frame) for rung in best.rungs] == [
        ("aligned-neurons", None),
        ("aligned-neurons", "plain"),
        *(("framed-neurons", frame) for frame in ("tokens", "anchors", "moments")),
        *(("searched-neurons", frame) for frame in ("plain", "tokens", "moments")),
    ]
    assert min(rung.log10_p for rung in best.rungs) > -3


def test_a_disguised_independent_model_stays_independent(base: Path, tmp_path: Path) -> None:
    assert audited(rotated(permuted(OTHER)), base, tmp_path).lineage.verdict == "independent"


def test_tokens_are_matched_by_what_they_are_called(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(300)]
    folders = {}
    for name, model, order in (
        ("base", BASE, np.arange(300)),
        ("target", with_tokens(rotated(permuted(drifted(BASE, cosine=0.6))), ORDER), ORDER),
    ):
        folders[name] = write_model(model, tmp_path / name)
        vocabulary = {words[row]: i for i, row in enumerate(order.tolist())}
        (folders[name] / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": vocabulary}}))
    report = scan(str(folders["target"]), Options(against=(str(folders["base"]),), licence=False))
    assert report.lineage.verdict == "derived"
    assert report.lineage.best is not None
    assert report.lineage.best.frame == "tokens"


def test_transplanted_embeddings_are_said_to_be_no_more(tmp_path: Path) -> None:
    name = "model.embed_tokens.weight"
    wide, other = (anisotropic(make_model(seed, hidden=128, neurons=128), seed=seed) for seed in (11, 12))
    report = audited(other | {name: wide[name]}, write_model(wide, tmp_path / "wide"), tmp_path)
    assert report.lineage.verdict == "embeddings-shared"
    assert report.lineage.best is not None
    assert report.lineage.best.cosine == pytest.approx(1.0)
    assert report.lineage.best.relation is not None
    assert report.lineage.best.relation.kind == "embeddings"


def test_a_weak_trace_is_seen_in_many_neurons(base: Path, tmp_path: Path) -> None:
    report = audited(drifted(BASE, cosine=0.05), base, tmp_path)
    best = report.lineage.best
    assert best is not None
    assert (report.lineage.verdict, best.rung, best.frame, best.exact) == ("derived", "aligned-neurons", "plain", True)
    assert best.rungs[0].log10_p > -12
    assert best.relation is not None
    assert best.relation.kind == "modified"


def test_to_be_quick_is_said(base: Path, tmp_path: Path) -> None:
    report = audited(permuted(BASE), base, tmp_path, depth="quick")
    assert report.lineage.verdict == "independent"
    assert "were not searched for: the scan was told to be quick" in str(report.lineage.reason)


def test_a_stored_sketch_carries_what_frames_need(base: Path, tmp_path: Path) -> None:
    for deep in (False, True):
        file = tmp_path / f"{deep}.sketch"
        file.write_bytes(sketch(str(base), name="base", deep=deep))
        found = audited(rotated(permuted(BASE)), file, tmp_path).lineage
        assert found.verdict == "derived"
    hidden = with_tokens(rotated(permuted(BASE)), ORDER)
    assert audited(hidden, tmp_path / "True.sketch", tmp_path).lineage.verdict == "derived"
    assert audited(hidden, tmp_path / "False.sketch", tmp_path).lineage.verdict == "independent"


def spoiled(model: Model, seed: int) -> Model:
    """Replace the neurons that are sampled with this seed, in every layer."""
    rng = np.random.default_rng(9)
    out = dict(model)
    rows = sample_index(192, seed=seed)
    for name in model:
        if "gate_proj" in name or "up_proj" in name:
            out[name] = model[name].copy()
            out[name][rows] = rng.normal(0, 0.02, (len(rows), 64))
    return out


def test_a_secret_sample_sees_past_the_public_one(base: Path, tmp_path: Path) -> None:
    target = spoiled(BASE, 0)
    secret = audited(target, base, tmp_path, sample_seed=12345)
    assert secret.lineage.best is not None
    assert (secret.lineage.verdict, secret.lineage.best.rung) == ("derived", "aligned-neurons")
    public = audited(target, base, tmp_path)  # a reference that is here whole is looked at all over
    assert public.lineage.best is not None
    assert (public.lineage.verdict, public.lineage.best.frame) == ("derived", "plain")


def test_a_sketch_cannot_be_sampled_anew(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "base.sketch"
    file.write_bytes(sketch(str(base), name="base", seed=7))
    assert audited(BASE, file, tmp_path, sample_seed=7).lineage.verdict == "derived"
    with pytest.raises(UsageError, match="of the neurons of seed 7, which holds no others"):
        audited(BASE, file, tmp_path, sample_seed=8)
    with pytest.raises(UsageError, match="--sample-seed needs --against"):
        scan(str(tmp_path / "target"), Options(licence=False, sample_seed=8))


def test_narrowed_models_are_found_through_tokens(base: Path, tmp_path: Path) -> None:
    keep = np.sort(np.random.default_rng(10).permutation(64)[:48])
    narrow = {}
    for name, w in BASE.items():
        if w.ndim == 1 or "down_proj" in name or "o_proj" in name:
            narrow[name] = w[keep]
        else:
            narrow[name] = w[:, keep]
    report = audited(narrow, base, tmp_path)
    assert report.lineage.verdict == "derived"
    wide = audited(make_model(3, layers=6, hidden=48, neurons=192, vocabulary=300), base, tmp_path)
    assert wide.lineage.verdict in {"independent", "inconclusive"}


def test_a_budget_that_ends_above_the_first_rung(base: Path, tmp_path: Path) -> None:
    report = audited(permuted(BASE), base, tmp_path, max_bytes=250_000)
    assert report.lineage.verdict == "inconclusive"
    assert report.lineage.best is not None
    assert "stopped before the last rung" in str(report.lineage.best.stopped)
    assert report.coverage.unread
