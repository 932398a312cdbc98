"""The report at a terminal: what the plain text says, with the verdict in a frame, colours, and findings as a table.

Imported only where there is a terminal to show it. Text of a model is made visible before it comes here, and is put
into `Text`, which is never read as markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from auditor.report import EXIT_FINDINGS, EXIT_INCOMPLETE
from auditor.report.text import about, acts, beside, carried, coverage, sparkline, to_explain
from auditor.report.words import verdict_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import RenderableType

    from auditor.report import Placed, Report
    from auditor.report.text import Act

_WIDEST = 110  # columns: longer lines are hard to follow
_NARROW = 76  # columns below which a rule stands below its status
_LABEL = 11
_SIMPLE = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
"""`SIMPLE_HEAD` in ASCII, for which rich would take a box with bars."""
_STYLES = {"fail": "bold red", "unknown": "bold yellow", "warn": "bold yellow", "manual": "bold cyan", "pass": "green"}


def show(placed: Sequence[Placed]) -> None:
    """Print reports on standard output, as wide as the terminal is but no wider than can be read well."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = min(console.width, _WIDEST)
    for number, each in enumerate(placed):
        if number:
            console.print()
        console.print(Group(*_Page(console, each.report).parts()))


class _Page:
    """One report on one console."""

    def __init__(self, console: Console, report: Report) -> None:
        self._report = report
        self._width = console.width
        self._encoding = console.encoding
        self._box = box.SIMPLE_HEAD if console.encoding.startswith("utf") else _SIMPLE

    def parts(self) -> Iterator[RenderableType]:
        """Yield what stands below one another."""
        target, *evidence = about(self._report)
        yield self._verdict(target[1])
        yield self._entries([*evidence, *self._layers(), *beside(self._report.lineage)])
        if found := list(acts(self._report)):
            yield Text()
            yield self._findings(found)
        yield Text()
        yield self._entries(coverage(self._report))
        yield Text()
        yield from self._end()

    def _text(self, text: str, style: str = "") -> Text:
        return Text(carried(text, self._encoding), style)

    def _verdict(self, target: str) -> RenderableType:
        lineage, gravity = self._report.lineage, _gravity(self._report)
        return Panel(
            Group(self._text(verdict_in_words(lineage), "bold"), self._text(target, "dim")),
            title=self._text(lineage.verdict.upper(), f"bold {gravity}"),
            title_align="left",
            border_style=gravity,
        )

    def _entries(self, entries: Iterable[tuple[str, str | Text]]) -> RenderableType:
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(style="dim", width=_LABEL - 1, no_wrap=True)
        table.add_column(overflow="fold")
        for label, text in entries:
            style = "yellow" if label == "unread" else ""
            table.add_row(Text(label, style), self._text(text, style) if isinstance(text, str) else text)
        return table

    def _layers(self) -> Iterator[tuple[str, Text]]:
        line = sparkline(self._report.lineage.best, width=self._width - _LABEL)
        if line is None:
            return
        rows = [self._text(row, "cyan") for row in line.rows]
        caption = self._text(line.caption, "dim")
        if line.fits(self._width - _LABEL):
            yield line.label, rows[0].append("  ").append_text(caption)
        else:
            yield line.label, Text("\n").join([*rows, caption])

    def _findings(self, found: Sequence[Act]) -> RenderableType:
        narrow = self._width < _NARROW
        table = Table(box=self._box, header_style="dim", show_edge=False, padding=(0, 1, 0, 0), leading=1)
        table.expand = True
        table.add_column("status", overflow="fold", width=8 if narrow else 7)
        if not narrow:
            table.add_column("rule", overflow="fold", width=8)
        table.add_column("finding", overflow="fold", ratio=4)
        table.add_column("fix", overflow="fold", ratio=3)
        for act in found:
            status = self._text(act.status, _STYLES[act.status])
            rule = Text("\n").join(self._text(part) for part in (act.rule, act.clause) if part)
            lead = [Text("\n").join([status, rule])] if narrow else [status, rule]
            table.add_row(*lead, self._finding(act), self._text(act.fix), style="dim" if act.covered else "")
        return table

    def _finding(self, act: Act) -> Text:
        parts = dict(act.details)
        where, evidence = parts.get("where", ""), parts.get("evidence", "")
        named = not where or evidence.startswith(where)  # evidence that begins with the file says where it was seen
        details = [*([] if named else [self._text(where, "cyan")]), *([self._text(evidence)] if evidence else [])]
        return Text("\n").join([self._text(act.title, "bold"), *details])

    def _end(self) -> Iterator[Text]:
        """Yield the last line: counts, the exit code, and how to learn more; that on a line before where it is long."""
        statuses = [finding.status for finding in self._report.findings]
        counted = [Text(f"{statuses.count(s)} {s}", style) for s, style in _STYLES.items() if s in statuses]
        code = self._report.exit_code
        why = ", incomplete or inconclusive" if code == EXIT_INCOMPLETE else ""
        between = self._text(" · ")
        ends = [Text(", ").join(counted)] if counted else []
        end = between.join([*ends, Text(f"exit {code}{why}", f"bold {_gravity(self._report)}")])
        rule = to_explain(self._report)
        if rule is None:
            yield end
            return
        explain = self._text(f"explain: auditor explain {rule}")
        joined = between.join([end, explain])
        yield from [joined] if joined.cell_len <= self._width else [explain, end]


def _gravity(report: Report) -> str:
    """Return the colour of a report: red to act on, yellow not all known or to look at, green neither."""
    statuses = {finding.status for finding in report.findings if not finding.covered}
    if report.exit_code == EXIT_FINDINGS or "fail" in statuses:
        return "red"
    undecided = report.lineage.verdict in {"inconclusive", "adapter"} or report.coverage.unread
    return "yellow" if report.exit_code == EXIT_INCOMPLETE or undecided or statuses & {"warn", "unknown"} else "green"
