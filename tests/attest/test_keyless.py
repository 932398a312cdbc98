"""Signing by identity, and verifying it: what sigstore-python does well, and how each of its failures reaches us."""

from __future__ import annotations

import base64
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import pytest
from attestkit import REMOVED, STATEMENT, b64, mutations, no_network, nodes, replaced, trust
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from loopback_sigstore import IDENTITY, ISSUER, LoopbackSigstore

from auditor.attest import KeylessSigner, keyless, keys, sigstore_errors
from auditor.attest.bundle import MEDIA_TYPE, PAYLOAD_TYPE, pae, parse_bundle
from auditor.attest.errors import (
    BadAttestation,
    BadLogEntry,
    BadSignature,
    BadTimestamp,
    BadToken,
    BadTrust,
    NoCredential,
    SelfCheckFailed,
    ServiceFailed,
    SigningError,
    UntrustedCertificate,
    VerificationError,
    WrongIdentity,
    WrongIssuer,
    WrongKind,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from loopback_sigstore.faults import Service

pytest_plugins = ("attestfixtures",)

Rekor = Literal[1, 2]
BOTH_REKORS = pytest.mark.parametrize("rekor", [1, 2], ids=["rekor-v1", "rekor-v2"])
SERVICES = pytest.mark.parametrize(
    ("service", "rekor"), [("fulcio", 2), ("rekor", 1), ("rekor", 2), ("tsa", 1), ("tsa", 2)]
)
SOME_OR_ALL = pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
NAMES = {"fulcio": sigstore_errors.FULCIO, "rekor": sigstore_errors.REKOR, "tsa": sigstore_errors.TSA}
HOUR = timedelta(hours=1)


def verified(bundle: bytes, trusted: keyless.Trust, *, identity: str = IDENTITY, issuer: str = ISSUER) -> bytes:
    return keyless.verify(parse_bundle(bundle, file="a.json"), trust=trusted, identity=identity, issuer=issuer)


class Attempt:
    """One attempt to sign: what came of it, and how long was waited between the tries."""

    def __init__(self, sigstore: LoopbackSigstore, trusted: keyless.Trust, token: str | None = None) -> None:
        self.waits: list[float] = []
        self.error: SigningError | None = None
        self.bundle = b""
        try:
            self.bundle = keyless.sign(
                STATEMENT, trust=trusted, token=token or sigstore.token(), sleep=self.waits.append
            )
        except SigningError as error:
            self.error = error


# ---- what works


@BOTH_REKORS
@pytest.mark.parametrize("only_root", [False, True], ids=["config", "trusted-root"])
def test_what_is_signed_verifies_offline(
    sigstore: LoopbackSigstore,
    monkeypatch: pytest.MonkeyPatch,
    rekor: Rekor,
    only_root: bool,  # noqa: FBT001
) -> None:
    bundle = keyless.sign(STATEMENT, trust=trust(sigstore, rekor), token=sigstore.token())
    no_network(monkeypatch)
    root = json.dumps(sigstore.trusted_root()).encode()
    assert verified(bundle, keyless.load_trust(root) if only_root else trust(sigstore, rekor)) == STATEMENT
    assert keyless.signer(parse_bundle(bundle, file="a.json")) == (IDENTITY, ISSUER)


def test_the_public_sigstore_is_known_offline(monkeypatch: pytest.MonkeyPatch, sigstore: LoopbackSigstore) -> None:
    bundle = keyless.sign(STATEMENT, trust=trust(sigstore, 1), token=sigstore.token())
    no_network(monkeypatch)
    public = keyless.load_trust()
    assert public.for_signing()
    with pytest.raises(UntrustedCertificate):
        verified(bundle, public)


@BOTH_REKORS
def test_a_person_signs_with_an_address(sigstore: LoopbackSigstore, rekor: Rekor) -> None:
    issuer, address = "https://accounts.google.com", "auditor@example.org"
    trusted = trust(sigstore, rekor)
    bundle = keyless.sign(STATEMENT, trust=trusted, token=sigstore.token(iss=issuer, email=address))
    assert verified(bundle, trusted, identity=address, issuer=issuer) == STATEMENT
    with pytest.raises(WrongIssuer):
        verified(bundle, trusted, identity=address)


WRONG_SIGNERS = {
    "another": (IDENTITY.replace("acme", "other"), ISSUER, WrongIdentity),
    "longer": (IDENTITY + "x", ISSUER, WrongIdentity),
    "shorter": (IDENTITY[:-1], ISSUER, WrongIdentity),
    "a pattern": (".*", ISSUER, WrongIdentity),
    "capitals": (IDENTITY.upper(), ISSUER, WrongIdentity),
    "nobody": ("", ISSUER, WrongIdentity),
    "issuer": (IDENTITY, "https://accounts.google.com", WrongIssuer),
    "issuer with a slash": (IDENTITY, ISSUER + "/", WrongIssuer),
    "no issuer": (IDENTITY, "", WrongIssuer),
    "both": ("x", "y", WrongIssuer),
}


@pytest.mark.parametrize("case", WRONG_SIGNERS)
def test_another_signer_is_refused(sigstore: LoopbackSigstore, case: str) -> None:
    identity, issuer, error = WRONG_SIGNERS[case]
    trusted = trust(sigstore)
    bundle = keyless.sign(STATEMENT, trust=trusted, token=sigstore.token())
    with pytest.raises(VerificationError) as caught:
        verified(bundle, trusted, identity=identity, issuer=issuer)
    assert type(caught.value) is error


# ---- services that fail

PASSING = {
    "500, in HTML": {"status": 500, "body": b"<html>"},
    "503": {"status": 503},
    "429": {"status": 429},
    "hangs up": {"status": None},
}
LASTING = {
    "403": {"status": 403},
    "400": {"status": 400},
    "401, in HTML": {"status": 401, "body": b"<html>"},
    "HTML": {"status": 201, "body": b"<html>"},
    "nothing": {"status": 201, "body": b""},
    "an object": {"status": 201, "body": b"{}"},
    "an array": {"status": 201, "body": b"[]"},
    "null": {"status": 201, "body": b"null"},
    "deep": {"status": 201, "body": b"[" * 10_000},
    "not a certificate": {
        "status": 201,
        "body": b'{"signedCertificateEmbeddedSct": {"chain": {"certificates": ["x", "y"]}}}',
    },
    "junk of the log": {"status": 201, "body": b'{"x": {"body": 1, "logIndex": "a", "verification": []}}'},
    "not UTF-8": {"status": 201, "body": b"\xff\xfe\x00"},
}


@pytest.mark.parametrize(
    ("service", "rekor", "fault"),
    [("fulcio", 2, fault) for fault in PASSING]
    + [("rekor", 1, "503"), ("rekor", 2, "429"), ("rekor", 2, "hangs up"), ("tsa", 1, "503"), ("tsa", 2, "429")],
)
def test_what_may_pass_is_tried_again_and_no_more_than_so_often(
    sigstore: LoopbackSigstore, rekor: Rekor, service: Service, fault: str
) -> None:
    sigstore.fail(service, **PASSING[fault])  # type: ignore[arg-type]
    attempt = Attempt(sigstore, trust(sigstore, rekor))
    assert type(attempt.error) is ServiceFailed
    assert (attempt.error.code, attempt.error.service) == ("service", NAMES[service])
    assert sigstore.requests[service] == keyless.TRIES
    assert attempt.waits == [0.5, 1.0, 2.0]


@SERVICES
@pytest.mark.parametrize("fault", ["503"])
def test_what_passes_does_no_harm(sigstore: LoopbackSigstore, rekor: Rekor, service: Service, fault: str) -> None:
    sigstore.fail(service, times=2, **PASSING[fault])  # type: ignore[arg-type]
    trusted = trust(sigstore, rekor)
    attempt = Attempt(sigstore, trusted)
    assert attempt.error is None
    assert attempt.waits == [0.5, 1.0]
    assert sigstore.requests[service] == 3
    assert verified(attempt.bundle, trusted) == STATEMENT


@pytest.mark.parametrize(("service", "rekor"), [("fulcio", 2), ("rekor", 1), ("rekor", 2)])
@pytest.mark.parametrize("fault", LASTING)
def test_a_refusal_and_nonsense_are_not_asked_for_again(
    sigstore: LoopbackSigstore, rekor: Rekor, service: Service, fault: str
) -> None:
    sigstore.fail(service, **LASTING[fault])  # type: ignore[arg-type]
    attempt = Attempt(sigstore, trust(sigstore, rekor))
    assert type(attempt.error) is ServiceFailed
    assert not attempt.error.passing
    assert sigstore.requests[service] == 1
    assert attempt.waits == []
    if "HTTP" in str(attempt.error):
        assert attempt.error.service == NAMES[service]


@BOTH_REKORS
@pytest.mark.parametrize("fault", ["403", "HTML", "nothing"])
def test_no_timestamp_is_no_signature(sigstore: LoopbackSigstore, rekor: Rekor, fault: str) -> None:
    """sigstore-python says only to its log why there is none, so it is asked for again in any case."""
    sigstore.fail("tsa", **LASTING[fault])  # type: ignore[arg-type]
    attempt = Attempt(sigstore, trust(sigstore, rekor))
    assert type(attempt.error) is ServiceFailed
    assert str(attempt.error) == "timestamp authority: no timestamp was given"
    assert len(attempt.waits) == keyless.TRIES - 1


@SERVICES
def test_a_service_that_is_not_there(sigstore: LoopbackSigstore, rekor: Rekor, service: Service) -> None:
    attempt = Attempt(sigstore, trust(sigstore, rekor, unreachable=[service]))
    assert type(attempt.error) is ServiceFailed
    assert attempt.error.service == NAMES[service]
    assert len(attempt.waits) == keyless.TRIES - 1
    assert sigstore.requests[service] == 0


@pytest.mark.parametrize("service", ["fulcio", "rekor", "tsa"])
def test_silence_is_given_up_on(sigstore: LoopbackSigstore, monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    monkeypatch.setattr(keyless, "PATIENCE", 0.1)
    sigstore.fail(service, wait=0.8)
    begun = time.monotonic()
    attempt = Attempt(sigstore, trust(sigstore))
    assert time.monotonic() - begun < 0.75
    assert type(attempt.error) is ServiceFailed
    assert "no answer in" in str(attempt.error)
    assert sigstore.requests[service] == 1
    for thread in threading.enumerate():  # the try that nobody waits for ends with its server
        if thread.daemon and thread is not threading.current_thread() and "run" in thread.name:
            thread.join(5)


def test_a_certificate_that_has_expired_signs_nothing(sigstore: LoopbackSigstore) -> None:
    sigstore.ca_skew = -HOUR
    attempt = Attempt(sigstore, trust(sigstore))
    assert type(attempt.error) is ServiceFailed
    assert "ExpiredCertificate" in str(attempt.error)
    assert sigstore.requests == {"fulcio": 1}


CLOCKS = {
    "ca +1 h": ("ca_skew", HOUR, (1, 2)),
    "tsa +1 h": ("tsa_skew", HOUR, (1, 2)),
    "tsa -1 h": ("tsa_skew", -HOUR, (1, 2)),
    "rekor +1 h": ("rekor_skew", HOUR, (1,)),
    "rekor -1 h": ("rekor_skew", -HOUR, (1,)),
}


@pytest.mark.parametrize(
    ("case", "rekor"), [(case, rekor) for case, (_, _, rekors) in CLOCKS.items() for rekor in rekors]
)
def test_what_was_signed_outside_the_certificate_does_not_leave_the_house(
    sigstore: LoopbackSigstore, case: str, rekor: Rekor
) -> None:
    clock, skew, _ = CLOCKS[case]
    setattr(sigstore, clock, skew)
    trusted = trust(sigstore, rekor)
    bundle = keyless.sign(STATEMENT, trust=trusted, token=sigstore.token())
    with pytest.raises(UntrustedCertificate, match="not valid at validation time"):
        verified(bundle, trusted)
    with pytest.raises(SelfCheckFailed, match="nothing was written"):
        KeylessSigner(trusted, sigstore.token).sign(STATEMENT)


def test_without_a_timestamp_authority_rekor_v1_is_believed_and_v2_is_not_enough(sigstore: LoopbackSigstore) -> None:
    trusted = trust(sigstore, 1, tsa=False)
    assert verified(Attempt(sigstore, trusted).bundle, trusted) == STATEMENT
    attempt = Attempt(sigstore, trust(sigstore, 2, tsa=False))
    assert type(attempt.error) is ServiceFailed
    assert "signed timestamp" in str(attempt.error)
    assert attempt.waits == []


# ---- who signs

TOKENS: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": 1_700_000_000}, "expired"),
    "not valid yet": ({"nbf": 4_000_000_000}, "not within its validity period"),
    "for another audience": ({"aud": "another"}, "Audience"),
    "without a subject": ({"sub": None}, "sub"),
    "without an audience": ({"aud": None}, "aud"),
}


@pytest.mark.parametrize("case", TOKENS)
def test_a_token_that_is_no_good(sigstore: LoopbackSigstore, case: str) -> None:
    claims, says = TOKENS[case]
    token = sigstore.token(**claims)
    attempt = Attempt(sigstore, trust(sigstore), token)
    assert type(attempt.error) is BadToken
    assert says.lower() in str(attempt.error).lower()
    assert token not in str(attempt.error)
    assert sigstore.requests == {}


@pytest.mark.parametrize("token", [" ", "a.b.c", "é.é.é", "\n", "x" * 100_000, "e30.e30.e30"])
def test_a_token_that_is_none(sigstore: LoopbackSigstore, token: str) -> None:
    attempt = Attempt(sigstore, trust(sigstore), token)
    assert type(attempt.error) is BadToken
    assert sigstore.requests == {}


def test_a_token_of_another_sigstore_is_refused_by_the_authority(sigstore: LoopbackSigstore) -> None:
    with LoopbackSigstore() as other:
        token = other.token()
    attempt = Attempt(sigstore, trust(sigstore), token)
    assert str(attempt.error) == "certificate authority (Fulcio): answered HTTP 401"
    assert attempt.waits == []


def test_a_job_finds_its_token(sigstore: LoopbackSigstore, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, sigstore.github_env())
    trusted = trust(sigstore)
    bundle = KeylessSigner(trusted, keyless.ambient_token).sign(STATEMENT)
    assert verified(bundle, trusted) == STATEMENT
    assert sigstore.requests["github"] == 1


def test_each_signature_asks_for_a_token_of_its_own(sigstore: LoopbackSigstore) -> None:
    """A token lives for minutes, and hashing a large model takes longer."""
    tokens = iter([sigstore.token(), sigstore.token(exp=1_700_000_000)])
    signer = KeylessSigner(trust(sigstore), lambda: next(tokens))
    assert signer.sign(STATEMENT)
    with pytest.raises(BadToken):
        signer.sign(STATEMENT)


def test_without_an_identity_there_is_a_hint(no_ambient: None) -> None:  # noqa: ARG001
    with pytest.raises(NoCredential, match=r"--key.*id-token: write.*--interactive"):
        keyless.ambient_token()


@pytest.fixture
def no_ambient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away whatever identity the machine that runs the tests may have."""
    import sigstore.oidc  # noqa: PLC0415 (.6 s)

    monkeypatch.setattr(sigstore.oidc.id, "detect_credential", lambda _: None)


AMBIENT: dict[str, Callable[[LoopbackSigstore], dict[str, str]]] = {
    "no permission": lambda _: {"GITHUB_ACTIONS": "true"},
    "refused": lambda s: s.github_env() | {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of another job"},
    "unreachable": lambda s: s.github_env(unreachable=True),
    "no URL": lambda s: s.github_env() | {"ACTIONS_ID_TOKEN_REQUEST_URL": "not a URL"},
    "a URL of another kind": lambda s: s.github_env() | {"ACTIONS_ID_TOKEN_REQUEST_URL": "ftp://x"},
    "a URL with a port that is none": lambda s: s.github_env() | {"ACTIONS_ID_TOKEN_REQUEST_URL": "http://a:b/"},
}


@pytest.mark.parametrize("case", AMBIENT)
def test_an_identity_that_is_offered_and_not_given(
    sigstore: LoopbackSigstore, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    _set(monkeypatch, AMBIENT[case](sigstore))
    with pytest.raises(NoCredential, match="offers an identity and does not give it") as caught:
        keyless.ambient_token()
    assert sigstore.github_env()["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] not in str(caught.value)


@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"status": 200, "body": b"<html>"}, {"status": 200, "body": b'{"value": 5}'}, {"status": 403}],
)
def test_an_identity_provider_that_fails(
    sigstore: LoopbackSigstore, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    _set(monkeypatch, sigstore.github_env())
    sigstore.fail("github", **fault)
    with pytest.raises(NoCredential):
        keyless.ambient_token()


def test_a_person_logs_in(sigstore: LoopbackSigstore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser is sigstore-python's affair; what comes of it is ours."""
    from sigstore import oidc  # noqa: PLC0415 (.6 s)

    token = sigstore.token()
    monkeypatch.setattr(oidc.Issuer, "identity_token", lambda _: oidc.IdentityToken(token))
    trusted = trust(sigstore)
    assert keyless.interactive_token(trusted) == token
    assert verified(keyless.sign(STATEMENT, trust=trusted, token=token), trusted) == STATEMENT
    assert sigstore.requests["oidc"] == 1


def test_a_login_that_comes_to_nothing(sigstore: LoopbackSigstore, monkeypatch: pytest.MonkeyPatch) -> None:
    from sigstore import oidc  # noqa: PLC0415 (.6 s)

    def fail(_: object) -> NoReturn:
        raise oidc.IdentityError("Error response from auth endpoint: access_denied")

    monkeypatch.setattr(oidc.Issuer, "identity_token", fail)
    with pytest.raises(NoCredential, match="access_denied"):
        keyless.interactive_token(trust(sigstore))


@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"status": None}, {"status": 200, "body": b"<html>"}, {"status": 200, "body": b"{}"}],
)
def test_a_login_that_cannot_begin(sigstore: LoopbackSigstore, fault: dict[str, Any]) -> None:
    sigstore.fail("oidc", **fault)
    with pytest.raises(NoCredential, match="no identity came of logging in"):
        keyless.interactive_token(trust(sigstore))
    with pytest.raises(NoCredential):
        keyless.interactive_token(trust(sigstore, unreachable=["oidc"]))


def _set(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


# ---- whom to trust


def test_a_trusted_root_does_not_sign(sigstore: LoopbackSigstore) -> None:
    root = keyless.load_trust(json.dumps(sigstore.trusted_root()).encode(), file="root.json")
    for act in (
        root.for_signing,
        lambda: keyless.sign(STATEMENT, trust=root, token=sigstore.token()),
        lambda: keyless.interactive_token(root),
    ):
        with pytest.raises(BadTrust, match="not to sign"):
            act()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000, b'{"mediaType": 5}', b'{"mediaType": "x"}',
        b'{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "tlogs": 5}',
        b'{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=9"}',
        b'{"mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"}',
    ],
)  # fmt: skip
def test_a_trust_configuration_that_is_none(data: bytes) -> None:
    with pytest.raises(BadTrust, match=r"^trust\.json: "):
        keyless.load_trust(data, file="trust.json")


@SOME_OR_ALL
def test_every_value_of_a_trust_configuration_may_be_junk(sigstore: LoopbackSigstore, every: int) -> None:
    bundle = keyless.sign(STATEMENT, trust=trust(sigstore), token=sigstore.token())
    config = json.loads(sigstore.trust_config())
    junk = (REMOVED, None, 5, "x", "", [], {}, b64(b"x" * 91), 2**70)
    changes = [(path, other) for path, _ in nodes(config) for other in junk if path]
    outcomes = set()
    for path, other in changes[::every]:
        data = json.dumps(replaced(config, path, other)).encode()
        try:
            outcomes.add(verified(bundle, keyless.load_trust(data, file="t")))
        except (BadTrust, VerificationError) as error:
            outcomes.add(error.code)
    assert {STATEMENT, "bad-trust"} < outcomes
    assert outcomes <= {
        STATEMENT, "bad-trust", "untrusted-certificate", "bad-log-entry", "bad-timestamp", "bad-attestation",
    }  # fmt: skip


@BOTH_REKORS
def test_another_sigstore_is_not_believed(sigstore: LoopbackSigstore, rekor: Rekor) -> None:
    bundle = keyless.sign(STATEMENT, trust=trust(sigstore, rekor), token=sigstore.token())
    with LoopbackSigstore() as other:
        stranger = trust(other, rekor)
        with pytest.raises(VerificationError) as caught:
            verified(bundle, stranger)
        assert type(caught.value) is (UntrustedCertificate if rekor == 1 else BadTimestamp)
        for part, error in {
            "tlogs": BadLogEntry,
            "ctlogs": UntrustedCertificate,
            "certificateAuthorities": UntrustedCertificate,
        }.items():
            mixed = {**sigstore.trusted_root(), part: other.trusted_root()[part]}
            with pytest.raises(VerificationError) as caught:
                verified(bundle, keyless.load_trust(json.dumps(mixed).encode()))
            assert type(caught.value) is error, part


def test_a_timestamp_of_an_authority_that_is_not_trusted(sigstore: LoopbackSigstore) -> None:
    bundle = keyless.sign(STATEMENT, trust=trust(sigstore, 2), token=sigstore.token())
    with LoopbackSigstore() as other:
        mixed = {
            **sigstore.trusted_root(),
            "timestampAuthorities": other.trusted_root()["timestampAuthorities"],
        }
    with pytest.raises(BadTimestamp):
        verified(bundle, keyless.load_trust(json.dumps(mixed).encode()))


# ---- hostile bundles


@SOME_OR_ALL
@BOTH_REKORS
def test_every_value_may_be_hostile(sigstore: LoopbackSigstore, rekor: Rekor, every: int) -> None:
    """Whatever stands anywhere in a bundle, it is refused with one of our reasons or says what was signed."""
    trusted = trust(sigstore, rekor)
    good = json.loads(keyless.sign(STATEMENT, trust=trusted, token=sigstore.token()))
    changes = [(path, other) for path, value in nodes(good) for other in (REMOVED, *mutations(value)) if path]
    outcomes = set()
    for path, other in changes[::every]:
        try:
            outcomes.add(verified(json.dumps(replaced(good, path, other)).encode(), trusted))
        except VerificationError as error:
            outcomes.add(error.code)
    assert {STATEMENT, "bad-attestation", "bad-log-entry"} < outcomes
    assert outcomes <= {
        STATEMENT, "bad-attestation", "bad-signature", "payload-type", "signature-count", "bad-log-entry",
        "bad-timestamp", "untrusted-certificate",
    }  # fmt: skip


SAN = x509.ObjectIdentifier("2.5.29.17")
CERTIFICATES: dict[str, tuple[Callable[[], Any], bytes | None, type[VerificationError]]] = {
    "of itself": (keys.generate, None, BadAttestation),
    "secp256k1": (lambda: ec.generate_private_key(ec.SECP256K1()), None, UntrustedCertificate),
    "brainpool": (lambda: ec.generate_private_key(ec.BrainpoolP256R1()), None, UntrustedCertificate),
    "rsa": (lambda: rsa.generate_private_key(65537, 2048), None, UntrustedCertificate),
    "ed25519": (ed25519.Ed25519PrivateKey.generate, None, UntrustedCertificate),
    "a name of a kind that nobody reads": (keys.generate, bytes.fromhex("3004a3023000"), BadAttestation),
    "a name of another such kind": (keys.generate, bytes.fromhex("3004a5023000"), BadAttestation),
    "names that are no ASN.1": (keys.generate, b"zz", BadAttestation),
    "a name that is not ASCII": (keys.generate, bytes.fromhex("30038101ff"), BadAttestation),
}


def certificate(key: Any, names: bytes | None = None, *, serial: int = 5) -> bytes:  # noqa: ANN401 (of any type)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now)
        .not_valid_after(now + HOUR)
    )
    if names is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(SAN, names), critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


def certified(der: bytes, signature: bytes) -> bytes:
    return json.dumps(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"certificate": {"rawBytes": b64(der)}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": b64(STATEMENT),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": b64(signature)}],
            },
        }
    ).encode()


@pytest.mark.parametrize("case", CERTIFICATES)
def test_a_certificate_of_ones_own(sigstore: LoopbackSigstore, case: str) -> None:
    make, names, error = CERTIFICATES[case]
    key = make()
    signature = keys.sign(key, pae(STATEMENT)) if keys.is_usable(key.public_key()) else b"x"
    with pytest.raises(VerificationError) as caught:
        verified(certified(certificate(key, names), signature), trust(sigstore))
    assert type(caught.value) is error


def test_a_certificate_with_any_byte_changed(sigstore: LoopbackSigstore) -> None:
    trusted, der = trust(sigstore), certificate(keys.generate(), bytes.fromhex("30058103614062"))
    outcomes = set()
    for at in range(len(der)):
        for flipped in (1, 0x80, 0xFF):
            changed = der[:at] + bytes([der[at] ^ flipped]) + der[at + 1 :]
            with pytest.raises(VerificationError) as caught:
                verified(certified(changed, b"x"), trusted)
            outcomes.add(type(caught.value))
    assert outcomes == {BadAttestation, BadSignature}


def test_a_key_bundle_is_not_verified_by_identity(sigstore: LoopbackSigstore) -> None:
    bundle = json.loads(certified(b"x", b"x"))
    bundle["verificationMaterial"] = {"publicKey": {"hint": ""}}
    with pytest.raises(WrongKind, match="give --key"):
        verified(json.dumps(bundle).encode(), trust(sigstore))


@BOTH_REKORS
def test_a_log_entry_dated_beyond_all_calendars(sigstore: LoopbackSigstore, rekor: Rekor) -> None:
    trusted = trust(sigstore, rekor)
    good = json.loads(keyless.sign(STATEMENT, trust=trusted, token=sigstore.token()))
    for far in (2**31, 2**40, 2**62, 2**63, 2**64, 10**30):
        path = ("verificationMaterial", "tlogEntries", 0, "integratedTime")
        bundle = replaced(good, path, str(far))
        if rekor == 2:  # a promise of v1 that v2 does not give
            bundle["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"] = {"signedEntryTimestamp": b64(b"x")}
        with pytest.raises(VerificationError):
            verified(json.dumps(bundle).encode(), trusted)


# ---- secrets


@SERVICES
def test_the_token_is_in_no_error(sigstore: LoopbackSigstore, service: Service, rekor: Rekor) -> None:
    token, trusted = sigstore.token(), trust(sigstore, rekor)
    for fault in ({"status": 403}, {"status": 403, "body": token.encode()}, {"status": 201, "body": b"<html>"}):
        sigstore.fail(service, **fault)  # type: ignore[arg-type]
        told: BaseException | None = Attempt(sigstore, trusted, token).error
        assert told is not None
        while told is not None:
            assert token not in f"{told}{told!r}"
            told = told.__cause__ or told.__context__


def test_the_token_is_not_in_the_bundle(sigstore: LoopbackSigstore) -> None:
    token = sigstore.token()
    bundle = json.loads(keyless.sign(STATEMENT, trust=trust(sigstore, 1), token=token))
    body = bundle["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"]
    assert token not in json.dumps(bundle) + base64.b64decode(body).decode()
