"""Stores of shards become one: what they agree on is kept once, and where they contradict each other nothing is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditor.errors import StoreConflict
from auditor.escape import visible
from auditor.sweep.connection import opened_reading, transaction
from auditor.sweep.reading import results_of
from auditor.sweep.records import read_entry, unpack
from auditor.sweep.store import drop_failed, point, put_result

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from auditor.sweep.records import Result
    from auditor.sweep.store import Store

_COSTS = ("bytes_read", "requests", "seconds", "weights_of")  # and whether the weights had been read before


def merge(store: Store, paths: Sequence[Path]) -> int:
    """Take everything over from other stores, all of it or nothing; return how many targets came.

    Raises
    ------
    StoreConflict
        When two stores have different reports of the same revision under the same options.
    StoreError
        When one cannot be read.
    """
    count = 0
    came: dict[int, int] = {}  # results of this merge, and the store each came from
    with transaction(store.connection, store.path):
        store.keep()
        for number, path in enumerate(paths):
            with opened_reading(path) as other:
                count += _take_over(store, other, came, number, paths)
    return count


def _take_over(
    store: Store, other: sqlite3.Connection, came: dict[int, int], number: int, paths: Sequence[Path]
) -> int:
    ours, count = store.connection, 0
    for row in other.execute("SELECT id, identity, entry, host, listed, result FROM target ORDER BY id"):
        id_, identity, entry, host, listed, latest = row
        count += 1
        (target,) = ours.execute(
            "INSERT INTO target (identity, entry, host, listed, round, state) VALUES (?, ?, ?, ?, 0, 'queued') "
            "ON CONFLICT (identity) DO UPDATE SET identity = excluded.identity RETURNING id",
            (identity, entry, host, listed),
        ).fetchone()
        for theirs, result in results_of(other, paths[number], id_):
            made = _put(store, target, result, came, number, paths, entry)
            if theirs == latest and _is_newest(ours, target, result):
                point(ours, target, made)
        _settle(ours, target)
    return count


def _put(
    store: Store, target: int, result: Result, came: dict[int, int], number: int, paths: Sequence[Path], entry: str
) -> int:
    found = next(
        (
            (id_, other)
            for id_, other in results_of(store.connection, store.path, target)
            if (other.revision, other.key, other.state) == (result.revision, result.key, result.state)
        ),
        None,
    )
    if found is not None:
        id_, other = found
        if result.state == "done" and result.revision and _answer(result) != _answer(other):
            first = paths[came[id_]] if id_ in came else store.path
            raise StoreConflict(
                f"{visible(read_entry(entry).target)} at {visible(result.revision)}: {first} says {other.verdict}, "
                f"exit {other.exit_code}; {paths[number]} says {result.verdict}, exit {result.exit_code}, or otherwise "
                "differs: nothing was merged"
            )
        if other.finished >= result.finished:
            return id_
    made = put_result(store.connection, target, result)
    came[made] = number
    return made


def _answer(result: Result) -> dict[str, Any]:
    """Return a report without what two runs of the same audit differ in."""
    document = unpack(result.report, of=result.revision)
    for cost in _COSTS:
        document["coverage"].pop(cost, None)
    return document


def _is_newest(connection: sqlite3.Connection, target: int, result: Result) -> bool:
    """Say whether no result of a target is newer; one that is done goes before one that failed."""
    row = connection.execute(
        "SELECT result.state, result.finished FROM target JOIN result ON result.id = target.result WHERE target.id = ?",
        (target,),
    ).fetchone()
    return row is None or (result.state == "done", result.finished) >= (row[0] == "done", row[1])


def _settle(connection: sqlite3.Connection, target: int) -> None:
    row = connection.execute("SELECT state FROM target WHERE id = ? AND result IS NOT NULL", (target,)).fetchone()
    if row is not None and row[0] == "done":
        drop_failed(connection, target)
