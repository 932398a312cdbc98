"""Where many files are, in one request: taken where it is plain, and never needed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hubkit import REPO, TOKEN, noise, whole
from hypothesis import given
from hypothesis import strategies as st
from loopback_hub import Answer, LoopbackHub, Request

from auditor.sources.hub import HubSource
from auditor.sources.hub_api import HubFile
from auditor.sources.hub_batch import batch_places

SHARDS = {f"model-{i:05d}-of-00006.safetensors": noise(300_000, str(i)) for i in range(1, 7)}


def read_all(hub: LoopbackHub) -> HubSource:
    hub.publish(REPO, SHARDS | {"README.md": b"# x\n"})
    source = HubSource(REPO, hub.settings(token=TOKEN))
    assert {path: whole(source, path) for path in SHARDS} == SHARDS
    return source


def is_batch(request: Request) -> bool:
    return request.path.endswith("/objects/batch")


def test_many_files_take_one_request_and_no_redirect() -> None:
    with LoopbackHub() as hub:
        read_all(hub)
        assert len([request for request in hub.requests if is_batch(request)]) == 1
        assert hub.asked("hub", "resolve") == []
        assert all("authorization" not in request.headers for request in hub.requests if request.host == "cdn")


def test_few_files_are_found_one_by_one() -> None:
    with LoopbackHub() as hub:
        hub.publish(REPO, dict(list(SHARDS.items())[:4]))
        source = HubSource(REPO, hub.settings())
        path = next(iter(SHARDS))
        assert whole(source, path) == SHARDS[path]
        assert not any(map(is_batch, hub.requests))


def changed(answer: Answer, **more: object) -> Answer:
    return replace(answer, body=json.dumps(json.loads(answer.body) | more).encode())


@pytest.mark.parametrize(
    "twist",
    [
        lambda _: Answer(status=404),
        lambda _: Answer(status=307, headers={"Location": "/elsewhere"}),
        lambda answer: replace(answer, body=b"<html>"),
        lambda answer: replace(answer, body=b"[" * 100_000),
        lambda answer: replace(answer, headers={"Content-Encoding": "gzip"}),
        lambda answer: replace(answer, cut=10),
        lambda answer: changed(answer, transfer="multipart"),
        lambda answer: changed(answer, objects=None),
        lambda answer: changed(answer, objects=[1, {}, {"oid": 1}, {"oid": "0" * 64, "size": 300_000}]),
    ],
)
def test_an_answer_of_no_use_costs_nothing_but_itself(twist: object) -> None:
    with LoopbackHub() as hub:
        hub.twist = lambda request, answer: twist(answer) if is_batch(request) else answer  # type: ignore[operator]
        read_all(hub)
        assert len(hub.asked("hub", "resolve")) == len(SHARDS)


def test_a_place_that_is_over_its_time_is_found_anew() -> None:
    with LoopbackHub() as hub:
        source = read_all(hub)
        hub.expire()
        fresh = HubSource(REPO, hub.settings())
        assert fresh.revision == source.revision
        path = next(iter(SHARDS))
        assert whole(fresh, path) == SHARDS[path]


FILE = HubFile(path="a.safetensors", size=5, blob_id="0" * 40, sha256=hashlib.sha256(b"12345").hexdigest())


def answer(**more: object) -> bytes:
    entry = {"oid": FILE.sha256, "size": 5, "actions": {"download": {"href": "https://cdn.example/x"}}} | more
    return json.dumps({"objects": [entry]}).encode()


def test_the_place_of_a_file_by_digest_and_size() -> None:
    assert batch_places(answer(), [FILE], https=True) == {FILE.path: "https://cdn.example/x"}


@pytest.mark.parametrize(
    "more",
    [
        {"oid": "1" * 64},
        {"size": 6},
        {"size": True},
        {"actions": None},
        {"actions": {"download": {"href": "http://cdn.example/x"}}},
        {"actions": {"download": {"href": "ftp://cdn.example/x"}}},
        {"actions": {"download": {"href": "https://cdn.example/" + "x" * 100_000}}},
        {"actions": {"download": {"href": "https://cdn.example/\u202e"}}},
        {"actions": {"download": {"href": 7}}},
        {"actions": {"download": {"href": "https://cdn.example/x", "header": {"Authorization": "Basic eA=="}}}},
    ],
)
def test_what_is_not_plain_is_no_place(more: dict[str, object]) -> None:
    assert batch_places(answer(**more), [FILE], https=True) == {}


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer(body: bytes) -> None:
    assert batch_places(body, [FILE], https=True) == {}
