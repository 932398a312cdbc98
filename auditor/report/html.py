"""The report as one web page without scripts: to be read on a screen or on paper, and passed on as a file.

What it says is gathered in the `html_*` modules beside this one, and placed by `report.html.j2`. The page loads nothing
and runs nothing: its security policy allows its own style sheet, by digest, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from auditor.report.html_content import page_of
from auditor.report.html_text import Caps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditor.report.html_content import Page
    from auditor.report.results import Placed

MOST_BYTES: Final = 300_000
"""Of a page, whatever a report holds: what a mail gateway lets through and a telephone still draws."""

_CAPS: Final = tuple(
    Caps(rows=rows, text=text) for rows, text in ((200, 1000), (60, 400), (30, 200), (15, 150), (6, 100))
)
"""The first that keeps the page small enough is used; no report that was not made to be large needs a second."""


def render(placed: Sequence[Placed]) -> str:
    """Return the report as an HTML page."""
    (only,) = placed
    template = _environment().get_template("report.html.j2")
    style = files("auditor.report").joinpath("report.css").read_text(encoding="utf-8")
    text = ""
    for caps in _CAPS:
        page = page_of(only.report, only.place, caps)
        text = template.render(page=page, style=style, style_hash=digest_of(style), sections=list(_sections(page)))
        if len(text.encode()) <= MOST_BYTES:
            break
    return text


def digest_of(style: str) -> str:
    """Return the digest of a style sheet, as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("auditor.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["capfirst"] = lambda text: text[:1].upper() + text[1:]
    environment.filters["code"] = _code
    return environment


def _code(text: str) -> Markup:
    """Set what stands between backticks as code; where they do not pair, they stand as they are."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return escape(text)
    inner = Markup("<code>{}</code>")
    return Markup("").join(inner.format(piece) if odd % 2 else piece for odd, piece in enumerate(pieces))


def _sections(page: Page) -> Iterator[tuple[str, str]]:
    """Yield anchor and name of the sections that the page has."""
    if page.layers:
        yield "layers", "Layers"
    if page.evidence:
        yield "how", "How"
    yield "others", "Others"
    yield "findings", "Findings"
    if page.claims.shown:
        yield "claims", "Claims"
    if page.duties.manual.shown:
        yield "manual", "Duties"
    yield "files", "Files"
    yield "unread", "Not read"
    yield "verify", "Verify"
