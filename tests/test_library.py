"""What a target is held against: references that are here, that can be made, that lack; and digests that are known."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from deskkit import BASE, CARD, COMMAND, CONFIG, OTHER, TARGET, TUNED, Desk
from loopback_hub import Answer
from modelkit import safetensors_bytes
from referencekit import MIRROR, NAME, REPO, known_row, pin_lines, shards

from auditor import library
from auditor.digests.files import digest_files
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Collection

    from auditor.digests.files import FileDigests
    from auditor.lineage.known import KnownFile
    from auditor.sources import Source

pytest_plugins = ("deskfixtures",)

TOKENIZER = b"pieces of words"
CHAT = f"{NAME}-chat"


def rows_of_base(**changed: Any) -> list[KnownFile]:  # noqa: ANN401 (any field)
    return [known_row(data, path, **changed) for path, data in BASE.items()]


def shared(data: bytes = TOKENIZER) -> KnownFile:
    nothing = {"relation": "shared", "reference": None, "repo": None}
    return known_row(data, "tokenizer.model", model="tokenizer of Llama 2", **nothing)


def supporting(report: dict[str, Any]) -> dict[str, str]:
    return {piece["kind"]: piece["text"] for piece in report["lineage"]["supporting"]}


# ---- references that are needed


@pytest.mark.parametrize(("model", "verdict"), [(TUNED, "derived"), (OTHER, "independent")])
@pytest.mark.parametrize("place", ["here", "hub"])
def test_a_reference_that_is_needed_is_made(desk: Desk, place: str, model: dict[str, Any], verdict: str) -> None:
    desk.publish(model)
    lineage = desk.scan(desk.write(model) if place == "here" else TARGET)["lineage"]
    assert (lineage["verdict"], lineage["reference"], lineage["rung"]) == (verdict, NAME, "aligned-neurons")
    assert [path.name for path in desk.sketches if path.suffix == ".json"] == [f"{NAME}.json"]


def test_it_is_made_once(desk: Desk) -> None:
    target = desk.write(TUNED)
    desk.scan(target)
    desk.hub.requests.clear()
    assert desk.scan(target)["lineage"]["verdict"] == "derived"
    assert desk.hub.requests == []


def test_one_of_another_width_is_not_needed(desk: Desk) -> None:
    desk.build()
    assert desk.scan(desk.write(OTHER))["lineage"]["verdict"] == "independent"
    assert desk.hub.asked("hub", "13b") == []


@pytest.mark.parametrize("why", ["offline", "told not to", "unreachable", "unreachable, on the Hub", "wrong weights"])
@pytest.mark.parametrize("model", [TUNED, OTHER])
def test_without_it_nothing_is_decided_and_the_command_is_named(desk: Desk, why: str, model: dict[str, Any]) -> None:
    desk.write_library(rows=[shared(), known_row(safetensors_bytes(model), "model.safetensors", confidence="single")])
    target: Any = desk.write(model)
    (target / "tokenizer.model").write_bytes(TOKENIZER)
    arguments = []
    if why == "offline":
        desk.settings(offline=True)
        said = "offline mode is on"
    elif why == "told not to":
        arguments, said = ["--no-build-references"], "is needed and not on this machine; run: "
    elif why == "unreachable":
        desk.settings(endpoint="http://127.0.0.1:1")
        said = "127.0.0.1:1 cannot be reached"
    elif why == "wrong weights":
        desk.hub.publish(REPO, shards(5))
        said = "expected sha256"
    else:
        target = TARGET
        files = {"README.md": CARD, "config.json": CONFIG, "tokenizer.model": TOKENIZER}
        desk.hub.publish(TARGET, files | {"model.safetensors": safetensors_bytes(model)})
        desk.hub.twist = lambda request, answer: Answer(status=503) if "meta-llama" in request.path else answer
        said = "answers 503"
    report = desk.scan(target, *arguments, code=3)
    assert report["lineage"]["verdict"] == "inconclusive"
    assert said in report["lineage"]["reason"]
    assert report["lineage"]["reason"].endswith(f"run: {COMMAND}")
    pieces = supporting(report)
    assert set(pieces) == {"known-file", "tokenizer", "config", "super-weight"}
    assert pieces["config"].startswith("4 of 4 shape fields agree")
    assert pieces["super-weight"].startswith("down_proj of layer 1, row 5, column 7: |w| is ")
    assert pieces["known-file"].endswith("one source only")
    assert pieces["tokenizer"].endswith("no evidence of descent")
    assert desk.sketches == []


def test_another_reference_that_is_here_does_not_make_it_independent(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chat model is enrolled, its root is not: what is far from the chat model may still descend from the root."""
    desk.hub.publish(f"{REPO}-chat", shards(3))
    assert desk("references", "build", CHAT).code == 0
    target = desk.write(OTHER)
    report = desk.scan(target, "--no-build-references")
    assert [candidate["verdict"] for candidate in report["lineage"]["candidates"]] == ["independent"]
    assert report["lineage"]["verdict"] == "inconclusive"
    assert report["lineage"]["reason"].endswith(COMMAND)
    monkeypatch.setenv("CI", "true")
    desk.scan(target, "--no-build-references", code=3)


def test_one_that_is_here_and_matches_decides_whatever_lacks(desk: Desk) -> None:
    desk.hub.publish(f"{REPO}-chat", BASE)
    assert desk("references", "build", CHAT).code == 0
    lineage = desk.scan(desk.write(TUNED), "--no-build-references")["lineage"]
    assert (lineage["verdict"], lineage["reference"]) == ("derived", CHAT)


def test_one_that_was_named_is_made_too(desk: Desk) -> None:
    lineage = desk.scan(desk.write(TUNED), "--against", NAME)["lineage"]
    assert (lineage["verdict"], lineage["reference"]) == ("derived", NAME)
    desk.use_cache("other")
    lineage = desk.scan("model", "--against", NAME, "--no-build-references", code=3)["lineage"]
    assert (lineage["verdict"], lineage["reason"].rpartition("; ")[2]) == ("inconclusive", f"run: {COMMAND}")


def test_a_gated_reference_says_so_where_it_is_needed(desk: Desk) -> None:
    desk.hub.gated.add(REPO)
    reason = desk.scan(desk.write(TUNED), code=3)["lineage"]["reason"]
    assert f"accept its terms at {desk.hub.endpoint}/{REPO} and set HF_TOKEN" in reason
    assert reason.endswith(COMMAND)
    desk.hub.publish(MIRROR, BASE)
    assert desk.scan("model")["lineage"]["verdict"] == "derived"


def test_an_unreachable_server_is_tried_for_one_reference_only(desk: Desk) -> None:
    desk.hub.twist = lambda _, __: Answer(status=503)
    target = desk.write(TUNED)
    report = desk.scan(target, "-a", NAME, "-a", CHAT, code=3)
    assert report["lineage"]["reason"].count("answers 503") == 2
    assert desk.hub.asked("hub", "chat") == []


# ---- rung 0


def test_the_whole_of_a_known_model_is_identical_by_digests_alone(desk: Desk) -> None:
    desk.write_library(rows=rows_of_base())
    desk.hub.publish("acme/copy", {"README.md": CARD, **BASE})
    desk.hub.requests.clear()
    report = desk.scan("acme/copy")
    lineage = report["lineage"]
    assert (lineage["verdict"], lineage["reference"], lineage["rung"]) == ("identical", NAME, "digest")
    assert [candidate["reference"] for candidate in lineage["candidates"]] == [NAME]
    assert len(desk.hub.asked("cdn")) == len(BASE)
    for data in BASE.values():  # headers, and nothing beyond what is fetched with them
        assert desk.read_of(data) == [(0, min(LIMITS.hub_head, len(data)))]
    assert desk.hub.asked("hub", REPO) == []  # no sketch was made for it
    assert desk.sketches == []


@pytest.mark.parametrize("relation", ["official", "quantisation", "derived"])
def test_a_known_file_of_it_is_derived(desk: Desk, relation: str) -> None:
    data = safetensors_bytes(OTHER)
    desk.write_library(rows=[known_row(data, "model.safetensors", relation=relation)])
    desk.publish(OTHER)
    desk.hub.requests.clear()
    lineage = desk.scan(TARGET)["lineage"]
    assert (lineage["verdict"], lineage["reference"], lineage["rung"]) == ("derived", NAME, "digest")
    assert desk.read_of(data) == [(0, LIMITS.hub_head)]


@pytest.mark.parametrize(
    "changed", [{"confidence": "single", "sources": ("one record",)}, {"relation": "other", "reference": None}]
)
def test_what_is_not_well_sourced_or_of_another_model_supports_only(desk: Desk, changed: dict[str, Any]) -> None:
    desk.write_library(rows=[known_row(safetensors_bytes(OTHER), "model.safetensors", **changed)])
    desk.publish(OTHER)
    report = desk.scan(TARGET)
    assert (report["lineage"]["verdict"], report["lineage"]["rung"]) == ("independent", "aligned-neurons")
    assert "model.safetensors is byte for byte " in supporting(report)["known-file"]


def test_a_size_that_contradicts_the_table_is_no_match(desk: Desk) -> None:
    desk.write_library(rows=[known_row(safetensors_bytes(OTHER), "model.safetensors", size=17)])
    desk.publish(OTHER)
    report = desk.scan(TARGET)
    assert report["lineage"]["rung"] == "aligned-neurons"
    assert "known-file" not in supporting(report)


def test_with_another_model_asked_about_it_is_shown_and_does_not_decide(desk: Desk) -> None:
    desk.write_library(rows=[known_row(safetensors_bytes(TUNED), "model.safetensors")])
    desk.publish(TUNED)
    report = desk.scan(TARGET, "--against", desk.write(OTHER, "other"))
    assert (report["lineage"]["verdict"], report["lineage"]["rung"]) == ("independent", "aligned-neurons")
    assert "of Stand-in" in supporting(report)["known-file"]


def test_files_of_the_model_asked_about_decide_beside_nearer_ones_of_another(desk: Desk) -> None:
    """The nearest reference was looked for first, and a match of the one asked about was lost beside it."""
    first, second = sorted(BASE)
    desk.write_library(
        rows=[known_row(BASE[first], first), known_row(BASE[second], second, relation="derived", reference=CHAT)]
    )
    desk.hub.publish("acme/both", BASE)
    assert desk.scan("acme/both")["lineage"]["reference"] == NAME  # the benign twin: not asked
    lineage = desk.scan("acme/both", "--against", CHAT)["lineage"]
    assert (lineage["verdict"], lineage["reference"], lineage["rung"]) == ("derived", CHAT, "digest")


def test_here_only_files_of_a_known_size_are_hashed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[str]] = []

    def counting(source: Source, paths: Collection[str], **other: Any) -> FileDigests:  # noqa: ANN401 (passed on)
        asked.append(set(paths))
        return digest_files(source, paths, **other)

    monkeypatch.setattr(library, "digest_files", counting)
    data = safetensors_bytes(TUNED)
    target = desk.write(TUNED)
    for name, content in (("same-size.bin", bytes(len(data))), ("longer.bin", bytes(len(data) + 1))):
        (target / name).write_bytes(content)
    (target / "tokenizer.model").write_bytes(TOKENIZER)
    desk.write_library(rows=[known_row(data, "model.safetensors"), shared()])
    report = desk.scan(target, code=3)  # the two others cannot be read
    assert (report["lineage"]["verdict"], report["lineage"]["rung"]) == ("derived", "digest")
    assert asked == [{"model.safetensors", "same-size.bin", "tokenizer.model"}]
    assert [match["kind"] for match in report["lineage"]["supporting"]].count("known-file") == 1

    asked.clear()
    desk.write_library(rows=[replace(known_row(data, "model.safetensors"), size=None)])
    assert desk.scan(target, code=3)["lineage"]["rung"] == "aligned-neurons"
    assert asked == []


# ---- wrong and malicious references


def edited(desk: Desk) -> str:
    sketch = desk.build()
    data = bytearray(sketch.read_bytes())
    data[-1] ^= 1
    sketch.write_bytes(data)
    return rf"{sketch}: sha256 is [0-9a-f]{{64}}, recorded was [0-9a-f]{{64}}; make it again: {COMMAND}"


def edited_with_its_record(desk: Desk) -> str:
    """Whoever can write both can make them fit: then the origin must."""
    desk.build()
    desk.write_library(pin_lines(shards(2)))
    return r"model-00001-of-00002.safetensors: expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}"


def record_of_another_file(desk: Desk) -> str:
    sketch = desk.build()
    record = sketch.parent / f"{NAME}.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"file": "../../model/model.safetensors"}))
    return f"{record}: not a record of a sketch; make it again: {COMMAND}"


def record_cut_short(desk: Desk) -> str:
    record = desk.build().parent / f"{NAME}.json"
    record.write_text(record.read_text()[:-5])
    return f"{record}: not a record of a sketch; make it again: {COMMAND}"


def of_another_name(desk: Desk) -> str:
    sketch = desk.build()
    record = json.loads((sketch.parent / f"{NAME}.json").read_text())
    taken = sketch.with_name(f"{CHAT}-{record['sha256'][:16]}.safetensors")
    taken.write_bytes(sketch.read_bytes())
    (sketch.parent / f"{CHAT}.json").write_text(json.dumps(record | {"name": CHAT, "file": taken.name}))
    return f"{taken}: a sketch of '{NAME}', expected {CHAT}"


def sketch_gone(desk: Desk) -> str:
    sketch = desk.build()
    sketch.unlink()
    return f"{sketch}: cannot be read: no such file"


@pytest.mark.parametrize(
    "harm",
    [edited, edited_with_its_record, record_of_another_file, record_cut_short, of_another_name, sketch_gone],
)
def test_a_cached_reference_that_is_not_what_was_made_stops_the_scan(desk: Desk, harm: Any) -> None:  # noqa: ANN401
    target = desk.write(TUNED)
    said = harm(desk)
    assert re.search(said, desk.fails("scan", target))
    assert re.search(said, desk.fails("scan", target, "--no-build-references"))
