"""What a client must know of an instance: whom to trust, and where to sign."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from loopback_sigstore.keys import b64, der, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from loopback_sigstore.keys import SigningKey

PREFIX = "application/vnd.dev.sigstore"
TRUSTED_ROOT = f"{PREFIX}.trustedroot+json;version=0.1"
SIGNING_CONFIG = f"{PREFIX}.signingconfig.v0.2+json"
CLIENT_TRUST_CONFIG = f"{PREFIX}.clienttrustconfig.v0.1+json"


def trusted_root(
    url: str,
    *,
    logs: Sequence[SigningKey],
    certificate_log: SigningKey,
    authority: Sequence[x509.Certificate],
    timestamp_authority: Sequence[x509.Certificate],
) -> dict[str, Any]:
    """Write a TrustedRoot."""
    valid = _since_yesterday()
    return {
        "mediaType": TRUSTED_ROOT,
        "tlogs": [_log(url, key, valid) for key in logs],
        "ctlogs": [_log(url, certificate_log, valid)],
        "certificateAuthorities": [_authority(url, authority, valid)],
        "timestampAuthorities": [_authority(url, timestamp_authority, valid)],
    }


def client_trust_config(
    root: dict[str, Any], *, fulcio: str, oidc: str, rekor: str, rekor_version: int, tsa: str | None
) -> dict[str, Any]:
    """Write a ClientTrustConfig: a trusted root, and the addresses of the services."""
    return {
        "mediaType": CLIENT_TRUST_CONFIG,
        "trustedRoot": root,
        "signingConfig": {
            "mediaType": SIGNING_CONFIG,
            "caUrls": [_service(fulcio)],
            "oidcUrls": [_service(oidc)],
            "rekorTlogUrls": [_service(rekor, rekor_version)],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaUrls": [] if tsa is None else [_service(tsa)],
            "tsaConfig": {"selector": "ANY"},
        },
    }


def _log(url: str, key: SigningKey, valid: dict[str, str]) -> dict[str, Any]:
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "logId": {"keyId": b64(key.id)},
        "publicKey": {"rawBytes": b64(key.spki), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": valid},
    }


def _authority(url: str, chain: Sequence[x509.Certificate], valid: dict[str, str]) -> dict[str, Any]:
    return {
        "subject": {"organization": "loopback", "commonName": "loopback"},
        "uri": url,
        "certChain": {"certificates": [{"rawBytes": b64(der(certificate))} for certificate in chain]},
        "validFor": valid,
    }


def _service(url: str, version: int = 1) -> dict[str, Any]:
    return {"url": url, "majorApiVersion": version, "validFor": _since_yesterday(), "operator": "loopback"}


def _since_yesterday() -> dict[str, str]:
    return {"start": (now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")}
