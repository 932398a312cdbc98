"""Count what is read of any source."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

from auditor.errors import AuditError, OverBudget
from auditor.sources.wrapped import WrappedSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.sources.base import Range, Source


class MeteredSource(WrappedSource):
    """A source that counts, and stops at a budget. May be read from several threads.

    Parameters
    ----------
    source : Source
    max_bytes : int, optional
        A read that would take the sum beyond this is refused before it is made.
    record : bool
        Keep a digest of everything that is read of files whose own digests are not known.

    Attributes
    ----------
    bytes_read : int
        Bytes returned so far.
    requests : int
        Ranges asked for so far.
    record : bool
        May be ended at any time.
    """

    def __init__(self, source: Source, *, max_bytes: int | None = None, record: bool = False) -> None:
        super().__init__(source)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self.bytes_read = 0
        self.requests = 0
        self.record = record
        self._recorded: set[tuple[str, int, str]] = set()
        self._known = frozenset(info.path for info in source.files() if info.sha256) if record else frozenset()

    @property
    def recorded(self) -> tuple[tuple[str, int, str], ...]:
        """What was read while it was recorded: (path, first byte, sha256), sorted."""
        with self._lock:
            return tuple(sorted(self._recorded))

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        """See `Source.read`.

        Raises
        ------
        OverBudget
            Nothing was read.
        """
        wanted = sum(max(0, stop - start) for start, stop in ranges)
        with self._lock:
            total = self.bytes_read + wanted
            if self._max_bytes is not None and total > self._max_bytes:
                raise OverBudget(file=path, field="budget", actual=f"{total} bytes", limit=self._max_bytes)
            self.bytes_read = total
        try:
            parts = self._source.read(path, ranges)
        except AuditError:
            with self._lock:
                self.bytes_read -= wanted
            raise
        with self._lock:
            self.requests += len(parts)
            if self.record and path not in self._known:
                pairs = zip(ranges, parts, strict=True)
                self._recorded.update((path, start, hashlib.sha256(part).hexdigest()) for (start, _), part in pairs)
        return parts
