"""Where reports go: one format to standard output, any number of them to files, each file whole or not at all."""

from __future__ import annotations

import difflib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from auditor.cli.console import in_ci
from auditor.cli.options import Format
from auditor.errors import UsageError
from auditor.escape import visible
from auditor.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.report import Placed


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What is rendered, and where to.

    Attributes
    ----------
    printed : Format or None
        To standard output; None where a file was asked for instead.
    files : tuple of (Format, Path)
    """

    printed: Format | None
    files: tuple[tuple[Format, Path], ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file that is written."""
        return tuple(path for _, path in self.files)

    def check(self) -> None:
        """Refuse what cannot be written before an audit takes its time.

        Raises
        ------
        UsageError
        """
        for path in self.paths:
            if not path.parent.is_dir():
                raise UsageError(f"{path}: there is no such folder")
        if twice := next((path for path in self.paths if self.paths.count(path) > 1), None):
            raise UsageError(f"{twice}: two reports would be written to it")


def parse_outputs(format_: Format, outputs: Sequence[str] | None) -> Outputs:
    """Read `--format` and every `--output`: FILE takes the report off standard output, FORMAT=FILE adds one.

    Raises
    ------
    UsageError
        For a FILE given twice, a folder that is not there, or what looks like a misspelt FORMAT=.
    """
    printed: Format | None = format_
    files: list[tuple[Format, Path]] = []
    for given in outputs or ():
        name, equals, file = given.partition("=")
        if equals and file and name in Format.__members__:
            files.append((Format(name), Path(file)))
            continue
        if equals and re.fullmatch("[a-z]+", name) and (close := difflib.get_close_matches(name, Format, n=1)):
            raise UsageError(f"--output {given}: no such format; did you mean {close[0]}={file}?")
        if printed is None:
            raise UsageError(f"--output {given}: a second file; say its format, as sarif={given}")
        printed = None
        files.append((format_, Path(given)))
    found = Outputs(printed=printed, files=tuple(files))
    found.check()
    return found


def emit(placed: Sequence[Placed], outputs: Outputs) -> None:
    """Render reports, and write them where they were asked for.

    Files, pipes and continuous integration get a format as it is; a terminal gets the text with colours and a table.
    """
    from auditor.cli.progress import is_watched
    from auditor.report import render
    from auditor.report.text import carried

    texts = [(path, render(format_, placed).encode()) for format_, path in outputs.files]
    for path, data in texts:
        write_whole(path, data)
        verdicts = ", ".join(dict.fromkeys(f"{each.report.lineage.verdict}" for each in placed))
        code = max(each.report.exit_code for each in placed)
        typer.echo(f"{verdicts}, exit {code}; report in {visible(str(path))}", err=True)
    if outputs.printed is Format.text and (is_watched(sys.stdout) or (os.environ.get("FORCE_COLOR") and not in_ci())):
        from auditor.cli.terminal import show

        show(placed)
    elif outputs.printed is not None:
        typer.echo(carried(render(outputs.printed, placed), sys.stdout.encoding or "utf-8"), nl=False)
