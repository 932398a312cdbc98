"""Twelve whole repositories, weights and all, through the audit: exactly what fails, warns, or a person must say.

Small models stand in: one is enrolled as the protected base, its drifted copy is the derivative, another seed is
independent of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from modelkit import write_model
from twelve import BASE, KINDS, POLICIES, SPOKEN, by_status, finding, said

from auditor.audit import Options, scan
from auditor.enrolling import sketch

if TYPE_CHECKING:
    from pathlib import Path

    from auditor.report import Report


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sketch of the base, the policies, and every repository."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "base.sketch").write_bytes(sketch(str(write_model(BASE, folder / "enrolled")), name="base-7b"))
    for name, text in POLICIES.items():
        (folder / name).write_text(text)
    for name, kind in KINDS.items():
        kind.build(folder / name.replace(" ", "-"))
    return folder


def audit(desk: Path, name: str, **options: object) -> Report:
    kind = KINDS[name]
    chosen: dict[str, object] = {"against": (str(desk / "base.sketch"),), "policies": (str(desk / kind.policy),)}
    return scan(str(desk / name.replace(" ", "-")), Options(**(chosen | options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", KINDS)
def test_what_is_said_of_it(desk: Path, name: str) -> None:
    kind = KINDS[name]
    report = audit(desk, name)
    assert report.lineage.verdict == kind.verdict
    assert by_status(report) == {
        "fail": said(kind.fails),
        "warn": said(kind.warns),
        "manual": set(SPOKEN) if kind.bound else set(),
        "unknown": set(),
    }
    assert report.exit_code == kind.exit_code
    for rule, evidence, fix in kind.details:
        found = finding(report, rule)
        assert evidence in found.evidence
        assert fix in str(found.fix)


@pytest.mark.parametrize("name", KINDS)
def test_without_a_reference_it_warns_and_nothing_fails(desk: Path, name: str) -> None:
    kind = KINDS[name]
    report = audit(desk, name, against=())
    assert report.lineage.verdict == ("adapter" if name == "adapter only" else "inconclusive")
    assert by_status(report) == {
        "fail": set(),
        "warn": said(kind.untested),
        "manual": set(SPOKEN) if kind.untested_bound else set(),
        "unknown": set(),
    }
    assert report.exit_code == 3


@pytest.mark.parametrize(
    ("profile", "fails", "manual"),
    [
        ("publisher", "LIC-001 NOT-001 CARD-001 BASE-001", SPOKEN),
        ("deployer", "CARD-001 BASE-001", SPOKEN),
        ("internal", "BASE-001", SPOKEN),
    ],
)
def test_duties_differ_by_profile(desk: Path, profile: str, fails: str, manual: tuple[str, ...]) -> None:
    report = audit(desk, "relicensed fine-tune", profile=profile)
    found = by_status(report)
    assert found["fail"] == said(fails)
    assert found["manual"] == set(manual)
    assert found["warn"] == said("OSI-001 OWN-001" if profile == "internal" else "AUP-001 OSI-001 OWN-001")
    assert finding(report, "LIC-001").status == ("fail" if profile == "publisher" else "n/a")


def test_strict_makes_an_open_source_boast_fail(desk: Path) -> None:
    report = audit(desk, "relicensed fine-tune", strict=True)
    assert "OSI-001" in by_status(report)["fail"]


def test_the_same_files_without_the_licence_part(desk: Path) -> None:
    report = audit(desk, "relicensed fine-tune", licence=False)
    assert {each.id[:4] for each in report.findings} == {"FILE", "WVR-"}
