"""One table of everything that can be wrong with an attestation or with the files it is about, and the exact reason.

Each row changes a good attestation of a good model, or the model, or what is expected of them. Beside them stands the
benign twin: what was not changed verifies.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from attestkit import FIRST, KEYLESS, KINDS, REMOVED, SECOND, Kind, Signed, b64, listing, payload_of, replaced
from loopback_sigstore import IDENTITY, ISSUER, LoopbackSigstore

from auditor.attest import ByIdentity, ByKey, keyless, keys, make_manifest, oms_statement
from auditor.attest.bundle import sign_with_key
from auditor.attest.errors import (
    AttestationTooLarge,
    BadAttestation,
    BadLogEntry,
    BadSignature,
    BadStatement,
    BadTimestamp,
    FilesDiffer,
    NotPassed,
    NotYet,
    SignatureCount,
    TooOld,
    Unhashed,
    UntrustedCertificate,
    WrongIdentity,
    WrongIssuer,
    WrongKey,
    WrongKind,
    WrongPayloadType,
    WrongPolicy,
    WrongPredicate,
    WrongResource,
    WrongVerifier,
)
from auditor.attest.statement import EXTENSION
from auditor.errors import AuditError, TargetError, UsageError
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest_plugins = ("attestfixtures",)


@dataclass(kw_only=True)
class Case:
    """What a row of the table changes."""

    signed: Signed
    kind: Kind
    model: Path
    data: bytes
    expected: dict[str, Any] = field(default_factory=dict)

    @property
    def other(self) -> bytes:
        return self.signed.others[self.kind]

    def put(self, *path: str | int, value: object) -> None:
        """Replace a value of the bundle."""
        self.data = json.dumps(replaced(json.loads(self.data), path, value)).encode()

    def take(self, *path: str | int) -> None:
        """Replace a part of the bundle by the other bundle's."""
        part: Any = json.loads(self.other)
        for key in path:
            part = part[key]
        self.put(*path, value=part)

    def say(self, *path: str | int, value: object) -> None:
        """Replace a value of the statement, and sign it anew."""
        self.data = self.signed.resigned(replaced(payload_of(self.data), path, value))


def weights(case: Case) -> Path:
    return case.model / "model-00001-of-00002.safetensors"


# ---- the files


def tampered(case: Case) -> None:
    with weights(case).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))


def longer(case: Case) -> None:
    with (case.model / "README.md").open("a") as file:
        file.write("x")


def missing(case: Case) -> None:
    (case.model / "README.md").unlink()


def extra(case: Case) -> None:
    (case.model / "sub").mkdir()
    (case.model / "sub" / "extra.py").write_text("")


def hidden(case: Case) -> None:
    (case.model / ".hidden").write_text("")


def renamed(case: Case) -> None:
    (case.model / "config.json").rename(case.model / "config.json.bak")


def swapped_names(case: Case) -> None:
    """The root digest of two files of equal content swapped is the same; these differ."""
    one, two = case.model / "README.md", case.model / "config.json"
    (case.model / "x").write_bytes(one.read_bytes())
    two.replace(one)
    (case.model / "x").replace(two)


def link_out(case: Case) -> None:
    outside = case.model.parent / "outside"
    outside.write_bytes((case.model / "README.md").read_bytes())
    (case.model / "README.md").unlink()
    (case.model / "README.md").symlink_to(outside)


def fifo(case: Case) -> None:
    (case.model / "README.md").unlink()
    os.mkfifo(case.model / "README.md")


def new_fifo(case: Case) -> None:
    os.mkfifo(case.model / "pipe")


def unreadable_name(case: Case) -> None:
    (case.model / os.fsdecode(b"\xff.bin")).write_text("")


def another_model(case: Case) -> None:
    (case.model / "README.md").write_text("another")
    weights(case).write_bytes(b"another")


def emptied(case: Case) -> None:
    for path in case.model.iterdir():
        path.unlink()


# ---- the bundle


def payload(case: Case) -> None:
    case.take("dsseEnvelope", "payload")


def signature(case: Case) -> None:
    case.take("dsseEnvelope", "signatures")


def certificate(case: Case) -> None:
    case.take("verificationMaterial", "certificate")


def log_entry(case: Case) -> None:
    case.take("verificationMaterial", "tlogEntries")


def checkpoint(case: Case) -> None:
    case.take("verificationMaterial", "tlogEntries", 0, "inclusionProof", "checkpoint")


def inclusion(case: Case) -> None:
    case.take("verificationMaterial", "tlogEntries", 0, "inclusionProof", "rootHash")


def promise(case: Case) -> None:
    case.take("verificationMaterial", "tlogEntries", 0, "inclusionPromise")


def no_log_entry(case: Case) -> None:
    case.put("verificationMaterial", "tlogEntries", value=[])


def timestamp(case: Case) -> None:
    case.take("verificationMaterial", "timestampVerificationData")


def no_timestamp(case: Case) -> None:
    case.put("verificationMaterial", "timestampVerificationData", value={"rfc3161Timestamps": []})


def many_timestamps(case: Case) -> None:
    (one,) = json.loads(case.data)["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    case.put("verificationMaterial", "timestampVerificationData", value={"rfc3161Timestamps": [one] * 2})


def no_signature(case: Case) -> None:
    case.put("dsseEnvelope", "signatures", value=[])


def two_signatures(case: Case) -> None:
    one, two = (json.loads(data)["dsseEnvelope"]["signatures"] for data in (case.data, case.other))
    case.put("dsseEnvelope", "signatures", value=one + two)


def junk_payload(case: Case) -> None:
    case.put("dsseEnvelope", "payload", value="{}")


def junk_signature(case: Case) -> None:
    case.put("dsseEnvelope", "signatures", 0, "sig", value="?" * 96)


def junk_certificate(case: Case) -> None:
    case.put("verificationMaterial", "certificate", "rawBytes", value="?")


def certificate_of_junk(case: Case) -> None:
    case.put("verificationMaterial", "certificate", "rawBytes", value=b64(b"junk"))


def junk_timestamp(case: Case) -> None:
    case.put(
        "verificationMaterial", "timestampVerificationData",
        value={"rfc3161Timestamps": [{"signedTimestamp": b64(b"junk")}]},
    )  # fmt: skip


def media_type(case: Case) -> None:
    case.put("mediaType", value="application/vnd.dev.sigstore.bundle.v0.4+json")


def payload_type(case: Case) -> None:
    case.put("dsseEnvelope", "payloadType", value="application/json")


def huge(case: Case) -> None:
    case.data += b" " * LIMITS.attestation_bytes


def deep(case: Case) -> None:
    case.put("deep", value=None)
    case.data = case.data.replace(b"null", b"[" * 10_000 + b"]" * 10_000)


def duplicate_key(case: Case) -> None:
    case.data = case.data.strip()[:-1] + b', "dsseEnvelope": {}}'


def not_json(case: Case) -> None:
    case.data = b"\x80\x02}q\x00."


def empty(case: Case) -> None:
    case.data = b""


def cut(case: Case) -> None:
    case.data = case.data[: len(case.data) // 2]


# ---- whose word is believed


def wrong_key(case: Case) -> None:
    case.expected["voucher"] = ByKey(keys.generate().public_key())


def key_of_another_type(case: Case) -> None:
    case.expected["voucher"] = ByKey(keys.generate("ed25519").public_key())


def wrong_hint(case: Case) -> None:
    case.put("verificationMaterial", "publicKey", "hint", value=keys.hint(keys.generate().public_key()))


def wrong_key_without_a_hint(case: Case) -> None:
    case.put("verificationMaterial", "publicKey", "hint", value="")
    wrong_key(case)


def resigned_by_another(case: Case) -> None:
    case.data = sign_with_key(keys.generate(), json.dumps(payload_of(case.data)).encode())


def resigned_by_another_in_the_name_of_the_first(case: Case) -> None:
    resigned_by_another(case)
    hint = keys.hint(case.signed.key.public_key())
    case.put("verificationMaterial", "publicKey", "hint", value=hint)


def asked_by_identity(case: Case) -> None:
    case.expected["voucher"] = case.signed.voucher("rekor-2")


def asked_by_key(case: Case) -> None:
    case.expected["voucher"] = case.signed.voucher("key")


def as_if_by_key(case: Case) -> None:
    case.put("verificationMaterial", value={"publicKey": {"hint": ""}})


def by(case: Case, **changed: Any) -> None:  # noqa: ANN401 (any argument)
    known = {"identity": IDENTITY, "issuer": ISSUER, "trust": case.signed.trust}
    case.expected["voucher"] = ByIdentity(**{**known, **changed})


def wrong_identity(case: Case) -> None:
    by(case, identity=IDENTITY.replace("audit.yml", "other.yml"))


def wrong_issuer(case: Case) -> None:
    by(case, issuer="https://accounts.google.com")


def wrong_root(case: Case) -> None:
    with LoopbackSigstore() as other:
        by(case, trust=keyless.load_trust(json.dumps(other.trusted_root()).encode()))


# ---- what is said


def another_resource(case: Case) -> None:
    case.expected["resource"] = "pkg:generic/other@1"


def another_revision(case: Case) -> None:
    case.expected["resource"] = SECOND


def replayed(case: Case) -> None:
    case.data = case.other
    case.expected["resource"] = FIRST


def dated(case: Case, when: datetime) -> None:
    case.say("predicate", "timeVerified", value=f"{when:%Y-%m-%dT%H:%M:%SZ}")


def too_old(case: Case) -> None:
    dated(case, datetime.now(UTC) - timedelta(days=31))
    case.expected["max_age"] = timedelta(days=30)


def in_the_future(case: Case) -> None:
    dated(case, datetime.now(UTC) + timedelta(hours=1))


def too_old_at_once(case: Case) -> None:
    case.expected["max_age"] = timedelta(seconds=-1)


def another_verifier(case: Case) -> None:
    case.say("predicate", "verifier", "id", value="https://example.org/audits")


def asked_for_another_verifier(case: Case) -> None:
    case.expected["verifier"] = "https://example.org/audits"


def another_policy(case: Case) -> None:
    case.expected["policy_sha256"] = "0" * 64


def failed(case: Case) -> None:
    case.say("predicate", "verificationResult", value="FAILED")


def another_predicate(case: Case) -> None:
    case.say("predicateType", value="https://slsa.dev/provenance/v1")


def a_model_signature(case: Case) -> None:
    statement = oms_statement(make_manifest(()), name="m", single_file=False)
    case.data = sign_with_key(case.signed.key, statement)


def another_tools_summary(case: Case) -> None:
    case.say("predicate", EXTENSION, value=REMOVED)


def resources_do_not_add_up(case: Case) -> None:
    case.say("predicate", EXTENSION, "resources", 0, "digest", value="0" * 64)


def another_root(case: Case) -> None:
    case.say("subject", 0, "digest", "sha256", value="0" * 64)


def a_field_of_another_type(case: Case) -> None:
    case.say("predicate", "verifiedLevels", value=5)


def a_statement_in_no_language(case: Case) -> None:
    case.data = sign_with_key(case.signed.key, b"\xff\xfe")


Row = tuple["Callable[[Case], None]", "tuple[Kind, ...]", type[AuditError], str]

TABLE: tuple[Row, ...] = (
    (tampered, KINDS, FilesDiffer, "files-differ"),
    (longer, KINDS, FilesDiffer, "files-differ"),
    (missing, KINDS, FilesDiffer, "files-differ"),
    (extra, KINDS, FilesDiffer, "files-differ"),
    (hidden, ("key",), FilesDiffer, "files-differ"),
    (renamed, KINDS, FilesDiffer, "files-differ"),
    (swapped_names, KINDS, FilesDiffer, "files-differ"),
    (another_model, KINDS, FilesDiffer, "files-differ"),
    (emptied, ("key",), FilesDiffer, "files-differ"),
    (link_out, KINDS, Unhashed, "unhashed"),
    (fifo, KINDS, Unhashed, "unhashed"),
    (new_fifo, ("key",), Unhashed, "unhashed"),
    (unreadable_name, ("key",), Unhashed, "unhashed"),
    (payload, KINDS, BadSignature, "bad-signature"),
    (signature, KINDS, BadSignature, "bad-signature"),
    (certificate, KEYLESS, BadSignature, "bad-signature"),
    (log_entry, KEYLESS, BadLogEntry, "bad-log-entry"),
    (checkpoint, KEYLESS, BadLogEntry, "bad-log-entry"),
    (inclusion, KEYLESS, BadLogEntry, "bad-log-entry"),
    (promise, ("rekor-1",), BadLogEntry, "bad-log-entry"),
    (no_log_entry, KEYLESS, BadAttestation, "bad-attestation"),
    (timestamp, ("rekor-2",), BadTimestamp, "bad-timestamp"),
    (no_timestamp, ("rekor-2",), BadAttestation, "bad-attestation"),
    (many_timestamps, ("rekor-2",), BadTimestamp, "bad-timestamp"),
    (no_signature, KINDS, SignatureCount, "signature-count"),
    (two_signatures, KINDS, SignatureCount, "signature-count"),
    (junk_payload, KINDS, BadAttestation, "bad-attestation"),
    (junk_signature, KINDS, BadAttestation, "bad-attestation"),
    (junk_certificate, KEYLESS, BadAttestation, "bad-attestation"),
    (certificate_of_junk, KEYLESS, BadAttestation, "bad-attestation"),
    (junk_timestamp, ("rekor-1",), BadTimestamp, "bad-timestamp"),
    (junk_timestamp, ("rekor-2",), BadAttestation, "bad-attestation"),
    (media_type, KINDS, BadAttestation, "bad-attestation"),
    (payload_type, KINDS, WrongPayloadType, "payload-type"),
    (huge, ("key",), AttestationTooLarge, "too-large"),
    (deep, KINDS, BadAttestation, "bad-attestation"),
    (duplicate_key, KINDS, BadAttestation, "bad-attestation"),
    (not_json, KINDS, BadAttestation, "bad-attestation"),
    (empty, KINDS, BadAttestation, "bad-attestation"),
    (cut, KINDS, BadAttestation, "bad-attestation"),
    (wrong_key, ("key",), WrongKey, "wrong-key"),
    (key_of_another_type, ("key",), WrongKey, "wrong-key"),
    (wrong_hint, ("key",), WrongKey, "wrong-key"),
    (wrong_key_without_a_hint, ("key",), BadSignature, "bad-signature"),
    (resigned_by_another, ("key",), WrongKey, "wrong-key"),
    (resigned_by_another_in_the_name_of_the_first, ("key",), BadSignature, "bad-signature"),
    (asked_by_identity, ("key",), WrongKind, "signature-kind"),
    (asked_by_key, KEYLESS, WrongKind, "signature-kind"),
    (as_if_by_key, KEYLESS, WrongKind, "signature-kind"),
    (wrong_identity, KEYLESS, WrongIdentity, "wrong-identity"),
    (wrong_issuer, KEYLESS, WrongIssuer, "wrong-issuer"),
    (wrong_root, ("rekor-1",), UntrustedCertificate, "untrusted-certificate"),
    (wrong_root, ("rekor-2",), BadTimestamp, "bad-timestamp"),
    (another_resource, KINDS, WrongResource, "wrong-resource"),
    (another_revision, KINDS, WrongResource, "wrong-resource"),
    (replayed, KINDS, WrongResource, "wrong-resource"),
    (too_old, ("key",), TooOld, "too-old"),
    (too_old_at_once, KINDS, TooOld, "too-old"),
    (in_the_future, ("key",), NotYet, "not-yet"),
    (another_verifier, ("key",), WrongVerifier, "wrong-verifier"),
    (asked_for_another_verifier, KINDS, WrongVerifier, "wrong-verifier"),
    (another_policy, KINDS, WrongPolicy, "wrong-policy"),
    (failed, ("key",), NotPassed, "not-passed"),
    (another_predicate, ("key",), WrongPredicate, "predicate-type"),
    (a_model_signature, ("key",), WrongPredicate, "predicate-type"),
    (another_tools_summary, ("key",), WrongPredicate, "predicate-type"),
    (resources_do_not_add_up, ("key",), BadStatement, "bad-statement"),
    (another_root, ("key",), BadStatement, "bad-statement"),
    (a_field_of_another_type, ("key",), BadStatement, "bad-statement"),
    (a_statement_in_no_language, ("key",), BadStatement, "bad-statement"),
)


def case_of(signed: Signed, kind: Kind, folder: Path) -> Case:
    model = shutil.copytree(signed.model, folder / "tuned")
    return Case(signed=signed, kind=kind, model=model, data=signed.attestations[kind], expected={"resource": FIRST})


def write(case: Case, folder: Path) -> Path:
    attestation = folder / "a.json"
    attestation.write_bytes(case.data)
    return attestation


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_not_changed_verifies(signed: Signed, tmp_path: Path, kind: Kind) -> None:
    case = case_of(signed, kind, tmp_path)
    done = signed.verify(write(case, tmp_path), case.model, kind=kind, max_age=timedelta(days=1), **case.expected)
    assert done.statement.passed
    assert done.resource_checked
    assert len(done.statement.manifest.resources) == 5


@pytest.mark.parametrize(
    ("fault", "kind", "error", "code"),
    [
        pytest.param(fault, kind, error, code, id=f"{fault.__name__}-{kind}")
        for fault, kinds, error, code in TABLE
        for kind in kinds
    ],
)
def test_the_exact_reason(
    signed: Signed,
    tmp_path: Path,
    fault: Callable[[Case], None],
    kind: Kind,
    error: type[AuditError],
    code: str,
) -> None:
    case = case_of(signed, kind, tmp_path)
    fault(case)
    attestation = write(case, tmp_path)
    with pytest.raises(AuditError) as caught:
        signed.verify(attestation, case.model, kind=kind, **case.expected)
    assert (type(caught.value), caught.value.code) == (error, code)
    assert "\n" not in str(caught.value)


def test_every_reason_is_in_the_table() -> None:
    from auditor.attest.errors import VerificationError  # noqa: PLC0415 (only asked for its tree)

    def below(kind: type[AuditError]) -> set[type[AuditError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    assert below(VerificationError) - {VerificationError} == {error for _, _, error, _ in TABLE}


@pytest.mark.parametrize("kind", KEYLESS)
def test_a_timestamp_of_another_signature_does_not_help_where_the_log_tells_the_time(
    signed: Signed, tmp_path: Path, kind: Kind
) -> None:
    """With Rekor v1 the log vouches for the time as well: without a usable timestamp that is enough."""
    case = case_of(signed, kind, tmp_path)
    timestamp(case)
    attestation = write(case, tmp_path)
    if kind == "rekor-1":
        assert signed.verify(attestation, case.model, kind=kind).statement.passed
    else:
        with pytest.raises(BadTimestamp):
            signed.verify(attestation, case.model, kind=kind)


def test_two_files_of_equal_content_that_swap_names_are_the_same_files(signed: Signed, tmp_path: Path) -> None:
    case = case_of(signed, "key", tmp_path)
    (case.model / "x").write_bytes((case.model / "README.md").read_bytes())
    (case.model / "x").replace(case.model / "README.md")
    assert signed.verify(write(case, tmp_path), case.model).statement.passed


def test_bookkeeping_of_git_and_of_the_hub_is_no_part_of_a_model(signed: Signed, tmp_path: Path) -> None:
    case = case_of(signed, "key", tmp_path)
    for name in (".git/config", ".github/x.yml", ".cache/huggingface/x", ".gitattributes", "model.sig"):
        (case.model / name).parent.mkdir(parents=True, exist_ok=True)
        (case.model / name).write_text("x")
    assert signed.verify(write(case, tmp_path), case.model).statement.passed


def test_a_target_or_an_attestation_that_is_not_there(signed: Signed, tmp_path: Path) -> None:
    case = case_of(signed, "key", tmp_path)
    attestation = write(case, tmp_path)
    with pytest.raises(TargetError):
        signed.verify(attestation, tmp_path / "nowhere")
    for absent in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            signed.verify(absent, case.model)


def test_nothing_is_written_while_verifying(signed: Signed, tmp_path: Path) -> None:
    case = case_of(signed, "rekor-2", tmp_path)
    attestation = write(case, tmp_path)
    before = listing(tmp_path)
    signed.verify(attestation, case.model, kind="rekor-2")
    tampered(case)
    before |= {f"tuned/{weights(case).name}": weights(case).read_bytes()}
    with pytest.raises(FilesDiffer):
        signed.verify(attestation, case.model, kind="rekor-2")
    assert listing(tmp_path) == before
