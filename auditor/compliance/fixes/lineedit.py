r"""Edit a text in place: what is not touched keeps every byte, and the diff follows from the edits.

Comparing two texts to find out what changed takes time that a hostile file can choose; here it is known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Place: TypeAlias = tuple[int, int]
"""Line and column, both from 0."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # not splitlines(): that also breaks at form feeds and U+2028
_CONTEXT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NotEdited:
    """Why a file is left alone."""

    reason: str


class LineEdit:
    r"""A text and the changes made to it so far.

    Places are those of the text as it was given; make edits on one line from right to left. Added lines end as the
    text's first line does.

    Parameters
    ----------
    text : str
        With whatever line ends.

    Attributes
    ----------
    lines : tuple of str
        The lines as given, without their ends.

    Examples
    --------
    >>> edit = LineEdit("a: 1\r\nb: 2\r\n")
    >>> edit.replace((0, 3), (0, 4), "x")
    >>> edit.insert(1, ["c: 3"])
    >>> edit.text
    'a: x\r\nc: 3\r\nb: 2\r\n'
    >>> edit.diff()
    ('@@ -1,2 +1,3 @@', '-a: 1', '+a: x', '+c: 3', ' b: 2')
    """

    def __init__(self, text: str) -> None:
        whole = _LINE.findall(text)
        self.lines: tuple[str, ...] = tuple(line.rstrip("\r\n") for line in whole)
        self._ends = tuple(line[len(bare) :] for line, bare in zip(whole, self.lines, strict=True))
        self._end = next((end for end in self._ends if end), "\n")
        self._now: dict[int, str | None] = {}  # changed lines; None for one that is gone
        self._new: dict[int, list[str]] = {}  # lines put before a line

    def insert(self, before: int, lines: Sequence[str]) -> None:
        """Put whole lines before a line; after those that were put there already."""
        self._new.setdefault(before, []).extend(lines)

    def delete(self, line: int) -> None:
        """Take a whole line out."""
        self._now[line] = None

    def replace(self, start: Place, stop: Place, text: str) -> None:
        """Put `text`, which has no line ends, in the place of what stands from `start` up to `stop`."""
        tail = self._line(stop[0])[stop[1] :]
        self._now[start[0]] = self._line(start[0])[: start[1]] + text + tail
        for line in range(start[0] + 1, stop[0] + 1):
            self._now[line] = None

    def _line(self, line: int) -> str:
        now = self._now.get(line)
        return self.lines[line] if now is None else now

    @property
    def text(self) -> str:
        """The text as edited."""
        parts: list[str] = []
        for number in range(len(self.lines) + 1):
            for line in self._new.get(number, ()):
                if parts and not parts[-1].endswith(("\r", "\n")):
                    parts.append(self._end)
                parts.append(line + self._end)
            if number < len(self.lines) and (now := self._now.get(number, self.lines[number])) is not None:
                parts.append(now + self._ends[number])
        return "".join(parts)

    def diff(self) -> tuple[str, ...]:
        """Return the hunks of a unified diff, without line ends. Text of the file, not escaped."""
        rows = list(self._rows())
        runs: list[tuple[int, int]] = []
        for index in (i for i, (mark, _) in enumerate(rows) if mark != " "):
            start, stop = max(0, index - _CONTEXT), min(len(rows), index + _CONTEXT + 1)
            if runs and start <= runs[-1][1]:
                start = runs.pop()[0]
            runs.append((start, stop))
        out: list[str] = []
        before = after = at = 0  # lines of either side, and rows, that were passed
        for start, stop in runs:
            before, after = before + start - at, after + start - at  # what no run shows is the same on both sides
            old = sum(mark != "+" for mark, _ in rows[start:stop])
            new = sum(mark != "-" for mark, _ in rows[start:stop])
            # An empty side is named by the line before it.
            out.append(f"@@ -{before + (old > 0)},{old} +{after + (new > 0)},{new} @@")
            out += (mark + line for mark, line in rows[start:stop])
            before, after, at = before + old, after + new, stop
        return tuple(out)

    def _rows(self) -> Iterator[tuple[str, str]]:
        """Every line with its mark: all that is taken out of one place before all that is put there."""
        put: list[tuple[str, str]] = []
        for number in range(len(self.lines) + 1):
            put += [("+", line) for line in self._new.get(number, ())]
            if number == len(self.lines):
                break
            line = self.lines[number]
            now = self._now.get(number, line)
            if now == line:
                yield from put
                put = []
                yield " ", line
            else:
                yield "-", line
                put += [("+", now)] if now is not None else []
        yield from put
