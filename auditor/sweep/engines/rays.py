"""Audits on a Ray cluster, or on one that is started on this machine for the sweep.

The store stays with the driver. Every node needs this tool, the references, and access to the targets.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from auditor.errors import EngineDown, UsageError, WorkerDied, WorkerTimeout
from auditor.sweep.engines.base import ENVIRONMENT
from auditor.sweep.engines.local import cores
from auditor.sweep.work import failed, perform

if TYPE_CHECKING:
    from auditor.sweep.records import Remembered
    from auditor.sweep.work import Job, Outcome, Question

_PASSED: Final = ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN")
"""Variables that workers elsewhere get from here. Tokens do not travel: each node has its own."""


class RayEngine:
    """Tasks of Ray, which are not retried by it: the driver decides.

    Parameters
    ----------
    ray : module
    workers : int
    """

    def __init__(self, ray: Any, workers: int) -> None:  # noqa: ANN401 (a module that may not be installed)
        self._ray = ray
        self._workers = workers
        self._perform = ray.remote(max_retries=0, num_cpus=1)(_perform)
        self._desk = ray.remote(num_cpus=0, max_concurrency=10_000)(_Desk).remote()
        self._asked = self._desk.questions.remote()
        self._jobs: dict[Any, tuple[Job, float]] = {}
        self._cancelled: list[Outcome] = []

    @property
    def capacity(self) -> int:
        """See `Engine`."""
        return self._workers

    def submit(self, job: Job) -> None:
        """See `Engine`."""
        self._jobs[self._perform.remote(job, str(Path.cwd()), self._desk)] = (job, time.monotonic())

    def answer(self, job: int, known: Remembered | None) -> None:
        """See `Engine`."""
        self._desk.answer.remote(job, known)

    def results(self, timeout: float) -> list[Outcome | Question]:
        """See `Engine`.

        Raises
        ------
        EngineDown
        """
        done: list[Outcome | Question] = [*self._cancelled]
        self._cancelled = []
        if not self._jobs:
            return done
        everything = [self._asked, *self._jobs]
        ready, _ = self._ray.wait(everything, num_returns=1, timeout=0 if done else timeout)
        if ready:
            ready, _ = self._ray.wait(everything, num_returns=len(everything), timeout=0)
        if self._asked in ready:
            ready.remove(self._asked)
            done += self._questions()
        return [*done, *map(self._take, ready)]

    def _questions(self) -> list[Question]:
        try:
            asked: list[Question] = self._ray.get(self._asked)
        except self._ray.exceptions.RayError as error:
            raise EngineDown(f"the cluster lost what workers ask the sweep by ({type(error).__name__})") from error
        self._asked = self._desk.questions.remote()
        return asked

    def cancel(self, job: int) -> None:
        """See `Engine`."""
        for task, (each, begun) in list(self._jobs.items()):
            if each.id == job:
                self._ray.cancel(task, force=True)
                del self._jobs[task]
                seconds = time.monotonic() - begun
                error = WorkerTimeout(f"{each.entry.target}: took more than {seconds:.0f} s")
                self._cancelled.append(failed(each, error, seconds=seconds))
                self.answer(job, None)

    def stop(self) -> None:
        """See `Engine`."""
        for task in self._jobs:
            self._ray.cancel(task, force=True)
        self._jobs.clear()
        self._ray.shutdown()

    def _take(self, task: Any) -> Outcome:  # noqa: ANN401 (a reference of Ray's)
        job, begun = self._jobs.pop(task)
        try:
            outcome: Outcome = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            problem = f"{job.entry.target}: the process that audited it was ended ({type(error).__name__})"
            return failed(job, WorkerDied(problem), seconds=time.monotonic() - begun)
        return outcome


def engine(workers: int | None, address: str | None) -> RayEngine:
    """Join a cluster, or start one on this machine.

    Raises
    ------
    UsageError
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing of a sweep is reported to anybody
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UsageError("--engine ray: Ray is not installed; pip install 'provenance-auditor[ray]'") from error
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    alone = {} if address else {"num_cpus": workers or cores(), "include_dashboard": False}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": {**ENVIRONMENT, **passed}},
            **alone,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise UsageError(f"--engine ray: no cluster at {address or 'this machine'} ({type(error).__name__})") from error
    return RayEngine(ray, workers or max(1, int(ray.cluster_resources().get("CPU", 1))))


def _perform(job: Job, folder: str, desk: Any) -> Outcome:  # noqa: ANN401 (a handle of Ray's)
    """Audit one target where relative paths mean what they mean to the driver."""
    import ray  # noqa: PLC0415 - an extra

    if Path(folder).is_dir():
        os.chdir(folder)

    def ask(question: Question) -> Remembered | None:
        known: Remembered | None = ray.get(desk.ask.remote(question))
        return known

    return perform(job, ask=ask)


class _Desk:
    """Where workers leave their questions, and the driver its answers."""

    def __init__(self) -> None:
        self._questions: asyncio.Queue[Question] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[Remembered | None]] = {}

    async def ask(self, question: Question) -> Remembered | None:
        """Wait for the answer to a question."""
        answer: asyncio.Future[Remembered | None] = asyncio.get_running_loop().create_future()
        self._answers[question.id] = answer
        await self._questions.put(question)
        return await answer

    async def questions(self) -> list[Question]:
        """Wait for the next questions."""
        asked = [await self._questions.get()]
        while not self._questions.empty():
            asked.append(self._questions.get_nowait())
        return asked

    async def answer(self, job: int, known: Remembered | None) -> None:
        """Answer the question of a job, if it has one."""
        waiting = self._answers.pop(job, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(known)
