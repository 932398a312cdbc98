"""Where the files of a version lie, how MLflow is asked for them, and the list of them, checked before anything else.

A version's files are in the artifact store of a run, of a logged model (MLflow 3), or at a place that the server
proxies. All are read through the server, with its right to read them: a path or a bucket that the registry names is
never opened from here, for whoever registers a version chooses that name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeGuard
from urllib.parse import quote, urlencode, urlsplit

from auditor.errors import (
    ArtifactsElsewhere,
    BadName,
    FileError,
    MlflowError,
    MlflowMismatch,
    MlflowUnreachable,
    ServerMismatch,
    TargetError,
)
from auditor.escape import visible
from auditor.limits import LIMITS
from auditor.sources.base import Unread
from auditor.sources.hub_http import ExchangeError
from auditor.sources.safepath import path_problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from auditor.sources.mlflow_http import MlflowHttp
    from auditor.sources.mlflow_registry import ModelVersion
    from auditor.sources.mlflow_settings import MlflowSettings

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_API = "/api/2.0/mlflow"
_PROXY = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowFile:
    """A file of a version, as the server lists it.

    Attributes
    ----------
    path : str
        Checked: relative, POSIX separators, no `.` or `..` in it.
    size : int
    """

    path: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The files of a version, sorted by path, and the entries that are no usable files."""

    files: tuple[MlflowFile, ...]
    refused: tuple[Unread, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the files of a version lie.

    Attributes
    ----------
    kind : {"run", "model", "proxy"}
        Which part of the server's API lists them.
    owner : str
        The run's or logged model's id; empty for a proxied place.
    root : str
        Folder in there that is the version's, without slashes at its ends.
    """

    kind: Literal["run", "model", "proxy"]
    owner: str
    root: str

    def inside(self, path: str) -> str:
        """Return a path of the version as one of the place."""
        return "/".join(part for part in (self.root, path) if part)


def place_of(version: ModelVersion, http: MlflowHttp, settings: MlflowSettings) -> Place:
    """Find where the files of a version lie.

    Raises
    ------
    ArtifactsElsewhere
        Where this server neither lists nor delivers them.
    MlflowError
    """
    uri = version.artifact_uri
    scheme, _, rest = uri.partition(":")
    if scheme == "runs":
        owner, _, root = rest.lstrip("/").partition("/")
        return _checked(Place(kind="run", owner=owner, root=root.strip("/")), version)
    if scheme == "models" and rest.startswith("/m-"):
        owner, _, root = rest.lstrip("/").partition("/")
        return _checked(Place(kind="model", owner=owner, root=root.strip("/")), version)
    if scheme in {"mlflow-artifacts", "http", "https"}:
        return _checked(Place(kind="proxy", owner="", root=_proxied(uri, version, settings)), version)
    owners: list[tuple[Literal["run", "model"], str | None]] = [("model", version.model_id), ("run", version.run_id)]
    for kind, known in owners:
        if known is None:
            continue
        top = _checked(Place(kind=kind, owner=known, root=""), version)
        root_uri = _root_uri(top, version, http, settings)
        if root_uri and (inside := _below(uri, root_uri)) is not None:
            return _checked(Place(kind=kind, owner=known, root=inside), version)
    named = visible(scheme, limit=20) if ":" in uri else "a path of the server's machine"
    raise ArtifactsElsewhere(
        f"{version.uri}: its files lie in {named}, outside of any run and logged model, "
        "where the server lists nothing; register it from a run or a logged model, or scan a copy of the files"
    )


def list_files(place: Place, version: ModelVersion, http: MlflowHttp, settings: MlflowSettings) -> Listing:
    """List every file of a version.

    Raises
    ------
    MlflowError
    TargetError
        More than `LIMITS.files` entries.
    """
    walk = _Walk(place, version, http, settings)
    walk.all()
    listing = Listing(
        files=tuple(walk.files[path] for path in sorted(walk.files)),
        refused=tuple(sorted(walk.refused, key=lambda unread: unread.path)),
    )
    if not listing.files and not listing.refused:
        raise MlflowError(f"{version.uri}: the registry has no files for it")
    return listing


def file_url(place: Place, path: str, version: ModelVersion, settings: MlflowSettings) -> str:
    """Return the URL of a file: of the endpoint that takes ranges, whatever store the file is in."""
    if place.kind == "run":
        return f"{settings.tracking}/get-artifact?{urlencode({'run_id': place.owner, 'path': place.inside(path)})}"
    if place.kind == "proxy" and settings.registry != settings.tracking:
        return f"{settings.tracking}{_PROXY}/{quote(place.inside(path))}"
    query = urlencode({"name": version.name, "version": version.version, "path": path})
    return f"{settings.registry}/model-versions/get-artifact?{query}"


def proxied_root(place: Place, version: ModelVersion, http: MlflowHttp, settings: MlflowSettings) -> str | None:
    """Return where the files of a version lie at the server's proxy; None where they are not behind it.

    Raises
    ------
    MlflowError
    """
    if place.kind == "proxy":
        return place.root
    uri = _root_uri(replace(place, root=""), version, http, settings)
    if uri is None or not uri.startswith("mlflow-artifacts:"):
        return None
    root = "/".join(part for part in (_proxied(uri, version, settings), place.root) if part)
    return None if path_problem(root) else root


class _Walk:
    """The list of files while it comes in, folder by folder."""

    def __init__(self, place: Place, version: ModelVersion, http: MlflowHttp, settings: MlflowSettings) -> None:
        self._place = place
        self._version = version
        self._http = http
        self._settings = settings
        self._room = LIMITS.files
        self._asks = LIMITS.mlflow_asks
        self.files: dict[str, MlflowFile] = {}
        self.refused: list[Unread] = []

    def all(self) -> None:
        pending = [""]
        while pending:
            folder = pending.pop()
            for entry in self._entries(folder):
                self._room -= 1
                if self._room < 0:
                    raise TargetError(f"{self._version.uri}: more than {LIMITS.files} files and folders")
                try:
                    path = self._path(entry, folder)
                    if entry.get("is_dir") is True:
                        pending.append(path)
                        continue
                    size = self._size(path, entry)
                except FileError as error:
                    self.refused.append(Unread.from_error(error))
                    continue
                if path in self.files:
                    raise MlflowMismatch(f"{self._version.uri}: the server lists a file twice")
                self.files[path] = MlflowFile(path=path, size=size)

    def _entries(self, folder: str) -> Iterator[Mapping[str, object]]:
        token = ""
        while True:
            if self._asks <= 0:
                raise TargetError(f"{self._version.uri}: more than {LIMITS.mlflow_asks} requests to list its files")
            self._asks -= 1
            url = _listing_url(self._place, self._place.inside(folder), token, self._settings)
            status, answer = self._http.ask(url, about=self._version.uri)
            files = answer.get("files", []) if isinstance(answer, dict) else None
            if status != 200 or not isinstance(files, list):
                raise MlflowUnreachable(f"{self._version.uri}: the server sends no list of its files")
            for entry in files:
                yield entry if isinstance(entry, dict) else {}
            following = answer.get("next_page_token") if isinstance(answer, dict) else None
            if not following or not isinstance(following, str) or len(following) > LIMITS.hub_url:
                return
            token = following

    def _path(self, entry: Mapping[str, object], folder: str) -> str:
        """Return the path of an entry in the version. It must lie in the folder that was asked for, and not deeper."""
        listed = entry.get("path")
        if not isinstance(listed, str):
            raise ServerMismatch(file=folder or ".", field="list of files", problem="an entry without a path")
        label = visible(listed, limit=LIMITS.hub_name)
        if listed != self._http.scrubbed(listed):
            raise BadName(file="[secret]", field="file name", problem="the credentials in use stand in it")
        if problem := path_problem(listed):
            raise problem
        parent, _, name = listed.rpartition("/")
        expected = "" if self._place.kind == "proxy" else self._place.inside(folder)
        if parent != expected:
            problem_ = "the server lists it in a folder that it is not in"
            raise ServerMismatch(file=label, field="list of files", problem=problem_)
        path = f"{folder}/{name}" if folder else name
        if problem := path_problem(path):
            raise problem
        return path

    def _size(self, path: str, entry: Mapping[str, object]) -> int:
        """Return the size of a file; asked for where the list leaves it out, as it does for empty files."""
        size = entry.get("file_size")
        if isinstance(size, str) and size.isascii() and size.isdigit() and len(size) < 20:
            size = int(size)
        if size is None and self._asks > 0:
            self._asks -= 1
            try:
                size = self._http.length(file_url(self._place, path, self._version, self._settings))
            except ExchangeError as error:
                raise ServerMismatch(file=path, field="size", problem=error.problem) from error
        if not _is_size(size):
            raise ServerMismatch(file=path, field="size", problem="the server does not say it")
        return size


def _listing_url(place: Place, folder: str, token: str, settings: MlflowSettings) -> str:
    query: dict[str, str] = {"page_token": token} if token else {}
    if place.kind == "run":
        query |= {"run_id": place.owner} | ({"path": folder} if folder else {})
        return f"{settings.tracking}{_API}/artifacts/list?{urlencode(query)}"
    if place.kind == "model":
        query |= {"artifact_directory_path": folder} if folder else {}
        return f"{settings.tracking}{_API}/logged-models/{place.owner}/artifacts/directories?{urlencode(query)}"
    return f"{settings.tracking}{_PROXY}?{urlencode(query | {'path': folder})}"


def _root_uri(place: Place, version: ModelVersion, http: MlflowHttp, settings: MlflowSettings) -> str | None:
    _, answer = http.ask(_listing_url(place, "", "", settings), about=version.uri)
    uri = answer.get("root_uri") if isinstance(answer, dict) else None
    return uri if isinstance(uri, str) else None


def _below(uri: str, root: str) -> str | None:
    """Return where a URI lies below another; None where it does not."""
    uri, root = (text.removeprefix("file://").rstrip("/") for text in (uri, root))
    if uri == root:
        return ""
    return uri[len(root) + 1 :] if uri.startswith(f"{root}/") else None


def _proxied(uri: str, version: ModelVersion, settings: MlflowSettings) -> str:
    """Return the path that a proxied place has at the tracking server."""
    parts, ours = urlsplit(uri), urlsplit(settings.tracking)
    path = parts.path
    if parts.scheme != "mlflow-artifacts":
        before, found, path = path.partition(f"{_PROXY}/")
        if not found or parts.scheme != ours.scheme or before != ours.path:
            raise ArtifactsElsewhere(f"{version.uri}: its files lie at a URL that is not of the tracking server")
    if parts.netloc not in {"", ours.netloc} or parts.query or parts.fragment:
        raise ArtifactsElsewhere(f"{version.uri}: its files lie at another server than MLFLOW_TRACKING_URI names")
    return path.strip("/")


def _checked(place: Place, version: ModelVersion) -> Place:
    if (place.owner and not _ID.fullmatch(place.owner)) or (place.kind != "proxy" and not place.owner):
        raise MlflowMismatch(f"{version.uri}: the registry names a run or logged model that can be none")
    if place.root and path_problem(place.root):
        raise MlflowMismatch(f"{version.uri}: the registry says that its files lie at a path that can be none")
    return place


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
