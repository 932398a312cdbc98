"""Markdown to sentences: what a reader of the page reads as running text, each with its line.

Left out: code, comments, citations (BibTeX), images, struck text, and tables of more than two columns, whose
cells compare models rather than speak of this one. A table row of two cells reads as "name: value".
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

_FENCE: Final = re.compile(r"[ \t>]*(?:[-*+][ \t]+)?(`{3,}|~{3,})[ \t]*\{?\.?([\w+-]*)")
_HEADING: Final = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t#]*$")
_HTML_HEADING: Final = re.compile(r"<h([1-6])[ >]", re.IGNORECASE)
_UNDERLINE: Final = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_RULE_ROW: Final = re.compile(r"[ \t|:\-]+$")
_ITEM: Final = re.compile(r"[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+")
_QUOTE: Final = re.compile(r"[ \t]*(?:>[ \t]?)+")
_CITATION: Final = re.compile(r"[ \t]*@[A-Za-z]{3,20}[ \t]*\{")
_CITATION_LINES: Final = 80

# Quantifiers that could overlap are possessive, so that no line takes more than linear time.
_IMAGE: Final = re.compile(r"!\[[^\[\]]{0,300}+\]\([^()\s]{0,600}+[^()]{0,200}+\)|<img\b[^<>]{0,1000}+>", re.IGNORECASE)
_STRUCK: Final = re.compile(r"~~[^~]{1,1000}+~~")
_LINK: Final = re.compile(
    r"\[(?P<text>[^\[\]]{0,400}+)\]"
    r"\((?P<url>[^()\s]{0,600}+(?:\([^()\s]{0,100}+\)[^()\s]{0,300}+)?+)[^()]{0,200}+\)"
    r"|\[(?P<ref>[^\[\]]{1,200}+)\]\[[^\[\]]{0,100}+\]"
    r"|<a\b[^<>]{0,300}?\bhref=[\"'](?P<href>[^\"'<>]{0,600}+)[\"'][^<>]{0,300}+>(?P<shown>[^<>]{0,400}+)</a>"
    r"|<(?P<auto>https?://[^<>\s]{1,600}+)>"
    r"|(?P<bare>https?://[^\s<>()\[\]\"'`|]{1,600}+)",
    re.IGNORECASE,
)
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]{0,1000}+>")
_EMPHASIS: Final = re.compile(r"\*+|`+|(?<!\w)_+|_+(?!\w)")
_ESCAPE: Final = re.compile(r"\\([\\`*_{}\[\]()#+.!|<>~-])")
_STOP: Final = re.compile(
    r"[.!?][\"'\u201d\u2019)\]]{0,3}\s+(?=[\"'\u201c\u2018(\[]?[^\s\Wa-z_])|[\u3002\uff01\uff1f]\s*"
)
_NO_STOP: Final = re.compile(r"\b(?:e\.g|i\.e|etc|vs|inc|ltd|co|corp|al|cf|dr|no|fig|sec|ver|v)\.$", re.IGNORECASE)
_HIDDEN: Final = (("<!--", "-->"), ("<script", "</script>"), ("<style", "</style>"), ("<pre", "</pre>"))


class Link(NamedTuple):
    """A link of a sentence: its text there, and where it leads."""

    text: str
    url: str
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence, heading or list item.

    Attributes
    ----------
    text : str
        Without markup, on one line.
    line : int
        Where it begins in the file.
    level : int
        1 to 6 for a heading, 0 otherwise.
    section : str
        The nearest heading above, lower case.
    links : tuple of Link
    before : str
        The sentence before it in the same paragraph.
    """

    text: str
    line: int
    level: int = 0
    section: str = ""
    links: tuple[Link, ...] = ()
    before: str = ""


class CodeBlock(NamedTuple):
    """A fenced block: its language, lower case, its text, and the line where the text begins."""

    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The text of a page.

    Attributes
    ----------
    sentences : tuple of Sentence
    code : tuple of CodeBlock
    complete : bool
        False: longer than `LIMITS.prose_chars`, and only so much was read.
    """

    sentences: tuple[Sentence, ...]
    code: tuple[CodeBlock, ...]
    complete: bool


@dataclass(slots=True)
class _Block:
    level: int = 0
    parts: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    length: int = 0

    def add(self, line: str, number: int) -> None:
        text, links = _plain(line)
        if not text:
            return
        self.starts.append(self.length)
        self.lines.append(number)
        self.parts.append(text)
        self.links += [link._replace(start=link.start + self.length) for link in links]
        self.length += len(text) + 1


def read_markdown(body: str, *, first_line: int = 1) -> Document:
    """Split a page into sentences.

    Parameters
    ----------
    body : str
        Line ends as one newline character.
    first_line : int
        Line number of the body's first line in its file.
    """
    text = body[: LIMITS.prose_chars]
    for start, stop in _HIDDEN:
        text = _blank(text, start, stop)
    lines = text.split("\n")
    code: list[CodeBlock] = []
    sentences: list[Sentence] = []
    section = ""
    for block in _blocks(lines, first_line, code):
        found = _sentences(block, section)
        if block.level and found:
            section = found[0].text.lower()[:200]
        sentences += found
    return Document(sentences=tuple(sentences), code=tuple(code), complete=len(body) <= LIMITS.prose_chars)


def _blank(text: str, start: str, stop: str) -> str:
    """Replace everything from `start` to `stop` by its line breaks; an unclosed one hides nothing."""
    low = text.lower()
    if len(low) != len(text) or start not in low:  # a few letters change length in lower case
        return text
    parts: list[str] = []
    at = 0
    while (head := low.find(start, at)) >= 0 and (tail := low.find(stop, head)) >= 0:
        parts += (text[at:head], "\n" * text.count("\n", head, tail))
        at = tail + len(stop)
    return "".join([*parts, text[at:]])


def _blocks(lines: list[str], first_line: int, code: list[CodeBlock]) -> Iterator[_Block]:
    block = _Block()
    index = 0
    while index < len(lines):
        line, number = lines[index], first_line + index
        index += 1
        if fence := _FENCE.match(line):
            yield block
            block = _Block()
            stop = _fence_end(lines, index, fence[1])
            code.append(CodeBlock(fence[2].lower(), "\n".join(lines[index:stop]), number + 1))
            index = stop + 1
            continue
        if _CITATION.match(line):
            yield block
            block = _Block()
            index = _citation_end(lines, index)
            continue
        line = _QUOTE.sub("", line, count=1) if line.lstrip().startswith(">") else line
        heading = _HEADING.match(line)
        marked = _HTML_HEADING.search(line)
        if heading or marked:
            yield block
            block = _Block(level=len(heading[1]) if heading else int(marked[1]) if marked else 0)
            block.add(heading[2] if heading else line, number)
            yield block
            block = _Block()
        elif not line.strip():
            yield block
            block = _Block()
        elif _UNDERLINE.match(line) and len(block.parts) == 1:
            block.level = 1 if "=" in line else 2
            yield block
            block = _Block()
        elif line.count("|") >= 2:
            yield block
            block = _Block()
            if row := _row(line):
                block.add(row, number)
                yield block
                block = _Block()
        else:
            if item := _ITEM.match(line):
                yield block
                block = _Block()
                line = line[item.end() :]
            block.add(line, number)
    yield block


def _fence_end(lines: list[str], index: int, fence: str) -> int:
    while index < len(lines):
        text = lines[index].strip(" \t>")
        if text.startswith(fence) and not text.strip(fence[0]):
            return index
        index += 1
    return index


def _citation_end(lines: list[str], index: int) -> int:
    for at in range(index, min(index + _CITATION_LINES, len(lines))):
        if lines[at].strip() == "}":
            return at + 1
    return index


def _row(line: str) -> str | None:
    if _RULE_ROW.match(line):
        return None
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    return f"{cells[0]}: {cells[1]}" if len(cells) == 2 and all(cells) else None


def _plain(line: str) -> tuple[str, list[Link]]:
    line = _STRUCK.sub("", _IMAGE.sub("", line))
    parts: list[str] = []
    links: list[Link] = []
    length = at = 0
    for match in _LINK.finditer(line):
        parts.append(_clean(line[at : match.start()]))
        length += len(parts[-1])
        shown = match["text"] or match["ref"] or match["shown"]
        text = _clean(shown) if shown else "" if match["text"] is not None else "link"
        url = match["url"] or match["href"] or match["auto"] or match["bare"] or ""
        if url:
            links.append(Link(text=text, url=url.rstrip(".,;:"), start=length))
        parts.append(text)
        length += len(text)
        at = match.end()
    parts.append(_clean(line[at:]))
    text = "".join(parts)
    lead = len(text) - len(text.lstrip())
    return text.strip(), [link._replace(start=max(0, link.start - lead)) for link in links]


def _clean(text: str) -> str:
    return html.unescape(_ESCAPE.sub(r"\1", _EMPHASIS.sub("", _TAG.sub("", text))))


def _sentences(block: _Block, section: str) -> list[Sentence]:
    text = " ".join(block.parts)
    found: list[Sentence] = []
    before = ""
    for start, stop in _spans(text, whole=bool(block.level)):
        plain = text[start:stop].strip()
        first = start + len(text[start:stop]) - len(text[start:stop].lstrip())
        links = tuple(link._replace(start=link.start - first) for link in block.links if start <= link.start < stop)
        line = block.lines[max(0, bisect_right(block.starts, first) - 1)]
        found.append(Sentence(text=plain, line=line, level=block.level, section=section, links=links, before=before))
        before = plain
    return found


def _spans(text: str, *, whole: bool) -> Iterator[tuple[int, int]]:
    """Where sentences begin and end; what has no end in sight is cut at blanks."""
    at = 0
    stops = () if whole else (match.end() for match in _STOP.finditer(text))
    for stop in (*stops, len(text)):
        piece = text[at:stop].rstrip()
        if stop < len(text) and _NO_STOP.search(piece[-8:]):
            continue
        while stop - at > LIMITS.sentence_chars:
            cut = text.rfind(" ", at + 1, at + LIMITS.sentence_chars)
            cut = cut if cut > at else at + LIMITS.sentence_chars
            yield at, cut
            at = cut
        if text[at:stop].strip():
            yield at, stop
        at = stop
