"""The command that asks whether an attestation holds: verify."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path  # noqa: TC003 (typer looks at it)
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli import options as opt
from auditor.cli.console import EXIT_REFUSED, EXIT_USAGE, echo_json, errors, quit_with, read_short, say
from auditor.cli.progress import Progress
from auditor.errors import AuditError, UsageError
from auditor.escape import visible

if TYPE_CHECKING:
    from auditor.attest import Voucher
    from auditor.attesting import Verified

_AGE = re.compile(r"([0-9]{1,6})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def verify(
    attestation: Annotated[
        Path, typer.Argument(metavar="ATTESTATION", help="A signed audit, as `attest` writes it.", show_default=False)
    ],
    target: opt.TargetArgument,
    key: opt.PublicKeyOption = None,
    identity: opt.IdentityOption = None,
    issuer: opt.IssuerOption = None,
    trust_config: opt.TrustOption = None,
    online: opt.OnlineOption = False,  # noqa: FBT002 (a flag)
    resource: opt.ResourceOption = None,
    verifier_id: opt.VerifierOption = None,
    max_age: Annotated[
        str | None, typer.Option("--max-age", help="Oldest audit accepted: 12h, 30d, 8w.", show_default=False)
    ] = None,
    policy: opt.PolicyOption = None,
    profile: opt.ProfileOption = opt.ProfileName.publisher,
    strict: opt.StrictOption = False,  # noqa: FBT002 (a flag)
    fail_on: opt.FailOnOption = opt.FailOn.fail,
    policy_digest: Annotated[
        str | None,
        typer.Option(
            "--policy-digest",
            help="sha256 of the policy to accept, instead of the one chosen here.",
            show_default=False,
        ),
    ] = None,
    format: opt.AnswerOption = opt.Answer.text,  # noqa: A002 (the option's name)
) -> None:
    """Verify a signed audit, offline: whose word it is, by which policy, about which files, and what it says.

    Needs --key, or --identity and --issuer. Every file of TARGET is hashed and compared by name.

    Exit codes: 0 it holds and the audit passed, 1 it does not, 2 usage or target error.
    """
    from auditor.attest import VERIFIER_ID
    from auditor.attest.errors import VerificationError
    from auditor.attesting import policy_of
    from auditor.attesting import verify as run
    from auditor.audit import Options

    with errors():
        wanted = Options(policies=tuple(policy or ()), profile=profile.value, strict=strict, fail_on=fail_on.value)
        try:
            with Progress("hashed") as progress:
                verified = run(
                    attestation,
                    target,
                    voucher=voucher_of(key, identity, issuer, trust_config, online=online),
                    policy_sha256=_hex(policy_digest) if policy_digest else policy_of(wanted).sha256,
                    verifier=verifier_id or VERIFIER_ID,
                    resource=resource,
                    max_age=_age(max_age),
                    progress=progress,
                )
        except AuditError as error:
            if format is opt.Answer.json:
                echo_json(_refused(error))
            else:
                say(error)
            quit_with(EXIT_REFUSED if isinstance(error, VerificationError) else EXIT_USAGE)
        _say_verified(verified, format)


def voucher_of(
    key: Path | None,
    identity: str | None,
    issuer: str | None,
    trust_config: Path | None,
    *,
    online: bool,
    option: str = "--",
) -> Voucher:
    """Return whose signature is believed, by the options that say so; `option` is how these begin.

    Raises
    ------
    UsageError, BadKey, BadTrust
    """
    from auditor.attest import ByIdentity, ByKey, keyless, keys

    if key is not None:
        if identity or issuer:
            raise UsageError(f"give {option}key, or {option}identity and {option}issuer, not both")
        return ByKey(keys.load_public(read_short(key), file=str(key)))
    if not identity or not issuer:
        raise UsageError(f"whose signature is believed? give {option}key, or {option}identity and {option}issuer")
    data, file = (read_short(trust_config), str(trust_config)) if trust_config else (None, "")
    trust = keyless.load_trust(data, file=file, online=online)
    return ByIdentity(identity=identity, issuer=issuer, trust=trust)


def _say_verified(verified: Verified, format_: opt.Answer) -> None:
    statement = verified.statement
    lineage = statement.report["lineage"] if isinstance(statement.report.get("lineage"), dict) else {}
    if format_ is opt.Answer.json:
        echo_json({
            "verified": True,
            "code": None,
            "reason": None,
            "signer": verified.signer,
            "resource": statement.resource,
            "resource_checked": verified.resource_checked,
            "root": statement.root,
            "files": len(statement.manifest.resources),
            "ignored": list(statement.manifest.ignored),
            "policy": {"uri": statement.policy_uri, "sha256": statement.policy_sha256},
            "time": f"{statement.time:%Y-%m-%dT%H:%M:%SZ}",
            "levels": list(statement.levels),
            "lineage": lineage,
        })  # fmt: skip
        return
    verdict = lineage.get("verdict") if isinstance(lineage, dict) else None
    unchecked = "" if verified.resource_checked else " (as the signer calls it; --resource compares it)"
    typer.echo("VERIFIED  the files are the audited ones, and the audit passed")
    typer.echo("")
    typer.echo(f"signed by  {visible(verified.signer)}")
    typer.echo(f"audited    {statement.time:%Y-%m-%d %H:%M} UTC, auditor {visible(statement.version)}")
    typer.echo(f"resource   {visible(statement.resource)}{unchecked}")
    typer.echo(f"policy     {visible(statement.policy_uri)}")
    typer.echo(f"verdict    {visible(str(verdict))}")
    typer.echo(f"files      {len(statement.manifest.resources)}, root sha256 {statement.root}")
    typer.echo(f"uncovered  {visible(', '.join(statement.manifest.ignored)) or 'nothing'}, where present")


def _refused(error: AuditError) -> dict[str, object]:
    from auditor.attest.errors import FilesDiffer

    differences = error.differences if isinstance(error, FilesDiffer) else None
    return {
        "verified": False,
        "code": error.code,
        "reason": str(error),
        "added": list(differences.added) if differences else [],
        "missing": list(differences.missing) if differences else [],
        "changed": list(differences.changed) if differences else [],
        "renamed": [list(pair) for pair in differences.renamed] if differences else [],
    }


def _age(text: str | None) -> timedelta | None:
    if text is None:
        return None
    match = _AGE.fullmatch(text)
    if match is None:
        raise UsageError(f"--max-age {text}: not a number of hours, days or weeks, as 12h, 30d or 8w")
    return int(match[1]) * _UNITS[match[2]]


def _hex(text: str) -> str:
    digest_ = text.removeprefix("sha256:").lower()
    if re.fullmatch(r"[0-9a-f]{64}", digest_) is None:
        raise UsageError(f"--policy-digest {text}: not a sha256 in hex")
    return digest_
