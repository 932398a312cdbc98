"""The licence audit with a real model standing in as the protected base: SmolLM2, under a test policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import derive
import pytest
import smollm2
import twelve
from repokit import LIMITATIONS, MEANT_FOR_LLAMA_3, NOTICE, agreement, card

from auditor.audit import Options, scan

if TYPE_CHECKING:
    from pathlib import Path

    from auditor.findings import Finding
    from auditor.report import Report

pytestmark = [pytest.mark.integration, pytest.mark.slow]

POLICY = """
extends = "llama2"
name = "smollm2-stands-in"
title = "Llama 2 Community License"
references = ["smollm2-*"]
repos = ["huggingfacetb/smollm2-135m*"]
families = []
"""
BASE = "base_model: HuggingFaceTB/SmolLM2-135M-Instruct\n"
BOAST = f"# Model\n\nOur model was trained from scratch and is open source.\n\n{LIMITATIONS}"


@pytest.fixture(scope="module")
def model() -> derive.Model:
    return derive.load(smollm2.fetch())


def audit(folder: Path, tmp_path: Path) -> tuple[str, dict[str, Finding]]:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    report = scan(str(folder), Options(policies=(str(policy),)))
    acting = {finding.id: finding for finding in report.findings if finding.status in {"fail", "warn", "unknown"}}
    return report.lineage.verdict, acting


def statuses(found: dict[str, Finding]) -> dict[str, str]:
    return {rule: finding.status for rule, finding in found.items()}


def test_a_good_publisher_has_nothing_to_act_on(tmp_path: Path, model: derive.Model) -> None:
    texts = {"README.md": card("license: llama2\n" + BASE), "LICENSE.txt": agreement(), "Notice.txt": NOTICE}
    folder = derive.write(derive.fine_tuned(model, change=0.2, seed=1), tmp_path / "good", shards=2, texts=texts)
    assert audit(folder, tmp_path) == ("derived", {})


def test_a_relicensed_derivative_fails_clause_by_clause(tmp_path: Path, model: derive.Model) -> None:
    texts = {
        "README.md": card("license: apache-2.0\nbase_model: mistralai/Mistral-7B-v0.1\n", BOAST),
        "LICENSE": agreement().replace("700 million", "7 billion"),
        "NOTICE": MEANT_FOR_LLAMA_3,
    }
    layers = [*range(5), *range(9, 30)]  # four layers dropped, and every weight moved
    folder = derive.write(
        derive.fine_tuned(derive.restacked(model, layers), change=0.3, seed=2), tmp_path / "bad", texts=texts
    )
    verdict, found = audit(folder, tmp_path)
    assert verdict == "derived"
    assert statuses(found) == {
        "LIC-002": "fail",
        "NOT-002": "fail",
        "CARD-001": "fail",
        "BASE-001": "fail",
        "OSI-001": "warn",
        "OWN-001": "warn",
    }
    assert found["LIC-002"].clause == "1.b.i"
    assert "LICENSE: altered: clause 2 changed" in found["LIC-002"].evidence
    assert 'NOTICE, line 1: it names llama 3, not Llama 2: "Meta Llama 3' in found["NOT-002"].evidence
    assert 'README.md, line 2: license: "apache-2.0", while the weights share descent' in found["CARD-001"].evidence
    assert all(finding.fix for finding in found.values())


def test_an_over_claim_on_unrelated_weights_warns(tmp_path: Path, model: derive.Model) -> None:
    texts = {"README.md": card("license: llama2\n" + BASE), "LICENSE.txt": agreement(), "Notice.txt": NOTICE}
    folder = derive.write(derive.unrelated(model, seed=3), tmp_path / "claims", texts=texts)
    verdict, found = audit(folder, tmp_path)
    assert verdict == "independent"
    assert statuses(found) == {"OVR-001": "warn"}
    assert "README.md, line 3: base_model" in found["OVR-001"].evidence


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, model: derive.Model) -> Path:
    """The twelve repositories with two real layers of SmolLM2 in each, and the shipped sketch as the reference."""
    layers = {name: w for name, w in derive.restacked(model, [3, 17]).items() if ".layers." in name}
    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twelve, "derivative", lambda: derive.fine_tuned(layers, change=0.2, seed=4))
        patch.setattr(twelve, "unrelated", lambda: derive.unrelated(layers, seed=5))
        for name, kind in twelve.KINDS.items():
            kind.build(folder / name.replace(" ", "-"))
    for name, text in twelve.POLICIES.items():
        (folder / name).write_text(text.replace("base-*", "smollm2-*", 1))
    return folder


@pytest.mark.parametrize("name", twelve.KINDS)
def test_the_twelve_repositories_on_real_weights(desk: Path, name: str) -> None:
    kind = twelve.KINDS[name]
    report: Report = scan(str(desk / name.replace(" ", "-")), Options(policies=(str(desk / kind.policy),)))
    assert report.lineage.verdict == kind.verdict
    assert twelve.by_status(report) == {
        "fail": twelve.said(kind.fails),
        "warn": twelve.said(kind.warns),
        "manual": set(twelve.SPOKEN) if kind.bound else set(),
        "unknown": set(),
    }
    assert report.exit_code == kind.exit_code
