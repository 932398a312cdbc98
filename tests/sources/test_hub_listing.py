"""The commit, the list of files, and every way in which a repository is closed to us."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hubkit import FILES, REPO, TOKEN, WEIGHTS, limits, times, whole
from loopback_hub import Answer, LoopbackHub, Request

from auditor.errors import (
    AuditError,
    EmptyRepo,
    GatedRepo,
    HubError,
    HubMismatch,
    HubUnreachable,
    MissingRepo,
    MissingRevision,
    RenamedRepo,
    TargetError,
)
from auditor.sources import Source, hub_http
from auditor.sources.hub import HubSource
from auditor.sources.hub_settings import HubSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        server.publish(REPO, FILES)
        yield server


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the waits between tries instead of waiting."""
    waited: list[float] = []
    monkeypatch.setattr(hub_http, "_pause", waited.append)
    return waited


def refused(hub: LoopbackHub, target: str = REPO, *, token: str | None = None) -> HubError:
    with pytest.raises(HubError) as caught:
        HubSource(target, hub.settings(token=token))
    return caught.value


def test_listing(hub: LoopbackHub) -> None:
    source = HubSource(REPO, hub.settings())
    commit = hub.repositories[REPO].refs["main"]
    assert isinstance(source, Source)
    assert (source.kind, source.revision, source.uri) == ("hub", commit, f"{hub.endpoint}/{REPO}")
    assert source.served_from == "hub"
    assert [(info.path, info.size) for info in source.files()] == [(path, len(FILES[path])) for path in sorted(FILES)]
    digests = {info.path: (info.sha256, info.digest_source) for info in source.files()}
    assert digests.pop("model.safetensors") == (hashlib.sha256(WEIGHTS).hexdigest(), "hub")
    assert set(digests.values()) == {(None, None)}
    assert source.refused() == ()
    assert source.on_disk("model.safetensors") is None
    assert source.http_requests == len(hub.requests) == 2


def test_uri_of_the_public_hub_and_of_others(tmp_path: Path) -> None:
    def public(endpoint: str) -> bool:
        return HubSettings(endpoint=endpoint, cache=tmp_path).is_public_hub

    assert public("https://huggingface.co")
    assert public("https://HUGGINGFACE.co:443")
    assert not public("http://huggingface.co")
    assert not public("https://huggingface.co.evil.example")
    assert not public("https://mirror.example/huggingface.co")


# --- revisions -------------------------------------------------------------------------------------------


def test_the_commit_is_pinned_while_the_branch_moves(hub: LoopbackHub) -> None:
    source = HubSource(f"{REPO}@main", hub.settings())
    hub.publish(REPO, {"config.json": b"{}", "model.safetensors": b"x" * len(WEIGHTS)})
    assert whole(source, "model.safetensors") == WEIGHTS
    assert HubSource(REPO, hub.settings()).revision != source.revision
    asked = [request.path for request in hub.asked("hub", "tree|resolve")]
    assert all(str(source.revision) in path for path in asked[:-1])


def test_commit_moves_between_commit_and_listing(hub: LoopbackHub) -> None:
    """The list of files is that of the commit that was resolved, not of the branch a moment later."""

    def move(request: Request, answer: Answer) -> Answer:
        if "/revision/" in request.path:
            hub.publish(REPO, {"other.safetensors": b"x"})
        return answer

    hub.twist = move
    assert len(HubSource(REPO, hub.settings()).files()) == len(FILES)


@pytest.mark.parametrize("revision", ["refs/pr/1", "v1.0", "a/b/c"])
def test_revision(hub: LoopbackHub, revision: str) -> None:
    commit = hub.publish(REPO, {"pr.safetensors": b"x"}, ref=revision)
    for spelt in (revision, commit):
        source = HubSource(f"hf://{REPO}@{spelt}", hub.settings())
        assert source.revision == commit
        assert [info.path for info in source.files()] == ["pr.safetensors"]


@pytest.mark.parametrize("sha", [None, 7, "", "main", "0" * 39, "0" * 41, "G" * 40, "0" * 40 + "\n"])
def test_server_names_no_commit(hub: LoopbackHub, sha: object) -> None:
    hub.twist = lambda _, answer: replace(answer, headers={}, body=json.dumps({"id": REPO, "sha": sha}).encode())
    assert isinstance(refused(hub), HubUnreachable)


def test_server_answers_with_another_commit_than_asked(hub: LoopbackHub) -> None:
    asked = hub.repositories[REPO].refs["main"]
    hub.twist = lambda _, answer: replace(answer, headers={}, body=json.dumps({"id": REPO, "sha": "0" * 40}).encode())
    assert isinstance(refused(hub, f"{REPO}@{asked}"), HubMismatch)


# --- closed repositories ---------------------------------------------------------------------------------


def test_gated_for_the_api(hub: LoopbackHub) -> None:
    hub.twist = lambda _, answer: replace(answer, status=403, headers={"X-Error-Code": "GatedRepo"})
    error = refused(hub)
    assert isinstance(error, GatedRepo)
    assert f"accept its terms at {hub.endpoint}/{REPO} and set HF_TOKEN" in str(error)
    assert "account of the token in use" in str(refused(hub, token=TOKEN))


def test_gated_for_files_only(hub: LoopbackHub) -> None:
    """The Hub lists gated repositories to everybody, digests included, and keeps the files."""
    hub.gated.add(REPO)
    source = HubSource(REPO, hub.settings())
    assert {info.digest_source for info in source.files()} == {None, "hub"}
    with pytest.raises(GatedRepo, match="accept its terms"):
        whole(source, "model.safetensors")


@pytest.mark.parametrize("status", [401, 404])
@pytest.mark.parametrize("code", ["RepoNotFound", ""])
def test_missing_or_private(hub: LoopbackHub, status: int, code: str) -> None:
    hub.twist = lambda _, answer: replace(answer, status=status, headers={"X-Error-Code": code} if code else {})
    error = refused(hub)
    assert isinstance(error, MissingRepo)
    assert "set HF_TOKEN" in str(error)
    assert "the token in use is not valid or may not read it" in str(refused(hub, token=TOKEN))


def test_missing_repository(hub: LoopbackHub) -> None:
    assert isinstance(refused(hub, "acme/absent"), MissingRepo)


def test_missing_revision(hub: LoopbackHub) -> None:
    error = refused(hub, f"{REPO}@absent")
    assert isinstance(error, MissingRevision)
    assert f"{hub.endpoint}/{REPO}/commits" in str(error)


def test_renamed(hub: LoopbackHub) -> None:
    hub.renamed["old/name"] = REPO
    error = refused(hub, "old/name@v1")
    assert isinstance(error, RenamedRepo)
    assert error.new_name == REPO
    assert f"scan {REPO}@v1" in str(error)
    assert len(hub.requests) == 1


@pytest.mark.parametrize(
    "location",
    [
        "/api/models/../..",
        "/api/models/a%2f..%2fb/c/revision/main",
        "/login",
        "//evil.example/x",
        "http://[bad",
        "/api/models/org/x\x1b[31m/revision/main",
    ],
)
def test_redirects_to_no_repository(hub: LoopbackHub, location: str) -> None:
    hub.twist = lambda _, answer: replace(answer, status=307, headers={"Location": location})
    error = refused(hub)
    assert isinstance(error, HubUnreachable)
    assert str(error).isprintable()
    assert len(hub.requests) <= 5


def test_redirect_to_a_path_with_a_slash(hub: LoopbackHub) -> None:
    """As servers made with FastAPI do, mirrors among them."""
    hub.twist = lambda request, answer: (
        Answer(status=307, headers={"Location": f"{hub.endpoint}{request.path.replace('?', '/?')}"})
        if "/tree/" in request.path and "/?" not in request.path
        else replace(answer, status=200, body=json.dumps(hub.repositories[REPO].tree(commit)).encode())
        if "/?" in request.path
        else answer
    )
    commit = hub.repositories[REPO].refs["main"]
    assert len(HubSource(REPO, hub.settings(token=TOKEN)).files()) == len(FILES)
    assert len(hub.requests) == 3


@pytest.mark.parametrize("location", ["{path}", "http://localhost:1{path}"])
def test_redirects_to_itself_or_to_another_host(hub: LoopbackHub, location: str) -> None:
    hub.twist = lambda request, _: Answer(status=307, headers={"Location": location.format(path=request.path)})
    assert isinstance(refused(hub, token=TOKEN), HubMismatch)
    assert len(hub.requests) <= 6


def test_renamed_without_a_redirect(hub: LoopbackHub) -> None:
    hub.twist = lambda _, answer: replace(answer, body=answer.body.replace(REPO.encode(), b"new/name"))
    error = refused(hub)
    assert isinstance(error, RenamedRepo)
    assert error.new_name == "new/name"


@pytest.mark.parametrize("files", [{}, {".gitattributes": b"*.bin filter=lfs\n"}])
def test_empty(hub: LoopbackHub, files: dict[str, bytes]) -> None:
    hub.publish("acme/empty", files)
    assert isinstance(refused(hub, "acme/empty"), EmptyRepo)


def test_disabled_and_forbidden(hub: LoopbackHub) -> None:
    hub.twist = lambda _, answer: replace(
        answer, status=403, headers={"X-Error-Message": "Access to this resource is disabled."}
    )
    assert "disabled" in str(refused(hub))
    hub.twist = lambda _, answer: replace(answer, status=403, headers={})
    assert "lack the right" in str(refused(hub))


def test_nobody_listens(tmp_path: Path, waits: list[float]) -> None:
    with LoopbackHub() as hub:
        settings = hub.settings(cache=tmp_path)
    with pytest.raises(HubUnreachable, match="cannot be reached"):
        HubSource(REPO, settings)
    assert len(waits) == 4


@pytest.mark.parametrize("endpoint", ["", "huggingface.co", "ftp://x", "http://", "http://a:b@host", "http://h:99999"])
def test_endpoint_that_is_none(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(HubError, match="HF_ENDPOINT") as caught:
        HubSource(REPO, HubSettings(endpoint=endpoint, cache=tmp_path))
    assert "a:b" not in str(caught.value)


# --- tries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_busy_then_fine(hub: LoopbackHub, status: int, waits: list[float]) -> None:
    hub.twist = times(2, lambda _, answer: replace(answer, status=status))
    assert len(HubSource(REPO, hub.settings()).files()) == len(FILES)
    assert len(waits) == 2
    assert waits[0] < waits[1]
    assert len(hub.requests) == 4


@pytest.mark.parametrize("header", [{"Retry-After": "7"}, {"RateLimit": '"api";r=0;t=7'}])
def test_asked_wait_is_kept(hub: LoopbackHub, header: dict[str, str], waits: list[float]) -> None:
    hub.twist = times(1, lambda _, answer: replace(answer, status=429, headers=header))
    HubSource(REPO, hub.settings())
    assert waits == [7.0]


@pytest.mark.parametrize("after", ["-1", "soon", "Wed, 21 Oct 2037 07:28:00 GMT", "9" * 400, "\u0669"])
def test_asked_wait_that_is_none(hub: LoopbackHub, after: str, waits: list[float]) -> None:
    header = {"Retry-After": after.encode().decode("latin-1")}
    hub.twist = times(1, lambda _, answer: replace(answer, status=503, headers=header))
    HubSource(REPO, hub.settings())
    assert len(waits) == 1
    assert waits[0] < 1


def test_server_asks_to_wait_for_a_day(hub: LoopbackHub, waits: list[float]) -> None:
    hub.twist = lambda _, answer: replace(answer, status=429, headers={"Retry-After": "86400"})
    error = refused(hub)
    assert isinstance(error, HubUnreachable)
    assert "answers 429 and asks to wait 86400 s" in str(error)
    assert waits == []


def test_tries_are_bounded(hub: LoopbackHub, waits: list[float]) -> None:
    hub.twist = lambda _, answer: replace(answer, status=503)
    assert "answers 503, 5 times" in str(refused(hub))
    assert len(hub.requests) == 5
    assert len(waits) == 4


def test_patience_is_bounded_over_all_requests(
    hub: LoopbackHub, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(monkeypatch, hub_patience_seconds=9.0)
    hub.twist = times(3, lambda _, answer: replace(answer, status=429, headers={"Retry-After": "5"}))
    assert "given up after 10 s" in str(refused(hub))
    assert waits == [5.0, 5.0]


# --- hostile answers -------------------------------------------------------------------------------------


BODIES = {
    "no JSON": b"<html>",
    "not UTF-8": b'"\xff"',
    "UTF-16": '{"id": 1}'.encode("utf-16"),
    "deep": b"[" * 100_000,
    "deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "a number of 100,000 digits": b"9" * 100_000,
    "null": b"null",
    "a string": b'"x"',
    "nothing": b"",
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("where", ["/revision/", "/tree/"])
def test_answers_that_are_nothing(hub: LoopbackHub, name: str, where: str) -> None:
    hub.twist = lambda request, answer: replace(answer, body=BODIES[name]) if where in request.path else answer
    assert isinstance(refused(hub), HubUnreachable)


@pytest.mark.parametrize("where", ["/revision/", "/tree/"])
@pytest.mark.parametrize("framing", ["announced", "chunked"])
def test_endless_json_is_not_read(hub: LoopbackHub, where: str, framing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, hub_json=200_000)
    body = b" " * 3_000_000
    flood = Answer(body=body)
    if framing == "chunked":
        flood = Answer(headers={"Transfer-Encoding": "chunked"}, body=b"%x\r\n%s\r\n" % (len(body), body), cut=-1)
    hub.twist = lambda request, answer: flood if where in request.path else answer
    error = refused(hub)
    assert isinstance(error, HubUnreachable)
    assert ("another length" if framing == "announced" else "more than 200000 bytes") in str(error)


def test_compressed_answer_is_refused(hub: LoopbackHub) -> None:
    hub.twist = lambda _, answer: replace(answer, headers={"Content-Encoding": "gzip"})
    assert "encoded body" in str(refused(hub))


def test_body_that_drips(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, hub_timeout_seconds=0.1, hub_slowest=1 << 30, hub_tries=1)
    hub.twist = lambda _, answer: replace(answer, body=answer.body + b" " * 5_000, drip=0.02)
    assert "bytes a second" in str(refused(hub))


def test_silence(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, hub_timeout_seconds=0.05, hub_tries=2)
    hub.twist = lambda _, answer: replace(answer, headers={"Content-Length": "1000"}, body=b" " * 100, drip=0.5)
    assert "does not answer within 0.05 s, 2 times" in str(refused(hub))


def test_pages(hub: LoopbackHub) -> None:
    hub.page = 3
    files = {f"part-{number:03}.txt": b"%d" % number for number in range(20)}
    hub.publish("acme/paged", files)
    source = HubSource("acme/paged", hub.settings())
    assert [info.path for info in source.files()] == sorted(files)
    assert len(hub.asked("hub", "/tree/")) == 7


@pytest.mark.parametrize("link", ["same", "growing"])
def test_pages_that_never_end(hub: LoopbackHub, link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, hub_pages=10)

    def more(request: Request, answer: Answer) -> Answer:
        if "/tree/" not in request.path:
            return answer
        number = len(hub.requests) if link == "growing" else 1
        return Answer(headers={"Link": f'<{hub.endpoint}/x?cursor={number}>; rel="next"'}, body=b"[]")

    hub.twist = more
    assert "does not end" in str(refused(hub))
    assert len(hub.requests) < 15


@pytest.mark.parametrize(
    "link", ["http://evil.example/steal?cursor=2", "//evil.example?cursor=2", "file:///etc/passwd?cursor=2"]
)
def test_next_page_is_asked_of_the_endpoint_only(hub: LoopbackHub, link: str) -> None:
    hub.page = 2
    pages = times(1, lambda _, answer: replace(answer, headers={"Link": f'<{link}>; rel="next"'}))
    hub.twist = lambda request, answer: pages(request, answer) if "/tree/" in request.path else answer
    source = HubSource(REPO, hub.settings(token=TOKEN))
    assert len(hub.asked("hub", r"/tree/.*cursor=2")) == 1
    assert source.http_requests == len(hub.requests)


def test_number_of_files_is_capped(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    limits(monkeypatch, files=5)
    assert len(HubSource(REPO, hub.settings()).files()) == 4  # benign twin: 4 files and a folder
    hub.publish(REPO, FILES | {"one-more": b""})
    with pytest.raises(TargetError, match="more than 5 files"):
        HubSource(REPO, hub.settings())


# --- hostile entries -------------------------------------------------------------------------------------


def with_entries(hub: LoopbackHub, *entries: Any) -> HubSource:  # noqa: ANN401
    """List these entries beside the honest ones."""

    def add(request: Request, answer: Answer) -> Answer:
        if "/tree/" not in request.path:
            return answer
        return replace(answer, body=json.dumps([*json.loads(answer.body), *entries]).encode())

    hub.twist = add
    return HubSource(REPO, hub.settings(token=TOKEN))


def file(path: object = "x", **changes: object) -> dict[str, object]:
    return {"type": "file", "path": path, "size": 3, "oid": "0" * 40} | changes


HOSTILE_NAMES = [
    "",
    "/",
    "/etc/passwd",
    "../x",
    "a/../b",
    "a/..",
    "..",
    ".",
    "./a",
    "a//b",
    "a/",
    "a\\b",
    "..\\x",
    "C:\\x",
    "a\0b",
    "\ud800",
    "x" * 2_000,
    "d/" * 100 + "x",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_file_names_are_refused_and_never_asked_for(hub: LoopbackHub, name: str) -> None:
    source = with_entries(hub, file(name))
    (unread,) = source.refused()
    assert (unread.path + unread.code).isprintable()
    assert len(source.files()) == len(FILES)
    with pytest.raises(KeyError):
        source.read(name, [])
    assert hub.asked("hub", "resolve") == []


@pytest.mark.parametrize(
    "name", ["a b", "a\nb", "\x1b[31m", "%2e%2e", "a?b#c", "é/ü", "...", "a:b", "~", "a%00", "a+b&c=d"]
)
def test_odd_file_names_are_asked_for_as_they_are(hub: LoopbackHub, name: str) -> None:
    hub.publish(REPO, {name: b"odd", "a": b"not this"})
    assert whole(HubSource(REPO, hub.settings()), name) == b"odd"


BAD_ENTRIES: list[object] = [
    None,
    7,
    "x",
    [],
    {},
    {"type": "file"},
    file(7),
    file(None),
    file(type="commit"),
    file(type=None),
    file(size=-1),
    file(size=True),
    file(size="3"),
    file(size=1.5),
    file(size=None),
    file(size=1 << 63),
    file(oid=None),
    file(oid="0" * 39),
    file(oid="../" + "0" * 37),
    file(lfs=7),
    file(lfs={}),
    file(lfs={"oid": "0" * 63, "size": 3}),
    file(lfs={"oid": "0" * 64, "size": 4}),
    file(lfs={"oid": "0" * 64}),
]


@pytest.mark.parametrize("entry", BAD_ENTRIES, ids=str)
def test_entries_that_are_no_files(hub: LoopbackHub, entry: object) -> None:
    source = with_entries(hub, entry)
    assert len(source.refused()) == 1
    assert len(source.files()) == len(FILES)


def test_benign_entries(hub: LoopbackHub) -> None:
    lfs = {"oid": "0" * 64, "size": 3, "pointerSize": 120}
    source = with_entries(
        hub, file("y", lfs=lfs, xetHash="0" * 64, lastCommit=None), {"type": "directory", "path": "d"}
    )
    assert source.refused() == ()
    assert len(source.files()) == len(FILES) + 1


def test_a_file_listed_twice(hub: LoopbackHub) -> None:
    with pytest.raises(HubMismatch, match="twice"):
        with_entries(hub, file(), file(size=4))


def test_server_that_sends_the_token_back(hub: LoopbackHub) -> None:
    source = with_entries(hub, file(f"x{TOKEN}"))
    assert TOKEN not in repr(source.refused())
    assert len(source.refused()) == 1


def every_refusal() -> list[Callable[[Request, Answer], Answer]]:
    echo = {"X-Error-Message": TOKEN, "Location": f"/api/models/org/{TOKEN}/revision/{TOKEN}"}
    body = json.dumps({"id": f"org/{TOKEN}", "sha": TOKEN, "error": TOKEN}).encode()
    return [
        lambda _, answer, status=status: replace(answer, status=status, headers=echo, body=body)  # type: ignore[misc]
        for status in (200, 301, 307, 400, 401, 403, 404, 418, 429, 503)
    ]


@pytest.mark.parametrize("twist", every_refusal())
def test_no_message_holds_the_token(hub: LoopbackHub, twist: Callable[[Request, Answer], Answer]) -> None:
    hub.twist = twist
    error: BaseException | None = refused(hub, token=TOKEN)
    assert hub.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    while error:
        assert TOKEN not in str(error) + repr(error) + repr(vars(error))
        error = error.__cause__
    assert TOKEN not in repr(hub.settings(token=TOKEN))


def test_every_hub_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in HubError.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"hub-[a-z-]+", code) for code in codes)
    assert issubclass(HubError, AuditError)
