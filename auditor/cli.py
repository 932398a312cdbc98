"""The command line: parse, call, render, exit.

The only module that prints, and the only one that ends an `AuditError`. Everything heavy is imported inside the
commands, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.exceptions import Abort, TyperException

from auditor import __version__
from auditor.errors import AuditError
from auditor.escape import visible
from auditor.writing import write_whole

if TYPE_CHECKING:
    from auditor.compliance.fixes.plan import FileChange
    from auditor.report import Report

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

app = typer.Typer(
    name="auditor",
    help="Audit where a model's weights come from, and whether its repository keeps the licence that follows.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=_CONTEXT,
)
references_app = typer.Typer(
    help="The library of reference models.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=_CONTEXT,
)
app.add_typer(references_app, name="references")


class Format(StrEnum):
    """Output formats of a report."""

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


TargetArgument = Annotated[
    str, typer.Argument(metavar="TARGET", help="Folder or file of the model.", show_default=False)
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
PolicyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--policy", "-p", help="Licence policy by name, or a TOML file. Default: all that ship.", show_default=False
    ),
]
ProfileOption = Annotated[ProfileName, typer.Option("--profile", help="Who audits: duties differ.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Statements and waivers. Default: auditor.toml here, if any.", show_default=False
    ),
]
FormatOption = Annotated[Format, typer.Option("--format", "-f", help="Output format.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write to this file instead of standard output.")
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


def _version(value: bool) -> None:  # noqa: FBT001 (typer calls it with the flag's value)
    if value:
        typer.echo(f"auditor {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # noqa: FBT002 (eager: typer acts on it before any command)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def scan(
    target: TargetArgument,
    against: AgainstOption = None,
    policy: PolicyOption = None,
    profile: ProfileOption = ProfileName.publisher,
    config: ConfigOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail where weights are called open source.")] = False,  # noqa: FBT002
    format: FormatOption = Format.text,  # noqa: A002 (the option's name)
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.fail,
    fail_on_incomplete: IncompleteOption = None,
) -> None:
    """Audit a model: where its weights come from, and whether its files keep the licence that follows.

    Exit codes: 0 nothing to act on, 1 findings, 2 usage or target error, 3 incomplete or inconclusive.
    """
    choices = {
        "against": tuple(against or ()),
        "policies": tuple(policy or ()),
        "profile": profile.value,
        "strict": strict,
        "config": _config(config),
    }
    _audit(target, choices, format, output, fail_on, fail_on_incomplete)


@app.command()
def compare(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="Reference: name, sketch file, or model.", show_default=False)
    ],
    target: TargetArgument,
    format: FormatOption = Format.text,  # noqa: A002 (the option's name)
    output: OutputOption = None,
    fail_on: FailOnOption = FailOn.fail,
    fail_on_incomplete: IncompleteOption = None,
) -> None:
    """Test whether TARGET shares descent with BASE. The report of `scan TARGET --against BASE`, without the licence."""
    _audit(target, {"against": (base,), "licence": False}, format, output, fail_on, fail_on_incomplete)


@app.command()
def sketch(
    target: TargetArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Sketch file to write.", show_default=False)],
    name: Annotated[
        str | None,
        typer.Option("--name", help="What reports call the reference. Default: the target's name."),
    ] = None,
    license: Annotated[  # noqa: A002 (the option's name)
        str | None, typer.Option("--license", help="Licence of the reference: SPDX id or Hub name.")
    ] = None,
) -> None:
    """Make a reference of a model: a sketch file that others can be held against without the weights."""
    from auditor.audit import sketch as make_sketch

    with _errors():
        data = make_sketch(target, name=name or Path(target).resolve().name, license=license)
        write_whole(output, data)
        typer.echo(f"{visible(str(output))}: {len(data)} bytes", err=True)


@app.command()
def explain(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="A rule id: LIC-001.", show_default=False)],
) -> None:
    """Say what a rule asks, why it matters, how to put it right, and where it is decided."""
    from auditor.compliance.explain import explain as explanation

    with _errors():
        typer.echo(explanation(rule), nl=False)


@app.command()
def fix(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Folder of the model.", show_default=False)],
    against: AgainstOption = None,
    policy: PolicyOption = None,
    profile: ProfileOption = ProfileName.publisher,
    config: ConfigOption = None,
    write: Annotated[  # noqa: FBT002 (a flag)
        bool, typer.Option("--write", help="Make the changes. Without it they are only shown.")
    ] = False,
) -> None:
    """Show, and with --write make, the changes that put a folder's notice and card right.

    What only a person can write is listed on standard error: the agreement itself, statements, a section on risks.

    Exit codes: 0 nothing to change, or written, 1 changes are due, 2 usage or target error.
    """
    from auditor.audit import Options, plan_fixes
    from auditor.fixing import apply_fixes

    with _errors():
        options = Options(
            against=tuple(against or ()),
            policies=tuple(policy or ()),
            profile=profile.value,
            config=_config(config),
        )
        plan = plan_fixes(target, options)
        for change in plan.changes:
            typer.echo(_diff(change), nl=False)
        typer.echo(f"basis      {visible(plan.basis)}", err=True)
        for task in plan.cannot:
            typer.echo(f"to do      {visible(task, limit=1000)}", err=True)
        for path, size in apply_fixes(Path(target), plan) if write else ():
            typer.echo(f"written    {visible(path)}: {size} bytes", err=True)
        if plan.changes and not write:
            typer.echo("shown      and not written; --write makes these changes", err=True)
    raise typer.Exit(1 if plan.changes and not write else 0)


@references_app.command("list")
def list_(format: FormatOption = Format.text) -> None:  # noqa: A002 (the option's name)
    """List the references that `scan` holds a target against."""
    from auditor.lineage import list_references

    with _errors():
        references = list_references()
    if format is Format.json:
        import json

        rows = [
            {"name": r.name, "title": r.title, "license": r.license, "origin": r.origin, "sha256": r.sha256}
            for r in references
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    width = max((len(r.name) for r in references), default=0)
    for reference in references:
        typer.echo(f"{reference.name:<{width}}  {reference.license:<12}  {reference.title}")


def _audit(
    target: str,
    choices: dict[str, Any],
    format_: Format,
    output: Path | None,
    fail_on: FailOn,
    fail_on_incomplete: bool | None,  # noqa: FBT001 (passed on from the option)
) -> NoReturn:
    from auditor.audit import Options
    from auditor.audit import scan as run

    with _errors():
        options = Options(
            **choices,
            fail_on=fail_on.value,
            fail_on_incomplete=_in_ci() if fail_on_incomplete is None else fail_on_incomplete,
        )
        report = run(target, options)
        _emit(report, format_, output)
    raise typer.Exit(report.exit_code)


def _diff(change: FileChange) -> str:
    """Show a change as a unified diff; text of the model escaped, line by line."""
    inside = change.place == "target"
    name = visible(change.path)
    old = f"a/{name}" if inside else name
    new = f"b/{name}" if inside else name
    lines = [f"--- {'/dev/null' if change.before is None else old}", f"+++ {new}"]
    return "\n".join([*lines, *(visible(line) for line in change.diff)]) + "\n"


def _emit(report: Report, format_: Format, output: Path | None) -> None:
    from auditor.report import RENDERERS

    text = RENDERERS[format_](report)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_whole(output, text.encode())
        typer.echo(f"{report.lineage.verdict}, exit {report.exit_code}; report in {visible(str(output))}", err=True)


def _config(given: Path | None) -> str | None:
    """Return the user's settings: those named, else `auditor.toml` of the folder the command runs in."""
    if given is None:
        given = Path("auditor.toml")
        if not given.is_file():
            return None
    return str(given)


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}


class _errors:  # noqa: N801 (used as a statement)
    """Turn an `AuditError` into one line on standard error and exit code 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, AuditError):
            typer.echo(f"auditor: {visible(str(error))}", err=True)
            raise typer.Exit(2) from None


def main() -> None:
    """Run the command line. Wrong usage is one line on standard error, as every other error."""
    try:
        sys.exit(app(standalone_mode=False))
    except TyperException as error:
        message = error.format_message()
        if message.startswith("Usage:"):  # called without a command: that is a request for help
            typer.echo(message)
            sys.exit(2)
        typer.echo(f"auditor: {visible(message)} (see auditor --help)", err=True)
        sys.exit(2)
    except Abort:
        typer.echo("auditor: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output went away: not our error, and no traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
