"""What a command is doing meanwhile, on standard error, where somebody is watching.

Nothing is drawn by a command that is done at once, in continuous integration, or where standard error is no terminal;
what was drawn is gone when the command has its answer.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Self, TextIO

import typer

from auditor.cli.console import in_ci
from auditor.escape import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType
    from rich.live import Live
    from rich.progress import Progress as Rows

    from auditor.sources import Counting, Source

_QUIET = 0.5
"""Seconds before anything is drawn: most scans of a folder take no longer."""
_A_SECOND = 8  # times that it is drawn anew
_QUIET_STYLES = {
    "bar.complete": "cyan",
    "progress.download": "none",
    "progress.elapsed": "dim",
    "progress.spinner": "cyan",
}


def is_watched(stream: TextIO) -> bool:
    """Say whether a stream is a terminal that somebody looks at, and more than lines of text can be shown there."""
    return stream.isatty() and not in_ci() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}


class Progress:
    """A line or two on standard error for what takes longer: bytes hashed, bytes read from afar, or what is done.

    May be told of progress from any thread. It draws by itself, so telling costs nothing.

    Parameters
    ----------
    what : str
        What becomes of the bytes that `progress(done, total)` counts.
    phase : str
        What is done while none are counted.
    """

    def __init__(self, what: str, *, phase: str = "reading") -> None:
        self._what = what
        self._phase = phase
        self._bytes = (0, 0)
        self._source: Counting | None = None
        self._watched = is_watched(sys.stderr)
        self._lock = threading.Lock()  # of what follows; never taken while drawing
        self._silent = 0
        self._due = False
        self._over = False
        self._live: Live | None = None
        self._timer = threading.Timer(_QUIET, self._begin)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        if self._watched:
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._over = True
            self._erase()

    def __call__(self, done: int, total: int) -> None:
        """Take note of how many bytes are done."""
        self._bytes = (done, total)

    def watch(self, source: Source) -> None:
        """Show what is being read of a source that is far away."""
        from auditor.sources import Counting

        if isinstance(source, Counting):
            self._source = source

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Draw nothing meanwhile: somebody is being asked something."""
        with self._lock:
            self._silent += 1
            self._erase()
        try:
            yield
        finally:
            with self._lock:
                self._silent -= 1
            if self._due:
                self._draw()

    def say(self, text: str) -> None:
        """Say what takes a while, where somebody is watching: a line that stays."""
        if not self._watched:
            return
        with self._lock:
            if self._live is None:
                typer.echo(visible(text), err=True)
            else:
                self._live.console.print(visible(text), soft_wrap=True)

    def _begin(self) -> None:
        self._due = True
        self._draw()

    def _draw(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.theme import Theme

        drawing = _Drawing(self._what, self._phase)
        with self._lock:
            if self._over or self._silent or self._live is not None:
                return
            self._live = Live(
                console=Console(stderr=True, highlight=False, markup=False, emoji=False, theme=Theme(_QUIET_STYLES)),
                get_renderable=lambda: drawing.rows(self._bytes, self._source),
                transient=True,
                refresh_per_second=_A_SECOND,
                redirect_stdout=False,  # what is printed is the answer, and never passes through here
                redirect_stderr=False,
            )
            self._live.start(refresh=True)

    def _erase(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()


class _Drawing:
    """The rows as they look now."""

    def __init__(self, what: str, phase: str) -> None:
        from rich import progress as columns

        plain = not (sys.stderr.encoding or "").lower().startswith("utf")
        text = columns.TextColumn("{task.description}", markup=False)
        self._phase = phase
        self._first: tuple[float, int] | None = None
        self._counted: Rows = columns.Progress(
            text,
            columns.BarColumn(bar_width=20),
            columns.DownloadColumn(),
            columns.TextColumn("{task.fields[rate]}", style="dim", markup=False),
        )
        self._others: Rows = columns.Progress(
            columns.SpinnerColumn("line" if plain else "dots"), text, columns.TimeElapsedColumn()
        )
        self._hashed = self._counted.add_task(what, total=None, rate="")
        self._doing = self._others.add_task(phase, total=None)

    def rows(self, counted: tuple[int, int], source: Counting | None) -> RenderableType:
        """Return what to draw: the bar while bytes are counted, beside or instead of it what else is done."""
        from rich.console import Group

        from auditor.report.words import size

        done, total = counted
        shown: list[Rows] = []
        if done < total:
            self._counted.update(self._hashed, completed=done, total=total, rate=self._rate(done, total))
            shown.append(self._counted)
        if source is not None:
            read = f"{size(source.http_bytes)} in {source.http_requests} requests"
            self._others.update(self._doing, description=f"{self._phase}: {read}")
        if source is not None or not shown:
            shown.append(self._others)
        return Group(*shown)

    def _rate(self, done: int, total: int) -> str:
        """Say how fast it goes and how long it will take, from the mean: bytes are counted in large pieces."""
        from auditor.report.words import size

        now = time.monotonic()
        since, before = self._first = self._first or (now, done)
        if now - since < _QUIET or done == before:
            return ""
        rate = (done - before) / (now - since)
        return f"{size(int(rate))}/s  {timedelta(seconds=round((total - done) / rate))} left"
