"""sigstore-python as its own users call it: the client that everything here is held against."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sigstore.dsse import Statement
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity

from loopback_sigstore.keys import sha256
from loopback_sigstore.oidc import IDENTITY, ISSUER

if TYPE_CHECKING:
    from sigstore.verify.policy import VerificationPolicy

WORKFLOW = Identity(identity=IDENTITY, issuer=ISSUER)


def statement(**predicate: object) -> bytes:
    """Write a small in-toto statement."""
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "model", "digest": {"sha256": sha256(b"model").hex()}}],
            "predicateType": "https://slsa.dev/verification_summary/v1",
            "predicate": predicate,
        }
    ).encode()


def sign(trust_config: str, token: str, payload: bytes) -> dict[str, Any]:
    """Sign a statement without a key of one's own, and return the bundle."""
    context = SigningContext.from_trust_config(ClientTrustConfig.from_json(trust_config))
    with context.signer(IdentityToken(token)) as signer:
        bundle: dict[str, Any] = json.loads(signer.sign_dsse(Statement(payload)).to_json())
    return bundle


def verify(trust_config: str, bundle: dict[str, Any], policy: VerificationPolicy = WORKFLOW) -> bytes:
    """Verify a bundle, and return the statement in it."""
    verifier = Verifier(trusted_root=ClientTrustConfig.from_json(trust_config).trusted_root)
    _, payload = verifier.verify_dsse(Bundle.from_json(json.dumps(bundle)), policy)
    return payload
