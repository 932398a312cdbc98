"""Keys: what is made can be read again, and what is no key of ours is refused with the reason."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from auditor.attest import keys
from auditor.attest.errors import BadKey, BadSignature

PASSPHRASE = b"correct horse"
EVERY_TYPE = pytest.mark.parametrize("kind", keys.KEY_TYPES)


def pem(key: object) -> bytes:
    return key.private_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: object) -> bytes:
    return key.public_key().public_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@EVERY_TYPE
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE, "pä\u00dfword ".encode()])
def test_what_is_made_is_read_again(kind: str, passphrase: bytes | None) -> None:
    key = keys.generate(kind)
    private, public = keys.private_pem(key, passphrase), keys.public_pem(key.public_key())
    assert keys.is_encrypted(private) == (passphrase is not None)
    again = keys.load_private(private, file="k", passphrase=passphrase)
    assert keys.hint(again.public_key()) == keys.hint(keys.load_public(public, file="k"))
    signature = keys.sign(again, b"message")
    keys.verify(keys.load_public(public, file="k"), signature, b"message")


def test_the_default_is_p256() -> None:
    key = keys.generate()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    assert next(iter(keys.KEY_TYPES)) == "p256"


@EVERY_TYPE
@pytest.mark.parametrize("what", ["message", "signature", "key", "cut", "empty"])
def test_another_message_signature_or_key_is_refused(kind: str, what: str) -> None:
    key, message = keys.generate(kind), b"message"
    public, signature = key.public_key(), keys.sign(key, message)
    if what == "message":
        message = b"messagf"
    elif what == "signature":
        signature = keys.sign(key, b"another message")
    elif what == "key":
        public = keys.generate(kind).public_key()
    else:
        signature = signature[:-1] if what == "cut" else b""
    with pytest.raises(BadSignature):
        keys.verify(public, signature, message)


def test_a_longer_curve_of_nist_may_sign_too() -> None:
    key = keys.load_private(pem(ec.generate_private_key(ec.SECP521R1())), file="k")
    keys.verify(key.public_key(), keys.sign(key, b"m"), b"m")


@pytest.mark.parametrize(
    ("passphrase", "says"), [(None, "the passphrase is missing"), (b"", "is missing"), (b"wrong", "is wrong")]
)
def test_without_the_right_passphrase_a_key_stays_shut(passphrase: bytes | None, says: str) -> None:
    with pytest.raises(BadKey, match=says) as caught:
        keys.load_private(keys.private_pem(keys.generate(), PASSPHRASE), file="a.key", passphrase=passphrase)
    assert PASSPHRASE.decode() not in str(caught.value)


OTHERS = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    "x25519": x25519.X25519PrivateKey.generate,
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_key_of_another_type_is_refused(kind: str) -> None:
    key = OTHERS[kind]()
    with pytest.raises(BadKey, match="of another type"):
        keys.load_private(pem(key), file="k")
    with pytest.raises(BadKey, match="of another type"):
        keys.load_public(public_pem(key), file="k")


GOOD = keys.generate()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a key",
        b"\x00\xff" * 40,
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        keys.private_pem(GOOD, None)[:-40],
        keys.public_pem(GOOD.public_key())[:-40],
    ],
)
def test_what_is_no_key_is_refused(data: bytes) -> None:
    for passphrase in (None, PASSPHRASE):
        with pytest.raises(BadKey):
            keys.load_private(data, file="k", passphrase=passphrase)
    with pytest.raises(BadKey, match="no public key"):
        keys.load_public(data, file="k")


@EVERY_TYPE
def test_the_public_half_does_not_sign_and_the_private_one_is_not_given_away(kind: str) -> None:
    key = keys.generate(kind)
    with pytest.raises(BadKey, match="no private key"):
        keys.load_private(keys.public_pem(key.public_key()), file="k")
    for passphrase in (None, PASSPHRASE):
        private = keys.private_pem(key, passphrase)
        with pytest.raises(BadKey, match="holds a private key") as caught:
            keys.load_public(private, file="k")
        assert private.decode().splitlines()[1] not in str(caught.value)


def test_a_passphrase_for_a_key_that_needs_none_is_not_looked_at() -> None:
    assert keys.load_private(keys.private_pem(GOOD, None), file="k", passphrase=b"x").public_key() == GOOD.public_key()


def test_model_signing_takes_keys_on_curves_alone() -> None:
    taken = {kind for kind in keys.KEY_TYPES if keys.signs_models(keys.generate(kind))}
    assert taken == {"p256", "p384"}
    assert not keys.signs_models(ed25519.Ed25519PrivateKey.generate())
