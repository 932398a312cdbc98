"""Audits of adapters: what one alone says, what whole modules in it show, and what it is merged into a base."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from deskkit import CARD, Desk
from modelkit import drifted, make_model, safetensors_bytes, write_model

from auditor.audit import Options, audit, scan
from auditor.enrolling import sketch

if TYPE_CHECKING:
    from pathlib import Path

    from modelkit import Model

    from auditor.report import Report

pytest_plugins = ("deskfixtures",)

HIDDEN = 128  # of half as many, no test of embeddings could be sure
BASE = make_model(1, layers=3, hidden=HIDDEN, vocabulary=200)
OTHER = make_model(2, layers=3, hidden=HIDDEN, vocabulary=200)
AT = "base_model.model."
_RNG = np.random.default_rng(8)


def lora(*, rank: int = 4, scale: float = 0.01) -> Model:
    out: Model = {}
    for layer in range(3):
        for module, rows in (("mlp.gate_proj", 96), ("mlp.up_proj", 96), ("self_attn.q_proj", HIDDEN)):
            at = f"{AT}model.layers.{layer}.{module}"
            out[f"{at}.lora_A.weight"] = (_RNG.normal(size=(rank, HIDDEN)) * scale).astype(np.float32)
            out[f"{at}.lora_B.weight"] = (_RNG.normal(size=(rows, rank)) * scale).astype(np.float32)
    return out


LORA = lora()


def write_adapter(folder: Path, tensors: Model = LORA, **config: Any) -> Path:  # noqa: ANN401 (any value of a config)
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(tensors))
    stated = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 4, "lora_alpha": 8} | config
    (folder / "adapter_config.json").write_text(json.dumps(stated | {"target_modules": ["gate_proj", "q_proj"]}))
    return folder


@pytest.fixture(scope="module")
def against(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("reference") / "base.sketch"
    path.write_bytes(sketch(str(write_model(BASE, path.parent / "model")), name="base"))
    return str(path)


def held(target: Path, against: str, **options: Any) -> Report:  # noqa: ANN401 (any option)
    return scan(str(target), Options(against=(against,), licence=False, depth="quick", **options))


def test_an_adapter_alone_says_whose_it_claims_to_be_and_proves_nothing(tmp_path: Path, against: str) -> None:
    report = held(write_adapter(tmp_path / "a"), against)
    assert (report.lineage.verdict, report.exit_code) == ("adapter", 3)
    assert report.lineage.reason == 'it names "org/base" as its base, which its weights do not prove'
    assert report.lineage.candidates == ()
    assert report.coverage.complete
    (adapter,) = report.target.adapters
    assert (adapter.base, adapter.rank, adapter.alpha, adapter.changed) == ("org/base", 4, 8, 9)
    assert (adapter.saved, adapter.problems, adapter.merged_into) == ((), (), None)


@pytest.mark.parametrize("module", ["embed_tokens", "embed_tokens.modules_to_save"])
def test_embeddings_saved_whole_are_evidence(tmp_path: Path, against: str, module: str) -> None:
    saved = {f"{AT}model.{module}.weight": drifted(BASE, cosine=0.95)["model.embed_tokens.weight"]}
    report = held(write_adapter(tmp_path / "a", {**LORA, **saved}), against)
    assert (report.lineage.verdict, report.exit_code) == ("embeddings-shared", 0)
    assert report.lineage.best is not None
    assert report.lineage.best.log10_p is not None
    assert report.lineage.best.log10_p < -12
    assert report.as_dict()["lineage"]["cosine"] == pytest.approx(0.95, abs=0.02)  # type: ignore[index]


def test_a_head_that_is_tied_in_the_reference_is_evidence(tmp_path: Path, against: str) -> None:
    saved = {f"{AT}lm_head.weight": drifted(BASE, cosine=0.95)["model.embed_tokens.weight"]}
    report = held(write_adapter(tmp_path / "a", {**LORA, **saved}), against)
    assert report.lineage.verdict == "embeddings-shared"


def test_embeddings_of_another_model_are_no_verdict(tmp_path: Path, against: str) -> None:
    saved = {f"{AT}model.embed_tokens.weight": OTHER["model.embed_tokens.weight"]}
    report = held(write_adapter(tmp_path / "a", {**LORA, **saved}), against)
    assert (report.lineage.verdict, report.exit_code) == ("adapter", 3)
    (candidate,) = report.lineage.candidates
    assert candidate.verdict == "inconclusive"
    assert "do not agree" in str(candidate.reason)


def test_mlps_saved_whole_decide_as_those_of_a_model(tmp_path: Path, against: str) -> None:
    tuned = drifted(BASE, cosine=0.9)
    saved = {f"{AT}{name}": w for name, w in tuned.items() if ".mlp." in name}
    report = held(write_adapter(tmp_path / "a", saved), against)
    assert report.lineage.verdict == "derived"
    independent = {f"{AT}{name}": w for name, w in OTHER.items() if ".mlp." in name}
    report = held(write_adapter(tmp_path / "b", independent), against)
    assert (report.lineage.verdict, report.exit_code) == ("adapter", 3)  # the rest of that model is not here


def test_beside_weights_that_nobody_knows_it_is_no_adapter_alone(tmp_path: Path, against: str) -> None:
    target = write_adapter(tmp_path / "a")
    (target / "more.safetensors").write_bytes(safetensors_bytes({"hidden.weight": np.ones((64, 64), np.float32)}))
    assert held(target, against).lineage.verdict == "inconclusive"
    (target / "more.safetensors").write_bytes(b"cut short")
    report = held(target, against)
    assert (report.lineage.verdict, report.exit_code) == ("inconclusive", 3)


def test_an_index_does_not_hide_a_model_behind_the_name_of_an_adapter(tmp_path: Path, against: str) -> None:
    target = write_adapter(tmp_path / "a")
    write_model(drifted(BASE, cosine=0.9), target)
    shards = dict.fromkeys(BASE, "model.safetensors") | dict.fromkeys(LORA, "adapter_model.safetensors")
    (target / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    assert held(target, against).lineage.verdict == "derived"


def test_beside_a_model_the_model_is_audited(tmp_path: Path, against: str) -> None:
    target = write_model(drifted(BASE, cosine=0.9), write_adapter(tmp_path / "a"))
    report = held(target, against)
    assert report.lineage.verdict == "derived"
    assert len(report.target.adapters) == 1


@pytest.mark.parametrize(("base", "verdict"), [(BASE, "derived"), (OTHER, "independent")])
def test_merged_into_a_base_the_result_is_audited(tmp_path: Path, against: str, base: Model, verdict: str) -> None:
    report = held(write_adapter(tmp_path / "a"), against, base=str(write_model(base, tmp_path / "base")))
    assert (report.lineage.verdict, report.exit_code) == (verdict, 0)
    (adapter,) = report.target.adapters
    assert adapter.merged_into is not None
    assert adapter.merged_into.bytes_read > 0
    assert report.lineage.best is not None
    assert report.lineage.best.model == "model.safetensors with adapter_model.safetensors"


def test_what_is_compared_is_the_sum(tmp_path: Path, against: str) -> None:
    strong = lora(scale=0.2)  # of the size of the base itself
    base = str(write_model(BASE, tmp_path / "base"))
    cosines = []
    for name, tensors in (("weak", LORA), ("strong", strong)):
        best = held(write_adapter(tmp_path / name, tensors), against, base=base).lineage.best
        assert best is not None
        assert best.relation is not None
        assert best.relation.change is not None
        assert best.relation.change.kind == "low-rank"
        cosines.append(best.cosine)
    expected = []
    for layer in range(3):
        for module in ("gate_proj", "up_proj"):
            at = f"model.layers.{layer}.mlp.{module}"
            before = BASE[f"{at}.weight"]
            after = before + 2 * strong[f"{AT}{at}.lora_B.weight"] @ strong[f"{AT}{at}.lora_A.weight"]
            norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
            expected.append(((before * after).sum(axis=1) / norms).mean())
    assert cosines[0] == pytest.approx(1.0, abs=1e-3)
    assert cosines[1] == pytest.approx(np.mean(expected), abs=0.03)  # the sample is of 32 neurons


def test_what_cannot_be_merged_is_unread(tmp_path: Path, against: str) -> None:
    base = str(write_model(BASE, tmp_path / "base"))
    report = held(write_adapter(tmp_path / "a", use_dora=True), against, base=base)
    assert (report.lineage.verdict, report.exit_code) == ("inconclusive", 3)
    assert "DoRA" in report.coverage.unread[0].reason
    assert "DoRA" in str(report.lineage.reason)


def test_a_base_that_cannot_be_one_ends_with_2(desk: Desk) -> None:
    adapter, base = write_adapter(desk.folder / "a"), desk.write(BASE, "base")
    assert "there is none" in desk.fails("scan", base, "--base", base)
    assert "no models" in desk.fails("scan", adapter, "--base", adapter)
    (base / "model.safetensors").write_bytes(b"cut short")
    assert "--base" in desk.fails("scan", adapter, "--base", base)


def test_at_the_command_line(desk: Desk) -> None:
    adapter, base = write_adapter(desk.folder / "a"), desk.write(BASE, "base")
    (adapter / "README.md").write_bytes(CARD)
    alone = desk("scan", adapter, "--against", base, "--fail-on", "never")
    assert alone.code == 3
    assert alone.out.startswith("ADAPTER  an adapter alone, which proves nothing of where its base comes from:")
    assert "it names org/base as its base" in alone.out
    done = desk("compare", base, adapter, "--base", base, "--format", "json")
    assert (done.code, done.json["lineage"]["verdict"]) == (0, "derived")
    assert done.json["target"]["adapters"][0]["merged_into"]["uri"] == str(base)
    plan = desk("scan", adapter, "--base", base, "--against", base, "--dry-run", "--format", "json").json
    assert [look["rung"] for look in plan["looks"]][:1] == ["aligned-neurons"]


def test_a_claimed_base_is_a_claim_and_another_base_absolves_nobody(tmp_path: Path, against: str) -> None:
    target = write_adapter(tmp_path / "a", base_model_name_or_path="meta-llama/Llama-2-7b-hf")
    independent = str(write_model(OTHER, tmp_path / "other"))
    for base in (None, independent):
        found = audit(str(target), Options(against=(against,), base=base, depth="quick"))
        assert found.situation is not None
        assert found.situation.derivation.name == "CLAIMED"
        assert found.situation.adapter_only


def test_a_saved_table_of_another_width_is_not_compared(tmp_path: Path, against: str) -> None:
    saved = {f"{AT}model.embed_tokens.weight": np.ones((200, 32), np.float32)}
    report = held(write_adapter(tmp_path / "a", {**LORA, **saved}), against)
    assert report.lineage.verdict == "adapter"


def test_adapters_cannot_be_references(desk: Desk) -> None:
    adapter, base = write_adapter(desk.folder / "a"), desk.write(BASE, "base")
    assert "no model with gated MLP blocks" in desk.fails("scan", base, "--against", adapter)
