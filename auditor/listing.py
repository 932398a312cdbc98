"""Lists of models: which targets a repository names, and on which line, so that a finding can point there.

A list is YAML or JSON (`models.yaml`), or a text file with one target a line. Nothing in it is executed, resolved or
aliased: nodes are walked as they were composed, each with its place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

import yaml

from auditor.errors import ConfigError, UsageError
from auditor.limits import LIMITS
from auditor.report.results import Place
from auditor.usertoml import hint

if TYPE_CHECKING:
    from collections.abc import Iterator

_TEXTS: Final = ("target", "name", "attestation", "key", "identity", "issuer", "trust-config", "base")
_LISTS: Final = ("against",)
KEYS: Final = (*_TEXTS, *_LISTS)
"""What an entry of a list may say beside its target; `models` holds the entries."""

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})

_PLAIN: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "timestamp"))
"""What a plain scalar can look like to YAML; each is taken as the text that stands there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model that a list names.

    Attributes
    ----------
    target : str
        Folder, file or repository. A relative path is from where the command runs.
    place : Place
        The line that names it.
    name : str or None
        What the list calls it.
    attestation : str or None
        A signed audit, which is verified instead of auditing anew.
    key : str or None
        Public key that must have signed it.
    identity, issuer : str or None
        Or the identity, and who vouches for it.
    trust_config : str or None
        Of a private Sigstore.
    against : tuple of str
        References that this one is held against; empty for those of the command.
    base : str or None
        Of an adapter.
    """

    target: str
    place: Place
    name: str | None = None
    attestation: str | None = None
    key: str | None = None
    identity: str | None = None
    issuer: str | None = None
    trust_config: str | None = None
    against: tuple[str, ...] = ()
    base: str | None = None


def read_list(path: Path) -> tuple[Entry, ...]:
    """Read a list of models.

    Raises
    ------
    UsageError
        When it cannot be read.
    ConfigError
        When it is no such list, with the line.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LIMITS.list_bytes + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_list(data, file=str(path))


def parse_list(data: bytes, *, file: str) -> tuple[Entry, ...]:
    """Parse what `read_list` reads; the suffix of `file` says in which form.

    Raises
    ------
    ConfigError
    """
    if len(data) > LIMITS.list_bytes:
        raise ConfigError(file=file, problem=f"over the limit of {LIMITS.list_bytes} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(file=file, problem=f"not UTF-8 text at byte {error.start}") from error
    structured = PurePath(file).suffix.lower() in _SUFFIXES
    entries = tuple(_entries(text, file) if structured else _lines(text, file))
    if not entries:
        raise ConfigError(file=file, problem="names no model")
    seen: dict[tuple[str, str | None], int] = {}
    for entry in entries:
        line = seen.setdefault((entry.target, entry.attestation), entry.place.line)
        if line != entry.place.line:
            raise ConfigError(file=file, entry=f"line {entry.place.line}", problem=f"as line {line}: keep one")
    return entries


def _lines(text: str, file: str) -> Iterator[Entry]:
    """Read one target a line; `#` begins a comment where it begins a line or follows a space."""
    for number, line in enumerate(text.split("\n"), start=1):
        target = f" {line}".split(" #")[0].strip()
        if target:
            column = line.index(target) + 1
            yield Entry(target=target, place=Place(path=_posix(file), line=number, column=column))


def _entries(text: str, file: str) -> Iterator[Entry]:
    if any(text.count(mark) > LIMITS.list_depth for mark in ("[[", "{{")):
        raise ConfigError(file=file, problem="nested too deeply")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark is not None else None
        raise ConfigError(file=file, entry=where, problem="not YAML") from error
    if isinstance(root, yaml.MappingNode):
        root = _models(root, file)
    if not isinstance(root, yaml.SequenceNode):
        raise ConfigError(file=file, problem="must be a list of models, or have one under `models`")
    seen: set[int] = set()
    for node in root.value:
        if id(node) in seen:
            raise _refuse(file, node, "an alias: write the model out")
        seen.add(id(node))
        yield _entry(node, file)


def _models(root: yaml.MappingNode, file: str) -> yaml.Node | None:
    found: yaml.Node | None = None
    for key, value in root.value:
        name = _scalar(key, file)
        if name != "models":  # other tools may keep their own things in the same file
            continue
        if found is not None:
            raise _refuse(file, key, "`models` twice")
        found = value
    return found


def _entry(node: yaml.Node, file: str) -> Entry:
    if isinstance(node, yaml.ScalarNode):
        return Entry(target=_scalar(node, file), place=_place(node, file))
    if not isinstance(node, yaml.MappingNode):
        raise _refuse(file, node, "must be a target, or a table with one")
    texts, against, place = _fields(node, file)
    if "target" not in texts:
        raise _refuse(file, node, "target: missing, and mandatory")
    entry = Entry(
        target=texts["target"],
        place=place,
        name=texts.get("name"),
        attestation=texts.get("attestation"),
        key=texts.get("key"),
        identity=texts.get("identity"),
        issuer=texts.get("issuer"),
        trust_config=texts.get("trust-config"),
        against=against,
        base=texts.get("base"),
    )
    signer = entry.key or (entry.identity and entry.issuer)
    if entry.attestation and not signer:
        raise _refuse(file, node, "attestation: whose signature is believed? give key, or identity and issuer")
    if not entry.attestation and (entry.key or entry.identity or entry.issuer):
        raise _refuse(file, node, "key, identity and issuer are for an attestation, and there is none")
    return entry


def _fields(node: yaml.MappingNode, file: str) -> tuple[dict[str, str], tuple[str, ...], Place]:
    texts: dict[str, str] = {}
    against: tuple[str, ...] = ()
    place = _place(node, file)
    for key, value in node.value:
        name = _scalar(key, file)
        if name not in KEYS:
            raise _refuse(file, key, f"{name}: unknown key; {hint(name, KEYS)}")
        if name in texts or (name in _LISTS and against):
            raise _refuse(file, key, f"{name}: twice")
        if name in _LISTS:
            items = value.value if isinstance(value, yaml.SequenceNode) else [value]
            against = tuple(_scalar(item, file) for item in items)
            continue
        texts[name] = _scalar(value, file)
        if name == "target":
            place = _place(value, file)
    return texts, against, place


def _scalar(node: yaml.Node, file: str) -> str:
    """Return a text as it stands: `no` is a name, and not false."""
    if not isinstance(node, yaml.ScalarNode) or not str(node.value).strip():
        raise _refuse(file, node, "must be a text that is not empty")
    if node.tag not in _PLAIN:
        raise _refuse(file, node, "must be a text")
    return str(node.value).strip()


def _place(node: yaml.Node, file: str) -> Place:
    return Place(path=_posix(file), line=node.start_mark.line + 1, column=node.start_mark.column + 1)


def _refuse(file: str, node: yaml.Node, problem: str) -> ConfigError:
    return ConfigError(file=file, entry=f"line {node.start_mark.line + 1}", problem=problem)


def _posix(file: str) -> str:
    return PurePath(file).as_posix()


def from_settings(targets: tuple[str, ...], file: str) -> tuple[Entry, ...]:
    """Return the targets of a file of settings, each at the first line of the file that quotes it."""
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read: {error}") from error
    entries = []
    for target in targets:
        entry = Entry(target=target, place=Place(path=_posix(file)))
        for number, line in enumerate(lines, start=1):
            column = next((line.find(f"{q}{target}{q}") for q in "\"'" if f"{q}{target}{q}" in line), -1)
            if column >= 0:
                entry = replace(entry, place=Place(path=_posix(file), line=number, column=column + 1))
                break
        entries.append(entry)
    return tuple(entries)
