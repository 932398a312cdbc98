"""What a store holds, record by record: however many there are, one is in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.sweep.connection import speaking
from auditor.sweep.records import Record, Result, read_entry
from auditor.sweep.store import RESULT_COLUMNS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

_RECORD = (
    "target.id, target.identity, target.entry, target.state, target.tries, target.unchanged, target.error_code, "
    "target.error"
)
_GRAVITY = (
    "CASE WHEN target.state = 'failed' THEN 0 WHEN result.exit_code = 1 THEN 1 WHEN result.exit_code = 3 THEN 2 "
    "WHEN result.id IS NULL THEN 3 ELSE 4 END"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How far a store is.

    Attributes
    ----------
    source : str or None
        What the last sweep was over.
    ended : bool
        It ended.
    states : dict
        Targets by their state.
    verdicts : dict
        Targets with a result, by its verdict.
    exit_codes : tuple of int
        Of all results.
    unchanged, bytes, requests : int
    copies : int
        Targets whose weights are those of another one, and were judged there.
    seconds : float
        Spent by workers.
    driver : str or None
        Who writes the store now, or did when it was ended.
    """

    source: str | None
    ended: bool
    states: dict[str, int]
    verdicts: dict[str, int]
    exit_codes: tuple[int, ...]
    unchanged: int
    bytes: int
    requests: int
    copies: int
    seconds: float
    driver: str | None

    @property
    def targets(self) -> int:
        """How many there are."""
        return sum(self.states.values())


def totals(connection: sqlite3.Connection, path: Path, *, round_only: bool = False) -> Totals:
    """Count.

    Parameters
    ----------
    connection : Connection
    path : Path
        For messages.
    round_only : bool
        Only targets of the last sweep.
    """
    where = "WHERE target.round = (SELECT max(id) FROM round)" if round_only else "WHERE 1"
    joined = f"FROM target JOIN result ON result.id = target.result {where}"
    with speaking(path):
        last = connection.execute("SELECT source, ended FROM round ORDER BY id DESC LIMIT 1").fetchone()
        states = connection.execute(f"SELECT state, count(*) FROM target {where} GROUP BY state")  # noqa: S608
        verdicts = connection.execute(f"SELECT verdict, count(*) {joined} GROUP BY verdict")
        codes = connection.execute(f"SELECT DISTINCT exit_code {joined}")
        sums = connection.execute(
            f"SELECT sum(target.unchanged), sum(result.bytes), sum(result.requests), sum(result.seconds), "
            f"count(result.weights) - count(DISTINCT result.weights || result.key) {joined}"
        ).fetchone()
        driver = connection.execute("SELECT pid, host FROM driver").fetchone()
        return Totals(
            source=last[0] if last else None,
            ended=bool(last and last[1] is not None),
            states=dict(states.fetchall()),
            verdicts=dict(verdicts.fetchall()),
            exit_codes=tuple(code for (code,) in codes.fetchall()),
            unchanged=sums[0] or 0,
            bytes=sums[1] or 0,
            requests=sums[2] or 0,
            copies=sums[4] or 0,
            seconds=sums[3] or 0.0,
            driver=f"process {driver[0]} on {driver[1]}" if driver else None,
        )


def records(connection: sqlite3.Connection, path: Path, *, gravest_first: bool = False) -> Iterator[Record]:
    """Yield every target with its latest result, in the order in which they came, or the gravest first."""
    order = f"{_GRAVITY}, target.id" if gravest_first else "target.id"
    with speaking(path):
        rows = connection.execute(
            f"SELECT {_RECORD}, {RESULT_COLUMNS} FROM target LEFT JOIN result ON result.id = target.result "  # noqa: S608
            f"ORDER BY {order}"
        )
        for row in rows:
            yield _record(row)


def _record(row: tuple[object, ...]) -> Record:
    id_, identity, entry, state, tries, unchanged, code, error, *result = row
    return Record(
        id=id_,  # type: ignore[arg-type]  # of the schema, which SQLite does not enforce
        identity=identity,  # type: ignore[arg-type]
        entry=read_entry(str(entry)),
        state=state,  # type: ignore[arg-type]
        tries=tries,  # type: ignore[arg-type]
        unchanged=bool(unchanged),
        error_code=code,  # type: ignore[arg-type]
        error=error,  # type: ignore[arg-type]
        result=None if result[0] is None else _result(result),
    )


def results_of(connection: sqlite3.Connection, path: Path, target: int) -> Iterator[tuple[int, Result]]:
    """Yield every result of a target, each with its id: all revisions that were ever audited."""
    with speaking(path):
        for id_, *values in connection.execute(
            f"SELECT id, {RESULT_COLUMNS} FROM result WHERE target = ? ORDER BY id",  # noqa: S608 (our own names)
            (target,),
        ).fetchall():
            yield id_, _result(values)


def _result(values: list[object]) -> Result:
    names = [column.removeprefix("result.") for column in RESULT_COLUMNS.split(", ")]
    return Result(**dict(zip(names, values, strict=True)))  # type: ignore[arg-type]
