"""The sweep over a loopback Hub: each revision is read once, what passes is tried again, and hosts are let alone."""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from attestkit import write_sketch
from loopback_hub import Answer, LoopbackHub, Request
from modelkit import make_model, safetensors_bytes, write_model
from sweepkit import VERDICTS, held, listing, publish_many

from auditor import sketch
from auditor.audit import Options
from auditor.errors import HostDown, HubError, UsageError
from auditor.limits import LIMITS
from auditor.sources import hub_http
from auditor.sources.hub_settings import HubSettings
from auditor.sweep import driver, keys, work
from auditor.sweep.driver import Plan, Step, sweep
from auditor.sweep.keys import Keys
from auditor.sweep.listings import Filters, open_listing
from auditor.sweep.pacing import Pace, host_of, quota_for
from auditor.sweep.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from auditor.sweep.work import Job, Outcome


class Inline:
    """An engine that runs one job, here, when it is asked for results."""

    capacity = 1

    def __init__(self) -> None:
        self.performed: list[str] = []
        self._job: Job | None = None

    def submit(self, job: Job) -> None:
        self._job = job

    def results(self, timeout: float) -> list[Outcome]:
        assert timeout > 0
        assert self._job is not None
        self.performed.append(self._job.entry.target)
        return [work.perform(self._job)]

    def answer(self, job: int, known: object) -> None:
        raise AssertionError(job, known)

    def cancel(self, job: int) -> None:
        raise AssertionError(job)

    def stop(self) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub() as made:
        made.twist = listing(made)
        monkeypatch.setattr(HubSettings, "current", staticmethod(made.settings))
        monkeypatch.setattr(hub_http, "_pause", lambda _: None)
        monkeypatch.setattr(driver, "LIMITS", replace(LIMITS, sweep_backoff_seconds=0.001))
        yield made


class Sweeper:
    def __init__(self, folder: Path, hub: LoopbackHub) -> None:
        self.store = folder / "sweep.db"
        self.folder, self.hub = folder, hub
        self.options = Options(against=(str(write_sketch(folder / "base.sketch")),))
        self.steps: list[Step] = []
        self.engine = Inline()

    def __call__(self, name: str = "hf:acme/*", *, filters: Filters | None = None, **plan: object) -> list[str]:
        """Sweep; return what was handed to the engine."""
        settings = self.hub.settings()
        origin = str(settings.origin)
        made = Plan(
            name=name,
            listing=open_listing(name, filters),
            options=self.options,
            keys=Keys(self.options, origin),
            filters=repr(filters),
            **plan,  # type: ignore[arg-type]
        )
        pace = Pace(quota_for(settings, None), patience=LIMITS.sweep_host_failures, pause=0.001)
        self.engine, self.steps = Inline(), []
        self.hub.requests.clear()
        with Store(self.store) as store:
            sweep(
                store,
                made,
                self.engine,
                pace=pace,
                host_of=lambda target: host_of(target, origin),
                notify=self.steps.append,
            )
        return self.engine.performed

    @property
    def asked(self) -> int:
        """Requests about single models."""
        return len([r for r in self.hub.requests if not r.path.startswith("/api/models?")])


@pytest.fixture
def run(tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> Sweeper:
    monkeypatch.chdir(tmp_path)
    return Sweeper(tmp_path, hub)


def check(run: Sweeper, kinds: dict[str, str]) -> None:
    found = held(run.store)
    assert found.verdicts == {name: VERDICTS[kind] for name, kind in kinds.items()}
    assert set(found.results.values()) == {1}
    assert set(found.states.values()) == {"done"}


def test_every_model_of_an_organisation_is_judged_once(run: Sweeper) -> None:
    kinds = publish_many(run.hub, 8)
    run.hub.twist = listing(run.hub, page=3)
    assert sorted(run()) == [f"hf://{name}" for name in sorted(kinds)]
    check(run, kinds)


def test_what_the_collection_says_is_unchanged_costs_no_request(run: Sweeper) -> None:
    kinds = publish_many(run.hub, 4)
    run()
    assert run() == []
    assert run.asked == 0
    check(run, kinds)
    changed = {"model.safetensors": safetensors_bytes(make_model(2, layers=2, hidden=32, neurons=48))}
    run.hub.publish("acme/m00000", changed)
    assert run() == ["hf://acme/m00000"]
    found = held(run.store)
    assert found.verdicts["acme/m00000"] == ("independent", None)
    assert found.results == {**dict.fromkeys(kinds, 1), "acme/m00000": 2}  # the old revision's is kept


def test_where_only_the_target_knows_its_revision_two_requests_tell(run: Sweeper) -> None:
    publish_many(run.hub, 2)
    (run.folder / "list.txt").write_text("acme/m00000\nacme/m00001\n")
    run("list.txt")
    assert run.asked > 4
    assert len(run("list.txt")) == 2
    assert run.asked == 4
    assert all(step.outcome.unchanged for step in run.steps)


def test_a_folder_is_read_again_when_a_byte_of_it_may_have_changed(run: Sweeper) -> None:
    target = run.folder / "model"
    target.mkdir()
    (target / "model.safetensors").write_bytes(safetensors_bytes(make_model(1)))
    (run.folder / "list.txt").write_text("model\n")
    run("list.txt")
    run("list.txt")
    assert [step.outcome.unchanged for step in run.steps] == [True]
    before = (target / "model.safetensors").stat()
    data = bytearray((target / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (target / "model.safetensors").write_bytes(data)
    os.utime(target / "model.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))  # as a copy that keeps times
    run("list.txt")
    assert [step.outcome.unchanged for step in run.steps] == [False]


@pytest.mark.parametrize("change", ["option", "reference", "settings"])
def test_other_options_references_or_settings_are_another_question(run: Sweeper, change: str) -> None:
    publish_many(run.hub, 1)
    config = run.folder / "auditor.toml"
    config.write_text("")
    run.options = replace(run.options, config=str(config))
    run()
    assert run() == []
    if change == "option":
        run.options = replace(run.options, depth="quick")
    elif change == "reference":
        (run.folder / "base.sketch").unlink()
        source = write_model(make_model(9, layers=2, hidden=32, neurons=48), run.folder / "another")
        (run.folder / "base.sketch").write_bytes(sketch(str(source), name="base"))
    else:
        config.write_text("# read again\n")
    assert len(run()) == 1
    assert held(run.store).results == {"acme/m00000": 2}


def test_a_waiver_that_expired_since_is_another_question(run: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    config = run.folder / "auditor.toml"
    config.write_text(
        '[[waiver]]\nrule = "FILE-002"\nsubject = "acme/m00000"\nreason = "both sets are meant"\nowner = "me"\n'
        "expires = 2026-12-01\n"
    )
    options = replace(run.options, config=str(config))

    def key(day: int) -> str:
        class Then(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
                assert tz is UTC
                return datetime(2026, 12, day, tzinfo=UTC)

        monkeypatch.setattr(keys, "datetime", Then)
        return Keys(options, "h").base

    assert key(1) != key(2)
    assert key(2) == key(20)


def busy_once(hub: LoopbackHub, repo: str, times: int) -> list[int]:
    """Let a repository fail this often; return a list that grows with each."""
    before, failures = hub.twist, list[int]()

    def twist(request: Request, answer: Answer) -> Answer:
        if request.path.startswith(f"/api/models/{repo}/") and len(failures) < times:
            failures.append(1)
            return Answer(status=500)
        return before(request, answer)

    hub.twist = twist
    return failures


def test_what_may_pass_is_tried_again_and_paid_for(run: Sweeper) -> None:
    kinds = publish_many(run.hub, 3)
    failures = busy_once(run.hub, "acme/m00001", LIMITS.hub_tries + 2)  # one whole audit, and a part of the next
    performed = run()
    assert performed.count("hf://acme/m00001") == 2
    assert len(performed) == 4
    assert len(failures) == LIMITS.hub_tries + 2
    check(run, kinds)
    assert [step.state for step in run.steps if step.entry.target.endswith("1")] == ["queued", "done"]


def test_what_never_works_fails_and_is_passed_over_and_tried_by_the_next_sweep(run: Sweeper) -> None:
    kinds = publish_many(run.hub, 3)
    busy_once(run.hub, "acme/m00001", 10_000)
    assert run(max_tries=2).count("hf://acme/m00001") == 2
    found = held(run.store)
    assert found.states == {name: "failed" if name.endswith("1") else "done" for name in kinds}
    assert found.results["acme/m00001"] == 1
    run.hub.twist = listing(run.hub)
    assert run() == ["hf://acme/m00001"]
    check(run, kinds)


def test_what_is_refused_for_good_is_not_tried_twice(run: Sweeper) -> None:
    publish_many(run.hub, 1)
    (run.folder / "list.txt").write_text("acme/m00000\nacme/nothing\nnowhere\n")
    assert len(run("list.txt")) == 3
    found = held(run.store)
    assert found.states == {"acme/m00000": "done", "acme/nothing": "failed", "nowhere": "failed"}
    assert found.verdicts["acme/nothing"] == ("inconclusive", None)


def test_a_host_that_is_down_stops_the_sweep_and_burns_no_tries(run: Sweeper) -> None:
    kinds = publish_many(run.hub, 12)
    good, served = run.hub.twist, list[str]()

    def twist(request: Request, answer: Answer) -> Answer:
        if not request.path.startswith("/api/models?"):
            served.append(request.path)
            if len(served) > 30:  # some models, and then nothing any more
                return Answer(status=503)
        return good(request, answer)

    run.hub.twist = twist
    with pytest.raises(HostDown, match="targets are left"):
        run(patience=0.2)
    before = held(run.store)
    assert "failed" not in before.states.values()
    (tries,) = sqlite3.connect(run.store).execute("SELECT sum(tries) FROM target WHERE state = 'queued'").fetchone()
    assert tries < LIMITS.sweep_host_failures  # those that were made before the host counted as down
    done = [name for name, state in before.states.items() if state == "done"]
    assert 0 < len(done) < 12
    run.hub.twist = good
    assert sorted(run()) == sorted(f"hf://{name}" for name in kinds if name not in done)
    check(run, kinds)


def test_a_host_that_asks_to_wait_is_left_alone_so_long(run: Sweeper) -> None:
    publish_many(run.hub, 2)
    good, asked = run.hub.twist, list[float]()

    def twist(request: Request, answer: Answer) -> Answer:
        if request.path.startswith("/api/models/"):
            asked.append(time.monotonic())
            if len(asked) == 1:
                return Answer(status=429, headers={"Retry-After": "61"})
        return good(request, answer)

    run.hub.twist = twist
    with pytest.raises(HostDown):
        run(patience=1.5)
    assert len(asked) == 1  # nobody else was sent there meanwhile, the other model neither
    assert set(held(run.store).states.values()) == {"queued"}


def test_shards_share_the_targets_out(run: Sweeper) -> None:
    kinds = publish_many(run.hub, 12)
    parts = []
    for number in (1, 2, 3):
        run.store = run.folder / f"{number}.db"
        parts.append(run(shard=(number, 3)))
    assert all(parts)
    assert sorted(name for part in parts for name in part) == [f"hf://{name}" for name in sorted(kinds)]


def test_a_sweep_that_was_ended_goes_on(run: Sweeper) -> None:
    kinds = publish_many(run.hub, 6)

    class EndedError(Exception):
        pass

    def end(step: Step) -> None:
        if step.left == 3:
            raise EndedError

    run.steps = []
    settings = run.hub.settings()
    made = Keys(run.options, str(settings.origin))
    plan = Plan(name="hf:acme/*", listing=open_listing("hf:acme/*"), options=run.options, keys=made, filters=repr(None))
    pace = Pace(quota_for(settings, None), patience=5, pause=1)
    with Store(run.store) as store, pytest.raises(EndedError):
        sweep(store, plan, Inline(), pace=pace, host_of=lambda _: "h", notify=end)
    assert len(run()) == 3
    check(run, kinds)


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        (Filters(tags=("odd",)), [1, 3, 5]),
        (Filters(max_bytes=12_000), [0, 1, 2]),
        (Filters(tags=("odd", "even")), []),
    ],
)
def test_models_are_filtered_by_what_the_hub_says_of_them(run: Sweeper, filters: Filters, numbers: list[int]) -> None:
    publish_many(run.hub, 6)
    assert sorted(run(filters=filters)) == [f"hf://acme/m{number:05}" for number in numbers]


def test_models_are_filtered_by_date(run: Sweeper) -> None:
    publish_many(run.hub, 4)
    since = Filters(updated_since=datetime(2025, 1, 1, tzinfo=UTC))
    assert sorted(run(filters=since)) == ["hf://acme/m00001", "hf://acme/m00003"]


RECORD = '{"id": "acme/m00000", "sha": "x"}'


@pytest.mark.parametrize(
    "body",
    [
        b"[", b"{}", b'["x"]', b'[{"id": 1}]', b'[{"id": "other/m"}]', b'[{"id": "acme/../x"}]', b"[]",
        b'[{"id": "acme/<script>"}]', b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_list_that_is_none_is_refused(run: Sweeper, body: bytes) -> None:
    run.hub.twist = lambda _, __: Answer(body=body)
    with pytest.raises(HubError, match="hf:acme/"):
        run()


def test_a_list_that_does_not_end_is_refused(run: Sweeper) -> None:
    publish_many(run.hub, 1)
    link = {"Link": '<http://elsewhere.example/api/models?author=acme&cursor=1>; rel="next"'}
    run.hub.twist = lambda _, __: Answer(headers=link, body=f"[{RECORD}]".encode())
    with pytest.raises(HubError, match="does not end"):
        run()
    assert {request.host for request in run.hub.requests} == {"hub"}


@pytest.mark.parametrize("name", ["hf:acme", "hf:*", "hf:acme/m*", "hf:../*", "hf:datasets/*"])
def test_what_is_no_organisation(run: Sweeper, name: str) -> None:
    with pytest.raises(UsageError):
        run(name)


def test_a_file_cannot_be_filtered(run: Sweeper) -> None:
    (run.folder / "list.txt").write_text("a\n")
    with pytest.raises(UsageError, match="says nothing of tags"):
        run("list.txt", filters=Filters(tags=("x",)))
