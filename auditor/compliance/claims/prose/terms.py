"""Sentences that say under what terms something is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from auditor.compliance.claims.licenses import find_license_names
from auditor.compliance.claims.prose.grammar import foreign, negated, scope, unreal

if TYPE_CHECKING:
    from auditor.compliance.claims.prose.markdown import Sentence
    from auditor.compliance.claims.values import Subject


class Terms(NamedTuple):
    """Terms that a sentence states: a licence's name, or for a labelled line the words after the label."""

    value: str
    subject: Subject
    link: str | None


_LABEL: Final = re.compile(
    r"^\W*(?P<of>(?:[\w-]+\s+){0,3}?)licen[sc](?:e|ing)s?(?:\s+type)?(?:\s*\([^()]{0,40}\))?\s*:\s*(?P<what>\S.{0,300})$"
    r"|^\W*licen[sc]e\s+(?P<bare>(?:a|an|the)\s.{0,300}|[A-Z][\w.-]*.{0,60})$",
    re.IGNORECASE,
)
_UNDER: Final = re.compile(
    r"\b(?:licen[sc]ed|released|distributed|published|available|provided|shared|governed|covered|issued|free|open-?sourced)\b"
    r"[^.;]{0,50}?\b(?:under|by|with|through|via)\b|\b(?:is|are|falls?|subject)\s+(?:under|to)\b|\bunder\s+(?:the|an?)\b",
    re.IGNORECASE,
)
_OFTEN: Final = 8  # licences of one sentence that are looked at
_REACH: Final = 120  # characters from "licensed under" to the licence's name


def terms(sentence: Sentence, own_names: tuple[str, ...]) -> list[Terms]:
    """Return what the sentence says of terms: labelled lines, "licensed under", names in a licence section."""
    text = sentence.text
    label = None if sentence.level else _LABEL.match(text)
    if label and not unreal(text, len(text)):
        what = (label["what"] or label["bare"] or "").strip()
        names = find_license_names(what)
        subject = scope(label["of"] or "")
        link = next((link.url for link in sentence.links), None)
        return [Terms(names[0].text if len(names) == 1 else what[:200], subject, link)]
    found: list[Terms] = []
    in_section = "licen" in sentence.section or "licen" in text.lower()
    for name in find_license_names(text)[:_OFTEN] if not sentence.level else ():
        verb = _last(_UNDER, text, name.start)
        stated = verb is not None and name.start - verb.end() <= _REACH
        if not stated and not (in_section and "licen" in sentence.section):
            continue
        at = verb.start() if verb else name.start
        if negated(text, name.start) or unreal(text, name.start) or foreign(text[:at], own_names):
            continue
        link = next((link.url for link in sentence.links if link.start <= name.stop <= link.start + 200), None)
        found.append(Terms(name.text, scope(text[:at] or text), link))
    return found


def _last(pattern: re.Pattern[str], text: str, stop: int) -> re.Match[str] | None:
    last = None
    for match in pattern.finditer(text, 0, stop):
        last = match
    return last
