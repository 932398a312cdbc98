"""A store as files for other tools: JSON lines, Parquet, SARIF. Each is written whole or not at all."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from auditor.errors import UsageError
from auditor.limits import LIMITS
from auditor.report import Placed, render
from auditor.sweep.listings import KINDS
from auditor.sweep.records import storable
from auditor.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from auditor.report import Place
    from auditor.sweep.records import Record

_GROUP = 1_000  # rows of Parquet in memory
_STATUSES = ("fail", "warn", "manual", "unknown")


def row_of(record: Record) -> dict[str, Any]:
    """Return what every table has of a target; texts are as they are, for programs."""
    result = record.result
    document = result.document(of=record.entry.target) if result else None
    lineage = document["lineage"] if document else {}
    statuses = Counter(str(finding["status"]) for finding in document["findings"]) if document else Counter[str]()
    finished = datetime.fromtimestamp(result.finished, tz=UTC) if result else None
    return {
        "target": record.entry.target,
        "name": record.entry.name,
        "state": record.state,
        "revision": (result.revision or None) if result else None,
        "verdict": result.verdict if result else None,
        "reference": result.reference if result else None,
        "rung": lineage.get("rung"),
        "log10_p": lineage.get("log10_p"),
        "cosine": lineage.get("cosine"),
        "exit_code": result.exit_code if result else None,
        **{f"findings_{status}": statuses[status] for status in _STATUSES},
        "error_code": record.error_code,
        "error": record.error,
        "tries": record.tries if result is None else result.tries,
        "unchanged": record.unchanged,
        "bytes": result.bytes if result else 0,
        "requests": result.requests if result else 0,
        "seconds": round(result.seconds, 3) if result else 0.0,
        "finished": finished,
        "tool_version": document["tool"]["version"] if document else None,
        "key": result.key if result else None,
        "report": document,
    }


def write_jsonl(path: Path, records: Iterable[Record]) -> int:
    """Write a line of JSON for each target, in ASCII; return how many."""
    count = 0
    with _replacing(path) as file:
        for record in records:
            row = row_of(record)
            row["finished"] = row["finished"].isoformat(timespec="seconds") if row["finished"] else None
            file.write(json.dumps(row, ensure_ascii=True, allow_nan=False).encode() + b"\n")
            count += 1
    return count


def write_parquet(path: Path, records: Iterable[Record]) -> int:
    """Write a table with a row for each target, its report as JSON text; return how many.

    Raises
    ------
    UsageError
        When pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise UsageError("--parquet: pyarrow is not installed; pip install 'provenance-auditor[parquet]'") from error
    whole, real, time = pa.int64(), pa.float64(), pa.timestamp("ms", tz="UTC")
    kinds = {
        "log10_p": real, "cosine": real, "seconds": real, "exit_code": whole, "tries": whole, "bytes": whole,
        "requests": whole, "unchanged": pa.bool_(), "finished": time, **{f"findings_{s}": whole for s in _STATUSES},
    }  # fmt: skip
    columns = (
        "target", "name", "state", "revision", "verdict", "reference", "rung", "log10_p", "cosine", "exit_code",
        *(f"findings_{status}" for status in _STATUSES), "error_code", "error", "tries", "unchanged", "bytes",
        "requests", "seconds", "finished", "tool_version", "key", "report",
    )  # fmt: skip
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in columns])
    count = 0
    with _replacing(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups((_flat(record) for record in records), _GROUP):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            count += len(group)
    return count


def write_sarif(path: Path, records: Iterable[Record]) -> list[Path]:
    """Write findings as SARIF; return the files: FILE, and FILE-2, ... where there are too many targets for one."""
    placed = (Placed(report=report, place=_place(record)) for record in records if (report := record.report()))
    written: list[Path] = []
    for number, group in enumerate(_groups(placed, LIMITS.sweep_joint), start=1):
        file = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        write_whole(file, render("sarif", group).encode())
        written.append(file)
    if not written:
        raise UsageError(f"{path}: nothing to write: no target was audited yet")
    return written


def _place(record: Record) -> Place | None:
    """Return the line that names a target; none where no file does."""
    place = record.entry.place
    return None if place.path.startswith(tuple(KINDS)) else place


def _flat(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {name: storable(value) for name, value in row_of(record).items()}
    row["report"] = json.dumps(row["report"], ensure_ascii=True) if row["report"] is not None else None
    return row


def _groups(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    group: list[Any] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that takes the place of the one of this name when all of it is there.

    Raises
    ------
    UsageError
        When it cannot be written; nothing is left behind.
    """
    made: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            made = Path(file.name)
            yield file
        made.chmod(0o644)
        made.replace(path)
        made = None
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        if made is not None:
            made.unlink(missing_ok=True)
