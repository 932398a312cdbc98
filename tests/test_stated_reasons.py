"""Why there is no verdict: models without a gate, matrices that are recognised and not decoded, rows not known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from modelkit import drifted, make_model, write_model

from auditor.audit import Options, scan
from auditor.enrolling import sketch
from auditor.formats.serialize import serialize

if TYPE_CHECKING:
    from pathlib import Path

    from modelkit import Model

    from auditor.report import Report

HIDDEN, NEURONS = 128, 192
BASE = make_model(1, layers=2, hidden=HIDDEN, neurons=NEURONS, vocabulary=200)
OTHER = make_model(2, layers=2, hidden=HIDDEN, neurons=NEURONS, vocabulary=200)
_RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def against(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("reference") / "base.sketch"
    path.write_bytes(sketch(str(write_model(BASE, path.parent / "model")), name="base"))
    return str(path)


def held(target: Path, against: str) -> Report:
    return scan(str(target), Options(against=(against,), licence=False, depth="quick"))


def matrix(*shape: int) -> np.ndarray:
    return (_RNG.normal(size=shape) * 0.02).astype(np.float32)


def gpt2() -> Model:
    """Return a model of GPT-2's names, which keep weights as `[in, out]`."""
    model: Model = {"transformer.wte.weight": matrix(200, HIDDEN), "transformer.wpe.weight": matrix(64, HIDDEN)}
    for layer in range(2):
        at = f"transformer.h.{layer}."
        shapes = {
            "attn.c_attn": (HIDDEN, 3 * HIDDEN), "attn.c_proj": (HIDDEN, HIDDEN),
            "mlp.c_fc": (HIDDEN, NEURONS), "mlp.c_proj": (NEURONS, HIDDEN),
        }  # fmt: skip
        model |= {f"{at}{name}.weight": matrix(*shape) for name, shape in shapes.items()}
        model |= {f"{at}{name}.bias": matrix(shape[1]) for name, shape in shapes.items()}
        model |= {f"{at}{norm}.weight": np.ones(HIDDEN, np.float32) for norm in ("ln_1", "ln_2")}
    return model


def test_a_model_without_a_gate_is_told_so(tmp_path: Path, against: str) -> None:
    report = held(write_model(gpt2(), tmp_path / "m"), against)
    assert (report.lineage.verdict, report.exit_code) == ("inconclusive", 3)
    assert "the MLPs have no gate (gpt2)" in str(report.lineage.reason)
    assert "the embeddings of 200 tokens do not agree" in str(report.lineage.reason)
    assert report.coverage.complete


def test_without_any_reference_the_reason_is_the_same(tmp_path: Path) -> None:
    report = scan(str(write_model(gpt2(), tmp_path / "m")), Options(licence=False, build_references=False))
    assert report.lineage.verdict == "inconclusive"
    assert "the MLPs have no gate (gpt2)" in str(report.lineage.reason)


def test_embeddings_planted_in_a_model_without_a_gate_are_found(tmp_path: Path, against: str) -> None:
    model = gpt2() | {"transformer.wte.weight": drifted(BASE, cosine=0.95)["model.embed_tokens.weight"]}
    report = held(write_model(model, tmp_path / "m"), against)
    assert report.lineage.verdict == "embeddings-shared"
    assert "the MLPs have no gate (gpt2)" in str(report.lineage.reason)


def exl2(model: Model) -> dict[str, Any]:
    """Return a model of which every linear layer is stored as EXL2 stores it."""
    out: dict[str, Any] = {}
    for name, w in model.items():
        if ".layers." in name and w.ndim == 2:
            stem = name.removesuffix(".weight")
            words = np.ones((w.shape[1] // 8, w.shape[0]), "<i4")
            out[f"{stem}.q_weight"] = ("I32", words.shape, words.tobytes())
            out[f"{stem}.q_perm"] = ("I16", (w.shape[1],), bytes(2 * w.shape[1]))
        else:
            out[name] = ("F32", w.shape, np.ascontiguousarray(w, "<f4").tobytes())
    return out


@pytest.mark.parametrize(
    ("model", "verdict"), [(drifted(BASE, cosine=0.95), "embeddings-shared"), (OTHER, "inconclusive")]
)
def test_what_is_plain_beside_matrices_that_are_not_decoded(
    tmp_path: Path, against: str, model: Model, verdict: str
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.safetensors").write_bytes(serialize(exl2(model)))
    report = held(tmp_path / "m", against)
    assert (report.lineage.verdict, report.exit_code) == (verdict, 3)
    assert "quantised by EXL2, which is recognised and not decoded" in str(report.lineage.reason)
    assert any("EXL2" in unread.reason for unread in report.coverage.unread)


def test_rows_that_cannot_be_known_are_named(tmp_path: Path, against: str) -> None:
    """Gate and up in one tensor, and nothing that says where one ends: the other models of the file are too small."""
    model = {name: w for name, w in OTHER.items() if ".gate_proj" not in name and ".up_proj" not in name}
    for layer in range(2):
        model[f"model.layers.{layer}.mlp.gate_up_proj.weight"] = matrix(2 * NEURONS + 1, HIDDEN)
    report = held(write_model(model, tmp_path / "m"), against)
    assert report.lineage.verdict == "inconclusive"
    assert "rows" in str(report.lineage.reason)


def test_weights_under_unknown_names_and_the_reason(tmp_path: Path, against: str) -> None:
    model = OTHER | {"model.hidden.weight": matrix(4 * NEURONS, HIDDEN)}
    report = held(write_model(model, tmp_path / "m"), against)
    assert report.lineage.verdict == "inconclusive"
    assert "of the weights are under names" in str(report.lineage.reason)


def test_files_that_cannot_be_read_are_named_in_the_reason(tmp_path: Path, against: str) -> None:
    target = write_model(OTHER, tmp_path / "m")
    (target / "more.safetensors").write_bytes(b"cut")
    reason = str(held(target, against).lineage.reason)
    assert reason.startswith("not all weights could be read: more.safetensors: ")


def test_experts_smaller_than_the_dense_layers_are_no_crash(tmp_path: Path) -> None:
    """As DeepSeek's: the first layer is dense and of the reference's size, the experts behind it are not."""
    model = {name: w for name, w in OTHER.items() if not name.startswith("model.layers.1.mlp.")}
    for expert in range(2):
        at = f"model.layers.1.mlp.experts.{expert}."
        shapes = {"gate_proj": (NEURONS // 2, HIDDEN), "up_proj": (NEURONS // 2, HIDDEN)}
        shapes["down_proj"] = (HIDDEN, NEURONS // 2)
        model |= {f"{at}{name}.weight": matrix(*shape) for name, shape in shapes.items()}
    model["model.layers.1.mlp.gate.weight"] = matrix(2, HIDDEN)
    against = str(write_model(BASE, tmp_path / "base"))  # the model itself: of a sketch fewer neurons are asked for
    report = scan(str(write_model(model, tmp_path / "m")), Options(against=(against,), licence=False))
    assert report.lineage.verdict in {"independent", "inconclusive"}
    assert report.coverage.unread == ()
