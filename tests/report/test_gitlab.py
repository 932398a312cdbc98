"""GitLab's code quality report: the documented fields, and only what someone has to act on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelkit import make_model, write_model
from reportkit import CASES, FAIL, HOSTILE, PASS, hostile, rendered

from auditor.audit import Options, scan
from auditor.report import Place, Placed, Report, render

GOLDENS = Path(__file__).parent / "goldens"
PLACE = Place(path="ci/models.yaml", line=7)

# Written here from GitLab's documentation of the format: no package ships a schema of it.
VALIDATOR = jsonschema.Draft202012Validator(
    {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["description", "check_name", "fingerprint", "severity", "location"],
            "additionalProperties": False,
            "properties": {
                "description": {"type": "string", "minLength": 1},
                "check_name": {"type": "string", "minLength": 1},
                "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
                "location": {
                    "type": "object",
                    "required": ["path", "lines"],
                    "properties": {
                        "path": {"type": "string", "pattern": "^[^/]"},
                        "lines": {"required": ["begin"], "properties": {"begin": {"type": "integer", "minimum": 1}}},
                    },
                },
            },
        },
    }
)


def issues(*placed: Placed) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(render("gitlab", placed))
    VALIDATOR.validate(listed)
    return listed


def of(report: Report, place: Place | None = None) -> list[dict[str, Any]]:
    return issues(Placed(report=report, place=place))


@pytest.mark.parametrize("case", CASES)
def test_goldens(case: str, update_goldens: bool) -> None:  # noqa: FBT001 (a fixture)
    path = GOLDENS / f"{case}.gitlab"
    text = rendered("gitlab", CASES[case])
    if update_goldens:
        path.write_text(text)
    assert text == path.read_text()
    VALIDATOR.validate(json.loads(text))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_satisfies_the_format(text: str) -> None:
    assert len(of(hostile(text))) == 2
    assert len(of(hostile(text), Place(path=text, line=0))) == 2


@given(path=st.text(max_size=30) | st.sampled_from(["", "..", "/", "../../x", "/etc/passwd"]))
def test_no_path_leaves_the_repository(path: str) -> None:
    for issue in of(replace(CASES["derived"], findings=(replace(FAIL, path=path),))):
        assert not {"", ".", ".."} & set(issue["location"]["path"].split("/"))


def test_every_status_that_asks_for_something_has_a_severity() -> None:
    statuses = ("fail", "unknown", "warn", "manual", "pass", "n/a")
    findings = tuple(replace(FAIL, id=f"X-{number}", status=status) for number, status in enumerate(statuses))  # type: ignore[arg-type]
    listed = of(replace(CASES["derived"], findings=findings))
    assert [issue["severity"] for issue in listed] == ["critical", "major", "minor", "info"]


def test_what_is_waived_or_in_the_baseline_is_not_listed() -> None:
    findings = (replace(FAIL, waived_until="2999-01-01"), replace(FAIL, in_baseline=True), PASS)
    assert of(replace(CASES["derived"], findings=findings)) == []


def test_models_of_a_list_are_one_flat_list_at_their_lines() -> None:
    reports = [replace(CASES["derived"], target=replace(CASES["derived"].target, uri=uri)) for uri in ("a", "b")]
    listed = issues(*(Placed(report=each, place=replace(PLACE, line=n)) for n, each in enumerate(reports, start=7)))
    assert [issue["location"]["lines"]["begin"] for issue in listed] == [7, 8]
    assert {issue["location"]["path"] for issue in listed} == {"ci/models.yaml"}
    assert len({issue["fingerprint"] for issue in listed}) == 2


def test_a_real_report_that_gives_no_verdict(tmp_path: Path) -> None:
    folder = write_model(make_model(1), tmp_path / "target")
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04 no archive")
    listed = of(scan(str(folder), Options()), PLACE)
    assert {issue["check_name"] for issue in listed} >= {"AUD-001", "AUD-002"}
