"""The log of issued certificates: promises to log one, as Certificate Transparency (RFC 6962) encodes them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from asn1crypto import core
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from loopback_sigstore.keys import SigningKey

if TYPE_CHECKING:
    from datetime import datetime

VERSION_1 = 0
CERTIFICATE_TIMESTAMP = 0
PRECERTIFICATE = 1
NO_EXTENSIONS = b"\0\0"
ECDSA_SHA256 = bytes((4, 3))


class CertificateLog:
    """A log that promises to keep every certificate shown to it."""

    def __init__(self) -> None:
        self.key = SigningKey()

    def promise(self, precertificate: x509.Certificate, issuer: SigningKey, at: datetime) -> x509.UnrecognizedExtension:
        """Sign a timestamp for a certificate that lacks only this extension, and return the extension."""
        milliseconds = int(at.timestamp() * 1000)
        body = precertificate.tbs_certificate_bytes
        signature = self.key.sign(
            struct.pack("!BBQH", VERSION_1, CERTIFICATE_TIMESTAMP, milliseconds, PRECERTIFICATE)
            + issuer.id
            + len(body).to_bytes(3, "big")
            + body
            + NO_EXTENSIONS
        )
        timestamp = (
            bytes((VERSION_1,))
            + self.key.id
            + milliseconds.to_bytes(8, "big")
            + NO_EXTENSIONS
            + ECDSA_SHA256
            + _prefixed(signature)
        )
        timestamps = core.OctetString(_prefixed(_prefixed(timestamp))).dump()
        return x509.UnrecognizedExtension(ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS, timestamps)


def _prefixed(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
