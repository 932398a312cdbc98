"""The command that stands at a model registry: `auditor gate mlflow`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli import options as opt
from auditor.cli.console import errors, in_ci, parse_size, quit_with
from auditor.cli.outputs import emit, parse_outputs
from auditor.cli.progress import Progress
from auditor.escape import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditor.gating import Change
    from auditor.sources.mlflow import MlflowSource

VersionArgument = Annotated[
    str,
    typer.Argument(
        metavar="VERSION", help="models:/name/version or models:/name@alias of MLflow's registry.", show_default=False
    ),
]


def mlflow(
    target: VersionArgument,
    pass_alias: Annotated[
        str | None,
        typer.Option(
            "--pass-alias",
            help="Alias to put on the version where the exit code is 0, and to take from it where it is not.",
            show_default=False,
        ),
    ] = None,
    fail_alias: Annotated[
        str | None,
        typer.Option(
            "--fail-alias",
            help="Alias to put on the version where the exit code is 1 or 3, and to take from it where it is 0.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[  # noqa: FBT002 (a flag)
        bool, typer.Option("--dry-run", help="Audit, and say what would change in the registry. Nothing does.")
    ] = False,
    against: opt.AgainstOption = None,
    base: opt.BaseOption = None,
    policy: opt.PolicyOption = None,
    profile: opt.ProfileOption = opt.ProfileName.publisher,
    config: opt.ConfigOption = None,
    baseline: opt.BaselineOption = None,
    strict: opt.StrictOption = False,  # noqa: FBT002 (a flag)
    full: opt.FullOption = False,  # noqa: FBT002 (a flag)
    format: opt.FormatOption = opt.Format.text,  # noqa: A002 (the option's name)
    output: opt.OutputOption = None,
    fail_on: opt.FailOnOption = opt.FailOn.fail,
    fail_on_incomplete: opt.IncompleteOption = None,
    layers: opt.LayersOption = opt.Layers.auto,
    quick: opt.QuickOption = False,  # noqa: FBT002 (a flag)
    sample_seed: opt.SeedOption = None,
    max_bytes: opt.MaxBytesOption = None,
    build_references: opt.BuildOption = True,  # noqa: FBT002 (a flag)
) -> None:
    """Audit a version of a registered model, then say in MLflow's registry what was found.

    Tags of the version (auditor.verdict, auditor.exit_code and others) are always set, aliases only where asked for.
    Server and credentials are those of MLflow's client: MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN and so on.

    Exit codes: 0 nothing to act on, 1 findings, 2 usage, target or registry error, 3 incomplete or inconclusive.
    """
    from auditor.audit import Options, audit
    from auditor.digests.files import Hashing
    from auditor.gating import Aliases, Gate
    from auditor.report import Placed

    with errors():
        outputs = parse_outputs(format, output)
        aliases = Aliases(passed=pass_alias, failed=fail_alias)
        aliases.check()
        chosen = Options(
            against=tuple(against or ()),
            base=base,
            policies=tuple(policy or ()),
            profile=profile.value,
            strict=strict,
            config=str(config) if config else None,
            baseline=str(baseline) if baseline else None,
            digests="tensors" if full else "known",
            max_bytes=parse_size(max_bytes),
            first_layers=layers.value,
            depth="quick" if quick else "auto",
            sample_seed=sample_seed,
            build_references=build_references,
            fail_on=fail_on.value,
            fail_on_incomplete=in_ci() if fail_on_incomplete is None else fail_on_incomplete,
        )
        source = _open(target)
        with Progress("hashed", phase="reading layers") as progress:
            progress.watch(source)
            hashing = Hashing(source, progress=progress)
            report = audit(target, chosen, hashing=hashing, notify=progress.say).report
        gate = Gate(source, aliases)
        _say(gate.withdraw(report, dry_run=dry_run), source, dry_run=dry_run)
        emit([Placed(report=report)], outputs)
        _say(gate.mark(report, dry_run=dry_run), source, dry_run=dry_run)
    quit_with(report.exit_code)


def _open(target: str) -> MlflowSource:
    """Open a version in the registry, whatever lies on this machine under its name."""
    from auditor.sources.mlflow import MlflowSource

    return MlflowSource(target)


def _say(changes: Iterable[Change], source: MlflowSource, *, dry_run: bool) -> None:
    for change in changes:
        typer.echo(f"{visible(source.uri)}: {'would be: ' if dry_run else ''}{visible(str(change))}", err=True)
