"""Checks on the licence that the card declares (CARD-001 to 006, ALT-001)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from auditor.compliance.citing import place, quoted
from auditor.compliance.claims.licenses import known_license, parse_license
from auditor.compliance.rules.base import Outcome, failed, not_applicable, passed, unknown, warned

if TYPE_CHECKING:
    from auditor.compliance.situation import Declared, Situation

_PROJECT: Final = re.compile(r"(?i)\b(?:projects?|repositor(?:y|ies)|repos?|code(?:base)?|work)\b")
_NOTICE: Final = re.compile(r"(?i)copyright|\u00a9|all rights reserved")


def not_relicensed(s: Situation) -> Outcome:
    """CARD-001: the card does not put the weights under other terms.

    Fails for permissive and Creative Commons licences in the metadata, or said of the model in the text. What a
    text says of "the project" may be meant of the code; copyleft and other terms contradict nothing by themselves.
    """
    declared = s.declared()
    if not declared:
        return not_applicable("no licence is declared") if s.repository.cards else _no_card(s)
    others = [d for d in declared if not s.declares_this(d.license) and d.license.family != "custom"]
    if not others:
        return passed("no other licence is put on the weights", declared[0].claim.where.path)
    worst = min(others, key=lambda d: not _gives_away(d))
    claim, license_ = worst
    own = [d for d in declared if s.declares_this(d.license) and not _NOTICE.search(d.claim.quote)]
    if own:
        return passed(f"{place(claim)}, beside {place(own[0].claim)}", claim.where.path)
    evidence = f"{place(claim)}, while {s.basis}"
    fix = (
        f"Declare `license: {s.policy.hub_license}` for the weights; {license_.spdx or license_.raw} can stand only "
        "for what is yours alone (code, data), and the card must say which part is which."
    )
    if not _gives_away(worst):
        return warned(evidence, claim.where.path, fix=fix)
    if carved := _perhaps_carved_out(s):
        return warned(f"{evidence}; {carved}", claim.where.path, fix=fix)
    return failed(evidence, claim.where.path, fix=fix)


def no_custom_name(s: Situation) -> Outcome:
    """CARD-002: no licence of the publisher's own making on a derivative."""
    for claim, license_ in s.declared():
        unknown_terms = license_.family in {"custom", "nc"} and not _is_creative_commons(license_.hub_id)
        if unknown_terms and license_.raw.strip().lower() != "other" and not claim.in_prose:
            return warned(f"{place(claim)}: a licence of another name", claim.where.path)
    return passed("no licence of another name")


def other_is_named(s: Situation) -> Outcome:
    """CARD-003: `license: other` says which, and links the agreement."""
    card = s.repository.card
    if card is None or not any(value.text.strip().lower() == "other" for value in card.license):
        return not_applicable("the card does not say `license: other`")
    where = f"{card.path}, line {card.license[0].line}: `license: other`"
    missing = [key for key in ("license_name", "license_link") if getattr(card, key) is None]
    if missing:
        return warned(f"{where} without {' and '.join(missing)}", card.path)
    link = card.license_link
    if link is None or not s.links_this(link.text):
        shown = f"line {link.line}: license_link {quoted(link.text)}" if link else "license_link"
        return warned(f"{where}, and {shown} does not lead to the {s.policy.title}", card.path)
    return passed(f"{where} with license_link {quoted(link.text)}", card.path)


def in_metadata(s: Situation) -> Outcome:
    """CARD-004: the licence is in the metadata, where the Hub and tools read it."""
    card = s.repository.card
    if card is None:
        return _no_card(s)
    if card.license:
        return passed(f"{card.path}, line {card.license[0].line}: {quoted(card.license[0].text)}", card.path)
    if not card.complete:
        return unknown(f"{card.path}: {problems(s)}", card.path)
    if in_body := [claim for claim, _ in s.declared() if claim.in_prose]:
        return warned(f"only in the text: {place(in_body[0])}", in_body[0].where.path)
    return not_applicable("no licence is declared on the card (see CARD-005)")


def some_licence(s: Situation) -> Outcome:
    """CARD-005: a licence is declared at all: on the card, in a header, or by the text of one."""
    if declared := s.declared():
        return passed(place(declared[0].claim), declared[0].claim.where.path)
    headers = [c for c in s.repository.claims.of("license") if not c.in_prose and c.subject == "weights"]
    texts = [text for text in s.repository.texts if text.place == "file" and text.recognition.document == "license"]
    card = s.repository.card
    path = card.path if card else None
    if headers or texts:
        where = place(headers[0]) if headers else f"{texts[0].path} ({texts[0].recognition.name or 'a licence'})"
        return warned(f"only by {where}; no card declares it", path)
    for text in s.repository.texts:
        for pointer in text.recognition.pointers:
            if pointer.document == "license" and pointer.product in {s.policy.text_product, None}:
                return warned(f"only by a link: {text.at(pointer.line)}: {quoted(pointer.quote)}", text.path)
    if not s.repository.claims.complete or s.repository.unread_texts:
        return unknown(f"not everything could be read: {problems(s)}", path)
    if card is None:
        return failed("there is no card, and no licence is declared")
    empty = next((p for p in card.problems if p.key and p.key.startswith("license")), None)
    return failed(
        f"{card.path}, line {empty.line}: {empty.message}" if empty else f"{card.path} declares no licence", path
    )


def parts_are_told_apart(s: Situation) -> Outcome:
    """CARD-006: where this licence and another are declared, the card says what each is for."""
    declared = [d for d in s.declared() if not _NOTICE.search(d.claim.quote)]
    whole = [d for d in declared if d.claim.subject == "repository"]
    own = [d for d in whole if s.declares_this(d.license)]
    others = [d for d in whole if d.license.names - set(s.policy.declared) - {"mixed", "custom"}]
    if not own or not others:
        return not_applicable("this licence and another are not declared side by side")
    told = [c for c in s.repository.claims.of("license") if c.in_prose and c.subject != "repository"]
    if told:
        return passed(place(told[0]), told[0].where.path)
    evidence = place(own[0].claim)
    if others[0] is not own[0]:
        evidence += f", and {place(others[0].claim)}"
    return warned(f"{evidence}, without saying which part is which", own[0].claim.where.path)


def of_the_very_variant(s: Situation) -> Outcome:
    """ALT-001: an alternative base's licence is the one of that very variant."""
    known = [(claim, found) for claim in s.base_claims() if (found := known_license(claim.value))]
    for claim, variant in known:
        terms = parse_license(variant.license)
        for own, license_ in s.declared():
            if "permissive" in license_.names and not terms.names & {"permissive", *s.policy.declared}:
                evidence = f"{place(claim)} is under {variant.license} ({variant.source}), and {place(own)}"
                return (failed if variant.sure else warned)(evidence, own.where.path)
    if known:
        claim, variant = known[0]
        return passed(f"{place(claim)} is under {variant.license} ({variant.source})", claim.where.path)
    return not_applicable("no base whose own terms are known here is named")


def problems(s: Situation) -> str:
    """Name what stood in the way of reading metadata, the first few."""
    found = [f"{p.path}{f', line {p.line}' if p.line else ''}: {p.message}" for p in s.repository.claims.problems]
    found += [f"{unread.path}: {unread.reason}" for unread in s.repository.unread]
    found += [f"{path}: not read" for path in s.repository.unopened]
    return "; ".join(found[:2]) or "no reason recorded"


def _no_card(s: Situation) -> Outcome:
    if unread := s.repository.unread_cards:
        return unknown(f"the card could not be read: {problems(s)}", unread[0])
    return not_applicable("there is no card")


def _gives_away(declared: Declared) -> bool:
    """Whether it grants, for the weights, rights that only the base's licensor could grant."""
    claim, license_ = declared
    terms = bool(license_.names & {"permissive", "cc"}) or _is_creative_commons(license_.hub_id)
    return terms and not (claim.in_prose and claim.subject == "repository" and _PROJECT.search(claim.quote))


def _is_creative_commons(hub_id: str | None) -> bool:
    return hub_id is not None and hub_id.startswith("cc")


def _perhaps_carved_out(s: Situation) -> str | None:
    """Return where the card names the agreement in a language whose sentences are not read here."""
    for text in s.repository.texts:
        for pointer in text.recognition.pointers if text.place == "card" else ():
            foreign = any(char.isalpha() and not char.isascii() for char in pointer.quote)
            if foreign and pointer.document == "license" and pointer.product == s.policy.text_product:
                return (
                    f"{text.at(pointer.line)} names the agreement, and a person must read how: {quoted(pointer.quote)}"
                )
    return None
