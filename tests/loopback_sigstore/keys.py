"""Keys, certificates of authorities, and the encodings that every service uses."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def b64(data: bytes) -> str:
    """Encode for a JSON text."""
    return base64.b64encode(data).decode()


def sha256(data: bytes) -> bytes:
    """Hash."""
    return hashlib.sha256(data).digest()


def der(certificate: x509.Certificate) -> bytes:
    """Return the bytes of a certificate."""
    return certificate.public_bytes(serialization.Encoding.DER)


def pem(certificate: x509.Certificate) -> str:
    """Return a certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


class SigningKey:
    """A P-256 key, known to the world by the hash of its public half."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())

    def sign(self, data: bytes) -> bytes:
        """Sign with ECDSA over SHA-256."""
        return self.private.sign(data, ec.ECDSA(hashes.SHA256()))

    @cached_property
    def spki(self) -> bytes:
        """The public half, as a SubjectPublicKeyInfo."""
        return self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @cached_property
    def id(self) -> bytes:
        """The name of a log that signs with this key."""
        return sha256(self.spki)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Who may sign certificates: its own certificate, and the key of it."""

    certificate: x509.Certificate
    key: SigningKey

    @classmethod
    def create(cls, name: str) -> Authority:
        """Make a root, signed by itself and valid for a year on either side of now."""
        key = SigningKey()
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "loopback"),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        year = timedelta(days=365)
        builder = (
            certificate_builder(key.private.public_key(), issuer=key, valid=(now() - year, now() + year))
            .subject_name(subject)
            .issuer_name(subject)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(key_usage(signs_certificates=True), critical=True)
        )
        return cls(certificate=builder.sign(key.private, hashes.SHA256()), key=key)

    def certify(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """Sign a certificate in this authority's name."""
        return builder.issuer_name(self.certificate.subject).sign(self.key.private, hashes.SHA256())


def certificate_builder(
    public_key: ec.EllipticCurvePublicKey, *, issuer: SigningKey, valid: tuple[datetime, datetime]
) -> x509.CertificateBuilder:
    """Begin a certificate: what every one here says, whoever it is for."""
    return (
        x509.CertificateBuilder()
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.private.public_key()),
            critical=False,
        )
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Say what a key is for: certificates, or everything else that is signed."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def now() -> datetime:
    """Return the true time, which the services may be told to misread."""
    return datetime.now(UTC)
