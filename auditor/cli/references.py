"""Commands about the library of references."""

from __future__ import annotations

import typer

from auditor.cli import options as opt
from auditor.cli.console import echo_json, errors


def list_(format: opt.FormatOption = opt.Format.text) -> None:  # noqa: A002 (the option's name)
    """List the references that `scan` holds a target against."""
    from auditor.lineage import list_references

    with errors():
        references = list_references()
    if format is opt.Format.json:
        echo_json([
            {"name": r.name, "title": r.title, "license": r.license, "origin": r.origin, "sha256": r.sha256}
            for r in references
        ])  # fmt: skip
        return
    width = max((len(r.name) for r in references), default=0)
    for reference in references:
        typer.echo(f"{reference.name:<{width}}  {reference.license:<12}  {reference.title}")
