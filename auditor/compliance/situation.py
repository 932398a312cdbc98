"""What rules look at: the repository, the weights' verdict, and what follows from both for one policy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

from auditor.compliance.licenses import parse_license

if TYPE_CHECKING:
    from auditor.compliance.claims import Claim
    from auditor.compliance.licenses import DeclaredLicense
    from auditor.compliance.policy import Policy
    from auditor.compliance.repository import LegalText, Repository
    from auditor.lineage import Lineage

Profile = Literal["publisher", "deployer", "internal"]
"""Who audits: someone who passes the weights on, who serves them to others, or who keeps them in the house."""


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
        What the derivation rests on, in words.
    names : tuple of str
        What the target is called: its repository id or folder name.
    """

    policy: Policy
    repository: Repository
    lineage: Lineage
    profile: Profile
    strict: bool
    derivation: Derivation
    basis: str
    names: tuple[str, ...]

    @property
    def bound(self) -> bool:
        """The licence applies, by the weights or by the repository's own word."""
        return self.derivation >= Derivation.CLAIMED

    @property
    def adapter_only(self) -> bool:
        """An adapter without the base's weights."""
        return bool(self.repository.adapters) and not self.repository.has_weights

    def texts(self, *kinds: str, document: str, text_id: str | None = None) -> tuple[LegalText, ...]:
        """Texts in which an official text was found, in one of these conditions (in any, where none is given)."""
        found = []
        for text in self.repository.texts:
            for recognition in (text.recognition, *text.recognition.also):
                official = recognition.text
                if official is None or official.document != document or recognition.condition is None:
                    continue
                if text_id is not None and official.id != text_id:
                    continue
                if not kinds or recognition.condition in kinds:
                    found.append(text)
                    break
        return tuple(found)

    def declared(self) -> tuple[tuple[Claim, DeclaredLicense], ...]:
        """Licences that metadata and text state for the weights or for the whole repository."""
        claims = self.repository.claims.of("license")
        return tuple(
            (claim, parse_license(claim.value)) for claim in claims if claim.subject in {"weights", "repository"}
        )

    def declares_this(self, license_: DeclaredLicense) -> bool:
        """Say whether a declared licence is the policy's."""
        return bool(license_.names & set(self.policy.declared))

    def base_claims(self) -> tuple[Claim, ...]:
        """Return what the repository names as its base."""
        return self.repository.claims.of("base-model", subject="weights")


def assess(
    policies: tuple[Policy, ...],
    *,
    repository: Repository,
    lineage: Lineage,
    profile: Profile,
    strict: bool,
    names: tuple[str, ...],
) -> Situation:
    """Choose the policy that applies most: proved by the weights, else claimed, else denied, else the first."""

    def situation(policy: Policy) -> Situation:
        derivation, basis = _derivation(policy, repository, lineage)
        return Situation(
            policy=policy,
            repository=repository,
            lineage=lineage,
            profile=profile,
            strict=strict,
            derivation=derivation,
            basis=basis,
            names=names,
        )

    return max((situation(policy) for policy in policies), key=lambda s: (s.derivation, _nearness(s)))


def _nearness(situation: Situation) -> int:
    """Of two policies that the weights prove, the one of the nearer reference comes first."""
    derived = [c.reference for c in situation.lineage.candidates if c.verdict in {"identical", "derived"}]
    bound = [i for i, reference in enumerate(derived) if situation.policy.binds(reference)]
    return -min(bound, default=len(derived))


def _derivation(policy: Policy, repository: Repository, lineage: Lineage) -> tuple[Derivation, str]:
    for candidate in lineage.candidates:
        if candidate.verdict in {"identical", "derived"} and policy.binds(candidate.reference):
            return Derivation.PROVED, f"the weights share descent with {candidate.reference}"
    tested = [c for c in lineage.candidates if policy.binds(c.reference) and c.verdict == "independent"]
    if tested and lineage.verdict != "inconclusive":
        return Derivation.DENIED, f"the weights are independent of {tested[0].reference}"
    if claim := _claim(policy, repository):
        return Derivation.CLAIMED, f"{claim.where.path} says so ({claim.value}); the weights were not decisive"
    return Derivation.UNKNOWN, f"nothing says that the weights come from {policy.product}"


def _claim(policy: Policy, repository: Repository) -> Claim | None:
    for claim in repository.claims.of("base-model", subject="weights"):
        if policy.names_base(claim.value):
            return claim
    for claim in repository.claims.of("license"):
        if claim.subject in {"weights", "repository"} and set(policy.declared) & parse_license(claim.value).names:
            return claim
    return None
