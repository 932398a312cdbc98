"""Reports: the contract, the text a person reads, and hostile strings in both."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import jsonschema
import pytest
from modelkit import drifted, make_model, write_model
from reportkit import CASES, INDEPENDENT, PASS, rendered

from auditor.audit import Options, scan
from auditor.enrolling import sketch
from auditor.lineage import Lineage
from auditor.report import exit_code
from auditor.report.schema import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDENS = Path(__file__).parent / "goldens"
VALIDATOR = jsonschema.Draft202012Validator(load_schema())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["text", "json"])
def test_goldens(case: str, name: str, update_goldens: bool) -> None:  # noqa: FBT001 (a fixture)
    path = GOLDENS / f"{case}.{name}"
    text = rendered(name, CASES[case])
    if update_goldens:
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("case", CASES)
def test_every_report_satisfies_the_schema(case: str) -> None:
    VALIDATOR.validate(json.loads(rendered("json", CASES[case])))


def test_the_schema_is_sound_and_strict() -> None:
    jsonschema.Draft202012Validator.check_schema(load_schema())
    data = CASES["derived"].as_dict()
    for broken in (
        {**data, "exit_code": 2},
        {**data, "extra": 1},
        {k: v for k, v in data.items() if k != "coverage"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(json.loads(json.dumps(broken)))


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for each in node.values():
            yield from references(each)
    elif isinstance(node, list):
        for each in node:
            yield from references(each)


def test_what_the_schema_refers_to_is_in_it() -> None:
    schema = load_schema()
    assert set(references(schema)) == {f"#/$defs/{name}" for name in cast("dict[str, object]", schema["$defs"])}


def test_the_contract_has_the_agreed_fields() -> None:
    data = CASES["derived"].as_dict()
    assert list(data) == ["schema_version", "tool", "target", "lineage", "findings", "coverage", "exit_code"]
    lineage = data["lineage"]
    assert isinstance(lineage, dict)
    assert {
        "verdict", "reference", "rung", "log10_p", "exact", "cosine", "relation", "layers", "supporting",
        "detection_limit", "candidates",
    } <= set(lineage)  # fmt: skip
    assert lineage["layers"][0] == {
        "target": 0, "reference": 0, "fixed_points": 16, "n": 16, "cosine": 0.93, "log10_p": -13.3206,
    }  # fmt: skip


def test_a_real_report_satisfies_the_schema(tmp_path: Path) -> None:
    base, target = make_model(1), drifted(make_model(1), cosine=0.8)
    (tmp_path / "s").write_bytes(sketch(str(write_model(base, tmp_path / "base")), name="base"))
    for model in (target, make_model(2)):
        folder = write_model(model, tmp_path / str(id(model)), shards=2)
        found = scan(str(folder), Options(against=(str(tmp_path / "s"),)))
        VALIDATOR.validate(json.loads(rendered("json", found)))


@pytest.mark.parametrize(
    ("status", "fail_on", "expected"),
    [
        ("fail", "fail", 1), ("warn", "fail", 0), ("warn", "warn", 1), ("manual", "warn", 0), ("manual", "manual", 1),
        ("fail", "never", 0), ("pass", "manual", 0), ("unknown", "fail", 3), ("unknown", "never", 3),
    ],
)  # fmt: skip
def test_fail_on(status: str, fail_on: str, expected: int) -> None:
    lineage = Lineage(verdict="independent", best=INDEPENDENT, candidates=(INDEPENDENT,))
    finding = replace(PASS, status=status)  # type: ignore[arg-type]
    arguments = {"lineage": lineage, "unread": (), "fail_on": fail_on, "fail_on_incomplete": True}
    assert exit_code(findings=(finding,), **arguments) == expected  # type: ignore[arg-type]
    waived = replace(finding, waived_until="2999-01-01")
    unseen = 3 if status == "unknown" else 0  # nobody can accept what was not seen
    assert exit_code(findings=(waived,), **arguments) == unseen  # type: ignore[arg-type]


def test_text_is_at_most_80_columns_wide() -> None:
    for case in CASES.values():
        assert max(map(len, rendered("text", case).splitlines())) <= 80
