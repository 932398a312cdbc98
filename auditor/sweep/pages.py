"""A store as a folder of HTML: an index of bounded pages, a drawer for each target, and the report of each.

It works without scripts: filters are radio buttons that style sheets see, drawers are `<details>`. Nothing is fetched
from anywhere: the policy of each page allows its own style, by its digest, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import html
import shutil
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from auditor.errors import ConfigError, UsageError
from auditor.escape import visible
from auditor.limits import LIMITS
from auditor.report import Placed, render
from auditor.report.words import evidence_in_words, exit_in_words, size, verdict_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from auditor.report import Report
    from auditor.sweep.reading import Totals
    from auditor.sweep.records import Record

_MARKER: Final = ".auditor-sweep"
"""In a folder that we made, and so may make anew."""

_GROUPS: Final = {
    "act": "to act on",
    "open": "incomplete",
    "failed": "failed",
    "waiting": "waiting",
    "fine": "nothing to act on",
}
_TEXT: Final = 300  # characters of one text in an index
_FINDINGS: Final = 8  # listed in a drawer; the target's own report has all

_STYLE: Final = (
    ":root{color-scheme:light dark;--line:#8886;--soft:#8881;--act:#b42318;--open:#8a5a00;--fine:#116329}"
    "@media(prefers-color-scheme:dark){:root{--act:#ff8a80;--open:#e3b341;--fine:#56d364}}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.4rem;margin:0}p{margin:.3rem 0}.m{opacity:.75}"
    "details{border-top:1px solid var(--line)}summary{padding:.45rem .2rem;cursor:pointer;overflow-wrap:anywhere}"
    "details>div{padding:.2rem 0 1rem 1.2rem;overflow-wrap:anywhere}summary b{font-weight:600}"
    ".act b::before{content:'\\2716  ';color:var(--act)}.failed b::before{content:'\\2716  ';color:var(--act)}"
    ".open b::before{content:'? ';color:var(--open)}.waiting b::before{content:'\\2026  '}"
    ".fine b::before{content:'\\2713  ';color:var(--fine)}"
    "fieldset{border:0;padding:0;margin:1rem 0 .5rem}label{display:inline-block;padding:.1rem .6rem;margin:.1rem;"
    "border:1px solid var(--line);border-radius:1rem;cursor:pointer}nav a{padding:0 .4rem}"
    "input.f{position:absolute;opacity:0}"
    + "".join(
        f"#f-{group}:checked~main details:not(.{group}){{display:none}}"
        f"#f-{group}:checked~fieldset label[for=f-{group}],#f-{group}:focus-visible~fieldset label[for=f-{group}]"
        "{outline:2px solid}"
        for group in _GROUPS
    )
    + "#f-all:checked~fieldset label[for=f-all],#f-all:focus-visible~fieldset label[for=f-all]{outline:2px solid}"
    "@media print{details>div{display:block}}"
)
_POLICY: Final = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'"
)


def write_pages(folder: Path, records: Iterable[Record], totals: Totals) -> int:
    """Write the folder; return how many pages its index has.

    Parameters
    ----------
    folder : Path
        Not there, empty, or written by this function before: then it is replaced.
    records : iterable of Record
        One is in memory at a time, and the rows of one page.
    totals : Totals

    Raises
    ------
    UsageError
        When the folder holds something else, or cannot be written; then nothing of it is changed.
    """
    pages = max(1, -(-totals.targets // LIMITS.sweep_page))
    with _replacing(folder) as made:
        (made / "targets").mkdir()
        rows: list[str] = []
        page = 1
        for record in records:
            rows.append(_drawer(record, made))
            if len(rows) == LIMITS.sweep_page and page < pages:
                (made / _name(page)).write_text(_page(rows, totals, page, pages), encoding="utf-8")
                rows, page = [], page + 1
        (made / _name(page)).write_text(_page(rows, totals, page, pages), encoding="utf-8")
    return pages


def _name(page: int) -> str:
    return "index.html" if page == 1 else f"index-{page}.html"


def _page(rows: list[str], totals: Totals, page: int, pages: int) -> str:
    states = ", ".join(f"{count} {state}" for state, count in sorted(totals.states.items()))
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(totals.verdicts.items()))
    links = " ".join(
        f'<a href="{_name(number)}"{_CURRENT if number == page else ""}>{number}</a>' for number in range(1, pages + 1)
    )
    nav = f'<nav aria-label="Pages">Page {links}</nav>' if pages > 1 else ""
    boxes = "".join(
        f'<input class="f" type="radio" name="f" id="f-{group}"{" checked" if group == "all" else ""}>'
        for group in ("all", *_GROUPS)
    )
    labels = "".join(
        f'<label for="f-{group}">{text}</label>' for group, text in {"all": "all on this page", **_GROUPS}.items()
    )
    source = _text(totals.source or "")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="referrer" content="no-referrer"><meta name="viewport" content="width=device-width">'
        f"<title>Sweep of {source}: page {page} of {pages}</title><style>{_STYLE}</style></head><body>"
        f"<h1>Sweep of {source}</h1><p>{totals.targets} targets: {states}</p><p>{verdicts}</p>"
        f'<p class="m">Read {size(totals.bytes)} in {totals.requests} requests; {totals.unchanged} unchanged. '
        f"What needs a look comes first.</p>{nav}"
        f"{boxes}<fieldset><legend>Show</legend>{labels}</fieldset><main>{''.join(rows)}</main>{nav}</body></html>\n"
    )


_CURRENT: Final = ' aria-current="page"'


def _drawer(record: Record, folder: Path) -> str:
    group = _group(record)
    result, target = record.result, _text(record.entry.target)
    name = f" <i>{_text(record.entry.name)}</i>" if record.entry.name else ""
    if result is None:
        summary = f"<summary><b>{target}</b>{name}: {record.state}</summary>"
        return f'<details class="{group}">{summary}<div>{_error(record)}</div></details>'
    about = f" {_text(result.reference)}" if result.reference else ""
    summary = f"<summary><b>{target}</b>{name}: {_text(result.verdict)}{about}</summary>"
    lines = [f"<p>{html.escape(line)}</p>" for line in _lines(record, folder)]
    when = datetime.fromtimestamp(result.finished, tz=UTC)
    lines.append(
        f'<p class="m">revision {_text(result.revision or "not known")}; {when:%Y-%m-%d %H:%M} UTC; '
        f"{size(result.bytes)} in {result.requests} requests, {result.seconds:.1f} s; tries: {result.tries}</p>"
    )
    return f'<details class="{group}">{summary}<div>{_error(record)}{"".join(lines)}{_link(record)}</div></details>'


def _lines(record: Record, folder: Path) -> Iterator[str]:
    """Write the target's own report, and yield what the drawer says of it."""
    try:
        report = record.report()
    except ConfigError as error:  # made by another version of this tool
        yield f"its report cannot be shown: {visible(str(error), limit=_TEXT)}"
        return
    if report is None:
        return
    own = render("html", [Placed(report=report, place=record.entry.place)])
    (folder / "targets" / _file(record)).write_text(own, encoding="utf-8")
    yield f"{verdict_in_words(report.lineage)}."
    if report.lineage.best:
        yield visible(evidence_in_words(report.lineage.best), limit=_TEXT * 2)
    yield f"exit {report.exit_code}: {exit_in_words(report)}"
    yield from _findings(report)


def _findings(report: Report) -> Iterator[str]:
    acted = [finding for finding in report.findings if finding.status in {"fail", "warn", "manual", "unknown"}]
    for finding in acted[:_FINDINGS]:
        where = f" ({visible(finding.path, limit=_TEXT)})" if finding.path else ""
        yield f"{finding.status} {visible(finding.id)}: {visible(finding.title, limit=_TEXT)}{where}"
    if len(acted) > _FINDINGS:
        yield f"and {len(acted) - _FINDINGS} more findings"


def _error(record: Record) -> str:
    if not record.error_code:
        return ""
    return f"<p>{_text(record.error_code)}: {_text(record.error or '')}</p>"


def _link(record: Record) -> str:
    return f'<p><a href="targets/{_file(record)}">its report</a></p>'


def _file(record: Record) -> str:
    return f"{record.id:06}.html"  # no name of a model becomes a name of a file


def _group(record: Record) -> str:
    if record.state == "failed":
        return "failed"
    if record.result is None or record.state != "done":
        return "waiting"
    return {0: "fine", 1: "act"}.get(record.result.exit_code, "open")


def _text(text: str) -> str:
    return html.escape(visible(text, limit=_TEXT))


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Make a folder beside the one that is asked for, and put it in its place when it is whole."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: not a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARKER).is_file():
        raise UsageError(f"{folder}: holds other files: give a new folder, or one that an earlier report made")
    made: Path | None = None
    try:
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        made.chmod(0o755)
        (made / _MARKER).write_text("made by auditor sweep report: all of this folder is replaced by the next\n")
        yield made
        old = made.with_name(made.name + "-old")
        if folder.is_dir():
            folder.rename(old)
        made.rename(folder)
        made = None
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}") from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
