"""Buckets: names, what is listed, what a read is held against, and what stands in no message."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest
from hubkit import noise
from loopback_hub import Answer, Request
from loopback_hub.server import Server

from auditor.errors import (
    BadBucketName,
    BucketDenied,
    BucketError,
    BucketUnreachable,
    FileError,
    MissingObjects,
    TargetError,
)
from auditor.limits import LIMITS
from auditor.sources import Counting, Range, Source, objectstore, open_source
from auditor.sources.objectstore import ObjectStoreSource, parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Twist = Callable[[Request, Answer], Answer]

WEIGHTS = noise(1_000_000)
FILES = {"chat/README.md": b"# Hi\n", "chat/sub/model.safetensors": WEIGHTS, "chatty/other": b"of another model"}
W = "sub/model.safetensors"
FAR = Range(500_000, 500_010)
SECRET = "secret-of-nobody"  # noqa: S105


class Bucket:
    """The little of S3 that reading takes: a list of objects, ranges, and a condition.

    Attributes
    ----------
    twist : callable
        What a hostile or busy server makes of an answer; honest until a test says otherwise.
    """

    def __init__(self) -> None:
        self.objects = dict(FILES)
        self.requests: list[Request] = []
        self.twist: Twist = lambda _, answer: answer
        self._server = Server(self._answer)
        answer_head(self._server)
        self.url = self._server.url

    def stop(self) -> None:
        self._server.stop()

    def reads(self) -> list[tuple[int, int] | None]:
        return [request.range for request in self.requests if "list-type" not in request.path]

    def _answer(self, path: str, headers: dict[str, str]) -> Answer:
        request = Request(host="s3", path=path, headers=headers)
        self.requests.append(request)
        return self.twist(request, self._honest(request))

    def _honest(self, request: Request) -> Answer:
        parts = urlsplit(request.path)
        query = parse_qs(parts.query)
        if "list-type" in query:
            return self._list(query.get("prefix", [""])[0], query.get("continuation-token", [""])[0])
        key = unquote(parts.path).removeprefix("/models/")
        if key not in self.objects:
            return Answer(status=404)
        data = self.objects[key]
        headers = {"ETag": etag(data), "Last-Modified": "Wed, 01 Jul 2026 00:00:00 GMT"}
        if request.headers.get("if-match", etag(data)) != etag(data):
            return Answer(status=412)
        if request.range is None:
            return Answer(headers=headers, body=data)
        start, stop = request.range
        stop = min(stop, len(data))
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        return Answer(status=206, headers=headers, body=data[start:stop])

    def _list(self, prefix: str, after: str) -> Answer:
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        page = keys[:1000]
        more = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if len(keys) > len(page) else ""
        entries = "".join(entry(key, len(self.objects[key]), etag(self.objects[key])) for key in page)
        return listing(entries, more)


def answer_head(server: Server) -> None:
    """Let a server answer HEAD as it answers GET, without the body."""

    class Handler(server.RequestHandlerClass):  # type: ignore[misc, name-defined]
        def do_HEAD(self) -> None:  # noqa: N802 - as the base class calls it
            answer = server.answer(self.path, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(answer.status)
            for name, value in ({"Content-Length": str(len(answer.body))} | answer.headers).items():
                self.send_header(name, value)
            self.end_headers()

    server.RequestHandlerClass = Handler


def etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def entry(key: str, size: int, tag: str | None) -> str:
    stated = f"<ETag>{escape(tag)}</ETag>" if tag is not None else ""
    return (
        f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size>{stated}"
        "<LastModified>2026-07-01T00:00:00.000Z</LastModified></Contents>"
    )


def listing(entries: str, more: str = "") -> Answer:
    body = f'<?xml version="1.0"?><ListBucketResult><Name>models</Name>{entries}{more}</ListBucketResult>'
    return Answer(headers={"Content-Type": "application/xml"}, body=body.encode())


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    server = Bucket()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(objectstore, "LIMITS", replace(LIMITS, hub_tries=2, bucket_seconds=5, bucket_retry_seconds=2))
    yield server
    server.stop()


def whole(source: Source, path: str) -> bytes:
    (size,) = (info.size for info in source.files() if info.path == path)
    return source.read(path, [Range(0, size)])[0]


def refused(kind: type[TargetError], target: str = "s3://models/chat") -> str:
    with pytest.raises(kind) as caught:
        ObjectStoreSource(target)
    assert type(caught.value) is kind
    assert SECRET not in str(caught.value)
    return str(caught.value)


# --- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "bucket", "prefix"),
    [
        ("s3://models", "s3", "models", ""),
        ("s3://models/", "s3", "models", ""),
        ("S3://models/chat/v1/", "s3", "models", "chat/v1"),
        ("gs://my_models.example/chat", "gs", "my_models.example", "chat"),
        ("s3://models/a b/ü?x#y", "s3", "models", "a b/ü?x#y"),
    ],
)
def test_names(text: str, kind: str, bucket: str, prefix: str) -> None:
    target = parse_target(text)
    assert (target.kind, target.bucket, target.prefix) == (kind, bucket, prefix)


@pytest.mark.parametrize(
    "text",
    [
        *("s3://", "s3:///x", "s3://a", "s3://Models/x", "gs://mod els/x", "s3://models/../x", "s3://models/a//b"),
        *("s3://models//a", "s3://models/./a", "s3://models/a\\b", "s3://models/a\nb", "s3://models/" + "x" * 1025),
        *("s3://models?x/y", "gs://-models/x", "s3://models:9000/x"),
    ],
)
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(BadBucketName):
        parse_target(text)


def test_credentials_in_a_target_are_not_repeated() -> None:
    assert SECRET not in refused(BadBucketName, f"s3://someone:{SECRET}@models/chat")


def test_without_the_extra() -> None:
    script = (
        "import sys; sys.modules['obstore'] = None\n"
        "from auditor.cli import main\n"
        "sys.argv = ['auditor', 'scan', 's3://models/chat']\n"
        "sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "auditor: s3:// and gs:// targets need obstore: pip install 'provenance-auditor[s3]'\n"


@pytest.mark.parametrize(
    "endpoint", ["not a url", "ftp://x", f"https://me:{SECRET}@x", "https://x/\x7f", "https://é.example"]
)
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "GOOGLE_BASE_URL"])
def test_endpoints_that_are_none(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str, endpoint: str
) -> None:
    monkeypatch.setenv(variable, endpoint)
    scheme = "gs" if variable.startswith("GOOGLE") else "s3"
    assert variable in refused(BucketError, f"{scheme}://models/chat")
    assert capfd.readouterr() == ("", "")  # obstore itself writes a stack trace


def test_plain_http_is_for_this_machine(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectstore, "is_loopback", lambda _: False)
    assert "AWS_ALLOW_HTTP=true allows it" in refused(BucketError)
    assert not bucket.requests
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert [info.path for info in ObjectStoreSource("s3://models/chat").files()] == ["README.md", W]


# --- honest ----------------------------------------------------------------------------------------------


def test_every_object_below_the_prefix(bucket: Bucket) -> None:
    source = open_source("s3://models/chat/")
    assert isinstance(source, Source)
    assert isinstance(source, Counting)
    assert (source.kind, source.uri, source.revision) == ("s3", "s3://models/chat", None)
    assert [(info.path, info.size, info.sha256) for info in source.files()] == [
        ("README.md", 5, None),
        (W, len(WEIGHTS), None),
    ]
    assert {info.path: whole(source, info.path) for info in source.files()} == {"README.md": b"# Hi\n", W: WEIGHTS}
    assert source.refused() == ()
    assert source.on_disk("README.md") is None
    assert all(SECRET not in str(request) for request in bucket.requests)


def test_one_object_and_the_whole_bucket(bucket: Bucket) -> None:
    source = open_source("s3://models/chat/sub/model.safetensors")
    assert [info.path for info in source.files()] == ["model.safetensors"]
    assert source.read("model.safetensors", [FAR]) == [WEIGHTS[FAR.start : FAR.stop]]
    assert source.http_requests == len(bucket.requests)
    assert [info.path for info in open_source("s3://models").files()] == sorted(FILES)


def test_ranges_requests_and_bytes(bucket: Bucket) -> None:
    source = ObjectStoreSource("s3://models/chat")
    ranges = [Range(start, start + 100) for start in range(100_000, 900_000, 200_000)]
    assert source.read(W, [*ranges, Range(7, 7)]) == [*(WEIGHTS[start:stop] for start, stop in ranges), b""]
    assert sorted(span for span in bucket.reads() if span) == [(0, LIMITS.hub_head), *map(tuple, ranges)]
    assert source.http_requests == len(bucket.requests) == 1 + 1 + len(ranges)
    assert source.http_bytes == LIMITS.hub_head + 100 * len(ranges)
    assert source.read(W, [Range(8, 16)]) == [WEIGHTS[8:16]]
    assert len(bucket.requests) == source.http_requests  # kept


def test_many_pages(bucket: Bucket) -> None:
    bucket.objects |= {f"many/{number:05d}": b"x" for number in range(2500)}
    source = ObjectStoreSource("s3://models/many")
    assert len(source.files()) == 2500
    assert source.http_requests == len(bucket.requests) == 3


def test_marks_of_folders_are_no_files(bucket: Bucket) -> None:
    bucket.objects |= {"chat/": b"", "chat/sub/": b"", "chat/empty.txt": b""}
    source = ObjectStoreSource("s3://models/chat")
    assert [info.path for info in source.files()] == ["README.md", "empty.txt", W]
    assert source.refused() == ()
    assert whole(source, "empty.txt") == b""


# --- what is there ---------------------------------------------------------------------------------------


def test_nothing_there(bucket: Bucket) -> None:
    refused(MissingObjects, "s3://models/absent")
    bucket.objects.clear()
    refused(MissingObjects, "s3://models")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, BucketDenied),
        (403, BucketDenied),
        (404, MissingObjects),
        (500, BucketUnreachable),
        (418, BucketUnreachable),
    ],
)
def test_refusals(bucket: Bucket, status: int, kind: type[BucketError]) -> None:
    bucket.twist = lambda *_: Answer(status=status, body=f"<Error>{SECRET}</Error>".encode())
    refused(kind)


def test_too_many_objects(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectstore, "LIMITS", replace(LIMITS, files=1))
    assert "more than 1 objects" in refused(TargetError)
    assert len(bucket.requests) == 1


def test_a_store_that_is_down(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "cannot be reached" in refused(BucketUnreachable)
    assert not bucket.requests


@pytest.mark.parametrize(
    ("key", "code"),
    [("chat/a\\b", "unsafe-path"), ("chat/a\x85b", "bad-name"), (f"chat/{'d/' * 66}x", "limit-exceeded")],
)
def test_hostile_keys(bucket: Bucket, key: str, code: str) -> None:
    bucket.twist = lambda *_: listing(entry(key, 1, '"x"') + entry("chat/fine", 1, '"x"'))
    source = ObjectStoreSource("s3://models/chat")
    assert [info.path for info in source.files()] == ["fine"]
    assert [unread.code for unread in source.refused()] == [code]


@pytest.mark.parametrize("key", ["chat/../evil", "chat//evil", "chat/./evil", "chat/a\nb", "chat/\x7f"])
def test_keys_that_obstore_takes_for_no_path(bucket: Bucket, key: str) -> None:
    bucket.twist = lambda *_: listing(entry(key, 1, '"x"') + entry("chat/fine", 1, '"x"'))
    assert "as no path does" in refused(BucketError)


def test_objects_that_cannot_be_told_apart(bucket: Bucket) -> None:
    bucket.twist = lambda *_: listing(
        entry("chat/untagged", 1, None)
        + entry("chat/a", 1, '"x"')
        + entry("chat/a", 2, '"y"')
        + entry("chat/a/b", 1, '"x"')
    )
    source = ObjectStoreSource("s3://models/chat")
    assert [info.path for info in source.files()] == ["a/b"]
    assert [(unread.path, unread.code) for unread in source.refused()] == [
        ("a", "duplicate-name"),
        ("untagged", "undelivered"),
    ]


# --- bytes -----------------------------------------------------------------------------------------------


def test_an_object_that_changes_between_two_reads(bucket: Bucket) -> None:
    source = ObjectStoreSource("s3://models/chat")
    source.read(W, [Range(0, 1)])
    bucket.objects[f"chat/{W}"] = WEIGHTS[:-1] + b"x"
    with pytest.raises(FileError) as caught:
        source.read(W, [FAR])
    assert (caught.value.file, caught.value.code) == (W, "changed")
    del bucket.objects[f"chat/{W}"]
    with pytest.raises(FileError, match="no longer there"):
        source.read(W, [FAR])
    assert whole(source, "README.md") == b"# Hi\n"


def test_an_answer_that_breaks_off_is_gone_on_with(bucket: Bucket) -> None:
    """By obstore itself, which does not say so: the one thing that is read more often than counted."""
    source = ObjectStoreSource("s3://models/chat")
    source.read(W, [Range(0, 1)])
    bucket.twist = weights(lambda answer: replace(answer, cut=5))
    assert source.read(W, [FAR]) == [WEIGHTS[FAR.start : FAR.stop]]
    assert bucket.reads()[-2:] == [(500_000, 500_010), (500_005, 500_010)]
    assert bucket.requests[-1].headers["if-match"] == etag(WEIGHTS)


def test_reads_are_asked_for_under_a_condition(bucket: Bucket) -> None:
    ObjectStoreSource("s3://models/chat").read(W, [FAR])
    asked = [request for request in bucket.requests if request.range]
    assert asked
    assert {request.headers["if-match"] for request in asked} == {etag(WEIGHTS)}


def weights(change: Callable[[Answer], Answer]) -> Twist:
    return lambda request, answer: change(answer) if "list-type" not in request.path else answer


def header(name: str, value: str) -> Twist:
    return weights(lambda answer: replace(answer, headers=answer.headers | {name: value}))


@pytest.mark.parametrize(
    ("twist", "code"),
    [
        (header("ETag", '"another"'), "changed"),  # a store that knows no condition
        (header("Content-Range", "bytes 500000-500009/2000000"), "changed"),
        (header("Content-Range", "bytes 0-9/1000000"), "undelivered"),
        (weights(lambda answer: replace(answer, status=200, body=WEIGHTS)), "undelivered"),  # one that ignores ranges
        (weights(lambda answer: replace(answer, body=answer.body + b"x")), "undelivered"),
        (weights(lambda answer: replace(answer, cut=0)), "undelivered"),
        (weights(lambda _: Answer(status=403, body=SECRET.encode())), "undelivered"),
        (weights(lambda _: Answer(status=503, body=SECRET.encode())), "undelivered"),
    ],
)
def test_answers_that_are_refused(bucket: Bucket, twist: Twist, code: str) -> None:
    source = ObjectStoreSource("s3://models/chat")
    source.read(W, [Range(0, 1)])
    bucket.twist = twist
    with pytest.raises(FileError) as caught:
        source.read(W, [FAR])
    assert (caught.value.file, caught.value.code) == (W, code)
    assert SECRET not in str(caught.value)
    assert not re.search("127|http", str(caught.value))
    bucket.twist = lambda _, answer: answer
    assert source.read(W, [FAR]) == [WEIGHTS[FAR.start : FAR.stop]]
