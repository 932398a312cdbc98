"""The results of sweeps, and what is still to do: one SQLite file, written by one driver.

Nothing is half written: a result and the state of its target change in one transaction, which also checks that this
driver still is the one that writes.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from auditor.limits import LIMITS
from auditor.sweep import lock
from auditor.sweep.connection import open_writing, speaking, transaction
from auditor.sweep.keys import identity_of
from auditor.sweep.lock import Driver
from auditor.sweep.records import Remembered, Result, entry_text, read_entry, storable

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from auditor.listing import Entry

_RESULT = (
    "revision", "key", "state", "verdict", "reference", "exit_code", "report", "bytes", "requests", "seconds", "tries",
    "error_code", "error", "finished", "library", "compact", "weights",
)  # fmt: skip
RESULT_COLUMNS = ", ".join(f"result.{name}" for name in _RESULT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A target to audit.

    Attributes
    ----------
    id : int
    entry : Entry
    host : str or None
        Whom it is asked of; see `pacing`.
    listed : str or None
        Revision that the collection told.
    tries : int
        Made before.
    """

    id: int
    entry: Entry
    host: str | None
    listed: str | None
    tries: int


class Store:
    """A store that is written.

    Parameters
    ----------
    path : Path
        Made where it is not there, and migrated where it is older.

    Raises
    ------
    StoreError
        It cannot be written, is none of ours, is newer, or another driver writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._driver = Driver.current()
        self._kept = time.monotonic()
        self._connection = open_writing(path)
        try:
            with transaction(self._connection, path):
                lock.take(self._connection, self._driver, path=path)
                self._give_back()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with transaction(self._connection, self.path):
                if self._is_ours():
                    self._connection.execute(
                        "UPDATE target SET state = 'queued', lease = NULL, tries = max(0, tries - 1) "
                        "WHERE state = 'running'"
                    )
                lock.leave(self._connection, self._driver)
        finally:
            self._connection.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """For `merging`, which writes tables whole."""
        return self._connection

    def begin_round(self, scope: str, source: str) -> int:
        """Go on with the last round, if it was of the same scope and did not end; else begin one."""
        with self._writing():
            row = self._connection.execute("SELECT id, scope, ended FROM round ORDER BY id DESC LIMIT 1").fetchone()
            if row is not None and row[1] == scope and row[2] is None:
                return int(row[0])
            done = self._connection.execute(
                "INSERT INTO round (scope, source, started) VALUES (?, ?, ?)", (scope, storable(source), time.time())
            )
            return int(done.lastrowid or 0)

    def end_round(self, round_: int) -> None:
        """Say that nothing is left to do in a round."""
        with self._writing():
            self._connection.execute("UPDATE round SET ended = ? WHERE id = ?", (time.time(), round_))

    def enqueue(self, round_: int, targets: Iterable[tuple[Entry, str | None, str | None]]) -> None:
        """Add targets to a round: each an entry, its host, and the revision that the collection told.

        Those that are in this round already keep their state.
        """
        rows = [
            (identity_of(entry), entry_text(entry), storable(host), listed, round_) for entry, host, listed in targets
        ]
        with self._writing():
            self._connection.executemany(
                "INSERT INTO target (identity, entry, host, listed, round, state) VALUES (?, ?, ?, ?, ?, 'queued') "
                "ON CONFLICT (identity) DO UPDATE SET round = excluded.round, entry = excluded.entry, "
                "host = excluded.host, listed = excluded.listed, state = 'queued', tries = 0, interrupted = 0, "
                "unchanged = 0, due = 0, bytes = 0, requests = 0, seconds = 0, error_code = NULL, error = NULL "
                "WHERE target.round != excluded.round",
                rows,
            )

    def lease(self, round_: int, *, seconds: float, without: Sequence[str] = ()) -> Queued | None:
        """Take the next target that is due, fresh ones first; None where none is. It counts as a try.

        Parameters
        ----------
        round_ : int
        seconds : float
            After which the try is given up.
        without : sequence of str
            Hosts that are not to be asked now.
        """
        now = time.time()
        with self._writing():
            row = self._connection.execute(
                "SELECT id, entry, host, listed, tries FROM target WHERE round = ? AND state = 'queued' AND due <= ? "
                "AND (host IS NULL OR host NOT IN (SELECT value FROM json_each(?))) ORDER BY tries, id LIMIT 1",
                (round_, now, json.dumps(without)),
            ).fetchone()
            if row is None:
                return None
            self._connection.execute(
                "UPDATE target SET state = 'running', tries = tries + 1, lease = ? WHERE id = ?",
                (now + seconds, row[0]),
            )
        return Queued(id=row[0], entry=read_entry(row[1]), host=row[2], listed=row[3], tries=row[4])

    def known(self, target: int, key: str, library: str) -> tuple[str, ...]:
        """Return revisions of a target that were audited under a key, and whose reports still stand."""
        with speaking(self.path):
            rows = self._connection.execute(
                "SELECT revision FROM result WHERE target = ? AND key = ? AND state = 'done' AND revision != '' "
                "AND (library IS NULL OR library = ?)",
                (target, key, library),
            ).fetchall()
        return tuple(row[0] for row in rows)

    def recall(self, weights: str, key: str) -> Remembered | None:
        """Return what was found of the same weights under the same key; None where nothing is known yet."""
        with speaking(self.path):
            row = self._connection.execute(
                "SELECT report, compact FROM result WHERE weights = ? AND key = ? AND state = 'done' "
                "AND verdict != 'inconclusive' LIMIT 1",
                (weights, key),
            ).fetchone()
        return Remembered(report=row[0], compact=row[1]) if row is not None else None

    def finish(self, target: int, result: Result) -> None:
        """Write a result, with what the tries before it took. One that is done takes the place of failed ones."""
        with self._writing():
            made = put_result(self._connection, target, result)
            self._connection.execute(
                "UPDATE result SET (bytes, requests, seconds, tries) = (SELECT result.bytes + t.bytes, "
                "result.requests + t.requests, result.seconds + t.seconds, t.tries FROM target AS t WHERE t.id = ?) "
                "WHERE id = ?",
                (target, made),
            )
            point(self._connection, target, made)
            drop_failed(self._connection, target)

    def finish_unchanged(self, target: int, revision: str, key: str) -> None:
        """Let the result that is there stand."""
        with self._writing():
            (found,) = self._connection.execute(
                "SELECT id FROM result WHERE target = ? AND revision = ? AND key = ? AND state = 'done'",
                (target, revision, key),
            ).fetchone()
            point(self._connection, target, found)
            drop_failed(self._connection, target)
            self._connection.execute("UPDATE target SET unchanged = 1 WHERE id = ?", (target,))

    def put_back(
        self, target: int, *, due: float, cost: tuple[int, int, float], error: tuple[str, str], counted: bool = True
    ) -> None:
        """Queue a target again after a try that failed.

        Parameters
        ----------
        target : int
        due : float
            When it may be tried again, in seconds since 1970.
        cost : (int, int, float)
            Bytes, requests and seconds of the try.
        error : (str, str)
            Code and message.
        counted : bool
            The target itself may be to blame.
        """
        with self._writing():
            self._connection.execute(
                "UPDATE target SET state = 'queued', lease = NULL, due = ?, tries = tries - ?, bytes = bytes + ?, "
                "requests = requests + ?, seconds = seconds + ?, error_code = ?, error = ? WHERE id = ?",
                (due, 0 if counted else 1, *cost, *map(storable, error), target),
            )

    def worn(self, round_: int) -> tuple[Queued, ...]:
        """Return targets during whose audits sweeps ended, again and again."""
        with speaking(self.path):
            rows = self._connection.execute(
                "SELECT id, entry, host, listed, tries FROM target WHERE round = ? AND state = 'queued' "
                "AND interrupted >= ?",
                (round_, LIMITS.sweep_interruptions),
            ).fetchall()
        return tuple(
            Queued(id=row[0], entry=read_entry(row[1]), host=row[2], listed=row[3], tries=row[4]) for row in rows
        )

    def left(self, round_: int) -> int:
        """Return how many targets of a round are not finished."""
        with speaking(self.path):
            (count,) = self._connection.execute(
                "SELECT count(*) FROM target WHERE round = ? AND state IN ('queued', 'running')", (round_,)
            ).fetchone()
        return int(count)

    def next_due(self, round_: int) -> float | None:
        """Return when the next queued target may be tried, in seconds since 1970; None where none is queued."""
        with speaking(self.path):
            (due,) = self._connection.execute(
                "SELECT min(due) FROM target WHERE round = ? AND state = 'queued'", (round_,)
            ).fetchone()
        return None if due is None else float(due)

    def beat(self) -> None:
        """Leave a sign of life, if the last one is a while ago.

        Raises
        ------
        StoreInUse
        """
        if time.monotonic() - self._kept >= LIMITS.sweep_heartbeat_seconds:
            with self._writing():
                pass

    def _writing(self) -> _Writing:
        return _Writing(self)

    def _is_ours(self) -> bool:
        row = self._connection.execute("SELECT token FROM driver").fetchone()
        return row is not None and row[0] == self._driver.token

    def keep(self) -> None:
        """See `lock.keep`: the first thing of every transaction."""
        lock.keep(self._connection, self._driver, path=self.path)
        self._kept = time.monotonic()

    def _give_back(self) -> None:
        """Queue what a driver that died had begun. The tries are not its targets' fault, unless it happens often."""
        self._connection.execute(
            "UPDATE target SET state = 'queued', lease = NULL, tries = max(0, tries - 1), "
            "interrupted = interrupted + 1 WHERE state = 'running'"
        )


class _Writing:
    """A transaction of the driver that holds the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._transaction = transaction(store.connection, store.path)

    def __enter__(self) -> None:
        self._transaction.__enter__()
        try:
            self._store.keep()
        except BaseException as error:
            self._transaction.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(self, *what: object) -> None:
        self._transaction.__exit__(*what)  # type: ignore[arg-type]


def put_result(connection: sqlite3.Connection, target: int, result: Result) -> int:
    """Write a result within the caller's transaction, over one of the same revision, key and state; return its id."""
    names, marks = ", ".join(_RESULT), ", ".join("?" * len(_RESULT))
    changes = ", ".join(f"{name} = excluded.{name}" for name in _RESULT)
    (found,) = connection.execute(
        f"INSERT INTO result (target, {names}) VALUES (?, {marks}) "  # noqa: S608 (our own names)
        f"ON CONFLICT (target, revision, key, state) DO UPDATE SET {changes} RETURNING id",
        (target, *(storable(getattr(result, name)) for name in _RESULT)),
    ).fetchone()
    return int(found)


def point(connection: sqlite3.Connection, target: int, result: int) -> None:
    """Make a result the one of its target, within the caller's transaction."""
    connection.execute(
        "UPDATE target SET lease = NULL, unchanged = 0, (state, error_code, error, result) = "
        "(SELECT state, error_code, error, id FROM result WHERE id = ?) WHERE id = ?",
        (result, target),
    )


def drop_failed(connection: sqlite3.Connection, target: int) -> None:
    """Forget failed tries at a target but the one that is its result."""
    connection.execute(
        "DELETE FROM result WHERE target = ?1 AND state = 'failed' AND id != (SELECT result FROM target WHERE id = ?1)",
        (target,),
    )
