"""Whether the weights descend from what a policy protects: as they show it, or else as the repository says."""

from __future__ import annotations

import itertools
import re
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from auditor.compliance.citing import place, quoted
from auditor.compliance.claims.licenses import parse_license
from auditor.compliance.claims.naming import check_name
from auditor.compliance.texts.notice import NoticeResult, NoticeSpec, find_notice
from auditor.lineage import FOUND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.compliance.policy import Policy
    from auditor.compliance.repository import LegalText, Repository
    from auditor.compliance.texts.license_text import Recognition
    from auditor.lineage import Candidate, Lineage


_RIGHT: Final = ("ok", "ok-with-note")
_COPYRIGHT: Final = re.compile(r"copyright|\u00a9|\(c\)|rights reserved", re.IGNORECASE)
_SHORT: Final = 60  # characters quoted of a claim; what follows from it says more


class Derivation(IntEnum):
    """Whether the weights descend from what the policy protects, and how that is known."""

    UNKNOWN = 0
    """Nobody says so, and the weights were not (or not conclusively) held against it."""
    DENIED = 1
    """The weights were held against it and found independent."""
    CLAIMED = 2
    """The repository says so; the weights do not decide."""
    PROVED = 3
    """The weights show it."""


class Official(NamedTuple):
    """An official text that was found: in which text of the repository, and in what condition."""

    text: LegalText
    recognition: Recognition


class Notice(NamedTuple):
    """A text in which the attribution, or something like it, was found."""

    text: LegalText
    result: NoticeResult


def find_derivation(
    policy: Policy, repository: Repository, lineage: Lineage, *, notices: tuple[Notice, ...], names: tuple[str, ...]
) -> tuple[Derivation, str]:
    """Decide for one policy, and say in words what that rests on. What the weights show comes before any word."""
    if proofs := descending(policy, lineage):
        return Derivation.PROVED, f"the weights share descent with {proofs[0].reference}"
    if excluded := _excluded(policy, lineage):
        return Derivation.DENIED, f"the weights are independent of {excluded}"
    said = itertools.chain(
        _said_in_metadata(policy, repository),
        _said_by_texts(policy, repository, notices),
        _said_by_names(policy, repository, names),
    )
    if word := next(said, None):
        return Derivation.CLAIMED, f"the repository says so itself ({word}), and the weights do not decide it"
    return Derivation.UNKNOWN, f"nothing says that the weights come from {policy.product}"


def descending(policy: Policy, lineage: Lineage) -> list[Candidate]:
    """Return the candidates that show descent from what the policy protects."""
    return [c for c in lineage.candidates if c.verdict in FOUND and policy.binds(c.reference)]


def find_officials(repository: Repository, document: str) -> Iterator[Official]:
    """Find every official text of a kind, of whatever version, in the texts of a repository."""
    for text in repository.texts:
        for recognition in (text.recognition, *text.recognition.also):
            official = recognition.text
            if official is not None and official.document == document and recognition.condition is not None:
                yield Official(text, recognition)


def find_notices(spec: NoticeSpec, repository: Repository) -> tuple[Notice, ...]:
    """Find every attribution of a product, or what comes near one.

    Outside a Notice file, a sentence about the licence is no attempt at the notice, unless it names a holder; and a
    licence that asks for an attribution of its own only quotes that one.
    """
    found: list[Notice] = []
    for text in repository.texts:
        result = find_notice(text.text, spec)
        meant = text.is_notice_file or result.status in _RIGHT
        meant = meant or (not text.holds_licence and _COPYRIGHT.search(result.quote or "") is not None)
        if result.status != "absent" and meant:
            found.append(Notice(text, result))
    return tuple(found)


def _excluded(policy: Policy, lineage: Lineage) -> str | None:
    """Return the reference that every model of the target is independent of, unless something speaks against it."""
    held = [c for c in lineage.candidates if policy.excluded_by(c.reference)]
    independent = [c for c in held if c.verdict == "independent"]
    weak = any(c.verdict == "inconclusive" and c.log10_p is not None for c in held)
    untested = {c.model for c in lineage.candidates} - {c.model for c in independent}
    if not independent or weak or untested or lineage.verdict in {"inconclusive", "adapter"}:
        return None
    return independent[0].reference


def _said_in_metadata(policy: Policy, repository: Repository) -> Iterator[str]:
    for claim in repository.claims.of("base-model", subject="weights"):
        if policy.names_base(claim.value):
            yield place(claim, limit=_SHORT)
    for claim in repository.claims.of("license", "license-name"):
        if claim.subject in {"weights", "repository"} and parse_license(claim.value).names & set(policy.declared):
            yield place(claim, limit=_SHORT)


def _said_by_texts(policy: Policy, repository: Repository, notices: tuple[Notice, ...]) -> Iterator[str]:
    for text, result in notices:
        if result.status in _RIGHT:
            yield f"the notice in {text.at(result.line)}"
    for document, text_id in (("license", policy.agreement), ("policy", policy.use_policy)):
        for text, recognition in find_officials(repository, document):
            if recognition.text and recognition.text.id == text_id and recognition.condition != "look-alike":
                yield f"{text.path} holds the {recognition.name}"
    for text in repository.texts:
        pointed = text.recognition.text if text.recognition.kind == "pointer" and text.place == "file" else None
        if pointed is not None and pointed.id in {policy.agreement, policy.use_policy}:
            yield f"{text.path} points to the {pointed.title}"


def _said_by_names(policy: Policy, repository: Repository, names: tuple[str, ...]) -> Iterator[str]:
    for claim in repository.claims.of("tag"):
        if policy.names_base(claim.value):
            yield place(claim, limit=_SHORT)
    called = [(place(claim, limit=_SHORT), claim.value) for claim in repository.claims.of("name") if not claim.in_prose]
    called += [(f"the target is called {quoted(name)}", name) for name in names]
    for where, name in called:
        for mention in check_name(name.rsplit("/", 1)[-1]).mentions:
            if mention.project is None and mention.family in policy.called:
                yield where
