"""The report as SARIF 2.1.0, for code scanning: alerts at the line of the user's repository that names the model.

GitHub takes a subset of the format; what is done for its sake says so.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from auditor.escape import visible
from auditor.lineage import FOUND
from auditor.report.catalogue import LINEAGE, cover, known_rules
from auditor.report.contract import EXIT_INCOMPLETE
from auditor.report.locating import LONGEST, inside, locate, target_name
from auditor.report.results import results
from auditor.report.words import evidence_in_words, exit_in_words, verdict_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditor.findings import Finding
    from auditor.report.contract import Report
    from auditor.report.results import Placed, Result

    Json = dict[str, object]

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_RUNS: Final = 20
"""Runs in a file, of which GitHub refuses more."""
_RESULTS: Final = 25_000
"""Results in a run, likewise."""
_NOTIFIED: Final = 1_000  # things not read that an invocation lists; each is a result too
_GRAVEST: Final = ("error", "warning", "note")
_NAME: Final = 128  # characters of a rule's name
_ADDRESS: Final = re.compile(r"https?://[\w.~-]+(:[0-9]+)?/[\w.~%/-]+")
_DIGITS: Final = 16  # of a fingerprint in the field that GitHub compares; its own hashes are as long


def render(placed: Sequence[Placed]) -> str:
    """Return reports as one SARIF file in ASCII.

    All models that one list names are one run, so that the alerts of a model that leaves the list are closed with the
    next upload; GitHub keeps those of a category (`automationDetails.id`) that is never uploaded again. A report
    without a place is a run of its own.
    """
    groups: dict[str, list[Placed]] = {}
    for each in placed:
        groups.setdefault(_category(each), []).append(each)
    if len(groups) > _RUNS:
        groups = {"models": list(placed)}
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(name, group) for name, group in groups.items()]}
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _category(each: Placed) -> str:
    named = inside(each.place.path) if each.place is not None else target_name(each.report.target)
    return named or "models"


def _run(category: str, placed: Sequence[Placed]) -> Json:
    rules: dict[str, Json] = {}
    listed = [result for each in placed for result in _results(each, rules)]
    invocations = [_invocation(each, rules) for each in placed]
    if len(listed) > _RESULTS:
        listed.sort(key=lambda result: _GRAVEST.index(str(result["level"])))
        left = f"{len(listed) - _RESULTS} more results have no room in a run; the gravest are listed"
        invocations.append({"executionSuccessful": False, "toolExecutionNotifications": [_notification(left)]})
        del listed[_RESULTS:]
    provenance = [repository for each in placed if (repository := _repository(each.report))]
    version = visible(placed[0].report.tool_version) or "0"
    return {
        "automationDetails": {"id": f"auditor/{category}/"},
        "tool": {"driver": {"name": "auditor", "version": version, "rules": list(rules.values())}},
        "columnKind": "unicodeCodePoints",
        "invocations": invocations,
        **({"versionControlProvenance": provenance} if provenance else {}),
        "results": listed,
        "properties": {"targets": [_about(each.report) for each in placed]},
    }


def _results(each: Placed, rules: dict[str, Json]) -> Iterator[Json]:
    """Yield what there is to look at; what is kept or does not apply is no result: GitHub would show it as an alert."""
    report = each.report
    if report.lineage.verdict in FOUND:
        yield _lineage(each, rules)
    for result in results(report):
        if result.level != "none":
            yield _result(each, result, rules)


def _result(each: Placed, result: Result, rules: dict[str, Json]) -> Json:
    finding = result.finding
    covered = cover(finding)
    parts = (finding.title, finding.evidence, f"({covered})" if covered else "", f"Fix: {finding.fix or ''}")
    text = ". ".join(part.rstrip(". ") for part in parts if part.strip() not in {"", "Fix:"})
    suppression = {"kind": "external", "status": "accepted", "justification": _plain(covered or "")}
    return {
        "ruleId": visible(finding.id),
        "ruleIndex": _index(finding.id, finding.title, rules),
        # GitHub does not know suppressions: as a note, what is covered fails no check.
        "level": "note" if covered else result.level,
        "message": {"text": _message(each.report, f"{text}.")},
        "locations": [_location(each, finding.path)],
        "partialFingerprints": _fingerprints(result.fingerprint),
        "suppressions": [suppression] if covered else [],
        "properties": {"status": finding.status, **({"clause": visible(finding.clause)} if finding.clause else {})},
    }


def _lineage(each: Placed, rules: dict[str, Json]) -> Json:
    """Return the verdict as a note: a pull request shows what the model is, where that is no fault of it."""
    lineage = each.report.lineage
    text = f"{lineage.verdict}: {verdict_in_words(lineage)}"
    if lineage.best is not None:
        text += f". Evidence: {evidence_in_words(lineage.best)}"
    mark = f"{LINEAGE.id}\0{each.report.target.uri}".encode("utf-8", "surrogatepass")
    return {
        "ruleId": LINEAGE.id,
        "ruleIndex": _index(LINEAGE.id, LINEAGE.title, rules),
        "level": "note",  # its kind is no other than the default: SARIF has levels for nothing else
        "message": {"text": _message(each.report, f"{text}.")},
        "locations": [_location(each, lineage.best.model if lineage.best is not None else None)],
        "partialFingerprints": _fingerprints(hashlib.sha256(mark).hexdigest()),
        "suppressions": [],
        "properties": _about(each.report),
    }


def _fingerprints(mark: str) -> Json:
    """Return what alerts are matched by from run to run.

    GitHub takes `primaryLocationLineHash` as it is, or else computes one from the line: then two findings of one rule
    on one line would be one alert, and a line added below would open all of them anew.
    """
    return {"primaryLocationLineHash": f"{mark[:_DIGITS]}:1", "auditor/v1": mark}


def _location(each: Placed, path: str | None) -> Json:
    place = locate(each, path)
    target = visible(each.report.target.uri, limit=LONGEST)
    name = visible(path, limit=LONGEST) if path else target
    logical = {"name": name, "fullyQualifiedName": f"{target}/{name}" if path else target, "kind": "resource"}
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(place.path, safe="/")},
            "region": {"startLine": place.line, "startColumn": place.column},
        },
        "logicalLocations": [logical],
    }


def _invocation(each: Placed, rules: dict[str, Json]) -> Json:
    report = each.report
    missed = [result for result in results(report) if result.finding.id.startswith("AUD-")]
    return {
        "executionSuccessful": not missed and report.exit_code != EXIT_INCOMPLETE,
        "exitCode": report.exit_code,
        "exitCodeDescription": exit_in_words(report),
        "toolExecutionNotifications": [_missing(each, result.finding, rules) for result in missed[:_NOTIFIED]]
        + ([_notification(f"and {len(missed) - _NOTIFIED} more")] if len(missed) > _NOTIFIED else []),
    }


def _missing(each: Placed, finding: Finding, rules: dict[str, Json]) -> Json:
    """Return what was not read, or not answered, as a fault of the run."""
    return _notification(_message(each.report, f"{finding.title}: {finding.evidence}")) | {
        "associatedRule": {"id": finding.id, "index": _index(finding.id, finding.title, rules)},
        "locations": [_location(each, finding.path)],
    }


def _notification(text: str) -> Json:
    return {"level": "error", "message": {"text": text}}


def _index(rule_id: str, title: str, rules: dict[str, Json]) -> int:
    """Return the place of a rule in the list of those that appear, and put it there if it is new."""
    if rule_id not in rules:
        rules[rule_id] = _rule(rule_id, title)
    return list(rules).index(rule_id)


def _rule(rule_id: str, title: str) -> Json:
    known = known_rules().get(rule_id)
    title = _plain(known.title if known is not None else title) or visible(rule_id)
    words = re.findall(r"[A-Za-z0-9]+", title)
    described: Json = {
        "id": visible(rule_id),
        "name": "".join(word[0].upper() + word[1:] for word in words)[:_NAME] or visible(rule_id),
        "shortDescription": {"text": f"{title.rstrip('.')}."},
    }
    if known is None:
        return described
    why, fix = _plain(known.why), _plain(known.fix)
    return described | {
        "fullDescription": {"text": why},
        "help": {"text": f"{why}\n\nFix: {fix}", "markdown": f"{why}\n\n**Fix**: {fix}"},
    }


def _about(report: Report) -> Json:
    """Return target and verdict with the numbers behind it, as the JSON contract has them."""
    data = report.as_dict()["lineage"]
    numbers = data if isinstance(data, dict) else {}
    kept = ("verdict", "reference", "rung", "log10_p", "exact", "cosine", "detection_limit")
    return {
        "target": visible(report.target.uri, limit=LONGEST),
        "revision": visible(report.target.revision) if report.target.revision is not None else None,
        **{key: visible(value) if isinstance(value := numbers.get(key), str) else value for key in kept},
        "complete": report.coverage.complete,
        "exitCode": report.exit_code,
    }


def _repository(report: Report) -> Json | None:
    """Return the repository on a Hub that a target is; None for any other target."""
    uri, revision = report.target.uri.split("#", 1)[0], report.target.revision
    address = f"https://huggingface.co/{uri.removeprefix('hf://')}" if uri.startswith("hf://") else uri
    safe = quote(visible(address, limit=LONGEST), safe=":/")
    if report.target.kind != "hub" or not _ADDRESS.fullmatch(safe):
        return None
    return {"repositoryUri": safe, **({"revisionId": visible(revision)} if revision is not None else {})}


def _message(report: Report, text: str) -> str:
    return _plain(f"{report.target.uri}: {text}")


def _plain(text: str) -> str:
    """Return a text that SARIF takes as it is: braces mean placeholders there, and `[text](address)` a link."""
    shown = visible(text, limit=LONGEST).replace("{", "{{").replace("}", "}}")
    return shown.replace("](", "] (")
