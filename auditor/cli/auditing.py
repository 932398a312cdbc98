"""Commands about what a model is: scan, compare, sketch, report, explain, fix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from auditor.cli import options as opt
from auditor.cli.console import echo_json, errors, in_ci, parse_size, quit_with, read_short
from auditor.cli.outputs import Outputs, emit, parse_outputs
from auditor.cli.progress import Progress
from auditor.cli.signing import Signing, attest_and_report
from auditor.errors import UsageError
from auditor.escape import visible
from auditor.limits import LIMITS
from auditor.writing import write_whole

if TYPE_CHECKING:
    from auditor.audit import Options
    from auditor.compliance.fixes.plan import FileChange


def scan(
    target: opt.TargetArgument,
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
    dry_run: opt.DryRunOption = False,  # noqa: FBT002 (a flag)
    max_bytes: opt.MaxBytesOption = None,
    build_references: opt.BuildOption = True,  # noqa: FBT002 (a flag)
    attest: Annotated[
        Path | None,
        typer.Option("--attest", help="Also sign the audit, and write the attestation here.", show_default=False),
    ] = None,
    key: opt.KeyOption = None,
    passphrase_fd: opt.PassphraseOption = None,
    interactive: opt.InteractiveOption = False,  # noqa: FBT002 (a flag)
    trust_config: opt.TrustOption = None,
    oms: opt.OmsOption = None,
) -> None:
    """Audit a model: where its weights come from, and whether its files keep the licence that follows.

    Exit codes: 0 nothing to act on, 1 findings, 2 usage or target error, 3 incomplete or inconclusive.
    """
    with errors():
        outputs = parse_outputs(format, output)
        choices = {
            "against": tuple(against or ()),
            "base": base,
            "policies": tuple(policy or ()),
            "profile": profile.value,
            "strict": strict,
            "config": str(config) if config else None,
            "baseline": str(baseline) if baseline else None,
            "digests": "tensors" if full else "known",
            "max_bytes": parse_size(max_bytes),
            "first_layers": layers.value,
            "depth": "quick" if quick else "auto",
            "sample_seed": sample_seed,
            "build_references": build_references,
        }
    chosen = _options(choices, fail_on, fail_on_incomplete)
    if dry_run:
        _dry_run(target, chosen, format)
    if attest is None:
        with errors():
            if stray := next((name for name, value in (("--key", key), ("--oms", oms)) if value is not None), None):
                raise UsageError(f"{stray} is for signing: give --attest FILE too")
        _audit(target, chosen, outputs)
    signing = Signing(
        output=attest,
        key=key,
        passphrase_fd=passphrase_fd,
        interactive=interactive,
        trust_config=trust_config,
        oms=oms,
    )
    attest_and_report(target, chosen, signing, report=outputs)


def compare(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="Reference: name, sketch file, or model.", show_default=False)
    ],
    target: opt.TargetArgument,
    merge_base: opt.BaseOption = None,
    full: opt.FullOption = False,  # noqa: FBT002 (a flag)
    format: opt.FormatOption = opt.Format.text,  # noqa: A002 (the option's name)
    output: opt.OutputOption = None,
    fail_on: opt.FailOnOption = opt.FailOn.fail,
    fail_on_incomplete: opt.IncompleteOption = None,
    layers: opt.LayersOption = opt.Layers.auto,
    quick: opt.QuickOption = False,  # noqa: FBT002 (a flag)
    sample_seed: opt.SeedOption = None,
    dry_run: opt.DryRunOption = False,  # noqa: FBT002 (a flag)
    max_bytes: opt.MaxBytesOption = None,
) -> None:
    """Test whether TARGET shares descent with BASE. The report of `scan TARGET --against BASE`, without the licence."""
    with errors():
        outputs = parse_outputs(format, output)
        choices = {
            "against": (base,),
            "base": merge_base,
            "licence": False,
            "digests": "tensors" if full else "known",
            "max_bytes": parse_size(max_bytes),
            "first_layers": layers.value,
            "depth": "quick" if quick else "auto",
            "sample_seed": sample_seed,
        }
    chosen = _options(choices, fail_on, fail_on_incomplete)
    if dry_run:
        _dry_run(target, chosen, format)
    _audit(target, chosen, outputs)


def sketch(
    target: opt.TargetArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Sketch file to write.", show_default=False)],
    name: Annotated[
        str | None,
        typer.Option("--name", help="What reports call the reference. Default: the target's name."),
    ] = None,
    license: Annotated[  # noqa: A002 (the option's name)
        str | None, typer.Option("--license", help="Licence of the reference: SPDX id or Hub name.")
    ] = None,
    sample_seed: opt.SeedOption = None,
    deep: Annotated[  # noqa: FBT002 (a flag)
        bool,
        typer.Option("--deep", help="Also keep what finds disguised derivatives without their tokens: larger."),
    ] = False,
) -> None:
    """Make a reference of a model: a sketch file that others can be held against without the weights."""
    from auditor.enrolling import sketch as make_sketch

    with errors():
        with Progress("hashed") as progress:
            data = make_sketch(
                target,
                name=name or Path(target).resolve().name,
                seed=sample_seed or 0,
                license=license,
                deep=deep,
                progress=progress,
            )
        write_whole(output, data)
        typer.echo(f"{visible(str(output))}: {len(data)} bytes", err=True)


def report(
    file: Annotated[
        Path,
        typer.Argument(metavar="REPORT", help="A JSON report, as `scan -f json` writes it.", show_default=False),
    ],
    format: opt.FormatOption = opt.Format.text,  # noqa: A002 (the option's name)
    output: opt.OutputOption = None,
) -> None:
    """Show a report again, or write it in other formats. Nothing is audited, and nothing is verified."""
    from auditor.report import Placed
    from auditor.report.reading import parse_report

    with errors():
        outputs = parse_outputs(format, output)
        data = read_short(file, limit=LIMITS.report_bytes, what="no report of this tool")
        emit([Placed(report=parse_report(data, file=str(file)))], outputs)


def explain(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="A rule id: LIC-001.", show_default=False)],
) -> None:
    """Say what a rule asks, why it matters, how to put it right, and where it is decided."""
    from auditor.compliance.explain import explain as explanation

    with errors():
        typer.echo(explanation(rule), nl=False)


def fix(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Folder of the model.", show_default=False)],
    against: opt.AgainstOption = None,
    policy: opt.PolicyOption = None,
    profile: opt.ProfileOption = opt.ProfileName.publisher,
    config: opt.ConfigOption = None,
    write: Annotated[  # noqa: FBT002 (a flag)
        bool, typer.Option("--write", help="Make the changes. Without it they are only shown.")
    ] = False,
) -> None:
    """Show, and with --write make, the changes that put a folder's notice and card right.

    What only a person can write is listed on standard error: the agreement itself, statements, a section on risks.

    Exit codes: 0 nothing to change, or written, 1 changes are due, 2 usage or target error.
    """
    from auditor.audit import Options
    from auditor.fixing import apply_fixes, plan_fixes

    with errors():
        chosen = Options(
            against=tuple(against or ()),
            policies=tuple(policy or ()),
            profile=profile.value,
            config=str(config) if config else None,
        )
        plan = plan_fixes(target, chosen)
        for change in plan.changes:
            typer.echo(_diff(change), nl=False)
        typer.echo(f"basis      {visible(plan.basis)}", err=True)
        for task in plan.cannot:
            typer.echo(f"to do      {visible(task, limit=1000)}", err=True)
        for path, size in apply_fixes(Path(target), plan) if write else ():
            typer.echo(f"written    {visible(path)}: {size} bytes", err=True)
        if plan.changes and not write:
            typer.echo("shown      and not written; --write makes these changes", err=True)
    quit_with(1 if plan.changes and not write else 0)


def _options(choices: dict[str, Any], fail_on: opt.FailOn, fail_on_incomplete: bool | None) -> Options:  # noqa: FBT001
    from auditor.audit import Options

    return Options(
        **choices,
        fail_on=fail_on.value,
        fail_on_incomplete=in_ci() if fail_on_incomplete is None else fail_on_incomplete,
    )


def _audit(target: str, chosen: Options, outputs: Outputs) -> NoReturn:
    from auditor.audit import audit
    from auditor.digests.files import Hashing
    from auditor.report import Placed
    from auditor.sources import open_source

    with errors():
        with Progress("hashed", phase="reading layers") as progress:
            hashing = Hashing(open_source(target), progress=progress)
            progress.watch(hashing.source)
            report = audit(target, chosen, hashing=hashing, notify=progress.say).report
        emit([Placed(report=report)], outputs)
    quit_with(report.exit_code)


def _dry_run(target: str, chosen: Options, format_: opt.Format) -> NoReturn:
    from auditor.planning import plan_scan

    with errors():
        plan = plan_scan(target, chosen)
    if format_ is opt.Format.json:
        echo_json(plan.as_dict())
    else:
        for line in plan.lines():
            typer.echo(visible(line, limit=1000))
    quit_with(0)


def _diff(change: FileChange) -> str:
    """Show a change as a unified diff; text of the model escaped, line by line."""
    inside = change.place == "target"
    name = visible(change.path)
    old = f"a/{name}" if inside else name
    new = f"b/{name}" if inside else name
    lines = [f"--- {'/dev/null' if change.before is None else old}", f"+++ {new}"]
    return "\n".join([*lines, *(visible(line) for line in change.diff)]) + "\n"
