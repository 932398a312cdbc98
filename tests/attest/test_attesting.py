"""From an audit to a signed attestation: what is signed, what is written, and that nothing is where something fails."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pytest
from attestkit import BASE, DERIVED, Signed, listing, no_network, options, payload_of, trust, write_tuned
from loopback_sigstore import IDENTITY, ISSUER
from modelkit import make_model, safetensors_bytes, write_model

from auditor.attest import ByIdentity, ByKey, KeylessSigner, KeySigner, keyless, keys
from auditor.attest.bundle import parse_bundle, sign_with_key, verify_with_key
from auditor.attest.errors import (
    BadKey,
    BadSignature,
    BadStatement,
    BadToken,
    BadTrust,
    FilesDiffer,
    NoCredential,
    NotPassed,
    SelfCheckFailed,
    ServiceFailed,
    SigningError,
    Unattestable,
    WrongKey,
    WrongPredicate,
    WrongResource,
)
from auditor.attest.statement import EXTENSION
from auditor.attesting import attest, policy_of, target_name, verify, verify_model_signature
from auditor.audit import Options
from auditor.errors import AuditError, TargetError, UsageError
from auditor.sources import LocalSource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from loopback_sigstore import LoopbackSigstore
    from loopback_sigstore.faults import Service

    from auditor.attest import Signer
    from auditor.attesting import Attested, Verified
    from auditor.sources import Range

pytest_plugins = ("attestfixtures",)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A copy of the model to work on, and a folder for what is signed."""

    model: Path
    out: Path
    options: Options
    key: keys.PrivateKey

    def attest(self, signer: Signer | None = None, **changed: Any) -> Attested:  # noqa: ANN401 (any argument)
        arguments: dict[str, Any] = {"output": self.out / "a.json", **changed}
        return attest(
            str(arguments.pop("target", self.model)),
            arguments.pop("options", self.options),
            signer=signer or KeySigner(self.key),
            **arguments,
        )

    def verify(self, attestation: Path | None = None, **changed: Any) -> Verified:  # noqa: ANN401 (any argument)
        arguments: dict[str, Any] = {
            "voucher": ByKey(self.key.public_key()),
            "policy_sha256": policy_of(self.options).sha256,
            **changed,
        }
        target = str(arguments.pop("target", self.model))
        return verify(attestation or self.out / "a.json", target, **arguments)

    @property
    def said(self) -> dict[str, Any]:
        return payload_of((self.out / "a.json").read_bytes())


@pytest.fixture
def bench(signed: Signed, tmp_path: Path) -> Bench:
    (tmp_path / "out").mkdir()
    return Bench(
        model=shutil.copytree(signed.model, tmp_path / "tuned"),
        out=tmp_path / "out",
        options=options(signed.reference),
        key=signed.key,
    )


# ---- signing, and verifying offline


@pytest.mark.parametrize("rekor", [1, 2])
@pytest.mark.parametrize("resource", [None, "hf://acme/tuned@5ca1ab1e"])
def test_signed_by_identity_and_verified_offline(
    bench: Bench,
    sigstore: LoopbackSigstore,
    monkeypatch: pytest.MonkeyPatch,
    rekor: Literal[1, 2],
    resource: str | None,
) -> None:
    done = bench.attest(KeylessSigner(trust(sigstore, rekor), sigstore.token), resource=resource)
    assert (done.passed, done.files, done.signer) == (True, 5, f"{IDENTITY}, vouched for by {ISSUER}")
    assert done.root == bench.said["subject"][0]["digest"]["sha256"]
    root = keyless.load_trust(json.dumps(sigstore.trusted_root()).encode())
    no_network(monkeypatch)
    voucher = ByIdentity(identity=IDENTITY, issuer=ISSUER, trust=root)
    verified = bench.verify(voucher=voucher, resource=resource)
    assert verified.statement.resource == (resource or "pkg:generic/tuned")
    assert verified.resource_checked is (resource is not None)
    with pytest.raises(WrongResource):
        bench.verify(voucher=voucher, resource="hf://acme/tuned@0ddba11")


@pytest.mark.parametrize("kind", keys.KEY_TYPES)
def test_signed_with_a_key_without_any_network(bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    no_network(monkeypatch)
    key = keys.generate(kind)
    done = bench.attest(KeySigner(key))
    assert done.signer == f"key {keys.hint(key.public_key())[:16]}"
    assert bench.verify(voucher=ByKey(key.public_key())).statement.passed
    with pytest.raises(WrongKey):
        bench.verify(voucher=ByKey(keys.generate(kind).public_key()))


def test_a_single_file_is_attested_too(bench: Bench) -> None:
    file = bench.out / "w.safetensors"
    file.write_bytes(safetensors_bytes(DERIVED))
    assert bench.attest(target=file).files == 1
    assert bench.said["subject"][0]["name"] == "w.safetensors"
    assert bench.verify(target=file).statement.passed
    file.write_bytes(safetensors_bytes(BASE))
    with pytest.raises(FilesDiffer):
        bench.verify(target=file)


def test_an_attestation_may_lie_in_the_model_that_it_is_about(bench: Bench) -> None:
    inside = bench.model / "audit.sigstore.json"
    for _ in range(2):  # and be replaced there
        bench.attest(output=inside, oms=bench.model / "sub.sig")
        assert bench.verify(inside).statement.passed
    moved = bench.out / "a.json"
    inside.rename(moved)
    assert bench.verify(moved).statement.passed


def test_what_does_not_pass_is_signed_as_such(bench: Bench) -> None:
    (bench.model / "extra.bin").write_bytes(b"\x80\x02}q\x00.")  # a pickle, which is not read
    done = bench.attest()
    assert (done.passed, done.audit.report.exit_code) == (False, 3)
    assert bench.said["predicate"]["verificationResult"] == "FAILED"
    assert bench.said["predicate"]["verifiedLevels"] == ["FAILED"]
    with pytest.raises(NotPassed):
        bench.verify()


def test_an_inconclusive_audit_never_passes(bench: Bench) -> None:
    small = write_model(make_model(3, layers=1, neurons=6), bench.out / "small")
    done = bench.attest(target=small, options=Options(against=(str(small),)))
    assert done.audit.report.lineage.verdict == "inconclusive"
    assert (done.passed, done.audit.report.exit_code) == (False, 0)
    with pytest.raises(NotPassed):
        bench.verify(target=small)


def test_the_licence_is_always_part_of_it(bench: Bench) -> None:
    bench.attest(options=Options(against=bench.options.against, licence=False))
    found = {finding["id"] for finding in bench.said["predicate"][EXTENSION]["report"]["findings"]}
    assert "LIC-001" in found


def test_the_references_and_the_words_of_people_are_in_it(bench: Bench) -> None:
    settings = bench.out / "auditor.toml"
    settings.write_text(
        '[[statement]]\nrule = "MAU-001"\nstatement = "fewer"\nwho = "Ada"\nwhen = 2026-01-01\nuntil = 2028-01-01\n'
        '[[waiver]]\nrule = "LIC-001"\nsubject = "tuned"\nreason = "r"\nowner = "Ada"\nexpires = 2026-01-02\n'
    )
    bench.attest(options=Options(against=bench.options.against, config=str(settings)))
    held = bench.said["predicate"][EXTENSION]
    assert [reference["name"] for reference in held["references"]] == ["base"]
    assert len(held["references"][0]["sketch_sha256"]) == 64
    assert (held["statements"][0]["who"], held["waivers"][0]["expires"]) == ("Ada", "2026-01-02")


@pytest.mark.parametrize("where", ["absolute", "relative"])
def test_no_path_of_the_machine_is_in_it(bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    base = write_model(BASE, bench.out / "base")
    settings = bench.out / "auditor.toml"
    settings.write_text(
        '[[waiver]]\nrule = "LIC-001"\nsubject = "*"\nreason = "r"\nowner = "Ada"\nexpires = 2026-01-02\n'
    )
    policy = bench.out / "mine.toml"
    policy.write_text('extends = "llama2"\nname = "mine"\ntitle = "Mine"\nreferences = ["*base*"]\n')
    (bench.model / "config.json").write_text(json.dumps({"_name_or_path": "elsewhere"}))
    monkeypatch.chdir(bench.out)
    spelled = {path: str(path) if where == "absolute" else os.path.relpath(path) for path in (base, settings, policy)}
    target = bench.model if where == "absolute" else os.path.relpath(bench.model)
    bench.attest(
        target=target,
        options=Options(against=(spelled[base],), config=spelled[settings], policies=(spelled[policy],)),
        oms=bench.out / "model.sig",
    )
    statement = bench.said["predicate"][EXTENSION]
    assert "base" in json.dumps(statement["report"]["findings"])  # its name is told: "share descent with base"
    assert "auditor.toml" in json.dumps(statement["report"]["findings"])
    for path in (bench.out / "a.json", bench.out / "model.sig"):
        text = json.dumps(payload_of(path.read_bytes()))
        for told in (str(bench.out.parent), bench.out.parent.name, "../", "/tmp", os.environ.get("HOME", "/home")):  # noqa: S108
            assert told not in text, told


def test_the_same_model_gives_the_same_statement(bench: Bench) -> None:
    bench.attest()
    one = bench.said
    elsewhere = shutil.copytree(bench.model, bench.out / "elsewhere" / "tuned")
    bench.attest(target=elsewhere, output=bench.out / "a.json")
    two = bench.said
    for said in (one, two):
        del said["predicate"]["timeVerified"]
    assert one == two


def test_a_target_is_called_by_its_last_part(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench.model)
    assert target_name(".") == target_name(str(bench.model)) == "tuned"
    assert target_name("hf://acme/tuned@main") == target_name("acme/tuned@main") == "acme/tuned"


# ---- nothing is written where something fails


def unhashable(kind: str) -> Callable[[Path], None]:
    def make(model: Path) -> None:
        if kind == "link":
            (model / "out.json").symlink_to("/etc/hostname")
        elif kind == "dangling":
            (model / "out.json").symlink_to("nowhere")
        elif kind == "fifo":
            os.mkfifo(model / "pipe")
        else:
            (model / os.fsdecode(b"\xff")).write_text("")

    return make


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "name"])
def test_what_cannot_be_vouched_for_is_not_signed(bench: Bench, kind: str) -> None:
    unhashable(kind)(bench.model)
    with pytest.raises(Unattestable, match="it cannot be vouched for") as caught:
        bench.attest(oms=bench.out / "model.sig")
    assert caught.value.code == "unhashed"
    assert listing(bench.out) == {}


def test_a_file_that_changes_while_it_is_hashed_is_not_signed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real = LocalSource.read

    def read(self: LocalSource, path: str, ranges: Sequence[Range]) -> list[bytes]:
        file = bench.model / path
        if path.endswith("2-of-00002.safetensors") and ranges[0] == (0, file.stat().st_size):  # hashing takes it whole
            with file.open("ab") as growing:
                growing.write(b"\0")
        return real(self, path, ranges)

    monkeypatch.setattr(LocalSource, "read", read)
    with pytest.raises(Unattestable, match="changed while it was read"):
        bench.attest(oms=bench.out / "model.sig")
    assert listing(bench.out) == {}


class BrokenSigner(KeySigner):
    """Signs the first statement, and fails at the second."""

    def __init__(self, key: keys.PrivateKey, *, after: int) -> None:
        super().__init__(key)
        object.__setattr__(self, "left", after)

    __slots__ = ("left",)

    def sign(self, payload: bytes) -> bytes:
        if not self.left:
            raise ServiceFailed(service="x", problem="y")
        object.__setattr__(self, "left", self.left - 1)
        return super().sign(payload)


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("there", ["", "a.json", "model.sig", "a.json model.sig"])
def test_both_are_signed_or_neither_is_written(bench: Bench, signed: Signed, after: int, there: str) -> None:
    for name in there.split():
        (bench.out / name).write_bytes(signed.others["key"])
    before = listing(bench.out)
    with pytest.raises(ServiceFailed):
        bench.attest(BrokenSigner(bench.key, after=after), oms=bench.out / "model.sig")
    assert listing(bench.out) == before


@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("bad", ["no/such/folder/x", "folder"])
def test_both_are_written_or_neither_is(bench: Bench, signed: Signed, there: bool, bad: str) -> None:  # noqa: FBT001
    if there:
        (bench.out / "a.json").write_bytes(signed.others["key"])
    (bench.out / "folder").mkdir()
    before = listing(bench.out)
    with pytest.raises(UsageError, match="cannot be written"):
        bench.attest(oms=bench.out / bad)
    with pytest.raises(UsageError, match="cannot be written"):
        bench.attest(output=bench.out / bad, oms=bench.out / "a.json")
    assert listing(bench.out) == before


def test_two_signatures_do_not_go_into_one_file(bench: Bench) -> None:
    for oms in (bench.out / "a.json", bench.out / "." / "a.json", bench.out / ".." / "out" / "a.json"):
        with pytest.raises(UsageError, match="two signatures in one file"):
            bench.attest(oms=oms)
    assert listing(bench.out) == {}


def test_a_file_of_the_model_is_never_overwritten(bench: Bench) -> None:
    (bench.out / "link.json").symlink_to(bench.model / "config.json")
    single = bench.out / "w.safetensors"
    single.write_bytes(safetensors_bytes(DERIVED))
    before = listing(bench.model) | listing(bench.out)
    for output in (bench.model / "config.json", bench.model / "README.md", bench.out / "link.json"):
        with pytest.raises(UsageError, match="is not overwritten"):
            bench.attest(output=output)
        with pytest.raises(UsageError, match="is not overwritten"):
            bench.attest(oms=output)
    with pytest.raises(UsageError, match="is not overwritten"):
        bench.attest(target=single, output=single)
    assert listing(bench.model) | listing(bench.out) == before


FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], type[SigningError], str]] = {
    "fulcio 500": ({"service": "fulcio", "status": 500}, {}, ServiceFailed, "service"),
    "fulcio 403": ({"service": "fulcio", "status": 403}, {}, ServiceFailed, "service"),
    "rekor 503": ({"service": "rekor", "status": 503}, {}, ServiceFailed, "service"),
    "rekor in HTML": ({"service": "rekor", "status": 201, "body": b"<html>"}, {}, ServiceFailed, "service"),
    "tsa 500": ({"service": "tsa", "status": 500}, {}, ServiceFailed, "service"),
    "tsa hangs up": ({"service": "tsa", "status": None}, {}, ServiceFailed, "service"),
    "an expired token": ({}, {"exp": 1_700_000_000}, BadToken, "bad-token"),
    "another audience": ({}, {"aud": "x"}, BadToken, "bad-token"),
}


@pytest.mark.parametrize(("case", "rekor"), [*((case, 2) for case in FAULTS), ("rekor 503", 1), ("tsa 500", 1)])
def test_nothing_is_written_where_sigstore_fails(
    bench: Bench,
    signed: Signed,
    sigstore: LoopbackSigstore,
    monkeypatch: pytest.MonkeyPatch,
    rekor: Literal[1, 2],
    case: str,
) -> None:
    """An attestation that is there stays as it was, and a model.sig that is not there stays away."""
    fault, claims, error, code = FAULTS[case]
    (bench.out / "a.json").write_bytes(signed.others["key"])
    before = listing(bench.out)
    monkeypatch.setattr(keyless, "TRIES", 1)
    if fault:
        sigstore.fail(fault["service"], **{key: value for key, value in fault.items() if key != "service"})
    token = sigstore.token(**claims)
    with pytest.raises(AuditError) as caught:
        bench.attest(KeylessSigner(trust(sigstore, rekor), lambda: token), oms=bench.out / "model.sig")
    assert (type(caught.value), caught.value.code) == (error, code)
    assert token not in str(caught.value)
    assert listing(bench.out) == before


@pytest.mark.parametrize("service", ["fulcio", "rekor", "tsa"])
def test_nothing_is_written_where_sigstore_is_not_there(
    bench: Bench, sigstore: LoopbackSigstore, monkeypatch: pytest.MonkeyPatch, service: Service
) -> None:
    monkeypatch.setattr(keyless, "TRIES", 1)
    with pytest.raises(ServiceFailed):
        bench.attest(KeylessSigner(trust(sigstore, 2, unreachable=[service]), sigstore.token))
    assert listing(bench.out) == {}


def test_nothing_is_written_where_it_does_not_verify(bench: Bench, sigstore: LoopbackSigstore) -> None:
    config = json.loads(sigstore.trust_config(1))
    config["trustedRoot"]["tlogs"] = config["trustedRoot"]["tlogs"][1:]  # the log that is written to is not trusted
    mistrustful = keyless.load_trust(json.dumps(config).encode())
    with pytest.raises((SelfCheckFailed, ServiceFailed)):
        bench.attest(KeylessSigner(mistrustful, sigstore.token))
    assert listing(bench.out) == {}


def test_there_is_no_falling_back(bench: Bench, sigstore: LoopbackSigstore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked for an identity gets an identity or nothing, and no key is made or looked for."""

    def no_key(*_: object, **__: object) -> None:
        raise AssertionError("a key was used")

    for name in ("generate", "load_private", "sign"):
        monkeypatch.setattr(keys, name, no_key)
    monkeypatch.setattr("auditor.attest.bundle.sign_with_key", no_key)
    for name, value in sigstore.github_env(unreachable=True).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NoCredential):
        bench.attest(KeylessSigner(trust(sigstore), keyless.ambient_token))
    root = keyless.load_trust(json.dumps(sigstore.trusted_root()).encode())
    with pytest.raises(BadTrust):
        bench.attest(KeylessSigner(root, sigstore.token))
    assert listing(bench.out) == {}


def test_a_target_that_is_not_there_is_said_before_anything_is_signed(bench: Bench, sigstore: LoopbackSigstore) -> None:
    with pytest.raises(TargetError):
        bench.attest(KeylessSigner(trust(sigstore), sigstore.token), target=bench.out / "nowhere")
    assert sigstore.requests == {}


# ---- the signature of the base model


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, keys.PrivateKey]:
    """A base model with a `model.sig` that model_signing made."""
    from model_signing import signing  # noqa: PLC0415 (.5 s)

    folder = tmp_path_factory.mktemp("upstream")
    model, key = write_model(BASE, folder / "base", shards=2), keys.generate()
    (folder / "k").write_bytes(keys.private_pem(key, None))
    signing.Config().use_elliptic_key_signer(private_key=folder / "k").sign(model, model / "model.sig")
    return model, key


def test_the_signature_of_the_base_model_is_verified_and_recorded(
    bench: Bench, upstream: tuple[Path, keys.PrivateKey]
) -> None:
    model, key = upstream
    evidence = verify_model_signature(model, ByKey(key.public_key()))
    bench.attest(inputs=(evidence,))
    assert bench.said["predicate"]["inputAttestations"] == [
        {"uri": "pkg:generic/base#model.sig", "digest": {"sha256": evidence.sha256}}
    ]
    (held,) = bench.said["predicate"][EXTENSION]["inputs"]
    assert held["signer"] == f"key {keys.hint(key.public_key())[:16]}"
    assert held["subject"] == parse_subject(model / "model.sig")
    assert bench.verify().statement.passed


def parse_subject(path: Path) -> str:
    digest: str = payload_of(path.read_bytes())["subject"][0]["digest"]["sha256"]
    return digest


def _grow(model: Path) -> None:
    with (model / "model-00001-of-00002.safetensors").open("ab") as file:
        file.write(b"\0")


UPSTREAM: dict[str, tuple[Callable[[Path], object], type[AuditError]]] = {
    "a changed file": (_grow, FilesDiffer),
    "a missing file": (lambda model: (model / "model-00002-of-00002.safetensors").unlink(), FilesDiffer),
    "another file": (lambda model: (model / "x.bin").write_text("x"), FilesDiffer),
    "no signature": (lambda model: (model / "model.sig").unlink(), UsageError),
}


@pytest.mark.parametrize("case", UPSTREAM)
def test_a_base_model_that_is_not_the_signed_one(
    upstream: tuple[Path, keys.PrivateKey], tmp_path: Path, case: str
) -> None:
    change, error = UPSTREAM[case]
    model = shutil.copytree(upstream[0], tmp_path / "base")
    change(model)
    with pytest.raises(error):
        verify_model_signature(model, ByKey(upstream[1].public_key()))


def test_a_base_model_signed_by_somebody_else(
    upstream: tuple[Path, keys.PrivateKey], tmp_path: Path, bench: Bench
) -> None:
    model = shutil.copytree(upstream[0], tmp_path / "base")
    path = model / "model.sig"
    with pytest.raises(WrongKey):
        verify_model_signature(model, ByKey(keys.generate().public_key()))
    bundle = json.loads(path.read_bytes())
    bundle["dsseEnvelope"]["payload"] = bundle["dsseEnvelope"]["payload"][:-8] + "AAAAAAAA"
    path.write_text(json.dumps(bundle))
    with pytest.raises(BadSignature):
        verify_model_signature(model, ByKey(upstream[1].public_key()))
    bench.attest()
    shutil.copy(bench.out / "a.json", path)  # an attestation is no signature of the model
    with pytest.raises(WrongPredicate):
        verify_model_signature(model, ByKey(bench.key.public_key()))


@pytest.mark.parametrize("path", [("subject",), ("predicate", "resources"), ("predicate", "serialization")])
@pytest.mark.parametrize("junk", [None, 5, "x", [], {}, [None], [[]], [{}]])
def test_a_malformed_model_signature(
    upstream: tuple[Path, keys.PrivateKey], tmp_path: Path, path: tuple[str, ...], junk: object
) -> None:
    from attestkit import replaced  # noqa: PLC0415

    model = shutil.copytree(upstream[0], tmp_path / "base")
    said = replaced(payload_of((model / "model.sig").read_bytes()), path, junk)
    (model / "model.sig").write_bytes(sign_with_key(upstream[1], json.dumps(said).encode()))
    with pytest.raises(BadStatement):
        verify_model_signature(model, ByKey(upstream[1].public_key()))


def test_our_own_model_signature_is_read_again(bench: Bench) -> None:
    oms = bench.model / "model.sig"
    done = bench.attest(oms=oms)
    evidence = verify_model_signature(bench.model, ByKey(bench.key.public_key()))
    assert evidence.subject == done.root
    signed_payload = verify_with_key(parse_bundle(oms.read_bytes(), file="s"), bench.key.public_key())
    assert json.loads(signed_payload)["predicateType"] == "https://model_signing/signature/v1.0"


def test_a_model_that_is_written_anew_is_the_same(bench: Bench) -> None:
    """Verification is about bytes: a model written again from the same seed has the same ones."""
    bench.attest()
    again = write_tuned(bench.out / "again")
    assert bench.verify(target=again).statement.passed


def test_a_key_that_cannot_be_read_signs_nothing() -> None:
    with pytest.raises(BadKey):
        KeySigner(keys.load_private(b"junk", file="k"))
