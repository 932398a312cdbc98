"""Checks on the copy of the agreement: there, whole, of the right version, nothing put beside it (LIC-001 to 005)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.compliance.citing import place, quoted
from auditor.compliance.rules.base import Outcome, failed, not_applicable, passed, unknown, warned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auditor.compliance.situation import Official, Situation
    from auditor.compliance.texts.license_text import Recognition

WHOLE = ("exact", "appended")
DAMAGED = ("altered", "truncated", "look-alike")
_CLAUSES_SHOWN = 4


def present(s: Situation) -> Outcome:
    """LIC-001: a copy of the agreement is there, in whatever condition."""
    copies = _copies(s)
    own = [copy for copy in copies if copy.recognition.condition != "look-alike"]
    if own:
        best = min(own, key=lambda copy: copy.recognition.condition not in WHOLE)
        return passed(f"the agreement stands in {best.text.path}: {best.recognition.condition}", best.text.path)
    if maybe := s.repository.unread_texts:
        return unknown(f"it may stand in what could not be read: {', '.join(maybe[:3])}", maybe[0])
    evidence = f"no file of the repository holds the {s.policy.title}"
    if copies:
        evidence += f"; {copies[0].text.path} has its wording under another licensor's name"
    elif others := list(_found_instead(s)):
        evidence += "; found instead: " + "; ".join(others[:3])
    fix = f"Add the agreement, unchanged, as LICENSE.txt; it comes with {s.policy.obtain}."
    return failed(evidence, copies[0].text.path if copies else None, fix=fix)


def unaltered(s: Situation) -> Outcome:
    """LIC-002: no copy is altered, truncated or under another name."""
    damaged = _copies(s, *DAMAGED)
    whole = _copies(s, *WHOLE)
    if not damaged:
        return passed("word for word", whole[0].text.path) if whole else not_applicable("there is no copy to compare")
    # A changed file that goes by the agreement's name misleads, whatever stands beside it. An excerpt in the card,
    # or terms of one's own in the same wording, do not, where the agreement itself is there too.
    worst = min(damaged, key=lambda copy: not _passes_for_it(copy))
    text, recognition = worst
    evidence = f"{text.path}: {differences(recognition, text.at)}"
    evidence += f"; a whole copy stands in {whole[0].text.path}" if whole else ""
    fix = f"Replace {text.path} by the agreement as published; it comes with {s.policy.obtain}."
    if whole and not _passes_for_it(worst):
        return warned(evidence, text.path, fix=fix)
    return failed(evidence, text.path, fix=fix)


def not_only_linked(s: Situation) -> Outcome:
    """LIC-003: the agreement is copied, not only linked."""
    if any(copy.recognition.condition != "look-alike" for copy in _copies(s)):
        return passed("the agreement itself is there")
    for claim in s.repository.claims.of("license-link"):
        if s.links_this(claim.value):
            return warned(f"only a link: {place(claim)}", claim.where.path)
    for text in sorted(s.repository.texts, key=lambda text: text.place != "file"):
        for pointer in text.recognition.pointers:
            if pointer.document == "license" and pointer.product in {s.policy.text_product, None}:
                return warned(f"only a pointer: {text.at(pointer.line)}: {quoted(pointer.quote)}", text.path)
    return not_applicable("no link to the agreement")


def of_this_version(s: Situation) -> Outcome:
    """LIC-004: the agreement is of the right version."""
    others = [
        found
        for found in s.official(document="license")
        if found.recognition.text is not None and found.recognition.text.id != s.policy.agreement
    ]
    whole = _copies(s, *WHOLE)
    if not others:
        return passed("no other version's agreement") if whole else not_applicable("no agreement of any version")
    text, recognition = others[0]
    fix = f"Ship the {s.policy.title}; another version's terms do not replace it."
    where = text.at(recognition.span.first) if recognition.span else text.path
    if whole:
        evidence = f"{where} holds the {recognition.name}, beside the right one in {whole[0].text.path}"
        return warned(evidence, text.path, fix=f"{fix} Say in the card what each is for.")
    return failed(f"{where} holds the {recognition.name}, not the {s.policy.title}", text.path, fix=fix)


def no_further_terms(s: Situation) -> Outcome:
    """LIC-005: nothing was added to the agreement's terms."""
    copies = _copies(s)
    for text, recognition in copies:
        for extra in recognition.extra:
            if extra.terms:
                evidence = f"{text.at(extra.span.first)}: further terms {extra.where} the agreement"
                return warned(f"{evidence}: {quoted(extra.quote)}", text.path)
    return passed("no further terms", copies[0].text.path) if copies else not_applicable("there is no copy to look at")


def differences(recognition: Recognition, at: Callable[[int | None], str]) -> str:
    """Say in which clauses a text departs from the official one, and where; the first few places."""
    if recognition.condition == "look-alike":
        evidence = f"the wording with {quoted(recognition.holder or 'another name')} as licensor"
    else:
        evidence = f"{recognition.condition}"
    shown = [
        f"clause {d.clause} {d.change} ({at(d.line).rpartition(', ')[2]}: {quoted(d.quote, limit=90)})"
        for d in recognition.clauses[:_CLAUSES_SHOWN]
    ]
    clauses = list(dict.fromkeys(d.clause for d in recognition.clauses[_CLAUSES_SHOWN:]))
    more = f", also in {', '.join(clauses[:8])}{' and more' if len(clauses) > 8 else ''}" if clauses else ""
    return evidence + (": " + "; ".join(shown) + more if shown else "")


def _copies(s: Situation, *conditions: str) -> tuple[Official, ...]:
    return s.official(*conditions, document="license", text_id=s.policy.agreement)


def _passes_for_it(copy: Official) -> bool:
    return copy.text.place == "file" and copy.recognition.condition == "altered"


def _found_instead(s: Situation) -> Iterator[str]:
    for text in s.repository.texts:
        recognition = text.recognition
        if text.place == "file" and recognition.kind != "none":
            what = recognition.name or recognition.kind
            yield f"{text.path} ({'a pointer to the ' if recognition.kind == 'pointer' else ''}{what})"
