"""Verifying, in order: whose signature, what kind of statement, who verified what by which policy when, which files.

Pure of clocks and disks: the caller says what time it is, and brings the manifest of the target as it is now.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from auditor.attest import keyless, keys
from auditor.attest.bundle import parse_bundle, verify_with_key
from auditor.attest.errors import (
    FilesDiffer,
    NotPassed,
    NotYet,
    TooOld,
    Unhashed,
    WrongPolicy,
    WrongResource,
    WrongVerifier,
)
from auditor.attest.manifest import Differences, compare
from auditor.attest.statement import VERIFIER_ID, parse_statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from auditor.attest.bundle import Bundle
    from auditor.attest.manifest import Manifest
    from auditor.attest.statement import Statement
    from auditor.sources import Unread

CLOCK_SKEW = timedelta(minutes=5)
"""How far the clocks of a signer and a verifier may be apart."""


class Voucher(Protocol):
    """Whose signature is believed."""

    def verify(self, bundle: Bundle) -> bytes:
        """Check a bundle's signature and return the payload.

        Raises
        ------
        VerificationError
        """

    def describe(self) -> str:
        """Say for people who that is."""


@dataclass(frozen=True, slots=True)
class ByKey:
    """A public key.

    Attributes
    ----------
    key : PublicKey
    """

    key: keys.PublicKey

    def verify(self, bundle: Bundle) -> bytes:
        """See `Voucher.verify`."""
        return verify_with_key(bundle, self.key)

    def describe(self) -> str:
        """See `Voucher.describe`."""
        return f"key {keys.hint(self.key)[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ByIdentity:
    """An identity, as its issuer vouched for it when the certificate was issued.

    Attributes
    ----------
    identity : str
        As the certificate has it: an e-mail address, or the URI of a workflow.
    issuer : str
        URL of the OIDC issuer.
    trust : keyless.Trust
    """

    identity: str
    issuer: str
    trust: keyless.Trust

    def verify(self, bundle: Bundle) -> bytes:
        """See `Voucher.verify`."""
        return keyless.verify(bundle, trust=self.trust, identity=self.identity, issuer=self.issuer)

    def describe(self) -> str:
        """See `Voucher.describe`."""
        return f"{self.identity}, vouched for by {self.issuer}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a statement must say to be accepted.

    Attributes
    ----------
    policy_sha256 : str
    verifier : str
    resource : str, optional
        URI; not asked where left out.
    max_age : timedelta, optional
    """

    policy_sha256: str
    verifier: str = VERIFIER_ID
    resource: str | None = None
    max_age: timedelta | None = None


class Audited(Protocol):
    """What vouches for files, and says whether they passed."""

    @property
    def manifest(self) -> Manifest:
        """The files."""

    @property
    def root(self) -> str:
        """Their root digest."""

    @property
    def passed(self) -> bool:
        """What came of the audit."""


def open_attestation(data: bytes, *, file: str, voucher: Voucher) -> Statement:
    """Verify the signature of an attestation and read what it says.

    Raises
    ------
    VerificationError
    """
    return parse_statement(voucher.verify(parse_bundle(data, file=file)), file=file)


def check_statement(statement: Statement, expected: Expected, *, file: str, now: datetime) -> None:
    """Check who verified, by which policy, what and when.

    Raises
    ------
    WrongVerifier, WrongPolicy, WrongResource, NotYet, TooOld
    """
    if statement.verifier != expected.verifier:
        raise WrongVerifier(f"{file}: verified by {statement.verifier:.200}, expected {expected.verifier}")
    if statement.policy_sha256 != expected.policy_sha256:
        raise WrongPolicy(
            f"{file}: policy {statement.policy_uri:.200} (sha256 {statement.policy_sha256[:16]}), expected sha256 "
            f"{expected.policy_sha256[:16]}"
        )
    if expected.resource is not None and statement.resource != expected.resource:
        raise WrongResource(f"{file}: about {statement.resource:.300}, expected {expected.resource}")
    age = now - statement.time
    if age < -CLOCK_SKEW:
        raise NotYet(f"{file}: dated {statement.time:%Y-%m-%d %H:%M} UTC, which is in the future")
    if expected.max_age is not None and age > expected.max_age:
        raise TooOld(f"{file}: made {_in_words(age)} ago, allowed {_in_words(expected.max_age)}")


def check_files(statement: Audited, found: Manifest, *, unread: Sequence[Unread] = ()) -> None:
    """Check that the target's files are the audited ones, all of them and no other, and that they passed.

    Parameters
    ----------
    statement : Audited
        A statement, or anything that vouches for files.
    found : Manifest
        The target as it is now, with the statement's own list of ignored paths.
    unread : sequence of Unread
        What could not be hashed of it.

    Raises
    ------
    Unhashed, FilesDiffer, NotPassed
    """
    if unread:
        more = f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""
        raise Unhashed(f"{unread[0].path}: cannot be read: {unread[0].reason}{more}")
    if differences := compare(statement.manifest, found):
        raise FilesDiffer(differences)
    if found.root != statement.root:  # cannot be, unless `compare` is wrong; the digest is what was signed
        raise FilesDiffer(Differences())
    if not statement.passed:
        raise NotPassed("the audit did not pass; the signature and the files are as they were")


def _in_words(span: timedelta) -> str:
    if span >= timedelta(days=2):
        return f"{span.days} days"
    if span >= timedelta(hours=2):
        return f"{span.total_seconds() / 3600:.0f} hours"
    return f"{span.total_seconds() / 60:.0f} minutes"
