"""Bundles signed with a key: written by the letter, read strictly, and never half believed."""

from __future__ import annotations

import base64
import json

import pytest
from attestkit import REMOVED, STATEMENT, b64, mutations, nodes, replaced
from hypothesis import given
from hypothesis import strategies as st

from auditor.attest import KeySigner, keys
from auditor.attest.bundle import MEDIA_TYPE, PAYLOAD_TYPE, pae, parse_bundle, sign_with_key, verify_with_key
from auditor.attest.errors import (
    AttestationTooLarge,
    BadAttestation,
    BadSignature,
    SelfCheckFailed,
    SignatureCount,
    VerificationError,
    WrongKey,
    WrongKind,
    WrongPayloadType,
)
from auditor.limits import LIMITS

KEY = keys.generate()
PUBLIC = KEY.public_key()
BUNDLE = json.loads(sign_with_key(KEY, STATEMENT))


def accepted(document: object, key: keys.PublicKey = PUBLIC) -> bytes:
    return verify_with_key(parse_bundle(json.dumps(document).encode(), file="a.json"), key)


@pytest.mark.parametrize("kind", keys.KEY_TYPES)
def test_what_is_signed_verifies(kind: str) -> None:
    key = keys.generate(kind)
    made = sign_with_key(key, STATEMENT)
    assert verify_with_key(parse_bundle(made, file="a.json"), key.public_key()) == STATEMENT
    with pytest.raises(WrongKey, match="made with another key"):
        verify_with_key(parse_bundle(made, file="a.json"), keys.generate(kind).public_key())


@given(st.binary(min_size=1))
def test_any_payload_survives(payload: bytes) -> None:
    assert verify_with_key(parse_bundle(sign_with_key(KEY, payload), file="a.json"), PUBLIC) == payload


def test_it_is_a_bundle_by_the_letter() -> None:
    assert BUNDLE == {  # noqa: SIM300 (a constant of ours, made by what is tested)
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": keys.hint(PUBLIC)}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": b64(STATEMENT),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": BUNDLE["dsseEnvelope"]["signatures"][0]["sig"], "keyid": ""}],
        },
    }


def test_what_is_signed_is_the_preauthentication_encoding() -> None:
    signature = base64.b64decode(BUNDLE["dsseEnvelope"]["signatures"][0]["sig"])
    keys.verify(PUBLIC, signature, f"DSSEv1 28 {PAYLOAD_TYPE} {len(STATEMENT)} ".encode() + STATEMENT)
    assert pae("é".encode()) == b"DSSEv1 28 application/vnd.in-toto+json 2 \xc3\xa9"  # bytes are counted
    with pytest.raises(BadSignature):
        keys.verify(PUBLIC, signature, STATEMENT)


ENVELOPE, MATERIAL = "dsseEnvelope", "verificationMaterial"
HINT = (MATERIAL, "publicKey", "hint")
SIGNATURES = (ENVELOPE, "signatures")
SIGNATURE = (*SIGNATURES, 0, "sig")
OTHER = json.loads(sign_with_key(keys.generate(), STATEMENT))

REFUSED: dict[str, tuple[tuple[str | int, ...], object, type[VerificationError]]] = {
    "another media type": (("mediaType",), "application/vnd.dev.sigstore.bundle+json;version=0.2", BadAttestation),
    "no media type": (("mediaType",), REMOVED, BadAttestation),
    "another payload type": ((ENVELOPE, "payloadType"), "text/plain", WrongPayloadType),
    "no payload type": ((ENVELOPE, "payloadType"), REMOVED, BadAttestation),
    "no signature": (SIGNATURES, [], SignatureCount),
    "two signatures": (SIGNATURES, BUNDLE[ENVELOPE]["signatures"] * 2, SignatureCount),
    "two signers": (SIGNATURES, BUNDLE[ENVELOPE]["signatures"] + OTHER[ENVELOPE]["signatures"], SignatureCount),
    "signatures of another kind": (SIGNATURES, {"sig": "AAAA"}, BadAttestation),
    "a signature of another kind": ((*SIGNATURES, 0), "AAAA", BadAttestation),
    "another's signature": (SIGNATURE, OTHER[ENVELOPE]["signatures"][0]["sig"], BadSignature),
    "a signature that is not base64": (SIGNATURE, "!!!!", BadAttestation),
    "a signature that is not ASCII": (SIGNATURE, "ÄÄÄÄ", BadAttestation),
    "base64 with a line break": (SIGNATURE, BUNDLE[ENVELOPE]["signatures"][0]["sig"] + "\n", BadAttestation),
    "an empty signature": (SIGNATURE, "", BadAttestation),
    "a payload that is not base64": ((ENVELOPE, "payload"), "{}", BadAttestation),
    "an empty payload": ((ENVELOPE, "payload"), "", BadAttestation),
    "another payload": ((ENVELOPE, "payload"), b64(STATEMENT + b" "), BadSignature),
    "another hint": (HINT, keys.hint(keys.generate().public_key()), WrongKey),
    "a hint of another kind": (HINT, 5, BadAttestation),
    "no key named": ((MATERIAL, "publicKey"), REMOVED, BadAttestation),
    "a key and a certificate": ((MATERIAL, "certificate"), {"rawBytes": "AAAA"}, BadAttestation),
    "an old chain of certificates": ((MATERIAL, "x509CertificateChain"), {"certificates": []}, BadAttestation),
    "no material": ((MATERIAL,), REMOVED, BadAttestation),
    "no envelope": ((ENVELOPE,), REMOVED, BadAttestation),
    "a message instead": ((ENVELOPE,), None, BadAttestation),
    "an array": ((), [], BadAttestation),
    "null": ((), None, BadAttestation),
    "a text": ((), "bundle", BadAttestation),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_reason(case: str) -> None:
    path, value, error = REFUSED[case]
    with pytest.raises(VerificationError) as caught:
        accepted(replaced(BUNDLE, path, value))
    assert type(caught.value) is error


def test_without_a_hint_the_signature_alone_decides() -> None:
    anonymous = replaced(BUNDLE, HINT, REMOVED)
    assert accepted(anonymous) == STATEMENT
    assert accepted(replaced(BUNDLE, HINT, "")) == STATEMENT
    with pytest.raises(BadSignature):
        accepted(anonymous, keys.generate().public_key())


def test_a_bundle_of_a_certificate_is_not_verified_with_a_key() -> None:
    material = {"certificate": {"rawBytes": b64(b"x")}, "tlogEntries": []}
    with pytest.raises(WrongKind, match="--identity and --issuer"):
        accepted(replaced(BUNDLE, (MATERIAL,), material))


GOOD = json.dumps(BUNDLE).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not JSON",
        b"\xff\xfe",
        b"\xef\xbb\xbf" + GOOD,
        GOOD[:-1],
        GOOD + b"{}",
        GOOD[:-1] + b', "mediaType": "x"}',
        GOOD.replace(b'"keyid": ""', b'"sig": "AAAA"'),
        b'{"mediaType":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"mediaType": NaN}',
        b'{"mediaType": 1' + b"0" * 100_000 + b"}",
        b'{"mediaType": "\\ud800"}',
    ],
    ids=[
        "empty", "words", "not-utf-8", "byte-order-mark", "cut", "twice", "duplicate-key", "duplicate-deep",
        "deep", "nan", "long-number", "lone-surrogate",
    ],
)  # fmt: skip
def test_json_that_two_readers_see_differently_is_refused(data: bytes) -> None:
    with pytest.raises(BadAttestation) as caught:
        parse_bundle(data, file="a.json")
    assert type(caught.value) is BadAttestation


def test_a_huge_file_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(AttestationTooLarge):
        parse_bundle(bytes(LIMITS.attestation_bytes + 1), file="a.json")
    with pytest.raises(BadAttestation, match="not strict JSON"):  # up to the limit it is
        parse_bundle(b" " * 1000, file="a.json")


def test_every_value_may_be_hostile() -> None:
    """Whatever stands anywhere in a bundle, it is refused with one of our reasons or means what it meant."""
    outcomes = set()
    for path, value in nodes(BUNDLE):
        for other in (*mutations(value), *((REMOVED,) if path else ())):
            try:
                outcomes.add(accepted(replaced(BUNDLE, path, other)))
            except VerificationError as error:
                outcomes.add(error.code)
    assert outcomes == {
        STATEMENT, "bad-attestation", "bad-signature", "payload-type", "signature-count", "wrong-key",
    }  # fmt: skip


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused_with_a_type(data: bytes) -> None:
    with pytest.raises(BadAttestation):
        parse_bundle(data, file="a.json")


def test_a_signature_is_checked_before_it_is_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "sign", lambda *_: b"no signature at all")
    with pytest.raises(SelfCheckFailed, match="nothing was written") as caught:
        KeySigner(KEY).sign(STATEMENT)
    assert caught.value.code == "self-check"


def test_the_reader_keeps_what_sigstore_reads() -> None:
    parsed = parse_bundle(GOOD, file="a.json")
    assert (parsed.kind, parsed.hint, parsed.certificate) == ("key", keys.hint(PUBLIC), b"")
    assert parsed.document == BUNDLE
    assert MEDIA_TYPE in json.dumps(parsed.document)
