"""The report as GitHub Flavored Markdown: the summary of a job, or a comment on a pull request."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from auditor.report.catalogue import cover, known_rules
from auditor.report.gfm import code, filled
from auditor.report.results import results
from auditor.report.text import about, beside, coverage
from auditor.report.words import evidence_in_words, exit_in_words, relation_in_words, verdict_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from auditor.findings import Finding
    from auditor.lineage import Candidate, Lineage
    from auditor.report.contract import Report
    from auditor.report.results import Placed

    Words = Callable[[Candidate], str]

_SUMMARY: Final = 1024 * 1024
"""Bytes of a job's summary, above which GitHub shows none of it."""
_ROOM: Final = _SUMMARY * 3 // 4  # filled with sections: the rest is for the list above them and for other steps
_ROWS: Final = 50  # findings of a target
_MODELS: Final = 200  # rows of the list of targets
_CELL: Final = 400  # characters of evidence in a table

_ALERTS: Final = {0: "NOTE", 1: "CAUTION", 3: "WARNING"}
_GRAVITY: Final = ("fail", "unknown", "warn", "manual")

_REFERENCE, _MODEL, _REASON, _SHARES = "\ue000", "\ue001", "\ue002", "\ue010"


def render(placed: Sequence[Placed]) -> str:
    """Return reports as Markdown: of several, a list of all, and then a section each as long as there is room."""
    if len(placed) == 1:
        return _section(placed[0].report)
    parts = [_list(placed)]
    used = len(parts[0].encode())
    for number, each in enumerate(placed):
        section = _section(each.report)
        used += len(section.encode())
        if used > _ROOM:
            left = len(placed) - number
            parts.append(f"The sections of {left} more model{'s' if left > 1 else ''} have no room here.\n")
            break
        parts.append(section)
    return "\n".join(parts)


def _list(placed: Sequence[Placed]) -> str:
    lines = [f"## Audit of {len(placed)} models", "", *_table("model", "verdict", "base", "findings", "exit")]
    for each in placed[:_MODELS]:
        report = each.report
        base = code(report.lineage.best.reference) if report.lineage.best is not None else ""
        where = f" at {code(f'{each.place.path}:{each.place.line}')}" if each.place is not None else ""
        found = _counts(_open(report))
        cells = (f"{code(report.target.uri)}{where}", report.lineage.verdict, base, found, str(report.exit_code))
        lines.append(_row(cells))
    if len(placed) > _MODELS:
        lines += ["", f"And {len(placed) - _MODELS} more."]
    return "\n".join([*lines, ""])


def _section(report: Report) -> str:
    lineage = report.lineage
    alert = _ALERTS.get(report.exit_code, "CAUTION")
    lines = [
        f"## {code(report.target.uri)}",
        "",
        f"> [!{alert}]",
        f"> **{lineage.verdict.upper()}**: {_meaning(lineage)}. Exit {report.exit_code}: {exit_in_words(report)}.",
        "",
        *(f"- **{label}**: {text}" for label, text in _facts(report)),
        "",
    ]
    listed = sorted(_listed(report), key=lambda finding: (bool(cover(finding)), _GRAVITY.index(finding.status)))
    stated = [finding for finding in listed if finding.status == "manual" and not cover(finding)]
    listed = [finding for finding in listed if finding not in stated]
    if stated:
        lines += [_to_state(stated), ""]
    if listed:
        lines += _table("status", "rule", "what is asked", "where", "evidence", "fix")
        lines += [_row(_cells(finding)) for finding in listed[:_ROWS]]
        if len(listed) > _ROWS:
            lines += ["", f"And {len(listed) - _ROWS} more ({_counts(listed[_ROWS:])})."]
        lines.append("")
    if stated or listed:
        lines += ["`auditor explain RULE` says why a rule is asked. This is evidence, not legal advice.", ""]
    return "\n".join(lines)


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    """Yield what the text report says of target, evidence and coverage; a repeated label is written once more."""
    label = ""
    for given, text in (*about(report), *beside(report.lineage), *coverage(report)):
        label = given or label
        yield label, _fact(label, text, report.lineage)


def _fact(label: str, text: str, lineage: Lineage) -> str:
    best = lineage.best
    if best is not None and label == "evidence":
        return _marked(best, evidence_in_words)
    if best is not None and label == "how":
        return _marked(best, relation_in_words)
    return text if label in {"layers", "looked for", "read"} else code(text, limit=2000)


def _meaning(lineage: Lineage) -> str:
    best = lineage.best
    marked = replace(
        lineage,
        best=replace(best, reference=_REFERENCE) if best is not None else None,
        reason=_REASON if lineage.reason else None,
    )
    return filled(verdict_in_words(marked), {_REFERENCE: best.reference if best else "", _REASON: lineage.reason or ""})


def _marked(best: Candidate, words: Words) -> str:
    """Return words of ours about a candidate, its own texts as code."""
    texts = {_REFERENCE: best.reference, _MODEL: best.model, _REASON: best.reason or ""}
    marked = replace(best, reference=_REFERENCE, model=_MODEL, reason=_REASON if best.reason else None)
    if best.relation is not None and best.relation.shares:
        names = [chr(ord(_SHARES) + number) for number in range(len(best.relation.shares))]
        shares = best.relation.shares
        texts |= {name: share.reference for name, share in zip(names, shares, strict=True)}
        shares = tuple(replace(share, reference=name) for name, share in zip(names, shares, strict=True))
        marked = replace(marked, relation=replace(best.relation, shares=shares))
    return filled(words(marked), texts)


def _listed(report: Report) -> list[Finding]:
    return [result.finding for result in results(report) if result.level != "none"]


def _open(report: Report) -> list[Finding]:
    return [finding for finding in _listed(report) if not cover(finding)]


def _counts(findings: Iterable[Finding]) -> str:
    statuses = [finding.status for finding in findings]
    return ", ".join(f"{statuses.count(status)} {status}" for status in _GRAVITY if status in statuses)


def _to_state(findings: Sequence[Finding]) -> str:
    """Name the rules that wait for a person in one line: a row each would only repeat what to do."""
    ids = list(dict.fromkeys(finding.id if finding.id in known_rules() else code(finding.id) for finding in findings))
    more = f" and {len(ids) - _ROWS} more" if len(ids) > _ROWS else ""
    return f"Only a person can say, by a statement in `auditor.toml`: {', '.join(ids[:_ROWS])}{more}."


def _cells(finding: Finding) -> tuple[str, ...]:
    rule = known_rules().get(finding.id)
    covered = cover(finding)
    status = f"~~{finding.status}~~ {code(covered)}" if covered else f"**{finding.status}**"
    clause = f" {code(f'clause {finding.clause}')}" if finding.clause else ""
    own = {rule.title, rule.fix} if rule is not None else set()
    return (
        status,
        f"{finding.id if rule is not None else code(finding.id)}{clause}",
        _said(finding.title, own),
        code(finding.path) if finding.path else "",
        code(finding.evidence, limit=_CELL) if finding.evidence else "",
        _said(finding.fix or "", own),
    )


def _said(text: str, own: set[str]) -> str:
    """Return a text of this version as the Markdown that it is, and any other as code."""
    return text if not text or text in own else code(text, limit=_CELL)


def _table(*names: str) -> tuple[str, str]:
    return _row(names), _row(["---"] * len(names))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
