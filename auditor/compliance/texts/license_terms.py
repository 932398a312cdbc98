"""Words that make the text around a licence a part of its terms.

Asked of what stands before, between and after official texts in a file. A file that is little else than the
licence is read strictly: any prohibition, grant or condition beside the true text modifies it. In a longer
document, such as a README, words of that kind are everywhere; there only statements about further terms, about
the licence itself, or about what "you" may not do count.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Literal

from auditor.compliance.texts.normalize import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_USE = (
    r"(?:us(?:e|ed|es|ing)|cop(?:y|ied)|distribut\w*|redistribut\w*|sell|sold|resell|sublicens\w*|host\w*|deploy\w*"
    r"|modif\w*|train\w*|publish\w*|commerciali\w*|shar(?:e|ed)|reproduc\w*|merg(?:e|ed)|exploit\w*|remov\w*)"
)
_NOT = r"(?:not|never|only|neither)"
_MODAL = r"(?:may|must|shall|can|will|should|might)"
_SOMEONE = r"(?:you|licensees?|users?|recipients?|customers?|anyone|nobody|no one|third part(?:y|ies))"
_LICENCE = r"(?:agreement|licen[sc]e)"
_FURTHER = r"(?:additional|further|supplement\w*|extra|special|other|more)"
_TERMS = r"(?:terms?|restrictions?|conditions?|obligations?|provisions?|clauses?|requirements?|limitations?)"

ANYWHERE = (
    rf"{_FURTHER} (?:\w+ )?{_TERMS} (?:\w+ ){{0,4}}(?:appl\w+|govern\w*|bind\w*|to th\w+ {_LICENCE})",
    rf"(?:{_FURTHER}|following) (?:licen[sc]e|use|usage|commercial|legal) {_TERMS}",
    rf"{_TERMS} (?:\w+ ){{0,2}}also apply",
    r"in addition to (?:the |this |these )?(?:above|foregoing|licen[sc]e|agreement|terms|\w+ licen[sc]e)",
    r"notwithstanding|supersed\w+|takes? precedence|shall prevail|commons clause",
    r"(?:right|permission) to sell the (?:software|model|weights|materials)",
    r"(?:section|clause|paragraph)s? \d\w*(?: \w+){0,8} (?:not apply|replaced|deleted|amended|void|waived|added)",
    rf"{_LICENCE} (?:is|are) (?:hereby )?(?:amended|modified|supplemented|extended|replaced)",
    rf"{_SOMEONE} (?:{_MODAL}|are|is|agree|agrees)(?: \w+){{0,2}} {_NOT}(?: \w+){{0,6}} {_USE}",
    rf"{_SOMEONE} (?:cannot|may {_NOT})(?: \w+){{0,6}} {_USE}",
    rf"(?:prohibited|forbidden|not permitted|not allowed|not authori[sz]ed) from {_USE}",
    r"non ?commercial(?:ly| (?:use|usage|purposes?|research))|not for commercial|research (?:use|purposes?) only",
    r"only for (?:\w+ ){0,2}(?:research|academic|evaluation)",
    r"commercial (?:use|usage|deployment)(?: \w+){0,4} (?:prohibited|forbidden|not|requires?|without|only)",
)
BESIDE_A_LICENCE = (
    rf"non ?commercial\w*|must {_NOT}|must (?:also|give|provide|publish|pay|send|include|credit|cite|link)",
    rf"must be (?!accepted|agreed|read)|{_MODAL}(?: \w+)? {_NOT}|cannot|shall|prohibit\w*|forbid\w*|restrict\w*",
    r"forfeit\w*|not (?:be )?(?:permitted|allowed|authori[sz]ed)|required to",
    r"agree(?:s|d)? (?:not|never|to (?:pay|give|grant))",
    rf"{_FURTHER} {_TERMS}|subject to (?:\w+ )?{_TERMS}|on (?:the )?condition that|provided that",
    r"royalt\w+|fees?|payment|written (?:permission|consent|approval)|indemnif\w+|warrant\w+|liab\w+",
    r"exclusive\w*|sole(?:ly)? (?:right|for|discretion)|reserves? the right|terminat\w+|revok\w+",
    r"(?:except|unless|without) (?:\w+ ){0,3}(?:permission|consent|approval|agreement|licen[sc]e)",
    r"(?:darf|d\u00fcrfen)(?: \w+){0,6} nicht|untersagt|verboten|nicht ?kommerziell\w*",
    r"interdit\w*|non ?commercial\w*|(?:peut|peuvent) pas",
    r"prohibid\w*|no comercial\w*|no (?:puede\w*|podr\w*)|\u0437\u0430\u043f\u0440\u0435\u0449\w*",
)
# Chinese and Japanese write no spaces: must not, forbidden, limited to, only for, non-commercial, not usable for,
# further terms, prohibited.
UNSPACED = (
    r"\u4e0d\u5f97|\u7981\u6b62|\u4ec5\u9650|\u4ec5\u4f9b|\u975e\u5546|\u4e0d\u53ef\u7528\u4e8e"
    r"|\u9644\u52a0\u6761\u6b3e|\u7981\u3058"
)
# Before the licence, "the following terms" are the licence, and what one "must" do is to accept it; after it,
# they are more.
AFTER_A_LICENCE = (r"following (?:\w+ )?(?:terms|restrictions|conditions|obligations)",)
AFTER_IN_ITS_FILE = (r"must|may|agrees?|agreed|allowed|permitted|required|only|obliged|entitled|owed|owns?|subject to",)


def _any_of(*groups: Sequence[str], unspaced: str = "(?!)") -> re.Pattern[str]:
    spaced = "|".join(pattern for group in groups for pattern in group)
    return re.compile(rf"(?<!\w)(?:{spaced})(?!\w)|{unspaced}")


_LOOSE = _any_of(ANYWHERE), _any_of(ANYWHERE, AFTER_A_LICENCE)
_STRICT = (
    _any_of(ANYWHERE, BESIDE_A_LICENCE, unspaced=UNSPACED),
    _any_of(ANYWHERE, BESIDE_A_LICENCE, AFTER_A_LICENCE, AFTER_IN_ITS_FILE, unspaced=UNSPACED),
)
_STRICT_SHARE = 0.5  # words beside the official texts, over theirs: up to here the file is little else
_CONTEXT = 8  # words quoted on both sides of a statement
_REMARKS = 20
_SCAN = 60_000  # words; a longer surrounding text is read up to here


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Lines of the file, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraText:
    """Text of the file that is no official text.

    Attributes
    ----------
    where : {"before", "between", "after", "hidden"}
        Seen from the official texts; "hidden" is in a comment or struck out.
    span : Span
    words : int
    terms : bool
        Whether it states terms of its own: a prohibition, condition, grant, or a change of the licence.
    quote : str
        The statement, or else its beginning and end. Text of the file, not escaped.
    """

    where: Literal["before", "between", "after", "hidden"]
    span: Span
    words: int
    terms: bool
    quote: str


def surrounding_texts(text: Text, taken: Sequence[tuple[int, int]]) -> tuple[ExtraText, ...]:
    """Describe what a file holds beside its official texts, in order; what is not shown comes last.

    Parameters
    ----------
    taken : sequence of (int, int)
        Words of the file that are official text, as ranges in order. Without any, nothing surrounds them.
    """
    if not taken:
        return ()
    own = sum(stop - start for start, stop in taken)
    strict = len(text.words) - own <= _STRICT_SHARE * own
    edges = [(0, 0), *taken, (len(text.words), len(text.words))]
    found: list[ExtraText] = []
    for (_, start), (stop, _) in pairwise(edges):
        if start < stop:
            where: Literal["before", "between", "after"] = "between"
            if start == 0 or stop == len(text.words):
                where = "before" if start == 0 else "after"
            found.append(_extra(text, start, stop, where=where, strict=strict))
    return (*found, *_hidden_terms(text, strict=strict))


def _extra(
    text: Text, start: int, stop: int, *, where: Literal["before", "between", "after"], strict: bool
) -> ExtraText:
    terms = find_terms(text.folded[start:stop], strict=strict, after=where != "before")
    first, last = (start, stop) if terms is None else (start + terms[0] - _CONTEXT, start + terms[1] + _CONTEXT)
    return ExtraText(
        where=where,
        span=Span(first=text.line(start), last=text.line(stop - 1)),
        words=stop - start,
        terms=terms is not None,
        quote=text.quote(max(start, first), min(stop, last)),
    )


def _hidden_terms(text: Text, *, strict: bool) -> Iterator[ExtraText]:
    for remark in text.hidden[:_REMARKS]:
        inner = Text.of(remark.text)
        if inner.words:
            extra = _extra(inner, 0, len(inner.words), where="after", strict=strict)
            if extra.terms:
                lines = Span(first=remark.line, last=remark.line + remark.text.count("\n"))
                yield replace(extra, where="hidden", span=lines)


def find_terms(words: Sequence[str], *, strict: bool, after: bool) -> tuple[int, int] | None:
    """First run of words that states a term of its own.

    Parameters
    ----------
    words : sequence of str
        Folded words of the surrounding text.
    strict : bool
        Whether the file is little else than the licence.
    after : bool
        Whether the words follow the licence.

    Returns
    -------
    (int, int) or None
        Where the run starts and stops in `words`.
    """
    words = words[:_SCAN]
    pattern = (_STRICT if strict else _LOOSE)[after]
    match = pattern.search(" ".join(words))
    if match is None:
        return None
    ends = list(accumulate(len(word) + 1 for word in words))
    return bisect_right(ends, match.start()), bisect_right(ends, match.end() - 1) + 1
