"""YAML of strangers: read from parser events, so that nothing is built, expanded or resolved but plain text.

`yaml.safe_load` still expands aliases, lets the last of two keys win, turns `no` into False and recurses with
the input. Walking the events ourselves refuses the first, reports the next two and bounds the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import yaml

from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.compliance.claims.values import Notes

_BOOLEAN: Final = "tag:yaml.org,2002:bool"
_NULL: Final = "tag:yaml.org,2002:null"
_TEXT: Final = "tag:yaml.org,2002:str"
_PLAIN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A text. `kind` is what a YAML 1.1 reader (Python) takes an unquoted one for."""

    text: str
    line: int
    kind: str

    @property
    def is_null(self) -> bool:
        """An empty value, or a bare `null` or `~`."""
        return self.kind == _NULL

    @property
    def is_boolean(self) -> bool:
        """A bare yes, no, on, off, true or false."""
        return self.kind == _BOOLEAN

    @property
    def is_text(self) -> bool:
        """Text for every reader: quoted, or a word that means nothing else."""
        return self.kind == _TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """A map; keys that are not text are left out, keys that occur twice are all there, in order."""

    pairs: tuple[tuple[Scalar, Node], ...]
    line: int

    def get(self, key: str) -> Node | None:
        """Return the first value under `key`."""
        return next((node for name, node in self.pairs if name.text == key), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An alias, or something with a tag that asks for an object to be built."""

    line: int


Node: TypeAlias = Scalar | Sequence | Mapping | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What could be read.

    Attributes
    ----------
    roots : tuple of Node
        One for each document of the text.
    complete : bool
        False: reading stopped early, and what is absent may only be unread.
    """

    roots: tuple[Node, ...]
    complete: bool


def read_yaml(text: str, notes: Notes, *, first_line: int = 1) -> Document:
    r"""Read YAML text into plain nodes.

    Parameters
    ----------
    text : str
        Line ends as "\n". The caller has capped its length.
    notes : Notes
        Takes a problem for everything refused.
    first_line : int
        Line number of the first line of `text` in its file.

    Returns
    -------
    Document
        Everything before the first thing that could not be read. Never raises for any text.
    """
    walk = _Walk(text, notes, first_line)
    return Document(roots=walk.roots(), complete=not walk.broken)


class _Walk:
    def __init__(self, text: str, notes: Notes, first_line: int) -> None:
        self._text = text
        self._notes = notes
        self._first = first_line
        self._resolver = yaml.resolver.Resolver()
        # The pure Python parser and not the C one: the same text gives the same problems on every machine.
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._nodes = 0
        self.broken = False

    def roots(self) -> tuple[Node, ...]:
        found: list[Node] = []
        while not isinstance(event := self._next(), yaml.StreamEndEvent):
            if isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent | yaml.DocumentEndEvent):
                continue
            if len(found) == LIMITS.yaml_documents:
                self._stop("document-count", f"more than {LIMITS.yaml_documents}", self._line(event))
                break
            found.append(self._node(event, 1))
        return tuple(found)

    def _next(self) -> yaml.Event:
        """Return the next event, or the end of the stream once anything has gone wrong."""
        if not self.broken:
            try:
                return next(self._events)
            except StopIteration:
                pass
            except yaml.reader.ReaderError as error:
                line = self._first + self._text.count("\n", 0, error.position)
                self._stop("yaml-syntax", f"character U+{int(error.character):04X} is not allowed", line)
            except yaml.MarkedYAMLError as error:
                mark = error.problem_mark or error.context_mark
                line = self._first + (mark.line if mark else 0)
                self._stop("yaml-syntax", str(error.problem), line)
            except (yaml.YAMLError, ValueError, OverflowError) as error:
                # PyYAML lets chr() and int() fail on escapes and directives with absurd numbers
                self._stop("yaml-syntax", f"{type(error).__name__} in the parser", self._first)
        return yaml.StreamEndEvent()

    def _stop(self, code: str, message: str, line: int) -> None:
        self.broken = True
        self._notes.add(code, message, line=line)

    def _line(self, event: yaml.Event) -> int:
        return self._first + (event.start_mark.line if event.start_mark else 0)

    def _node(self, event: yaml.Event, depth: int) -> Node:
        line = self._line(event)
        self._nodes += 1
        if depth > LIMITS.yaml_depth:
            self._stop("too-deep", f"more than {LIMITS.yaml_depth} levels", line)
            return Refused(line=line)
        if self._nodes > LIMITS.yaml_nodes:
            self._stop("too-large", f"more than {LIMITS.yaml_nodes} values", line)
            return Refused(line=line)
        if isinstance(event, yaml.AliasEvent):
            self._notes.add("alias", f"alias *{event.anchor} is not expanded", line=line)
            return Refused(line=line)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = Scalar(text=event.value, line=line, kind=self._kind(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(line, depth)
        elif isinstance(event, yaml.MappingStartEvent):
            node = self._mapping(line, depth)
        else:  # the end of a stream that broke off
            return Refused(line=line)
        tag = getattr(event, "tag", None)
        if tag not in (None, "!") and tag not in _PLAIN_TAGS:
            self._notes.add("tag", f"tag {tag!r} is not followed", line=line)
            return Refused(line=line)
        return node

    def _kind(self, event: yaml.ScalarEvent) -> str:
        if event.tag in _PLAIN_TAGS:
            return str(event.tag)
        tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        return str(tag)

    def _sequence(self, line: int, depth: int) -> Sequence:
        items: list[Node] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent | yaml.StreamEndEvent):
            items.append(self._node(event, depth + 1))
        return Sequence(items=tuple(items), line=line)

    def _mapping(self, line: int, depth: int) -> Mapping:
        pairs: list[tuple[Scalar, Node]] = []
        seen: set[str] = set()
        while not isinstance(event := self._next(), yaml.MappingEndEvent | yaml.StreamEndEvent):
            key = self._node(event, depth + 1)
            event = self._next()
            if isinstance(event, yaml.StreamEndEvent):
                break
            value = self._node(event, depth + 1)
            if not isinstance(key, Scalar):
                self._notes.add("complex-key", "a key that is not plain text is ignored", line=key.line)
                continue
            if key.text == "<<" and key.kind != _TEXT:
                self._notes.add("yaml-merge", "a merge key is not followed", line=key.line)
                continue
            if key.text in seen:
                name = key.text[:80]
                self._notes.add("duplicate-key", f"{name!r} occurs again", line=key.line, key=name)
            seen.add(key.text)
            pairs.append((key, value))
        return Mapping(pairs=tuple(pairs), line=line)
