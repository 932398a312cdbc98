"""The commit behind a revision and the files of that commit, checked before anything else is asked for."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard
from urllib.parse import quote, urlsplit

from auditor.errors import (
    BadName,
    EmptyRepo,
    FileError,
    HubMismatch,
    HubUnreachable,
    LimitExceeded,
    NotRegularFile,
    NotText,
    RenamedRepo,
    ServerMismatch,
    TargetError,
    UnsafePath,
)
from auditor.escape import visible
from auditor.limits import LIMITS
from auditor.sources.base import Unread
from auditor.sources.hub_http import ExchangeError
from auditor.sources.hub_refusals import listing_refusal, repo_of
from auditor.sources.hub_target import COMMIT, is_repo_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditor.sources.hub_http import Head, HubHttp
    from auditor.sources.hub_target import HubTarget

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOB_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # of git with SHA-1, or with SHA-256
_NEXT_PAGE = re.compile(r'<([^<>]+)>\s*;\s*rel="?next"?')
_NO_CONTENT = frozenset({".gitattributes"})
"""What the Hub itself puts into a new repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of one commit, as the list of files has it.

    Attributes
    ----------
    path : str
        Checked: relative, POSIX separators, no `.` or `..` in it.
    size : int
        Bytes of the content, not of an LFS pointer.
    blob_id : str
        Git's digest of the content, of the pointer for a file in LFS.
    sha256 : str or None
        Of the content of a file in LFS.
    """

    path: str
    size: int
    blob_id: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The files of one commit, sorted by path, and the entries that are no usable files."""

    files: tuple[HubFile, ...]
    refused: tuple[Unread, ...]


class HubApi:
    """What is asked about a repository as a whole.

    Parameters
    ----------
    http : HubHttp
    endpoint : str
    target : HubTarget
    """

    def __init__(self, http: HubHttp, endpoint: str, target: HubTarget) -> None:
        self._http = http
        self._endpoint = endpoint
        self._target = target

    def commit(self) -> str:
        """Return the commit that the revision is now.

        Raises
        ------
        HubError
            Gated, missing, renamed, no such revision, or no usable answer.
        """
        target = self._target
        _, answer = self._json(f"/api/models/{target.repo}/revision/{target.quoted_revision}?expand=sha")
        sha, name = (answer.get("sha"), answer.get("id", target.repo)) if isinstance(answer, dict) else (None, None)
        if not isinstance(sha, str) or not COMMIT.fullmatch(sha) or not isinstance(name, str):
            raise HubUnreachable(f"{target}: {self._http.home} names no commit for this revision")
        if name != target.repo:
            name = self._http.scrubbed(name)
            if not is_repo_id(name):
                raise HubMismatch(f"{target}: {self._http.home} answers for another repository")
            raise RenamedRepo(f"{target}: the repository is called {name} now; scan that", new_name=name)
        if target.revision and COMMIT.fullmatch(target.revision) and sha != target.revision:
            raise HubMismatch(f"{target}: {self._http.home} answers with commit {sha} instead")
        return sha

    def listing(self, commit: str) -> Listing:
        """Return every file of a commit.

        Raises
        ------
        HubError
        TargetError
            More than `LIMITS.files` entries.
        """
        path = f"/api/models/{self._target.repo}/tree/{commit}"
        query = "recursive=true&expand=false"
        seen: set[str] = set()
        entries = _Entries(self._target, self._http)
        while query:
            if query in seen or len(seen) >= LIMITS.hub_pages:
                raise HubUnreachable(f"{self._target}: {self._http.home} sends a list of files that does not end")
            seen.add(query)
            head, page = self._json(f"{path}?{query}")
            if not isinstance(page, list):
                raise HubUnreachable(f"{self._target}: {self._http.home} sends no list of files")
            entries.add(page)
            query = _next_query(head)
        listing = entries.listing()
        if not listing.refused and not {file.path for file in listing.files} - _NO_CONTENT:
            raise EmptyRepo(f"{self._target}: the repository holds no files at this revision")
        return listing

    def parse(self, records: Iterable[object]) -> Listing:
        """Check a list of files that was got otherwise."""
        entries = _Entries(self._target, self._http)
        entries.add(records)
        return entries.listing()

    def _json(self, path: str) -> tuple[Head, object]:
        def want(head: Head) -> int:
            if head.status != 200:
                raise HubUnreachable(f"{self._target}: {head.host} answers {head.status}")
            return LIMITS.hub_json

        url = self._endpoint + path
        try:
            for _ in range(LIMITS.hub_hops + 1):
                head, body = self._http.get(url, want=want, at_most=True)
                if not head.is_redirect:
                    break
                url = self._http.redirect(head)
                if not self._http.is_home(url) or repo_of(url) != self._target.repo:
                    break  # mirrors redirect to the same path with a slash; what leads to another name is not followed
        except ExchangeError as error:
            raise HubUnreachable(f"{self._target}: {error.problem}") from error
        if head.status != 200:
            raise listing_refusal(head, http=self._http, endpoint=self._endpoint, target=self._target)
        try:
            return head, json.loads(body.decode())
        except (ValueError, RecursionError) as error:
            raise HubUnreachable(f"{self._target}: {head.host} sends no JSON") from error


class _Entries:
    """A list of files while its pages come in. Of what is no usable file only the refusal is kept."""

    def __init__(self, target: HubTarget, http: HubHttp) -> None:
        self._target = target
        self._http = http
        self._room = LIMITS.files
        self._files: dict[str, HubFile] = {}
        self._refused: list[Unread] = []

    def add(self, records: Iterable[object]) -> None:
        for record in records:
            self._room -= 1
            if self._room < 0:
                raise TargetError(f"{self._target}: more than {LIMITS.files} files and folders")
            try:
                file = _file(record)
                if file is None:
                    continue
                if file.path != self._http.scrubbed(file.path):
                    raise BadName(file="[token]", field="file name", problem="the token in use stands in it")
            except FileError as error:
                self._refused.append(Unread.from_error(error))
                continue
            if file.path in self._files:
                raise HubMismatch(f"{self._target}: {self._http.home} lists a file twice")
            self._files[file.path] = file

    def listing(self) -> Listing:
        return Listing(
            files=tuple(self._files[path] for path in sorted(self._files)),
            refused=tuple(sorted(self._refused, key=lambda unread: unread.path)),
        )


def _next_query(head: Head) -> str:
    """Return the query of the next page. Its host and path are ours to say, not the server's."""
    link = _NEXT_PAGE.search(head.headers.get("link", "")[: LIMITS.hub_url])
    try:
        return quote(urlsplit(link[1]).query, safe="=&%") if link else ""
    except ValueError:
        return ""


def _file(entry: object) -> HubFile | None:
    """Check one entry; None for a folder.

    Raises
    ------
    FileError
    """
    if not isinstance(entry, dict) or not isinstance(path := entry.get("path"), str):
        raise ServerMismatch(file="?", field="list of files", problem="an entry without a path")
    if entry.get("type") == "directory":
        return None
    label = visible(path, limit=LIMITS.hub_name)
    if problem := _unsafe(path):
        raise problem
    if entry.get("type") != "file":
        raise NotRegularFile(file=label, field="list of files", problem="neither a file nor a folder")
    size, blob_id, lfs = entry.get("size"), entry.get("oid"), entry.get("lfs")
    if not _is_size(size) or not _matches(blob_id, _BLOB_ID):
        raise ServerMismatch(file=path, field="list of files", problem="its size or git object is not usable")
    if lfs is None:
        return HubFile(path=path, size=size, blob_id=blob_id)
    if not isinstance(lfs, dict) or not _matches(lfs.get("oid"), _SHA256) or lfs.get("size") != size:
        raise ServerMismatch(file=path, field="list of files", problem="its LFS record is not usable")
    return HubFile(path=path, size=size, blob_id=blob_id, sha256=lfs["oid"])


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _matches(value: object, pattern: re.Pattern[str]) -> TypeGuard[str]:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _unsafe(path: str) -> FileError | None:
    """Say why a path is no path of a file inside a repository."""
    label = visible(path, limit=LIMITS.hub_name)
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        return NotText(file=label, field="file name")
    parts = path.split("/")
    if length > LIMITS.hub_name:
        return LimitExceeded(file=label, field="file name", actual=length, limit=LIMITS.hub_name)
    if len(parts) > LIMITS.path_depth + 1:
        return LimitExceeded(file=label, field="folder depth", actual=len(parts) - 1, limit=LIMITS.path_depth)
    if any(part in {"", ".", ".."} for part in parts) or "\\" in path or "\0" in path:
        return UnsafePath(file=label, field="file name", actual=path)
    return None
