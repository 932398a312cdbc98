"""Statements and waivers in a whole audit: what people say goes into the report, and silence is never a pass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from modelkit import drifted, make_model, write_model

from auditor.audit import Options, scan
from auditor.enrolling import sketch
from auditor.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from auditor.findings import Finding
    from auditor.report import Report

BASE = make_model(1)
TODAY = datetime.now(tz=UTC).date()
POLICY = """
extends = "llama2"
name = "test"
references = ["base-*"]
repos = ["example/base*"]
"""
STATEMENT = """
[[statement]]
rule = "{rule}"
statement = "The duty is met."
who = "Jane Doe, Example GmbH"
when = {when}
until = {until}
answer = "{answer}"
"""
WAIVER = """
[[waiver]]
rule = "{rule}"
subject = "{subject}"
reason = "Agreed with counsel."
owner = "Jane Doe"
expires = {expires}
{extra}
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "base.sketch").write_bytes(sketch(str(write_model(BASE, tmp_path / "base")), name="base-1"))
    folder = write_model(drifted(BASE, cosine=0.9), tmp_path / "suspect")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Suspect\n")
    return tmp_path


def audit(work: Path, settings: str | None = None, **options: object) -> Report:
    config = None
    if settings is not None:
        (work / "auditor.toml").write_text(settings)
        config = str(work / "auditor.toml")
    chosen = {"against": (str(work / "base.sketch"),), "policies": (str(work / "policy.toml"),), "config": config}
    return scan(str(work / "suspect"), Options(**(chosen | options)))  # type: ignore[arg-type]


def of(report: Report, rule: str) -> Finding:
    (found,) = [finding for finding in report.findings if finding.id == rule]
    return found


def stated(rule: str, *, made: int = -10, ends: int = 100, answer: str = "yes") -> str:
    when, until = TODAY + timedelta(days=made), TODAY + timedelta(days=ends)
    return STATEMENT.format(rule=rule, when=when, until=until, answer=answer)


def waived(rule: str, *, ends: int = 100, subject: str = "*", extra: str = "") -> str:
    return WAIVER.format(rule=rule, subject=subject, expires=TODAY + timedelta(days=ends), extra=extra)


def test_silence_is_manual(work: Path) -> None:
    report = audit(work)
    for rule in ("ACC-001", "MAU-001", "LIT-001", "LAW-001", "LIA-001", "TRM-001", "AUP-G1"):
        assert of(report, rule).status == "manual"
    assert report.exit_code == 1


def test_a_statement_answers_and_is_in_the_report(work: Path) -> None:
    found = of(audit(work, stated("MAU-001")), "MAU-001")
    assert found.status == "pass"
    assert "Jane Doe, Example GmbH" in found.evidence
    assert "The duty is met." in found.evidence
    assert found.fix is None


def test_an_expired_statement_is_manual_again(work: Path) -> None:
    found = of(audit(work, stated("MAU-001", made=-100, ends=-1)), "MAU-001")
    assert found.status == "manual"
    assert "expired" in found.evidence


def test_a_denied_duty_fails(work: Path) -> None:
    found = of(audit(work, stated("LIT-001", answer="no")), "LIT-001")
    assert found.status == "fail"
    assert "stated not to be met" in found.evidence


def test_what_files_decide_cannot_be_stated(work: Path) -> None:
    with pytest.raises(UsageError, match="LIC-001"):
        audit(work, stated("LIC-001"))


def test_a_waiver_marks_a_failure_and_the_exit_code_follows(work: Path) -> None:
    fails = {finding.id for finding in audit(work).findings if finding.status == "fail"}
    report = audit(work, "".join(waived(rule) for rule in fails))
    assert {finding.id for finding in report.findings if finding.status == "fail"} == fails  # marked, not hidden
    assert all(of(report, rule).waived_until for rule in fails)
    assert report.exit_code == 0
    assert of(report, "WVR-001").status == "pass"


def test_an_expired_waiver_covers_nothing_and_is_a_finding(work: Path) -> None:
    report = audit(work, waived("LIC-001", ends=-1))
    assert of(report, "LIC-001").waived_until is None
    assert of(report, "WVR-001").status == "warn"
    assert report.exit_code == 1


def test_a_waiver_of_another_subject_covers_nothing(work: Path) -> None:
    assert of(audit(work, waived("LIC-001", subject="other/*")), "LIC-001").waived_until is None
    assert of(audit(work, waived("LIC-001", subject="suspect")), "LIC-001").waived_until is not None


def test_a_pinned_waiver_ends_when_the_file_changes(work: Path) -> None:
    import hashlib  # noqa: PLC0415 (only here)

    card = work / "suspect" / "README.md"
    pin = f'digest = "sha256:{hashlib.sha256(card.read_bytes()).hexdigest()}"'
    assert of(audit(work, waived("CARD-001", extra=pin)), "CARD-001").waived_until is not None
    card.write_text(card.read_text() + "changed\n")
    report = audit(work, waived("CARD-001", extra=pin))
    assert of(report, "CARD-001").waived_until is None
    assert of(report, "WVR-001").status == "warn"


@pytest.mark.parametrize("settings", ["x", "[[waivers]]\n", "[[waiver]]\nrule = 'LIC-001'\n"])
def test_settings_that_are_not_understood_stop_the_audit(work: Path, settings: str) -> None:
    with pytest.raises(UsageError, match=r"auditor\.toml"):
        audit(work, settings)


def test_settings_in_the_target_are_not_the_users(work: Path) -> None:
    (work / "suspect" / "auditor.toml").write_text(stated("MAU-001"))
    assert of(audit(work), "MAU-001").status == "manual"


@pytest.mark.parametrize(("profile", "expected"), [("publisher", "fail"), ("deployer", "n/a"), ("internal", "n/a")])
def test_duties_differ_by_profile(work: Path, profile: str, expected: str) -> None:
    report = audit(work, profile=profile)
    assert of(report, "LIC-001").status == expected
    assert of(report, "MAU-001").status == "manual"


def test_without_evidence_of_the_weights_nothing_about_descent_fails(work: Path) -> None:
    (work / "suspect" / "README.md").write_text("---\nlicense: mit\nbase_model: example/base-7b\n---\n# Suspect\n")
    other = write_model(make_model(9, hidden=32), work / "other-base")
    (work / "other.sketch").write_bytes(sketch(str(other), name="base-2"))
    report = audit(work, against=(str(work / "other.sketch"),))
    assert report.lineage.verdict == "inconclusive"
    assert of(report, "LIC-001").status == "warn"
    assert of(report, "CARD-001").status == "warn"
    assert not [finding for finding in report.findings if finding.status == "fail"]


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("README.md", "---\nlicense: mit\nlicense: llama2\n---\n", "FILE-005"),
        ("README.md", "---\na: &a [x]\nb: *a\n---\n", "FILE-005"),
        ("config.json", '{"model_type": "a", "model_type": "b"}', "FILE-005"),
        ("config.json", "[" * 100_000, "FILE-005"),
        ("config.json", '{"auto_map": {"AutoModel": "modeling.Model"}}', "FILE-006"),
    ],
)
def test_what_is_wrong_with_metadata_is_a_finding(work: Path, name: str, content: str, rule: str) -> None:
    assert of(audit(work), rule).status == "pass"
    (work / "suspect" / name).write_text(content)
    report = audit(work)
    assert of(report, rule).status == "warn"
    assert of(report, rule).path == name
    assert report.lineage.verdict == "derived"  # the weights are audited all the same
