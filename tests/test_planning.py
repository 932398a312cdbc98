"""What a scan would read, said beforehand; and how much of it, at most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from deskkit import BASE, COMMAND, TARGET, TUNED, Desk
from modelkit import drifted, make_model, safetensors_bytes
from referencekit import NAME, known_row

from auditor.limits import LIMITS

if TYPE_CHECKING:
    from modelkit import Model

pytest_plugins = ("deskfixtures",)

# Ten layers, so that few are looked at first; and every tensor so long that no read reaches from one into the next.
SIZES: dict[str, Any] = {"layers": 10, "hidden": 64, "neurons": 512, "vocabulary": 400}
LONG = make_model(7, **SIZES)


@pytest.fixture
def long(desk: Desk) -> Desk:
    """Return a desk with a sketch of that model."""
    assert desk("sketch", desk.write(LONG, "long"), "-o", "long.sketch").code == 0
    return desk


def publish(desk: Desk, model: Model) -> bytes:
    desk.publish(model)
    desk.hub.requests.clear()
    return safetensors_bytes(model)


def rows_read(desk: Desk, data: bytes) -> list[tuple[int, int]]:
    """Return the ranges of weights that were fetched beside the file's beginning."""
    return [(start, stop) for start, stop in desk.read_of(data) if start or stop < 0]


@pytest.mark.parametrize(
    ("model", "looked"), [(drifted(LONG, cosine=0.9), 1), (make_model(8, **SIZES), 4)], ids=["derived", "independent"]
)
def test_a_plan_is_what_the_scan_then_reads(long: Desk, model: Model, looked: int) -> None:
    data = publish(long, model)
    plan = long("scan", TARGET, "--against", "long.sketch", "--dry-run", "--format", "json").json
    assert [request.host for request in long.hub.requests].count("cdn") == 1
    assert rows_read(long, data) == []
    assert plan["headers"]["requests"] == len(long.hub.requests)
    assert (plan["decided"], plan["hashed"], plan["missing"]) == (None, 0, [])
    looks = plan["looks"]
    assert [(look["layers"], look["neurons"]) for look in looks[1:]] == [(10, 16), (10, 32), (10, 0)]
    assert looks[0]["layers"] < 10
    assert {(look["model"], look["reference"]) for look in looks} == {("model.safetensors", "long")}

    long.hub.requests.clear()
    report = long.scan(TARGET, "--against", "long.sketch")
    assert report["lineage"]["verdict"] == ("derived" if looked == 1 else "independent")
    read = rows_read(long, data)
    fetched = sum(stop - start for start, stop in read)
    rows = [look for look in looks[:looked] if look["rung"] == "aligned-neurons"]
    more = [look for look in looks[:looked] if look["rung"] != "aligned-neurons"]  # of which the head holds some
    assert 0 <= len(read) - sum(look["ranges"] for look in rows) <= sum(look["ranges"] for look in more)
    assert 0 <= fetched - sum(look["bytes"] for look in rows) <= sum(look["bytes"] for look in more)


def test_a_plan_for_people(long: Desk) -> None:
    data = publish(long, LONG)
    done = long("scan", TARGET, "-a", "long.sketch", "--dry-run")
    lines = done.out.splitlines()
    commit = long.hub.repositories[TARGET].refs["main"]
    assert (done.code, done.err) == (0, "")
    assert lines[0].startswith(f"{long.hub.endpoint}/{TARGET} at {commit}: 3 files, {len(data) / 1e6:.1f} MB")
    assert lines[1].startswith(f"headers    {len(long.hub.requests)} reads, 0.07 MB")
    assert lines[2].endswith("layers of model.safetensors, against long")
    assert [line.endswith("and where that does not decide") for line in lines[3:]] == [True, True, True]


def test_a_plan_on_this_machine(long: Desk) -> None:
    plan = long("scan", "long", "-a", "long.sketch", "--dry-run", "-f", "json").json
    looks = [(look["rung"], look["layers"], look["neurons"], look["ranges"]) for look in plan["looks"]]
    assert looks[:2] == [("aligned-neurons", 10, 16, 20), ("aligned-neurons", 10, 32, 20)]
    assert looks[2:] == [("framed-neurons", 10, 0, 11), ("searched-neurons", 10, 0, 30)]
    row = 64 * 4
    assert [look["bytes"] for look in plan["looks"]] == [
        20 * 16 * row,
        20 * 16 * row,
        10 * row + 400 * row,
        30 * 512 * row,
    ]
    quick = long("scan", "long", "-a", "long.sketch", "--dry-run", "--quick", "-f", "json").json
    assert len(quick["looks"]) == 3
    assert plan["headers"]["bytes"] < 10_000


def test_a_plan_names_the_reference_that_has_to_be_made(desk: Desk) -> None:
    publish(desk, TUNED)
    done = desk("scan", TARGET, "--dry-run")
    assert done.out.splitlines()[-1] == f"first      {COMMAND}"
    plan = desk("scan", TARGET, "--dry-run", "-f", "json").json
    assert (plan["missing"], plan["looks"]) == ([NAME], [])
    assert desk.hub.asked("hub", "meta-llama") == []  # and makes none
    assert desk.sketches == []


def test_a_plan_knows_that_digests_decide(desk: Desk) -> None:
    """Looks at weights were planned, and references to be made, where no byte of them would be read."""
    desk.write_library(rows=[known_row(data, path) for path, data in BASE.items()])
    desk.hub.publish("acme/copy", BASE)
    plan = desk("scan", "acme/copy", "--dry-run", "-f", "json").json
    assert (plan["decided"], plan["looks"], plan["missing"]) == (f"identical, {NAME}", [], [])
    assert f"weights    not read: identical, {NAME} by digests" in desk("scan", "acme/copy", "--dry-run").out
    desk.write(TUNED)
    plan = desk("scan", "acme/copy", "--dry-run", "-f", "json", "-a", "model").json
    assert plan["decided"] is None  # of a model that is not asked about
    assert plan["looks"]


def test_a_plan_says_what_is_hashed(desk: Desk) -> None:
    data = safetensors_bytes(TUNED)
    desk.write_library(rows=[known_row(data, "model.safetensors")])
    target = desk.write(TUNED)
    assert desk("scan", target, "--dry-run", "-f", "json").json["hashed"] == len(data)
    assert "hashed     0.6 MB: files of the size of a known one" in desk("scan", target, "--dry-run").out


# ---- a budget


def budget(desk: Desk, target: str, size: str | int, *, code: int = 3) -> dict[str, Any]:
    return desk.scan(target, "-a", "long.sketch", "--max-bytes", str(size), code=code)


def test_a_budget_stops_before_the_first_look(long: Desk) -> None:
    data = publish(long, drifted(LONG, cosine=0.9))
    report = budget(long, TARGET, "20kB")
    assert report["lineage"]["verdict"] == "inconclusive"
    assert "model.safetensors" in {entry["path"] for entry in report["coverage"]["unread"]}
    assert "exceed what the user allows" in report["coverage"]["unread"][0]["reason"]
    assert rows_read(long, data) == []
    assert desk_read(long) <= 20_000 + LIMITS.hub_head


def test_a_budget_that_ends_after_the_first_look_never_says_independent(long: Desk) -> None:
    data = publish(long, make_model(8, **SIZES))
    plan = long("scan", TARGET, "-a", "long.sketch", "--dry-run", "-f", "json").json
    allowed = 20_000 + plan["looks"][0]["bytes"]
    long.hub.requests.clear()
    report = long.scan(TARGET, "-a", "long.sketch", "--max-bytes", str(allowed), code=3)
    assert report["lineage"]["verdict"] == "inconclusive"
    assert "stopped before the last look" in report["coverage"]["unread"][0]["reason"]
    assert 0 < sum(stop - start for start, stop in rows_read(long, data)) <= allowed


def test_a_budget_that_suffices_changes_nothing(long: Desk) -> None:
    publish(long, drifted(LONG, cosine=0.9))
    free = long.scan(TARGET, "-a", "long.sketch")
    assert budget(long, TARGET, "10MB", code=0)["lineage"] == free["lineage"]
    assert budget(long, TARGET, "200kB", code=0)["lineage"]["verdict"] == "derived"


def test_a_budget_on_this_machine(long: Desk) -> None:
    report = budget(long, "long", 20_000)
    assert report["lineage"]["verdict"] == "inconclusive"
    assert report["coverage"]["bytes_read"] <= 20_000


@pytest.mark.parametrize("size", ["-1", "1.5MB", "lots", "20 MiB", "", "1e9", "9" * 40])
def test_a_budget_that_is_none(desk: Desk, size: str) -> None:
    for command in (["scan", TARGET], ["compare", NAME, TARGET]):
        said = desk.fails(*command, f"--max-bytes={size}")
        assert said == f"auditor: {size}: not a number of bytes, as 20000000, 20MB or 1GB"


def desk_read(desk: Desk) -> int:
    return sum(stop - start for start, stop in (request.range or (0, 0) for request in desk.hub.asked("cdn")))
