"""A report read back from its JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from modelkit import drifted, make_model, write_model
from reportkit import CASES, HOSTILE, hostile, rendered

from auditor.audit import Options, scan
from auditor.errors import ConfigError
from auditor.report import FORMATS, Report
from auditor.report.reading import parse_report

if TYPE_CHECKING:
    from pathlib import Path


def again(report: Report) -> Report:
    return parse_report(rendered("json", report).encode(), file="r.json")


@pytest.mark.parametrize("case", CASES)
def test_what_was_written_reads_the_same(case: str) -> None:
    assert again(CASES[case]).as_dict() == CASES[case].as_dict()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_every_format_is_the_same_from_what_was_read(case: str, name: str) -> None:
    assert rendered(name, again(CASES[case])) == rendered(name, CASES[case])


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_survives_as_it_is(text: str) -> None:
    assert again(hostile(text)).as_dict() == hostile(text).as_dict()


def test_a_real_report_reads_the_same(tmp_path: Path) -> None:
    base = make_model(1)
    folder = write_model(base, tmp_path / "base")
    for number, model in enumerate((drifted(base, cosine=0.8), make_model(2))):
        target = write_model(model, tmp_path / f"target{number}")
        found = scan(str(target), Options(against=(str(folder),)))
        assert again(found).as_dict() == found.as_dict()
        assert rendered("text", again(found)) == rendered("text", again(again(found)))


BROKEN = [
    ("schema_version", "2", "schema_version: of another version"),
    ("exit_code", 2, "exit_code: none of 0, 1, 3"),
    ("exit_code", True, "exit_code: must be an integer"),
    ("target", [], "target: must be an object"),
    ("findings", {}, "findings: must be a list"),
    ("findings", [{"id": "X"}], "findings[0].status: must be a string"),
    ("lineage", {"candidates": [], "reference": "x"}, "lineage.reference: none of the candidates"),
    ("lineage", {"candidates": [], "verdict": "fine"}, "lineage.verdict: none of identical"),
    ("coverage", {"unread": [], "bytes_read": 10**400}, "coverage.bytes_read: must be an integer, and not negative"),
    (
        "coverage",
        {"unread": [], "bytes_read": 0, "requests": 0, "seconds": 10**400},
        "coverage.seconds: must be a finite number",
    ),
    ("coverage", {"unread": [], "bytes_read": -1}, "coverage.bytes_read: must be an integer, and not negative"),
]


@pytest.mark.parametrize(("field", "value", "says"), BROKEN)
def test_what_is_no_report_is_refused_by_field(field: str, value: object, says: str) -> None:
    document = json.loads(rendered("json", CASES["derived"])) | {field: value}
    with pytest.raises(ConfigError) as refused:
        parse_report(json.dumps(document).encode(), file="r.json")
    assert str(refused.value).startswith(f"r.json: {says}")


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"schema_version": NaN}'])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_report(data, file="r.json")


def test_numbers_that_are_none_are_refused() -> None:
    text = rendered("json", replace(CASES["derived"])).replace("-812.4", "NaN")
    with pytest.raises(ConfigError, match="must be a finite number"):
        parse_report(text.encode(), file="r.json")
