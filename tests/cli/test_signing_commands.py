"""keygen, attest and verify as a user meets them: exit codes, one line for each failure, nothing secret in any."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from attestkit import (
    BASE,
    FIRST,
    KINDS,
    SECOND,
    Kind,
    Signed,
    listing,
    no_network,
    payload_of,
    replaced,
    sign_in_every_way,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from loopback_sigstore import IDENTITY, ISSUER, LoopbackSigstore
from modelkit import write_model

from auditor.attest import keyless, keys
from auditor.attest.statement import EXTENSION
from auditor.cli import main
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest_plugins = ("attestfixtures",)

PASSPHRASE = "correct horse battery"  # noqa: S105 (of keys that live as long as a test)
WORKFLOW = ("--identity", IDENTITY, "--issuer", ISSUER)


@dataclass(frozen=True, kw_only=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 (JSON)
        return json.loads(self.out)


class Shell:
    """Runs commands in this process, in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str | Path) -> Done:
        self._monkeypatch.setattr(sys, "argv", ["auditor", *map(str, arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr()
        return Done(code=int(ended.value.code or 0), out=said.out, err=said.err)

    def fails(self, *arguments: str | Path, code: int = 2) -> str:
        """Run a command that fails with one line on standard error and writes nothing, and return that line."""
        before = listing(self.folder)
        done = self(*arguments)
        assert (done.code, done.out) == (code, ""), done
        assert re.fullmatch(r"auditor: [^\n]+\n", done.err), done.err
        assert listing(self.folder) == before
        return done.err.removeprefix("auditor: ").strip()


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in list(os.environ):
        if name.startswith(("GITHUB_", "ACTIONS_", "GITLAB_", "CIRCLE", "BUILDKITE")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys, monkeypatch)


@pytest.fixture
def work(shell: Shell, signed: Signed, sigstore: LoopbackSigstore) -> Path:
    """The model `tuned`, the sketch, a key pair, attestations of each kind, and a trusted root."""
    folder = shell.folder
    shutil.copytree(signed.model, folder / "tuned")
    shutil.copy(signed.reference, folder / "base.sketch")
    (folder / "k.key").write_bytes(keys.private_pem(signed.key, None))
    (folder / "k.pub").write_bytes(keys.public_pem(signed.key.public_key()))
    for kind, data in signed.attestations.items():
        (folder / f"{kind}.json").write_bytes(data)
    (folder / "root.json").write_text(json.dumps(sigstore.trusted_root()))
    return folder


def by(kind: Kind) -> tuple[str, ...]:
    return ("--key", "k.pub") if kind == "key" else (*WORKFLOW, "--trust-config", "root.json")


def piped(text: str | bytes) -> str:
    """Return the number of a file descriptor from which this can be read."""
    reading, writing = os.pipe()
    os.write(writing, text.encode() if isinstance(text, str) else text)
    os.close(writing)
    _open.append(reading)
    return str(reading)


_open: list[int] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while _open:
        os.close(_open.pop())


def environment(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


# ---- keygen


@pytest.mark.parametrize("kind", [*keys.KEY_TYPES, None])
def test_keygen_makes_a_pair(shell: Shell, kind: str | None) -> None:
    old = os.umask(0)
    try:
        done = shell("keygen", "-o", "my", *(["--type", kind] if kind else []), "--passphrase-fd", piped(PASSPHRASE))
    finally:
        os.umask(old)
    assert (done.code, done.out) == (0, "")
    secret, public = shell.folder / "my.key", shell.folder / "my.pub"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert b"ENCRYPTED" in secret.read_bytes()
    key = keys.load_private(secret.read_bytes(), file="k", passphrase=PASSPHRASE.encode())
    assert keys.public_pem(key.public_key()) == public.read_bytes()
    assert isinstance(key, ec.EllipticCurvePrivateKey) == (kind != "ed25519")
    if isinstance(key, ec.EllipticCurvePrivateKey):
        assert key.curve.name == ("secp384r1" if kind == "p384" else "secp256r1")
    assert keys.hint(key.public_key())[:16] in done.err
    assert "my.key: keep it to yourself" in done.err
    assert PASSPHRASE not in done.err


def test_keygen_leaves_a_key_open_only_on_request(shell: Shell) -> None:
    assert shell("keygen", "--no-passphrase").code == 0
    assert keys.load_private((shell.folder / "auditor.key").read_bytes(), file="k")
    assert stat.S_IMODE((shell.folder / "auditor.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("there", ["auditor.key", "auditor.pub"])
@pytest.mark.parametrize("link", [False, True])
def test_keygen_never_overwrites(shell: Shell, there: str, link: bool) -> None:  # noqa: FBT001
    if link:
        (shell.folder / there).symlink_to("nowhere")
    else:
        (shell.folder / there).write_text("precious")
    assert "exists already, and a key is never overwritten" in shell.fails("keygen", "--no-passphrase")
    assert not (shell.folder / "nowhere").exists()


def test_keygen_without_a_terminal_asks_for_nothing(shell: Shell) -> None:
    assert "no terminal to ask at: give --passphrase-fd" in shell.fails("keygen")


def test_keygen_takes_no_empty_passphrase(shell: Shell) -> None:
    for nothing in ("", "\n", "\r\n", "\nsecond line"):
        assert "the passphrase is empty" in shell.fails("keygen", "--passphrase-fd", piped(nothing))


def test_keygen_says_where_it_cannot_write_or_read(shell: Shell) -> None:
    assert "cannot be written" in shell.fails("keygen", "--no-passphrase", "-o", "no/such/folder/k")
    assert "--passphrase-fd 987: cannot be read" in shell.fails("keygen", "--passphrase-fd", "987")
    assert "--type" in shell.fails("keygen", "--type", "rsa")


def test_a_passphrase_is_asked_for_at_a_terminal_and_not_shown(tmp_path: Path) -> None:
    said = at_a_terminal(["keygen", "-o", "k"], tmp_path, answers=[PASSPHRASE, PASSPHRASE])
    assert "Passphrase for the new key" in said
    assert PASSPHRASE not in said
    assert keys.load_private((tmp_path / "k.key").read_bytes(), file="k", passphrase=PASSPHRASE.encode())


def at_a_terminal(arguments: list[str], folder: Path, *, answers: list[str]) -> str:
    """Run a command at a terminal of its own, answer its questions, and return what was shown there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "auditor", *arguments]
    with subprocess.Popen(
        command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        shown = b""
        while select.select([ours], [], [], 30)[0]:
            try:
                more = os.read(ours, 1024)
            except OSError:  # the other side is closed
                break
            shown += more
            if shown.endswith(b": ") and answers:
                os.write(ours, answers.pop(0).encode() + b"\n")
        os.close(ours)
    assert process.returncode == 0, shown
    return shown.decode()


# ---- attest with a key, and verify


def attest(shell: Shell, *arguments: str | Path) -> Done:
    return shell("attest", "tuned", "-o", "a.json", "-a", "base.sketch", *arguments)


def test_from_a_key_to_a_verified_audit(shell: Shell, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    assert shell("keygen", "-o", "my", "--passphrase-fd", piped(f"{PASSPHRASE}\n")).code == 0
    done = attest(shell, "--key", "my.key", "--passphrase-fd", piped(f"{PASSPHRASE}\r\n"), "--oms", "model.sig")
    assert (done.code, done.out) == (0, "")
    root = payload_of((work / "a.json").read_bytes())["subject"][0]["digest"]["sha256"]
    assert done.err.splitlines()[0] == f"attested   PASSED: 5 files, root sha256 {root}"
    assert done.err.splitlines()[2:] == ["written    a.json", "written    model.sig"]
    told = shell("verify", "a.json", "tuned", "--key", "my.pub")
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith("VERIFIED  the files are the audited ones, and the audit passed\n")
    assert "resource   pkg:generic/tuned (as the signer calls it; --resource compares it)" in told.out
    assert "verdict    derived" in told.out
    data = shell("verify", "a.json", "tuned", "--key", "my.pub", "-f", "json", "--resource", "pkg:generic/tuned").json
    assert (data["verified"], data["code"], data["reason"], data["resource_checked"]) == (True, None, None, True)
    assert (data["root"], data["files"], data["lineage"]["verdict"]) == (root, 5, "derived")
    assert "model.sig" in data["ignored"]
    private = keys.load_private((work / "my.key").read_bytes(), file="my.key", passphrase=PASSPHRASE.encode())
    secret = keys.private_pem(private, None)
    everything = done.err + told.out + "".join((work / name).read_text() for name in ("a.json", "model.sig"))
    assert PASSPHRASE not in everything
    assert not any(line in everything for line in secret.decode().splitlines())


@pytest.mark.parametrize("kind", ["p384", "ed25519"])
def test_other_keys_sign_too(shell: Shell, work: Path, kind: str) -> None:  # noqa: ARG001
    assert shell("keygen", "-o", "my", "--type", kind, "--no-passphrase").code == 0
    assert attest(shell, "--key", "my.key").code == 0
    assert shell("verify", "a.json", "tuned", "--key", "my.pub").code == 0


def pem(key: Any) -> bytes:  # noqa: ANN401 (of any type)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    data: bytes = key.private_bytes(encoding, form, serialization.NoEncryption())
    return data


KEYS: dict[str, tuple[Callable[[], bytes], str | None, str]] = {
    "wrong passphrase": (lambda: keys.private_pem(keys.generate(), PASSPHRASE.encode()), "no", "passphrase is wrong"),
    "empty passphrase": (lambda: keys.private_pem(keys.generate(), PASSPHRASE.encode()), "", "passphrase is missing"),
    "not a key": (lambda: b"junk", None, "bad-key: x.key: no private key in PEM"),
    "the public half": (lambda: keys.public_pem(keys.generate().public_key()), None, "bad-key: x.key: no private key"),
    "rsa": (lambda: pem(rsa.generate_private_key(65537, 2048)), None, "bad-key: x.key: a key of another type"),
    "secp256k1": (lambda: pem(ec.generate_private_key(ec.SECP256K1())), None, "bad-key: x.key: a key of another type"),
    "too long": (lambda: b"x" * (LIMITS.key_bytes + 1), None, "x.key: more than"),
    "encrypted, and nobody to ask": (
        lambda: keys.private_pem(keys.generate(), PASSPHRASE.encode()),
        None,
        "a passphrase is needed, and there is no terminal to ask at",
    ),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_key_that_does_not_sign(shell: Shell, work: Path, case: str) -> None:
    make, passphrase, says = KEYS[case]
    data = make()
    (work / "x.key").write_bytes(data)
    extra = [] if passphrase is None else ["--passphrase-fd", piped(passphrase)]
    said = shell.fails("attest", "tuned", "-o", "a.json", "-a", "base.sketch", "--key", "x.key", *extra)
    assert says in said
    assert PASSPHRASE not in said
    assert not any(line in said for line in data.decode().splitlines()[1:-1])


USAGE: dict[str, tuple[list[str], str]] = {
    "a key and a browser": (["--key", "k.key", "--interactive"], "--key signs without Sigstore"),
    "a key and a Sigstore": (["--key", "k.key", "--trust-config", "root.json"], "--key signs without Sigstore"),
    "no such key": (["--key", "nowhere.key"], "nowhere.key: cannot be read"),
    "a trusted root to sign": (["--trust-config", "root.json"], "bad-trust: a trusted root is enough to verify"),
    "a trust configuration that is none": (["--trust-config", "k.pub"], "bad-trust: k.pub: cannot be used"),
    "one file for two": (["--key", "k.key", "--oms", "a.json"], "two signatures in one file"),
    "over the model": (["--key", "k.key", "--oms", "tuned/config.json"], "it is not overwritten"),
    "no such reference": (["--key", "k.key", "-a", "nowhere"], "nowhere"),
    "no such settings": (["--key", "k.key", "-c", "nowhere.toml"], "nowhere.toml: cannot be read"),
    "no such folder": (["--key", "k.key", "--oms", "no/such/folder/x"], "no/such/folder/x: cannot be written"),
    "an upstream and nobody who signed it": (["--key", "k.key", "--upstream", "tuned"], "give --upstream-key"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_signs_nothing(shell: Shell, work: Path, case: str) -> None:  # noqa: ARG001
    arguments, says = USAGE[case]
    assert says in shell.fails("attest", "tuned", "-o", "a.json", "-a", "base.sketch", *arguments)


def test_model_signing_takes_no_ed25519(shell: Shell, work: Path) -> None:  # noqa: ARG001
    shell("keygen", "-o", "my", "--type", "ed25519", "--no-passphrase")
    said = shell.fails("attest", "tuned", "-o", "a.json", "--key", "my.key", "--oms", "model.sig")
    assert "--oms: OpenSSF Model Signing takes keys on elliptic curves" in said


def test_what_cannot_be_vouched_for_is_one_line(shell: Shell, work: Path) -> None:
    (work / "tuned" / "out").symlink_to("/etc/hostname")
    said = shell.fails("attest", "tuned", "-o", "a.json", "-a", "base.sketch", "--key", "k.key")
    assert said.startswith("unhashed: tuned: out: symbolic link")


def test_an_audit_that_does_not_pass_has_its_own_exit_code(shell: Shell, work: Path) -> None:
    (work / "tuned" / "x.bin").write_bytes(b"\x80\x02}q\x00.")
    done = attest(shell, "--key", "k.key")
    assert done.code == 3
    assert done.err.startswith("attested   FAILED: 6 files")
    assert "not-passed: " in shell.fails("verify", "a.json", "tuned", "--key", "k.pub", code=1)


def test_scan_signs_as_well(shell: Shell, work: Path) -> None:
    done = shell("scan", "tuned", "-a", "base.sketch", "--attest", "a.json", "--key", "k.key", "-f", "json")
    assert done.code == 0
    assert done.json["lineage"]["verdict"] == "derived"
    assert "attested   PASSED" in done.err
    assert shell("verify", "a.json", "tuned", "--key", "k.pub").code == 0
    report = payload_of((work / "a.json").read_bytes())["predicate"][EXTENSION]["report"]
    assert report["findings"] == done.json["findings"]
    assert "--key is for signing: give --attest FILE too" in shell.fails("scan", "tuned", "--key", "k.key")


def test_the_policy_is_chosen_alike_on_both_sides(shell: Shell, work: Path) -> None:
    assert attest(shell, "--key", "k.key", "--profile", "internal", "--fail-on", "warn").code == 0
    said = shell.fails("verify", "a.json", "tuned", "--key", "k.pub", code=1)
    assert said.startswith("wrong-policy: a.json: policy auditor-policy:")
    both = ("--profile", "internal", "--fail-on", "warn")
    assert shell("verify", "a.json", "tuned", "--key", "k.pub", *both).code == 0
    digest = payload_of((work / "a.json").read_bytes())["predicate"]["policy"]["digest"]["sha256"]
    for spelled in (digest, f"sha256:{digest.upper()}"):
        assert shell("verify", "a.json", "tuned", "--key", "k.pub", "--policy-digest", spelled).code == 0


def test_the_base_model_is_verified_on_the_way(shell: Shell, work: Path) -> None:
    write_model(BASE, work / "base")
    done = shell("attest", "base", "-o", "base.json", "-a", "base.sketch", "--key", "k.key", "--oms", "base/model.sig")
    assert (work / "base" / "model.sig").is_file(), done
    arguments = ("--key", "k.key", "--upstream", "base", "--upstream-key", "k.pub")
    assert attest(shell, *arguments).code == 0
    predicate = payload_of((work / "a.json").read_bytes())["predicate"]
    assert predicate["inputAttestations"][0]["uri"] == "pkg:generic/base#model.sig"
    (work / "base" / "more.txt").write_text("x")
    said = shell.fails("attest", "tuned", "-o", "b.json", "-a", "base.sketch", *arguments)
    assert said == "files-differ: added: more.txt"


# ---- attest by identity


@pytest.mark.parametrize("rekor", [1, 2])
def test_a_job_signs_and_anybody_verifies_offline(
    shell: Shell,
    work: Path,
    sigstore: LoopbackSigstore,
    monkeypatch: pytest.MonkeyPatch,
    rekor: Any,  # noqa: ANN401
) -> None:
    environment(monkeypatch, sigstore.github_env())
    (work / "config.json").write_text(sigstore.trust_config(rekor))
    done = attest(shell, "--trust-config", "config.json", "--oms", "model.sig", "--resource", "hf://acme/tuned@1")
    assert done.code == 0, done.err
    assert done.err.splitlines()[1] == f"signed by  {IDENTITY}, vouched for by {ISSUER}"
    monkeypatch.delenv("GITHUB_ACTIONS")
    no_network(monkeypatch)
    for trusted in ("config.json", "root.json"):
        known = (*WORKFLOW, "--trust-config", trusted, "--resource", "hf://acme/tuned@1")
        told = shell("verify", "a.json", "tuned", *known)
        assert (told.code, told.err) == (0, "")
        assert f"signed by  {IDENTITY}, vouched for by {ISSUER}" in told.out
    request = sigstore.github_env()["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
    everything = done.err + told.out + (work / "a.json").read_text() + (work / "model.sig").read_text()
    assert request not in everything


def test_a_person_logs_in_once_and_after_the_hashing(
    shell: Shell, work: Path, sigstore: LoopbackSigstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def log_in(_: keyless.Trust) -> str:
        asked.append(listing(work))
        return sigstore.token()

    monkeypatch.setattr(keyless, "interactive_token", log_in)
    (work / "config.json").write_text(sigstore.trust_config())
    signing = ("--interactive", "--trust-config", "config.json", "--oms", "model.sig")
    assert shell("attest", "nowhere", "-o", "a.json", *signing).code == 2
    assert asked == []
    assert attest(shell, *signing).code == 0
    assert len(asked) == 1
    assert shell("verify", "a.json", "tuned", *by("rekor-2")).code == 0


IDENTITIES: dict[str, tuple[Callable[[LoopbackSigstore], dict[str, str]], str]] = {
    "none": (lambda _: {}, "no-credential: this environment offers no identity to sign with: give a key (--key)"),
    "no permission": (lambda _: {"GITHUB_ACTIONS": "true"}, "no-credential: this environment offers an identity and"),
    "refused": (
        lambda s: s.github_env() | {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of another job"},
        "no-credential: this environment offers an identity and does not give it",
    ),
    "unreachable": (
        lambda s: s.github_env(unreachable=True),
        "no-credential: this environment offers an identity and does not give it",
    ),
}


@pytest.mark.parametrize("case", IDENTITIES)
def test_without_an_identity_nothing_is_signed_and_no_key_is_used(
    shell: Shell, work: Path, sigstore: LoopbackSigstore, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    variables, says = IDENTITIES[case]
    environment(monkeypatch, variables(sigstore))
    (work / "config.json").write_text(sigstore.trust_config())
    (work / "auditor.key").write_bytes((work / "k.key").read_bytes())  # what keygen makes, in the folder
    said = shell.fails("attest", "tuned", "-o", "a.json", "-a", "base.sketch", "--trust-config", "config.json")
    assert said.startswith(says)


SERVICES: dict[str, tuple[dict[str, Any], str]] = {
    "fulcio 403": ({"service": "fulcio", "status": 403}, "service: certificate authority (Fulcio): answered HTTP 403"),
    "rekor 500": ({"service": "rekor", "status": 500}, "service: transparency log (Rekor): answered HTTP 500"),
    "tsa 500": ({"service": "tsa", "status": 500}, "service: timestamp authority: no timestamp was given"),
    "fulcio hangs up": ({"service": "fulcio", "status": None}, "service: certificate authority (Fulcio): not reached"),
}


@pytest.mark.parametrize("case", SERVICES)
def test_a_service_that_fails_is_one_line(
    shell: Shell, work: Path, sigstore: LoopbackSigstore, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    fault, says = SERVICES[case]
    monkeypatch.setattr(keyless, "TRIES", 1)
    environment(monkeypatch, sigstore.github_env())
    (work / "config.json").write_text(sigstore.trust_config())
    (work / "a.json").write_bytes((work / "key.json").read_bytes())  # one that is there stays as it is
    sigstore.fail(fault["service"], **{key: value for key, value in fault.items() if key != "service"})
    command = ("attest", "tuned", "-o", "a.json", "-a", "base.sketch", "--trust-config", "config.json", "--oms", "m")
    said = shell.fails(*command)
    assert said.startswith(says)
    assert sigstore.github_env()["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] not in said


# ---- verify, where it does not hold


def _tamper(work: Path) -> None:
    with (work / "tuned" / "model-00001-of-00002.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")


def _edit(name: str, *path: str | int, value: object) -> Callable[[Path], None]:
    def change(work: Path) -> None:
        document = json.loads((work / name).read_bytes())
        (work / name).write_text(json.dumps(replaced(document, path, value)))

    return change


def _nothing(work: Path) -> None:
    assert work.is_dir()


Fault = tuple["Callable[[Path], object]", "tuple[Kind, ...]", list[str], str, str]
REFUSED: dict[str, Fault] = {
    "a changed file": (_tamper, KINDS, [], "files-differ", "changed: model-00001-of-00002.safetensors"),
    "a missing file": (lambda w: (w / "tuned/README.md").unlink(), ("key",), [], "files-differ", "missing: README.md"),
    "another file": (lambda w: (w / "tuned/x").write_text(""), ("key",), [], "files-differ", "added: x"),
    "a renamed file": (
        lambda w: (w / "tuned/config.json").rename(w / "tuned/c.json"),
        ("key",),
        [],
        "files-differ",
        "renamed: config.json to c.json",
    ),
    "a link out": (lambda w: (w / "tuned/x").symlink_to("/etc"), ("key",), [], "unhashed", "x: cannot be read"),
    "a FIFO": (lambda w: os.mkfifo(w / "tuned/x"), ("key",), [], "unhashed", "x: cannot be read"),
    "another payload": (
        lambda w: [_edit(f"{kind}.json", "dsseEnvelope", "payload", value="e30=")(w) for kind in KINDS],
        KINDS,
        [],
        "bad-signature",
        "not made over this payload by this key",
    ),
    "no signature": (
        _edit("key.json", "dsseEnvelope", "signatures", value=[]),
        ("key",),
        [],
        "signature-count",
        "0 signatures",
    ),
    "no log entry": (
        _edit("rekor-2.json", "verificationMaterial", "tlogEntries", value=[]),
        ("rekor-2",),
        [],
        "bad-attestation",
        "log entry",
    ),
    "not JSON": (lambda w: (w / "key.json").write_text("{"), ("key",), [], "bad-attestation", "key.json: "),
    "another resource": (_nothing, KINDS, ["--resource", SECOND], "wrong-resource", f"about {FIRST}"),
    "another verifier": (_nothing, KINDS, ["--verifier-id", "https://x"], "wrong-verifier", "expected https://x"),
    "another policy": (_nothing, ("key",), ["--strict"], "wrong-policy", "auditor-policy:"),
    "another policy's digest": (_nothing, ("key",), ["--policy-digest", "0" * 64], "wrong-policy", "0000"),
    "a hostile name": (
        lambda w: (w / "tuned/a\x1b[31m\nb\u202e").write_text(""),
        ("key",),
        [],
        "files-differ",
        "added: a\\x1b[31m\\nb\\u202e",
    ),
}


@pytest.mark.parametrize(("case", "kind"), [(case, kind) for case, (_, kinds, *_) in REFUSED.items() for kind in kinds])
def test_refused_in_one_line_and_in_json(shell: Shell, work: Path, case: str, kind: Kind) -> None:
    change, _, arguments, code, says = REFUSED[case]
    change(work)
    command = ("verify", f"{kind}.json", "tuned", *by(kind), *arguments)
    said = shell.fails(*command, code=1)
    assert said.startswith(f"{code}: ")
    assert says in said
    done = shell(*command, "--format", "json")
    assert (done.code, done.err) == (1, "")
    assert (done.json["verified"], done.json["code"]) == (False, code)
    assert done.out.isascii()
    assert set(done.json) == {"verified", "code", "reason", "added", "missing", "changed", "renamed"}


def test_json_names_every_file_that_differs(shell: Shell, work: Path) -> None:
    for i in range(12):
        (work / "tuned" / f"extra{i:02}").write_text(str(i))
    (work / "tuned" / "config.json").rename(work / "tuned" / "c.json")
    _tamper(work)
    told = shell("verify", "key.json", "tuned", *by("key"), "-f", "json").json
    assert told["added"] == [f"extra{i:02}" for i in range(12)]
    assert told["renamed"] == [["config.json", "c.json"]]
    assert told["changed"] == ["model-00001-of-00002.safetensors"]
    assert told["missing"] == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--identity", IDENTITY + "x", "--issuer", ISSUER), "wrong-identity"),
        (("--identity", IDENTITY, "--issuer", "https://example.org"), "wrong-issuer"),
    ],
)
def test_another_signer_is_refused(shell: Shell, work: Path, arguments: tuple[str, ...], code: str) -> None:  # noqa: ARG001
    said = shell.fails("verify", "rekor-2.json", "tuned", *arguments, "--trust-config", "root.json", code=1)
    assert said.startswith(f"{code}: rekor-2.json: ")


def test_another_key_or_another_kind_of_signer_is_refused(shell: Shell, work: Path) -> None:
    (work / "other.pub").write_bytes(keys.public_pem(keys.generate().public_key()))
    assert shell.fails("verify", "key.json", "tuned", "--key", "other.pub", code=1).startswith("wrong-key: ")
    assert shell.fails("verify", "key.json", "tuned", *by("rekor-1"), code=1).startswith("signature-kind: ")
    assert shell.fails("verify", "rekor-1.json", "tuned", *by("key"), code=1).startswith("signature-kind: ")


def test_the_public_sigstore_is_believed_where_no_other_is_named(
    shell: Shell, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network(monkeypatch)
    assert work.is_dir()
    said = shell.fails("verify", "rekor-1.json", "tuned", *WORKFLOW, code=1)
    assert said.startswith("untrusted-certificate: ")


VERIFY_USAGE: dict[str, tuple[list[str], str]] = {
    "nobody": ([], "whose signature is believed? give --key, or --identity and --issuer"),
    "no issuer": (["--identity", IDENTITY], "whose signature is believed?"),
    "no identity": (["--issuer", ISSUER], "whose signature is believed?"),
    "both": (["--key", "k.pub", *WORKFLOW], "not both"),
    "the private half": (["--key", "k.key"], "bad-key: k.key: no public key in PEM (it holds a private key)"),
    "no such key": (["--key", "nowhere.pub"], "nowhere.pub: cannot be read"),
    "no key": (["--key", "root.json"], "bad-key: root.json: no public key in PEM"),
    "no trust": ([*WORKFLOW, "--trust-config", "k.pub"], "bad-trust: k.pub"),
    "an age in words": (["--key", "k.pub", "--max-age", "a week"], "--max-age a week: not a number of"),
    "an age without a unit": (["--key", "k.pub", "--max-age", "30"], "--max-age 30: not a number of"),
    "a short digest": (["--key", "k.pub", "--policy-digest", "abc"], "--policy-digest abc: not a sha256 in hex"),
    "no such policy": (["--key", "k.pub", "-p", "nowhere"], "nowhere"),
}


@pytest.mark.parametrize("case", VERIFY_USAGE)
def test_what_cannot_be_asked_is_exit_2(shell: Shell, work: Path, case: str) -> None:  # noqa: ARG001
    arguments, says = VERIFY_USAGE[case]
    assert says in shell.fails("verify", "key.json", "tuned", *arguments)
    done = shell("verify", "key.json", "tuned", *arguments, "-f", "json")
    assert (done.code, done.err) == (2, "")
    assert done.json["verified"] is False
    assert done.json["reason"]


def test_a_missing_attestation_or_target_is_exit_2(shell: Shell, work: Path) -> None:  # noqa: ARG001
    assert "nowhere.json: cannot be read" in shell.fails("verify", "nowhere.json", "tuned", *by("key"))
    assert "did you mean tuned?" in shell.fails("verify", "key.json", "tunde", *by("key"))


def test_an_age_is_given_in_hours_days_or_weeks(shell: Shell, work: Path, signed: Signed) -> None:
    for age in ("1h", "2d", "999999w"):
        assert shell("verify", "key.json", "tuned", *by("key"), "--max-age", age).code == 0
    said = payload_of(signed.attestations["key"])
    old = replaced(said, ("predicate", "timeVerified"), "2020-01-01T00:00:00Z")
    (work / "old.json").write_bytes(signed.resigned(old))
    line = shell.fails("verify", "old.json", "tuned", *by("key"), "--max-age", "8w", code=1)
    assert re.fullmatch(r"too-old: old\.json: made \d+ days ago, allowed 56 days", line)
    assert shell("verify", "old.json", "tuned", *by("key")).code == 0


def test_hostile_words_of_a_signer_stay_on_their_line(shell: Shell, work: Path, signed: Signed) -> None:
    said = payload_of(signed.attestations["key"])
    hostile = "x\x1b]0;title\x07\nVERIFIED\u202e"
    for path in (
        ("resourceUri",), ("policy", "uri"), ("verifier", "version", "auditor"),
        (EXTENSION, "report", "lineage", "verdict"),
    ):  # fmt: skip
        said = replaced(said, ("predicate", *path), hostile)
    (work / "hostile.json").write_bytes(signed.resigned(said))
    told = shell("verify", "hostile.json", "tuned", *by("key"))
    assert told.code == 0
    assert "\x1b" not in told.out
    assert len(told.out.splitlines()) == 9
    assert "\u202e" not in told.out
    assert shell("verify", "hostile.json", "tuned", *by("key"), "-f", "json").out.isascii()


# ---- what is loaded


def in_a_process(folder: Path, before: str, commands: list[list[str]], after: str) -> str:
    """Run commands one after the other in a process of their own; each must succeed, and `after` says something."""
    code = (
        f"import sys\n{before}\n"
        "from auditor.cli import main\n"
        f"for command in {commands!r}:\n"
        "    sys.argv = ['auditor', *command]\n"
        "    try: main()\n"
        "    except SystemExit as end: assert not end.code, (command, end.code)\n"
        f"    {after}\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sigstore_is_not_loaded_where_no_identity_is_asked_for(work: Path) -> None:
    commands = [
        ["--help"],
        ["attest", "--help"],
        ["verify", "--help"],
        ["keygen", "--no-passphrase", "-o", "new"],
        ["scan", "tuned", "-a", "base.sketch"],
        ["attest", "tuned", "-o", "a.json", "-a", "base.sketch", "--key", "k.key", "--oms", "model.sig"],
        ["verify", "key.json", "tuned", "--key", "k.pub"],
    ]
    after = (
        "print('loaded:', *sorted({'sigstore', 'sigstore_models', 'requests', 'model_signing', 'tuf', 'id'}"
        " & set(sys.modules)))"
    )
    said = [line for line in in_a_process(work, "", commands, after).splitlines() if line.startswith("loaded:")]
    assert said == ["loaded:"] * len(commands)


def test_the_sigstore_may_be_gone(tmp_path: Path) -> None:
    """In a process of its own that cannot connect at all, and with the services shut down."""
    with LoopbackSigstore() as sigstore:
        made = sign_in_every_way(tmp_path, sigstore)
        (tmp_path / "root.json").write_text(json.dumps(sigstore.trusted_root()))
    for kind, data in made.attestations.items():
        (tmp_path / f"{kind}.json").write_bytes(data)
    before = (
        "import socket\n"
        "def refuse(*_, **__): raise SystemExit('the network was used')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
    )
    commands = [["verify", f"{kind}.json", "tuned", *by(kind)] for kind in ("rekor-1", "rekor-2")]
    said = in_a_process(tmp_path, before, commands, "print('and done')")
    assert said.count("VERIFIED") == said.count("and done") == 2


def test_without_key_and_identity_the_missing_identity_is_said_and_nothing_else(
    shell: Shell, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GITHUB_ACTIONS", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_URL"):
        monkeypatch.delenv(name, raising=False)
    told = shell("attest", "tuned", "-o", "none.json")
    assert told.code == 2
    assert told.err.startswith("auditor: no-credential: ")
    assert not (work / "none.json").exists()
