"""The folders of a bucket as targets of a sweep; names that are hostile, and stores that lie."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from loopback_hub.server import Answer, Request, Server

from auditor.errors import (
    BadBucketName,
    BucketDenied,
    BucketError,
    BucketUnreachable,
    MissingObjects,
    UsageError,
)
from auditor.limits import LIMITS
from auditor.sources import objectstore, open_source
from auditor.sweep.listings import Filters, buckets, open_listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SECRET = "secret-of-nobody"  # noqa: S105


class Bucket:
    """A list of objects, a thousand a page, as S3 gives it.

    Attributes
    ----------
    keys : list of str
        In any order; those that end in a slash are marks of folders.
    sorts : bool
        It lists by name, and begins where it is told to.
    twist : callable
        What a hostile or busy server makes of an answer.
    """

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.sorts = True
        self.requests: list[Request] = []
        self.twist: Callable[[Answer], Answer] = lambda answer: answer
        self._server = Server(self._answer)
        self.url = self._server.url

    def stop(self) -> None:
        self._server.stop()

    def _answer(self, path: str, headers: dict[str, str]) -> Answer:
        self.requests.append(Request(host="s3", path=path, headers=headers))
        query = parse_qs(urlsplit(path).query)
        prefix, after = query.get("prefix", [""])[0], query.get("start-after", [""])[0]
        keys = [key for key in self.keys if key.startswith(prefix)]
        if self.sorts:
            keys = [key for key in sorted(keys) if key > after]
        start = int(query.get("continuation-token", ["0"])[0])
        more = str(start + 1000) if start + 1000 < len(keys) else ""
        return self.twist(page(keys[start : start + 1000], more))


def page(keys: Iterable[str], more: str = "") -> Answer:
    entries = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{0 if key.endswith('/') else 5}</Size>"
        f'<ETag>"{hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()}"</ETag>'
        "<LastModified>2026-07-01T00:00:00.000Z</LastModified></Contents>"
        for key in keys
    )
    token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    body = f'<?xml version="1.0"?><ListBucketResult><Name>models</Name>{entries}{token}</ListBucketResult>'
    return Answer(headers={"Content-Type": "application/xml"}, body=body.encode())


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    server = Bucket()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    limits = replace(
        LIMITS, hub_tries=2, bucket_seconds=5, bucket_retry_seconds=2, bucket_pages=20, bucket_list_seconds=3
    )
    for module in (objectstore, buckets):
        monkeypatch.setattr(module, "LIMITS", limits)
    yield server
    server.stop()


def targets(name: str) -> list[str]:
    return [listed.entry.target.removeprefix("s3://models/") for listed in open_listing(name)]


def refused(kind: type[BucketError], name: str = "s3://models/m/*") -> str:
    with pytest.raises(kind) as caught:
        targets(name)
    assert type(caught.value) is kind
    assert SECRET not in str(caught.value)
    return str(caught.value)


TREE = [
    "m/", "m/chat/", "m/chat/1_Pooling/config.json", "m/chat/config.json", "m/chat/original/consolidated.00.pth",
    "m/chat-2/model.safetensors", "m/empty/", "m/notes.txt", "m/org/a/weights/x.GGUF", "m/org/b/README.md",
    "m/org/config.json.bak", "mm/x/config.json", "other/config.json",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("m/*", ["m/chat-2", "m/chat", "m/org"]),
        ("m/org/*", ["m/org/a", "m/org/b"]),
        ("*", ["m", "mm", "other"]),
        ("m/**", ["m/chat", "m/chat-2", "m/org/a/weights"]),
        ("**", ["m/chat", "m/chat-2", "m/org/a/weights", "mm/x", "other"]),
        ("m/chat/**", ["m/chat"]),
        ("m/org/a/**", ["m/org/a/weights"]),
    ],
)
@pytest.mark.parametrize("sorts", [True, False])
def test_folders(bucket: Bucket, name: str, found: list[str], *, sorts: bool) -> None:
    """A store that does not list by name gives the same ones."""
    bucket.keys, bucket.sorts = TREE if sorts else TREE[::-1], sorts
    assert targets(f"s3://models/{name}") == found if sorts else sorted(targets(f"s3://models/{name}")) == sorted(found)
    assert len(bucket.requests) == 1


def test_the_bucket_itself_is_a_folder(bucket: Bucket) -> None:
    bucket.keys = ["model.gguf", "sub/config.json", *(f"z/{number}" for number in range(2000))]
    assert [listed.entry.target for listed in open_listing("s3://models/**")] == ["s3://models"]
    assert len(bucket.requests) == 1


@pytest.mark.parametrize("stars", ["*", "**"])
def test_of_large_folders_not_every_object_is_listed(bucket: Bucket, stars: str) -> None:
    bucket.keys = ["m/a/config.json", *(f"m/a/x{number:06}" for number in range(9000)), "m/b/model.gguf"]
    bucket.keys += [f"m/b/x{number:06}" for number in range(9000)] + ["m/b0", "m/c/model.onnx"]
    assert targets(f"s3://models/m/{stars}") == ["m/a", "m/b", "m/c"]
    assert len(bucket.requests) < 10


@pytest.mark.parametrize("stars", ["*", "**"])
def test_a_store_that_begins_where_it_likes_loses_nothing(bucket: Bucket, stars: str) -> None:
    bucket.keys = [f"m/a/config.json{number:06}" for number in range(4500)]
    bucket.keys += ["m/c/config.json", "m/b/config.json", "m/a/config.json"]
    bucket.keys.sort(reverse=True)
    bucket.sorts = False
    assert sorted(targets(f"s3://models/m/{stars}")) == ["m/a", "m/b", "m/c"]
    bucket.keys.sort()
    assert sorted(targets(f"s3://models/m/{stars}")) == ["m/a", "m/b", "m/c"]


PARTS = st.sampled_from(["a", "a0", "a-b", "b", "ü", "\U0010fffe"])
KEYS = st.builds(
    lambda folders, file: "/".join(["m", *folders, file]),
    st.lists(PARTS, max_size=3),
    st.sampled_from(["config.json", "0", "z", ""]),
)


@given(keys=st.lists(KEYS, max_size=30, unique=True), sorts=st.booleans())
@example(keys=["m/a/a/a/", "m/config.json", "m/a/a/"], sorts=False)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_passed_over_changes_nothing(bucket: Bucket, keys: list[str], *, sorts: bool) -> None:
    """Pages of three, and the folders that a whole list shows."""
    bucket.keys, bucket.sorts = keys, sorts
    inside = [key.split("/")[1:] for key in keys]
    first = {f"m/{parts[0]}" for parts in inside if len(parts) > 1 and (parts[1:] != [""])}
    models = {key.rpartition("/")[0] for key in keys if key.endswith("/config.json")}
    upper = {folder for folder in models if not any(folder.startswith(f"{other}/") for other in models)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "_PAGE", 3)
        for stars, expected in (("*", first), ("**", upper)):
            try:
                found = targets(f"s3://models/m/{stars}")
            except MissingObjects:
                found = []
            assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("name", ["50%", "a%2Fb", "a b", "ü", "*", "#?x", "a:b@c", "[x]", "~", "x" * 500])
def test_odd_names_are_targets(bucket: Bucket, name: str) -> None:
    bucket.keys = [f"m/{name}/config.json"]
    for stars in ("*", "**"):
        (target,) = targets(f"s3://models/m/{stars}")
        assert target == f"m/{name}"
        assert [info.path for info in open_source(f"s3://models/{target}").files()] == ["config.json"]


@pytest.mark.parametrize("name", ["a\\b", "a\x85b", "a\u2028b", "x" * 1100])
def test_of_names_that_are_no_targets_the_audit_says_so(bucket: Bucket, name: str) -> None:
    bucket.keys = [f"m/{name}/config.json", "m/z/config.json"]
    for stars in ("*", "**"):
        assert sorted(targets(f"s3://models/m/{stars}")) == sorted([f"m/{name}", "m/z"])
        with pytest.raises(BadBucketName):
            open_source(f"s3://models/m/{name}")


@pytest.mark.parametrize("key", ["m/../x", "m/a//x", "m/./x", "m/a\nb/x", "m/\x7f/x", "m//x"])
@pytest.mark.parametrize("stars", ["*", "**"])
def test_names_that_are_no_paths_end_the_list_loudly(bucket: Bucket, key: str, stars: str) -> None:
    bucket.keys = ["m/a/config.json", key, "m/z/config.json"]
    assert "as no path does" in refused(BucketError, f"s3://models/m/{stars}")


def test_what_lies_elsewhere_is_no_answer(bucket: Bucket) -> None:
    bucket.twist = lambda _: page(["secret/x/config.json"])
    assert "lists what lies elsewhere" in refused(BucketUnreachable)


@pytest.mark.parametrize("keys", [[f"m/a/x{number}" for number in range(count)] for count in (100, 1000)])
def test_a_list_that_does_not_end_is_refused(bucket: Bucket, keys: list[str]) -> None:
    bucket.twist = lambda _: page(keys, "0")
    refused(BucketUnreachable)
    assert bucket.requests


def test_pages_without_names_that_do_not_end(bucket: Bucket) -> None:
    bucket.twist = lambda _: page([], "0")
    assert "sends no names for 3 s" in refused(BucketUnreachable)


def test_more_folders_than_are_held(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "LIMITS", replace(LIMITS, sweep_names=2))
    bucket.keys = [f"m/{number}/config.json" for number in range(3)]
    assert "more than 2 folders" in refused(BucketError)
    assert "more than 2 folders" in refused(BucketError, "s3://models/m/**")


@pytest.mark.parametrize("keys", [[], ["m/"], ["m/file", "m/empty/"], ["mm/x/config.json"]])
def test_nothing_there(bucket: Bucket, keys: list[str]) -> None:
    bucket.keys = keys
    assert "there is no folder" in refused(MissingObjects)
    assert "weights or a config.json" in refused(MissingObjects, "s3://models/m/**")


@pytest.mark.parametrize(
    ("status", "kind"), [(401, BucketDenied), (403, BucketDenied), (404, MissingObjects), (500, BucketUnreachable)]
)
def test_refusals(bucket: Bucket, status: int, kind: type[BucketError]) -> None:
    bucket.twist = lambda _: Answer(status=status, body=f"<Error>{SECRET}</Error>".encode())
    refused(kind)


@pytest.mark.parametrize("body", [b"", b"{}", b"<ListBucketResult>", b"\xff"])
def test_what_is_no_list(bucket: Bucket, body: bytes) -> None:
    bucket.twist = lambda _: Answer(body=body)
    refused(BucketUnreachable)


@pytest.mark.parametrize(
    "name", ["s3://models", "s3://models/a", "s3://models/a*", "s3://models/*/*", "gs://models/***"]
)
def test_what_names_no_collection(bucket: Bucket, name: str) -> None:
    with pytest.raises(UsageError):
        open_listing(name)
    with pytest.raises(UsageError):
        open_listing("s3://models/*", Filters(tags=("x",)))
    assert bucket.requests == []


@pytest.mark.parametrize("name", ["s3://*", "s3://Models/*", "gs://models/../*", f"s3://me:{SECRET}@models/*"])
def test_names_that_no_bucket_has(name: str) -> None:
    with pytest.raises(BadBucketName) as caught:
        open_listing(name)
    assert SECRET not in str(caught.value)
