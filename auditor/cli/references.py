"""Commands about the library of references: list, build, verify, export, import."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (typer looks at it)
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli import options as opt
from auditor.cli.console import echo_json, errors
from auditor.escape import visible
from auditor.writing import write_whole

if TYPE_CHECKING:
    from auditor.lineage.references import Installed, Reference

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A reference of the library.", show_default=False)]


def list_(format: opt.AnswerOption = opt.Answer.text) -> None:  # noqa: A002 (the option's name)
    """List the references that `scan` holds a target against, and which of them are on this machine."""
    from auditor.lineage import list_references

    with errors():
        references = list_references()
        states = {reference.name: _state(reference) for reference in references}
    if format is opt.Answer.json:
        echo_json([
            {
                "name": r.name,
                "title": r.title,
                "license": r.license,
                "state": states[r.name],
                "origin": r.origin,
                "repos": list(r.repos),
                "sha256": r.sha256,
                "pins": {pin.path: pin.sha256 for pin in r.pins},
                "descends_from": r.descends_from,
            }
            for r in references
        ])  # fmt: skip
        return
    width = max((len(r.name) for r in references), default=0)
    for r in references:
        typer.echo(f"{r.name:<{width}}  {r.license:<12}  {states[r.name]:<9}  {r.title}")


def build(
    name: NameArgument,
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="A licensed copy on this machine. Default: its repository.", show_default=False),
    ] = None,
    deep: Annotated[  # noqa: FBT002 (a flag)
        bool,
        typer.Option("--deep", help="With --from: also keep what finds disguised derivatives without their tokens."),
    ] = False,
) -> None:
    """Make the sketch of a reference from its weights, by ranged reads, and keep it in the cache.

    Files are taken only with the digests that the library pins. A gated repository needs HF_TOKEN of an account that
    accepted its terms.
    """
    from auditor.enrolling import build as run

    with errors():
        done = run(name, folder=str(from_) if from_ else None, deep=deep, notify=_notify)
        _say(done)


def verify(name: NameArgument) -> None:
    """Check that the sketch of a reference is whole, and that its origin is what the library pins."""
    from auditor.lineage.references import verify_reference

    with errors():
        _say(verify_reference(name))


def export(
    name: NameArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)],
) -> None:
    """Write the sketch of a reference to a file, for a machine that reaches no Hub."""
    from auditor.lineage.references import export_reference

    with errors():
        data, sha256 = export_reference(name)
        write_whole(output, data)
        typer.echo(f"{visible(str(output))}: {len(data)} bytes", err=True)
        typer.echo(sha256)


def import_(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="As `export` wrote it.", show_default=False)],
    sha256: Annotated[str, typer.Option("--sha256", help="Digest that `export` printed.", show_default=False)],
) -> None:
    """Take over the sketch of a reference that another machine made; refused unless its digest is the one given."""
    from auditor.lineage.references import import_reference

    with errors():
        _say(import_reference(path, sha256.removeprefix("sha256:")))


def _state(reference: Reference) -> str:
    from auditor.lineage.references import has_sketch

    if reference.sketch is not None:
        return "shipped"
    return "built" if has_sketch(reference) else "not built"


def _notify(text: str) -> None:
    typer.echo(visible(text), err=True)


def _say(done: Installed) -> None:
    at = f" at {visible(done.revision)}" if done.revision else ""
    where = f"{visible(done.repo)}{at}" if done.repo else "weights on another machine or folder"
    pinned = "every weight file has its pinned digest" if done.pinned else "no digests are pinned for it"
    typer.echo(f"{visible(done.name)}  {done.sha256}")
    typer.echo(f"from       {'the package' if done.shipped else where}; {pinned}", err=True)
    typer.echo(f"kept in    {visible(str(done.path))}, {done.size} bytes", err=True)
