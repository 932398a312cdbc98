"""The attribution notice that a licence asks to be kept in a "Notice" file.

The sentence is data (`NoticeSpec`), the check is the same for every product. Wrapping, case, quotes, markup, the
form of the copyright sign and what stands around the sentence do not matter; product, licence and holder do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Literal

from auditor.compliance.texts.normalize import Text
from auditor.compliance.texts.notice_sentence import Sentence, anchors, folded_words, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

NoticeStatus = Literal[
    "ok",
    "ok-with-note",  # the sentence with something beside it: a year, half a copyright sign
    "misworded",
    "wrong-version",  # of another product of the family
    "wrong-holder",
    "absent",
]

_RANK: dict[NoticeStatus, int] = {
    "ok": 0,
    "ok-with-note": 1,
    "wrong-version": 2,
    "wrong-holder": 3,
    "misworded": 4,
    "absent": 5,
}
_CANDIDATES = 200  # places looked at; a notice file has one
_PASTED = 150  # words; a longer text that quotes the clause is the agreement, not a notice
_NUMBER = re.compile(r"\d{1,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeSpec:
    """What the sentence of one product names: "... is licensed under the ..., Copyright (c) ..."."""

    product: str
    license_name: str
    holder: str

    @property
    def sentence(self) -> str:
        """The sentence as the licence gives it."""
        subject = f"{self.product} is licensed under the {self.license_name}"
        return f"{subject}, Copyright (c) {self.holder} All Rights Reserved."


LLAMA2_NOTICE = NoticeSpec(product="Llama 2", license_name="LLAMA 2 Community License", holder="Meta Platforms, Inc.")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeResult:
    """What was found of the notice.

    Attributes
    ----------
    status : str
        See `NoticeStatus`.
    line : int or None
        Line on which the sentence, or what comes nearest to it, begins.
    quote : str or None
        What the file says there. Text of the file, not escaped.
    note : str or None
        What is wrong or unusual, as a phrase.
    in_agreement : bool
        Whether the sentence stands where the agreement asks for it (clause 1.b.iii), and nowhere else.
    """

    status: NoticeStatus
    line: int | None = None
    quote: str | None = None
    note: str | None = None
    in_agreement: bool = False


def find_notice(text: str | Text, spec: NoticeSpec = LLAMA2_NOTICE) -> NoticeResult:
    """Look for the notice of a product in a text.

    Parameters
    ----------
    text : str or Text
        The decoded file.
    spec : NoticeSpec

    Returns
    -------
    NoticeResult
        Of the best sentence in the file; a file may hold the notices of several products.

    Examples
    --------
    >>> find_notice(LLAMA2_NOTICE.sentence).status
    'ok'
    >>> find_notice(LLAMA2_NOTICE.sentence.replace("Meta Platforms, Inc.", "Acme")).status
    'wrong-holder'
    """
    if not isinstance(text, Text):
        text = Text.of(text)
    best = NoticeResult(status="absent")
    quoted = False
    for at in islice(anchors(text.folded), _CANDIDATES):
        result = _read(text, at, spec)
        if result.in_agreement and len(text.words) > _PASTED:
            quoted = True
        elif _RANK[result.status] < _RANK[best.status]:
            best = result
    if best.status == "absent" and quoted:
        note = "the sentence stands only inside the agreement, which asks for it in a separate file"
        return NoticeResult(status="absent", note=note, in_agreement=True)
    return best


def _read(text: Text, at: int, spec: NoticeSpec) -> NoticeResult:
    product = folded_words(spec.product)
    sentence = parse(text, at, len(product))
    if sentence is None or not _is_related(sentence, _family(product)):
        return NoticeResult(status="absent")
    status, note = _judge(text, sentence, spec)
    before = text.folded[max(0, sentence.start - 5) : sentence.start]
    clause = "such" in before and "copies" in before
    if clause and _RANK[status] <= 1:
        status, note = "ok-with-note", "copied together with the clause that asks for it"
    if text.invisible and note is None:
        status, note = "ok-with-note", "there are invisible characters inside words"
    return NoticeResult(
        status=status,
        line=text.line(sentence.start),
        quote=text.quote(sentence.start, sentence.copyright.stop, limit=240),
        note=note,
        in_agreement=clause,
    )


def _family(product: tuple[str, ...]) -> str:
    """Return the name of a product without its number: the last word that is none."""
    return next((word for word in reversed(product) if not _NUMBER.fullmatch(word)), "")


def _is_related(sentence: Sentence, family: str) -> bool:
    """Whether it is about the product's family at all; "licensed under the Apache License" is not."""
    named = any(word.startswith(family) for word in (*sentence.product, *sentence.license_name))
    return named or "community" in sentence.license_name


def _judge(text: Text, sentence: Sentence, spec: NoticeSpec) -> tuple[NoticeStatus, str | None]:
    product, copyright_ = folded_words(spec.product), sentence.copyright
    other = _other_version(sentence.product, product) or _other_version(sentence.license_name, product)
    if other:
        return "wrong-version", f"it names {other}, not {spec.product}"
    subject = sentence.verb and sentence.product[-len(product) :] == product
    whole = copyright_.holder and copyright_.reserved and (copyright_.word or copyright_.sign)
    if not subject or sentence.license_name != folded_words(spec.license_name) or not whole:
        return "misworded", f"the licence asks for: {spec.sentence}"
    if copyright_.holder != folded_words(spec.holder):
        return "wrong-holder", f"the holder is {spec.holder}"
    return _with_note(text, sentence, len(product))


def _with_note(text: Text, sentence: Sentence, product_words: int) -> tuple[NoticeStatus, str | None]:
    copyright_ = sentence.copyright
    if copyright_.years:
        return "ok-with-note", "a year was added"
    if not (copyright_.word and copyright_.sign):
        return "ok-with-note", f"the copyright is written without {'the sign' if copyright_.word else 'the word'}"
    extra = len(sentence.product) - product_words
    if extra:
        return "ok-with-note", f"the sentence begins {text.quote(sentence.start, sentence.start + extra)!r}"
    return "ok", None


def _other_version(name: Sequence[str], product: tuple[str, ...]) -> str | None:
    """Return the product of the same family but another number that a name holds: "llama 3.1"."""
    family = _family(product)
    version = ".".join(product[len(product) - product[::-1].index(family) :])
    for index, word in enumerate(name):
        joined = re.fullmatch(rf"{re.escape(family)}(\d.*)", word)
        numbers = [joined[1]] if joined else []
        if word == family:
            numbers = list(takewhile(_NUMBER.fullmatch, name[index + 1 :]))
        if numbers:
            found = ".".join(numbers)
            return f"{family} {found}" if found != version else None
    return None
