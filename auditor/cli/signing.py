"""Commands that put a name to bytes: digest, keygen, attest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from auditor.cli import options as opt
from auditor.cli.console import echo_json, errors, in_ci, quit_with, read_passphrase, read_short
from auditor.cli.outputs import emit
from auditor.cli.progress import Progress
from auditor.cli.verifying import voucher_of
from auditor.errors import UsageError
from auditor.escape import visible
from auditor.writing import write_new

if TYPE_CHECKING:
    from auditor.attest import Input, Signer
    from auditor.attesting import Attested
    from auditor.audit import Options
    from auditor.cli.outputs import Outputs


def digest(
    target: opt.TargetArgument,
    tensors: Annotated[  # noqa: FBT002 (a flag)
        bool, typer.Option("--tensors", help="Also of the values of every tensor, however they are stored.")
    ] = False,
    format: opt.AnswerOption = opt.Answer.text,  # noqa: A002 (the option's name)
) -> None:
    """Print the sha256 of every file, and the root digest that OpenSSF Model Signing gives them together.

    With --tensors, two repositories that hold the same weights in other files have the same digests of weights.

    Exit codes: 0 everything was hashed, 2 usage or target error, 3 something could not be.
    """
    from auditor.digests.files import Hashing
    from auditor.sources import open_source

    with errors(), Progress("hashed") as progress:
        hashing = None if tensors else Hashing(open_source(target), progress=progress)
        if hashing is not None:
            hashing.start()  # while the rest is still being imported
        from auditor.hashing import digest_target

        found = digest_target(target, tensors=tensors, progress=progress, hashing=hashing)
    if format is opt.Answer.json:
        echo_json(found.as_dict())
    else:
        for resource in found.manifest.resources:
            typer.echo(f"{resource.sha256}  {visible(resource.name)}")
        for (file, name), value in sorted(found.tensors.items()):
            typer.echo(f"{value}  {visible(file)}: {visible(name)}")
        for model, value in found.weights.items():
            typer.echo(f"{value}  weights of {visible(model)}")
        typer.echo(f"{found.manifest.root}  root")
        for unread in found.unread:
            typer.echo(f"auditor: {visible(unread.path)}: {visible(unread.reason)}", err=True)
    quit_with(3 if found.unread else 0)


def keygen(
    prefix: Annotated[
        Path, typer.Option("--output", "-o", help="Write PREFIX.key and PREFIX.pub.", metavar="PREFIX")
    ] = Path("auditor"),
    kind: Annotated[opt.KeyType, typer.Option("--type", help="Type of the key.")] = opt.KeyType.p256,
    passphrase_fd: opt.PassphraseOption = None,
    no_passphrase: Annotated[  # noqa: FBT002 (a flag)
        bool, typer.Option("--no-passphrase", help="Leave the private key unencrypted.")
    ] = False,
) -> None:
    """Make a key to sign with: a private one (encrypted) and a public one to give to whoever verifies."""
    from auditor.attest import keys

    with errors():
        secret, public = (prefix.with_name(f"{prefix.name}.{suffix}") for suffix in ("key", "pub"))
        if taken := next((path for path in (secret, public) if path.exists() or path.is_symlink()), None):
            raise UsageError(f"{taken}: exists already, and a key is never overwritten")
        passphrase = None
        if not no_passphrase:
            passphrase = read_passphrase(passphrase_fd, prompt="Passphrase for the new key", confirm=True)
            if not passphrase:
                raise UsageError("the passphrase is empty: choose one, or say --no-passphrase")
        key = keys.generate(kind.value)
        write_new(secret, keys.private_pem(key, passphrase), mode=0o600)
        write_new(public, keys.public_pem(key.public_key()), mode=0o644)
        typer.echo(f"{visible(str(secret))}: keep it to yourself", err=True)
        typer.echo(
            f"{visible(str(public))}: give it to whoever verifies (key {keys.hint(key.public_key())[:16]})", err=True
        )


def attest(
    target: opt.TargetArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Attestation to write.", show_default=False)],
    key: opt.KeyOption = None,
    passphrase_fd: opt.PassphraseOption = None,
    interactive: opt.InteractiveOption = False,  # noqa: FBT002 (a flag)
    trust_config: opt.TrustOption = None,
    oms: opt.OmsOption = None,
    resource: opt.ResourceOption = None,
    verifier_id: opt.VerifierOption = None,
    upstream: opt.UpstreamOption = None,
    upstream_key: opt.UpstreamKeyOption = None,
    upstream_identity: opt.UpstreamIdentityOption = None,
    upstream_issuer: opt.UpstreamIssuerOption = None,
    against: opt.AgainstOption = None,
    base: opt.BaseOption = None,
    policy: opt.PolicyOption = None,
    profile: opt.ProfileOption = opt.ProfileName.publisher,
    config: opt.ConfigOption = None,
    strict: opt.StrictOption = False,  # noqa: FBT002 (a flag)
    full: opt.FullOption = False,  # noqa: FBT002 (a flag)
    fail_on: opt.FailOnOption = opt.FailOn.fail,
    fail_on_incomplete: opt.IncompleteOption = None,
) -> None:
    """Audit a model, hash all its files in the same pass, and sign what was found.

    Signs with the identity that the environment offers (GitHub Actions, GitLab CI, ...), with --interactive through a
    browser, or with --key. An audit that did not pass is signed as FAILED.

    Exit codes: as `scan`.
    """
    from auditor.audit import Options

    chosen = Options(
        against=tuple(against or ()),
        base=base,
        policies=tuple(policy or ()),
        profile=profile.value,
        strict=strict,
        config=str(config) if config else None,
        digests="tensors" if full else "files",
        fail_on=fail_on.value,
        fail_on_incomplete=in_ci() if fail_on_incomplete is None else fail_on_incomplete,
    )
    inputs: tuple[Input, ...] = ()
    if upstream is not None:
        from auditor.attesting import verify_model_signature

        with errors(), Progress("hashed") as progress:
            voucher = voucher_of(
                upstream_key, upstream_identity, upstream_issuer, trust_config, online=False, option="--upstream-"
            )
            inputs = (verify_model_signature(upstream, voucher, progress=progress),)
    signing = Signing(
        output=output,
        key=key,
        passphrase_fd=passphrase_fd,
        interactive=interactive,
        trust_config=trust_config,
        oms=oms,
    )
    attest_and_report(
        target,
        chosen,
        signing,
        resource=resource,
        verifier_id=verifier_id,
        inputs=inputs,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """What the options say about signing.

    Attributes
    ----------
    output : Path
        Attestation to write.
    key : Path or None
        None for an identity.
    passphrase_fd : int or None
    interactive : bool
    trust_config : Path or None
    oms : Path or None
    """

    output: Path
    key: Path | None
    passphrase_fd: int | None
    interactive: bool
    trust_config: Path | None
    oms: Path | None


def attest_and_report(
    target: str,
    chosen: Options,
    signing: Signing,
    *,
    report: Outputs | None = None,
    resource: str | None = None,
    verifier_id: str | None = None,
    inputs: tuple[Input, ...] = (),
) -> NoReturn:
    """Sign an audit, say so, and end with the audit's exit code."""
    from auditor.digests.files import Hashing
    from auditor.report import Placed
    from auditor.sources import open_source
    from auditor.writing import inside

    with errors():
        written = (signing.output, signing.oms, *(report.paths if report else ()))
        with Progress("hashed", phase="reading layers") as progress:
            source, own = open_source(target), inside(target, written)
            hashing = Hashing(source, ignore=own, progress=progress)
            progress.watch(source)
            if chosen.digests == "files":
                hashing.start()  # while the rest is still being imported
            from auditor.attest import VERIFIER_ID
            from auditor.attesting import attest as run

            with progress.silent():  # the passphrase may be asked for
                signer = _signer(signing, progress)
            done = run(
                target,
                chosen,
                signer=signer,
                output=signing.output,
                oms=signing.oms,
                resource=resource,
                verifier=verifier_id or VERIFIER_ID,
                inputs=inputs,
                hashing=hashing,
            )
        if report is not None:
            emit([Placed(report=done.audit.report)], report)
        _say_attested(done, signing)
    quit_with(done.audit.report.exit_code)


def _signer(signing: Signing, progress: Progress) -> Signer:
    """Choose who signs. A key where one is given, an identity where none is; never one for want of the other."""
    from auditor.attest import KeylessSigner, KeySigner, keyless, keys

    key, trust_config = signing.key, signing.trust_config
    if key is not None:
        if signing.interactive or trust_config is not None:
            raise UsageError("--key signs without Sigstore: leave out --interactive and --trust-config")
        data = read_short(key)
        encrypted = keys.is_encrypted(data)
        passphrase = read_passphrase(signing.passphrase_fd, prompt=f"Passphrase for {key}") if encrypted else None
        private = keys.load_private(data, file=str(key), passphrase=passphrase)
        if signing.oms is not None and not keys.signs_models(private):
            raise UsageError("--oms: OpenSSF Model Signing takes keys on elliptic curves (p256, p384), not Ed25519")
        return KeySigner(private)
    if not signing.interactive and trust_config is None:
        keyless.ambient_token()  # that there is none is better said before the hashing, and before any network
    config, file = (read_short(trust_config), str(trust_config)) if trust_config else (None, "")
    trust = keyless.load_trust(config, file=file, online=True)
    trust.for_signing()
    if signing.interactive:
        asked = progress.silent()(partial(keyless.interactive_token, trust))  # it may ask at the terminal
        return KeylessSigner(trust, cache(asked))
    keyless.ambient_token()
    return KeylessSigner(trust, keyless.ambient_token)


def _say_attested(done: Attested, signing: Signing) -> None:
    result = "PASSED" if done.passed else "FAILED"
    typer.echo(f"attested   {result}: {done.files} files, root sha256 {done.root}", err=True)
    typer.echo(f"signed by  {visible(done.signer)}", err=True)
    for path in filter(None, (signing.output, signing.oms)):
        typer.echo(f"written    {visible(str(path))}", err=True)
