"""Worker processes: a target that kills its worker is known, and costs no other target anything."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from modelkit import make_model, write_model
from sweepkit import entry, held

from auditor.audit import Options
from auditor.errors import EngineDown
from auditor.limits import LIMITS
from auditor.sweep import driver
from auditor.sweep.driver import Plan, sweep
from auditor.sweep.engines.local import LocalEngine
from auditor.sweep.keys import Keys
from auditor.sweep.listings import open_listing
from auditor.sweep.pacing import Pace
from auditor.sweep.store import Store
from auditor.sweep.work import Job, Outcome, perform

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

OPTIONS = Options(against=("ref",), licence=False)


class Bomb:
    """What does something to the process that unpickles it, in place of an audit."""

    def __init__(self, call: Any, *arguments: object) -> None:  # noqa: ANN401 (any function)
        self._call = (call, arguments)

    def __reduce__(self) -> Any:  # noqa: ANN401 (pickle's)
        return self._call


KILLED = Bomb(signal.raise_signal, signal.SIGKILL)
LEFT = Bomb(os._exit, 7)
STUCK = Bomb(time.sleep, 1000)


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    made = LocalEngine(2)
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(make_model(1, layers=2, hidden=32, neurons=48), tmp_path / "ref")
    for name in ("a", "b", "c", "d"):
        write_model(make_model(2, layers=2, hidden=32, neurons=48), tmp_path / name)


def job(number: int, target: str, options: Any = OPTIONS) -> Job:  # noqa: ANN401 (or a bomb)
    return Job(id=number, entry=entry(target), options=options)


def collect(engine: LocalEngine, count: int) -> dict[int, Outcome]:
    found: dict[int, Outcome] = {}
    deadline = time.monotonic() + 120
    while len(found) < count and time.monotonic() < deadline:
        for outcome in engine.results(0.5):
            assert outcome.id not in found
            found[outcome.id] = outcome
    return found


@pytest.mark.parametrize(
    ("bomb", "words"), [(KILLED, "was ended by signal 9, perhaps for want of memory"), (LEFT, "ended with exit code 7")]
)
def test_a_target_that_ends_its_worker_is_named_and_others_go_on(engine: LocalEngine, bomb: Bomb, words: str) -> None:
    engine.submit(job(1, "a", bomb))
    engine.submit(job(2, "b"))
    found = collect(engine, 2)
    assert (found[1].error_code, found[1].error) == ("worker-died", f"a: the process that audited it {words}")
    assert (found[2].error_code, found[2].verdict) == (None, "independent")
    engine.submit(job(3, "c"))
    engine.submit(job(4, "d"))
    assert {outcome.verdict for outcome in collect(engine, 2).values()} == {"independent"}


def test_a_target_that_takes_too_long_is_ended(engine: LocalEngine) -> None:
    engine.submit(job(1, "a", STUCK))
    engine.submit(job(2, "b"))
    assert set(collect(engine, 1)) == {2}
    assert engine.results(0.1) == []
    engine.cancel(1)
    (outcome,) = engine.results(0)
    assert (outcome.error_code, outcome.transient) == ("worker-timeout", True)


def test_workers_are_told_to_use_one_thread_each_and_leave_no_trace_here(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    engine.submit(job(1, "a", STUCK))
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    child = Path(f"/proc/{children[-1]}")
    while b"spawn_main" not in (child / "cmdline").read_bytes():  # until it has become another program
        time.sleep(0.01)
    environment = (child / "environ").read_bytes().split(b"\0")
    assert b"OPENBLAS_NUM_THREADS=1" in environment
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_poison_is_recorded_as_failed_after_its_tries_and_all_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "LIMITS", replace(LIMITS, sweep_backoff_seconds=0.01))
    killed = []

    class Poisoned(LocalEngine):
        def submit(self, job: Job) -> None:
            if job.entry.target == "b":
                killed.append(job.id)
                job = replace(job, options=KILLED)  # type: ignore[arg-type]
            super().submit(job)

    (tmp_path / "list.txt").write_text("a\nb\nc\nd\n")
    plan = Plan(name="list.txt", listing=open_listing("list.txt"), options=OPTIONS, keys=Keys(OPTIONS, ""))
    engine = Poisoned(2)
    try:
        with Store(tmp_path / "sweep.db") as store:
            sweep(store, plan, engine, pace=Pace(lambda _: None, patience=5, pause=1), host_of=lambda _: None)
    finally:
        engine.stop()
    found = held(tmp_path / "sweep.db")
    assert found.states == {"a": "done", "b": "failed", "c": "done", "d": "done"}
    assert set(found.results.values()) == {1}
    assert len(killed) == 3


def test_workers_that_end_whatever_they_get_stop_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LIMITS", replace(LIMITS, sweep_backoff_seconds=0.01, sweep_deaths=3))

    class Poisoned(LocalEngine):
        def submit(self, job: Job) -> None:
            super().submit(replace(job, options=LEFT))  # type: ignore[arg-type]

    (tmp_path / "list.txt").write_text("".join(f"{n}\n" for n in range(20)))
    plan = Plan(name="list.txt", listing=open_listing("list.txt"), options=OPTIONS, keys=Keys(OPTIONS, ""))
    engine = Poisoned(1)
    try:
        with Store(tmp_path / "sweep.db") as store, pytest.raises(EngineDown, match="20 targets are left"):
            sweep(store, plan, engine, pace=Pace(lambda _: None, patience=5, pause=1), host_of=lambda _: None)
    finally:
        engine.stop()
    assert set(held(tmp_path / "sweep.db").states.values()) == {"queued"}


def test_a_worker_of_another_version_answers_nothing() -> None:
    outcome = perform(replace(job(1, "a"), tool_version="0.0.1"))
    assert (outcome.error_code, outcome.transient) == ("worker-died", True)
    assert "the sweep 0.0.1" in str(outcome.error)


def test_a_defect_of_ours_is_shown_without_control_characters(capfd: pytest.CaptureFixture[str]) -> None:
    engine = LocalEngine(1)
    try:
        engine.submit(job(1, "a", Bomb(Hostile)))
        (outcome,) = collect(engine, 1).values()
    finally:
        engine.stop()
    assert outcome.error == "a: the process that audited it ended with exit code 1"
    said = capfd.readouterr().err
    assert "\\x1b[31mred" in said
    assert "\x1b" not in said


class Hostile(Options):
    """Options that break where they are used, with a text of a model."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 (any field)
        if name == "against":
            raise KeyError("\x1b[31mred")
        return super().__getattribute__(name)
