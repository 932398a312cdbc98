"""What a store holds of a target, as values."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from auditor.errors import BadReference, ConfigError, StoreError
from auditor.limits import LIMITS
from auditor.lineage.compact import CompactSample
from auditor.listing import Entry
from auditor.recalling import earlier_of
from auditor.report import Place
from auditor.report.reading import read_report

if TYPE_CHECKING:
    from auditor.recalling import Earlier
    from auditor.report import Report

State = Literal["queued", "running", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An audit of one revision, or the last try at it.

    Attributes
    ----------
    revision : str
        Commit, or a digest of the files; empty where neither is known.
    key : str
        See `Keys`.
    state : {"done", "failed"}
    verdict : str
    reference : str or None
        What the verdict speaks of.
    exit_code : int
    report : bytes
        The JSON report, compressed: see `pack`.
    bytes, requests, seconds
        What it took, with all tries before it.
    tries : int
    error_code, error : str or None
    finished : float
        Seconds since 1970.
    library : str or None
        References that were there, where the verdict may have wanted others.
    compact : bytes or None
        See `CompactSample`; of the first model of the target that can have one.
    weights : str or None
        See `weights_key`.
    """

    revision: str
    key: str
    state: State
    verdict: str
    reference: str | None
    exit_code: int
    report: bytes
    compact: bytes | None = None
    bytes: int
    requests: int
    seconds: float
    tries: int
    error_code: str | None
    error: str | None
    finished: float
    library: str | None = None
    weights: str | None = None

    def document(self, *, of: str) -> dict[str, Any]:
        """Return the JSON report.

        Raises
        ------
        StoreError
            When it is damaged, or longer than a report can be.
        """
        return unpack(self.report, of=of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What a store knows of weights.

    Attributes
    ----------
    report : bytes
        See `pack`.
    compact : bytes or None
    """

    report: bytes
    compact: bytes | None

    def earlier(self) -> Earlier | None:
        """Return what can be taken over; None where it does not stand by itself, or is damaged."""
        try:
            report = read_report(unpack(self.report, of="earlier weights"), file="earlier weights")
            compact = (CompactSample.from_bytes(self.compact),) if self.compact is not None else ()
        except (StoreError, ConfigError, BadReference):
            return None
        return earlier_of(report, compact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A target, and its latest result.

    Attributes
    ----------
    id : int
        In this store.
    identity : str
        In every store.
    entry : Entry
    state : {"queued", "running", "done", "failed"}
    tries : int
    unchanged : bool
        The last sweep found it as it was.
    error_code, error : str or None
        Of the last try.
    result : Result or None
    """

    id: int
    identity: str
    entry: Entry
    state: State
    tries: int
    unchanged: bool
    error_code: str | None
    error: str | None
    result: Result | None

    def report(self) -> Report | None:
        """Return the report, checked as if a stranger had written it; None where there is none yet.

        Raises
        ------
        StoreError, ConfigError
        """
        if self.result is None:
            return None
        return read_report(self.result.document(of=self.entry.target), file=f"report of {self.entry.target}")


def pack(document: dict[str, object]) -> bytes:
    """Compress a JSON report."""
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return zlib.compress(text.encode(), 6)


def unpack(data: bytes, *, of: str) -> dict[str, Any]:
    """Return what was packed; see `Result.document`."""
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(data, LIMITS.report_bytes)
        if inflater.unconsumed_tail or not inflater.eof:
            raise StoreError(f"report of {of}: longer than {LIMITS.report_bytes} bytes, or cut off")
        document: dict[str, Any] = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise StoreError(f"report of {of}: damaged") from error
    return document


def storable(value: object) -> object:
    """Spell out what no database takes: bytes of file names, and whatever a model says, arrive as lone surrogates."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def entry_text(entry: Entry) -> str:
    """Write an entry as JSON."""
    return json.dumps(asdict(entry), ensure_ascii=True)


def read_entry(text: str) -> Entry:
    """Read an entry back."""
    fields = json.loads(text)
    place, against = Place(**fields.pop("place")), tuple(fields.pop("against"))
    return Entry(place=place, against=against, **fields)
