"""Sentences about who stands behind the model: Meta's approval, ownership, promises."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from auditor.compliance.claims.prose.grammar import WEIGHTS, negated, occurrences, unreal

if TYPE_CHECKING:
    from auditor.compliance.claims.prose.markdown import Sentence

_META: Final = r"(?:meta(?:\s+(?:ai|platforms|llama))?(?:,?\s+inc\.?)?|facebook(?:\s+ai)?)"
_MADE: Final = r"(?:made|built|developed|created|released|trained)"
_APPROVED: Final = r"(?:endorsed|sponsored|approved|certified|authori[sz]ed|sanctioned|recommended|vetted|backed)"
_THE_OFFICIAL: Final = r"(?:an?\s+|the\s+)?official\s+(?:release\s+of\s+)?"
_ENDORSEMENT: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b{_APPROVED}\s+by\s+{_META}\b",
        rf"\bin\s+(?:\w+\s+)?(?:partnership|collaboration|cooperation|association)\s+with\s+{_META}\b",
        rf"\b(?:official\s+)?partner(?:s|ed)?\s+(?:of|with)\s+{_META}\b",
        # Of the thing itself: "the official Llama 2 weights" alone may be what one started from.
        rf"\b(?:this\s+is|here\s+is|we\s+(?:present|release))\s+(?:an?|the|our)\s+official\s+(?:{_META}|llama)\b",
        rf"\b(?:this|our)\s+(?:{WEIGHTS}|repo\w*|release)\s+is\s+{_THE_OFFICIAL}(?:{_META}|llama)",
        rf"\b(?:this|our)\s+(?:{WEIGHTS})\s+(?:is|was|has\s+been)\s+{_MADE}\s+by\s+{_META}\b",
        rf"\bofficial(?:ly)?\s+(?:released|supported|maintained)\s+by\s+{_META}\b",
    )
)
_ABOUT_THE_BASE: Final = re.compile(r"\bllama[\s-]?[234]?(?:\.\d)?\b[^.;]{0,60}$", re.IGNORECASE)

_HOLDER: Final = r"(?!meta\b|facebook\b|their\s+respective|its\s+respective|the\s+respective|respective)"
_THIS: Final = rf"\b(?:this|the|our|these)\s+(?:\w+\s+){{0,2}}(?:{WEIGHTS})\b[^.;]{{0,40}}\b(?:is|are|remains?)\s+"
_RIGHTS: Final = (
    r"(?:(?:all|full|exclusive|sole|the|complete)\s+)*"
    r"(?:rights?|ownership|copyright|title|intellectual\s+property)\b[^.;]{0,40}"
)
_OWNERSHIP: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b(?:we|i)\s+(?:\w+\s+)?(?:own|retain|hold|reserve|claim)\s+{_RIGHTS}\b(?:{WEIGHTS})\b",
        rf"\b(?:we|i)\s+(?:solely\s+|exclusively\s+)?own\s+(?:the|this|these)\s+(?:\w+\s+){{0,2}}(?:{WEIGHTS})\b",
        rf"{_THIS}(?:(?:solely|exclusively|wholly)\s+)?owned\s+by\s+{_HOLDER}",
        rf"{_THIS}(?:the\s+)?(?:(?:sole|exclusive|intellectual)\s+)*property\s+of\s+{_HOLDER}",
    )
)
_WARRANTY: Final = re.compile(
    r"\b(?:we|i)\s+(?:\w+\s+)?(?:warrant|guarantee)\s+(?:that\s+)?(?:the|this|our|its|all)\b"
    r"|\b(?:comes|provided|delivered|shipped)\s+with\s+(?:a|an|full|our)\s+(?:\w+\s+)?(?:warranty|guarantee)\b",
    re.IGNORECASE,
)


def endorsement_claim(sentence: Sentence) -> str | None:
    """Return the words that claim Meta's origin or approval for this model.

    "Llama 2, released by Meta" describes the base and is no such claim.
    """
    for pattern in _ENDORSEMENT:
        for match in occurrences(pattern, sentence.text):
            if negated(sentence.text, match.start()) or unreal(sentence.text, match.start()):
                continue
            own = match.group().lower().startswith(("this", "our", "here", "we "))
            if own or not _ABOUT_THE_BASE.search(sentence.text[: match.start()]):
                return match.group()
    return None


def ownership_claim(sentence: Sentence) -> str | None:
    """Return the words that claim the model for somebody other than Meta."""
    for pattern in _OWNERSHIP:
        match = pattern.search(sentence.text)
        if match and not negated(sentence.text, match.start()) and not _denies(match.group()):
            return match.group()
    return None


def warranty_claim(sentence: Sentence) -> str | None:
    """Return the words that promise what the agreement disclaims."""
    match = _WARRANTY.search(sentence.text)
    if match is None or negated(sentence.text, match.start()) or _denies(match.group()):
        return None
    return match.group()


def _denies(words: str) -> bool:
    return re.search(r"\b(?:not|no|never|cannot|without)\b|n['\u2019]t\b", words, re.IGNORECASE) is not None
