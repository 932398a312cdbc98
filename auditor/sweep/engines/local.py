"""Worker processes on this machine, one target at a time in each.

A pool of our own, because a target can kill its worker: then it must be known which target that was, and the others
must go on.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from functools import partial
from multiprocessing import connection
from typing import TYPE_CHECKING

from auditor.errors import WorkerDied, WorkerTimeout
from auditor.escape import visible
from auditor.sweep.engines.base import ENVIRONMENT
from auditor.sweep.work import Question, failed, perform

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from auditor.errors import AuditError
    from auditor.sweep.records import Remembered
    from auditor.sweep.work import Job, Outcome

_GRACE = 5.0  # seconds between the last word of a process and its end

_context = multiprocessing.get_context("spawn")  # nothing of the driver, its store and its locks is in a worker


class LocalEngine:
    """Processes of this machine.

    Parameters
    ----------
    workers : int
    """

    def __init__(self, workers: int) -> None:
        self._workers = [_Worker() for _ in range(workers)]

    @property
    def capacity(self) -> int:
        """See `Engine`."""
        return len(self._workers)

    def submit(self, job: Job) -> None:
        """See `Engine`."""
        next(worker for worker in self._workers if worker.job is None).begin(job)

    def answer(self, job: int, known: Remembered | None) -> None:
        """See `Engine`."""
        for worker in self._workers:
            if worker.job is not None and worker.job.id == job:
                worker.send(known)

    def results(self, timeout: float) -> list[Outcome | Question]:
        """See `Engine`."""
        done = self._said()
        if not done:
            busy = [worker for worker in self._workers if worker.job is not None]
            ready = set(connection.wait([handle for worker in busy for handle in worker.handles], timeout))
            for worker in busy:
                if ready.intersection(worker.handles):
                    worker.take()
            done = self._said()
        return done

    def cancel(self, job: int) -> None:
        """See `Engine`."""
        for worker in self._workers:
            if worker.job is not None and worker.job.id == job:
                worker.kill(WorkerTimeout(f"{worker.job.entry.target}: took more than {worker.seconds:.0f} s"))

    def _said(self) -> list[Outcome | Question]:
        said = [worker.said for worker in self._workers if worker.said is not None]
        for worker in self._workers:
            worker.said = None
        return said

    def stop(self) -> None:
        """See `Engine`."""
        for worker in self._workers:
            worker.end()


class _Worker:
    """A process, or the place for one: it begins with its first job, and again after its end."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.said: Outcome | Question | None = None
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._begun = 0.0

    @property
    def seconds(self) -> float:
        """Since its job began."""
        return time.monotonic() - self._begun

    @property
    def handles(self) -> tuple[Connection | int, ...]:
        """What becomes ready when there is an answer, or the process ended."""
        return (self._pipe, self._process.sentinel) if self._pipe and self._process else ()

    def begin(self, job: Job) -> None:
        if self._process is None or not self._process.is_alive():
            self.end()
            self._pipe, theirs = _context.Pipe()
            self._process = _context.Process(target=_serve, args=(theirs,), daemon=True, name="auditor-worker")
            with _environment(ENVIRONMENT):
                self._process.start()
            theirs.close()
        self.job, self._begun = job, time.monotonic()
        self.send(job)

    def send(self, what: Job | Remembered | None) -> None:
        with contextlib.suppress(OSError):  # it died meanwhile: its end is found where answers are waited for
            if self._pipe is not None:
                self._pipe.send(what)

    def take(self) -> None:
        """Take the answer, the question, or what the end of the process means."""
        job, pipe, process = self.job, self._pipe, self._process
        if job is None or pipe is None or process is None:
            return
        try:
            if pipe.poll():
                self.said = pipe.recv()
                if not isinstance(self.said, Question):
                    self.job = None
                return
        except (EOFError, OSError):  # it died before, or while it answered
            process.join(_GRACE)
        if not process.is_alive():
            self.kill(WorkerDied(f"{job.entry.target}: the process that audited it {_end_of(process.exitcode)}"))

    def kill(self, error: AuditError) -> None:
        """End the process, and its job with this error."""
        if self.job is not None:
            self.said = failed(self.job, error, seconds=self.seconds)
        self.end()
        self.job = None

    def end(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()
        if process is not None:
            process.kill()
            process.join()
            process.close()


def engine(workers: int | None, address: str | None) -> LocalEngine:  # noqa: ARG001 (of all engines)
    """Start worker processes: one for each core that this process may use, where no number is given."""
    return LocalEngine(workers or cores())


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def _end_of(code: int | None) -> str:
    if code is not None and code < 0:
        hint = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
        return f"was ended by signal {-code}{hint}"
    return f"ended with exit code {code}"


def _serve(pipe: Connection) -> None:
    """Answer jobs until the driver hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the driver decides
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            outcome = perform(job, ask=partial(_ask, pipe))
        except BaseException as error:  # noqa: BLE001 (nothing is hidden: it is shown, and ends the process)
            _say_escaped(error)
            os._exit(1)
        try:
            pipe.send(outcome)
        except OSError:  # the driver is gone
            return


def _ask(pipe: Connection, question: Question) -> Remembered | None:
    try:
        pipe.send(question)
        known: Remembered | None = pipe.recv()
    except (EOFError, OSError):  # the driver is gone
        os._exit(0)
    return known


def _say_escaped(error: BaseException) -> None:
    """Show a defect of ours without the control characters that a model may have put into it."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        sys.stderr.write(f"{visible(line)}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a process that is started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
