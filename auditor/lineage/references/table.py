"""The table of references, `fingerprints/references.toml`: what is known of each, and where it can be had.

Every key is understood or refused by name: a misspelt pin must not silently pin nothing.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from auditor.errors import BadReference, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

T = TypeVar("T")

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")  # also part of a file name in the cache
_REPO: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_KINDS: Final = {str: "a text", int: "a whole number", list: "an array", dict: "a table"}

_KEYS: Final = (
    "title", "license", "sketch", "sha256", "origin", "repo", "mirrors", "layers", "hidden_size", "neurons",
    "vocabulary", "pins", "super_weights", "descends_from", "note",
)  # fmt: skip
_EMPTY: Final[tuple[object, ...]] = ("", [])
_PIN_KEYS: Final = ("path", "sha256", "size", "sources")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A weight file of a reference whose digest is known.

    Attributes
    ----------
    path : str
        In the official repository, and in every mirror.
    sha256 : str
        Hex.
    size : int or None
        Bytes; None where only the digest was published.
    sources : int
        Independent public records seen that carry this digest.
    """

    path: str
    sha256: str
    size: int | None = None
    sources: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An entry of the library.

    Attributes
    ----------
    name, title, license : str
    origin : str
        Where the weights come from, for people.
    sketch : Path or None
        The sketch that ships with the project; None where its licence keeps it from shipping.
    sha256 : str or None
        Of that sketch.
    repo : str or None
        Official repository on the Hub.
    mirrors : tuple of str
        Repositories seen to carry the same bytes, for those who have no access to a gated one.
    layers, hidden_size, neurons, vocabulary : int or None
        Shape; None where it is not known. `neurons` are those of one MLP block.
    pins : tuple of Pin
        Every weight file of the repository, or empty: a set of which a part is pinned proves nothing.
    super_weights : tuple of (layer, row, column)
        Known coordinates in `down_proj`: Yu et al., *The Super Weight in Large Language Models*, arXiv 2411.07191.
    descends_from : str or None
        Name of the enrolled reference that this one was trained on from; None for a root.
    note : str or None
        What is not known, and why.
    """

    name: str
    title: str
    license: str
    origin: str = ""
    sketch: Path | None = None
    sha256: str | None = None
    repo: str | None = None
    mirrors: tuple[str, ...] = ()
    layers: int | None = None
    hidden_size: int | None = None
    neurons: int | None = None
    vocabulary: int | None = None
    pins: tuple[Pin, ...] = ()
    super_weights: tuple[tuple[int, int, int], ...] = ()
    descends_from: str | None = None
    note: str | None = None

    @property
    def repos(self) -> tuple[str, ...]:
        """Where it can be had, the official repository first."""
        return (*([self.repo] if self.repo else ()), *self.mirrors)

    @property
    def command(self) -> str:
        """What makes its sketch."""
        return f"auditor references build {self.name}"


def library_folder() -> Path:
    """Return the folder of the library: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "_fingerprints"
    return installed if installed.is_dir() else package.parent / "fingerprints"


def list_references(folder: Path | None = None) -> tuple[Reference, ...]:
    """Read the table of references, in its own order.

    Raises
    ------
    BadReference
        When the table is missing, does not parse, or breaks a rule; names the entry and the key.
    """
    folder = folder or library_folder()
    path = folder / "references.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadReference(f"{path}: not a table of references: {reason}") from error
    return _parse(text, folder)


@lru_cache(maxsize=4)  # a sweep asks for every target
def _parse(text: str, folder: Path) -> tuple[Reference, ...]:
    path = folder / "references.toml"
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadReference(f"{path}: not a table of references: {error}") from error
    top = _Table(document, where=str(path), keys=("reference",))
    entries = _Table(top.get("reference", dict), where=f"{path}: reference", keys=None)
    found = tuple(_reference(name, entries.get(name, dict), folder, str(path)) for name in entries.names)
    names = {reference.name for reference in found}
    for reference in found:
        parent = reference.descends_from
        if parent is not None and (parent not in names or parent == reference.name):
            where = f"{path}: {reference.name}: descends_from"
            raise BadReference(f"{where}: {parent!r} is no other reference of the table; {nearest(parent, names)}")
    return found


def find_reference(name: str, *, folder: Path | None = None) -> Reference:
    """Return a reference of the library by name.

    Raises
    ------
    UsageError
        When there is no such name; says the nearest one.
    BadReference
        When the table cannot be read.
    """
    known = {reference.name: reference for reference in list_references(folder)}
    if name not in known:
        raise UsageError(f"{name}: no such reference, path or sketch; {nearest(name, known)}")
    return known[name]


def nearest(name: str, known: Collection[str]) -> str:
    """Say the nearest known name, or list the known ones.

    Examples
    --------
    >>> nearest("lama-2-7b", ["llama-2-7b", "llama-2-13b"])
    'did you mean llama-2-7b?'
    """
    close = difflib.get_close_matches(name[:64], known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known) or 'none'}"


def is_sha256(text: str) -> bool:
    """Say whether a text is a SHA-256 as this project writes it: 64 lower-case hex digits."""
    return _SHA256.fullmatch(text) is not None


def _reference(name: str, raw: Mapping[str, object], folder: Path, path: str) -> Reference:
    table = _Table(raw, where=f"{path}: {name}", keys=_KEYS)
    if not _NAME.fullmatch(name):
        raise table.refuse("name", "must be lower-case letters, digits, '-' and '.', at most 64")
    sketch, sha256, repo = table.optional("sketch", str), table.optional("sha256", str), table.optional("repo", str)
    if (sketch is None) != (sha256 is None):
        raise table.refuse("sketch", "a sketch that ships needs its sha256, and the other way round")
    if sketch is None and repo is None:
        raise table.refuse("repo", "missing, and there is no sketch either: the reference could not be had")
    if sha256 is not None and not is_sha256(sha256):
        raise table.refuse("sha256", "must be 64 lower-case hex digits")
    mirrors = tuple(_text(item, table, "mirrors") for item in table.optional("mirrors", list) or ())
    for id_ in (*([repo] if repo else ()), *mirrors):
        if not _REPO.fullmatch(id_):
            raise table.refuse("repo", f"{id_!r} is no repository id")
    return Reference(
        name=name,
        title=table.get("title", str),
        license=table.get("license", str),
        origin=table.optional("origin", str) or f"{repo} on the Hub",
        sketch=None if sketch is None else folder / sketch,
        sha256=sha256,
        repo=repo,
        mirrors=mirrors,
        layers=table.count("layers"),
        hidden_size=table.count("hidden_size"),
        neurons=table.count("neurons"),
        vocabulary=table.count("vocabulary"),
        pins=_pins(table),
        super_weights=tuple(_coordinates(item, table) for item in table.optional("super_weights", list) or ()),
        descends_from=table.optional("descends_from", str),
        note=table.optional("note", str),
    )


def _pins(table: _Table) -> tuple[Pin, ...]:
    pins = []
    for item in table.optional("pins", list) or ():
        if not isinstance(item, dict):
            raise table.refuse("pins", "must hold tables: { path = ..., sha256 = ... }")
        pin = _Table(item, where=f"{table.where}: pins", keys=_PIN_KEYS)
        sha256 = pin.get("sha256", str)
        if not is_sha256(sha256):
            raise pin.refuse("sha256", "must be 64 lower-case hex digits")
        path = pin.get("path", str)
        pins.append(Pin(path=path, sha256=sha256, size=pin.count("size"), sources=pin.count("sources") or 1))
    if len({pin.path for pin in pins}) != len(pins) or len({pin.sha256 for pin in pins}) != len(pins):
        raise table.refuse("pins", "a path or a digest twice")
    return tuple(pins)


def _coordinates(item: object, table: _Table) -> tuple[int, int, int]:
    if isinstance(item, list) and len(item) == 3 and all(type(part) is int and part >= 0 for part in item):
        return item[0], item[1], item[2]
    raise table.refuse("super_weights", "must hold [layer, row, column], whole numbers")


def _text(item: object, table: _Table, key: str) -> str:
    if isinstance(item, str) and item.strip():
        return item
    raise table.refuse(key, "must hold texts")


class _Table:
    """One table of the file, read key by key; every refusal names where it stands."""

    def __init__(self, raw: Mapping[str, object], *, where: str, keys: Collection[str] | None) -> None:
        self._raw = raw
        self.where = where
        self.names = tuple(raw)
        for key in raw:
            if keys is not None and key not in keys:
                raise self.refuse(key, f"unknown key; {nearest(key, keys)}")

    def refuse(self, key: str, problem: str) -> BadReference:
        """Make the error for a key, for the caller to raise."""
        return BadReference(f"{self.where}: {key}: {problem}")

    def optional(self, key: str, kind: type[T]) -> T | None:
        """Return the value of a key, which may be absent; texts and arrays that are there must not be empty."""
        if key not in self._raw:
            return None
        value = self._raw[key]
        if not isinstance(value, kind) or type(value) is not kind:
            raise self.refuse(key, f"must be {_KINDS[kind]}")
        if value in _EMPTY:
            raise self.refuse(key, "must not be empty; leave it out where nothing is known")
        return value

    def get(self, key: str, kind: type[T]) -> T:
        """Return the value of a mandatory key."""
        value = self.optional(key, kind)
        if value is None:
            raise self.refuse(key, "missing, and mandatory")
        return value

    def count(self, key: str) -> int | None:
        """Return a number of at least one, which may be absent."""
        value = self.optional(key, int)
        if value is not None and value < 1:
            raise self.refuse(key, "must be at least 1")
        return value
