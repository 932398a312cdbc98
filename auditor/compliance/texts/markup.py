r"""Take HTML, markdown and string escapes off a text, keeping its line breaks where they were.

What a renderer would not show (comments, struck-out text, undisplayed elements) is left out of the words and
returned beside them, so that neither a clause that was crossed out nor a term hidden in a comment goes unseen.
Every pattern runs in linear time: quantifiers that could overlap are possessive.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TAG = re.compile(r"<!--|-->|<(/?)([a-zA-Z][a-zA-Z0-9]{0,15})(\s[^<>]*|/)?>|<[!?][a-zA-Z][^<>]*>")
_INLINE: Final = frozenset(
    {"a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i"}
    | {"ins", "kbd", "label", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time"}
    | {"tt", "u", "var", "wbr"}
)
_BLOCK: Final = frozenset(
    {
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "br",
        "caption",
        "center",
        "col",
        "colgroup",
        "dd",
        "details",
    }
    | {
        "dir",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
    }
    | {
        "h6",
        "head",
        "header",
        "hgroup",
        "hr",
        "html",
        "img",
        "input",
        "legend",
        "li",
        "link",
        "main",
        "menu",
        "meta",
    }
    | {"nav", "noscript", "ol", "option", "p", "pre", "script", "section", "select", "style", "summary", "table"}
    | {"tbody", "td", "template", "textarea", "tfoot", "th", "thead", "title", "tr", "ul"}
)
_VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta", "wbr"})
_NEVER_SHOWN = frozenset({"script", "style", "template", "del", "strike", "s"})
_UNSHOWN = re.compile(r"\shidden(?=[\s=/]|$)|display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_STRUCK = re.compile(r"(?<!~)~~(?=[^\s~])([^~]{1,20000}+)~~(?!~)")
_WRAP = r"[ \t]*+\n[ \t>#*|;]*+"  # a line end, and the prefix of a quoted next line
_LINK_TARGET = re.compile(
    r"\]\([ \t]*+<?[^()<>\s]*+(?:\([^()\s]*+\)[^()<>\s]*+)*+>?(?:[ \t]++(?:\"[^\"\n]*+\"|'[^'\n]*+'))?[ \t]*+\)"
    rf"|\]\([^()<>\s]*+(?:{_WRAP}[^()<>\s]++){{1,5}}+\)"  # wrapped by a careless tool
)
_SCHEME = re.compile(  # "https://", also broken over lines in an address that was too long for them
    rf"\bh(?:{_WRAP})?t(?:{_WRAP})?t(?:{_WRAP})?p(?:{_WRAP})?s?(?:{_WRAP})?:(?:{_WRAP})?/(?:{_WRAP})?/|\bftp://|\bmailto:",
    re.IGNORECASE,
)
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|[nrt](?![a-z]{2}[a-z]*\{)|[\"'])")
_Cut = tuple[int, int, str, tuple[int, int] | None]  # start, end, replacement, the passage a reader loses
_BREAK = "\v"  # ends a line for the reader, without being a line of the file


def strip_markup(text: str, *, with_hidden: bool = False) -> tuple[str, list[tuple[int, str]]]:
    """Return `text` without its markup, and the passages that a renderer would not show, with their lines.

    With `with_hidden` these passages stay in the text, only their markup goes.
    """
    gone: list[tuple[int, str]] = []
    if "\\" in text:
        text = _ESCAPED.sub(_unescape, text)
    if "<" in text:
        text = _cut_out(text, _tags(text, with_hidden=with_hidden), gone)
    if "&" in text:
        text = _ENTITY.sub(_entity, text)
    if "~~" in text and not with_hidden:
        struck = ((m.start(), m.end(), " ", (m.start(1), m.end(1))) for m in _STRUCK.finditer(text))
        text = _cut_out(text, struck, gone)
    if "](" in text:
        text = _LINK_TARGET.sub(_without_target, text)
    if ":" in text:
        text = _SCHEME.sub(lambda m: "\n" * m[0].count("\n"), text)
    return text, gone


def _unescape(match: re.Match[str]) -> str:
    if match[1]:
        code = int(match[1], 16)
        return " " if code < 0x20 or 0xD800 <= code < 0xE000 else chr(code)
    return {"n": _BREAK, "r": _BREAK, "t": " "}.get(match[0][1], match[0][1])


def _without_target(match: re.Match[str]) -> str:
    breaks = match[0].count("\n")
    if breaks and not re.match(r"https?:|mailto:", "".join(match[0][2:].split())):
        return match[0]
    return "]" + "\n" * breaks


def _entity(match: re.Match[str]) -> str:
    return html.unescape(match[0]).replace("\n", " ").replace("\r", " ")


def _cut_out(text: str, cuts: Iterable[_Cut], gone: list[tuple[int, str]]) -> str:
    """Replace the cuts, which come in order of their start; one inside another is part of it."""
    pieces: list[str] = []
    at, line, counted = 0, 1, 0
    for start, end, replacement, lost in cuts:
        if start < at:
            continue
        pieces.append(text[at:start])
        if lost is not None:
            line += text.count("\n", counted, start)
            counted = start
            gone.append((line, text[lost[0] : lost[1]]))
        breaks = text.count("\n", start, end)
        pieces.append(replacement + "\n" * breaks if breaks else replacement)
        at = end
    pieces.append(text[at:])
    return "".join(pieces)


def _tags(text: str, *, with_hidden: bool) -> list[_Cut]:
    found: list[_Cut] = []
    still_open: dict[str, list[tuple[int, int, bool]]] = {}
    if with_hidden:
        return [(m.start(), m.end(), _BREAK, None) for m in _TAG.finditer(text) if _is_markup(m)]
    comment: int | None = None
    for match in _TAG.finditer(text):
        if match[0] == "<!--":
            comment = match.start() if comment is None else comment
        elif match[0] == "-->":
            if comment is not None:
                found.append((comment, match.end(), " ", (comment + 4, match.start())))
            comment = None
        elif comment is None:
            found.extend(_of_tag(text, match, still_open))
    found.sort(key=lambda cut: (cut[0], -cut[1]))
    return found


def _of_tag(text: str, match: re.Match[str], still_open: dict[str, list[tuple[int, int, bool]]]) -> Iterator[_Cut]:
    if not _is_markup(match):
        return
    name = match[2].lower() if match[2] else "!"
    if match[1]:
        opened = still_open.get(name)
        if opened:
            start, inner, unseen = opened.pop()
            if unseen and not (name == "s" and _is_prompt(text, inner, match.start())):
                yield start, match.end(), " ", (inner, match.start())
                return
    elif match[3] != "/" and name not in _VOID:
        unseen = name in _NEVER_SHOWN or bool(match[3] and _UNSHOWN.search(match[3]))
        still_open.setdefault(name, []).append((match.start(), match.end(), unseen))
    yield match.start(), match.end(), "" if name in _INLINE else _BREAK, None


def _is_markup(match: re.Match[str]) -> bool:
    """Whether it is a tag of HTML; a placeholder such as <NAME> or the <unk> of a tokenizer are words."""
    return not match[2] or match[2].lower() in _INLINE or match[2].lower() in _BLOCK


def _is_prompt(text: str, start: int, end: int) -> bool:
    """Whether what <s> and </s> enclose is too much to be struck out: they also frame prompts in READMEs."""
    return end - start > 2000 or text.find("\n\n", start, end) >= 0
