"""What a Sigstore certificate says of its signer."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

from auditor.attest.errors import BadAttestation

if TYPE_CHECKING:
    from auditor.attest.bundle import Bundle

_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")  # Fulcio's "issuer"; the value is plain text
_CERTIFICATE_ERRORS = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion,
    x509.UnsupportedGeneralNameType, CryptographyDeprecationWarning,
)  # fmt: skip


def load(bundle: Bundle) -> x509.Certificate:
    """Read the certificate of a bundle.

    Raises
    ------
    BadAttestation
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", CryptographyDeprecationWarning)  # what it warns of, RFC 5280 forbids
            certificate = x509.load_der_x509_certificate(bundle.certificate)
            certificate.public_key()
            tuple(certificate.extensions)
    except _CERTIFICATE_ERRORS as error:
        raise BadAttestation(f"{bundle.file}: certificate: not a usable X.509 certificate") from error
    return certificate


def identities(certificate: x509.Certificate) -> frozenset[str]:
    """Return every e-mail address and URI that the certificate was issued for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(
        [*names.get_values_for_type(x509.RFC822Name), *names.get_values_for_type(x509.UniformResourceIdentifier)]
    )


def issuer(certificate: x509.Certificate) -> str:
    """Return the OIDC issuer that vouched for the signer, as Fulcio notes it; "" where it does not."""
    try:
        extension = certificate.extensions.get_extension_for_oid(_ISSUER).value
    except x509.ExtensionNotFound:
        return ""
    return extension.value.decode("utf-8", "replace") if isinstance(extension, x509.UnrecognizedExtension) else ""
