"""The tags of an OCI registry as targets of a sweep; a registry that lies about them, or tells none."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from loopback_hub.server import Answer, Request, Server

from auditor.errors import BadOciName, MissingArtifact, OciDenied, OciError, OciUnreachable, UsageError
from auditor.limits import LIMITS
from auditor.sources import hub_http
from auditor.sweep.listings import Filters, oci, open_listing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "pass-of-nobody"  # noqa: S105
BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()


class Registry:
    """Answers of a registry by path: JSON, bytes, or a whole answer; a list of them is pages."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "/v2/_catalog": {"repositories": ["acme/chat", "acme/chat/small", "acme/embed", "other"]},
            "/v2/acme/chat/tags/list": {"name": "acme/chat", "tags": ["v1", "v2"]},
            "/v2/acme/chat/small/tags/list": {"name": "acme/chat/small", "tags": ["v1"]},
            "/v2/acme/embed/tags/list": {"name": "acme/embed", "tags": None},
            "/v2/other/tags/list": {"name": "other", "tags": ["latest"]},
        }
        self.requests: list[Request] = []
        self.challenge = ""
        self.granted: list[str] = []
        self._server = Server(self._answer)
        self.url = self._server.url
        self.host = self.url.removeprefix("http://")

    def stop(self) -> None:
        self._server.stop()

    def listed(self, what: str) -> list[str]:
        targets = [listed.entry.target for listed in open_listing(f"oci://{self.host}/{what}")]
        return [target.removeprefix(f"oci://{self.host}/") for target in targets]

    def _answer(self, path: str, headers: dict[str, str]) -> Answer:
        self.requests.append(Request(host="home", path=path, headers=headers))
        parts = urlsplit(path)
        query = parse_qs(parts.query)
        if parts.path == "/token":
            self.granted.append(query["scope"][0])
            return Answer(body=json.dumps({"token": f"for-{query['scope'][0]}"}).encode())
        scope = "registry:catalog:*" if "_catalog" in path else f"repository:{parts.path[4:-10]}:pull"
        if self.challenge and headers.get("authorization") != f"Bearer for-{scope}":
            return Answer(status=401, headers={"WWW-Authenticate": self.challenge})
        found = self.answers.get(parts.path, Answer(status=404))
        if isinstance(found, list):
            found = found[int(query.get("last", ["0"])[0])]
        if isinstance(found, Answer):
            return found
        return Answer(body=found if isinstance(found, bytes) else json.dumps(found).encode())


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Registry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(hub_http, "_pause", lambda _: None)
    server = Registry()
    yield server
    server.stop()


def page(value: object, link: str) -> Answer:
    return Answer(body=json.dumps(value).encode(), headers={"Link": link})


@pytest.mark.parametrize(
    ("what", "targets"),
    [
        ("*", ["acme/chat:v1", "acme/chat:v2", "acme/chat/small:v1", "other:latest"]),
        ("acme/*", ["acme/chat:v1", "acme/chat:v2", "acme/chat/small:v1"]),
        ("acme/chat/*", ["acme/chat:v1", "acme/chat:v2", "acme/chat/small:v1"]),
        ("acme/chat:*", ["acme/chat:v1", "acme/chat:v2"]),
    ],
)
def test_every_tag_is_a_target(registry: Registry, what: str, targets: list[str]) -> None:
    registry.answers["/v2/_catalog"]["repositories"] += ["acmes/chat", "acme/chat"]
    registry.answers["/v2/acmes/chat/tags/list"] = Answer(status=404)
    assert registry.listed(what) == targets
    asked = [urlsplit(request.path).path for request in registry.requests]
    assert len(asked) == len(set(asked))
    assert ("/v2/_catalog" in asked) == (what != "acme/chat:*")


def test_every_page_of_both_lists(registry: Registry) -> None:
    registry.answers["/v2/_catalog"] = [
        page({"repositories": ["acme/chat"]}, '</v2/_catalog?last=1&n=1>; rel="next"'),
        page({"repositories": ["other"]}, ""),
    ]
    registry.answers["/v2/acme/chat/tags/list"] = [
        page({"tags": ["a", "b"]}, f"<{registry.url}/v2/acme/chat/tags/list?n=2&last=1>; rel=next"),
        page({"tags": ["b", "c"]}, '</v2/x>; rel="prev"'),
    ]
    assert registry.listed("*") == ["acme/chat:a", "acme/chat:b", "acme/chat:c", "other:latest"]
    assert registry.requests[0].path == f"/v2/_catalog?n={1000}"


def test_another_host_is_never_asked_for_the_next_page(registry: Registry) -> None:
    other = Registry()
    registry.answers["/v2/acme/chat/tags/list"] = [
        page({"tags": ["a"]}, f'<{other.url}/v2/stolen/tags/list?last=1>; rel="next"'),
        page({"tags": ["b"]}, ""),
    ]
    assert registry.listed("acme/chat:*") == ["acme/chat:a", "acme/chat:b"]
    other.stop()
    assert other.requests == []


@pytest.mark.parametrize("last", ["0", "repeated"])
def test_a_list_that_does_not_end_is_refused(registry: Registry, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    if last == "repeated":
        monkeypatch.setattr(oci, "next_query", lambda _: f"n={len(registry.requests)}")
        monkeypatch.setattr(oci, "LIMITS", LIMITS.__class__(hub_pages=7))
    endless = page({"tags": ["a"]}, '</v2/acme/chat/tags/list?last=0>; rel="next"')
    registry.answers["/v2/acme/chat/tags/list"] = [endless]
    with pytest.raises(OciUnreachable, match="does not end"):
        registry.listed("acme/chat:*")
    assert len(registry.requests) == (2 if last == "0" else 7)


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"[]", b"{}", b"\xff", b'{"repositories": {}}', b'{"repositories": [1]}', b"[" * 100_000,
        b'{"repositories": ["../x"]}', b'{"repositories": ["a b"]}', b'{"repositories": ["acme/chat:v1"]}',
        b'{"repositories": ["Acme/chat"]}', b'{"repositories": ["a\\u0000"]}', b'{"repositories": ["\\ud800"]}',
        b'{"repositories": [""]}', b'{"repositories": ["chat@sha256:1"]}', Answer(status=500), Answer(status=418),
        Answer(status=307, headers={"Location": "ftp://x"}), Answer(body=b'{"repositories": []}', cut=3),
        b'{"repositories": ["' + b"x" * LIMITS.hub_json + b'"]}',
    ],
)  # fmt: skip
def test_a_list_of_repositories_that_is_none_is_refused(registry: Registry, answer: object) -> None:
    registry.answers["/v2/_catalog"] = answer
    with pytest.raises(OciUnreachable):
        registry.listed("*")


@pytest.mark.parametrize("tag", ["", "-x", "a/b", "a b", "x" * 129, "a\n", "\ud800", "é"])
def test_a_tag_that_is_none_is_refused(registry: Registry, tag: str) -> None:
    registry.answers["/v2/other/tags/list"] = {"tags": ["fine", tag]}
    with pytest.raises(OciUnreachable, match="lists what is no name of a tag"):
        registry.listed("other:*")


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_registry_without_a_list_says_so_and_what_else_there_is(registry: Registry, status: int) -> None:
    registry.answers["/v2/_catalog"] = Answer(status=status)
    with pytest.raises(OciError) as caught:
        registry.listed("*")
    assert isinstance(caught.value, OciDenied) == (status in {401, 403})
    message = str(caught.value)
    assert "no list of its repositories, like Docker Hub and ghcr.io: name targets in a file" in message
    assert f"oci://{registry.host}/REPOSITORY:*" in message
    assert registry.listed("other:*") == ["other:latest"]


def test_tokens_are_asked_for_what_is_read(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": BASIC}}}))
    registry.challenge = f'Bearer realm="{registry.url}/token",service="s",scope="registry:catalog:*,delete"'
    assert registry.listed("acme/chat/*") == ["acme/chat:v1", "acme/chat:v2", "acme/chat/small:v1"]
    assert registry.granted == [
        "registry:catalog:*", "repository:acme/chat:pull", "repository:acme/chat/small:pull",
    ]  # fmt: skip
    told = {request.path.partition("?")[0] for request in registry.requests if BASIC in str(request.headers)}
    assert told == {"/token"}


def test_a_repository_whose_tags_are_refused_is_not_lost(registry: Registry) -> None:
    registry.answers["/v2/acme/chat/tags/list"] = Answer(status=403)
    assert registry.listed("acme/*") == ["acme/chat", "acme/chat/small:v1"]
    with pytest.raises(OciDenied):
        registry.listed("acme/chat:*")


@pytest.mark.parametrize("what", ["absent/*", "acme/embed/*", "acme/embed:*", "absent:*"])
def test_nothing_there(registry: Registry, what: str) -> None:
    with pytest.raises(MissingArtifact):
        registry.listed(what)


def test_a_registry_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_http, "_pause", lambda _: None)
    with pytest.raises(OciUnreachable, match="cannot be reached"):
        list(open_listing("oci://127.0.0.1:9/*"))


@pytest.mark.parametrize(
    "name",
    [
        *("oci://h.example", "oci://h.example/a", "oci://h.example/a:v1", "oci://h.example/a*", "oci:///*"),
        *("oci://h.example/a:*/*", "oci://h.example//*"),
    ],
)
def test_what_names_no_collection(name: str) -> None:
    with pytest.raises(UsageError):
        open_listing(name)


@pytest.mark.parametrize("name", ["oci://H_/*", "oci://h.example/A/*", "oci://h.example/../*"])
def test_names_that_no_repository_has(name: str) -> None:
    with pytest.raises(BadOciName):
        open_listing(name)


def test_credentials_in_a_name_are_not_repeated() -> None:
    for name in (f"oci://me:{PASSWORD}@h.example/*", f"oci://me:{PASSWORD}@h.example/x"):
        with pytest.raises((BadOciName, UsageError)) as caught:
            open_listing(name)
        assert PASSWORD not in str(caught.value)


def test_nothing_to_filter_by(registry: Registry) -> None:
    with pytest.raises(UsageError, match="nothing of labels, dates and sizes"):
        open_listing(f"oci://{registry.host}/*", Filters(tags=("x",)))
    assert registry.requests == []
