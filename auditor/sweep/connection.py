"""Opening the file of a store, and turning what SQLite says into errors that say what to do."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from auditor.errors import StoreError, StoreInUse, StoreMissing, StoreNewer, StoreUnwritable
from auditor.sweep.schema import APPLICATION_ID, VERSION, migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUSY_SECONDS = 30.0
_FULL = {"SQLITE_FULL": "the disk is full, or a limit on the size of files was reached"}
_REFUSED = {
    "SQLITE_READONLY": "the file, or its folder, may not be written",
    "SQLITE_IOERR": "the disk fails, is full, or has a limit on the size of files",
    "SQLITE_CANTOPEN": "it cannot be opened",
    "SQLITE_PERM": "it may not be opened",
    "SQLITE_AUTH": "it may not be opened",
}


def problem_of(path: Path, error: sqlite3.Error) -> StoreError:
    """Say what an error of SQLite means for a store."""
    name = getattr(error, "sqlite_errorname", "") or ""
    for table in (_FULL, _REFUSED):
        for start, problem in table.items():
            if name.startswith(start):
                return StoreUnwritable(f"{path}: {problem}; all that was finished before is kept")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreInUse(f"{path}: another program holds it locked")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return StoreError(f"{path}: no store of a sweep, or a damaged one")
    return StoreError(f"{path}: {name or type(error).__name__}")


@contextmanager
def speaking(path: Path) -> Iterator[None]:
    """Turn errors of SQLite into those of a store."""
    try:
        yield
    except sqlite3.Error as error:
        raise problem_of(path, error) from error


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Write all of it, or nothing."""
    with speaking(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def open_writing(path: Path) -> sqlite3.Connection:
    """Open a store to write it; it is made where there is none, and migrated where it is older.

    Raises
    ------
    StoreError
    """
    if not path.parent.is_dir():
        raise StoreMissing(f"{path}: there is no such folder")
    if path.exists() and not path.is_file():
        raise StoreError(f"{path}: not a file")
    with speaking(path):
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            version = _version(connection, path)
            if version < VERSION:
                connection.execute("PRAGMA journal_mode = WAL")
                with transaction(connection, path):
                    migrate(connection, _version(connection, path))
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def opened_reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a store to read it, while a sweep writes it or not. An older one is read from a migrated copy.

    Raises
    ------
    StoreError
    """
    if not path.is_file():
        raise StoreMissing(f"{path}: there is no such store")
    with speaking(path):
        connection = _read_only(path)
        try:
            version = _version(connection, path)
            if version == VERSION:
                connection.execute("BEGIN")  # one state of it, however long reading takes
                yield connection
                return
            with tempfile.TemporaryDirectory() as folder:
                copy = sqlite3.connect(Path(folder) / "copy.db", isolation_level=None)
                try:
                    connection.backup(copy)
                    migrate(copy, version)
                    yield copy
                finally:
                    copy.close()
        finally:
            connection.close()


def _read_only(path: Path) -> sqlite3.Connection:
    name = f"file:{quote(str(path.absolute()))}"
    try:
        # Not mode=ro: the last one to leave has to tidy up what SQLite keeps beside the file.
        connection = sqlite3.connect(f"{name}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.OperationalError:
        if path.with_name(path.name + "-wal").exists():
            raise
        # In a folder that may not be written, of which nobody else writes it either.
        connection = sqlite3.connect(f"{name}?mode=ro&immutable=1", uri=True, isolation_level=None)
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a store; 0 for an empty file.

    Raises
    ------
    StoreError
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and application != APPLICATION_ID:
        raise StoreError(f"{path}: a database, and not one of a sweep")
    if version > VERSION:
        raise StoreNewer(f"{path}: of version {version}; this auditor knows versions up to {VERSION}: update it")
    return int(version)
