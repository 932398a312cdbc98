"""Ranged reads: what is asked, what is checked, what is tried again, and what is refused by name."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hubkit import FILES, REPO, TOKEN, WEIGHTS, limits, noise, times, whole
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback_hub import Answer, LoopbackHub, Request

from auditor.errors import (
    AuditError,
    BadOffset,
    FileError,
    GatedRepo,
    MissingRepo,
    RangeIgnored,
    ServerMismatch,
    Truncated,
    Undelivered,
)
from auditor.limits import LIMITS
from auditor.sources import Range, hub_http
from auditor.sources.hub import HubSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Twist = Callable[[Request, Answer], Answer]

W = "model.safetensors"
FAR = Range(500_000, 500_010)  # beyond what the first read of a file keeps


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        server.publish(REPO, FILES)
        yield server


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(hub_http, "_pause", waited.append)
    return waited


@pytest.fixture
def source(hub: LoopbackHub) -> HubSource:
    return HubSource(REPO, hub.settings(token=TOKEN))


def data(request: Request, *, host: str = "cdn") -> bool:
    """Say whether a request is for a file's bytes, at this host."""
    return request.host == host and "/api/" not in request.path


def at(host: str, change: Twist) -> Twist:
    return lambda request, answer: change(request, answer) if data(request, host=host) else answer


def status(code: int, **headers: str) -> Twist:
    return lambda _, answer: replace(answer, status=code, headers=headers)


def header(name: str, value: str) -> Twist:
    return lambda _, answer: replace(answer, headers=answer.headers | {name: value})


def refused(source: HubSource, path: str = W, span: Range = FAR) -> FileError:
    with pytest.raises(FileError) as caught:
        source.read(path, [span])
    assert caught.value.file == path
    assert TOKEN not in str(caught.value)
    return caught.value


# --- honest ----------------------------------------------------------------------------------------------


def test_every_file_whole(source: HubSource) -> None:
    assert {path: whole(source, path) for path in FILES} == FILES


@settings(max_examples=8)
@given(pairs=st.lists(st.tuples(st.integers(0, len(WEIGHTS)), st.integers(0, 200_000)), max_size=8))
def test_any_ranges(pairs: list[tuple[int, int]]) -> None:
    wanted = [Range(start, min(start + length, len(WEIGHTS))) for start, length in pairs]
    with LoopbackHub() as hub:
        hub.publish(REPO, FILES)
        source = HubSource(REPO, hub.settings())
        assert source.read(W, wanted) == [WEIGHTS[start:stop] for start, stop in wanted]
        assert source.read(W, wanted) == [WEIGHTS[start:stop] for start, stop in wanted]


def test_ranges_outside_the_file_are_not_asked_for(hub: LoopbackHub, source: HubSource) -> None:
    with pytest.raises(Truncated):
        source.read(W, [Range(0, len(WEIGHTS) + 1)])
    with pytest.raises(BadOffset):
        source.read(W, [Range(-1, 5)])
    assert source.read(W, [Range(7, 7), Range(len(WEIGHTS), len(WEIGHTS))]) == [b"", b""]
    assert source.read(W, []) == []
    assert len(hub.requests) == 2


def test_first_read_brings_the_header_too(hub: LoopbackHub, source: HubSource) -> None:
    source.read(W, [Range(0, 16)])
    assert [request.range for request in hub.requests[2:]] == [(0, LIMITS.hub_head)] * 2  # the redirect, the bytes
    source.read(W, [Range(8, LIMITS.hub_head)])
    assert len(hub.requests) == 4
    source.read(W, [Range(8, LIMITS.hub_head + 5)])
    assert hub.requests[4].range == (LIMITS.hub_head, LIMITS.hub_head + 5)
    assert len(hub.requests) == 5


def test_small_files_are_fetched_whole_once(hub: LoopbackHub, source: HubSource) -> None:
    source.read("config.json", [Range(0, 1)])
    source.read("config.json", [Range(1, 2)])
    assert [request.range for request in hub.asked("hub", "resolve")] == [None]


def test_what_is_kept_is_capped(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, hub_kept=100)
    files = {f"{number}.txt": noise(60, str(number)) for number in range(3)}
    hub.publish(REPO, files | {W: WEIGHTS})
    source = HubSource(REPO, hub.settings())
    for _ in range(2):
        assert {path: whole(source, path) for path in files} == files
        assert source.read(W, [Range(0, 10), FAR]) == [WEIGHTS[:10], WEIGHTS[FAR.start : FAR.stop]]
    assert len(hub.asked("hub", "txt")) == 6


def test_neighbours_are_read_together_and_others_at_once(hub: LoopbackHub, source: HubSource) -> None:
    source.read(W, [Range(0, 1)])
    before = len(hub.requests)
    gap = LIMITS.hub_gap
    near = [Range(300_000, 300_010), Range(300_010 + gap, 300_020 + gap)]
    far = [Range(900_000, 900_001), Range(200_000, 200_001)]
    assert source.read(W, near + far) == [WEIGHTS[start:stop] for start, stop in near + far]
    spans = {request.range for request in hub.requests[before:]}
    assert spans == {(300_000, 300_020 + gap), (900_000, 900_001), (200_000, 200_001)}


def test_requests_in_flight_are_bounded(hub: LoopbackHub, source: HubSource, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, hub_gap=0, hub_parallel=3)
    source.read(W, [Range(0, 1)])
    counting = threading.Lock()
    flying, most = 0, 0
    once = hub_http.HubHttp._once  # noqa: SLF001

    def counted(*args: object, **options: object) -> object:
        nonlocal flying, most
        with counting:
            flying += 1
            most = max(most, flying)
        try:
            return once(*args, **options)  # type: ignore[arg-type]
        finally:
            with counting:
                flying -= 1

    monkeypatch.setattr(hub_http.HubHttp, "_once", counted)
    hub.twist = lambda _, answer: replace(answer, drip=0.005)
    wanted = [Range(start, start + 10) for start in range(100_000, 900_000, 20_000)]
    assert source.read(W, wanted) == [WEIGHTS[start:stop] for start, stop in wanted]
    assert most == 3


def test_reads_from_many_threads(hub: LoopbackHub, source: HubSource) -> None:
    ranges = [Range(start, start + 3_000) for start in range(0, 990_000, 30_000)]
    with ThreadPoolExecutor(24) as threads:
        read = list(threads.map(lambda span: source.read(W, [span, FAR])[0], ranges))
    assert read == [WEIGHTS[start:stop] for start, stop in ranges]
    assert len(hub.asked("hub", "resolve")) == 1
    assert [request.range for request in hub.requests].count((0, LIMITS.hub_head)) == 2  # the redirect, the bytes


def test_long_ranges_are_read_in_pieces(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, hub_piece=100_000)
    source = HubSource(REPO, hub.settings())
    assert whole(source, W) == WEIGHTS
    assert all(stop - start <= 100_000 for start, stop in (request.range or (0, 0) for request in hub.requests))


def test_redirect_is_asked_for_once_a_file(hub: LoopbackHub, source: HubSource) -> None:
    for start in range(100_000, 900_000, 100_000):
        source.read(W, [Range(start, start + 1)])
    assert len(hub.asked("hub", "resolve")) == 1
    assert all(request.headers["accept-encoding"] == "identity" for request in hub.requests)


def test_counts(hub: LoopbackHub, source: HubSource) -> None:
    source.read(W, [Range(0, 1), FAR])
    assert source.http_requests == len(hub.requests) == 5
    listing = len(str(source.files()))
    assert LIMITS.hub_head + 10 < source.http_bytes < LIMITS.hub_head + 10 + 10 * listing


# --- expiry ----------------------------------------------------------------------------------------------


def test_expired_url_is_renewed(hub: LoopbackHub, source: HubSource) -> None:
    source.read(W, [Range(0, 1)])
    hub.expire()
    wanted = [Range(start, start + 5) for start in range(100_000, 900_000, 80_000)]
    assert source.read(W, wanted) == [WEIGHTS[start:stop] for start, stop in wanted]
    assert len(hub.asked("hub", "resolve")) == 2  # by one thread for all


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_any_way_of_saying_expired(hub: LoopbackHub, source: HubSource, code: int) -> None:
    source.read(W, [Range(0, 1)])
    hub.twist = times(1, at("cdn", status(code)))
    assert source.read(W, [FAR]) == [WEIGHTS[FAR.start : FAR.stop]]


def test_url_that_is_always_expired(hub: LoopbackHub, source: HubSource) -> None:
    hub.twist = at("cdn", status(403))
    assert isinstance(refused(source), Undelivered)
    assert len(hub.asked("cdn")) <= LIMITS.hub_renewals + 1


# --- tried again -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [0, 1, 30_000, LIMITS.hub_head - 1])
def test_connection_cut_in_mid_range(hub: LoopbackHub, source: HubSource, cut: int, waits: list[float]) -> None:
    hub.twist = times(2, at("cdn", lambda _, answer: replace(answer, cut=cut)))
    assert source.read(W, [Range(10, 20)]) == [WEIGHTS[10:20]]
    assert len(waits) == 2


def test_short_bodies_that_look_complete(hub: LoopbackHub, source: HubSource) -> None:
    def short(_: Request, answer: Answer) -> Answer:
        return replace(answer, headers=answer.headers | {"Content-Length": "10"}, body=answer.body[:10])

    hub.twist = at("cdn", short)
    assert isinstance(refused(source), Undelivered)
    assert "another length" in str(refused(source))

    def chunked(_: Request, answer: Answer) -> Answer:
        headers = answer.headers | {"Transfer-Encoding": "chunked"}
        return replace(answer, headers=headers, body=b"a\r\n%s\r\n0\r\n\r\n" % answer.body[:10])

    hub.twist = at("cdn", chunked)
    assert "after 10 of" in str(refused(source))
    hub.twist = lambda _, answer: answer
    assert source.read(W, [FAR]) == [WEIGHTS[FAR.start : FAR.stop]]


def test_always_cut(hub: LoopbackHub, source: HubSource, waits: list[float]) -> None:
    hub.twist = at("cdn", lambda _, answer: replace(answer, cut=5))
    error = refused(source)
    assert isinstance(error, Undelivered)
    assert "breaks off, 5 times" in str(error)
    assert len(waits) == 4


@pytest.mark.parametrize("host", ["hub", "cdn"])
@pytest.mark.parametrize("code", [429, 500, 503])
def test_busy_then_fine(hub: LoopbackHub, source: HubSource, host: str, code: int, waits: list[float]) -> None:
    hub.twist = times(2, at(host, status(code, **{"Retry-After": "3"})))
    assert source.read(W, [FAR]) == [WEIGHTS[FAR.start : FAR.stop]]
    assert waits == [3.0, 3.0]


@pytest.mark.parametrize("host", ["hub", "cdn"])
def test_busy_for_ever(hub: LoopbackHub, source: HubSource, host: str) -> None:
    hub.twist = at(host, status(429))
    error = refused(source)
    assert isinstance(error, Undelivered)
    assert "answers 429, 5 times" in str(error)


# --- ranges that are not kept ----------------------------------------------------------------------------


def test_range_ignored_is_refused_without_reading_the_body(hub: LoopbackHub, source: HubSource) -> None:
    def ignore(_: Request, answer: Answer) -> Answer:
        return replace(answer, status=200, headers={}, body=WEIGHTS)

    before = source.http_bytes
    hub.twist = at("cdn", ignore)
    error = refused(source)
    assert isinstance(error, RangeIgnored)
    assert f"{hub.storage.removeprefix('http://')} ignores ranges" in str(error)
    assert source.http_bytes - before < 1_000  # the body of the redirect
    hub.twist = times(1, at("hub", lambda *_: Answer(body=WEIGHTS)))
    assert isinstance(refused(source), RangeIgnored)
    hub.twist = lambda _, answer: answer
    assert source.read(W, [FAR]) == [WEIGHTS[FAR.start : FAR.stop]]  # benign twin


def test_small_file_outside_lfs_is_taken_whole_from_a_server_without_ranges(hub: LoopbackHub) -> None:
    hub.twist = at("hub", lambda _, answer: replace(answer, status=200, headers={}, body=FILES["sub/tokenizer.json"]))
    source = HubSource(REPO, hub.settings())
    assert source.read("sub/tokenizer.json", [Range(9, 20)]) == [FILES["sub/tokenizer.json"][9:20]]
    assert whole(source, "sub/tokenizer.json") == FILES["sub/tokenizer.json"]
    assert len(hub.asked("hub", "resolve")) == 1


def test_large_file_outside_lfs_is_not(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, hub_direct=300_000)
    hub.twist = at("hub", lambda _, answer: replace(answer, status=200, headers={}, body=FILES["sub/tokenizer.json"]))
    source = HubSource(REPO, hub.settings())
    assert isinstance(refused(source, "sub/tokenizer.json", Range(9, 20)), RangeIgnored)


WRONG_RANGES = [
    "",
    "bytes 0-65535",
    "bytes 1-65536/{size}",
    "bytes 0-65534/{size}",
    "bytes 0-65535/*",
    "bytes */{size}",
]


@pytest.mark.parametrize("stated", WRONG_RANGES)
def test_wrong_content_range(hub: LoopbackHub, source: HubSource, stated: str) -> None:
    hub.twist = at("cdn", header("Content-Range", stated.format(size=len(WEIGHTS))))
    assert isinstance(refused(source), RangeIgnored)


def test_right_range_of_another_size(hub: LoopbackHub, source: HubSource) -> None:
    hub.twist = at("cdn", header("Content-Range", f"bytes 0-65535/{len(WEIGHTS) + 1}"))
    error = refused(source)
    assert isinstance(error, ServerMismatch)
    assert (error.field, error.actual, error.limit) == ("size", len(WEIGHTS) + 1, len(WEIGHTS))


def test_range_where_none_was_asked(hub: LoopbackHub, source: HubSource) -> None:
    hub.twist = at("hub", lambda _, answer: replace(answer, status=206))
    assert isinstance(refused(source, "config.json", Range(0, 1)), RangeIgnored)


def test_more_bytes_than_asked(hub: LoopbackHub, source: HubSource) -> None:
    hub.twist = at("cdn", lambda _, answer: replace(answer, body=answer.body + b"x"))
    assert "another length" in str(refused(source))


def test_encoded_body(hub: LoopbackHub, source: HubSource) -> None:
    hub.twist = at("cdn", header("Content-Encoding", "gzip"))
    assert "encoded body" in str(refused(source))


def test_not_satisfiable(hub: LoopbackHub, source: HubSource) -> None:
    hub.twist = at("cdn", status(416))
    assert "answers 416" in str(refused(source))


# --- contradictions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("X-Repo-Commit", "0" * 40, "commit"),
        ("X-Linked-Size", "999999", "size"),
        ("X-Linked-Size", "1000000 ", None),
        ("X-Linked-Etag", f'"{"0" * 64}"', "digest"),
        ("X-Linked-Etag", '"short"', "digest"),
        ("ETag", f'"{"0" * 64}"', None),  # X-Linked-Etag is what speaks of the content
    ],
)
def test_redirect_that_contradicts_the_listing(
    hub: LoopbackHub, source: HubSource, name: str, value: str, field: str | None
) -> None:
    hub.twist = at("hub", header(name, value))
    if field is None:
        assert source.read(W, [FAR]) == [WEIGHTS[FAR.start : FAR.stop]]
        return
    error = refused(source)
    assert isinstance(error, ServerMismatch)
    assert error.field == field
    assert hub.asked("cdn") == []


def test_etag_of_a_direct_answer(hub: LoopbackHub, source: HubSource) -> None:
    hub.twist = at("hub", header("ETag", f'W/"{"0" * 40}"'))
    assert "digest" in str(refused(source, "config.json", Range(0, 1)))
    hub.twist = at("hub", header("ETag", '"5f1b-8a2c"'))  # benign twin: the server's own mark
    assert whole(source, "config.json") == FILES["config.json"]


def test_redirect_that_says_nothing_of_the_file(hub: LoopbackHub, source: HubSource) -> None:
    hub.twist = at("hub", lambda _, answer: replace(answer, headers={"Location": answer.headers["Location"]}))
    assert source.read(W, [FAR]) == [WEIGHTS[FAR.start : FAR.stop]]


def test_whole_file_with_another_content(hub: LoopbackHub, source: HubSource) -> None:
    hub.twist = at("hub", lambda _, answer: replace(answer, body=b"[]"))
    error = refused(source, "config.json", Range(0, 1))
    assert isinstance(error, ServerMismatch)
    assert error.field == "contents"


def test_small_file_in_lfs_with_another_content(hub: LoopbackHub) -> None:
    hub.publish(REPO, {"tokenizer.model": b"abc"})
    source = HubSource(REPO, hub.settings())
    hub.twist = at("cdn", lambda _, answer: replace(answer, body=b"abd"))
    error = refused(source, "tokenizer.model", Range(0, 1))
    assert (error.field, error.limit) == ("contents", hashlib.sha256(b"abc").hexdigest())
    hub.twist = lambda _, answer: answer
    assert whole(source, "tokenizer.model") == b"abc"  # benign twin


# --- redirects and credentials ---------------------------------------------------------------------------


def test_the_token_goes_to_the_endpoint_only(hub: LoopbackHub, source: HubSource) -> None:
    whole(source, W)
    assert all(request.headers.get("authorization") == f"Bearer {TOKEN}" for request in hub.asked("hub"))
    assert hub.asked("cdn")
    assert not any("authorization" in request.headers or "cookie" in request.headers for request in hub.asked("cdn"))
    assert TOKEN not in repr(source)
    assert TOKEN not in repr(vars(source))


def test_cookies_are_not_kept(hub: LoopbackHub, source: HubSource) -> None:
    hub.twist = lambda _, answer: replace(answer, headers=answer.headers | {"Set-Cookie": "id=1; Path=/"})
    whole(source, W)
    assert not any("cookie" in request.headers for request in hub.requests)


def test_redirect_within_the_endpoint_keeps_the_token(hub: LoopbackHub, source: HubSource) -> None:
    """As the Hub does for small files: a relative redirect to its own cache."""
    honest = hub.twist

    def around(request: Request, answer: Answer) -> Answer:
        if data(request, host="hub") and "cache=1" not in request.path:
            return Answer(status=307, headers={"Location": f"{request.path}?cache=1"})
        return honest(request, answer)

    hub.twist = around
    assert whole(source, "config.json") == FILES["config.json"]
    assert source.read(W, [FAR]) == [WEIGHTS[FAR.start : FAR.stop]]
    assert all("authorization" in request.headers for request in hub.asked("hub"))


BAD_LOCATIONS = [
    "file:///etc/passwd",
    "ftp://host/x",
    "data:,x",
    "javascript:1",
    "http://user:password@host/x",
    "http://[bad",
    "http://host:99999/x",
    "http:///x",
    "http://127.0.0.1:1/" + "x" * 20_000,
]


@pytest.mark.parametrize("location", BAD_LOCATIONS)
def test_redirects_that_are_not_followed(hub: LoopbackHub, source: HubSource, location: str) -> None:
    hub.twist = at("hub", header("Location", location))
    assert isinstance(refused(source), Undelivered)
    assert hub.asked("cdn") == []


def test_redirect_from_https_to_http() -> None:
    with LoopbackHub() as hub:
        http = hub_http.HubHttp(hub.settings())
        head = hub_http.Head(url="https://host/x", status=302, headers={"location": "http://host/y"})
        with pytest.raises(hub_http.ExchangeError, match="https to http"):
            http.redirect(head)
        assert http.redirect(replace(head, headers={"location": "//other/y"})) == "https://other/y"


def test_redirect_loop(hub: LoopbackHub, source: HubSource) -> None:
    hub.twist = at("hub", lambda request, _: Answer(status=302, headers={"Location": request.path}))
    assert "more than 5 redirects" in str(refused(source))
    assert len(hub.asked("hub", "resolve")) == 6


def test_storage_host_that_redirects(hub: LoopbackHub, source: HubSource) -> None:
    hub.twist = at("cdn", lambda *_: Answer(status=302, headers={"Location": f"{hub.endpoint}/x"}))
    assert "redirects again" in str(refused(source))
    assert not hub.asked("hub", "^/x")


# --- closed files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [401, 403])
def test_gated(hub: LoopbackHub, source: HubSource, code: int) -> None:
    hub.twist = at("hub", status(code, **{"X-Error-Code": "GatedRepo"}))
    with pytest.raises(GatedRepo, match="accept its terms"):
        source.read(W, [FAR])


def test_repository_that_vanishes(hub: LoopbackHub, source: HubSource) -> None:
    hub.twist = at("hub", status(404, **{"X-Error-Code": "RepoNotFound"}))
    with pytest.raises(MissingRepo):
        source.read(W, [FAR])


@pytest.mark.parametrize("code", [403, 404, 418])
def test_one_file_that_is_refused(hub: LoopbackHub, source: HubSource, code: int) -> None:
    hub.twist = at("hub", status(code))
    assert f"answers {code}" in str(refused(source))
    hub.twist = lambda _, answer: answer
    assert whole(source, "config.json") == FILES["config.json"]


def test_no_refusal_holds_the_token(hub: LoopbackHub, source: HubSource) -> None:
    echoes = [
        header("X-Repo-Commit", TOKEN),
        header("X-Linked-Size", TOKEN),
        header("X-Linked-Etag", TOKEN),
        header("Location", f"{hub.storage}/{TOKEN}?sig=0"),
        header("Location", f"ftp://{TOKEN}"),
        status(404, **{"X-Error-Message": TOKEN}),
    ]
    for twist in [*(at("hub", echo) for echo in echoes), at("cdn", header("Content-Range", f"bytes {TOKEN}"))]:
        hub.twist = twist
        with pytest.raises(AuditError) as caught:
            source.read(W, [FAR])
        error: BaseException | None = caught.value
        while error:
            assert TOKEN not in str(error) + repr(vars(error)), twist
            error = error.__cause__
