"""What an engine has to offer: few things, so that another one is a short module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditor.sweep.records import Remembered
    from auditor.sweep.work import Job, Outcome, Question

ENVIRONMENT: Final[Mapping[str, str]] = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""Variables of every worker: there is one for each core, so threads of BLAS would only wait for one another."""


class Engine(Protocol):
    """Runs jobs, each in a process whose end is its own."""

    @property
    def capacity(self) -> int:
        """How many jobs run at once; no more are submitted."""

    def submit(self, job: Job) -> None:
        """Begin a job."""

    def results(self, timeout: float) -> list[Outcome | Question]:
        """Return what has come to an end, and what is asked; wait for the first no longer than `timeout` seconds.

        A job whose process was ended has the outcome `WorkerDied`. One that asks goes on when it is answered.
        """

    def answer(self, job: int, known: Remembered | None) -> None:
        """Answer the question of a job; nothing happens where its process has ended meanwhile."""

    def cancel(self, job: int) -> None:
        """End a job whose time is over; it has the outcome `WorkerTimeout`."""

    def stop(self) -> None:
        """End everything at once."""
