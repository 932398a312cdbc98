"""Bytes of a repository's files by ranged requests, none of them taken on trust."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from auditor.errors import RangeIgnored, ServerMismatch, Undelivered
from auditor.limits import LIMITS
from auditor.sources.base import Range, check_ranges
from auditor.sources.hub_batch import MEDIA_TYPE, batch_places, batch_request
from auditor.sources.hub_http import ExchangeError
from auditor.sources.hub_refusals import refusal
from auditor.sources.ranges import Block, ContentRange, assemble, coalesce

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.errors import AuditError
    from auditor.sources.hub_api import HubFile
    from auditor.sources.hub_http import Head, HubHttp
    from auditor.sources.hub_target import HubTarget

_EXPIRED = frozenset({400, 401, 403, 404, 410})
"""How storage hosts refuse a signed URL that is over its time."""
_NOTHING = Block(0, b"")


class HubReader:
    """Reads files of one commit. May be used from several threads.

    The first read of a file fetches its head, or all of a small file, and keeps it: what a file is and where its
    tensors lie then costs one request. A whole file is held against its digest.

    Parameters
    ----------
    http : HubHttp
    endpoint : str
    target : HubTarget
    commit : str
        All requests are for this commit, whatever its branch does meanwhile.
    files : sequence of HubFile
        All of it: where those in LFS are is asked in one request, where they are many.
    """

    def __init__(
        self, http: HubHttp, endpoint: str, target: HubTarget, commit: str, files: Sequence[HubFile] = ()
    ) -> None:
        self._http = http
        self._endpoint = endpoint
        self._target = target
        self._commit = commit
        self._places: dict[str, str] = {}  # path -> the URL that its bytes came from, redirects behind us
        self._finding: dict[str, threading.Lock] = {}
        self._heads: dict[str, threading.Lock] = {}
        self._kept: OrderedDict[str, Block] = OrderedDict()
        self._room = LIMITS.hub_kept
        self._begun: set[str] = set()
        self._in_lfs = [file for file in files if file.sha256 is not None]
        self._batch_asked = len(self._in_lfs) < LIMITS.hub_batch
        self._batching = threading.Lock()
        self._keeping = threading.Lock()

    def read(self, file: HubFile, ranges: Sequence[Range]) -> list[bytes]:
        """See `Source.read`.

        Raises
        ------
        FileError
            The server refuses, ignores ranges, or contradicts the list of files.
        HubError
            It says that the whole repository is closed to us.
        """
        check_ranges(file.path, ranges, size=file.size)
        if not any(start < stop for start, stop in ranges):
            return [b""] * len(ranges)
        kept = self._head(file)
        missing = (Range(max(start, kept.stop), stop) for start, stop in ranges if stop > kept.stop)
        spans = coalesce(
            (span for span in missing if span.start < span.stop), gap=LIMITS.hub_gap, longest=LIMITS.hub_piece
        )
        return assemble(ranges, [kept, *self._fetch_all(file, spans)])

    def _head(self, file: HubFile) -> Block:
        """Return what is kept of a file; fetch it when the file is read for the first time."""
        with self._heads.setdefault(file.path, threading.Lock()):
            with self._keeping:
                if file.path in self._kept:
                    self._kept.move_to_end(file.path)
                    return self._kept[file.path]
                if file.path in self._begun and file.size > LIMITS.hub_whole:
                    return _NOTHING
            block = self._fetch(file, None if file.size <= LIMITS.hub_whole else Range(0, LIMITS.hub_head))
            with self._keeping:
                self._begun.add(file.path)
                self._kept[file.path] = block
                self._room -= len(block.data)
                while self._room < 0:
                    self._room += len(self._kept.popitem(last=False)[1].data)
            return block

    def _fetch_all(self, file: HubFile, spans: Sequence[Range]) -> list[Block]:
        if len(spans) < 2:
            return [self._fetch(file, span) for span in spans]
        workers = ThreadPoolExecutor(max_workers=min(LIMITS.hub_parallel, len(spans)))
        try:
            return list(workers.map(partial(self._fetch, file), spans))
        finally:
            workers.shutdown(cancel_futures=True)

    def _fetch(self, file: HubFile, span: Range | None) -> Block:
        """Return the bytes of `span`, of the whole file for None."""
        try:
            for _ in range(LIMITS.hub_renewals + 1):
                if place := self._places.get(file.path):
                    head, block = self._ask(file, span, place)
                    if block:
                        return block
                    if head.status not in _EXPIRED:
                        raise self._refused(file, head)
                    self._forget(file.path, place)
                if block := self._find(file, span):
                    return block
            raise Undelivered(file=file.path, field="file", problem="each new URL for it is refused at once")
        except ExchangeError as error:
            raise Undelivered(file=file.path, field="file", problem=error.problem) from error

    def _find(self, file: HubFile, span: Range | None) -> Block | None:
        """Ask the endpoint where the file is. One thread does; the others then go straight there."""
        self._find_all()
        with self._finding.setdefault(file.path, threading.Lock()):
            if file.path in self._places:
                return None
            url = f"{self._endpoint}/{self._target.repo}/resolve/{self._commit}/{quote(file.path)}"
            for _ in range(LIMITS.hub_hops + 1):
                head, block = self._ask(file, span, url)
                if block:
                    self._places[file.path] = url
                    return block
                at_home = self._http.is_home(url)
                if head.is_redirect and at_home:
                    self._check(file, head)
                    url = self._http.redirect(head)
                elif at_home or head.status not in _EXPIRED:
                    raise self._refused(file, head)
                else:
                    return None
        raise Undelivered(file=file.path, field="file", problem=f"more than {LIMITS.hub_hops} redirects")

    def _find_all(self) -> None:
        """Ask once where all files in LFS are; nothing is lost where the answer does not say."""
        with self._batching:
            if self._batch_asked:
                return
            self._batch_asked = True
            url = f"{self._endpoint}/{self._target.repo}.git/info/lfs/objects/batch"
            content = batch_request(self._in_lfs)
            answer = self._http.post(url, content, media_type=MEDIA_TYPE, limit=LIMITS.hub_json)
            https = self._endpoint.startswith("https://")
            for path, place in batch_places(answer or b"", self._in_lfs, https=https).items():
                self._places.setdefault(path, place)

    def _forget(self, path: str, place: str) -> None:
        with self._finding.setdefault(path, threading.Lock()):
            if self._places.get(path) == place:
                del self._places[path]

    def _ask(self, file: HubFile, span: Range | None, url: str) -> tuple[Head, Block | None]:
        head, body = self._http.get(url, want=partial(self._want, file, span), span=span)
        if head.status not in {200, 206}:
            return head, None
        if len(body) == file.size and (span is None or head.status == 200):
            _check_digest(file, body, head)
            return head, Block(0, body)
        return head, Block(span.start if span else 0, body)

    def _want(self, file: HubFile, span: Range | None, head: Head) -> int:
        """Check the head of an answer that brings bytes; return how many it must bring."""
        if self._http.is_home(head.url):
            self._check(file, head)
        if head.status == 200:
            whole = file.sha256 is None and file.size <= LIMITS.hub_direct
            if span is None or whole:
                return file.size
            raise RangeIgnored(
                file=file.path, field="range", problem=f"{head.host} ignores ranges and would send the whole file"
            )
        stated = head.headers.get("content-range", "")
        found = ContentRange.parse(stated)
        if span is None or found is None or (found.start, found.stop) != span:
            asked = f"bytes {span.start}-{span.stop - 1}" if span else "the whole file"
            raise RangeIgnored(
                file=file.path,
                field="range",
                problem=f"{head.host} answers with other bytes than asked",
                actual=self._http.scrubbed(stated),
                limit=asked,
            )
        if found.total != file.size:
            raise ServerMismatch(
                file=file.path,
                field="size",
                problem=f"{head.host} says another than the list of files",
                actual=found.total,
                limit=file.size,
            )
        return span.stop - span.start

    def _check(self, file: HubFile, head: Head) -> None:
        """Hold what the endpoint says of a file against the list of files. What it leaves out says nothing."""
        digest = file.sha256 or file.blob_id
        linked = _etag(head.headers.get("x-linked-etag"))
        own = _etag(head.headers.get("etag"))
        if linked is None and own is not None and len(own) == len(digest):
            linked = own  # other lengths are the server's own marks, and no digest of the content
        expected = (
            ("commit", head.headers.get("x-repo-commit"), self._commit),
            ("size", head.headers.get("x-linked-size"), str(file.size)),
            ("digest", linked, digest),
        )
        for field, actual, limit in expected:
            if actual is not None and actual != limit:
                problem = f"{head.host} says another than the list of files"
                found = self._http.scrubbed(actual)
                raise ServerMismatch(file=file.path, field=field, problem=problem, actual=found, limit=limit)

    def _refused(self, file: HubFile, head: Head) -> AuditError:
        if self._http.is_home(head.url):
            closed = refusal(head, http=self._http, endpoint=self._endpoint, target=self._target)
            if closed:
                return closed
        problem = f"{head.host} answers {head.status}"
        if head.is_redirect:
            problem = f"{head.host} is not the endpoint and redirects again"
        return Undelivered(file=file.path, field="file", problem=problem)


def _etag(header: str | None) -> str | None:
    return header.removeprefix("W/").strip('"') if header is not None else None


def _check_digest(file: HubFile, content: bytes, head: Head) -> None:
    """Hold a whole file against its digest: SHA-256 of a file in LFS, git's own digest of any other."""
    if file.sha256:
        found, expected = hashlib.sha256(content).hexdigest(), file.sha256
    else:
        expected = file.blob_id
        git = hashlib.sha1(usedforsecurity=False) if len(expected) == 40 else hashlib.sha256()
        git.update(b"blob %d\0" % len(content))
        git.update(content)
        found = git.hexdigest()
    if found != expected:
        problem = f"{head.host} sends a file with another digest than the list of files has"
        raise ServerMismatch(file=file.path, field="contents", problem=problem, actual=found, limit=expected)
