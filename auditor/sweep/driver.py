"""The sweep itself: targets are taken from the store, audited by an engine, and their results put into the store.

No more than the jobs under way, and the entry of each, is held in memory.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from auditor.errors import EngineDown, HostDown, WorkerDied
from auditor.limits import LIMITS
from auditor.sweep.keys import digest_of, identity_of, library_state
from auditor.sweep.records import Result
from auditor.sweep.work import UNREACHABLE, Job, Outcome, Question, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auditor.audit import Options
    from auditor.listing import Entry
    from auditor.sweep.engines import Engine
    from auditor.sweep.keys import Keys
    from auditor.sweep.listings import Listed, Listing
    from auditor.sweep.pacing import Pace
    from auditor.sweep.store import Queued, Store

_BATCH: Final = 500
_TICK: Final = 0.5  # seconds after which the driver looks around, whatever happens


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is swept, and how.

    Attributes
    ----------
    name : str
        Of the collection.
    listing : Listing
    options : Options
    keys : Keys
    shard : (int, int)
        The part of the targets that is ours, from 1, and how many parts there are.
    filters : str
        What was left out, for telling one sweep from another.
    max_tries : int
    target_seconds : float
        Longest try at one target.
    patience : float
        Seconds for which a host may serve nothing before the sweep stops.
    """

    name: str
    listing: Listing
    options: Options
    keys: Keys
    shard: tuple[int, int] = (1, 1)
    filters: str = ""
    max_tries: int = 3
    target_seconds: float = LIMITS.sweep_target_seconds
    patience: float = 300.0

    @property
    def scope(self) -> str:
        """Sweeps of the same scope go on from one another."""
        return digest_of([self.name, self.shard, self.filters, self.keys.base])


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A target came to an end, or will be tried again.

    Attributes
    ----------
    entry : Entry
    outcome : Outcome
    state : {"done", "failed", "queued"}
    left : int
        Targets that are not finished.
    """

    entry: Entry
    outcome: Outcome
    state: str
    left: int


def sweep(
    store: Store,
    plan: Plan,
    engine: Engine,
    *,
    pace: Pace,
    host_of: Callable[[str], str | None],
    notify: Callable[[Step], None] | None = None,
) -> None:
    """Audit every target of a collection that is not in the store as it is.

    Parameters
    ----------
    store : Store
    plan : Plan
    engine : Engine
        Stopped by whoever started it.
    pace : Pace
    host_of : callable
        The host that a target is asked of; None where there is none.
    notify : callable, optional
        Told of every step.

    Raises
    ------
    HostDown
        Targets are left, and wait for a host.
    EngineDown
        Targets are left, because no worker brings one to its end.
    StoreError, TargetError
        The store cannot be written any more; the collection cannot be listed.
    """
    round_ = store.begin_round(plan.scope, plan.name)
    for batch in _batches(_ours(plan.listing, plan.shard)):
        store.enqueue(round_, [(listed.entry, host_of(listed.entry.target), listed.revision) for listed in batch])
    _Run(store, plan, engine, pace, round_, notify or (lambda _: None)).all()
    store.end_round(round_)


def _ours(listing: Listing, shard: tuple[int, int]) -> Iterator[Listed]:
    number, of = shard
    return (listed for listed in listing if int(identity_of(listed.entry)[:15], 16) % of == number - 1)


def _batches(listing: Iterator[Listed]) -> Iterator[list[Listed]]:
    while batch := list(itertools.islice(listing, _BATCH)):
        yield batch


@dataclass(slots=True)
class _UnderWay:
    queued: Queued
    job: Job
    key: str
    deadline: float
    weights: str | None = None  # that it asked about


class _Run:
    """One pass over a round."""

    def __init__(
        self, store: Store, plan: Plan, engine: Engine, pace: Pace, round_: int, notify: Callable[[Step], None]
    ) -> None:
        self._store, self._plan, self._engine, self._pace = store, plan, engine, pace
        self._round, self._notify = round_, notify
        self._jobs: dict[int, _UnderWay] = {}
        self._left = store.left(round_)
        self._library = library_state()
        self._deaths = 0
        self._judging: dict[tuple[str, str], int] = {}  # weights and key, and the job that reads them
        self._waiting: defaultdict[tuple[str, str], list[int]] = defaultdict(list)

    def all(self) -> None:
        self._pass_over_worn()
        while self._left:
            self._fill()
            self._store.beat()
            self._stop_if_down()
            for said in self._engine.results(_TICK) if self._jobs else self._pause():
                if isinstance(said, Question):
                    if said.id in self._jobs:
                        self._jobs[said.id].weights = said.weights
                        self._answer(said.id)
                else:
                    under_way = self._jobs.pop(said.id)
                    self._take(under_way, said)
                    self._answer_waiting(under_way)
            for each in self._jobs.values():
                if time.monotonic() > each.deadline:
                    self._engine.cancel(each.job.id)

    def _fill(self) -> None:
        while len(self._jobs) < self._engine.capacity:
            now = time.monotonic()
            waiting = [host for host in self._pace.hosts if self._pace.wait(host, now) > 0]
            queued = self._store.lease(self._round, seconds=self._plan.target_seconds, without=waiting)
            if queued is None:
                return
            self._begin(queued, now)

    def _begin(self, queued: Queued, now: float) -> None:
        key = self._plan.keys.of(queued.entry)
        known = self._store.known(queued.id, key, self._library)
        job = Job(id=queued.id, entry=queued.entry, options=self._plan.options, known=known)
        under_way = _UnderWay(queued=queued, job=job, key=key, deadline=now + self._plan.target_seconds)
        if queued.listed is not None and queued.listed in known:  # the collection itself says that nothing changed
            self._finish_unchanged(under_way, queued.listed)
            return
        if queued.host is not None:
            self._pace.begin(queued.host, queued.id, now)
        self._jobs[queued.id] = under_way
        self._engine.submit(job)

    def _answer(self, job: int) -> None:
        """Answer what a job asked, unless another one finds it out just now: then it waits for that one."""
        asked = self._jobs[job]
        weights = (asked.weights or "", asked.key)
        known = self._store.recall(*weights)
        if known is None and self._judging.setdefault(weights, job) != job:
            self._waiting[weights].append(job)
            return
        self._engine.answer(job, known)

    def _answer_waiting(self, ended: _UnderWay) -> None:
        """Answer those that waited for a job: the first judges by itself where it left no result."""
        weights = (ended.weights or "", ended.key)
        if self._judging.get(weights) != ended.job.id:
            if ended.job.id in self._waiting.get(weights, ()):
                self._waiting[weights].remove(ended.job.id)
            return
        del self._judging[weights]
        for job in self._waiting.pop(weights, []):
            if job in self._jobs:
                self._answer(job)

    def _take(self, under_way: _UnderWay, outcome: Outcome) -> None:
        queued = under_way.queued
        self._deaths = self._deaths + 1 if outcome.error_code == WorkerDied.code else 0
        blameless = False
        if queued.host is not None:
            reached = outcome.error_code not in UNREACHABLE
            down = self._pace.is_down(queued.host)
            self._pace.settle(
                queued.host, queued.id, outcome.requests, time.monotonic(), reached=reached, wait=outcome.wait
            )
            down = down or self._pace.is_down(queued.host)
            blameless = not reached and (down or outcome.wait is not None)
        if outcome.unchanged:
            self._finish_unchanged(under_way, outcome.revision, outcome)
        elif outcome.transient and (blameless or queued.tries + 1 < self._plan.max_tries):
            self._put_back(under_way, outcome, counted=not blameless)
        else:
            self._finish(under_way, outcome)
        if self._deaths >= LIMITS.sweep_deaths:
            raise EngineDown(
                f"{self._deaths} targets in a row ended their workers, the last one so: {outcome.error}; {self._left} "
                "targets are left"
            )

    def _finish_unchanged(self, under_way: _UnderWay, revision: str, outcome: Outcome | None = None) -> None:
        self._store.finish_unchanged(under_way.queued.id, revision, under_way.key)
        self._left -= 1
        made = outcome or Outcome(id=under_way.queued.id, unchanged=True, revision=revision)
        self._notify(Step(entry=under_way.job.entry, outcome=made, state="done", left=self._left))

    def _put_back(self, under_way: _UnderWay, outcome: Outcome, *, counted: bool) -> None:
        pause = min(LIMITS.sweep_backoff_seconds * 2**under_way.queued.tries, LIMITS.sweep_backoff_longest)
        pause *= random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        self._store.put_back(
            under_way.queued.id,
            due=time.time() + max(pause, outcome.wait or 0.0),
            cost=(outcome.bytes, outcome.requests, outcome.seconds),
            error=(outcome.error_code or "", outcome.error or ""),
            counted=counted,
        )
        self._notify(Step(entry=under_way.job.entry, outcome=outcome, state="queued", left=self._left))

    def _finish(self, under_way: _UnderWay, outcome: Outcome) -> None:
        result = Result(
            revision=outcome.revision,
            key=under_way.key,
            state="done" if outcome.error_code is None else "failed",
            verdict=outcome.verdict,
            reference=outcome.reference,
            exit_code=outcome.exit_code,
            report=outcome.report,
            bytes=outcome.bytes,
            requests=outcome.requests,
            seconds=outcome.seconds,
            tries=under_way.queued.tries + 1,
            error_code=outcome.error_code,
            error=outcome.error,
            finished=time.time(),
            library=outcome.library,
            compact=outcome.compact,
            weights=outcome.weights,
        )
        self._store.finish(under_way.queued.id, result)
        self._left -= 1
        self._notify(Step(entry=under_way.job.entry, outcome=outcome, state=result.state, left=self._left))

    def _pass_over_worn(self) -> None:
        for queued in self._store.worn(self._round):
            job = Job(id=queued.id, entry=queued.entry, options=self._plan.options)
            times = LIMITS.sweep_interruptions
            error = WorkerDied(f"{queued.entry.target}: the sweep itself ended {times} times while it was audited")
            key = self._plan.keys.of(queued.entry)
            self._finish(_UnderWay(queued=queued, job=job, key=key, deadline=0.0), failed(job, error))

    def _pause(self) -> list[Outcome | Question]:
        """Wait for what is due next; nothing is under way."""
        now = time.monotonic()
        waits = [wait for host in self._pace.hosts if (wait := self._pace.wait(host, now)) > 0]
        due = self._store.next_due(self._round)
        wait = max(min(waits, default=0.0), (due or 0.0) - time.time(), 0.01)
        time.sleep(min(wait, _TICK))
        return []

    def _stop_if_down(self) -> None:
        for host in self._pace.hosts:
            silent = self._pace.silent(host, time.monotonic())
            if silent > self._plan.patience and not self._jobs:
                raise HostDown(
                    f"{host} served nothing for {silent:.0f} s: {self._left} targets are left; run the same again later"
                )
