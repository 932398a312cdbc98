"""Who signs: a key of the user's own, or an identity that Sigstore certifies. Never one in place of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from auditor.attest import keyless, keys
from auditor.attest.bundle import parse_bundle, sign_with_key, verify_with_key
from auditor.attest.errors import BadAttestation, SelfCheckFailed, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable

_MADE = "the signature just made"


class Signer(Protocol):
    """Makes bundles of statements."""

    def sign(self, payload: bytes) -> bytes:
        """Sign a statement; returns the bundle as JSON, which has been verified as a stranger would.

        Raises
        ------
        SigningError
        """

    def describe(self, bundle: bytes) -> str:
        """Say, for people, who signed a bundle that this signer made."""


@dataclass(frozen=True, slots=True)
class KeySigner:
    """Signs with a key of the user's own.

    Attributes
    ----------
    key : PrivateKey
    """

    key: keys.PrivateKey

    def sign(self, payload: bytes) -> bytes:
        """See `Signer.sign`."""
        public = self.key.public_key()
        bundle = sign_with_key(self.key, payload)
        _check(bundle, payload, lambda made: verify_with_key(parse_bundle(made, file=_MADE), public))
        return bundle

    def describe(self, bundle: bytes) -> str:  # noqa: ARG002 (the same for all)
        """See `Signer.describe`."""
        return f"key {keys.hint(self.key.public_key())[:16]}"


@dataclass(frozen=True, slots=True)
class KeylessSigner:
    """Signs by identity.

    Attributes
    ----------
    trust : keyless.Trust
    token : callable
        Returns an OIDC identity token. Asked at each signature: a token lives for minutes, hashing may take longer.
    """

    trust: keyless.Trust
    token: Callable[[], str]

    def sign(self, payload: bytes) -> bytes:
        """See `Signer.sign`."""

        def verify(made: bytes) -> bytes:
            parsed = parse_bundle(made, file=_MADE)
            identity, issuer = keyless.signer(parsed)
            return keyless.verify(parsed, trust=self.trust, identity=identity, issuer=issuer)

        bundle = keyless.sign(payload, trust=self.trust, token=self.token())
        _check(bundle, payload, verify)
        return bundle

    def describe(self, bundle: bytes) -> str:
        """See `Signer.describe`."""
        identity, issuer = keyless.signer(parse_bundle(bundle, file=_MADE))
        return f"{identity}, vouched for by {issuer}"


def _check(bundle: bytes, payload: bytes, verify: Callable[[bytes], bytes]) -> None:
    try:
        if verify(bundle) != payload:
            raise BadAttestation(f"{_MADE}: another payload")
    except VerificationError as error:
        raise SelfCheckFailed(f"{error}: nothing was written") from error
