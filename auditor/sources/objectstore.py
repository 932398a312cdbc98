"""A model in a bucket: of S3, of what speaks like it, or of Google Cloud Storage. Needs the extra `s3` (obstore)."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from auditor.errors import (
    BadBucketName,
    BucketDenied,
    BucketError,
    BucketUnreachable,
    Changed,
    MissingExtra,
    MissingObjects,
    TargetError,
    Undelivered,
)
from auditor.escape import visible
from auditor.limits import LIMITS
from auditor.sources.base import FileInfo, Range
from auditor.sources.hub_settings import Origin
from auditor.sources.oci_target import is_loopback
from auditor.sources.ranged import RangedReader
from auditor.sources.safepath import Names, folders_among, path_problem

try:
    import obstore
    from obstore.exceptions import (
        BaseError,
        InvalidPathError,
        NotFoundError,
        PermissionDeniedError,
        PreconditionError,
        UnauthenticatedError,
    )
    from obstore.store import GCSStore, S3Store
except ModuleNotFoundError as error:
    raise MissingExtra("s3:// and gs:// targets need obstore: pip install 'provenance-auditor[s3]'") from error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from obstore import ObjectMeta

    from auditor.sources.base import OnDisk, Unread

Kind = Literal["s3", "gs"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_PAGE = 1000  # objects that one request for a list brings
_CHUNK = 1024 * 1024
_ENDPOINTS = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"), "gs": ("GOOGLE_BASE_URL",)}
_STATUS = re.compile(r"non-2xx status code: ([0-9]{3})")
_ADVICE = {
    "s3": "credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's own role; "
    "for a public bucket set AWS_SKIP_SIGNATURE=true",
    "gs": "credentials are GOOGLE_APPLICATION_CREDENTIALS, or the machine's own account; "
    "for a public bucket set GOOGLE_SKIP_SIGNATURE=true",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketTarget:
    """Objects that the user names.

    Attributes
    ----------
    kind : {"s3", "gs"}
    bucket : str
    prefix : str
        A folder, or one object; empty for the whole bucket. No slash at its ends.
    """

    kind: Kind
    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"{self.kind}://{self.bucket}{f'/{self.prefix}' if self.prefix else ''}"


def parse_target(text: str) -> BucketTarget:
    """Read `s3://bucket/prefix` or `gs://bucket/prefix`.

    Raises
    ------
    BadBucketName

    Examples
    --------
    >>> str(parse_target("s3://models/chat/"))
    's3://models/chat'
    """
    scheme, _, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    kind: Kind = "gs" if scheme.lower() == "gs" else "s3"
    if not _BUCKET.fullmatch(bucket):
        shown = f"{kind}://..." if "@" in bucket else visible(text, limit=200)  # a password may stand before the @
        raise BadBucketName(
            f"{shown}: objects are named {kind}://bucket/prefix; credentials and endpoints come from the environment"
        )
    prefix = prefix.removesuffix("/")
    if prefix and (problem := path_problem(prefix)):
        raise BadBucketName(f"{visible(text, limit=200)}: {problem.reason}")
    return BucketTarget(kind=kind, bucket=bucket, prefix=prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pin:
    """What an object was when it was listed. `etag` is without quotes; a weak one cannot be asked for."""

    key: str
    size: int
    etag: str


class ObjectStoreSource:
    """Objects below a prefix.

    A bucket has no revision: each object is pinned to the ETag that the list gives, and asked for under the condition
    that it still has it. The answer is held against it as well, for stores that do not know the condition.

    Parameters
    ----------
    target : str
        `s3://bucket/prefix` or `gs://bucket/prefix`. Credentials, region and endpoint are obstore's business: it reads
        the environment.

    Attributes
    ----------
    uri : str
        The target without a slash at its end.

    Raises
    ------
    BucketError
        The name is none, there are no such objects, no access to them, or no usable answer. The message says what
        to do.
    """

    revision = None

    def __init__(self, target: str) -> None:
        self._target = parse_target(target)
        self.uri = str(self._target)
        self.kind: str = self._target.kind
        self._requests = 0
        self._bytes = 0
        self._counting = threading.Lock()
        self._reader = RangedReader(self._fetch)
        self._store = open_store(self._target)
        names = self._listed()
        self._pins = names.files()
        self._refused = names.refused()
        if not self._pins and not self._refused:
            raise MissingObjects(f"{self.uri}: no such object, and none below it")

    @property
    def http_requests(self) -> int:
        """Requests sent. Tries that obstore repeats by itself, and requests for credentials, are not known."""
        return self._requests

    @property
    def http_bytes(self) -> int:
        """Bytes of objects received. Lists are not counted: obstore does not say how long they are."""
        return self._bytes

    def files(self) -> tuple[FileInfo, ...]:
        """See `Source.files`."""
        return tuple(FileInfo(path=path, size=pin.size) for path, pin in self._pins.items())

    def stamp(self, path: str) -> str | None:
        """See `Stamped`: a strong ETag."""
        etag = self._pins[path].etag
        return None if etag.startswith("W/") else etag

    def refused(self) -> tuple[Unread, ...]:
        """See `Source.refused`."""
        return self._refused

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        """See `Source.read`. The object must be the one that was listed.

        Raises
        ------
        FileError
        """
        return self._reader.read(path, self._pins[path].size, ranges)

    def on_disk(self, path: str) -> OnDisk | None:  # noqa: ARG002
        """See `Source.on_disk`: nothing lies on this machine."""
        return None

    def _listed(self) -> Names[_Pin]:
        names: Names[_Pin] = Names()
        found: list[_Pin] = []
        try:
            for meta in self._objects():
                found.append(_Pin(key=meta["path"], size=meta["size"], etag=_etag(meta)))
                if len(found) > LIMITS.files:
                    raise TargetError(f"{self.uri}: more than {LIMITS.files} objects")
            if self._target.prefix and not found:
                found += self._itself()
        except BaseError as error:
            raise refusal(self._target, error) from None  # obstore's text holds what the server sent
        folders = folders_among({self._target.prefix, *(pin.key for pin in found)})
        for pin in found:
            name = pin.key.removeprefix(f"{self._target.prefix}/" if self._target.prefix else "")
            if pin.key == self._target.prefix:
                name = pin.key.rpartition("/")[2]
            if pin.key in folders and not pin.size:
                continue  # the mark of a folder, as consoles make one
            if pin.etag:
                names.add(name, pin)
            else:
                names.refuse(Undelivered(file=visible(name), field="object", problem="it has no ETag to pin it"))
        return names

    def _objects(self) -> Iterator[ObjectMeta]:
        self._count(requests=1)
        for number, page in enumerate(obstore.list(self._store, self._target.prefix or None, chunk_size=_PAGE)):
            self._count(requests=1 if number else 0)
            yield from page

    def _itself(self) -> list[_Pin]:
        """Return the one object that the prefix names by itself, where there is one."""
        self._count(requests=1)
        try:
            meta = obstore.head(self._store, self._target.prefix)
        except (NotFoundError, FileNotFoundError):
            return []
        return [_Pin(key=self._target.prefix, size=meta["size"], etag=_etag(meta))]

    def _fetch(self, path: str, span: Range) -> bytes:
        pin = self._pins[path]
        if span.start == span.stop:
            return b""
        weak = pin.etag.startswith("W/")
        options: Any = {"range": tuple(span)} if weak else {"range": tuple(span), "if_match": f'"{pin.etag}"'}
        self._count(requests=1)
        try:
            answer = obstore.get(self._store, pin.key, options=options)
            if _etag(answer.meta) != pin.etag or answer.meta["size"] != pin.size:
                raise Changed(file=path, field="object", problem="it is not the one that was listed any more")
            if tuple(answer.range) != tuple(span):
                raise Undelivered(file=path, field="range", problem="the store answers with other bytes than asked")
            data = self._body(path, answer.stream(min_chunk_size=_CHUNK), span.stop - span.start)
        except PreconditionError:
            raise Changed(file=path, field="object", problem="it is not the one that was listed any more") from None
        except (NotFoundError, FileNotFoundError):
            raise Changed(file=path, field="object", problem="it is no longer there") from None
        except BaseError as error:
            raise Undelivered(file=path, field="object", problem=_problem(error)) from None
        return data

    def _body(self, path: str, chunks: Any, length: int) -> bytes:  # noqa: ANN401 (obstore has no name for it)
        body = bytearray()
        for chunk in chunks:
            body += bytes(chunk)
            self._count(received=len(chunk))
            if len(body) > length:
                break
        if len(body) != length:
            raise Undelivered(file=path, field="range", problem="the store sends another number of bytes than asked")
        return bytes(body)

    def _count(self, *, requests: int = 0, received: int = 0) -> None:
        with self._counting:
            self._requests += requests
            self._bytes += received


def open_store(target: BucketTarget) -> S3Store | GCSStore:
    """Open the store that a target lies in, as the environment says. Nothing is asked of it yet.

    Raises
    ------
    BucketError
        When the environment holds what cannot be used.
    """
    plain = _plain_http(target)
    client: Any = {
        "timeout": timedelta(seconds=LIMITS.bucket_seconds),
        "connect_timeout": timedelta(seconds=LIMITS.hub_timeout_seconds),
        "user_agent": "provenance-auditor",
    } | ({"allow_http": True} if plain else {})
    retry: Any = {
        "max_retries": LIMITS.hub_tries - 1,
        "retry_timeout": timedelta(seconds=LIMITS.bucket_retry_seconds),
    }
    store = S3Store if target.kind == "s3" else GCSStore
    try:
        return store(target.bucket, client_options=client, retry_config=retry)
    except (BaseError, ValueError) as error:
        problem = f"obstore cannot use its settings in the environment ({type(error).__name__})"
        raise BucketError(f"{target}: {problem}; {_ADVICE[target.kind]}") from None


def refusal(target: BucketTarget, error: BaseError) -> BucketError:
    """Say what an error means for the target, without the text of obstore: it quotes servers and headers."""
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or _status(error) in {"401", "403"}:
        return BucketDenied(f"{target}: no access; {_ADVICE[target.kind]}")
    if isinstance(error, NotFoundError) or _status(error) == "404":
        return MissingObjects(f"{target}: there is no such bucket")
    if isinstance(error, InvalidPathError):
        return BucketError(f"{target}: an object's name holds '//', '.', '..' or a control character, as no path does")
    # Without an answer it may be the search for credentials that failed; S3 answers 400 to expired ones.
    advice = f"; {_ADVICE[target.kind]}" if _status(error) in {"", "400"} else ""
    return BucketUnreachable(f"{target}: {_problem(error)}{advice}")


def _plain_http(target: BucketTarget) -> bool:
    """Say whether the endpoint is one of http that may be used; obstore itself fails hard on what is no URL."""
    for name in _ENDPOINTS[target.kind]:
        if endpoint := os.environ.get(name):
            try:
                origin = Origin.of(endpoint)
            except ValueError:
                problem = f"{name} must be an http or https URL, without a user name in it"
                raise BucketError(f"{target}: {problem}") from None
            if not (endpoint.isascii() and endpoint.isprintable() and " " not in endpoint):
                raise BucketError(f"{target}: {name} holds characters that no URL has")
            allowed = target.kind == "s3" and os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true"}
            if origin.scheme == "http" and not (allowed or is_loopback(origin.host)):
                also = ", or AWS_ALLOW_HTTP=true allows it" if target.kind == "s3" else ""
                raise BucketError(f"{target}: {name}: plain http is for this machine only{also}")
            return origin.scheme == "http"
    return False


def _etag(meta: ObjectMeta) -> str:
    return (meta["e_tag"] or "").strip('"')


def _status(error: BaseError) -> str:
    found = _STATUS.search(str(error))
    return found[1] if found else ""


def _problem(error: BaseError) -> str:
    status = _status(error)
    return f"the store answers {status}" if status else f"the store cannot be reached ({type(error).__name__})"
