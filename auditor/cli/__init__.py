"""The command line: parse, call, render, exit.

The only part that prints, and the only one that ends an `AuditError`. Everything heavy is imported inside the
commands, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import Abort, TyperException

from auditor import __version__
from auditor.cli import auditing, doctor, gating, gating_models, references, signing, sweeping, verifying
from auditor.cli.configured import Configured
from auditor.escape import visible

if TYPE_CHECKING:
    from collections.abc import Callable

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
gate_app = typer.Typer(
    help="Gates for a registry or a pull request: audit, and act on what was found.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=_CONTEXT,
)
sweep_app = typer.Typer(
    help="Everything that a team mirrors: audited once a revision, resumed, and exported.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=_CONTEXT,
)

_COMMANDS: tuple[Callable[..., None], ...] = (
    auditing.scan,
    auditing.compare,
    auditing.sketch,
    auditing.report,
    auditing.explain,
    auditing.fix,
    signing.digest,
    signing.keygen,
    signing.attest,
    verifying.verify,
)
for _command in _COMMANDS:
    app.command(cls=Configured)(_command)
app.command()(doctor.doctor)  # whatever the settings are
app.add_typer(gate_app, name="gate")
gate_app.command("models", cls=Configured)(gating_models.models)
gate_app.command("mlflow", cls=Configured)(gating.mlflow)
app.add_typer(sweep_app, name="sweep")
sweep_app.command("run", cls=Configured)(sweeping.run)
sweep_app.command("status")(sweeping.status)
sweep_app.command("families")(sweeping.families)
sweep_app.command("export")(sweeping.export)
sweep_app.command("report")(sweeping.report)
sweep_app.command("merge")(sweeping.merge)
app.add_typer(references_app, name="references")
references_app.command("list")(references.list_)
references_app.command("build")(references.build)
references_app.command("verify")(references.verify)
references_app.command("export")(references.export)
references_app.command("import")(references.import_)


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
