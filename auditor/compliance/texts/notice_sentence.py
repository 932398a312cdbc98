"""Take sentences like "Llama 2 is licensed under the ..., Copyright (c) ..." apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.compliance.texts.normalize import fold

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditor.compliance.texts.normalize import Text

_BEFORE = 14  # words before "licensed under" in which the product's name may stand
_AFTER = 30  # words after it in which the sentence must end
_COPYRIGHT = frozenset({"copyright", "\u00a9"})
_YEARS = re.compile(r"(?:19|20)\d\d(?:(?:19|20)\d\d|present|\d\d)?")
_SENTENCE_END = re.compile(r"[.:;!?,]\s|[\n\v\"'()\[\]{}|>#*/=\u201c\u201d\u2022\-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copyright:
    """The part of the sentence from "Copyright" on."""

    word: bool = False  # "Copyright"
    sign: bool = False  # "(c)"
    years: int = 0
    holder: tuple[str, ...] = ()
    reserved: bool = False  # "All Rights Reserved"
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """The parts of a sentence like the notice."""

    start: int
    product: tuple[str, ...] = ()
    verb: bool = False  # "is licensed under the"
    license_name: tuple[str, ...]
    copyright: Copyright


def folded_words(name: str) -> tuple[str, ...]:
    """Return the words of a name as they are compared."""
    return tuple(fold(word) for word in re.findall(r"[\w'-]+", name))


def anchors(words: Sequence[str]) -> Iterator[int]:
    """Find where such a sentence may turn: "licensed under", or else the name of the licence."""
    last = -_AFTER
    for index, word in enumerate(words):
        if word in ("licensed", "licenced") and words[index + 1 : index + 2] == ("under",):
            last = index
            yield index
        elif word == "community" and words[index + 1 : index + 2] in (("license",), ("licence",)) and index - last > 8:
            yield index


def parse(text: Text, at: int, product_words: int) -> Sentence | None:
    """Take the sentence apart that turns at the word `at` (`anchors`); None if there is too little of one.

    Parameters
    ----------
    product_words : int
        Words of the product's name, which may be wrapped over a line end.
    """
    words = text.folded
    end = min(len(words), at + _AFTER)
    name_end = next((i for i in range(at, end) if words[i] in _COPYRIGHT), None)
    if words[at] == "community":  # a sentence without its beginning
        copyright_ = _copyright(words, end, end) if name_end is None else _copyright(words, name_end, end)
        if not copyright_.reserved:
            return None
        start = max(0, at - product_words)
        return Sentence(start=start, license_name=words[start : at + 2], copyright=copyright_)
    if name_end is None:
        name_end = end = _name_end(text, at) or at
        if name_end == at:
            return None
    start = _start(text, at, product_words)
    return Sentence(
        start=start,
        product=words[start : max(start, at - 1)],
        verb=words[max(0, at - 1) : at + 3] == ("is", "licensed", "under", "the"),
        license_name=words[at + 3 : name_end],
        copyright=_copyright(words, name_end, end),
    )


def _copyright(words: tuple[str, ...], at: int, end: int) -> Copyright:
    """Read "Copyright (c) 2023 Holder All Rights Reserved", any part of which may be missing."""
    signs, years = set(), 0
    while at < end and (words[at] in _COPYRIGHT or _YEARS.fullmatch(words[at])):
        years += words[at] not in _COPYRIGHT
        signs.add(words[at])
        at += 1
    reserved = next((i for i in range(at, end) if words[i : i + 3] == ("all", "rights", "reserved")), None)
    holder_end = min(end, at + 3) if reserved is None else reserved
    holder = tuple(word for word in words[at:holder_end] if not _YEARS.fullmatch(word))
    return Copyright(
        word="copyright" in signs,
        sign="\u00a9" in signs,
        years=years + holder_end - at - len(holder),
        holder=holder,
        reserved=reserved is not None,
        stop=holder_end if reserved is None else reserved + 3,
    )


def _name_end(text: Text, at: int) -> int | None:
    """Where the name of the licence ends in a sentence that has no copyright: "... 2 Community License."."""
    for index in range(at, min(len(text.words), at + 8)):
        if text.folded[index : index + 2] in (("community", "license"), ("community", "licence")):
            end = index + 2
            rest = text.folded[end : end + _AFTER]
            ended = end == len(text.words) or bool(_SENTENCE_END.search(text.between(end)))
            return end if "reserved" in rest or (ended and text.folded[at] == "licensed") else None
    return None


def _start(text: Text, at: int, product_words: int) -> int:
    """Where the sentence begins: after the last mark that ends one, at most some words back.

    A line end counts, unless the product's own name is wrapped over it.
    """
    start = max(0, at - 1)
    while start > 0 and at - start < _BEFORE:
        near = at - 1 - start < product_words
        between = text.between(start)
        if start < at - 1 and (_SENTENCE_END.search(between.replace("\n", " ") if near else between)):
            break
        start -= 1
    return start
