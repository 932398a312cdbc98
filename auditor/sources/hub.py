"""A model repository on the Hugging Face Hub, or on a server that speaks like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from auditor.errors import HubOffline
from auditor.sources.base import FileInfo, Unread
from auditor.sources.hub_api import HubApi, HubFile
from auditor.sources.hub_cache import HubCache
from auditor.sources.hub_http import HubHttp
from auditor.sources.hub_reader import HubReader
from auditor.sources.hub_settings import HubSettings
from auditor.sources.hub_target import SCHEME, parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.sources.base import OnDisk, Range
    from auditor.sources.hub_target import HubTarget
    from auditor.sources.local import LocalSource


class HubSource:
    """Files of one commit of a repository.

    The revision becomes a commit once; every request after that is for this commit. Files are read by ranges, or
    in the local Hugging Face cache if it holds that commit whole. In offline mode only the cache is used.

    Parameters
    ----------
    target : str
        `org/name`, `org/name@revision`, either with `hf://` before it.
    settings : HubSettings, optional
        What huggingface_hub would use where left out.

    Attributes
    ----------
    uri : str
        `hf://org/name`. Below its endpoint for a server that is not the public Hub, and with `#offline-cache`
        where nobody was asked whether the cache is up to date.
    revision : str
        The commit.
    served_from : {"hub", "cache", "offline-cache"}
        Where bytes come from. `cache`: the list of files is the Hub's, the bytes are on this machine.

    Raises
    ------
    HubError
        The name is none, the repository is gated, missing, private, renamed or empty, it has no such revision,
        or the server gives no usable answer. The message says what to do.
    """

    kind = "hub"

    def __init__(self, target: str, settings: HubSettings | None = None) -> None:
        parsed = parse_target(target)
        settings = settings or HubSettings.current()
        base = SCHEME if settings.is_public_hub else f"{settings.endpoint}/"
        self.uri = f"{base}{parsed.repo}"
        self.served_from: Literal["hub", "cache", "offline-cache"] = "hub"
        self._http = HubHttp(settings)
        self._local: LocalSource | None = None
        self._infos: dict[str, FileInfo] = {}
        self._refused: tuple[Unread, ...] = ()
        self._api = HubApi(self._http, settings.endpoint, parsed)
        cache = HubCache(settings.cache, parsed)
        if settings.offline:
            self.revision = self._open_offline(cache, parsed)
            return
        self.revision = self._api.commit()
        listing = self._api.listing(self.revision)
        self._refused = listing.refused
        self._files = {file.path: file for file in listing.files}
        self._reader = HubReader(self._http, settings.endpoint, parsed, self.revision, listing.files)
        if not listing.refused and (snapshot := cache.whole(self.revision, listing.files)):
            self._local, self.served_from = snapshot.files, "cache"
            self._infos = _infos(listing.files, vouched=snapshot.vouched)
        else:
            self._infos = _infos(listing.files)

    @property
    def http_requests(self) -> int:
        """Requests sent: those for the commit, the list of files, redirects and repetitions included."""
        return self._http.requests

    @property
    def http_bytes(self) -> int:
        """Bytes of bodies received."""
        return self._http.bytes

    def files(self) -> tuple[FileInfo, ...]:
        """See `Source.files`. Files in LFS carry the digest that the Hub has for them."""
        return tuple(self._infos.values())

    def refused(self) -> tuple[Unread, ...]:
        """See `Source.refused`."""
        return self._refused

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        """See `Source.read`.

        Raises
        ------
        FileError
        HubError
            When the server says that the whole repository is closed to us: it lists gated ones to everybody.
        """
        if self._local:
            return self._local.read(path, ranges)
        return self._reader.read(self._files[path], ranges)

    def on_disk(self, path: str) -> OnDisk | None:
        """See `Source.on_disk`: only what is read in the cache lies on this machine."""
        return self._local.on_disk(path) if self._local else None

    def _open_offline(self, cache: HubCache, target: HubTarget) -> str:
        self.uri += "#offline-cache"
        self.served_from = "offline-cache"
        commit = cache.commit()
        source = cache.snapshot(commit) if commit else None
        if commit is None or source is None:
            raise HubOffline(
                f"{target}: offline mode is on and the local cache does not hold this revision; "
                "unset HF_HUB_OFFLINE, or download it first"
            )
        self._local = source
        entries = cache.entries(commit)
        if entries is None:
            # Nobody can say what else the commit holds: never audited as if this were all of it.
            reason = "offline: the local cache has no list of the repository's files, there may be more of them"
            self._refused = (*source.refused(), Unread(path=".", code=HubOffline.code, reason=reason))
            self._infos = {info.path: info for info in source.files()}
            return commit
        listing = self._api.parse(entries)
        if cache.whole(commit, listing.files) is None:
            raise HubOffline(
                f"{target}: offline mode is on and the local cache holds only a part of this revision; "
                "unset HF_HUB_OFFLINE, or download all of it first"
            )
        self._refused = listing.refused
        self._infos = {file.path: FileInfo(path=file.path, size=file.size) for file in listing.files}
        return commit


def _infos(files: Sequence[HubFile], *, vouched: frozenset[str] | None = None) -> dict[str, FileInfo]:
    """Describe files; those in the cache carry a digest only where they lie there under it."""
    return {
        file.path: FileInfo(path=file.path, size=file.size, sha256=file.sha256, digest_source="hub")
        if file.sha256 and (vouched is None or file.path in vouched)
        else FileInfo(path=file.path, size=file.size)
        for file in files
    }
