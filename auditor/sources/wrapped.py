"""What stands between a source and its reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.sources.base import FileInfo, OnDisk, Range, Source, Unread


class WrappedSource:
    """A source that passes everything on; what a subclass does otherwise it says by itself.

    Parameters
    ----------
    source : Source
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def uri(self) -> str:
        """See `Source.uri`."""
        return self._source.uri

    @property
    def kind(self) -> str:
        """See `Source.kind`."""
        return self._source.kind

    @property
    def revision(self) -> str | None:
        """See `Source.revision`."""
        return self._source.revision

    def files(self) -> tuple[FileInfo, ...]:
        """See `Source.files`."""
        return self._source.files()

    def refused(self) -> tuple[Unread, ...]:
        """See `Source.refused`."""
        return self._source.refused()

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        """See `Source.read`."""
        return self._source.read(path, ranges)

    def on_disk(self, path: str) -> OnDisk | None:
        """See `Source.on_disk`."""
        return self._source.on_disk(path)
