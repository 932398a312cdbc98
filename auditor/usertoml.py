"""Strict reading of the user's own `auditor.toml`: every table, key and value is understood, or refused by name.

A misspelt key in a waiver must not silently widen it, so nothing unknown is stepped over. The file is the user's
and never the target's: a model that could bring its own waivers would clear itself.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from datetime import date
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from auditor.errors import ConfigError
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

SETTINGS: Final = (
    "against", "base", "baseline", "build-references", "fail-on", "fail-on-incomplete", "format", "full", "layers",
    "max-bytes", "output", "policy", "profile", "quick", "strict", "targets",
)  # fmt: skip
"""Keys that stand for an option of the command line; `auditor.settings` reads them."""

TABLES: Final = ("statement", "waiver", *SETTINGS)
"""Top-level tables and keys that an `auditor.toml` may hold. A part that reads another one adds a name."""

_ISO_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")  # fromisoformat takes weeks and bare digits as well
_LISTED: Final = 12  # known names worth listing in one line
_COMPARED: Final = 64  # characters of a misspelt name that are compared with the known ones


def load(data: bytes, *, file: str) -> dict[str, object]:
    """Parse TOML bytes; what the tables are called is not looked at.

    Parameters
    ----------
    data : bytes
        UTF-8; a byte order mark before it is dropped, because Windows editors write one and it means nothing here.
    file : str
        What messages call the file.

    Raises
    ------
    ConfigError
        When it is too large, no UTF-8 text or no TOML.
    """
    if len(data) > LIMITS.settings_bytes:
        raise ConfigError(
            file=file, problem=f"{len(data)} bytes, over the limit of {LIMITS.settings_bytes} for such a file"
        )
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ConfigError(file=file, problem=f"not UTF-8 text at byte {error.start}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if (dots := line.count(".")) > LIMITS.settings_dots:
            problem = f"{dots} dots, over the limit of {LIMITS.settings_dots}: break the line"
            raise ConfigError(file=file, entry=f"line {number}", problem=problem)
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(file=file, problem="nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError, and the plain one for integers that CPython refuses to convert
        raise ConfigError(file=file, problem=f"not TOML: {error}") from error


def user_tables(document: Mapping[str, object], *, file: str) -> Mapping[str, object]:
    """Return what is meant for this tool: all of an `auditor.toml`, `[tool.auditor]` of a `pyproject.toml`.

    Raises
    ------
    ConfigError
        For a `pyproject.toml` without that table.
    """
    if PurePath(file).name != "pyproject.toml":
        return document
    tool = document.get("tool")
    ours = tool.get("auditor") if isinstance(tool, dict) else None
    if not isinstance(ours, dict):
        raise ConfigError(file=file, key="tool.auditor", problem="there is no such table")
    return ours


def check_tables(document: Mapping[str, object], *, file: str, known: Collection[str] = TABLES) -> None:
    """Refuse a top-level table or key that nothing reads.

    Raises
    ------
    ConfigError
        When there is one; says the nearest known name.
    """
    for name in document:
        if name not in known:
            raise ConfigError(file=file, key=name, problem=f"unknown table; {hint(name, known)}")


def hint(name: str, known: Iterable[str]) -> str:
    """Say the nearest known name, or list the known ones.

    Examples
    --------
    >>> hint("mau-01", ["LIC-001", "MAU-001"])
    'did you mean MAU-001?'
    >>> hint("colour", ["rule", "who"])
    'known: rule, who'
    """
    by_folded = {candidate.casefold(): candidate for candidate in sorted(known)}
    if close := difflib.get_close_matches(name[:_COMPARED].casefold(), by_folded, n=1):
        return f"did you mean {by_folded[close[0]]}?"
    names = list(by_folded.values())
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"known: {', '.join(names[:_LISTED]) or 'none'}{rest}"


class Entry:
    """One table of an array, read key by key; every refusal names the file, the entry and the key.

    Parameters
    ----------
    table : mapping
        As tomllib gave it.
    file : str
    name : str
        "[[waiver]] 2".
    """

    __slots__ = ("_table", "file", "name")

    def __init__(self, table: Mapping[str, object], *, file: str, name: str) -> None:
        self._table = table
        self.file = file
        self.name = name

    def __contains__(self, key: str) -> bool:
        return key in self._table

    def refuse(self, key: str, problem: str) -> ConfigError:
        """Make the error for what stands under `key`, for the caller to raise."""
        return ConfigError(file=self.file, entry=self.name, key=key, problem=problem, value=self._table.get(key))

    def text(self, key: str, *, default: str | None = None) -> str:
        """Return a text without the space around it; it must not be blank. Without `default` it is mandatory."""
        if key not in self._table and default is not None:
            return default
        value = self._mandatory(key)
        if not isinstance(value, str):
            raise self.refuse(key, "must be a text, in quotes")
        if not value.strip():
            raise self.refuse(key, "must not be empty")
        return value.strip()

    def prose(self, key: str) -> str:
        """Return a mandatory text that a person is to be held to: "...", "-" or invisible characters say nothing."""
        value = self.text(key)
        if not any(char.isalnum() for char in value):
            raise self.refuse(key, "must say something in words")
        return value

    def one_of(self, key: str, known: Collection[str], *, default: str | None = None) -> str:
        """Return a text that is one of `known`."""
        value = self.text(key, default=default)
        if value not in known:
            raise self.refuse(key, "must be " + " or ".join(f'"{name}"' for name in known))
        return value

    def day(self, key: str) -> date:
        """Return a mandatory date: a TOML date, or a text like "2026-11-02". A time of day is refused."""
        value = self._mandatory(key)
        if isinstance(value, str):
            value = value.strip()
            try:
                return date.fromisoformat(value if _ISO_DATE.fullmatch(value) else "")
            except ValueError:
                problem = "must be a date of the calendar, like 2026-11-02" if value else "must not be empty"
                raise self.refuse(key, problem) from None
        if type(value) is date:  # a datetime is a date to isinstance
            return value
        raise self.refuse(key, "must be a date, like 2026-11-02")

    def _mandatory(self, key: str) -> object:
        if key not in self._table:
            raise self.refuse(key, "missing, and mandatory")
        return self._table[key]


def entries(document: Mapping[str, object], table: str, *, file: str, keys: Collection[str]) -> tuple[Entry, ...]:
    """Return the entries of an array of tables, `[[table]]`, after checking that their keys are known.

    Raises
    ------
    ConfigError
        When it is no array of tables, or a key of an entry is not one of `keys`.
    """
    value = document.get(table, [])
    if not isinstance(value, list):
        problem = f"must be an array of tables: write [[{table}]]"
        raise ConfigError(file=file, key=table, problem=problem, value=value)
    found: list[Entry] = []
    for number, item in enumerate(value, start=1):
        name = f"[[{table}]] {number}"
        if not isinstance(item, dict):
            problem = f"must be a table: write [[{table}]]"
            raise ConfigError(file=file, entry=name, problem=problem, value=item)
        for key in item:
            if key not in keys:
                raise ConfigError(file=file, entry=name, key=key, problem=f"unknown key; {hint(key, keys)}")
        found.append(Entry(item, file=file, name=name))
    return tuple(found)
