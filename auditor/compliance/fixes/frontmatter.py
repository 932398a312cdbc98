"""Where the fields of a card's front matter stand, for editing them in place."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditor.compliance.fixes.lineedit import LineEdit, Place

_ITEM: Final = re.compile(r"[ ]*-[ ]+")  # of a block list, up to the text
_REST: Final = re.compile(r"[ \t]*(?:[ \t]#.*)?")  # what may follow it on its line
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})


class DoubtError(Exception):
    """The edit is not certain to mean what it should."""


class Item(NamedTuple):
    """A text of a field: what it says, and from where to where it is written, quotes included."""

    text: str
    empty: bool
    style: str | None
    start: int
    stop: int


class Field(NamedTuple):
    """A key at the top: its texts, where the key begins, and from where to where the value is written."""

    kind: Literal["scalar", "block", "flow", "map"]
    items: tuple[Item, ...]
    key: int
    start: int
    stop: int


class Front:
    """Front matter as PyYAML sees it: where the fields at its top stand, as indexes into its text.

    Parameters
    ----------
    lines : sequence of str
        What stands between the two lines ---. It was read before: it is whole, bounded, and without aliases.

    Attributes
    ----------
    fields : dict of str to Field
    indent : int
        Column of the keys.

    Raises
    ------
    DoubtError
        When it is not written as one key to a line.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        # A tab at a line's end means nothing, and PyYAML refuses it: read as the blank it looks like.
        self._lines = [_blank_end(line) for line in lines]
        self._text = "\n".join(self._lines)
        self._starts = [0, *accumulate(len(line) + 1 for line in self._lines)]
        self.fields = dict(_fields(self._text))
        first = next((line for line in self._lines if line.strip() and not line.lstrip().startswith("#")), "")
        self.indent = len(first) - len(first.lstrip(" "))

    def place(self, index: int) -> Place:
        """Line of the file (the opening --- is line 0), and column."""
        line = bisect_right(self._starts, index) - 1
        return line + 1, index - self._starts[line]

    def last_line(self, field: Field) -> int:
        """Line on which the field's value ends."""
        stop = max([field.key, *(item.stop for item in field.items)]) if field.kind == "block" else field.stop
        return self.place(max(field.key, len(self._text[:stop].rstrip()) - 1))[0]

    def replace(self, edit: LineEdit, start: int, stop: int, text: str) -> None:
        """Replace a stretch, unless a comment would go with it."""
        if "\n" in self._text[start:stop] and "#" in self._text[start:stop]:
            raise DoubtError(f"line {self.place(start)[0] + 1}: a value of several lines, with a comment in it")
        if self._text[start:stop].endswith("\n"):  # a block scalar takes the line end with it
            stop = start + len(self._text[start:stop].rstrip())
        edit.replace(self.place(start), self.place(stop), text)

    def delete_item(self, edit: LineEdit, item: Item) -> None:
        """Take out the line of a block list's item, if it has one of its own."""
        line, column = self.place(item.start)
        text = self._lines[line - 1]
        end = self.place(item.stop)
        alone = _ITEM.fullmatch(text, 0, column) and end[0] == line and _REST.fullmatch(text, end[1])
        if not alone:
            raise DoubtError(f"line {line + 1}: an item that shares its lines")
        edit.delete(line)


def _blank_end(line: str) -> str:
    bare = line.rstrip(" \t")
    return bare + " " * (len(line) - len(bare)) if line.endswith("\t") else line


def _fields(text: str) -> Iterator[tuple[str, Field]]:
    """Walk the events of the root map."""
    events = yaml.parse(text, Loader=yaml.SafeLoader)
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent | yaml.DocumentEndEvent) and event.explicit:
            raise DoubtError("there are document marks inside the front matter")
        if isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent):
            break
    else:
        return
    if not isinstance(event, yaml.MappingStartEvent) or event.flow_style:
        raise DoubtError("the front matter is not written as one key to a line")
    for key in events:
        if isinstance(key, yaml.MappingEndEvent):
            break
        value = next(events)
        yield _text_of(key), _field(key, value, events)
    for event in events:
        if isinstance(event, yaml.DocumentEndEvent) and event.explicit:
            raise DoubtError("there are document marks inside the front matter")


def _text_of(key: yaml.Event) -> str:
    if not isinstance(key, yaml.ScalarEvent):
        raise DoubtError("a key of the front matter is no text")
    return str(key.value)


def _field(key: yaml.Event, value: yaml.Event, events: Iterator[yaml.Event]) -> Field:
    at = _span(key)[0]
    if isinstance(value, yaml.ScalarEvent):
        item = _item(value)
        return Field("scalar", (item,), at, item.start, item.stop)
    items: list[Item] = []
    depth, simple, end = 1, isinstance(value, yaml.SequenceStartEvent), value
    while depth and isinstance(value, yaml.CollectionStartEvent):
        end = next(events)
        depth += isinstance(end, yaml.CollectionStartEvent) - isinstance(end, yaml.CollectionEndEvent)
        if isinstance(end, yaml.ScalarEvent):
            items.append(_item(end))
        simple = simple and (isinstance(end, yaml.ScalarEvent) or depth == 0)
    flow = isinstance(value, yaml.SequenceStartEvent) and value.flow_style
    kind: Literal["block", "flow", "map"] = "map" if not simple else "flow" if flow else "block"
    return Field(kind, tuple(items) if simple else (), at, _span(value)[0], _span(end)[1])


def _item(event: yaml.ScalarEvent) -> Item:
    empty = not event.value.strip() or (event.style is None and event.value in _NULLS)
    return Item(event.value, empty, event.style, *_span(event))


def _span(event: yaml.Event) -> tuple[int, int]:
    if event.start_mark is None or event.end_mark is None:
        raise DoubtError("the YAML reader does not say where things stand")
    return event.start_mark.index, event.end_mark.index
