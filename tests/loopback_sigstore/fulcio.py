"""The certificate authority: a certificate of ten minutes for whoever shows an identity token (Fulcio's v2 API)."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from loopback_sigstore.ctlog import CertificateLog
from loopback_sigstore.keys import Authority, certificate_builder, key_usage, pem
from loopback_sigstore.messages import RefusedError, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from loopback_sigstore.messages import Request
    from loopback_sigstore.oidc import IdentityProvider

LIFE = timedelta(minutes=10)
FULCIO_OID = "1.3.6.1.4.1.57264.1"
ISSUER_AS_BYTES, ISSUER = 1, 8  # the old spelling and the new
GITHUB = "https://github.com/"
CLAIM_OIDS = {  # claim: the arc under FULCIO_OID, and what goes before its value
    "job_workflow_ref": (9, GITHUB),
    "runner_environment": (11, ""),
    "repository": (12, GITHUB),
    "sha": (13, ""),
    "ref": (14, ""),
    "repository_owner": (16, GITHUB),
    "event_name": (20, ""),
}


class Fulcio:
    """Certifies keys for identities, and has the certificate log promise each certificate."""

    def __init__(self, identities: IdentityProvider, clock: Callable[[], datetime]) -> None:
        self.authority = Authority.create("fulcio")
        self.log = CertificateLog()
        self._identities = identities
        self._clock = clock

    def sign(self, request: Request) -> Reply:
        """Answer a certificate signing request."""
        claims = self._identities.claims(request.bearer)
        certificate = self._issue(_requested_key(request), claims)
        chain = {"certificates": [pem(certificate), pem(self.authority.certificate)]}
        return Reply.of({"signedCertificateEmbeddedSct": {"chain": chain}}, status=201)

    def _issue(self, key: ec.EllipticCurvePublicKey, claims: dict[str, Any]) -> x509.Certificate:
        start = self._clock()
        builder = (
            certificate_builder(key, issuer=self.authority.key, valid=(start, start + LIFE))
            .subject_name(x509.Name([]))
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_identity(claims)]), critical=True)
        )
        for extension in _extensions(claims):
            builder = builder.add_extension(extension, critical=False)
        promise = self.log.promise(self.authority.certify(builder), self.authority.key, start)
        return self.authority.certify(builder.add_extension(promise, critical=False))


def _requested_key(request: Request) -> ec.EllipticCurvePublicKey:
    """Return the key of the request, whose holder has proved to hold it."""
    try:
        csr = x509.load_pem_x509_csr(base64.b64decode(request.json()["certificateSigningRequest"]))
    except (KeyError, ValueError) as error:
        raise RefusedError(400, f"certificate signing request: {error}") from error
    key = csr.public_key()
    if not csr.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
        raise RefusedError(400, "certificate signing request: not signed by a key of an elliptic curve")
    return key


def _identity(claims: dict[str, Any]) -> x509.GeneralName:
    if "email" in claims:
        return x509.RFC822Name(claims["email"])
    return x509.UniformResourceIdentifier(claims["sub"])


def _extensions(claims: dict[str, Any]) -> Iterator[x509.UnrecognizedExtension]:
    yield _extension(ISSUER_AS_BYTES, claims["iss"].encode())
    yield _extension(ISSUER, core.UTF8String(claims["iss"]).dump())
    for claim, (arc, prefix) in CLAIM_OIDS.items():
        if claim in claims:
            yield _extension(arc, core.UTF8String(prefix + claims[claim]).dump())


def _extension(arc: int, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(f"{FULCIO_OID}.{arc}"), value)
