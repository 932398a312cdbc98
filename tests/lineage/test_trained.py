"""The ladder on models that were really trained, two of which went on for long: see `tests/models/README.md`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from modelkit import write_model

from auditor.audit import Options, scan
from auditor.formats import open_checkpoints
from auditor.model import model_views
from auditor.sources import open_source

pytestmark = pytest.mark.slow

MODELS = Path(__file__).resolve().parent.parent / "models"
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "lineage"))

from disguises import DISGUISES, token_order  # noqa: E402 (of that folder)
from recipes import Heads  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from auditor.report import Report

    Model = dict[str, NDArray[np.float32]]

HEADS = Heads(query=4, key=4)
SEED = 21


def arrays(name: str) -> Model:
    """Read a model of the folder whole."""
    source = open_source(str(MODELS / name))
    (view,) = (view for container in open_checkpoints(source).containers for view in model_views(source, container))
    out = {}
    for layer, role, entry in view.places():
        whole = view.vector(layer, role) if len(entry.shape) == 1 else view.rows(layer, role, np.arange(entry.shape[0]))
        out[entry.name] = whole
    return out


def disguised(name: str, how: str, folder: Path, *, tokenizer: bool = False) -> str:
    """Write a model of the folder with a disguise."""
    model = arrays(name)
    write_model({key: w.astype(np.float32) for key, w in DISGUISES[how](model, SEED, HEADS).items()}, folder)
    (folder / "config.json").write_bytes((MODELS / name / "config.json").read_bytes())
    if tokenizer:
        known = json.loads((MODELS / "A" / "tokenizer.json").read_text())
        spelt = {row: text for text, row in known["model"]["vocab"].items()}
        order = token_order(model, SEED).tolist()
        known["model"]["vocab"] = {spelt[old]: new for new, old in enumerate(order)}
        (folder / "tokenizer.json").write_text(json.dumps(known))
    return str(folder)


def against(base: str, target: str) -> Report:
    return scan(target, Options(against=(str(MODELS / base),), licence=False))


@pytest.mark.parametrize(("name", "cosine"), [("A-cpt-83", 0.82), ("A-cpt-50", 0.51)])
def test_long_training_is_seen_in_place(name: str, cosine: float) -> None:
    report = against("A", str(MODELS / name))
    best = report.lineage.best
    assert best is not None
    assert (report.lineage.verdict, best.rung) == ("derived", "aligned-neurons")
    assert best.cosine == pytest.approx(cosine, abs=0.05)
    assert best.relation is not None
    assert best.relation.change is not None
    assert best.relation.change.kind == "dense"


@pytest.mark.parametrize(
    ("base", "target"),
    [("A", "B"), *(pytest.param("B", target, marks=pytest.mark.slow) for target in ("A", "A-cpt-50"))],
)
def test_a_twin_of_another_seed_is_independent(base: str, target: str) -> None:
    report = against(base, str(MODELS / target))
    assert report.lineage.verdict == "independent"
    assert report.lineage.best is not None
    assert min(rung.log10_p for rung in report.lineage.best.rungs) > -3


@pytest.mark.parametrize(
    ("how", "rung"),
    [
        ("hidden-rotated", "framed-neurons"),
        ("neurons-permuted", "searched-neurons"),
        ("everything", "searched-neurons"),
    ],
)
def test_disguises_of_a_model_as_far_as_code_llama(how: str, rung: str, tmp_path: Path) -> None:
    report = against("A", disguised("A-cpt-50", how, tmp_path / "target", tokenizer=True))
    assert report.lineage.best is not None
    assert (report.lineage.verdict, report.lineage.best.rung) == ("derived", rung)


def test_everything_at_once_without_a_tokenizer(tmp_path: Path) -> None:
    report = against("A", disguised("A-cpt-83", "everything", tmp_path / "target"))
    assert report.lineage.best is not None
    assert (report.lineage.verdict, report.lineage.best.frame) == ("derived", "moments")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["hidden-rotated", "neurons-permuted", "everything"])
def test_a_disguised_twin_stays_independent(how: str, tmp_path: Path) -> None:
    assert (
        against("B", disguised("A-cpt-83", how, tmp_path / "target", tokenizer=True)).lineage.verdict == "independent"
    )
