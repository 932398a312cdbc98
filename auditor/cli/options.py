"""Options and arguments that several commands share, so that they are spelled and explained the same everywhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """Output formats of a report."""

    text = "text"
    json = "json"
    sarif = "sarif"
    junit = "junit"
    gitlab = "gitlab"
    markdown = "markdown"
    html = "html"
    cyclonedx = "cyclonedx"


class Answer(StrEnum):
    """Output formats of what is no report."""

    text = "text"
    json = "json"


class FailOn(StrEnum):
    """Mildest status of a finding that makes the exit code 1."""

    fail = "fail"
    warn = "warn"
    manual = "manual"
    never = "never"


class ProfileName(StrEnum):
    """Who audits: someone who passes the weights on, who serves them, or who keeps them in the house."""

    publisher = "publisher"
    deployer = "deployer"
    internal = "internal"


class KeyType(StrEnum):
    """Types of keys that `keygen` makes."""

    p256 = "p256"
    p384 = "p384"
    ed25519 = "ed25519"


TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="Folder or file of the model, org/name[@revision] of the Hub, models:/name/version, oci://, s3:// or gs://.",
        show_default=False,
    ),
]
AgainstOption = Annotated[
    list[str] | None,
    typer.Option(
        "--against",
        "-a",
        help="A reference by name, a sketch file, or a model. May be repeated. Default: the whole library.",
        show_default=False,
    ),
]
BaseOption = Annotated[
    str | None,
    typer.Option(
        "--base",
        help="Where TARGET is an adapter: the model to merge it into (nothing is written), and audit the result.",
        show_default=False,
    ),
]
PolicyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--policy", "-p", help="Licence policy by name, or a TOML file. Default: all that ship.", show_default=False
    ),
]
ProfileOption = Annotated[ProfileName, typer.Option("--profile", help="Who audits: duties differ.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Fail where weights are called open source.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Settings, statements, waivers. Default: auditor.toml, or [tool.auditor] of pyproject.toml, if here.",
        show_default=False,
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="Output format.")]
AnswerOption = Annotated[Answer, typer.Option("--format", "-f", help="Output format.")]
OutputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="[FORMAT=]FILE",
        help="Write to FILE instead of standard output; FORMAT=FILE writes one more, as sarif=audit.sarif. Repeatable.",
        show_default=False,
    ),
]
BaselineOption = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        help="An earlier JSON report: what it already found is shown, and no longer fails.",
        show_default=False,
    ),
]
FailOnOption = Annotated[
    FailOn, typer.Option("--fail-on", help="Mildest status of a finding that makes the exit code 1.")
]
IncompleteOption = Annotated[
    bool | None,
    typer.Option(
        "--fail-on-incomplete/--no-fail-on-incomplete",
        help="Exit 3 when the verdict is inconclusive. On where CI=true. Unread files are always 3.",
        show_default=False,
    ),
]
FullOption = Annotated[
    bool,
    typer.Option("--full", help="Read every byte: digests of all files and tensors, and copies told for sure."),
]


class Layers(StrEnum):
    """What the first look is at."""

    auto = "auto"
    few = "few"
    all = "all"


LayersOption = Annotated[
    Layers,
    typer.Option("--layers", help="First look: few layers, or all. auto: few where the target is far away."),
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="Read no whole layers: neurons in another order are not searched for.")
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--sample-seed",
        min=0,
        help="Sample other neurons than the public ones: a secret number, which nobody can prepare a model for.",
        show_default=False,
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be read, and how much.")]
MaxBytesOption = Annotated[
    str | None,
    typer.Option("--max-bytes", help="Read no more of the target than this: 20000000, 20MB, 1GB.", show_default=False),
]
BuildOption = Annotated[
    bool,
    typer.Option(
        "--build-references/--no-build-references",
        help="Make a reference that is needed and not here from its repository.",
    ),
]

# signing
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", help="Sign with this private key (PEM) instead of an identity.", show_default=False),
]
PassphraseOption = Annotated[
    int | None,
    typer.Option(
        "--passphrase-fd", help="Read the key's passphrase from this file descriptor. Default: ask.", show_default=False
    ),
]
InteractiveOption = Annotated[
    bool, typer.Option("--interactive", help="Log in through a browser, where the environment offers no identity.")
]
TrustOption = Annotated[
    Path | None,
    typer.Option(
        "--trust-config",
        help="A private Sigstore: its client trust configuration, or to verify its trusted root (JSON).",
        show_default=False,
    ),
]
OmsOption = Annotated[
    Path | None,
    typer.Option("--oms", help="Also write a model.sig of OpenSSF Model Signing.", show_default=False),
]
ResourceOption = Annotated[
    str | None,
    typer.Option(
        "--resource",
        help="URI of what is audited, with its revision. Default: that of the Hub, or pkg:generic/NAME.",
        show_default=False,
    ),
]
VerifierOption = Annotated[
    str | None,
    typer.Option("--verifier-id", help="URI of who verifies. Default: this tool.", show_default=False),
]

# whose signature is believed
PublicKeyOption = Annotated[
    Path | None, typer.Option("--key", help="Believe this public key (PEM).", show_default=False)
]
IdentityOption = Annotated[
    str | None,
    typer.Option("--identity", help="Believe this signer: an e-mail address or a workflow's URI.", show_default=False),
]
IssuerOption = Annotated[
    str | None, typer.Option("--issuer", help="OIDC issuer that vouches for --identity (URL).", show_default=False)
]
OnlineOption = Annotated[
    bool, typer.Option("--online", help="Refresh the public Sigstore's trusted root first. Default: offline.")
]
UpstreamOption = Annotated[
    Path | None,
    typer.Option(
        "--upstream",
        help="Folder of the base model with a model.sig: verified, and recorded as evidence.",
        show_default=False,
    ),
]
UpstreamKeyOption = Annotated[
    Path | None, typer.Option("--upstream-key", help="Public key of that signature (PEM).", show_default=False)
]
UpstreamIdentityOption = Annotated[
    str | None, typer.Option("--upstream-identity", help="Signer of that signature.", show_default=False)
]
UpstreamIssuerOption = Annotated[
    str | None, typer.Option("--upstream-issuer", help="OIDC issuer for --upstream-identity.", show_default=False)
]
