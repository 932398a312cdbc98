"""Checks on names, claims and intended use: what a repository promises, pretends or invites."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from auditor.compliance.licenses import NO_OSI_REASON
from auditor.compliance.naming import check_name, check_org
from auditor.compliance.prose.markdown import read_markdown
from auditor.compliance.rules.base import Outcome, a_person_must_say, not_applicable, passed, place, quoted
from auditor.compliance.rules.declared import named_claims
from auditor.compliance.situation import Derivation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auditor.compliance.naming import NameCheck
    from auditor.compliance.situation import Situation

_PROHIBITED = {
    "1": r"(?:exploit\w*|sexuali[sz]\w*)\s+(?:of\s+)?(?:children|minors)|human trafficking|harass\w*|stalk\w*"
    r"|malware|ransomware|unlicensed (?:medical|legal|financial)|facial recognition of|credential theft|phishing",
    "2": r"military|warfare|weapons?|nuclear (?:industries|weapons?)|espionage|illegal drugs|critical infrastructure"
    r"|self-harm|heavy machinery",
    "3": r"disinformation|fake (?:reviews|news|accounts)|defam\w*|spam|impersonat\w*|deepfakes?|astroturf\w*"
    r"|plagiari\w*",
}
_INVITES = re.compile(
    r"(?i)\b(?:intended (?:use|for|to)|designed (?:for|to)|use (?:it|this model|the model) (?:for|to)|built (?:for|to)"
    r"|made (?:for|to)|optimi[sz]ed (?:for|to)|fine-?tuned (?:for|to)|suitable for|can be used (?:for|to)|use cases?)\b"
)
_NEGATED = re.compile(r"(?i)\b(?:not|never|n't|no|without|prohibit\w*|forbid\w*|avoid\w*|refus\w*|against|detect\w*"
                      r"|prevent\w*|classif\w*|moderat\w*|out[- ]of[- ]scope|misuse)\b")  # fmt: skip
_RISK_HEADING = re.compile(r"(?i)\b(?:limitation|risk|bias|safety|responsib|ethic|caveat|out[- ]of[- ]scope|warning)")
_STUB = re.compile(r"(?i)more information needed|\btodo\b|\btbd\b|coming soon|to be (?:added|written)|lorem ipsum")
_STUB_WORDS = 12  # a section of fewer words says nothing about dangers


def no_endorsement(s: Situation) -> Outcome:
    """NAME-001: no name or sentence implies that the model is Meta's or approved by Meta."""
    for where, organisation in _organisations(s):
        found = check_org(organisation)
        if found.kind == "lookalike":
            return Outcome(status="fail", evidence=f"{where}: {quoted(organisation)}: {found.reason}")
    for where, check, in_prose in _names(s):
        if not check.mentions:
            continue
        if check.deceptive or any(mention.disguised for mention in check.mentions):
            return Outcome(status="fail", evidence=f"{where}: {quoted(check.name)} hides its letters")
        if check.endorsement:  # a heading may speak of an official implementation; a name speaks of the model
            evidence = f"{where}: {quoted(check.name)} says {quoted(check.endorsement)}"
            return Outcome(status="warn" if in_prose else "fail", evidence=evidence)
    if claims := named_claims(s, "endorsement"):
        return Outcome(status="warn", evidence=place(claims[0]), path=claims[0].where.path)
    return passed("no name or sentence implies it")


def name_fits_weights(s: Situation) -> Outcome:
    """NAME-002: a name with Llama in it stands on weights with Llama in them."""
    named = [(where, check) for where, check, _ in _names(s) if any(not m.of_part for m in check.mentions)]
    if not named:
        return not_applicable("no name says Llama")
    where, check = named[0]
    if s.derivation is Derivation.PROVED:
        return passed(f"{where}: {quoted(check.name)}")
    if s.derivation is Derivation.DENIED:
        return Outcome(status="warn", evidence=f"{where}: {quoted(check.name)}, while {s.basis}")
    return not_applicable("the weights do not decide it")


def no_ownership_claim(s: Situation) -> Outcome:
    """OWN-001: nobody claims to own, or to relicense, what belongs to Meta."""
    if claims := named_claims(s, "ownership"):
        return Outcome(status="warn", evidence=place(claims[0]), path=claims[0].where.path)
    if claims := named_claims(s, "from-scratch", "not-derived"):
        return Outcome(status="warn", evidence=f"{place(claims[0])}, while {s.basis}", path=claims[0].where.path)
    return passed("no such claim")


def no_warranty(s: Situation) -> Outcome:
    """WAR-001: the repository promises nothing that the agreement disclaims."""
    if claims := named_claims(s, "warranty"):
        return Outcome(status="warn", evidence=place(claims[0]), path=claims[0].where.path)
    return passed("no promise found")


def no_teacher(s: Situation) -> Outcome:
    """IMP-001: outputs were not used to improve another language model."""
    teachers = s.repository.claims.of("teacher")
    if s.derivation is Derivation.PROVED:
        # The clause excepts the model itself and its derivatives.
        return a_person_must_say(s) if not teachers else passed(f"{place(teachers[0])}: a derivative may be improved")
    if teachers:
        basis = "the weights are not shown to be a derivative"
        return Outcome(status="warn", evidence=f"{place(teachers[0])}, and {basis}", path=teachers[0].where.path)
    return a_person_must_say(s) if s.bound else not_applicable("no sign of outputs used for training")


def not_called_open_source(s: Situation) -> Outcome:
    """OSI-001: the weights are not called open source."""
    claims = named_claims(s, "open-source")
    if not claims:
        return passed("not called open source")
    declared = [license_ for _, license_ in s.declared()]
    if not s.bound and not any(s.declares_this(license_) for license_ in declared):
        if any(license_.osi_approved for license_ in declared):
            return passed(f"{place(claims[0])}; its declared licence is approved by the OSI", claims[0].where.path)
        return not_applicable("the licence does not apply")
    return Outcome(
        status="fail" if s.strict else "warn",
        evidence=f"{place(claims[0])}; the {s.policy.title} is {NO_OSI_REASON}",
        path=claims[0].where.path,
    )


def intended_use(group: str) -> Callable[[Situation], Outcome]:
    """AUP-G1, G2, G3: the card invites to nothing that a group of the use policy prohibits."""
    prohibited = re.compile(rf"(?i)\b(?:{_PROHIBITED[group]})\b")

    def check(s: Situation) -> Outcome:
        for path, line, sentence in _sentences(s):
            invites = _INVITES.search(sentence)
            if invites and (word := prohibited.search(sentence, invites.end())) and not _NEGATED.search(sentence):
                evidence = f"{path}, line {line}: {quoted(sentence)} ({word.group().lower()})"
                return Outcome(status="warn", evidence=evidence, path=path)
        return Outcome(
            status="manual", evidence="the card invites to nothing of the kind; a person must confirm the use"
        )

    return check


def dangers_are_told(s: Situation) -> Outcome:
    """AUP-G4: the card tells users of known dangers, in more than a template's words."""
    card = s.repository.card
    if card is None:
        return Outcome(status="fail", evidence="there is no card")
    stub = ""
    for heading, line, text in _sections(card.body, card.body_line):
        if not _RISK_HEADING.search(heading):
            continue
        if len(text.split()) >= _STUB_WORDS and not _STUB.search(text):
            return passed(f"{card.path}, line {line}: {quoted(heading)}", card.path)
        stub = f"{card.path}, line {line}: {quoted(heading)} is a template's stub"
    return Outcome(
        status="fail", evidence=stub or f"{card.path} has no section on limitations or risks", path=card.path
    )


def _sections(body: str, first_line: int) -> Iterator[tuple[str, int, str]]:
    heading, at = "", first_line
    lines: list[str] = []
    for number, line in enumerate(body.split("\n"), first_line):
        if re.match(r"#{1,6}\s", line):
            if heading:
                yield heading, at, "\n".join(lines)
            heading, at, lines = line.lstrip("# ").strip(), number, []
        else:
            lines.append(re.sub(r"<[^>]{0,200}>|<!--|-->", " ", line))
    if heading:
        yield heading, at, "\n".join(lines)


def _sentences(s: Situation) -> Iterator[tuple[str, int, str]]:
    card = s.repository.card
    if card is not None:
        for sentence in read_markdown(card.body, first_line=card.body_line).sentences:
            yield card.path, sentence.line, sentence.text


def _names(s: Situation) -> Iterator[tuple[str, NameCheck, bool]]:
    for name in s.names:
        yield "the target's name", check_name(name.rsplit("/", 1)[-1]), False
    for claim in s.repository.claims.of("name"):
        if not (claim.in_prose and len(claim.value) > 100):  # a heading that is a sentence is no name
            yield claim.where.path, check_name(claim.value), claim.in_prose


def _organisations(s: Situation) -> Iterator[tuple[str, str]]:
    for name in s.names:
        if "/" in name:
            yield "the target's organisation", name.split("/", 1)[0]
    for claim in s.repository.claims.of("organization"):
        yield claim.where.path, claim.value
