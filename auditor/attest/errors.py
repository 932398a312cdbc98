"""What can go wrong in signing and in verifying: one type, and one stable reason code, for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.attest.manifest import Differences

_SHOWN = 10  # names of a kind in a message


class SigningError(AuditError):
    """Nothing was signed, and nothing was written."""

    code = "signing"
    names_code = True


class BadKey(SigningError):
    """A key file is no usable key, or its passphrase is wrong."""

    code = "bad-key"


class NoCredential(SigningError):
    """There is no identity to sign with."""

    code = "no-credential"


class BadToken(SigningError):
    """The identity token is malformed, expired, or for another audience."""

    code = "bad-token"


class ServiceFailed(SigningError):
    """A service of Sigstore refused, or did not answer, also when it was asked again.

    Parameters
    ----------
    service : str
        "certificate authority (Fulcio)", "transparency log (Rekor)", ...
    problem : str
    passing : bool
        It may work when it is asked again: the service said so, or could not be reached.
    """

    code = "service"

    def __init__(self, *, service: str, problem: str, passing: bool = False) -> None:
        self.service = service
        self.passing = passing
        super().__init__(f"{service}: {problem}")


class BadTrust(SigningError):
    """The trust configuration cannot be used: whom to ask, and whom to believe."""

    code = "bad-trust"


class SelfCheckFailed(SigningError):
    """What was just signed does not verify."""

    code = "self-check"


class Unattestable(SigningError):
    """Files of the target could not be hashed, so there is nothing to vouch for."""

    code = "unhashed"


class VerificationError(AuditError):
    """The attestation does not hold for the target."""

    code = "verification"
    names_code = True


class BadAttestation(VerificationError):
    """Not a Sigstore bundle that holds an in-toto statement."""

    code = "bad-attestation"


class AttestationTooLarge(BadAttestation):
    """Over the limit."""

    code = "too-large"


class SignatureCount(BadAttestation):
    """Not exactly one signature."""

    code = "signature-count"


class WrongPayloadType(BadAttestation):
    """The envelope holds something else than an in-toto statement."""

    code = "payload-type"


class WrongKind(VerificationError):
    """Signed with a key where an identity is asked for, or the other way round."""

    code = "signature-kind"


class BadSignature(VerificationError):
    """The signature was not made over this payload by this key."""

    code = "bad-signature"


class WrongKey(VerificationError):
    """The attestation names another key than the one given."""

    code = "wrong-key"


class UntrustedCertificate(VerificationError):
    """The certificate was not issued under the trusted root, or was not valid when it was used."""

    code = "untrusted-certificate"


class BadTimestamp(VerificationError):
    """No trusted time says when the signature was made."""

    code = "bad-timestamp"


class BadLogEntry(VerificationError):
    """The entry of the transparency log is not one for this signature, or not in the log."""

    code = "bad-log-entry"


class WrongIdentity(VerificationError):
    """Signed by somebody else."""

    code = "wrong-identity"


class WrongIssuer(VerificationError):
    """The signer's identity was vouched for by another issuer."""

    code = "wrong-issuer"


class WrongPredicate(VerificationError):
    """Signed, but not a verification summary with an audit in it."""

    code = "predicate-type"


class BadStatement(VerificationError):
    """The signed statement is malformed or contradicts itself."""

    code = "bad-statement"


class WrongVerifier(VerificationError):
    """Another tool, or another party, made the audit."""

    code = "wrong-verifier"


class WrongPolicy(VerificationError):
    """The audit was made under another policy."""

    code = "wrong-policy"


class WrongResource(VerificationError):
    """The audit is of another model or revision."""

    code = "wrong-resource"


class TooOld(VerificationError):
    """The audit is older than allowed."""

    code = "too-old"


class NotYet(VerificationError):
    """The audit is dated in the future."""

    code = "not-yet"


class Unhashed(VerificationError):
    """Files of the target could not be read, so it is not known whether they are the audited ones."""

    code = "unhashed"


class FilesDiffer(VerificationError):
    """The target's files are not the audited ones.

    Parameters
    ----------
    differences : Differences
        Every one of them; the message names the first of each kind.
    """

    code = "files-differ"

    def __init__(self, differences: Differences) -> None:
        self.differences = differences
        renamed = tuple(f"{old} to {new}" for old, new in differences.renamed)
        kinds = {
            "changed": differences.changed,
            "missing": differences.missing,
            "added": differences.added,
            "renamed": renamed,
        }
        found = "; ".join(f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names)
        super().__init__(found or "the same files, and another root digest")


class NotPassed(VerificationError):
    """Signed and unaltered, and what it says is that the audit did not pass."""

    code = "not-passed"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
