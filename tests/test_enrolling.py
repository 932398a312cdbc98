"""Making references: which repository is taken, and what is told meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from deskkit import BASE, Desk
from loopback_hub import Answer
from referencekit import MIRROR, NAME, REPO, stand_in

from auditor.enrolling import build, sketch
from auditor.errors import BadReference, GatedRepo, HubOffline, HubUnreachable, TargetError, UsageError
from auditor.lineage.references import load_reference

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ("deskfixtures",)


def cached(folder: Path, repo: str, files: dict[str, bytes], commit: str = "a" * 40) -> Path:
    """Lay a snapshot into a Hugging Face cache, as a download does."""
    model = folder / f"models--{repo.replace('/', '--')}"
    for path, data in files.items():
        place = model / "snapshots" / commit / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    return folder


def test_it_tells_before_it_reads(desk: Desk) -> None:
    told: list[tuple[str, int]] = []
    done = build(NAME, notify=lambda text: told.append((text, len(desk.hub.requests))))
    assert told == [(f"making the sketch of {NAME} from {REPO}, once: some tens of MB", 0)]
    assert (done.repo, done.pinned, done.shipped) == (REPO, True, False)
    assert load_reference(NAME).sha256 == done.sha256


def test_the_first_refusal_is_what_is_said_where_all_are_closed(desk: Desk) -> None:
    desk.hub.gated.add(REPO)
    told: list[str] = []
    with pytest.raises(GatedRepo, match=REPO):
        build(NAME, notify=told.append)
    assert [MIRROR in text for text in told] == [False, True]


def test_a_renamed_mirror_does_not_hide_the_first_refusal(desk: Desk) -> None:
    """Its "scan that instead" was what the user was told to do."""
    desk.hub.gated.add(REPO)
    desk.hub.renamed[MIRROR] = "elsewhere/weights"
    with pytest.raises(GatedRepo, match=REPO):
        build(NAME)


def test_offline_with_the_mirror_in_the_cache(desk: Desk) -> None:
    """Only the official repository was looked for in the cache of a machine that is offline."""
    desk.settings(offline=True, cache=cached(desk.folder / "hf", MIRROR, BASE))
    done = build(NAME)
    assert done.repo == MIRROR
    assert {info.digest_source for info in done.origin} == {"computed"}
    assert desk.hub.requests == []


def test_offline_with_other_bytes_in_the_cache(desk: Desk) -> None:
    changed = {path: data[:-1] + bytes([data[-1] ^ 1]) for path, data in BASE.items()}
    desk.settings(offline=True, cache=cached(desk.folder / "hf", REPO, changed))
    with pytest.raises(BadReference, match=r"model-00001-of-00002.safetensors: expected sha256 [0-9a-f]{64}, found "):
        build(NAME)
    assert desk.sketches == []


def test_offline_with_nothing_in_the_cache(desk: Desk) -> None:
    desk.settings(offline=True)
    with pytest.raises(HubOffline, match=REPO):
        build(NAME)


def test_a_server_in_trouble_is_not_taken_for_a_closed_repository(desk: Desk) -> None:
    desk.hub.publish(MIRROR, BASE)
    desk.hub.twist = lambda request, answer: Answer(status=500) if REPO in request.path else answer
    with pytest.raises(HubUnreachable):
        build(NAME)
    assert desk.hub.asked("hub", MIRROR) == []


def test_where_the_hub_and_a_folder_agree(desk: Desk) -> None:
    """What is compared is the same; what is recorded says where it came from."""
    folder = desk.folder / "licensed"
    folder.mkdir()
    for path, data in BASE.items():
        (folder / path).write_bytes(data)
    build(NAME, folder=str(folder))
    here = load_reference(NAME)
    build(NAME)
    there = load_reference(NAME)
    assert here.sample.gate.tobytes() == there.sample.gate.tobytes()
    assert {info.digest_source for info in here.origin} == {"computed"}
    assert {info.digest_source for info in there.origin} == {"hub"}
    assert (here.provenance is not None, there.provenance is not None) == (True, True)


def test_an_unknown_name(desk: Desk) -> None:
    assert stand_in(desk.folder / "library").name == NAME
    with pytest.raises(UsageError, match="did you mean llama-2-7b"):
        build("llama-2-7")


def test_a_sketch_of_a_repository_reads_no_whole_file(desk: Desk) -> None:
    data = sketch(REPO, name="mine")
    assert b'"digest_source\\": \\"hub\\"' in data
    assert all(request.range for request in desk.hub.asked("cdn"))


def test_a_sketch_of_nothing(desk: Desk) -> None:
    desk.hub.publish("acme/empty", {"README.md": b"# Nothing\n"})
    with pytest.raises(TargetError, match="one model is needed for a reference, found: none"):
        sketch("acme/empty", name="mine")
