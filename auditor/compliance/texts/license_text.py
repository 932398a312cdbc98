"""Recognise Meta's licences and use policies in a text, word for word.

`recognise` answers for one file: is the wanted agreement in it, exactly, altered (which clause, how), truncated,
under another licensor's name, with further terms, only as a link, in another version; or is it another licence.

A text is *exact* if every word of one official copy stands in the file in order, none missing, changed or added
between the first and the last; where official copies differ, each place may follow any of them. Wrapping, case,
quotes, markup and list styles are not words. Coverage never decides: one word in a thousand can turn a licence
round ("700 million" to "7 billion" leaves 99.8%).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from auditor.compliance.texts.license_edits import ClauseDifference, Verdict
from auditor.compliance.texts.license_hashes import Document, OfficialText, hash_table
from auditor.compliance.texts.license_links import Pointer, find_pointers
from auditor.compliance.texts.license_phrases import other_license, title_of
from auditor.compliance.texts.license_search import Found, find_texts, taken
from auditor.compliance.texts.license_terms import ExtraText, Span, surrounding_texts
from auditor.compliance.texts.normalize import Text, decode

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ClauseDifference", "ExtraText", "Pointer", "Recognition", "Span", "decode", "recognise"]

Condition = Literal["exact", "appended", "altered", "truncated", "look-alike"]
Kind = Literal[
    "exact",  # the wanted text, whole and unchanged
    "appended",  # the wanted text, whole and unchanged, with further terms beside it
    "altered",  # words of the wanted text missing, changed or added
    "truncated",  # the wanted text, unchanged but for a beginning or an end that is missing
    "look-alike",  # the wanted text with another licensor's name in it
    "other-version",  # the text of another version, in whatever condition
    "other-license",  # the text of another licence or policy
    "pointer",  # no text, but a link to one or its name
    "none",
]

_NAMES_REPLACED = 0.5  # of the places that name licensor or product
_LOOK_ALIKE = 0.35  # of a text's words, names aside; unrelated licences have under .15
_HIDDEN = 200  # characters of a comment that are worth a second look
_ANOTHER = 60  # words beside a licence that may hold another one


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What licence text a file holds.

    Attributes
    ----------
    kind : str
        See `Kind`.
    text : OfficialText or None
        The official text that was found; for a pointer the one it points to.
    condition : str or None
        State of the text found, whatever its version: "exact", "appended", "altered", "truncated", "look-alike".
    document : {"license", "policy"} or None
    name, identifier : str or None
        Title and SPDX identifier or `LicenseRef-`, also of another licence; `name` may be text of the file.
    holder : str or None
        The name that stands where the licensor's should, in a look-alike. Text of the file.
    clauses : tuple of ClauseDifference
        In the order of the file. A look-alike's do not count the names themselves.
    coverage : float
        Share of the official words found in order. For display.
    span : Span or None
    extra : tuple of ExtraText
    pointers : tuple of Pointer
    also : tuple of Recognition
        Other official texts in the same file, and another licence beside them.
    notes : tuple of str
        What else a reader should know: invisible characters, lost list numbers, a text longer than the cap.
    """

    kind: Kind
    text: OfficialText | None = None
    condition: Condition | None = None
    document: Document | None = None
    name: str | None = None
    identifier: str | None = None
    holder: str | None = None
    clauses: tuple[ClauseDifference, ...] = ()
    coverage: float = 0.0
    span: Span | None = None
    extra: tuple[ExtraText, ...] = ()
    pointers: tuple[Pointer, ...] = ()
    also: tuple[Recognition, ...] = ()
    notes: tuple[str, ...] = ()


def recognise(text: str | Text, *, wanted: str = "llama-2", document: Document | None = None) -> Recognition:
    """Say which licence text a file holds, and in what state.

    Parameters
    ----------
    text : str or Text
        The decoded file (`decode`). The official text may stand anywhere in it, quoted, wrapped or marked up.
    wanted : str
        Product whose text is asked for; the texts of others are "other-version".
    document : {"license", "policy"}, optional
        Which of the product's texts is asked for. By default the licence, or else the policy.

    Returns
    -------
    Recognition
        Of the document asked for; "pointer" or "none" if the file has no such document. Other texts that were
        found are in `also`.

    Notes
    -----
    Words are compared as 64-bit hashes. The file is cut at `LIMITS.license_text` characters, and the time is
    linear in them.
    """
    text, found = _search(text if isinstance(text, Text) else Text.of(text))
    extra = surrounding_texts(text, taken(found))
    answers = [_answer(f, text, wanted, extra) for f in found]
    if all(a.kind != "other-license" for a in answers) and (not found or any(e.words >= _ANOTHER for e in extra)):
        answers += _other(text, found)
    pointers = find_pointers(text)
    if found:
        lines = [_span(f, text) for f in found]
        pointers = tuple(p for p in pointers if not any(s.first <= p.line <= s.last for s in lines))
    answers = [replace(a, extra=extra) if a.condition else a for a in answers]
    if not any(document in (None, a.document) for a in answers):
        asked = [_of_pointer(p) for p in pointers if document in (None, p.document)]
        asked.sort(key=lambda a: _preference(a, wanted, document))
        answers = [*(asked[:1] or [Recognition(kind="none", document=document)]), *answers]
    first, *rest = sorted(answers, key=lambda a: _preference(a, wanted, document))
    first = _contradicted(first, rest)
    return replace(first, pointers=pointers, also=tuple(rest), notes=(*first.notes, *_notes(text, found)))


def _search(text: Text) -> tuple[Text, list[Found]]:
    """Find the official texts; if there are none, also in comments, where sources keep their licence."""
    found = find_texts(text)
    if not found and any(len(remark.text) > _HIDDEN for remark in text.hidden):
        whole = Text.of(text.raw, with_hidden=True)
        found = find_texts(whole)
        if found:
            return whole, found
    return text, found


def _contradicted(first: Recognition, rest: Sequence[Recognition]) -> Recognition:
    """Where an altered copy stands beside a true one, nobody can know which of them is meant."""
    for other in rest:
        if first.kind == "exact" and other.text == first.text and other.condition in ("altered", "look-alike"):
            line = other.span.first if other.span else 1
            note = f"another copy of the text, {other.condition}, begins at line {line}"
            return replace(first, kind="appended", condition="appended", notes=(*first.notes, note))
    return first


def _span(found: Found, text: Text) -> Span:
    return Span(first=text.line(found.alignment.start), last=text.line(found.alignment.stop - 1))


def _preference(answer: Recognition, wanted: str, document: Document | None) -> tuple[bool, bool, bool, float]:
    return (
        answer.document != (document or "license"),
        answer.text is None or answer.text.product != wanted,
        answer.text is None,
        -answer.coverage,
    )


def _answer(found: Found, text: Text, wanted: str, extra: Sequence[ExtraText]) -> Recognition:
    official, verdict = found.official, found.verdict
    lost = sum(edit.a1 - edit.a0 for edit in verdict.edits)
    coverage = 1.0 - lost / len(official.codes)
    condition = _condition(found, extra)
    recognition = Recognition(
        kind=condition or "other-license",
        text=official,
        condition=condition,
        document=official.document,
        name=official.title,
        identifier=official.identifier,
        clauses=verdict.differences,
        coverage=coverage,
        span=_span(found, text),
        notes=("list numbers were taken away or restyled, all of a kind",) if verdict.unnumbered else (),
    )
    if condition is None:  # the same licensor's text for another product
        other = other_license(text) or title_of(text)
        name, identifier = (other.name, other.identifier) if other else (None, None)
        return replace(recognition, text=None, clauses=(), name=name, identifier=identifier, notes=())
    if condition == "look-alike":
        clauses = tuple(d for d in verdict.differences if not d.names_only)
        recognition = replace(recognition, holder=_holder(found, text), clauses=clauses)
    if official.product != wanted:
        recognition = replace(recognition, kind="other-version")
    return recognition


def _condition(found: Found, extra: Sequence[ExtraText]) -> Condition | None:
    official, verdict, alignment = found.official, found.verdict, found.alignment
    if not verdict.differences:
        return "appended" if any(e.terms for e in extra) else "exact"
    licensor = _replaced(official.licensor_at, verdict)
    product = _replaced(official.product_at, verdict)
    names = len(official.licensor_at | official.product_at)
    if alignment.matched >= _LOOK_ALIKE * (len(official.codes) - names):
        gone = licensor is None or licensor >= _NAMES_REPLACED
        if gone and product is not None and (licensor is not None or product >= _NAMES_REPLACED):
            return "look-alike"
    if product is None or product >= _NAMES_REPLACED:
        return None
    if _is_cut_short(official, verdict):
        return "truncated"
    return "altered"


def _replaced(positions: frozenset[int], verdict: Verdict) -> float | None:
    """Share of the names that the file has other words for; None if none of the places is in the file."""
    replaced = missing = 0
    for edit in verdict.edits:
        count = sum(edit.a0 <= position < edit.a1 for position in positions)
        if edit.b0 < edit.b1:
            replaced += count
        else:
            missing += count
    there = len(positions) - missing
    return replaced / there if there else None


def _is_cut_short(official: OfficialText, verdict: Verdict) -> bool:
    """Whether nothing differs but that the beginning, the end or both are missing, a whole clause at least."""
    at_the_ends = all(edit.b0 == edit.b1 and (edit.a0 == 0 or edit.a1 == len(official.codes)) for edit in verdict.edits)
    return at_the_ends and any(difference.whole for difference in verdict.differences)


def _holder(found: Found, text: Text) -> str | None:
    """Return the words that most often stand where the licensor's name should, or else the product's."""
    for positions in (found.official.licensor_at, found.official.product_at):
        names: Counter[str] = Counter()
        for edit in found.verdict.edits:
            if edit.b0 < edit.b1 and any(edit.a0 <= position < edit.a1 for position in positions):
                names[text.quote(edit.b0, edit.b1, limit=60)] += 1
        if names:
            return names.most_common(1)[0][0]
    return None


def _other(text: Text, found: Sequence[Found]) -> list[Recognition]:
    """Look for another licence in what is left of the file."""
    if found:
        pieces, at = [], 0
        for start, stop in taken(found):
            pieces.append(text.clean[at : text.starts[start]])
            at = text.end(stop - 1)
        text = Text.of("\n".join([*pieces, text.clean[at:]]))
    other = other_license(text)
    if other is None:
        return []
    recognition = Recognition(
        kind="other-license",
        document=other.document,
        name=other.name,
        identifier=other.identifier,
        span=None if found else Span(first=other.line, last=text.line(len(text.words) - 1)),
    )
    return [recognition]


def _of_pointer(pointer: Pointer) -> Recognition:
    official = hash_table().get(pointer.product, pointer.document) if pointer.product else None
    return Recognition(
        kind="pointer",
        text=official,
        document=pointer.document,
        name=official.title if official else None,
        identifier=official.identifier if official else None,
        span=Span(first=pointer.line, last=pointer.line),
    )


def _notes(text: Text, found: Sequence[Found]) -> tuple[str, ...]:
    notes = []
    if text.with_hidden:
        notes.append("the text stands in a comment")
    if text.cut:
        notes.append("the text is longer than what is read; its end was not looked at")
    spans = [_span(f, text) for f in found]
    invisible = [line for line in text.invisible if any(s.first <= line <= s.last for s in spans)]
    if invisible:
        notes.append(f"invisible characters inside words, line {', '.join(map(str, invisible[:5]))}")
    hidden = [r.line for r in text.hidden if any(s.first <= r.line <= s.last for s in spans)]
    if hidden:
        notes.append(f"text that is not shown (comment, struck out, hidden), line {', '.join(map(str, hidden[:5]))}")
    return tuple(notes)
