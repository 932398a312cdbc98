"""Checks on what the card promises or claims: training, ownership, warranty, openness (IMP, OWN, WAR, OSI)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from auditor.compliance.citing import place, quoted
from auditor.compliance.claims.families import family_of
from auditor.compliance.claims.licenses import NO_OSI_REASON
from auditor.compliance.rules.agreement import DAMAGED
from auditor.compliance.rules.base import Outcome, a_person_must_say, failed, not_applicable, passed, warned
from auditor.compliance.situation import Derivation

if TYPE_CHECKING:
    from auditor.compliance.claims.gather import Claim, Kind
    from auditor.compliance.situation import Situation

_WARRANTY_CLAUSES = {"3", "4"}


def said_of_weights(s: Situation, *kinds: Kind) -> tuple[Claim, ...]:
    """Return claims of some kinds about the weights or the whole repository."""
    return tuple(c for c in s.repository.claims.of(*kinds) if c.subject in {"weights", "repository"})


def acceptance_recorded(s: Situation) -> Outcome:
    """ACC-001: a person says when the agreement was accepted. A gate shows what users accept, and is quoted."""
    said = a_person_must_say(s)
    for card in s.repository.cards:
        gate = card.extra_gated_prompt or card.extra_gated_heading or next(iter(card.extra_gated_fields), None)
        if gate is not None:
            where = f"{card.path}, line {gate.line}: {gate.key}"
            return replace(said, evidence=f"{said.evidence}; {where} asks users to accept terms", path=card.path)
    return said


def no_teacher(s: Situation) -> Outcome:
    """IMP-001: outputs were not used to improve another language model.

    The clause excepts the model itself and its derivatives. That *this* model is one says nothing about others, so
    what remains is for a person to state.
    """
    of_this = s.policy.called | {"llama"}  # "llama": the version is not said
    teachers = [c for c in s.repository.claims.of("teacher") if family_of(c.value) in of_this]
    derivative = s.derivation is Derivation.PROVED or (
        s.derivation is Derivation.CLAIMED and any(s.policy.names_base(claim.value) for claim in s.base_claims())
    )
    if teachers and not derivative:
        basis = s.basis if s.derivation is Derivation.DENIED else "the weights are not shown to be a derivative"
        return warned(f"{place(teachers[0])}, and {basis}", teachers[0].where.path)
    if s.bound:
        return a_person_must_say(s)
    return not_applicable("no sign of outputs used for training")


def no_ownership_claim(s: Situation) -> Outcome:
    """OWN-001: nobody claims to own, or to have made from nothing, what belongs to Meta."""
    if claims := said_of_weights(s, "ownership"):
        return warned(place(claims[0]), claims[0].where.path)
    if claims := said_of_weights(s, "from-scratch", "not-derived"):
        return warned(f"{place(claims[0])}, while {s.basis}", claims[0].where.path)
    return passed("no such claim")


def no_warranty(s: Situation) -> Outcome:
    """WAR-001: the card promises nothing that the agreement disclaims, and the copy keeps the disclaimer."""
    if claims := said_of_weights(s, "warranty"):
        return warned(place(claims[0]), claims[0].where.path)
    for text, recognition in s.official(*DAMAGED, document="license", text_id=s.policy.agreement):
        for difference in recognition.clauses:
            if difference.clause in _WARRANTY_CLAUSES and difference.change != "moved":
                evidence = f"{text.at(difference.line)}: clause {difference.clause} is {difference.change}"
                return warned(f"{evidence}: {quoted(difference.quote)}", text.path)
    return passed("no promise found")


def not_called_open_source(s: Situation) -> Outcome:
    """OSI-001: the weights are not called open source."""
    claims = said_of_weights(s, "open-source")
    if not claims:
        return passed("the weights are not called open source")
    where = claims[0].where.path
    declared = [license_ for _, license_ in s.declared()]
    own_word = any(s.declares_this(license_) for license_ in declared)
    if not s.bound and not own_word:
        if any(license_.osi_approved for license_ in declared):
            return passed(f"{place(claims[0])}; the OSI approves the licence that is declared", where)
        return not_applicable("the licence does not apply")
    evidence = f"{place(claims[0])}; the {s.policy.title} is {NO_OSI_REASON}"
    sure = s.derivation is Derivation.PROVED or own_word
    return failed(evidence, where) if s.strict and sure else warned(evidence, where)
