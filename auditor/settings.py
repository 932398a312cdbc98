"""What a user chose once: `[tool.auditor]` of a pyproject.toml, or the same keys in an auditor.toml.

Each key is an option of the command line by its long name, so there is one spelling to learn. Statements and waivers
stand in the same file and are read elsewhere (`auditor.compliance.statements`). The file is the user's and never the
target's: one that lies inside the target is only used when it is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from auditor.errors import ConfigError, UsageError
from auditor.limits import LIMITS
from auditor.usertoml import SETTINGS, check_tables, hint, load, user_tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONFIG_FILES: Final = ("auditor.toml", "pyproject.toml")
"""Looked for in the folder that a command runs in; the first that is there and speaks of this tool is used."""

Kind = Literal["text", "texts", "flag", "size"]

KINDS: Final[Mapping[str, Kind]] = {
    "against": "texts",
    "base": "text",
    "baseline": "text",
    "build-references": "flag",
    "fail-on": "text",
    "fail-on-incomplete": "flag",
    "format": "text",
    "full": "flag",
    "layers": "text",
    "max-bytes": "size",
    "output": "texts",
    "policy": "texts",
    "profile": "text",
    "quick": "flag",
    "strict": "flag",
    "targets": "texts",
}
"""Every setting, and what may stand there."""

CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "fail-on": ("fail", "warn", "manual", "never"),
    "format": ("text", "json", "sarif", "junit", "gitlab", "markdown", "html", "cyclonedx"),
    "layers": ("auto", "few", "all"),
    "profile": ("publisher", "deployer", "internal"),
}
"""Settings that take one of a few texts; a test holds them against the options of the command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a file of settings says.

    Attributes
    ----------
    file : str
    values : dict
        Long name of an option, without dashes, to a str, bool or tuple of str; `targets` among them.
    """

    file: str
    values: Mapping[str, str | bool | tuple[str, ...]]

    @property
    def targets(self) -> tuple[str, ...]:
        """What `auditor gate models` audits where it is given no list."""
        targets = self.values.get("targets", ())
        return targets if isinstance(targets, tuple) else ()


def find_settings(folder: Path) -> Path | None:
    """Return the file of settings of a folder: `auditor.toml`, or a `pyproject.toml` that has a `[tool.auditor]`.

    Raises
    ------
    UsageError, ConfigError
        When there is one that cannot be read, or that may be meant and is no TOML.
    """
    own, project = (folder / name for name in CONFIG_FILES)
    if own.is_file():
        return own
    if not project.is_file():
        return None
    data = _read(project)
    if b"auditor" not in data:  # most are not about this tool, and whether they are in order is others' business
        return None
    tool = load(data, file=str(project)).get("tool")
    return project if isinstance(tool, dict) and "auditor" in tool else None


def read_settings(path: Path) -> Settings:
    """Read a file of settings, all of it or none.

    Raises
    ------
    UsageError
        When it cannot be read.
    ConfigError
        For the first key that is unknown, with the nearest known one, or value of the wrong type.
    """
    return parse_settings(_read(path), file=str(path))


def parse_settings(data: bytes, *, file: str) -> Settings:
    """Parse what `read_settings` reads.

    Raises
    ------
    ConfigError
    """
    document = user_tables(load(data, file=file), file=file)
    check_tables(document, file=file)
    values = {key: _value(key, document[key], file=file) for key in SETTINGS if key in document}
    return Settings(file=file, values=values)


def _value(key: str, value: object, *, file: str) -> str | bool | tuple[str, ...]:
    def wrong(problem: str) -> ConfigError:
        return ConfigError(file=file, key=key, problem=problem, value=value)

    kind = KINDS[key]
    if kind == "flag":
        if not isinstance(value, bool):
            raise wrong("must be true or false, without quotes")
        return value
    if kind == "texts":
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) and item.strip() for item in items):
            raise wrong("must be a list of texts that are not empty")
        return tuple(items)
    if kind == "size" and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise wrong("must be a number of bytes, as 20000000 or '20MB'" if kind == "size" else "must be a text")
    if key in CHOICES and value not in CHOICES[key]:
        raise wrong(f"none of its values; {hint(value, CHOICES[key])}")
    return value


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LIMITS.settings_bytes + 1)  # one over the limit is refused where it is parsed
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
