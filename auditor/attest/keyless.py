"""Signing by identity and verifying it, through sigstore-python, which is imported only then."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from auditor.attest import certificates, keys
from auditor.attest.errors import (
    BadAttestation,
    BadSignature,
    BadToken,
    BadTrust,
    NoCredential,
    ServiceFailed,
    UntrustedCertificate,
    WrongIdentity,
    WrongIssuer,
    WrongKind,
)
from auditor.attest.sigstore_errors import first_line, no_timestamp, service_failed, sigstore_errors, verification_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509
    from sigstore.models import ClientTrustConfig, TrustedRoot
    from sigstore.oidc import IdentityToken

    from auditor.attest.bundle import Bundle

logging.getLogger("sigstore").addHandler(logging.NullHandler())  # what matters of it becomes an error of ours

TRIES = 4
"""Times that signing is tried where a service fails in a way that may pass."""

PATIENCE = 60.0
"""Seconds that one try may take: sigstore-python itself would wait for a silent service without end."""

_TRUSTED_ROOT = "application/vnd.dev.sigstore.trustedroot"


class Trust:
    """Whom to ask for signatures, and whom to believe.

    Parameters
    ----------
    config : ClientTrustConfig or None
        None where only a trusted root is known, which is enough to verify.
    root : TrustedRoot
    """

    def __init__(self, config: ClientTrustConfig | None, root: TrustedRoot) -> None:
        self.config = config
        self.root = root

    def for_signing(self) -> ClientTrustConfig:
        """Return the configuration, which says whom to ask.

        Raises
        ------
        BadTrust
            When only a trusted root is known.
        """
        if self.config is None:
            raise BadTrust("a trusted root is enough to verify, and not to sign: give a client trust configuration")
        return self.config


def load_trust(data: bytes | None = None, *, file: str = "", online: bool = False) -> Trust:
    """Read a trust configuration.

    Parameters
    ----------
    data : bytes, optional
        JSON: a client trust configuration or a trusted root. The public Sigstore where left out.
    file : str
        What to call it in a message.
    online : bool
        Refresh the public Sigstore's configuration first. Otherwise what sigstore-python ships or has cached serves.

    Raises
    ------
    BadTrust
    """
    from sigstore.models import ClientTrustConfig, TrustedRoot  # noqa: PLC0415 (0.6 s)
    from sigstore_models.trustroot.v1 import TrustedRoot as RootModel  # noqa: PLC0415

    try:
        if data is None:
            config = ClientTrustConfig.production(offline=not online)
            return Trust(config, config.trusted_root)
        media_type = _media_type(data, file)
        if media_type.startswith(_TRUSTED_ROOT):
            return Trust(None, TrustedRoot(RootModel.from_json(data)))
        config = ClientTrustConfig.from_json(data.decode())
        return Trust(config, config.trusted_root)
    except sigstore_errors() as error:
        where = file or "the public Sigstore's trust configuration"
        raise BadTrust(f"{where}: cannot be used: {first_line(error)}") from error


def ambient_token() -> str:
    """Return the identity token that this environment offers: GitHub Actions, GitLab CI, Google Cloud, ...

    Raises
    ------
    NoCredential
    """
    from sigstore.oidc import detect_credential  # noqa: PLC0415

    try:
        token = detect_credential()
    except sigstore_errors() as error:
        raise NoCredential(f"this environment offers an identity and does not give it: {first_line(error)}") from error
    if token is None:
        raise NoCredential(
            "this environment offers no identity to sign with: give a key (--key), run where there is one (in GitHub "
            "Actions: permissions: id-token: write), or log in through a browser (--interactive)"
        )
    return token


def interactive_token(trust: Trust) -> str:
    """Ask the user to log in through a browser.

    Raises
    ------
    NoCredential, BadTrust
    """
    from sigstore.oidc import Issuer  # noqa: PLC0415

    config = trust.for_signing()
    try:
        return str(Issuer(config.signing_config.get_oidc_url()).identity_token())
    except sigstore_errors() as error:
        raise NoCredential(f"no identity came of logging in: {first_line(error)}") from error


def sign(payload: bytes, *, trust: Trust, token: str, sleep: Callable[[float], None] = time.sleep) -> bytes:
    """Sign a statement by identity; returns the bundle as JSON.

    Parameters
    ----------
    payload : bytes
        The statement.
    trust : Trust
    token : str
        OIDC identity token.
    sleep : callable
        Waits between tries, in seconds.

    Raises
    ------
    BadTrust, BadToken
    ServiceFailed
        When a service of Sigstore refuses, or fails `TRIES` times.
    """
    from sigstore.oidc import IdentityToken  # noqa: PLC0415

    config = trust.for_signing()
    try:
        identity = IdentityToken(token)
    except sigstore_errors() as error:
        why = error.__cause__ if isinstance(error.__cause__, Exception) else error  # "Signature has expired", ...
        raise BadToken(f"the identity token cannot be used: {first_line(why)}") from error
    for attempt in range(TRIES):
        try:
            return _in_time(partial(_sign_once, payload, config, identity))
        except ServiceFailed as error:
            if not error.passing or attempt == TRIES - 1:
                raise
            sleep(0.5 * 2**attempt)
    raise AssertionError("unreachable")


def _in_time(job: Callable[[], bytes]) -> bytes:
    """Run a job in a thread of its own, and stop waiting for it after `PATIENCE`."""
    answers: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(job())
        except BaseException as error:  # noqa: BLE001 (raised below, in the caller's thread)
            answers.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        answer = answers.get(timeout=PATIENCE)
    except queue.Empty:
        raise ServiceFailed(service="Sigstore", problem=f"no answer in {PATIENCE:.0f} s", passing=False) from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _sign_once(payload: bytes, config: ClientTrustConfig, identity: IdentityToken) -> bytes:
    from sigstore.dsse import Statement  # noqa: PLC0415
    from sigstore.models import InvalidBundle  # noqa: PLC0415
    from sigstore.oidc import ExpiredIdentity  # noqa: PLC0415
    from sigstore.sign import SigningContext  # noqa: PLC0415

    try:
        context = SigningContext.from_trust_config(config)
        timestamps = bool(config.signing_config.get_tsas())
        with context.signer(identity) as signer:
            document = signer.sign_dsse(Statement(payload)).to_json()
    except ExpiredIdentity as error:
        raise BadToken("the identity token has expired") from error
    except InvalidBundle as error:
        if timestamps and "timestamp" in str(error):  # of Rekor v2 nothing else says when
            raise no_timestamp() from error
        raise service_failed(error) from error
    except sigstore_errors() as error:
        raise service_failed(error) from error
    material = json.loads(document)["verificationMaterial"]
    if timestamps and not material.get("timestampVerificationData", {}).get("rfc3161Timestamps"):
        raise no_timestamp()
    return document.encode() + b"\n"


def verify(bundle: Bundle, *, trust: Trust, identity: str, issuer: str) -> bytes:
    """Check that this identity signed the payload, without network, and return the payload.

    The signature; the certificate's chain, its log (SCT) and its validity at a trusted time; the transparency log's
    entry for this very signature; who signed.

    Raises
    ------
    WrongKind, BadSignature, UntrustedCertificate, BadTimestamp, BadLogEntry, WrongIdentity, WrongIssuer
    BadAttestation
        When a part of the bundle is malformed.
    """
    from sigstore.models import Bundle as SigstoreBundle  # noqa: PLC0415
    from sigstore.verify import Verifier, policy  # noqa: PLC0415

    if bundle.kind != "certificate":
        raise WrongKind(f"{bundle.file}: signed with a key, not by an identity: give --key")
    certificate = certificates.load(bundle)
    public = certificate.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey) or not keys.is_usable(public):
        raise UntrustedCertificate(f"{bundle.file}: the certificate's key is on no curve of NIST's")
    try:
        keys.verify(public, bundle.signature, bundle.message)
    except BadSignature as error:
        raise BadSignature(f"{bundle.file}: {error}") from error
    try:
        parsed = SigstoreBundle.from_json(json.dumps(bundle.document))
    except sigstore_errors() as error:
        raise BadAttestation(f"{bundle.file}: not a usable bundle: {first_line(error)}") from error
    try:
        _, payload = Verifier(trusted_root=trust.root).verify_dsse(parsed, _Anyone())
    except sigstore_errors() as error:
        raise verification_error(error, bundle.file) from error
    _check_signer(certificate, identity=identity, issuer=issuer, file=bundle.file)
    try:  # and once more in sigstore's words: what is accepted here is what it accepts
        policy.Identity(identity=identity, issuer=issuer).verify(certificate)
    except sigstore_errors() as error:
        raise WrongIdentity(f"{bundle.file}: {first_line(error)}") from error
    if payload != bundle.payload:
        raise BadAttestation(f"{bundle.file}: two readers see two payloads in it")
    return payload


def signer(bundle: Bundle) -> tuple[str, str]:
    """Return (identity, issuer) that a bundle's certificate names. Not verified.

    Raises
    ------
    BadAttestation
    """
    certificate = certificates.load(bundle)
    return ", ".join(sorted(certificates.identities(certificate))), certificates.issuer(certificate)


class _Anyone:
    """A policy that leaves the question who signed to us: it is asked after all others."""

    def verify(self, cert: x509.Certificate) -> None:
        """Accept: `_check_signer` does not."""


def _check_signer(certificate: x509.Certificate, *, identity: str, issuer: str, file: str) -> None:
    if (found := certificates.issuer(certificate)) != issuer:
        raise WrongIssuer(f"{file}: the signer's identity was vouched for by {found or 'nobody'}, not by {issuer}")
    if identity not in (names := certificates.identities(certificate)):
        raise WrongIdentity(f"{file}: signed by {', '.join(sorted(names)) or 'nobody named'}, not by {identity}")


def _media_type(data: bytes, file: str) -> str:
    document = json.loads(data)
    media_type = document.get("mediaType") if isinstance(document, dict) else None
    if not isinstance(media_type, str):
        raise BadTrust(f"{file}: not a trust configuration: no mediaType")
    return media_type
