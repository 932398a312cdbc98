"""The report for a person at a terminal: verdict first, then why, then what was read."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from auditor.escape import visible
from auditor.report.words import (
    adapter_in_words,
    evidence_in_words,
    exit_in_words,
    layers_in_words,
    p_value,
    relation_in_words,
    size,
    tests_in_words,
    verdict_in_words,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditor.lineage import Candidate, Lineage
    from auditor.report.contract import Report
    from auditor.report.results import Placed

_WIDTH = 80
_LABEL = 11
_SHOWN = 12  # rows of a list before the rest is only counted

_ACTS = ("fail", "unknown", "warn")  # statuses shown one by one, gravest first


def render(placed: Sequence[Placed]) -> str:
    """Return reports as plain text, at most 80 columns wide but for long file names."""
    if len(placed) == 1:
        return _one(placed[0].report)
    return "\n".join(f"== {visible(each.report.target.uri)}\n{_one(each.report)}" for each in placed)


def _one(report: Report) -> str:
    lines: list[str] = []
    lines += _verdict(report.lineage)
    lines += _adapters(report)
    lines += _evidence(report.lineage)
    lines += _findings(report)
    lines += _coverage(report)
    lines.append(f"exit {report.exit_code}: {exit_in_words(report)}")
    return "\n".join(lines) + "\n"


def _verdict(lineage: Lineage) -> Iterator[str]:
    yield from _wrap(f"{lineage.verdict.upper()}  ", verdict_in_words(lineage))


def _adapters(report: Report) -> Iterator[str]:
    adapters = report.target.adapters
    if adapters:
        yield ""
    for adapter in adapters[:_SHOWN]:
        yield from _entry("adapter", adapter_in_words(adapter))
    if len(adapters) > _SHOWN:
        yield from _entry("", f"and {len(adapters) - _SHOWN} more adapters")


def _evidence(lineage: Lineage) -> Iterator[str]:
    best = lineage.best
    if lineage.candidates and (best is None or best.rung is not None or len(lineage.candidates) > 1):
        yield ""
    if best is not None and (best.rung is not None or lineage.verdict == "embeddings-shared"):
        if len({candidate.model for candidate in lineage.candidates}) > 1:
            yield from _entry("model", visible(best.model))
        yield from _entry("evidence", evidence_in_words(best))
        if best.relation is not None:
            yield from _entry("how", relation_in_words(best))
        if best.layers:
            read = len(best.layers)
            part = f" ({read} of {best.layers_in_model} layers were read)" if read < best.layers_in_model else ""
            yield from _entry("layers", layers_in_words(best.layers) + part)
        if lineage.verdict == "independent":
            yield from _entry("looked for", tests_in_words(best))
    # An untested best one's reason already stands in the verdict.
    others = [candidate for candidate in lineage.candidates if candidate is not best]
    for candidate in others[:_SHOWN]:
        yield from _entry("also held", _other(candidate))
    if len(others) > _SHOWN:
        yield from _entry("", f"and {len(others) - _SHOWN} more")
    # Beside a sure verdict, only what is as sure: the rest would read as if it had a say.
    sure = lineage.verdict in {"identical", "derived", "independent"}
    pieces = [evidence for evidence in lineage.supporting if evidence.kind == "known-file" or not sure]
    for evidence in pieces[:_SHOWN]:
        about = f"{visible(evidence.reference)}: " if evidence.reference else ""
        yield from _entry("supporting", f"{about}{visible(evidence.text)}")


def _other(candidate: Candidate) -> str:
    text = f"{visible(candidate.reference)} against {visible(candidate.model)}: {candidate.verdict}"
    if candidate.reason:
        return f"{text}, {visible(candidate.reason)}"
    return text + (f", p = {p_value(candidate.log10_p)}" if candidate.log10_p is not None else "")


def _findings(report: Report) -> Iterator[str]:
    """Write what needs acting on, gravest first; duties that only a person can vouch for are one entry."""
    shown = [finding for status in _ACTS for finding in report.findings if finding.status == status]
    if shown:
        yield ""
    for finding in shown:
        waived = f" (waived until {finding.waived_until})" if finding.waived_until else ""
        clause = f" [clause {finding.clause}]" if finding.clause else ""
        yield from _wrap(f"{finding.status:<{_LABEL}}", f"{finding.id}{clause} {visible(finding.title)}{waived}")
        for label, value in (("where", finding.path), ("evidence", finding.evidence), ("fix", finding.fix)):
            if value:
                yield from _wrap(" " * _LABEL + f"{label}: ", visible(value))
    manual = [finding.id for finding in report.findings if finding.status == "manual"]
    if manual:
        text = f"{len(manual)} duties that only a person can vouch for have no statement: {', '.join(manual)}"
        yield from _entry("manual", text)
        yield from _wrap(" " * _LABEL + "fix: ", "Record who says so, when and until when, in auditor.toml.")


def _coverage(report: Report) -> Iterator[str]:
    coverage = report.coverage
    total = sum(file.size for file in report.target.files)
    yield ""
    yield from _entry(
        "read",
        f"{size(coverage.bytes_read)} of {size(total)} in {len(report.target.files)} files, "
        f"{coverage.requests} reads, {coverage.seconds:.2f} s",
    )
    for unread in coverage.unread[:_SHOWN]:
        yield from _entry("unread", f"{visible(unread.path)}: {visible(unread.reason)}")
    if len(coverage.unread) > _SHOWN:
        yield from _entry("", f"and {len(coverage.unread) - _SHOWN} more unread files")


def _entry(label: str, text: str) -> Iterator[str]:
    yield from _wrap(f"{label:<{_LABEL}}", text)


def _wrap(lead: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=_WIDTH,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [lead.rstrip()]
