"""Checks on names: what they say of Llama and Meta, and what they pretend (NAME-001 and 002)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from auditor.compliance.citing import place, quoted
from auditor.compliance.claims.families import family_of
from auditor.compliance.claims.naming import check_name, check_org
from auditor.compliance.rules.base import Outcome, failed, not_applicable, passed, warned
from auditor.compliance.rules.promises import said_of_weights
from auditor.compliance.situation import Derivation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.compliance.claims.naming import LlamaMention
    from auditor.compliance.situation import Situation

_TITLE: Final = 100  # characters; a longer first heading is a sentence
_TITLE_WORDS: Final = 5  # words up to the first break; more is no name
_BREAK: Final = re.compile(r"[:(|\u2013\u2014]|\s-\s")


class _Name(NamedTuple):
    """A name of the model: where it stands, what it is, and whether it is only a heading of the card."""

    where: str
    text: str
    path: str | None
    heading: bool


def no_endorsement(s: Situation) -> Outcome:
    """NAME-001: no name or sentence implies that the model is Meta's or approved by Meta.

    A name may pretend where the licence does not apply, too. That breaks no clause of it, so there this only warns.
    """
    if (found := _pretending(s)) is not None:
        evidence, path, sure = found
        return failed(evidence, path) if sure and s.bound else warned(evidence, path)
    if claims := said_of_weights(s, "endorsement"):
        return warned(place(claims[0]), claims[0].where.path)
    return passed("no name or sentence implies it")


def fits_weights(s: Situation) -> Outcome:
    """NAME-002: a name with Llama in it stands on weights with Llama in them."""
    named = [
        (name, mention)
        for name in _names(s)
        for mention in _own_mentions(_title(name))
        if mention.family in s.policy.called | {"llama"}
    ]
    if not named:
        return not_applicable(f"no name says {s.policy.product}")
    name, mention = named[0]
    evidence = f"{name.where}: {quoted(name.text)}"
    if s.derivation is Derivation.PROVED:
        return passed(evidence, name.path)
    if s.derivation is not Derivation.DENIED:
        return not_applicable("the weights do not decide it")
    if mention.family == "llama" and (other := _another_llama(s)):
        return passed(f"{evidence}; another Llama, by its own word: {other}", name.path)
    return warned(f"{evidence}, while {s.basis}", name.path)


def _pretending(s: Situation) -> tuple[str, str | None, bool] | None:
    """Return the first name that pretends: evidence, path, and whether it is one for sure."""
    for name in s.names:
        if "/" in name and (org := check_org(name.split("/", 1)[0])).kind == "lookalike":
            return f"the target's organisation {quoted(org.org)}: {org.reason}", None, True
    for claim in s.repository.claims.of("organization"):
        # A header's field says in words who made the model. Meta's plain name in it may describe the base.
        if (org := check_org("-".join(claim.value.split()))).kind == "lookalike":
            return f"{place(claim)}: {org.reason}", claim.where.path, not claim.value.isascii()
    for found in _names(s):
        check = check_name(found.text)
        own = _own_mentions(found.text)
        evidence = f"{found.where}: {quoted(found.text)}"
        if own and check.deceptive:
            return f"{evidence} hides its letters", found.path, True
        if own and check.endorsement:  # a heading may speak of an official implementation; a name speaks of the model
            return f"{evidence} says {quoted(check.endorsement)}", found.path, not found.heading
    return None


def _names(s: Situation) -> Iterator[_Name]:
    for name in s.names:
        yield _Name("the target's name", name.rsplit("/", 1)[-1], None, heading=False)
    for claim in s.repository.claims.of("name"):
        if not (claim.in_prose and len(claim.value) > _TITLE):
            line = f", line {claim.where.line}" if claim.where.line else f", {claim.where.key}"
            yield _Name(f"{claim.where.path}{line}", claim.value, claim.where.path, heading=claim.in_prose)


def _title(name: _Name) -> str:
    """Return what of a name is a name: of a heading, the few words before its first break."""
    if not name.heading:
        return name.text
    title = _BREAK.split(name.text, maxsplit=1)[0]
    return title if len(title.split()) <= _TITLE_WORDS else ""


def _own_mentions(name: str) -> tuple[LlamaMention, ...]:
    """Return where a name says Llama and means Meta's: TinyLlama and VideoLLaMA are other projects' names."""
    return tuple(mention for mention in check_name(name).mentions if mention.project is None)


def _another_llama(s: Situation) -> str | None:
    """Return where the repository says that it is a Llama, or a model with such a name, of another kind."""
    for claim in s.base_claims():
        if family_of(claim.value) not in s.policy.called | {"unknown", "llama"}:
            return place(claim)
    for claim, license_ in s.declared():
        if any(name.startswith("llama") for name in license_.names - set(s.policy.declared)):
            return place(claim)
    return None
