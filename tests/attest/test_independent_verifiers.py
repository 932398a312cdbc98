"""Verifiers that share no code with us accept what is signed, and refuse it once it is changed."""

from __future__ import annotations

import base64
import copy
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import nodekit
import pytest
from attestkit import payload_of, write_sketch, write_tuned
from dsse_by_securesystemslib import EnvelopeRefusedError, verify_envelope
from loopback_sigstore import IDENTITY, ISSUER, LoopbackSigstore
from loopback_sigstore.reference_client import statement

from auditor.attest import bundle as key_bundle
from auditor.attest import keyless as by_identity
from auditor.attest import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

Bundle = dict[str, Any]
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = statement(verdict="PASSED")
OTHER = statement(verdict="FAILED")


# ---- who signs


def sign_with_key(key: keys.PrivateKey, payload: bytes) -> Bundle:
    made: Bundle = json.loads(key_bundle.sign_with_key(key, payload))
    return made


def sign_keyless(sigstore: LoopbackSigstore, rekor: Literal[1, 2], payload: bytes) -> Bundle:
    trust = by_identity.load_trust(sigstore.trust_config(rekor).encode())
    made: Bundle = json.loads(by_identity.sign(payload, trust=trust, token=sigstore.token()))
    return made


# ---- what is signed


@dataclass(frozen=True, kw_only=True)
class Signed:
    """A bundle, and another of the same signer for parts to be taken from."""

    bundle: Bundle
    other: Bundle


def public_pem(key: keys.PrivateKey) -> bytes:
    return keys.public_pem(key.public_key())


@pytest.fixture(scope="module")
def key() -> keys.PrivateKey:
    return keys.generate()


@pytest.fixture(scope="module")
def by_key(key: keys.PrivateKey) -> Signed:
    return Signed(bundle=sign_with_key(key, STATEMENT), other=sign_with_key(key, OTHER))


@pytest.fixture(scope="module")
def sigstore() -> Iterator[LoopbackSigstore]:
    with LoopbackSigstore() as running:
        yield running


@pytest.fixture(scope="module", params=[1, 2], ids=["rekor-v1", "rekor-v2"])
def keyless(request: pytest.FixtureRequest, sigstore: LoopbackSigstore) -> Signed:
    return Signed(
        bundle=sign_keyless(sigstore, request.param, STATEMENT), other=sign_keyless(sigstore, request.param, OTHER)
    )


# ---- how it is changed: each takes a part of the other bundle, or breaks one


def payload(bundle: Bundle, other: Bundle) -> None:
    bundle["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"]


def payload_type(bundle: Bundle, _: Bundle) -> None:
    bundle["dsseEnvelope"]["payloadType"] = "text/plain"


def signature(bundle: Bundle, other: Bundle) -> None:
    bundle["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"]


def certificate(bundle: Bundle, other: Bundle) -> None:
    bundle["verificationMaterial"]["certificate"] = other["verificationMaterial"]["certificate"]


def log_entry(bundle: Bundle, other: Bundle) -> None:
    bundle["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]


def timestamp(bundle: Bundle, other: Bundle) -> None:
    name = "timestampVerificationData"
    bundle["verificationMaterial"][name] = other["verificationMaterial"][name]


def log_root(bundle: Bundle, other: Bundle) -> None:
    taken = other["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"]
    bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"] = taken


def changed(signed: Signed, change: Callable[[Bundle, Bundle], None]) -> str:
    bundle = copy.deepcopy(signed.bundle)
    change(bundle, copy.deepcopy(signed.other))
    assert bundle != signed.bundle
    return json.dumps(bundle)


IN_THE_ENVELOPE = pytest.mark.parametrize("change", [payload, payload_type, signature])
ANYWHERE = pytest.mark.parametrize(
    "change", [payload, payload_type, signature, certificate, log_entry, timestamp, log_root]
)


# ---- signed with a key


def test_securesystemslib_reads_a_key_bundle(key: keys.PrivateKey, by_key: Signed) -> None:
    assert verify_envelope(json.dumps(by_key.bundle), public_pem(key)) == STATEMENT


@IN_THE_ENVELOPE
def test_securesystemslib_refuses_a_changed_key_bundle(
    key: keys.PrivateKey, by_key: Signed, change: Callable[[Bundle, Bundle], None]
) -> None:
    with pytest.raises(EnvelopeRefusedError):
        verify_envelope(changed(by_key, change), public_pem(key))


def test_sigstore_js_reads_a_key_bundle(key: keys.PrivateKey, by_key: Signed) -> None:
    said = nodekit.verify_with_key(json.dumps(by_key.bundle), public_pem(key))
    assert said.accepted, said
    assert (said.payload_type, base64.b64decode(said.payload)) == (PAYLOAD_TYPE, STATEMENT)


@IN_THE_ENVELOPE
def test_sigstore_js_refuses_a_changed_key_bundle(
    key: keys.PrivateKey, by_key: Signed, change: Callable[[Bundle, Bundle], None]
) -> None:
    said = nodekit.verify_with_key(changed(by_key, change), public_pem(key))
    assert (said.accepted, said.code) == (False, "SIGNATURE_ERROR")


def test_both_refuse_another_key(by_key: Signed) -> None:
    another = public_pem(keys.generate())
    bundle = json.dumps(by_key.bundle)
    with pytest.raises(EnvelopeRefusedError):
        verify_envelope(bundle, another)
    assert nodekit.verify_with_key(bundle, another).code == "SIGNATURE_ERROR"


@pytest.mark.parametrize("kind", keys.KEY_TYPES)
def test_securesystemslib_reads_every_type_of_key(kind: str) -> None:
    key = keys.generate(kind)
    made = json.dumps(sign_with_key(key, STATEMENT))
    assert verify_envelope(made, public_pem(key)) == STATEMENT
    with pytest.raises(EnvelopeRefusedError):
        verify_envelope(made, public_pem(keys.generate(kind)))


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_sigstore_js_reads_keys_of_these_types(kind: str) -> None:
    key = keys.generate(kind)
    said = nodekit.verify_with_key(json.dumps(sign_with_key(key, STATEMENT)), public_pem(key))
    assert said.accepted, said


def test_sigstore_js_hashes_with_sha256_whatever_the_curve() -> None:
    """A limit of theirs: a P-384 key signs over SHA-384, as the registry of algorithms has it, and they refuse it."""
    key = keys.generate("p384")
    said = nodekit.verify_with_key(json.dumps(sign_with_key(key, STATEMENT)), public_pem(key))
    assert (said.accepted, said.code) == (False, "SIGNATURE_ERROR")


# ---- signed without a key


def test_sigstore_js_reads_a_keyless_bundle(sigstore: LoopbackSigstore, keyless: Signed) -> None:
    root = json.dumps(sigstore.trusted_root())
    said = nodekit.verify_keyless(json.dumps(keyless.bundle), root, identity=IDENTITY, issuer=ISSUER)
    assert said.accepted, said
    assert (said.identity, base64.b64decode(said.payload)) == (IDENTITY, STATEMENT)


@ANYWHERE
def test_sigstore_js_refuses_a_changed_keyless_bundle(
    sigstore: LoopbackSigstore, keyless: Signed, change: Callable[[Bundle, Bundle], None]
) -> None:
    root = json.dumps(sigstore.trusted_root())
    said = nodekit.verify_keyless(changed(keyless, change), root, identity=IDENTITY, issuer=ISSUER)
    assert not said.accepted
    assert said.code.endswith("_ERROR"), said


@pytest.mark.parametrize(
    ("identity", "issuer"),
    [
        (IDENTITY + "x", ISSUER),
        (IDENTITY[:-1], ISSUER),
        (IDENTITY.replace(".", "x"), ISSUER),
        (IDENTITY, "https://example.org"),
    ],
    ids=["longer", "shorter", "as-a-pattern", "issuer"],
)
def test_sigstore_js_refuses_another_signer(
    sigstore: LoopbackSigstore, keyless: Signed, identity: str, issuer: str
) -> None:
    root = json.dumps(sigstore.trusted_root())
    said = nodekit.verify_keyless(json.dumps(keyless.bundle), root, identity=identity, issuer=issuer)
    assert said.code == "UNTRUSTED_SIGNER_ERROR"


def test_sigstore_js_refuses_another_root(keyless: Signed) -> None:
    with LoopbackSigstore() as other:
        root = json.dumps(other.trusted_root())
    said = nodekit.verify_keyless(json.dumps(keyless.bundle), root, identity=IDENTITY, issuer=ISSUER)
    assert not said.accepted


# ---- from end to end: what the commands write


@dataclass(frozen=True, kw_only=True)
class Work:
    """A folder with a model `tuned` and keys, and a Sigstore for the commands that are run in it."""

    folder: Path
    sigstore: LoopbackSigstore

    def auditor(self, *arguments: str) -> None:
        done = self.run("-m", "auditor", *arguments)
        assert done.returncode == 0, done.stderr

    def attest(self, *arguments: str) -> None:
        self.auditor(
            "attest", "tuned", "-a", "base.sketch", "-o", "a.json", "--oms", "model.sig", *arguments
        )  # fmt: skip

    def model_signing(self, *arguments: str, refuses: str | None = None) -> None:
        """Run a command of model_signing, which must succeed or say this."""
        done = self.run("-m", "model_signing", *arguments)
        if refuses is None:
            assert done.returncode == 0, done.stdout + done.stderr
        else:
            assert done.returncode != 0
            assert refuses in done.stdout + done.stderr

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=os.environ | self.sigstore.github_env(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture
def work(tmp_path: Path, sigstore: LoopbackSigstore) -> Work:
    write_tuned(tmp_path / "tuned")
    write_sketch(tmp_path / "base.sketch")
    for rekor in (1, 2):
        (tmp_path / f"config{rekor}.json").write_text(sigstore.trust_config(rekor))  # type: ignore[arg-type]
    return Work(folder=tmp_path, sigstore=sigstore)


def grown(folder: Path) -> str:
    """Copy the model with one byte more, and return what the copy is called."""
    shutil.copytree(folder / "tuned", folder / "grown")
    with (folder / "grown" / "model-00001-of-00002.safetensors").open("ab") as file:
        file.write(b"\0")
    return "grown"


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_model_signing_accepts_what_a_key_signed(work: Work, kind: str) -> None:
    work.auditor("keygen", "--type", kind, "--no-passphrase", "-o", "my")
    work.attest("--key", "my.key")
    command = ("verify", "key", "--signature", "model.sig", "--public_key", "my.pub")
    work.model_signing(*command, "tuned")
    work.model_signing(*command, grown(work.folder), refuses="Hash mismatch")
    work.auditor("keygen", "--type", kind, "--no-passphrase", "-o", "other")
    work.model_signing(*command[:-1], "other.pub", "tuned", refuses="Verification failed")


def test_model_signing_accepts_a_signature_inside_of_the_model(work: Work) -> None:
    work.auditor("keygen", "--no-passphrase", "-o", "my")
    for name in (".gitattributes", ".git/config", ".cache/huggingface/x"):
        (work.folder / "tuned" / name).parent.mkdir(parents=True, exist_ok=True)
        (work.folder / "tuned" / name).write_text("x")
    work.auditor(
        "attest", "tuned", "-a", "base.sketch", "--key", "my.key", "-o", "tuned/audit.json", "--oms", "tuned/model.sig"
    )
    work.model_signing("verify", "key", "--signature", "tuned/model.sig", "--public_key", "my.pub", "tuned")


def test_model_signing_accepts_the_signature_of_a_single_file(work: Work) -> None:
    work.auditor("keygen", "--no-passphrase", "-o", "my")
    file = "tuned/model-00001-of-00002.safetensors"
    done = work.run(
        "-m", "auditor", "attest", file, "-a", "base.sketch", "--key", "my.key", "-o", "a.json", "--oms", "model.sig"
    )
    assert "attested" in done.stderr, done.stderr
    work.model_signing("verify", "key", "--signature", "model.sig", "--public_key", "my.pub", file)


@pytest.mark.parametrize("rekor", [1, 2])
def test_model_signing_accepts_what_an_identity_signed(work: Work, rekor: int) -> None:
    work.attest("--trust-config", f"config{rekor}.json")
    command = (
        "verify", "sigstore", "--signature", "model.sig", "--trust_config", f"config{rekor}.json",
        "--identity_provider", ISSUER, "--identity",
    )  # fmt: skip
    work.model_signing(*command, IDENTITY, "tuned")
    work.model_signing(*command, IDENTITY, grown(work.folder), refuses="Hash mismatch")
    work.model_signing(*command, f"{IDENTITY}x", "tuned", refuses="Verification failed")


def test_model_signing_gives_the_same_root_and_the_same_files(work: Work) -> None:
    """Its command has no `digest`, so what it signs is held against what we sign."""
    work.auditor("keygen", "--no-passphrase", "-o", "my")
    work.attest("--key", "my.key")
    work.model_signing("sign", "key", "--signature", "theirs.sig", "--private_key", "my.key", "tuned")
    ours, theirs = (payload_of((work.folder / name).read_bytes()) for name in ("model.sig", "theirs.sig"))
    assert ours["subject"] == theirs["subject"]
    assert ours["predicate"]["resources"] == theirs["predicate"]["resources"]
    attested = payload_of((work.folder / "a.json").read_bytes())
    assert attested["subject"] == theirs["subject"]
    digest = work.run("-m", "auditor", "digest", "tuned").stdout
    assert f"{theirs['subject'][0]['digest']['sha256']}  root\n" in digest


@pytest.mark.parametrize("rekor", [1, 2])
def test_sigstore_js_reads_what_the_command_signs_by_identity(work: Work, rekor: int) -> None:
    work.attest("--trust-config", f"config{rekor}.json")
    root = json.dumps(work.sigstore.trusted_root())
    for name in ("a.json", "model.sig"):
        made = (work.folder / name).read_text()
        said = nodekit.verify_keyless(made, root, identity=IDENTITY, issuer=ISSUER)
        assert said.accepted, said
        assert json.loads(base64.b64decode(said.payload)) == payload_of(made.encode())


def test_both_read_what_the_command_signs_with_a_key(work: Work) -> None:
    work.auditor("keygen", "--no-passphrase", "-o", "my")
    work.attest("--key", "my.key")
    public = (work.folder / "my.pub").read_bytes()
    for name in ("a.json", "model.sig"):
        made = (work.folder / name).read_text()
        assert nodekit.verify_with_key(made, public).accepted
        assert json.loads(verify_envelope(made, public)) == payload_of(made.encode())


# ---- what is no judgement


def test_without_node_there_is_an_error_and_no_judgement(
    key: keys.PrivateKey, by_key: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodekit.install()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(nodekit.NodeKitError, match=r"node is not installed: these tests want Node\.js 20"):
        nodekit.verify_with_key(json.dumps(by_key.bundle), public_pem(key))


def test_a_key_that_is_none_is_no_judgement(by_key: Signed) -> None:
    with pytest.raises(nodekit.NodeKitError, match="gave no judgement"):
        nodekit.verify_with_key(json.dumps(by_key.bundle), b"not a key")
