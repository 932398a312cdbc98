"""A report back from its JSON: to render it in another format, or to list it beside others, without a new audit.

Everything that formats show is in the contract, so a report that is written and read renders as before. What is read is
checked field by field, and refused by name where it is of another type; numbers stay as rounded as they were written.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from auditor.errors import ConfigError
from auditor.findings import Finding
from auditor.lineage import Candidate, LayerMatch, Lineage, Relation
from auditor.lineage.change import Change
from auditor.lineage.merging import Share
from auditor.lineage.supporting import Evidence
from auditor.lineage.verdict import RungResult
from auditor.report.contract import SCHEMA_VERSION, AdapterSummary, Coverage, Declared, MergedInto, Report, Target
from auditor.sources import FileInfo, Unread

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_LARGEST = 1e300
_STATUSES = ("fail", "warn", "pass", "manual", "n/a", "unknown")
_VERDICTS = ("identical", "derived", "embeddings-shared", "adapter", "independent", "inconclusive")


def parse_report(data: bytes, *, file: str) -> Report:
    """Read a JSON report.

    Parameters
    ----------
    data : bytes
    file : str
        What messages call it.

    Raises
    ------
    ConfigError
        When it is no report of this schema version, with the field that shows it.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(file=file, problem="no JSON") from error
    return read_report(document, file=file)


def read_report(document: object, *, file: str) -> Report:
    """Read the JSON contract as it was parsed; see `parse_report`."""
    top = _Fields(document, file=file)
    if (version := top.text("schema_version")) != SCHEMA_VERSION:
        raise top.refuse("schema_version", f"of another version than {SCHEMA_VERSION!r}", version)
    code = top.integer("exit_code")
    if code not in {0, 1, 3}:
        raise top.refuse("exit_code", "none of 0, 1, 3", code)
    coverage = top.inside("coverage")
    return Report(
        tool_version=top.inside("tool").text("version"),
        target=_target(top.inside("target")),
        lineage=_lineage(top.inside("lineage")),
        findings=top.each("findings", _finding),
        coverage=Coverage(
            unread=coverage.each("unread", _unread),
            bytes_read=coverage.integer("bytes_read"),
            requests=coverage.integer("requests"),
            seconds=coverage.number("seconds"),
            weights_of=coverage.maybe_text("weights_of"),
        ),
        exit_code=code,
    )


class _Fields:
    """A JSON object, read field by field."""

    __slots__ = ("_data", "_file", "_where")

    def __init__(self, data: object, *, file: str, where: str = "") -> None:
        self._file, self._where = file, where
        if not isinstance(data, dict):
            raise ConfigError(file=file, key=where or None, problem="must be an object")
        self._data: dict[str, Any] = data

    def refuse(self, key: str, problem: str, value: object) -> ConfigError:
        shown = value if isinstance(value, str | int | float | bool) else None
        return ConfigError(file=self._file, key=self._path(key), problem=problem, value=shown)

    def text(self, key: str) -> str:
        value: str = self._get(key, str, "a string")
        return value

    def maybe_text(self, key: str) -> str | None:
        return None if self._data.get(key) is None else self.text(key)

    def one_of(self, key: str, known: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in known:
            raise self.refuse(key, "none of " + ", ".join(known), value)
        return value

    def flag(self, key: str) -> bool:
        value: bool = self._get(key, bool, "true or false")
        return value

    def integer(self, key: str) -> int:
        value: int = self._get(key, int, "an integer")
        if isinstance(value, bool) or not 0 <= value <= sys.maxsize:
            raise self.refuse(key, "must be an integer, and not negative", value)
        return value

    def maybe_integer(self, key: str) -> int | None:
        return None if self._data.get(key) is None else self.integer(key)

    def number(self, key: str) -> float:
        value = self._get(key, (int, float), "a number")
        if isinstance(value, bool) or not -_LARGEST <= value <= _LARGEST:  # of NaN neither holds
            raise self.refuse(key, "must be a finite number", None)
        return float(value)

    def maybe_number(self, key: str) -> float | None:
        return None if self._data.get(key) is None else self.number(key)

    def texts(self, key: str) -> tuple[str, ...]:
        items = self._get(key, list, "a list")
        if not all(isinstance(item, str) for item in items):
            raise self.refuse(key, "must be a list of strings", None)
        return tuple(items)

    def integers(self, key: str) -> tuple[int, ...]:
        items = self._get(key, list, "a list")
        if not all(isinstance(item, int) and not isinstance(item, bool) for item in items):
            raise self.refuse(key, "must be a list of integers", None)
        return tuple(items)

    def inside(self, key: str) -> _Fields:
        return _Fields(self._data.get(key), file=self._file, where=self._path(key))

    def maybe_inside(self, key: str) -> _Fields | None:
        return None if self._data.get(key) is None else self.inside(key)

    def each(self, key: str, read: Callable[[_Fields], T]) -> tuple[T, ...]:
        items = self._get(key, list, "a list")
        where = self._path(key)
        return tuple(read(_Fields(item, file=self._file, where=f"{where}[{n}]")) for n, item in enumerate(items))

    def _get(self, key: str, kind: Any, name: str) -> Any:  # noqa: ANN401 (the type that is asked for)
        value = self._data.get(key)
        if not isinstance(value, kind):
            raise self.refuse(key, f"must be {name}", value)
        return value

    def _path(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key


def _target(fields: _Fields) -> Target:
    return Target(
        uri=fields.text("uri"),
        kind=fields.text("kind"),
        revision=fields.maybe_text("revision"),
        files=fields.each("files", _file),
        adapters=fields.each("adapters", _adapter),
        declared=fields.each("declared", _declared),
    )


def _declared(fields: _Fields) -> Declared:
    return Declared(
        kind=fields.text("kind"),
        value=fields.text("value"),
        path=fields.text("path"),
        line=fields.maybe_integer("line"),
    )


def _file(fields: _Fields) -> FileInfo:
    source = fields.maybe_text("digest_source")
    return FileInfo(
        path=fields.text("path"),
        size=fields.integer("size"),
        sha256=fields.maybe_text("sha256"),
        digest_source=cast("Literal['computed', 'hub', 'registry'] | None", source),
    )


def _adapter(fields: _Fields) -> AdapterSummary:
    merged = fields.maybe_inside("merged_into")
    return AdapterSummary(
        file=fields.text("file"),
        method=fields.maybe_text("method"),
        base=fields.maybe_text("base"),
        base_revision=fields.maybe_text("base_revision"),
        rank=fields.maybe_integer("rank"),
        alpha=fields.maybe_number("alpha"),
        target_modules=fields.texts("target_modules"),
        changed=fields.integer("changed"),
        saved=fields.texts("saved"),
        problems=fields.texts("problems"),
        merged_into=None
        if merged is None
        else MergedInto(
            uri=merged.text("uri"), revision=merged.maybe_text("revision"), bytes_read=merged.integer("bytes_read")
        ),
    )


def _unread(fields: _Fields) -> Unread:
    return Unread(path=fields.text("path"), code=fields.text("code"), reason=fields.text("reason"))


def _finding(fields: _Fields) -> Finding:
    return Finding(
        id=fields.text("id"),
        status=cast("Any", fields.one_of("status", _STATUSES)),
        title=fields.text("title"),
        evidence=fields.text("evidence"),
        path=fields.maybe_text("path"),
        clause=fields.maybe_text("clause"),
        fix=fields.maybe_text("fix"),
        waived_until=fields.maybe_text("waived_until"),
        in_baseline=fields.flag("in_baseline"),
    )


def _lineage(fields: _Fields) -> Lineage:
    """Read the lineage; what it says of the candidate that decided stands beside the list of candidates."""
    candidates = list(fields.each("candidates", _candidate))
    best = None
    if (reference := fields.maybe_text("reference")) is not None:
        place = next((n for n, held in enumerate(candidates) if held.reference == reference), None)
        if place is None:
            raise fields.refuse("reference", "none of the candidates", reference)
        best = candidates[place] = _with_details(candidates[place], fields)
    return Lineage(
        verdict=cast("Any", fields.one_of("verdict", _VERDICTS)),
        reason=fields.maybe_text("reason"),
        best=best,
        candidates=tuple(candidates),
        supporting=fields.each("supporting", _evidence),
    )


def _candidate(fields: _Fields) -> Candidate:
    return Candidate(
        reference=fields.text("reference"),
        model=fields.text("model"),
        verdict=cast("Any", fields.one_of("verdict", _VERDICTS)),
        reason=fields.maybe_text("reason"),
        rung=fields.maybe_text("rung"),
        rungs=fields.each("rungs", _rung),
        log10_p=fields.maybe_number("log10_p"),
        cosine=fields.maybe_number("cosine"),
        detection_limit=fields.maybe_number("detection_limit"),
    )


def _with_details(candidate: Candidate, fields: _Fields) -> Candidate:
    relation = fields.maybe_inside("relation")
    return replace(
        candidate,
        frame=fields.maybe_text("frame"),
        exact=fields.maybe_text("rung") is None or fields.flag("exact"),
        relation=None if relation is None else _relation(relation),
        layers=fields.each("layers", _layer),
        layers_in_model=fields.integer("layers_in_model"),
    )


def _rung(fields: _Fields) -> RungResult:
    return RungResult(
        rung=fields.text("rung"),
        log10_p=fields.number("log10_p"),
        exact=fields.flag("exact"),
        agreeing=fields.integer("agreeing"),
        tried=fields.integer("tried"),
        frame=fields.maybe_text("frame"),
    )


def _layer(fields: _Fields) -> LayerMatch:
    return LayerMatch(
        target=fields.integer("target"),
        reference=fields.maybe_integer("reference"),
        fixed_points=fields.integer("fixed_points"),
        n=fields.integer("n"),
        cosine=fields.maybe_number("cosine"),
        log10_p=fields.number("log10_p"),
    )


def _relation(fields: _Fields) -> Relation:
    change = fields.maybe_inside("change")
    return Relation(
        kind=cast("Any", fields.one_of("kind", ("copy", "modified", "disguised", "embeddings"))),
        dropped=fields.integers("dropped"),
        repeated=fields.integers("repeated"),
        added=fields.integers("added"),
        reordered=fields.flag("reordered"),
        experts=fields.integer("experts"),
        change=None if change is None else _change(change),
        shares=fields.each("shares", _share),
    )


def _change(fields: _Fields) -> Change:
    return Change(
        kind=cast("Any", fields.one_of("kind", ("none", "low-rank", "quantised", "pruned", "dense"))),
        relative=fields.number("relative"),
        rank=fields.maybe_integer("rank"),
        zeros=fields.number("zeros"),
        levels=fields.maybe_integer("levels"),
        rows=fields.integer("rows"),
    )


def _share(fields: _Fields) -> Share:
    return Share(
        reference=fields.text("reference"),
        weight=fields.number("weight"),
        low=fields.number("low"),
        high=fields.number("high"),
    )


def _evidence(fields: _Fields) -> Evidence:
    return Evidence(
        kind=cast("Any", fields.text("kind")),
        reference=fields.maybe_text("reference"),
        text=fields.text("text"),
        value=fields.maybe_number("value"),
        log10_p=fields.maybe_number("log10_p"),
    )
