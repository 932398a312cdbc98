"""Who writes a store: one driver at a time, which leaves signs of life in it."""

from __future__ import annotations

import os
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.errors import StoreInUse
from auditor.limits import LIMITS

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """A process that writes a store.

    Attributes
    ----------
    token : str
        Of this driver alone.
    pid : int
    host, machine : str
        Name for people; boot and process namespace, in which a `pid` means something.
    born : str
        When the process began, as the kernel counts it: a `pid` is used again.
    """

    token: str
    pid: int
    host: str
    machine: str
    born: str

    @classmethod
    def current(cls) -> Driver:
        """Describe this process."""
        pid = os.getpid()
        return cls(
            token=uuid.uuid4().hex, pid=pid, host=socket.gethostname(), machine=_machine(), born=_born(pid) or ""
        )


def take(connection: sqlite3.Connection, driver: Driver, *, path: Path) -> bool:
    """Become the one that writes, within the caller's transaction; say whether another one died before.

    Raises
    ------
    StoreInUse
        When there is another that lives.
    """
    row = connection.execute("SELECT pid, host, machine, born, heartbeat FROM driver").fetchone()
    if row is not None:
        pid, host, machine, born, heartbeat = row
        silent = time.time() - heartbeat
        here = machine == driver.machine
        if (here and _lives(pid, born)) or (not here and silent < LIMITS.sweep_stale_seconds):
            raise StoreInUse(
                f"{path}: process {pid} on {host} is sweeping into it (last sign of life {max(0, silent):.0f} s ago)"
            )
    connection.execute(
        "INSERT OR REPLACE INTO driver (one, token, pid, host, machine, born, heartbeat) VALUES (1, ?, ?, ?, ?, ?, ?)",
        (driver.token, driver.pid, driver.host, driver.machine, driver.born, time.time()),
    )
    return row is not None


def keep(connection: sqlite3.Connection, driver: Driver, *, path: Path) -> None:
    """Leave a sign of life, within the caller's transaction.

    Raises
    ------
    StoreInUse
        When another driver took the store over: whatever this one wanted to write is void.
    """
    done = connection.execute("UPDATE driver SET heartbeat = ? WHERE token = ?", (time.time(), driver.token))
    if done.rowcount != 1:
        raise StoreInUse(f"{path}: another sweep took it over, because this one gave no sign of life")


def leave(connection: sqlite3.Connection, driver: Driver) -> None:
    """Let others write."""
    connection.execute("DELETE FROM driver WHERE token = ?", (driver.token,))


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux
        return f"{socket.gethostname()} {uuid.getnode()}"


def _lives(pid: int, born: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    now = _born(pid)
    return now is None or now == born


def _born(pid: int) -> str | None:
    """Return the clock tick at which a process began; None where the system does not say. A zombie has no more."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "ended" if fields[0] in {"Z", "X"} else fields[19]
