"""The command that looks at this machine: doctor."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

from auditor.cli import options as opt
from auditor.cli.console import echo_json, errors, quit_with
from auditor.escape import visible

_LABEL = 13


def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Reach for nothing.")] = False,  # noqa: FBT002 (a flag)
    format: opt.AnswerOption = opt.Answer.text,  # noqa: A002 (the option's name)
) -> None:
    """Say what is installed, cached and reachable. Nothing is changed, and no secret is shown.

    Exit codes: 0 audits work here, 1 something that they need is broken.
    """
    from auditor.doctor import examine

    with errors():
        checks = examine(offline=offline)
    failed = any(check.state == "fail" for check in checks)
    if format is opt.Answer.json:
        echo_json([check.as_dict() for check in checks])
        quit_with(int(failed))
    for check in checks:
        lead = f"{check.state:<5} {check.name:<{_LABEL}}"
        for label, text in (("", check.text), ("fix: ", check.fix)):
            if text:
                first = lead if not label else " " * len(lead) + label
                for line in textwrap.wrap(
                    visible(text, limit=1000),
                    width=80,
                    initial_indent=first,
                    subsequent_indent=" " * len(lead),
                    break_long_words=False,
                    break_on_hyphens=False,
                ):
                    typer.echo(line)
    quit_with(int(failed))
