"""Copies among the targets of a sweep: their weights are judged once, and everything else of each."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import jsonschema
import pytest
from attestkit import BASE, DERIVED, write_sketch
from loopback_hub import LoopbackHub
from modelkit import make_model, safetensors_bytes, write_model
from sweepkit import VERDICTS, entry, held, listing, marked, publish_many

from auditor.audit import Options, audit, scan
from auditor.enrolling import sketch
from auditor.formats import open_checkpoints
from auditor.recalling import Earlier, earlier_of, weights_key
from auditor.report.reading import read_report
from auditor.report.schema import load_schema
from auditor.sources import MeteredSource, hub_http, open_source
from auditor.sources.hub_settings import HubSettings
from auditor.sources.wrapped import WrappedSource
from auditor.sweep import driver
from auditor.sweep.connection import opened_reading
from auditor.sweep.driver import Plan, sweep
from auditor.sweep.keys import Keys
from auditor.sweep.listings import open_listing
from auditor.sweep.pacing import Pace
from auditor.sweep.reading import totals
from auditor.sweep.records import Remembered, pack, unpack
from auditor.sweep.store import Store
from auditor.sweep.work import Job, Outcome, Question, perform

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from auditor.report import Report
    from auditor.sources import FileInfo


class Threads:
    """An engine whose jobs run in threads, each up to its question until it is answered."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.questions: list[Question] = []
        self.answers: list[tuple[int, bool]] = []
        self.most_waiting = 0
        self._said: list[Outcome | Question] = []
        self._news = threading.Condition()
        self._answered: dict[int, tuple[threading.Event, list[Remembered | None]]] = {}

    def submit(self, job: Job) -> None:
        self._answered[job.id] = (threading.Event(), [])
        threading.Thread(target=self._run, args=(job,), daemon=True).start()

    def _run(self, job: Job) -> None:
        self._say(perform(job, ask=partial(self._ask, job.id)))

    def _ask(self, job: int, question: Question) -> Remembered | None:
        event, answer = self._answered[job]
        self._say(question)
        assert event.wait(60)
        return answer[0]

    def _say(self, what: Outcome | Question) -> None:
        with self._news:
            self._said.append(what)
            self._news.notify()

    def results(self, timeout: float) -> list[Outcome | Question]:
        with self._news:
            if not self._said:
                self._news.wait(timeout)
            said, self._said = self._said, []
        self.questions += [each for each in said if isinstance(each, Question)]
        self.most_waiting = max(self.most_waiting, len(self.questions) - len(self.answers))
        return said

    def answer(self, job: int, known: Remembered | None) -> None:
        event, answer = self._answered[job]
        self.answers.append((job, known is not None))
        answer.append(known)
        event.set()

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
        yield made


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(against=(str(write_sketch(tmp_path / "base.sketch")),), compact=True)


def run(folder: Path, hub: LoopbackHub, options: Options, *, capacity: int = 1) -> Threads:
    engine = Threads(capacity)
    plan = Plan(
        name="hf:acme/*",
        listing=open_listing("hf:acme/*"),
        options=options,
        keys=Keys(options, str(hub.settings().origin)),
    )
    with Store(folder / "sweep.db") as store:
        sweep(store, plan, engine, pace=Pace(lambda _: None, patience=5, pause=0.001), host_of=lambda _: None)
    return engine


def reports(folder: Path) -> dict[str, Report]:
    import sqlite3  # noqa: PLC0415 - read by nothing of ours

    connection = sqlite3.connect(folder / "sweep.db")
    rows = connection.execute("SELECT report FROM result JOIN target ON target.result = result.id").fetchall()
    connection.close()
    made = [read_report(unpack(row[0], of="x"), file="x") for row in rows]
    return {report.target.uri: report for report in made}


@pytest.mark.parametrize("capacity", [1, 3])
def test_copies_are_read_once_and_have_the_same_evidence(
    tmp_path: Path, hub: LoopbackHub, options: Options, capacity: int
) -> None:
    kinds = publish_many(hub, 24, distinct=1)
    engine = run(tmp_path, hub, options, capacity=capacity)
    assert held(tmp_path / "sweep.db").verdicts == {name: VERDICTS[kind] for name, kind in kinds.items()}
    read = [known for _, known in engine.answers].count(False)
    assert len(engine.questions) == 18  # what is no checkpoint is not asked about
    assert read == 3  # kinds of weights
    with opened_reading(tmp_path / "sweep.db") as connection:
        assert totals(connection, tmp_path / "sweep.db").copies == 15
    made = reports(tmp_path)
    for kind in ("derived", "independent", "identical-weights"):
        group = [report for uri, report in made.items() if kinds["/".join(uri.split("/")[-2:])] == kind]
        assert len({json.dumps(report.as_dict()["lineage"]) for report in group}) == 1
        (first,) = (report for report in group if report.coverage.weights_of is None)
        assert {report.coverage.weights_of for report in group if report is not first} == {
            f"{first.target.uri}@{first.target.revision}"
        }
    for report in made.values():
        jsonschema.validate(json.loads(json.dumps(report.as_dict())), load_schema())


def test_whoever_waits_goes_on_when_the_first_comes_to_nothing(
    tmp_path: Path, hub: LoopbackHub, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of the first are unreadable at first: another judges them, and it waits for that one."""
    publish_many(hub, 12, distinct=1)
    broken: list[int] = []
    asked: list[int] = []
    honest = perform

    def perform_(job: Job, *, ask: object) -> Outcome:
        outcome = honest(job, ask=ask)  # type: ignore[arg-type]
        asked.append(job.id)
        if outcome.verdict == "derived" and not broken:
            broken.append(job.id)
            return replace(outcome, transient=True, error_code="undelivered", error="cut off")
        return outcome

    monkeypatch.setitem(globals(), "perform", perform_)
    monkeypatch.setattr(driver, "LIMITS", replace(driver.LIMITS, sweep_backoff_seconds=0.001))
    engine = run(tmp_path, hub, options, capacity=4)
    assert set(held(tmp_path / "sweep.db").states.values()) == {"done"}
    assert [known for _, known in engine.answers].count(False) == 4
    assert len(asked) == 13


def test_what_is_said_about_the_weights_is_judged_anew(tmp_path: Path, hub: LoopbackHub) -> None:
    (tmp_path / "s").write_bytes(sketch(str(write_model(BASE, tmp_path / "base")), name="llama-2-7b"))
    options = Options(against=(str(tmp_path / "s"),))
    for name, licence in (("honest", "llama2"), ("relicensed", "mit")):
        card = f"---\nlicense: {licence}\n---\n# Model\n".encode()
        hub.publish(f"acme/{name}", {"README.md": card, "model.safetensors": safetensors_bytes(DERIVED)})
    hub.twist = lambda _, honest: honest
    found = [audit(f"acme/{name}", options, recall=lambda _: None) for name in ("honest", "relicensed")]
    assert found[0].weights_key == found[1].weights_key is not None
    earlier = earlier_of(found[0].report)
    recalled = audit("acme/relicensed", options, recall=lambda _: earlier).report
    assert recalled.findings == found[1].report.findings
    assert recalled.lineage == found[1].report.lineage
    assert recalled.exit_code == found[1].report.exit_code == 1
    assert recalled.target == found[1].report.target


def test_of_a_copy_only_headers_are_read(tmp_path: Path, hub: LoopbackHub) -> None:
    base = make_model(3, layers=6, hidden=128, neurons=384)
    (tmp_path / "s").write_bytes(sketch(str(write_model(base, tmp_path / "base")), name="base"))
    for name in ("a", "b"):
        hub.publish(f"acme/{name}", {"model.safetensors": safetensors_bytes(base), "README.md": name.encode()})
    options = Options(against=(str(tmp_path / "s"),), compact=True)
    first = audit("acme/a", options, recall=lambda _: None)
    memory = Remembered(report=pack(first.report.as_dict()), compact=first.compact[0].to_bytes())
    hub.requests.clear()
    copy = audit("acme/b", options, recall=lambda _: memory.earlier())
    assert copy.report.lineage.verdict == first.report.lineage.verdict == "derived"
    assert [sample.to_bytes() for sample in copy.compact] == [sample.to_bytes() for sample in first.compact]
    ranges = [request for request in hub.requests if "model.safetensors" in request.path]
    assert len(ranges) == 1  # its head
    assert copy.report.coverage.bytes_read < 100_000 < first.report.coverage.bytes_read


DIFFERENT = {
    "another value": {"model.safetensors": safetensors_bytes(DERIVED)[:-1] + b"\x3c"},
    "another file of the same values": {"model.safetensors": marked(safetensors_bytes(DERIVED), 1)},
    "another configuration": {"config.json": b'{"model_type": "llama", "num_attention_heads": 3}'},
    "more weights": {"more.safetensors": safetensors_bytes(make_model(5))},
    "another name": {"model.safetensors": None, "weights.safetensors": safetensors_bytes(DERIVED)},
}


@pytest.mark.parametrize("change", DIFFERENT)
def test_what_differs_in_anything_that_lineage_sees_is_no_copy(hub: LoopbackHub, options: Options, change: str) -> None:
    files: dict[str, bytes | None] = {
        "model.safetensors": safetensors_bytes(DERIVED), "config.json": b'{"model_type": "llama"}', "README.md": b"a",
    }  # fmt: skip
    keys = []
    for name, changed in (("a", {}), ("b", {"README.md": b"b"}), ("c", DIFFERENT[change])):
        made = {path: data for path, data in {**files, **changed}.items() if data is not None}
        hub.publish(f"acme/{name}", made)
        keys.append(audit(f"acme/{name}", options, recall=lambda _: None).weights_key)
    assert keys[0] == keys[1] is not None
    assert keys[2] not in {keys[0], None}


class Elsewhere(WrappedSource):
    """A target as another host claims to have it."""

    uri = "https://mirror.example/acme/a"
    kind = "hub"

    def files(self) -> tuple[FileInfo, ...]:
        return tuple(
            replace(info, sha256=hashlib.sha256(info.path.encode()).hexdigest(), digest_source="hub")
            for info in super().files()
        )

    def on_disk(self, path: str) -> None:  # noqa: ARG002
        return None


def test_no_host_vouches_for_another(tmp_path: Path) -> None:
    keys = {}
    uris = ("https://hub.example/a/b", "https://hub.example/c/d", "https://evil.example/a/b", "hf://a/b", "hf://c/d")
    for uri in uris:
        source = Elsewhere(open_source(str(write_model(DERIVED, tmp_path / "model"))))
        source.uri = uri  # type: ignore[misc]
        metered = MeteredSource(source, record=True)
        keys[uri] = weights_key(metered, open_checkpoints(metered).containers)
    same, again, evil, public, publicly = keys.values()
    assert same == again is not None
    assert public == publicly is not None
    assert len({same, evil, public}) == 3


def test_without_digests_and_where_more_than_weights_decide_nothing_is_asked(
    tmp_path: Path, hub: LoopbackHub, options: Options
) -> None:
    def never(key: str) -> Earlier | None:
        raise AssertionError(key)

    folder = write_model(DERIVED, tmp_path / "local")
    assert audit(str(folder), options, recall=never).weights_key is None
    hub.publish("acme/unread", {"model.safetensors": safetensors_bytes(DERIVED), "pytorch_model.bin": b"\x80\x04."})
    assert audit("acme/unread", options, recall=never).weights_key is None
    hub.publish("acme/full", {"model.safetensors": safetensors_bytes(DERIVED)})
    assert audit("acme/full", replace(options, digests="tensors"), recall=never).weights_key is None
    assert audit("acme/full", options).weights_key is None  # nobody can be asked


def test_only_what_was_read_whole_and_has_a_verdict_is_taken_over(tmp_path: Path, options: Options) -> None:
    report = scan(str(write_model(DERIVED, tmp_path / "a")), options)
    assert earlier_of(report) is not None
    (tmp_path / "a/pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert earlier_of(scan(str(tmp_path / "a"), options)) is None
    assert earlier_of(replace(report, lineage=replace(report.lineage, verdict="inconclusive"))) is None


@pytest.mark.parametrize("damage", ["report", "sample", "another schema"])
def test_a_damaged_memory_is_none(tmp_path: Path, options: Options, damage: str) -> None:
    done = audit(str(write_model(BASE, tmp_path / "a")), options)
    whole = Remembered(report=pack(done.report.as_dict()), compact=done.compact[0].to_bytes())
    assert whole.earlier() is not None
    broken = {
        "report": replace(whole, report=whole.report[:-5]),
        "sample": replace(whole, compact=b"x"),
        "another schema": replace(whole, report=pack({**done.report.as_dict(), "schema_version": "2"})),
    }
    assert broken[damage].earlier() is None


def test_a_job_that_may_not_ask_judges_by_itself(hub: LoopbackHub, options: Options) -> None:
    publish_many(hub, 1)
    outcome = perform(Job(id=1, entry=entry("hf://acme/m00000"), options=options))
    assert (outcome.verdict, outcome.weights) == ("derived", None)
