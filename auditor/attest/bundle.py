"""A Sigstore bundle v0.3 with a DSSE envelope: read strictly, and written where a key of the user's own signs.

Sources: the bundle of sigstore/protobuf-specs, DSSE v1.0.2 (secure-systems-lab/dsse), in-toto Statement v1.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Literal, TypeVar

from auditor.attest import keys
from auditor.attest.errors import (
    AttestationTooLarge,
    BadAttestation,
    SignatureCount,
    WrongKey,
    WrongKind,
    WrongPayloadType,
)
from auditor.errors import FileError
from auditor.formats import strictjson
from auditor.limits import LIMITS

T = TypeVar("T")

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle as it was read. Nothing in it is verified.

    Attributes
    ----------
    file : str
        What to call it in a message.
    kind : {"key", "certificate"}
        Who vouches for it: a key of the user's own, or a certificate that Sigstore issued for an identity.
    hint : str
        Of the key; "" where there is none.
    certificate : bytes
        DER; b"" where there is none.
    payload, signature : bytes
    document : dict
        All of it, as sigstore reads it.
    """

    file: str
    kind: Literal["key", "certificate"]
    hint: str
    certificate: bytes
    payload: bytes
    signature: bytes
    document: dict[str, object]

    @property
    def message(self) -> bytes:
        """What the signature was made over."""
        return pae(self.payload)


def pae(payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding of an in-toto payload.

    Examples
    --------
    >>> pae(b"{}")
    b'DSSEv1 28 application/vnd.in-toto+json 2 {}'
    """
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def sign_with_key(key: keys.PrivateKey, payload: bytes) -> bytes:
    """Sign a statement with a key of the user's own; returns the bundle as JSON.

    Parameters
    ----------
    key : PrivateKey
    payload : bytes
        The statement.
    """
    envelope = {
        "payload": _b64(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": _b64(keys.sign(key, pae(payload))), "keyid": ""}],
    }
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": keys.hint(key.public_key())}, "tlogEntries": []},
        "dsseEnvelope": envelope,
    }
    return json.dumps(bundle, separators=(",", ":")).encode() + b"\n"


def verify_with_key(bundle: Bundle, key: keys.PublicKey) -> bytes:
    """Check that this key signed the payload, and return the payload.

    Raises
    ------
    WrongKind, WrongKey, BadSignature
    """
    if bundle.kind != "key":
        raise WrongKind(f"{bundle.file}: signed by an identity, not with a key: give --identity and --issuer")
    if bundle.hint and bundle.hint != keys.hint(key):
        raise WrongKey(
            f"{bundle.file}: made with another key: it names {bundle.hint[:16]}, given was {keys.hint(key)[:16]}"
        )
    keys.verify(key, bundle.signature, bundle.message)
    return bundle.payload


def parse_bundle(data: bytes, *, file: str) -> Bundle:
    """Read a bundle.

    Raises
    ------
    AttestationTooLarge
        It is longer than `LIMITS.attestation_bytes`.
    SignatureCount, WrongPayloadType
    BadAttestation
        It is not strict JSON, or not a bundle v0.3 with a DSSE envelope.
    """
    if len(data) > LIMITS.attestation_bytes:
        raise AttestationTooLarge(f"{file}: {len(data)} bytes, allowed {LIMITS.attestation_bytes}")
    try:
        document = strictjson.loads(data, file=file, field="bundle")
    except FileError as error:
        raise BadAttestation(str(error)) from error
    fields = _Fields(file, document, "bundle")
    if (media_type := fields.get("mediaType", str)) != MEDIA_TYPE:
        raise BadAttestation(f"{file}: mediaType: {media_type!r:.80} is not {MEDIA_TYPE}")
    material = fields.inner("verificationMaterial")
    envelope = fields.inner("dsseEnvelope")
    if (payload_type := envelope.get("payloadType", str)) != PAYLOAD_TYPE:
        raise WrongPayloadType(f"{file}: payloadType: {payload_type!r:.80} is not {PAYLOAD_TYPE}")
    signatures = envelope.get("signatures", list)
    if len(signatures) != 1:
        raise SignatureCount(f"{file}: {len(signatures)} signatures, where one is expected")
    certificate, hint = b"", ""
    given = [name for name in ("publicKey", "certificate", "x509CertificateChain") if name in material.value]
    if given == ["publicKey"]:
        hint = material.inner("publicKey").get("hint", str, default="")
    elif given == ["certificate"]:
        certificate = material.inner("certificate").base64("rawBytes")
    else:
        raise BadAttestation(f"{file}: verificationMaterial: one of publicKey and certificate is expected, not {given}")
    return Bundle(
        file=file,
        kind="certificate" if certificate else "key",
        hint=hint,
        certificate=certificate,
        payload=envelope.base64("payload"),
        signature=_Fields(file, signatures[0], "signature").base64("sig"),
        document=fields.value,
    )


class _Fields:
    """An object of a bundle, whose members are asked for by name and type."""

    def __init__(self, file: str, value: object, name: str) -> None:
        if not isinstance(value, dict):
            raise BadAttestation(f"{file}: {name}: not an object")
        self.value: dict[str, object] = value
        self._file = file
        self._name = name

    def get(self, key: str, kind: type[T], *, default: T | None = None) -> T:
        value = self.value.get(key, default)
        if not isinstance(value, kind):
            problem = "missing" if value is None else f"not a {kind.__name__}"
            raise BadAttestation(f"{self._file}: {self._name}: {key}: {problem}")
        return value

    def inner(self, key: str) -> _Fields:
        return _Fields(self._file, self.value.get(key), key)

    def base64(self, key: str) -> bytes:
        text = self.get(key, str)
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadAttestation(f"{self._file}: {self._name}: {key}: not base64") from error
        if not data:
            raise BadAttestation(f"{self._file}: {self._name}: {key}: empty")
        return data


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
