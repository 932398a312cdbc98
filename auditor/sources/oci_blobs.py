"""Bytes of an artifact's blobs by ranged requests, none of them taken on trust."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from typing import TYPE_CHECKING

from auditor.errors import RangeIgnored, ServerMismatch, Undelivered
from auditor.limits import LIMITS
from auditor.sources.hub_http import ExchangeError
from auditor.sources.ranges import ContentRange

if TYPE_CHECKING:
    from auditor.sources.base import Range
    from auditor.sources.hub_http import Head
    from auditor.sources.oci_http import OciHttp
    from auditor.sources.oci_manifest import Descriptor
    from auditor.sources.oci_target import OciTarget

_EXPIRED = frozenset({400, 401, 403, 404, 410})
"""How storage hosts refuse a signed URL that is over its time."""


class OciBlobs:
    """Asks a registry for ranges of blobs. May be used from several threads.

    Registries send us to a storage host for most blobs; where that is, is asked once for each.

    Parameters
    ----------
    http : OciHttp
    target : OciTarget
    """

    def __init__(self, http: OciHttp, target: OciTarget) -> None:
        self._http = http
        self._base = f"{target.endpoint}/v2/{target.path}/blobs"
        self._places: dict[str, str] = {}  # digest -> the URL that its bytes came from, redirects behind us
        self._finding: dict[str, threading.Lock] = {}

    def fetch(self, blob: Descriptor, span: Range, *, path: str) -> bytes:
        """Return the bytes of a range of a blob; a whole blob is held against its digest.

        Parameters
        ----------
        blob : Descriptor
        span : Range
            Not empty, and inside the blob.
        path : str
            The file that errors are about.

        Raises
        ------
        FileError
            The registry refuses, ignores ranges, or sends other bytes than the digest names.
        OciDenied
        """
        try:
            for _ in range(LIMITS.hub_renewals + 1):
                if place := self._places.get(blob.digest):
                    head, data = self._ask(blob, span, place, path)
                    if data is not None:
                        return data
                    may_be_elsewhere = head.is_redirect if self._http.is_home(place) else head.status in _EXPIRED
                    if not may_be_elsewhere:
                        raise self._refused(head, path)
                    self._forget(blob.digest, place)
                if (data := self._find(blob, span, path)) is not None:
                    return data
            raise Undelivered(file=path, field="file", problem="each new URL for it is refused at once")
        except ExchangeError as error:
            raise Undelivered(file=path, field="file", problem=error.problem) from error

    def _find(self, blob: Descriptor, span: Range, path: str) -> bytes | None:
        """Ask the registry where a blob is. One thread does; the others then go straight there."""
        with self._finding.setdefault(blob.digest, threading.Lock()):
            if blob.digest in self._places:
                return None
            url = f"{self._base}/{blob.digest}"
            for _ in range(LIMITS.hub_hops + 1):
                head, data = self._ask(blob, span, url, path)
                if data is not None:
                    self._places[blob.digest] = url
                    return data
                at_home = self._http.is_home(url)
                if head.is_redirect and at_home:
                    url = self._http.redirect(head)
                elif at_home or head.status not in _EXPIRED:
                    raise self._refused(head, path)
                else:
                    return None
        raise Undelivered(file=path, field="file", problem=f"more than {LIMITS.hub_hops} redirects")

    def _forget(self, digest: str, place: str) -> None:
        with self._finding.setdefault(digest, threading.Lock()):
            if self._places.get(digest) == place:
                del self._places[digest]

    def _ask(self, blob: Descriptor, span: Range, url: str, path: str) -> tuple[Head, bytes | None]:
        whole = span == (0, blob.size)
        want = partial(self._want, blob, None if whole else span, path)
        head, body = self._http.ask(url, want=want, span=None if whole else span)
        if head.status not in {200, 206}:
            return head, None
        if whole and (found := hashlib.sha256(body).hexdigest()) != blob.sha256:
            problem = f"{head.host} sends other bytes than the manifest names"
            raise ServerMismatch(file=path, field="contents", problem=problem, actual=found, limit=blob.sha256)
        return head, body

    def _want(self, blob: Descriptor, span: Range | None, path: str, head: Head) -> int:
        """Check the head of an answer that brings bytes; return how many it must bring."""
        if span is None and head.status == 200:
            return blob.size
        if head.status == 200:
            problem = f"{head.host} ignores ranges and would send the whole blob"
            raise RangeIgnored(file=path, field="range", problem=problem)
        stated = head.headers.get("content-range", "")
        found = ContentRange.parse(stated)
        if span is None or found is None or (found.start, found.stop) != span:
            asked = f"bytes {span.start}-{span.stop - 1}" if span else "the whole blob"
            problem = f"{head.host} answers with other bytes than asked"
            raise RangeIgnored(
                file=path, field="range", problem=problem, actual=self._http.scrubbed(stated), limit=asked
            )
        if found.total != blob.size:
            problem = f"{head.host} says another than the manifest"
            raise ServerMismatch(file=path, field="size", problem=problem, actual=found.total, limit=blob.size)
        return span.stop - span.start

    def _refused(self, head: Head, path: str) -> Undelivered:
        problem = f"{head.host} answers {head.status}"
        if head.is_redirect:
            problem = f"{head.host} is not the registry and redirects again"
        return Undelivered(file=path, field="file", problem=problem)
