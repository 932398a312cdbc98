"""JUnit: read back by a parser that many use, one case a rule, and nothing that XML 1.0 has no place for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from modelkit import drifted, make_model, write_model
from reportkit import CASES, FAIL, HOSTILE, PASS, hostile, rendered

from auditor.audit import Options, scan
from auditor.enrolling import sketch
from auditor.report import Placed, Report, render

if TYPE_CHECKING:
    from auditor.findings import Finding

GOLDENS = Path(__file__).parent / "goldens"


def suites(*placed: Placed) -> list[TestSuite]:
    return list(JUnitXml.fromstring(render("junit", placed).encode()))


def suite(report: Report) -> TestSuite:
    (only,) = suites(Placed(report=report))
    return only


def cases(report: Report) -> dict[str, TestCase]:
    return {case.name.split(" ")[0]: case for case in suite(report)}


def outcome(*findings: Finding) -> object:
    results = cases(replace(CASES["derived"], findings=findings))["FILE-002"].result
    return type(results[0]) if results else None


@pytest.mark.parametrize("case", CASES)
def test_goldens(case: str, update_goldens: bool) -> None:  # noqa: FBT001 (a fixture)
    path = GOLDENS / f"{case}.junit"
    text = rendered("junit", CASES[case])
    if update_goldens:
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_read_back_as_text(text: str) -> None:
    made = suite(hostile(text))
    assert (made.tests, made.failures, made.errors) == (3, 1, 1)
    assert [prop.name for prop in made.properties()].count("adapter") == 1


@given(text=st.text(alphabet=st.characters(codec=None), min_size=1))
def test_any_text_gives_xml_that_parses(text: str) -> None:
    assert suite(hostile(text)).tests == 3


@pytest.mark.parametrize("char", ["\ufffe", "\uffff", "\ufdd0", "\x0b", "\ud800"])
def test_what_xml_has_no_place_for_is_spelled_out(char: str) -> None:
    shown = rendered("junit", hostile(f"a{char}b"))
    assert char not in shown
    assert f"\\x{ord(char):02x}" in shown or f"\\u{ord(char):04x}" in shown


@pytest.mark.parametrize(
    ("status", "expected"),
    [("fail", Failure), ("unknown", Error), ("n/a", Skipped), ("warn", None), ("manual", None), ("pass", None)],
)
def test_every_status_is_an_outcome(status: str, expected: object) -> None:
    assert outcome(replace(FAIL, status=status)) is expected  # type: ignore[arg-type]


def test_warnings_pass_and_say_so() -> None:
    case = cases(replace(CASES["derived"], findings=(replace(FAIL, status="warn"),)))["FILE-002"]
    assert case.system_out.startswith("- warn: a.safetensors: loaders may pick")


def test_what_is_waived_is_skipped_and_what_nobody_saw_cannot_be() -> None:
    waived = {"waived_until": "2999-01-01"}
    assert outcome(replace(FAIL, **waived)) is Skipped  # type: ignore[arg-type]
    assert outcome(replace(FAIL, **waived), FAIL) is Failure  # type: ignore[arg-type]
    assert outcome(replace(FAIL, status="unknown", **waived)) is Error  # type: ignore[arg-type]
    (skipped,) = cases(replace(CASES["derived"], findings=(replace(FAIL, **waived),)))["FILE-002"].result  # type: ignore[arg-type]
    assert skipped.message == "waived until 2999-01-01"


def test_one_case_a_rule_however_many_findings() -> None:
    findings = (PASS, FAIL, replace(FAIL, path="b.safetensors"))
    made = suite(replace(CASES["derived"], findings=findings))
    assert (made.tests, made.failures) == (3, 1)
    (failure,) = cases(replace(CASES["derived"], findings=findings))["FILE-002"].result
    assert "a.safetensors" in failure.text
    assert "b.safetensors" in failure.text


def test_no_verdict_is_an_error_and_a_verdict_passes_whichever_it_is() -> None:
    for name in ("derived", "independent", "adapter-embeddings"):
        assert cases(CASES[name])["lineage"].result == []
    for name in ("inconclusive", "adapter", "empty"):
        (error,) = cases(CASES[name])["lineage"].result
        assert (type(error), error.type) == (Error, "AUD-002")
    assert "AUD-001" in cases(CASES["inconclusive"])


def test_a_suite_for_each_target() -> None:
    made = suites(Placed(report=CASES["derived"]), Placed(report=CASES["empty"]))
    assert [(each.failures, each.errors) for each in made] == [(1, 0), (0, 1)]


def test_a_real_report(tmp_path: Path) -> None:
    base = make_model(1)
    (tmp_path / "s").write_bytes(sketch(str(write_model(base, tmp_path / "base")), name="llama-2-7b"))
    folder = write_model(drifted(base, cosine=0.8), tmp_path / "target")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    found = scan(str(folder), Options(against=(str(tmp_path / "s"),)))
    made = suite(found)
    rules = {finding.id for finding in found.findings}
    assert {case.name.split(" ")[0] for case in made} == rules | {"lineage"}
    assert made.failures == len({finding.id for finding in found.findings if finding.status == "fail"}) > 0
    assert {prop.name: prop.value for prop in made.properties()}["verdict"] == "derived"
