"""The report for a person, as plain text: verdict first, then why, what to act on, and what was read.

What is said is gathered here as entries, each a label and a line of text, and as acts; a renderer with colours shows
the same ones. Text of the model is visible in all of them.
"""

from __future__ import annotations

import math
import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.escape import visible
from auditor.report.results import results
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

    from auditor.findings import Finding
    from auditor.lineage import Candidate, Lineage
    from auditor.report.contract import Report
    from auditor.report.results import Placed

    Entry = tuple[str, str]

LEVELS = "▁▂▃▄▅▆▇█"
"""Marks of a sparkline, lowest first."""
UNREAD = "·"
"""Mark of a layer that was not read."""
_ASCII = str.maketrans({**dict(zip(LEVELS, "_:-=+*#@", strict=True)), UNREAD: ".", "…": "..."})

_COMMAND = re.compile(r"(?<!\S)(:(?=:)|#(?=#(\[|vso\[)))")
"""Beginning of a word that a CI service would take for a command where it came to stand at the start of a line."""
_WIDTH = 80
_LABEL = 11
_SHOWN = 12  # rows of a list before the rest is only counted
_LONGEST = 4000  # characters of an entry: words and lists of ours, with names of the model in them
_ROWS = 4  # of marks, before several layers share one

_ACTS = ("fail", "unknown", "warn")  # statuses shown one by one, gravest first


def render(placed: Sequence[Placed]) -> str:
    """Return reports as plain text, at most 80 columns wide but for long file names."""
    if len(placed) == 1:
        return _one(placed[0].report)
    return "\n".join(f"== {visible(each.report.target.uri)}\n{_one(each.report)}" for each in placed)


def carried(text: str, encoding: str) -> str:
    """Return text as an encoding can carry it: marks become ASCII ones, any other character is spelled out."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    return text


def _one(report: Report) -> str:
    lines = _wrap(f"{report.lineage.verdict.upper()}  ", verdict_in_words(report.lineage))
    lines.append("")
    for label, text in about(report):
        lines += _entry(label, text)
    if line := sparkline(report.lineage.best, width=_WIDTH - _LABEL):
        shown = [f"{line.rows[0]}  {line.caption}"] if line.fits(_WIDTH - _LABEL) else [*line.rows, line.caption]
        lines += [f"{label:<{_LABEL}}{text}" for label, text in zip([line.label] + [""] * _ROWS, shown, strict=False)]
    for entry in beside(report.lineage):
        lines += _entry(*entry)
    for act in acts(report):
        lines += ["", *_act(act)]
    lines.append("")
    for entry in coverage(report):
        lines += _entry(*entry)
    if rule := to_explain(report):
        lines += _entry("explain", f"auditor explain {rule}")
    lines.append(f"exit {report.exit_code}: {exit_in_words(report)}")
    return "\n".join(lines) + "\n"


def about(report: Report) -> Iterator[Entry]:
    """Yield what was audited, and why the verdict is what it is."""
    revision = f" at {report.target.revision}" if report.target.revision else ""
    yield "target", _seen(f"{report.target.uri}{revision}")
    adapters = report.target.adapters
    for adapter in adapters[:_SHOWN]:
        yield "adapter", adapter_in_words(adapter)
    if len(adapters) > _SHOWN:
        yield "", f"and {len(adapters) - _SHOWN} more adapters"
    best = _decided(report.lineage)
    if best is None:
        return
    if len({candidate.model for candidate in report.lineage.candidates}) > 1:
        yield "model", visible(best.model)
    yield "evidence", _seen(evidence_in_words(best))
    if best.relation is not None:
        yield "how", _seen(relation_in_words(best))
    if best.layers:
        read = len(best.layers)
        part = f" ({read} of {best.layers_in_model} layers were read)" if read < best.layers_in_model else ""
        yield "layers", layers_in_words(best.layers) + part


def beside(lineage: Lineage) -> Iterator[Entry]:
    """Yield what else was looked for, held against the target or found in it."""
    best = lineage.best
    if lineage.verdict == "independent" and best is not None and best.rung is not None:
        yield "looked for", tests_in_words(best)
    # An untested best one's reason already stands in the verdict.
    others = [candidate for candidate in lineage.candidates if candidate is not best]
    for candidate in others[:_SHOWN]:
        yield "also held", _seen(_other(candidate))
    if len(others) > _SHOWN:
        yield "", f"and {len(others) - _SHOWN} more"
    # Beside a sure verdict, only what is as sure: the rest would read as if it had a say.
    sure = lineage.verdict in {"identical", "derived", "independent"}
    pieces = [evidence for evidence in lineage.supporting if evidence.kind == "known-file" or not sure]
    for evidence in pieces[:_SHOWN]:
        of = f"{visible(evidence.reference)}: " if evidence.reference else ""
        yield "supporting", f"{of}{visible(evidence.text)}"


def coverage(report: Report) -> Iterator[Entry]:
    """Yield what was read, and each file that was not."""
    read = report.coverage
    files = report.target.files
    whole = f"{size(sum(file.size for file in files))} in {len(files)} file{'s' if len(files) != 1 else ''}"
    yield "read", f"{size(read.bytes_read)} of {whole}, {read.requests} reads, {read.seconds:.2f} s"
    if read.weights_of is not None:
        yield "weights", f"read at {visible(read.weights_of)}, whose files have the same SHA-256 digests"
    for unread in read.unread[:_SHOWN]:
        yield "unread", f"{visible(unread.path)}: {visible(unread.reason)}"
    if len(read.unread) > _SHOWN:
        yield "", f"and {len(read.unread) - _SHOWN} more unread files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A finding that someone has to act on, its texts made visible.

    Attributes
    ----------
    status : str
    rule, clause : str
        Its id, and the clause of the licence that it stands for; empty for several duties in one.
    title : str
    details : tuple of (str, str)
        "where" and "evidence", as far as there are such.
    fix : str
    covered : bool
        By a waiver or the baseline: it is shown, and does not fail an audit.
    """

    status: str
    rule: str
    clause: str
    title: str
    details: tuple[Entry, ...]
    fix: str
    covered: bool


def acts(report: Report) -> Iterator[Act]:
    """Yield what needs acting on, gravest first; duties that only a person can vouch for are one."""
    for status in _ACTS:
        shown = [finding for finding in report.findings if finding.status == status]
        yield from map(_to_act, sorted(shown, key=lambda finding: finding.covered))
    manual = [finding.id for finding in report.findings if finding.status == "manual"]
    if manual:
        duties = "1 duty" if len(manual) == 1 else f"{len(manual)} duties"
        yield Act(
            status="manual",
            rule="",
            clause="",
            title=f"{duties} that only a person can vouch for, without a statement: {_seen(', '.join(manual))}",
            details=(),
            fix="Record who says so, when and until when, in auditor.toml.",
            covered=False,
        )


def _to_act(finding: Finding) -> Act:
    covers = [
        *([f"waived until {finding.waived_until}"] if finding.waived_until else []),
        *(["in the baseline"] if finding.in_baseline else []),
    ]
    parts = (("where", finding.path), ("evidence", finding.evidence))
    return Act(
        status=finding.status,
        rule=visible(finding.id),
        clause=visible(finding.clause or ""),
        title=visible(finding.title) + (f" ({visible('; '.join(covers))})" if covers else ""),
        details=tuple((label, visible(value)) for label, value in parts if value),
        fix=visible(finding.fix or ""),
        covered=finding.covered,
    )


def to_explain(report: Report) -> str | None:
    """Return the gravest rule that is not kept, for `auditor explain`."""
    unkept = [result.finding for result in results(report) if not result.finding.covered]
    found = (finding for status in (*_ACTS, "manual") for finding in unkept if finding.status == status)
    return next((visible(finding.id) for finding in found), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparkline:
    """Layers of the target as marks of eight heights, 0 to 1.

    Attributes
    ----------
    label : str
        What is drawn: "cosine" of rows, or the share of neurons "matched".
    rows : tuple of str
        A mark for each layer in order; where there are several rows, each begins with the layers it shows.
    caption : str
    """

    label: str
    rows: tuple[str, ...]
    caption: str

    def fits(self, width: int) -> bool:
        """Say whether marks and caption stand on one line."""
        return len(self.rows) == 1 and len(self.rows[0]) + 2 + len(self.caption) <= width


def sparkline(best: Candidate | None, *, width: int) -> Sparkline | None:
    """Draw how near each layer of the target is to its match; None where no layer was compared.

    Parameters
    ----------
    best : Candidate or None
    width : int
        Columns to draw in. Where the layers are more than a few rows take, several share a mark, and the lowest shows.
    """
    if best is None or not best.layers:
        return None
    # Of neurons found again in another order, the cosine in place says nothing.
    of_rows = best.rung != "searched-neurons" and any(layer.cosine is not None for layer in best.layers)
    values: dict[int, list[float]] = {}  # of experts, each has the number of its layer
    for layer in best.layers:
        share = layer.fixed_points / layer.n if layer.n > 0 else float(layer.reference is not None)
        values.setdefault(layer.target, []).append((layer.cosine or 0.0) if of_rows else share)
    heights = {layer: _height(sum(each) / len(each)) for layer, each in values.items() if layer >= 0}
    if not heights:
        return None
    count = max(best.layers_in_model, max(heights) + 1)
    span = 2 * len(str(count)) + 3  # columns of "128-191" and a gap before a row of marks
    a_mark = -(-count // (_ROWS * max(1, width - span)))
    lowest: dict[int, float] = {}
    for number, height in heights.items():
        lowest[number // a_mark] = min(height, lowest.get(number // a_mark, 1.0))
    places = range(-(-count // a_mark))
    marks = "".join(LEVELS[round(lowest[at] * 7)] if at in lowest else UNREAD for at in places)
    low, high = min(heights.values()), max(heights.values())
    caption = f"{low:.2f} to {high:.2f}" if f"{low:.2f}" != f"{high:.2f}" else f"{low:.2f}"
    caption += f" by layer ({LEVELS[0]} 0, {LEVELS[-1]} 1" + (f", {UNREAD} not read)" if UNREAD in marks else ")")
    caption += f"; {a_mark} layers a mark" if a_mark > 1 else ""
    return Sparkline(
        label="cosine" if of_rows else "matched", rows=_rows(marks, a_mark, count, width, span), caption=caption
    )


def _height(value: float) -> float:
    return min(1.0, max(0.0, value)) if math.isfinite(value) else 0.0


def _rows(marks: str, a_mark: int, count: int, width: int, span: int) -> tuple[str, ...]:
    """Part marks into rows of about the same length."""
    if len(marks) <= width:
        return (marks,)
    number = -(-len(marks) // max(1, width - span))
    step = -(-len(marks) // number)
    rows = []
    for start in range(0, len(marks), step):
        last = min((start + step) * a_mark, count) - 1
        rows.append(f"{f'{start * a_mark}-{last}':<{span}}{marks[start : start + step]}")
    return tuple(rows)


def _decided(lineage: Lineage) -> Candidate | None:
    """Return the candidate that has evidence of its own to show."""
    best = lineage.best
    tested = best is not None and (best.rung is not None or lineage.verdict == "embeddings-shared")
    return best if tested else None


def _other(candidate: Candidate) -> str:
    text = f"{candidate.reference} against {candidate.model}: {candidate.verdict}"
    if candidate.reason:
        return f"{text}, {candidate.reason}"
    return text + (f", p = {p_value(candidate.log10_p)}" if candidate.log10_p is not None else "")


def _seen(text: str) -> str:
    return visible(text, limit=_LONGEST)


def _act(act: Act) -> Iterator[str]:
    clause = f"[clause {act.clause}]" if act.clause else ""
    yield from _entry(act.status, " ".join(filter(None, (act.rule, clause, act.title))))
    for label, text in (*act.details, ("fix", act.fix)):
        if text:
            yield from _entry(f"  {label}", text)


def _entry(label: str, text: str) -> list[str]:
    return _wrap(f"{label:<{_LABEL}}", text)


def _wrap(lead: str, text: str) -> list[str]:
    return textwrap.wrap(
        _COMMAND.sub(lambda match: f"\\x{ord(match[0]):02x}", text),
        width=_WIDTH,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [lead.rstrip()]
