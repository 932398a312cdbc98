"""Stores of shards become one, or say what they contradict each other in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from reportkit import CASES
from sweepkit import entry, held, result

from auditor.errors import StoreConflict, StoreMissing
from auditor.sweep.connection import opened_reading
from auditor.sweep.merging import merge
from auditor.sweep.reading import records
from auditor.sweep.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from auditor.report import Report
    from auditor.sweep.records import Record, Result

DERIVED, INDEPENDENT = CASES["derived"], CASES["independent"]


def write(path: Path, results: dict[str, Result | None]) -> Path:
    with Store(path) as store:
        round_ = store.begin_round("s", "x")
        store.enqueue(round_, [(entry(name), None, None) for name in results])
        for name, made in results.items():
            queued = store.lease(round_, seconds=60)
            assert queued is not None
            assert queued.entry.target == name
            if made is not None:
                store.finish(queued.id, made)
    return path


def of(report: Report, **changes: object) -> Result:
    return result(report.as_dict(), verdict=report.lineage.verdict, **changes)


def read(path: Path) -> dict[str, Record]:
    with opened_reading(path) as connection:
        return {record.entry.target: record for record in records(connection, path)}


def merged(folder: Path, *stores: Path) -> dict[str, Record]:
    with Store(folder / "all.db") as store:
        merge(store, stores)
    return read(folder / "all.db")


def test_shards_add_up(tmp_path: Path) -> None:
    a = write(tmp_path / "a.db", {"x": of(DERIVED), "y": of(INDEPENDENT), "z": None})
    b = write(tmp_path / "b.db", {"v": of(DERIVED, revision="b" * 40), "w": of(INDEPENDENT)})
    found = merged(tmp_path, a, b)
    assert {name: record.state for name, record in found.items()} == {
        "x": "done", "y": "done", "z": "queued", "v": "done", "w": "done",
    }  # fmt: skip
    assert found["v"].result == read(b)["v"].result
    assert read(a)["x"].result == found["x"].result  # and the parts are as they were


def test_the_same_answer_twice_is_one(tmp_path: Path) -> None:
    other_costs = replace(DERIVED, coverage=replace(DERIVED.coverage, seconds=9.9, bytes_read=1, requests=2))
    a = write(tmp_path / "a.db", {"x": of(DERIVED)})
    b = write(tmp_path / "b.db", {"x": of(other_costs)})
    merged(tmp_path, a, b, a)
    assert held(tmp_path / "all.db").results == {"x": 1}


@pytest.mark.parametrize("known", ["in another part", "in the store itself"])
def test_contradictory_answers_are_refused_by_name_and_nothing_is_merged(tmp_path: Path, known: str) -> None:
    a = write(tmp_path / "a.db", {"x": of(DERIVED)})
    b = write(tmp_path / "b.db", {"w": of(DERIVED), "x": of(INDEPENDENT)})
    if known == "in another part":
        stores, first = [a, b], a
        write(tmp_path / "all.db", {"before": of(DERIVED)})
    else:
        stores, first = [b], write(tmp_path / "all.db", {"x": of(DERIVED)})
    before = read(tmp_path / "all.db")
    with Store(tmp_path / "all.db") as store, pytest.raises(StoreConflict) as error:
        merge(store, stores)
    assert str(error.value).startswith(f"x at {'a' * 40}: {first} says derived, exit 0; {b} says independent, exit 0")
    assert read(tmp_path / "all.db") == before


def test_a_finished_answer_goes_before_a_failed_one_and_a_newer_before_an_older(tmp_path: Path) -> None:
    failed = of(INDEPENDENT, state="failed", revision="", error_code="x", error="y", finished=9e9)
    a = write(tmp_path / "a.db", {"x": failed, "y": of(DERIVED, revision="old", finished=1.0)})
    b = write(tmp_path / "b.db", {"x": of(DERIVED), "y": of(INDEPENDENT, revision="new", finished=2.0)})
    for number, stores in enumerate([(a, b), (b, a)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = merged(folder, *stores)
        assert (found["x"].state, found["x"].error_code) == ("done", None)
        assert found["y"].result is not None
        assert found["y"].result.revision == "new"
        assert held(folder / "all.db").results == {"x": 1, "y": 2}  # both revisions of y are kept


def test_other_options_are_another_question(tmp_path: Path) -> None:
    a = write(tmp_path / "a.db", {"x": of(DERIVED, key="k1")})
    b = write(tmp_path / "b.db", {"x": of(INDEPENDENT, key="k2", finished=9e9)})
    found = merged(tmp_path, a, b)
    assert found["x"].result is not None
    assert found["x"].result.verdict == "independent"


def test_a_part_that_is_not_there_merges_nothing(tmp_path: Path) -> None:
    a = write(tmp_path / "a.db", {"x": of(DERIVED)})
    with Store(tmp_path / "all.db") as store, pytest.raises(StoreMissing):
        merge(store, [a, tmp_path / "b.db"])
    assert read(tmp_path / "all.db") == {}
