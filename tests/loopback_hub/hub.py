"""The Hub's API, its `resolve` redirects to signed URLs, and the storage host behind them."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, unquote, urlsplit

from auditor.sources.hub_settings import HubSettings
from loopback_hub.repository import Content, Repository, blob_id, entry, is_lfs
from loopback_hub.server import Answer, Request, Server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

Twist = Callable[[Request, Answer], Answer]
"""Turns the honest answer into the one that is sent."""

_COMMIT = re.compile(r"/api/models/([^/]+/[^/]+)/revision/([^/]+)")
_TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)")
_BATCH = re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch")
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class LoopbackHub:
    """Two servers: the endpoint and, on another port and so another origin, the storage host.

    Attributes
    ----------
    twist : callable
        What a hostile or busy server makes of an answer; honest until a test says otherwise.
    requests : list of Request
        Everything that came in.
    """

    def __init__(self, *, page: int = 1000) -> None:
        self.repositories: dict[str, Repository] = {}
        self.gated: set[str] = set()
        self.renamed: dict[str, str] = {}
        self.page = page
        self.requests: list[Request] = []
        self.twist: Twist = lambda _, answer: answer
        self._signatures = itertools.count(1)
        self._oldest = 0
        self._stored: dict[str, Content] = {}
        self._hub = Server(partial(self._answer, "hub", self._api))
        self._cdn = Server(partial(self._answer, "cdn", self._storage))

    @property
    def endpoint(self) -> str:
        return self._hub.url

    @property
    def storage(self) -> str:
        return self._cdn.url

    def settings(self, *, cache: Path = Path("/nonexistent"), token: str | None = None) -> HubSettings:
        return HubSettings(endpoint=self.endpoint, cache=cache, token=token)

    def publish(self, repo: str, files: Mapping[str, Content], *, ref: str = "main") -> str:
        """Make a commit, and the branch point to it."""
        return self.repositories.setdefault(repo, Repository()).publish(files, ref=ref)

    def expire(self) -> None:
        """Let every URL signed so far be over its time."""
        self._oldest = next(self._signatures)

    def asked(self, host: str, pattern: str = "") -> list[Request]:
        return [request for request in self.requests if request.host == host and re.search(pattern, request.path)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._hub.stop()
        self._cdn.stop()

    def _answer(self, host: str, honest: Callable[[Request], Answer], path: str, headers: dict[str, str]) -> Answer:
        request = Request(host=host, path=path, headers=headers)
        self.requests.append(request)
        return self.twist(request, honest(request))

    def _api(self, request: Request) -> Answer:
        parts = urlsplit(request.path)
        if match := _COMMIT.fullmatch(parts.path):
            return self._commit(match[1], unquote(match[2]))
        if match := _TREE.fullmatch(parts.path):
            return self._tree(match[1], match[2], parts.query)
        if match := _RESOLVE.fullmatch(parts.path):
            return self._resolve(match[1], match[2], unquote(match[3]), request)
        if match := _BATCH.fullmatch(parts.path):
            return self._batch(match[1], json.loads(request.headers.get("x-form", "{}")))
        return _error(404, "")

    def _batch(self, repo: str, asked: dict[str, list[dict[str, object]]]) -> Answer:
        if repo in self.gated:
            return _error(403, "GatedRepo")
        wanted = {record["oid"] for record in asked["objects"]}
        objects = []
        for files in self.repositories[repo].commits.values():
            for path, data in files.items():
                lfs = entry(path, data).get("lfs") if is_lfs(path) else None
                if isinstance(lfs, dict) and lfs["oid"] in wanted:
                    wanted.discard(lfs["oid"])
                    self._stored[lfs["oid"]] = data
                    href = f"{self.storage}/{lfs['oid']}?sig={next(self._signatures)}"
                    objects.append({"oid": lfs["oid"], "size": len(data), "actions": {"download": {"href": href}}})
        return _json({"transfer": "basic", "objects": objects}, {})

    def _commit(self, repo: str, revision: str) -> Answer:
        if repo in self.renamed:
            return Answer(status=307, headers={"Location": f"/api/models/{self.renamed[repo]}/revision/{revision}"})
        if repo not in self.repositories:
            return _error(401, "RepoNotFound")
        commit = self.repositories[repo].commit(revision)
        if commit is None:
            return _error(404, "RevisionNotFound")
        return _json({"_id": "0", "id": repo, "sha": commit}, {"X-Repo-Commit": commit})

    def _tree(self, repo: str, commit: str, query: str) -> Answer:
        start = int(parse_qs(query).get("cursor", ["0"])[0])
        entries = self.repositories[repo].tree(commit)
        headers = {}
        if start + self.page < len(entries):
            following = f"recursive=true&expand=false&cursor={start + self.page}"
            headers["Link"] = f'<{self.endpoint}/api/models/{repo}/tree/{commit}?{following}>; rel="next"'
        return _json(entries[start : start + self.page], headers)

    def _resolve(self, repo: str, commit: str, path: str, request: Request) -> Answer:
        if repo in self.gated:
            return _error(403, "GatedRepo")
        files = self.repositories[repo].commits.get(commit, {})
        if path not in files:
            return _error(404, "EntryNotFound")
        data = files[path]
        headers = {"X-Repo-Commit": commit}
        if not is_lfs(path):
            assert isinstance(data, bytes)
            return _content(data, request, headers | {"ETag": f'"{blob_id(data)}"'})
        lfs = entry(path, data)["lfs"]
        assert isinstance(lfs, dict)
        self._stored[lfs["oid"]] = data
        headers |= {"X-Linked-Etag": f'"{lfs["oid"]}"', "X-Linked-Size": str(len(data))}
        location = f"{self.storage}/{lfs['oid']}?sig={next(self._signatures)}"
        return Answer(status=302, headers=headers | {"Location": location}, body=b"Found. Redirecting")

    def _storage(self, request: Request) -> Answer:
        parts = urlsplit(request.path)
        if int(parse_qs(parts.query)["sig"][0]) < self._oldest:
            return Answer(status=403, body=b"<Error>Request has expired</Error>")
        return _content(self._stored[parts.path.strip("/")], request, {"ETag": '"0123456789abcdef0123456789abcdef"'})


def _content(data: Content, request: Request, headers: dict[str, str]) -> Answer:
    if request.range is None:
        return Answer(headers=headers, body=data[:])
    start, stop = request.range
    stop = min(stop, len(data))
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
    return Answer(status=206, headers=headers, body=data[start:stop])


def _json(value: object, headers: dict[str, str]) -> Answer:
    return Answer(headers={"Content-Type": "application/json"} | headers, body=json.dumps(value).encode())


def _error(status: int, code: str) -> Answer:
    headers = {"X-Error-Code": code, "X-Error-Message": "words of the server"} if code else {}
    return Answer(status=status, headers=headers, body=b'{"error": "words of the server"}')
