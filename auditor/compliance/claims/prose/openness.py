"""Sentences that call this model, its weights or its licence "open source".

`open-sourced` as a mere adjective ("our open-sourced code and models") says that something was published, and is
left alone; as a verb or a predicate ("we open-source the 7B model") it is the claim.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from auditor.compliance.claims.prose.grammar import (
    OTHER,
    WEIGHTS,
    clause_start,
    compared,
    foreign,
    head_noun,
    names_llama,
    negated,
    nouns,
    occurrences,
    unreal,
)

if TYPE_CHECKING:
    from auditor.compliance.claims.prose.markdown import Sentence

_OPEN: Final = re.compile(r"\bopen[\s\-\u2010\u2011]?sourc(?P<end>e|ed|ing|es)\b", re.IGNORECASE)
_FILL: Final = r"(?:[\w\-+/'\u2019]+,?\s+){0,5}"  # adverbs and adjectives between a verb and its noun
_COPULA: Final = re.compile(
    rf"\b(?:is|are|was|were|remains?|becomes?|being|as)\s+(?:now\s+)?(?:an?\s+|the\s+|our\s+|one\s+of\s+)?{_FILL}$",
    re.IGNORECASE,
)
_PRESENT: Final = re.compile(
    r"\b(?:we|i|us|our\s+team|this\s+(?:repo\w*|project|work|paper))\b.{0,60}\b(?:present|introduc|releas|propos|offer"
    rf"|provid|publish|announc|buil[dt]|develop|train|shar|creat|launch|fine-?tun)\w*\s+{_FILL}$",
    re.IGNORECASE,
)
_OWN: Final = re.compile(r"\b(?:our|this|my)\s+(?:[\w\-]+\s+){0,3}$", re.IGNORECASE)
_APPOSITION: Final = re.compile(r"(?:^|[,:(\u2013\u2014-]\s*)(?:an?|our)\s+(?:[\w\-]+,?\s+){0,4}$", re.IGNORECASE)
_WE: Final = re.compile(
    r"\b(?:we|i)(?:['\u2019]ve)?\s+(?:(?:have|has|are|am|also|fully|now|hereby|proudly|then|further|will|happily)\s+){0,3}$",
    re.IGNORECASE,
)
_PREDICATE: Final = re.compile(
    rf"\b(?:{WEIGHTS}|it|they)\b(?P<between>[^.;]{{0,60}}?)\s(?:is|are|was|were|(?:has|have)\s+been)\s+"
    rf"(?:(?:now|also|fully|completely|truly|all|publicly|both|currently|permanently|100%|free|and|released|made|available"
    r"|as|licensed|distributed|\w+ly),?\s+){0,5}$",
    re.IGNORECASE,
)
_OBJECT_END: Final = re.compile(
    r"[.;!?]|\b(?:for|to|used|that|which|so|in\s+order|under|on|at|by|with)\b", re.IGNORECASE
)
_LABEL: Final = re.compile(r"^\W*(?:model\s+|weights?\s+)?licen[sc]e(?:\s+type)?\s*:\s*$", re.IGNORECASE)
_LICENCE: Final = re.compile(r"[\s-]+licen[sc]", re.IGNORECASE)
_UNDER: Final = re.compile(r"\b(?:under|with|has|have|by)\b", re.IGNORECASE)
_SUBJECT: Final = re.compile(r"^(.{2,60}?)\s(?:is|are)\s+(?:(?:also|fully|completely|truly|now|100%)\s+){0,2}$")
_PRONOUN: Final = re.compile(r"(?:it|they)\b", re.IGNORECASE)
_OBJECT_STOP: Final = re.compile(r"[.;]")
_NOT_WEIGHTS: Final = re.compile(r"\b(?:code|software|librar(?:y|ies)|data|datasets?)\b", re.IGNORECASE)
_TURNED: Final = re.compile(
    r"\b(?:than|with|to|like|outperform\w*|compar\w*|using|from|against|over|between|based|on|by|via)\b",
    re.IGNORECASE,
)
_OTHER_NOUN: Final = re.compile(rf"\b(?:{OTHER})\b", re.IGNORECASE)


def open_source_claim(sentence: Sentence, own_names: tuple[str, ...]) -> str | None:
    """Return the words that call the model open source, or None."""
    for match in occurrences(_OPEN, sentence.text):
        if _is_claim(sentence, match, own_names):
            return match.group()
    return None


def _is_claim(sentence: Sentence, match: re.Match[str], own_names: tuple[str, ...]) -> bool:
    text, at = sentence.text, match.start()
    before = text[:at]
    if negated(text, at) or text.rstrip().endswith("?"):
        return False
    if _WE.search(before):
        return _opens_weights(text, match.end())
    if match["end"] in {"ing", "es"}:
        return False
    return _LABEL.match(before) is not None or _describes_this(sentence, match, own_names)


def _describes_this(sentence: Sentence, match: re.Match[str], own_names: tuple[str, ...]) -> bool:
    """Whether this model is what the adjective belongs to."""
    text, end = sentence.text, match.end()
    before = text[: match.start()]
    if _LICENCE.match(text, end):
        return _licence_of_weights(text, match.start(), end)
    if unreal(text, match.start()):
        return False
    head = head_noun(text, end)
    if head is None or (match["end"] == "ed" and head == "weights"):
        return _is_predicate(sentence, before, own_names)
    return head == "weights" and match["end"] == "e" and _is_this_model(before, own_names)


def _is_this_model(before: str, own_names: tuple[str, ...]) -> bool:
    """Whether the words before "open-source ... model" make it this one and not another."""
    if (own := _OWN.search(before)) and not _TURNED.search(own.group()):
        return True
    if (present := _PRESENT.search(before)) and not compared(before, len(before)):
        return not foreign(present.group(), own_names)
    if (copula := _COPULA.search(before)) and not _TURNED.search(copula.group()):
        subject = before[clause_start(before, copula.start()) : copula.start()]
        last = nouns(subject, 0, len(subject))[-1:]
        return last != ["other"] and not foreign(subject, own_names)
    if _APPOSITION.search(before):
        return not compared(before, len(before)) and not foreign(before, own_names)
    return False


def _is_predicate(sentence: Sentence, before: str, own_names: tuple[str, ...]) -> bool:
    """Whether the model is what "... is open source" is said of."""
    match = _PREDICATE.search(before)
    if match is None:
        plain = _SUBJECT.search(before)
        subject = plain[1] if plain else ""
        ours = any(name and name.lower() in subject.lower() for name in own_names)
        return bool(subject) and (ours or names_llama(subject)) and not _OTHER_NOUN.search(subject)
    if _PRONOUN.match(match.group()):
        kinds = nouns(sentence.before, 0, len(sentence.before))
        return "weights" in kinds and "other" not in kinds and not foreign(sentence.before, own_names)
    start = clause_start(before, match.start())
    elsewhere = compared(before, match.end(), start=start) or foreign(before[start : match.end()], own_names)
    return not _OTHER_NOUN.search(match["between"]) and not elsewhere


def _opens_weights(text: str, end: int) -> bool:
    """Whether weights are among the objects of "we open-source ..."."""
    stop = _OBJECT_END.search(text, end)
    thing = text[end : stop.start() if stop else len(text)][:160]
    kinds = nouns(thing, 0, len(thing))
    return "weights" in kinds or (not kinds and names_llama(thing))


def _licence_of_weights(text: str, at: int, end: int) -> bool:
    """Whether weights are what is under "the open-source licence"."""
    ahead = _OBJECT_STOP.split(text[end : end + 120], maxsplit=1)[0]
    if ("weights" in nouns(ahead, 0, len(ahead)) or names_llama(ahead)) and not _NOT_WEIGHTS.search(ahead):
        return True
    start = clause_start(text, at)
    behind = nouns(text, start, at)
    if unreal(text, at):
        return False
    return bool(behind) and "other" not in behind and _UNDER.search(text, start, at) is not None
