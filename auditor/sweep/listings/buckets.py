"""Folders of a bucket: each just below a prefix: `s3://bucket/prefix/*`, each that holds a model: `s3://bucket/prefix/**`.

`gs://` likewise. Objects are listed as they come; where a whole page is of a folder that is taken, its rest is not.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import BaseError

from auditor.errors import BucketError, BucketUnreachable, MissingObjects, UnsupportedFormat, UsageError
from auditor.formats.sniff import identify
from auditor.limits import LIMITS
from auditor.listing import Entry
from auditor.report import Place
from auditor.sources.objectstore import BucketTarget, open_store, parse_target, refusal
from auditor.sweep.listings.base import Filters, Listed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from obstore import ObjectMeta

_PAGE: Final = 1_000
_LAST: Final = "\U0010ffff"  # no name comes after it


class BucketListing:
    """Folders of a bucket.

    Parameters
    ----------
    name : str
        What messages call it.
    target : BucketTarget
        Below which they lie.
    deep : bool
        Folders at any depth, the target itself among them, that directly hold weights or a `config.json`; of one that
        does, nothing below is a target of its own. Else every folder just below the target.

    Raises
    ------
    BucketError
        When the environment holds what cannot be used.
    """

    def __init__(self, name: str, target: BucketTarget, *, deep: bool) -> None:
        self._name, self._target, self._deep = name, target, deep
        self._store = open_store(target)
        self._below = f"{target.prefix}/" if target.prefix else ""
        self._found: set[str] = set()

    def __iter__(self) -> Iterator[Listed]:
        """See `Listing`. A folder whose name is no target is listed all the same: its audit says so.

        Raises
        ------
        BucketError
        """
        self._found.clear()
        for folder in self._models() if self._deep else self._folders():
            target = BucketTarget(kind=self._target.kind, bucket=self._target.bucket, prefix=folder)
            yield Listed(entry=Entry(target=str(target), place=Place(path=self._name)))
        if not self._found:
            what = "no folder that holds weights or a config.json" if self._deep else "no folder"
            raise MissingObjects(f"{self._name}: there is {what}")

    def _folders(self) -> Iterator[str]:
        for key in self._keys(self._first_folder):
            folder = self._first_folder(key)
            if folder is not None and self._is_new(folder):
                yield folder

    def _models(self) -> Iterator[str]:
        """Yield folders once all are known: `chat/1_Pooling/config.json` is listed before `chat/config.json`."""
        for key in self._keys(self._found_above):
            folder, _, file = key.rpartition("/")
            if _tells_model(file) and self._found_above(key) is None:
                self._is_new(folder)
        yield from (folder for folder in sorted(self._found) if self._found_above(folder) is None)

    def _is_new(self, folder: str) -> bool:
        new = folder not in self._found
        self._found.add(folder)
        if len(self._found) > LIMITS.sweep_names:
            raise BucketError(f"{self._name}: more than {LIMITS.sweep_names} folders")
        return new

    def _first_folder(self, key: str) -> str | None:
        """Return the folder just below the target that a key lies in."""
        name, slash, _ = key.removeprefix(self._below).partition("/")
        return f"{self._below}{name}" if slash else None

    def _found_above(self, key: str) -> str | None:
        """Return the uppermost folder above a key that was found."""
        at = len(self._below)
        if key != self._target.prefix and self._target.prefix in self._found:
            return self._target.prefix
        while (at := key.find("/", at)) >= 0:
            if key[:at] in self._found:
                return key[:at]
            at += 1
        return None

    def _keys(self, taken: Callable[[str], str | None]) -> Iterator[str]:
        """Yield the names of objects; `taken` says which folder of a name nothing more has to be known of.

        That folder is passed over, as long as the store lists by name: not all do.
        """
        last, ordered = "", True
        with asyncio.Runner() as runner:
            stream = self._from(None)
            for _ in range(LIMITS.bucket_pages):
                page = runner.run(self._next(stream))
                for meta in page:
                    key = meta["path"]
                    if key == self._target.prefix:
                        continue  # its own mark, as consoles make one
                    if not key.startswith(self._below):
                        raise BucketUnreachable(f"{self._name}: the store lists what lies elsewhere")
                    if meta["size"]:  # marks have lost their slash, by which they were sorted
                        ordered, last = ordered and key > last, key
                    yield key
                if len(page) < _PAGE:
                    return
                folder = taken(page[0]["path"])
                if folder == self._target.prefix:
                    return
                inside = all(meta["size"] and taken(meta["path"]) == folder for meta in page)  # marks show no order
                if ordered and folder is not None and inside:
                    last = f"{folder}/{_LAST}"
                    stream = self._from(last)
        raise BucketUnreachable(
            f"{self._name}: over {LIMITS.bucket_pages * _PAGE:,} objects, or a list that does not end"
        )

    def _from(self, offset: str | None) -> AsyncIterator[Sequence[ObjectMeta]]:
        return obstore.list(self._store, self._target.prefix or None, offset=offset, chunk_size=_PAGE)

    async def _next(self, stream: AsyncIterator[Sequence[ObjectMeta]]) -> Sequence[ObjectMeta]:
        try:
            async with asyncio.timeout(LIMITS.bucket_list_seconds):
                return await anext(stream)
        except StopAsyncIteration:
            return ()
        except TimeoutError as error:
            problem = f"the store sends no names for {LIMITS.bucket_list_seconds:g} s"
            raise BucketUnreachable(f"{self._name}: {problem}") from error
        except BaseError as error:
            raise refusal(self._target, error) from None  # obstore's text holds what the server sent


def listing(name: str, filters: Filters) -> BucketListing:
    """Open the folders of a bucket.

    Raises
    ------
    UsageError, BucketError
    """
    stem, _, stars = name.rpartition("/")
    if stars not in {"*", "**"} or "*" in stem:
        shown = f"{name[:5]}..." if "@" in name else name  # a password may stand before the @
        raise UsageError(
            f"{shown}: folders of a bucket are s3://bucket/prefix/*, and those with a model s3://bucket/prefix/**"
        )
    target = parse_target(stem)
    if filters.any:
        raise UsageError(f"{name}: a bucket says nothing of tags, dates and sizes of models to filter by")
    return BucketListing(name, target, deep=stars == "**")


def _tells_model(file: str) -> bool:
    try:
        return file == "config.json" or identify(file, b"", 0) is not None
    except UnsupportedFormat:  # weights that are not read, by their name
        return True
