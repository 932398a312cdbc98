"""Keys of the user's own: made, read, signed with, verified with."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from auditor.attest.errors import BadKey, BadSignature

if TYPE_CHECKING:
    from collections.abc import Callable

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

KEY_TYPES: dict[str, Callable[[], PrivateKey]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
"""Keys that can be made, the first by default."""

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}
"""Curves and the hash each is signed with, as Sigstore's key details pair them."""

_PEM, _SPKI = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo


def generate(kind: str = "p256") -> PrivateKey:
    """Make a key of one of `KEY_TYPES`."""
    return KEY_TYPES[kind]()


def private_pem(key: PrivateKey, passphrase: bytes | None) -> bytes:
    """Return a private key as PKCS #8 PEM, encrypted where there is a passphrase."""
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, encryption)


def public_pem(key: PublicKey) -> bytes:
    """Return a public key as PEM."""
    return key.public_bytes(_PEM, _SPKI)


def is_encrypted(data: bytes) -> bool:
    """Say whether a private key in PEM asks for a passphrase."""
    return b"ENCRYPTED" in data


def load_private(data: bytes, *, file: str, passphrase: bytes | None = None) -> PrivateKey:
    """Read a private key.

    Parameters
    ----------
    data : bytes
        PEM.
    file : str
        What to call it in a message.
    passphrase : bytes, optional

    Raises
    ------
    BadKey
        When it is no private key of a type that signs here, or the passphrase is wrong or lacking.
    """
    try:
        key = serialization.load_pem_private_key(data, passphrase if is_encrypted(data) else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if is_encrypted(data):
            raise BadKey(
                f"{file}: cannot be opened: the passphrase is {'wrong' if passphrase else 'missing'}"
            ) from error
        raise BadKey(f"{file}: no private key in PEM") from error
    if not isinstance(key, PrivateKey) or not is_usable(key.public_key()):
        raise BadKey(f"{file}: a key of another type; P-256, P-384, P-521 or Ed25519 is needed")
    return key


def load_public(data: bytes, *, file: str) -> PublicKey:
    """Read a public key in PEM.

    Raises
    ------
    BadKey
        When it is no public key of a type that is verified with here.
    """
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        hint = " (it holds a private key)" if b"PRIVATE KEY" in data else ""
        raise BadKey(f"{file}: no public key in PEM{hint}") from error
    if not isinstance(key, PublicKey) or not is_usable(key):
        raise BadKey(f"{file}: a key of another type; P-256, P-384, P-521 or Ed25519 is needed")
    return key


def sign(key: PrivateKey, message: bytes) -> bytes:
    """Sign a message; ECDSA signatures are DER."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    return key.sign(message, ec.ECDSA(_HASHES[key.curve.name]()))


def verify(key: PublicKey, signature: bytes, message: bytes) -> None:
    """Check a signature.

    Raises
    ------
    BadSignature
    """
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, ec.ECDSA(_HASHES[key.curve.name]()))
    except InvalidSignature as error:
        raise BadSignature("the signature was not made over this payload by this key") from error


def hint(key: PublicKey) -> str:
    """Return the name by which a bundle tells its key: sha256 of the PEM, in hex, as `model_signing` makes it."""
    return hashlib.sha256(public_pem(key)).hexdigest()


def signs_models(key: PrivateKey) -> bool:
    """Say whether OpenSSF Model Signing takes this type of key: those on elliptic curves."""
    return isinstance(key, ec.EllipticCurvePrivateKey)


def is_usable(key: object) -> bool:
    """Say whether a public key is of a type that is verified with here."""
    return isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _HASHES
    )
