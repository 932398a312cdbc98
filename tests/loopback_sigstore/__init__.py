"""A Sigstore on this machine, for tests: certificate authority, two transparency logs, timestamps, identities.

It speaks the protocols of the public services over HTTP on 127.0.0.1, with keys that are made anew for each
instance, so that a client under test signs and verifies as it would with the world, and nothing leaves the machine.

    with LoopbackSigstore() as sigstore:
        config = ClientTrustConfig.from_json(sigstore.trust_config(rekor=2))
        token = IdentityToken(sigstore.token())
"""

from loopback_sigstore.instance import LoopbackSigstore
from loopback_sigstore.oidc import IDENTITY, ISSUER

__all__ = ["IDENTITY", "ISSUER", "LoopbackSigstore"]
