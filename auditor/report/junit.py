"""The report as JUnit XML: a suite for each target, a case for each rule and one for the verdict on the weights."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Final

from auditor.escape import visible
from auditor.report.catalogue import LINEAGE, cover
from auditor.report.locating import LONGEST
from auditor.report.results import results
from auditor.report.words import adapter_in_words, evidence_in_words, exit_in_words, verdict_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditor.findings import Finding
    from auditor.report.contract import Report
    from auditor.report.results import Placed

_NO_VERDICT: Final = "AUD-002"

_ILLEGAL: Final = re.compile("[\ufdd0-\ufdef]|[^\\t\\n\\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no place for, beside controls; the first kind it only discourages."""

_ELEMENTS: Final = {"failures": "<failure", "errors": "<error", "skipped": "<skipped"}


def render(placed: Sequence[Placed]) -> str:
    """Return reports as one JUnit file.

    Where one rule has several findings, its case fails if any fails, else is an error if any is unknown, and is
    skipped if all are waived, in the baseline or do not apply. Warnings and what a person must say pass, and say so.
    """
    suites = "".join(_suite(each.report) for each in placed)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="auditor">\n{suites}</testsuites>\n'


def _suite(report: Report) -> str:
    cases = [_verdict(report)]
    grouped: dict[str, list[Finding]] = {}
    for result in results(report):
        if result.finding.id != _NO_VERDICT:  # the case of the verdict says it
            grouped.setdefault(result.finding.id, []).append(result.finding)
    cases += [_case(report, f"{rule} {found[0].title}", _outcome(found)) for rule, found in grouped.items()]
    counts = " ".join(f'{name}="{sum(mark in case for case in cases)}"' for name, mark in _ELEMENTS.items())
    properties = "".join(f"    <property{_attributes(name=name, value=value)}/>\n" for name, value in _about(report))
    head = f"{_attributes(name=report.target.uri)} {_attributes(tests=str(len(cases))).strip()} {counts}"
    time = f'time="{report.coverage.seconds:.3f}"'
    return f"  <testsuite{head} {time}>\n  <properties>\n{properties}  </properties>\n{''.join(cases)}  </testsuite>\n"


def _about(report: Report) -> Iterator[tuple[str, str]]:
    lineage, best = report.lineage, report.lineage.best
    yield "verdict", lineage.verdict
    yield "revision", report.target.revision or ""
    if best is not None:
        yield "reference", best.reference
        yield "log10_p", f"{best.log10_p:.6g}" if best.log10_p is not None else ""
        yield "evidence", evidence_in_words(best)
    for adapter in report.target.adapters:
        yield "adapter", adapter_in_words(adapter)
    yield "complete", str(report.coverage.complete).lower()
    yield "exit_code", str(report.exit_code)
    yield "exit", exit_in_words(report)
    yield "tool", f"auditor {report.tool_version}"


def _verdict(report: Report) -> str:
    """Return the case that passes where the weights gave an answer, whichever it was."""
    lineage = report.lineage
    said = f"{lineage.verdict}: {verdict_in_words(lineage)}"
    if lineage.verdict in {"inconclusive", "adapter"}:
        return _case(report, LINEAGE.id, _problem("error", _NO_VERDICT, [said]))
    seen = f"\n- {evidence_in_words(lineage.best)}" if lineage.best is not None else ""
    return _case(report, LINEAGE.id, _element("system-out", f"- {said}{seen}"))


def _outcome(found: Sequence[Finding]) -> str:
    """Return what stands in the case of a rule."""
    open_ = [finding for finding in found if not cover(finding)]
    rule = found[0].id
    for status, name in (("fail", "failure"), ("unknown", "error")):
        if grave := [finding for finding in open_ if finding.status == status]:
            return _problem(name, rule, [_said(finding) for finding in grave])
    if all(cover(finding) or finding.status == "n/a" for finding in found):
        reasons = dict.fromkeys(cover(finding) or f"does not apply: {finding.evidence}" for finding in found)
        return f"    <skipped{_attributes(message='; '.join(reasons))}/>\n"
    told = [f"{finding.status}: {_said(finding)}" for finding in open_ if finding.evidence]
    return _element("system-out", "\n".join(f"- {line}" for line in told)) if told else ""


def _said(finding: Finding) -> str:
    where = f"{finding.path}: " if finding.path else ""
    said = f"{where}{finding.evidence or finding.title}"
    return visible(f"{said.rstrip('.')}. Fix: {finding.fix}" if finding.fix else said, limit=LONGEST)


def _problem(name: str, rule: str, lines: Sequence[str]) -> str:
    first = lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")
    text = _text("\n".join(f"- {line}" for line in lines))
    return f"    <{name}{_attributes(message=first, type=rule)}>{text}</{name}>\n"


def _case(report: Report, name: str, inner: str) -> str:
    head = _attributes(classname=f"auditor.{report.target.uri}", name=name)
    return f"  <testcase{head}>\n{inner}  </testcase>\n" if inner else f"  <testcase{head}/>\n"


def _element(name: str, text: str) -> str:
    return f"    <{name}>{_text(text)}</{name}>\n"


def _attributes(**values: str) -> str:
    return "".join(f' {name}="{_line(value)}"' for name, value in values.items())


def _text(text: str) -> str:
    return "\n".join(_line(line) for line in text.split("\n"))


def _line(text: str) -> str:
    """Return a text of one line as XML 1.0 can carry it, in an attribute or between tags."""
    legal = _ILLEGAL.sub(lambda match: f"\\u{ord(match.group()):04x}", visible(text, limit=LONGEST))
    return html.escape(legal)
