"""What rules look at: the repository, the weights' verdict, and what follows from both for one policy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple

from auditor.compliance.claims.families import family_of
from auditor.compliance.claims.licenses import DeclaredLicense, parse_license
from auditor.compliance.derivation import (
    Derivation,
    Notice,
    Official,
    descending,
    find_derivation,
    find_notices,
    find_officials,
)
from auditor.compliance.texts.license_links import find_pointers
from auditor.compliance.texts.normalize import Text
from auditor.lineage import FOUND

if TYPE_CHECKING:
    from auditor.compliance.claims.gather import Claim
    from auditor.compliance.policy import Policy
    from auditor.compliance.repository import Repository
    from auditor.lineage import Lineage

__all__ = ["Declared", "Derivation", "Notice", "Official", "Profile", "Situation", "assess"]

Profile = Literal["publisher", "deployer", "internal"]
"""Who audits: someone who passes the weights on, who serves them to others, or who keeps them in the house."""


class Declared(NamedTuple):
    """A licence that the card declares: where, and what it is."""

    claim: Claim
    license: DeclaredLicense


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One repository in the light of one policy.

    Attributes
    ----------
    policy : Policy
    repository : Repository
    lineage : Lineage
    profile : {"publisher", "deployer", "internal"}
    strict : bool
        Warnings about open-source claims are failures.
    derivation : Derivation
    basis : str
        What the derivation rests on, in words; text of the model is escaped and quoted in it.
    names : tuple of str
        What the target is called: its repository id or folder name.
    notices : tuple of Notice
        Attributions of this policy's product, or what comes near. The agreement's own quotation is none.
    """

    policy: Policy
    repository: Repository
    lineage: Lineage
    profile: Profile
    strict: bool
    derivation: Derivation
    basis: str
    names: tuple[str, ...]
    notices: tuple[Notice, ...]

    @property
    def bound(self) -> bool:
        """The licence applies, by the weights or by the repository's own word."""
        return self.derivation >= Derivation.CLAIMED

    @property
    def adapter_only(self) -> bool:
        """An adapter without the base's weights."""
        return bool(self.repository.adapters) and not self.repository.has_weights

    @property
    def unchanged_copy(self) -> bool:
        """The weights are those of the base itself, as far as they were sampled."""
        found = descending(self.policy, self.lineage)
        return any(c.verdict == "identical" or (c.relation is not None and c.relation.kind == "copy") for c in found)

    def official(self, *conditions: str, document: str, text_id: str | None = None) -> tuple[Official, ...]:
        """Official texts that were found, in one of these conditions (in any, where none is given)."""
        return tuple(
            found
            for found in find_officials(self.repository, document)
            if (not conditions or found.recognition.condition in conditions)
            and (text_id is None or (found.recognition.text is not None and found.recognition.text.id == text_id))
        )

    def declared(self) -> tuple[Declared, ...]:
        """Licences that the cards state for the weights or for the whole repository.

        `license: other` counts as what `license_name` or `license_link` beside it say.
        """
        found = []
        for claim in self.repository.claims.of("license"):
            on_card = any(claim.where.path == card.path for card in self.repository.cards)
            if on_card and claim.subject in {"weights", "repository"}:
                found.append(self._named_other(claim) if _is_other(claim) else _declared(claim))
        return tuple(declared for declared in found if declared.license.family != "unknown")

    def declares_this(self, license_: DeclaredLicense) -> bool:
        """Say whether a declared licence is the policy's."""
        return bool(license_.names & set(self.policy.declared))

    def links_this(self, link: str) -> bool:
        """Say whether a link leads to the agreement: where it was published, or a file here that holds it."""
        pointers = find_pointers(Text.of(link))
        if any(p.document == "license" and p.product == self.policy.text_product for p in pointers):
            return True
        linked = PurePosixPath(re.split(r"[?#]", link.lower(), maxsplit=1)[0])
        copies = self.official("exact", "appended", document="license", text_id=self.policy.agreement)
        files = [PurePosixPath(copy.text.path.lower()) for copy in copies if copy.text.place == "file"]
        return any(linked.name in {file.name, file.stem} for file in files)

    def base_claims(self) -> tuple[Claim, ...]:
        """Return what the repository names as its base."""
        return self.repository.claims.of("base-model", subject="weights")

    def _named_other(self, claim: Claim) -> Declared:
        named, linked = (
            [c for c in self.repository.claims.of(kind) if c.where.path == claim.where.path and not c.in_prose]
            for kind in ("license-name", "license-link")
        )
        for link in linked:
            if self.links_this(link.value):
                return Declared(link, parse_license(self.policy.hub_license))
        return _declared(named[0] if named else claim)


def assess(
    policies: tuple[Policy, ...],
    *,
    repository: Repository,
    lineage: Lineage,
    profile: Profile,
    strict: bool,
    names: tuple[str, ...],
) -> Situation:
    """Choose the policy that applies most: proved by the weights, else claimed, else denied, else the first.

    Of several that apply alike: the one whose reference is nearest, or whose own base the repository names.
    """
    found = {spec: find_notices(spec, repository) for spec in {policy.notice for policy in policies}}

    def situation(policy: Policy) -> Situation:
        notices = found[policy.notice]
        derivation, basis = find_derivation(policy, repository, lineage, notices=notices, names=names)
        return Situation(
            policy=policy,
            repository=repository,
            lineage=lineage,
            profile=profile,
            strict=strict,
            derivation=derivation,
            basis=basis,
            names=names,
            notices=notices,
        )

    return max((situation(policy) for policy in policies), key=lambda s: (s.derivation, _nearness(s)))


def _nearness(s: Situation) -> int:
    if s.derivation is Derivation.PROVED:
        derived = [c.reference for c in s.lineage.candidates if c.verdict in FOUND]
        return -min((i for i, reference in enumerate(derived) if s.policy.binds(reference)), default=len(derived))
    families = [family_of(claim.value) for claim in s.base_claims() if s.policy.names_base(claim.value)]
    ranks = [s.policy.families.index(family) for family in families if family in s.policy.families]
    return -min(ranks, default=len(s.policy.families))


def _declared(claim: Claim) -> Declared:
    return Declared(claim, parse_license(claim.value))


def _is_other(claim: Claim) -> bool:
    return not claim.in_prose and claim.value.strip().lower() == "other"
