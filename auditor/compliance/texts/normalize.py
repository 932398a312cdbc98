r"""From the bytes of a text file to the words a reader sees, each with its line.

Two copies of a licence differ in everything but their words: line ends, wrapping, quotes, bullets, markdown,
HTML, encodings. `decode` undoes the encoding, `Text.of` removes what is not a word and says what it left out.

Nothing here is quadratic in hostile input. Unicode normalisation in particular is applied word by word:
`unicodedata.normalize` takes minutes on one megabyte of alternating combining marks.

References
----------
Unicode Standard Annex 15, Unicode Normalization Forms.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from auditor.compliance.texts.markup import strip_markup
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

_APOSTROPHES = "\u2018\u2019\u201a\u201b\u02bc\u02b9\u2032\u00b4`\u2035\uff07"
_HYPHENS = "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"
_NOT_SHOWN = (  # characters that take no space: nothing a reader sees changes when they go
    *range(0x09),
    *range(0x0E, 0x1C),
    0x7F,
    0xAD,
    0x34F,
    0x61C,
    0x115F,
    0x1160,
    0x17B4,
    0x17B5,
    *range(0x180B, 0x1810),
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    0x3164,
    *range(0xFE00, 0xFE10),
    0xFEFF,
    0xFFA0,
    *range(0xFFF9, 0xFFFC),
    *range(0xE0000, 0xE0200),
)
_FOLD: dict[int, str | None] = {
    **dict.fromkeys(_NOT_SHOWN),
    **dict.fromkeys(map(ord, _APOSTROPHES), "'"),
    **dict.fromkeys(map(ord, _HYPHENS), "-"),
    **dict.fromkeys(map(ord, "\u2122\u00ae\u2120")),  # trademark signs: not words
    **dict.fromkeys((0x85, 0x2028, 0x2029), "\v"),
}
# UTF-8 typography that was read as cp1252 and saved again; the words are whole, only the signs are garbled.
_MOJIBAKE = (
    ("\u00e2\u20ac\u2122", "'"),
    ("\u00e2\u20ac\u02dc", "'"),
    ("\u00e2\u20ac\u0153", '"'),
    ("\u00e2\u20ac\u009d", '"'),
    ("\u00e2\u20ac\ufffd", '"'),
    ("\u00e2\u20ac\u201c", "-"),
    ("\u00e2\u20ac\u201d", " - "),
    ("\u00c2\u00a9", "\u00a9"),
    ("\u00c2\u00a0", " "),
)
_HIDDEN_IN_WORD = re.compile(  # invisible between two letters, or a control that changes the reading direction
    "(?<=\\w)[\x00-\x08\x0e-\x1b\x7f\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u2060-\u2064\u3164\ufeff\uffa0"
    "\ufe00-\ufe0f\U000e0000-\U000e01ff]+(?=\\w)|[\u202a-\u202e\u2066-\u2069]+"
)
# A word may hold apostrophes (also ones lost to "?" or U+FFFD) and hyphens (also at a line's end, before the
# prefix of a quoted or commented next line). Both are dropped: "non-\n> transferable" is "nontransferable".
_WORD = re.compile(
    r"\u00a9|\([cC]\)|(?<=[Cc]opyright )[?\ufffd](?= )"
    r"|[^\W_]++(?:(?:['?\ufffd]|-(?:[ \t\v]*+\n[\s>#*/|;%\-]*+|\s++)?+)[^\W_]++)*+"
)
_COPYRIGHT_SIGN = re.compile(r"\u00a9|\([cC]\)|[?\ufffd]")
_LONG_WORD = 64  # no word of a licence is longer; what follows cannot make it equal to one
_LIST_MARK = re.compile(r"\d{1,2}|[a-zA-Z]|[ivxIVX]{1,5}|\([cC]\)|\u00a9")
_AFTER_MARK = re.compile(r"[*_]{0,3}\\?[.)]")
_BEFORE_MARK = re.compile(r"(?:^|[\n\v])[^\w\n\v]{0,40}\Z")


def fold(word: str) -> str:
    """Return the form in which words are compared: compatibility-normalised, case-folded, letters and digits.

    Examples
    --------
    >>> fold("Non-Transferable"), fold("Meta's"), fold("(c)"), fold("\ufb01ne")
    ('nontransferable', 'metas', '©', 'fine')
    """
    if _COPYRIGHT_SIGN.fullmatch(word):
        return "\u00a9"
    if not word.isascii():
        word = unicodedata.normalize("NFKC", word[:_LONG_WORD]) + word[_LONG_WORD:]
    word = word.casefold()
    return word if word.isalnum() else "".join(filter(str.isalnum, word))


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something a reader of the rendered text would not see, with the line it stands in."""

    line: int
    text: str


@dataclass(frozen=True)
class Text:
    """A text as the words that a reader sees.

    Attributes
    ----------
    raw : str
        The text as it was read, with line feeds for line ends.
    clean : str
        The text without markup and invisible characters, with as many line breaks as it was read with. A
        vertical tab stands where markup ended a line or a paragraph.
    words : tuple of str
        The words as they stand in `clean`.
    starts : tuple of int
        Where each begins in `clean`.
    hidden : tuple of Remark
        Comments, struck-out and undisplayed passages that were left out.
    invisible : tuple of int
        Lines in which invisible characters stood inside words.
    with_hidden : bool
        Whether hidden passages were read as words instead.
    cut : bool
        Whether the text was longer than the cap, so that its end was not looked at.
    """

    raw: str = field(repr=False)
    clean: str = field(repr=False)
    words: tuple[str, ...] = field(repr=False)
    starts: tuple[int, ...] = field(repr=False)
    hidden: tuple[Remark, ...] = ()
    invisible: tuple[int, ...] = ()
    with_hidden: bool = False
    cut: bool = False
    _line_ends: tuple[int, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, text: str, *, limit: int = LIMITS.license_text, with_hidden: bool = False) -> Text:
        """Read `text`; what stands after the first `limit` characters is not looked at.

        `with_hidden` keeps the words of comments and other passages that a renderer would not show.
        """
        cut = len(text) > limit
        text = text[:limit].replace("\r\n", "\n").replace("\r", "\n")
        invisible = tuple(text.count("\n", 0, m.start()) + 1 for m in _first(_HIDDEN_IN_WORD.finditer(text)))
        clean, gone = strip_markup(text, with_hidden=with_hidden)
        if "\u00ad" in clean:
            clean = re.sub(r"\u00ad(?=[ \t]*\n)", "-", clean)
        if "\u00e2\u20ac" in clean or "\u00c2" in clean:
            for wrong, right in _MOJIBAKE:
                clean = clean.replace(wrong, right)
        clean = clean.translate(_FOLD)
        spans = [m.span() for m in _WORD.finditer(clean)]
        return cls(
            raw=text,
            clean=clean,
            words=tuple([clean[i:j] for i, j in spans]),
            starts=tuple([i for i, _ in spans]),
            hidden=tuple(Remark(line=line, text=passage) for line, passage in gone),
            invisible=invisible,
            with_hidden=with_hidden,
            cut=cut,
            _line_ends=tuple(m.start() for m in re.finditer("\n", clean)),
        )

    @cached_property
    def folded(self) -> tuple[str, ...]:
        """The words in the form in which they are compared."""
        seen = {word: fold(word) for word in set(self.words)}
        return tuple([seen[word] for word in self.words])

    def end(self, index: int) -> int:
        """Where the word `index` ends in `clean`."""
        return self.starts[index] + len(self.words[index])

    def line(self, index: int) -> int:
        """Line, from 1, in which the word `index` begins; of an index past the end, the last line with words."""
        if not self.words:
            return 1
        return bisect_right(self._line_ends, self.starts[min(max(index, 0), len(self.words) - 1)]) + 1

    def between(self, index: int) -> str:
        """Return what stands between the word `index` and the word before it."""
        start = self.end(index - 1) if index > 0 else 0
        return self.clean[start : self.starts[index] if index < len(self.starts) else len(self.clean)]

    def quote(self, first: int, stop: int, *, limit: int = 160) -> str:
        """Return the words from `first` up to `stop` as written, on one line, shortened in the middle."""
        if first >= stop:
            return ""
        start, end = self.starts[first], self.end(stop - 1)
        if end - start > 4 * limit:  # never collapse a megabyte to show a line
            text = self.clean[start : start + 2 * limit] + " \u2026 " + self.clean[end - 2 * limit : end]
        else:
            text = self.clean[start:end]
        text = " ".join(text.split())
        if len(text) <= limit:
            return text
        half = (limit - 3) // 2
        return f"{text[:half].rstrip()} \u2026 {text[-half:].lstrip()}"

    def is_list_mark(self, index: int, *, at_line_start: bool = True) -> bool:
        """Whether the word `index` has the shape of a list number or letter: "1.", "a)", "iv."."""
        if not _LIST_MARK.fullmatch(self.words[index]):
            return False
        end = self.end(index)
        if self.words[index][0] not in "(\u00a9" and not _AFTER_MARK.match(self.clean, end, end + 5):
            return False
        start = self.starts[index]
        return not at_line_start or bool(_BEFORE_MARK.search(self.clean, max(0, start - 45), start))


def decode(data: bytes) -> str:
    """Read the bytes of a text file, whatever they were saved as; never raises.

    A byte order mark decides. Without one, zero bytes mean UTF-16; then UTF-8, also with some damage; then the
    one of a few old encodings in which the bytes over 127 are typography, as they are in an English licence.

    Examples
    --------
    >>> decode("Meta\u2019s".encode("cp1252")) == decode("Meta\u2019s".encode("mac_roman")) == "Meta\u2019s"
    True
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    head = data[:4096]
    if head.count(0) * 3 >= len(head) > 1:
        return data.decode("utf-16-be" if head[0::2].count(0) > head[1::2].count(0) else "utf-16-le", "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    text = data.decode("utf-8", "replace")
    damage = text.count("\ufffd")
    if damage * 10 <= sum(1 for char in text if char > "\x7f"):
        return text
    return max((_as(data, name) for name in ("cp1252", "gb18030", "mac_roman")), key=_typography)


_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_TYPOGRAPHY = frozenset("\u2018\u2019\u201c\u201d\u2013\u2014\u2022\u2026\u00a0\u00a9\u00ab\u00bb\u00b7\u00a7\u3000")


def _as(data: bytes, name: str) -> str:
    """Decode; the few bytes that the encoding has no character for become U+FFFD."""
    return data.decode(name, "replace")


def _typography(text: str) -> float:
    high = [char for char in text[:200_000] if char > "\x7f"]
    return sum(char in _TYPOGRAPHY for char in high) / max(1, len(high))


def _first(matches: Iterator[re.Match[str]], limit: int = 20) -> Iterator[re.Match[str]]:
    for _, match in zip(range(limit), matches, strict=False):
        yield match
