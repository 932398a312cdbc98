"""The loopback Sigstore is one to sigstore-python: what is signed with it verifies, what is wrong with it shows."""

from __future__ import annotations

import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from loopback_sigstore import IDENTITY, ISSUER, LoopbackSigstore
from loopback_sigstore.reference_client import WORKFLOW, sign, statement, verify
from sigstore.errors import CertValidationError, VerificationError
from sigstore.models import ClientTrustConfig, InvalidBundle
from sigstore.oidc import IdentityError, IdentityToken, Issuer, detect_credential
from sigstore.verify.policy import AllOf, Identity, OIDCBuildTrigger, OIDCSourceRepositoryURI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Rekor = Literal[1, 2]
BOTH_REKORS = pytest.mark.parametrize("rekor", [1, 2])
HOUR = timedelta(hours=1)
STATEMENT = statement(verdict="PASSED")


@pytest.fixture(scope="module")
def instance() -> Iterator[LoopbackSigstore]:
    with LoopbackSigstore() as running:
        yield running


@pytest.fixture
def sigstore(instance: LoopbackSigstore) -> LoopbackSigstore:
    instance.reset()
    return instance


def signed(sigstore: LoopbackSigstore, rekor: Rekor = 2) -> dict[str, Any]:
    return sign(sigstore.trust_config(rekor), sigstore.token(), STATEMENT)


def log_entry(bundle: dict[str, Any]) -> dict[str, Any]:
    (entry,) = bundle["verificationMaterial"]["tlogEntries"]
    return entry


def timestamps(bundle: dict[str, Any]) -> list[Any]:
    return bundle["verificationMaterial"]["timestampVerificationData"].get("rfc3161Timestamps", [])


def outcome(act: Callable[[], object]) -> str:
    """Return the name of what is raised, much of which sigstore-python keeps to itself, or `signed`."""
    try:
        act()
    except Exception as error:  # noqa: BLE001 - which errors come is what is asked
        return type(error).__name__
    return "signed"


# ---- signing and verifying


@BOTH_REKORS
def test_what_is_signed_verifies_without_a_network(
    sigstore: LoopbackSigstore, monkeypatch: pytest.MonkeyPatch, rekor: Rekor
) -> None:
    config, bundle = sigstore.trust_config(rekor), signed(sigstore, rekor)

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a socket was connected")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert verify(config, bundle) == STATEMENT
    assert len(timestamps(bundle)) == 1


def test_rekor_v1_vouches_for_the_time(sigstore: LoopbackSigstore) -> None:
    entry = log_entry(signed(sigstore, 1))
    assert entry["kindVersion"] == {"kind": "dsse", "version": "0.0.1"}
    assert abs(int(entry["integratedTime"]) - time.time()) < 60
    assert "inclusionPromise" in entry


def test_rekor_v2_does_not(sigstore: LoopbackSigstore) -> None:
    entry = log_entry(signed(sigstore, 2))
    assert entry["kindVersion"] == {"kind": "hashedrekord", "version": "0.0.2"}
    assert not {"integratedTime", "inclusionPromise"} & set(entry)


@BOTH_REKORS
def test_the_log_grows_and_its_proofs_hold(sigstore: LoopbackSigstore, rekor: Rekor) -> None:
    config, bundles = sigstore.trust_config(rekor), [signed(sigstore, rekor) for _ in range(5)]
    proofs = [log_entry(bundle)["inclusionProof"] for bundle in bundles]
    first = int(proofs[0]["logIndex"])
    assert [int(proof["logIndex"]) for proof in proofs] == list(range(first, first + 5))
    assert all(proof["hashes"] for proof in proofs)
    for bundle in bundles:  # the early ones too: each proof is of the tree of its time
        assert verify(config, bundle) == STATEMENT


def test_the_certificate_says_where_the_job_ran(sigstore: LoopbackSigstore) -> None:
    repository, pushed = OIDCSourceRepositoryURI("https://github.com/acme/models"), OIDCBuildTrigger("push")
    config, bundle = sigstore.trust_config(), signed(sigstore)
    assert verify(config, bundle, AllOf([WORKFLOW, repository, pushed])) == STATEMENT
    with pytest.raises(VerificationError):
        verify(config, bundle, AllOf([WORKFLOW, OIDCSourceRepositoryURI("https://github.com/other/models")]))


def test_a_person_signs_with_an_address(sigstore: LoopbackSigstore) -> None:
    issuer, address = "https://accounts.google.com", "auditor@example.org"
    config = sigstore.trust_config()
    bundle = sign(config, sigstore.token(iss=issuer, email=address), STATEMENT)
    assert verify(config, bundle, Identity(identity=address, issuer=issuer)) == STATEMENT
    with pytest.raises(VerificationError):
        verify(config, bundle)


def test_two_instances_do_not_trust_each_other(sigstore: LoopbackSigstore) -> None:
    with LoopbackSigstore() as other:
        with pytest.raises(VerificationError):
            verify(other.trust_config(), signed(sigstore))
        # Fulcio knows a token that it did not issue
        assert outcome(lambda: sign(sigstore.trust_config(), other.token(), STATEMENT)) == "FulcioClientError"


def test_what_was_signed_with_another_statement_is_refused(sigstore: LoopbackSigstore) -> None:
    config, bundle = sigstore.trust_config(), signed(sigstore)
    other = sign(config, sigstore.token(), statement(verdict="FAILED"))
    bundle["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"]
    with pytest.raises(VerificationError):
        verify(config, bundle)


# ---- identities


def test_a_job_finds_its_token(sigstore: LoopbackSigstore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in sigstore.github_env().items():
        monkeypatch.setenv(name, value)
    raw = detect_credential()
    assert raw is not None
    token = IdentityToken(raw)
    assert (token.identity, token.issuer) == (IDENTITY, ISSUER)
    assert sigstore.requests == {"github": 1}
    assert verify(sigstore.trust_config(), sign(sigstore.trust_config(), raw, STATEMENT)) == STATEMENT


@pytest.mark.parametrize("wrong", ["token", "refused"])
def test_a_job_without_permission_finds_none(
    sigstore: LoopbackSigstore, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    for name, value in sigstore.github_env(unreachable=wrong == "refused").items():
        monkeypatch.setenv(name, value)
    if wrong == "token":
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of another job")
    with pytest.raises(IdentityError):
        detect_credential()


def test_a_browser_is_sent_back_with_a_code(sigstore: LoopbackSigstore) -> None:
    at = Issuer(ClientTrustConfig.from_json(sigstore.trust_config()).signing_config.get_oidc_url()).oidc_config
    query = {"redirect_uri": "http://localhost:1/back", "state": "s&t"}
    sent = requests.get(at.authorization_endpoint, params=query, allow_redirects=False, timeout=5)
    back = urlsplit(sent.headers["Location"])
    assert (sent.status_code, back.netloc) == (302, "localhost:1")
    answer = parse_qs(back.query)
    assert answer["state"] == ["s&t"]
    given = requests.post(at.token_endpoint, data={"code": answer["code"][0]}, timeout=5).json()
    assert IdentityToken(given["access_token"]).identity == IDENTITY


def test_claims_are_replaced_and_left_out(sigstore: LoopbackSigstore) -> None:
    assert IdentityToken(sigstore.token(sub="https://example.org/other")).identity == "https://example.org/other"
    for claims in ({"exp": int(time.time()) - 60}, {"aud": "another"}, {"sub": None}):
        with pytest.raises(IdentityError):
            IdentityToken(sigstore.token(**claims))


# ---- clocks


@pytest.mark.parametrize(("clock", "rekor"), [("tsa_skew", 1), ("tsa_skew", 2), ("rekor_skew", 1)])
@pytest.mark.parametrize("skew", [HOUR, -HOUR])
def test_a_time_outside_of_the_certificate_is_refused(
    sigstore: LoopbackSigstore, clock: str, rekor: Rekor, skew: timedelta
) -> None:
    setattr(sigstore, clock, skew)
    bundle = signed(sigstore, rekor)
    with pytest.raises(CertValidationError):
        verify(sigstore.trust_config(rekor), bundle)


@BOTH_REKORS
def test_a_certificate_that_is_not_valid_yet_is_refused(sigstore: LoopbackSigstore, rekor: Rekor) -> None:
    sigstore.ca_skew = HOUR
    bundle = signed(sigstore, rekor)
    with pytest.raises(CertValidationError):
        verify(sigstore.trust_config(rekor), bundle)


def test_nothing_is_signed_with_a_certificate_that_has_expired(sigstore: LoopbackSigstore) -> None:
    sigstore.ca_skew = -HOUR
    assert outcome(lambda: signed(sigstore)) == "ExpiredCertificate"
    assert sigstore.requests == {"fulcio": 1}


# ---- faults


@pytest.mark.parametrize(("service", "error"), [("fulcio", "FulcioClientError"), ("rekor", "RekorClientError")])
@BOTH_REKORS
def test_a_service_fails_so_many_times(
    sigstore: LoopbackSigstore, service: Literal["fulcio", "rekor"], error: str, rekor: Rekor
) -> None:
    sigstore.fail(service, status=503, times=2)
    assert [outcome(lambda: signed(sigstore, rekor)) for _ in range(3)] == [error, error, "signed"]
    assert sigstore.requests[service] == 3


def test_a_service_fails_until_it_recovers(sigstore: LoopbackSigstore) -> None:
    sigstore.fail("rekor")
    assert {outcome(lambda: signed(sigstore)) for _ in range(3)} == {"RekorClientError"}
    sigstore.recover("rekor")
    assert outcome(lambda: signed(sigstore)) == "signed"


@pytest.mark.parametrize("service", ["fulcio", "rekor"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [({"status": None}, "ConnectionError"), ({"status": 201, "body": b"<html>"}, "JSONDecodeError")],
)
def test_a_service_hangs_up_or_talks_nonsense(
    sigstore: LoopbackSigstore, service: Literal["fulcio", "rekor"], fault: dict[str, Any], error: str
) -> None:
    sigstore.fail(service, **fault)
    assert outcome(lambda: signed(sigstore)) == error


@pytest.mark.parametrize("service", ["fulcio", "rekor"])
def test_a_service_is_not_there(sigstore: LoopbackSigstore, service: Literal["fulcio", "rekor"]) -> None:
    config = sigstore.trust_config(unreachable=[service])
    assert outcome(lambda: sign(config, sigstore.token(), STATEMENT)) == "ConnectionError"
    assert sigstore.requests[service] == 0


def test_a_service_is_late(sigstore: LoopbackSigstore) -> None:
    sigstore.fail("fulcio", wait=0.2)
    begun = time.monotonic()
    assert outcome(lambda: signed(sigstore)) == "FulcioClientError"
    assert time.monotonic() - begun >= 0.2


def test_without_a_timestamp_rekor_v1_vouches_for_the_time(sigstore: LoopbackSigstore) -> None:
    sigstore.fail("tsa")
    bundle = signed(sigstore, 1)
    assert timestamps(bundle) == []
    assert verify(sigstore.trust_config(1), bundle) == STATEMENT


def test_without_a_timestamp_rekor_v2_leaves_no_bundle(sigstore: LoopbackSigstore) -> None:
    sigstore.fail("tsa")
    with pytest.raises(InvalidBundle):
        signed(sigstore, 2)
    with pytest.raises(InvalidBundle):
        sign(sigstore.trust_config(tsa=False), sigstore.token(), STATEMENT)
