"""The tables of a store, and how an older store becomes one of today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

APPLICATION_ID: Final = 0x61756473  # "auds": what `file` and we tell a store by
_STEPS: Final = (
    # 1
    """
    CREATE TABLE round (
        id INTEGER PRIMARY KEY, scope TEXT NOT NULL, source TEXT NOT NULL, started REAL NOT NULL, ended REAL
    );
    CREATE TABLE target (
        id INTEGER PRIMARY KEY,
        identity TEXT NOT NULL UNIQUE,
        entry TEXT NOT NULL,
        host TEXT,
        listed TEXT,
        round INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
        tries INTEGER NOT NULL DEFAULT 0,
        interrupted INTEGER NOT NULL DEFAULT 0,
        unchanged INTEGER NOT NULL DEFAULT 0,
        due REAL NOT NULL DEFAULT 0,
        lease REAL,
        bytes INTEGER NOT NULL DEFAULT 0,
        requests INTEGER NOT NULL DEFAULT 0,
        seconds REAL NOT NULL DEFAULT 0,
        error_code TEXT,
        error TEXT,
        result INTEGER REFERENCES result (id)
    );
    CREATE INDEX target_queue ON target (round, state, tries, id);
    CREATE TABLE result (
        id INTEGER PRIMARY KEY,
        target INTEGER NOT NULL REFERENCES target (id),
        revision TEXT NOT NULL,
        key TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('done', 'failed')),
        verdict TEXT NOT NULL,
        reference TEXT,
        exit_code INTEGER NOT NULL,
        report BLOB NOT NULL,
        bytes INTEGER NOT NULL,
        requests INTEGER NOT NULL,
        seconds REAL NOT NULL,
        tries INTEGER NOT NULL,
        error_code TEXT,
        error TEXT,
        finished REAL NOT NULL,
        UNIQUE (target, revision, key, state)
    );
    CREATE TABLE driver (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        token TEXT NOT NULL,
        pid INTEGER NOT NULL,
        host TEXT NOT NULL,
        machine TEXT NOT NULL,
        born TEXT NOT NULL,
        heartbeat REAL NOT NULL
    );
    """,
    # 2: a report without a verdict is only final while no other references have come to this machine
    """
    ALTER TABLE result ADD COLUMN library TEXT;
    """,
    # 3: what a model is found again by among the swept ones
    """
    ALTER TABLE result ADD COLUMN compact BLOB;
    """,
    # 4: what copies of the same weights are known by
    """
    ALTER TABLE result ADD COLUMN weights TEXT;
    CREATE INDEX result_weights ON result (weights, key) WHERE weights IS NOT NULL;
    """,
)
"""What each version adds to the one before it. A released step is never edited."""

VERSION: Final = len(_STEPS)


def migrate(connection: sqlite3.Connection, version: int, *, to: int = VERSION) -> None:
    """Bring a store from an older version to this one, within the caller's transaction."""
    for step in _STEPS[version:to]:
        for statement in step.split(";"):
            if statement.strip():
                connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {to}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
