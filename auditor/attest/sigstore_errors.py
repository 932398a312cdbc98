"""Sigstore's exceptions, each as one of ours.

They come from many places: its own tree, its clients, pydantic, requests, cryptography, the parser of timestamps.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from auditor.attest.errors import (
    BadAttestation,
    BadLogEntry,
    BadTimestamp,
    ServiceFailed,
    UntrustedCertificate,
    VerificationError,
)

FULCIO, REKOR, TSA, OIDC = (
    "certificate authority (Fulcio)",
    "transparency log (Rekor)",
    "timestamp authority",
    "identity provider",
)
_CERTIFICATE_WORDS = ("chain", "certificate", "sct", "usage", "signing cert", "issued")
_LOG_WORDS = (
    "log entry",
    "checkpoint",
    "inclusion",
    "merkle",
    "dsse log",
    "hashedrekord",
    "set:",
    "keyring",
    "tlog",
    "note",
)
_TIME_WORDS = ("time", "tsa")


def sigstore_errors() -> tuple[type[Exception], ...]:
    """Everything that sigstore-python lets out of it, as measured by the tests' table of faults."""
    import requests  # noqa: PLC0415
    from sigstore._internal.fulcio import ExpiredCertificate  # noqa: PLC0415
    from sigstore._internal.fulcio.client import FulcioClientError  # noqa: PLC0415
    from sigstore._internal.rekor import RekorClientError  # noqa: PLC0415
    from sigstore._internal.timestamp import TimestampError  # noqa: PLC0415
    from sigstore.errors import Error  # noqa: PLC0415
    from sigstore.models import InvalidBundle  # noqa: PLC0415
    from sigstore.oidc import ExpiredIdentity, IssuerError  # noqa: PLC0415

    return (
        Error, InvalidBundle, ExpiredCertificate, ExpiredIdentity, FulcioClientError, IssuerError, RekorClientError,
        TimestampError, requests.RequestException, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound,
        ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, AssertionError, OSError,
        OverflowError,
    )  # fmt: skip


def first_line(error: Exception) -> str:
    """Return the first line of what an exception says, or its name."""
    text = str(error).strip().splitlines()
    return (text[0].strip() if text else "") or type(error).__name__


def no_timestamp() -> ServiceFailed:
    """Say what sigstore-python only logs. Without a timestamp nothing proves that the certificate was valid in time."""
    return ServiceFailed(service=TSA, problem="no timestamp was given", passing=True)


def service_failed(error: Exception) -> ServiceFailed:
    """Say which service failed in signing, and whether it may work when it is asked again."""
    import requests  # noqa: PLC0415 (a dependency of sigstore)

    kind = type(error).__name__
    service = _CLIENTS.get(kind, "Sigstore")
    cause = error if isinstance(error, requests.RequestException) else error.__cause__ or error.__context__
    if isinstance(cause, requests.RequestException):
        url = str(cause.request.url) if cause.request is not None else ""
        service = next((name for part, name in _PATHS.items() if part in url), service)
        if cause.response is not None:
            status = cause.response.status_code
            passing = status >= 500 or status == 429
            return ServiceFailed(service=service, problem=f"answered HTTP {status}", passing=passing)
        if isinstance(cause, requests.ConnectionError | requests.Timeout):
            return ServiceFailed(service=service, problem=f"not reached: {type(cause).__name__}", passing=True)
    return ServiceFailed(service=service, problem=f"gave no usable answer: {first_line(error)}")


_CLIENTS = {"FulcioClientError": FULCIO, "ExpiredCertificate": FULCIO, "RekorClientError": REKOR, "TimestampError": TSA}
_PATHS = {"signingCert": FULCIO, "log/entries": REKOR, "timestamp": TSA, "openid-configuration": OIDC}


def verification_error(error: Exception, file: str) -> VerificationError:
    """Tell by sigstore's words which part of the material it does not believe."""
    said = first_line(error)
    words = said.lower()
    kind: type[VerificationError] = BadAttestation
    if type(error).__name__ in {"VerificationError", "CertValidationError", "MetadataError"}:
        kind = UntrustedCertificate
        if "verify sct" in words:  # the certificate's own log, in which every certificate stands
            pass
        elif any(word in words for word in _LOG_WORDS):
            kind = BadLogEntry
        elif any(word in words for word in _TIME_WORDS) and not any(word in words for word in _CERTIFICATE_WORDS):
            kind = BadTimestamp
    return kind(f"{file}: {said}")
