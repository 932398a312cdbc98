"""A small server that speaks MLflow's REST API and sends what a test says, lies included: what a real one never does.

The real server stands in tests/integration; here is only what it cannot be made to send.
"""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from loopback_hub import server as loopback
from loopback_hub.server import Answer, Request, Server

from auditor.sources.mlflow_settings import MlflowSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    Twist = Callable[[Request, Answer], Answer]

RUN = "0123456789abcdef0123456789abcdef"
_API = "/api/2.0/mlflow/"


class _Handler(loopback._Handler):  # noqa: SLF001 - the tests' own
    def do_DELETE(self) -> None:  # noqa: N802 - http.server's
        self.headers["x-method"] = "DELETE"
        self.do_POST()


class LoopbackMlflow:
    """A tracking server and registry, and on another port and so another origin, the store behind it.

    Attributes
    ----------
    files : dict of str to bytes
        Of version 1 of the model `chat`, which came from a run.
    uri : str
        What the registry says of where they lie.
    signs : bool
        The server gives signed URLs of the store.
    version : dict
        The registry's record.
    aliases : dict of str to str
        The version that each is on.
    twist : callable
        What a hostile or busy server makes of an answer; honest until a test says otherwise.
    requests : list of Request
        Everything that came in.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.uri = f"mlflow-artifacts:/1/{RUN}/artifacts/model"
        self.signs = False
        self.aliases: dict[str, str] = {}
        self.version: dict[str, Any] = {
            "name": "chat",
            "version": "1",
            "source": self.uri,
            "run_id": RUN,
            "status": "READY",
            "creation_timestamp": 1795597858864,
            "tags": [],
        }
        self.twist: Twist = lambda _, answer: answer
        self.requests: list[Request] = []
        self._server = Server(partial(self._answer, "server"))
        self._store = Server(partial(self._answer, "store"))
        self._server.RequestHandlerClass = _Handler

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def store(self) -> str:
        return self._store.url

    def settings(self, **environment: str) -> MlflowSettings:
        return MlflowSettings.current({"MLFLOW_TRACKING_URI": self.url} | environment)

    def asked(self, host: str, pattern: str = "") -> list[Request]:
        return [request for request in self.requests if request.host == host and re.search(pattern, request.path)]

    def written(self) -> list[str]:
        """Return every write that came in, in order, as `DELETE alias approved` or `POST set-tag auditor.verdict`."""
        lines = []
        for request in self.requests:
            if "x-form" in request.headers:
                form = json.loads(request.headers["x-form"])
                method, what = request.headers.get("x-method", "POST"), request.path.rpartition("/")[2]
                lines.append(f"{method} {what} {form.get('key', form.get('alias'))}")
        return lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.stop()
        self._store.stop()

    def _answer(self, host: str, path: str, headers: dict[str, str]) -> Answer:
        request = Request(host=host, path=path, headers=headers)
        self.requests.append(request)
        honest = self._stored(request) if host == "store" else self._api(request)
        return self.twist(request, honest)

    def _api(self, request: Request) -> Answer:  # noqa: C901, PLR0911 - one for each path
        parts = urlsplit(request.path)
        query = dict(parse_qsl(parts.query))
        path = unquote(parts.path)
        if "x-form" in request.headers:
            return self._write(path.removeprefix(_API), request)
        match path.removeprefix(_API):
            case "model-versions/get":
                known = (query["name"], query["version"]) == (self.version["name"], self.version["version"])
                return _json({"model_version": self.version}) if known else Answer(status=404)
            case "model-versions/get-download-uri":
                return _json({"artifact_uri": self.uri})
            case "registered-models/alias":
                held = self.aliases.get(query["alias"])
                return _json({"model_version": self.version | {"version": held}}) if held else Answer(status=400)
            case "artifacts/list":
                return _json({"root_uri": f"s3://bucket/{RUN}", "files": self._list(query.get("path", ""), whole=True)})
            case "/api/2.0/mlflow-artifacts/artifacts":
                return _json({"files": self._list(query["path"], whole=False)})
            case "/model-versions/get-artifact":
                return _ranged(self.files.get(query["path"]), request)
            case "/get-artifact":
                return _ranged(self.files.get(query["path"].removeprefix("model/")), request)
            case "/api/3.0/mlflow/server-info":
                return _json({"multipart_downloads_enabled": self.signs})
        if path.startswith("/api/2.0/mlflow-artifacts/presigned/") and self.signs:
            inside = path.partition("/artifacts/model/")[2]
            return _json({"url": f"{self.store}/{inside}?signature=1", "headers": {}, "file_size": 1})
        return Answer(status=501)

    def _stored(self, request: Request) -> Answer:
        return _ranged(self.files.get(unquote(urlsplit(request.path).path)[1:]), request)

    def _list(self, folder: str, *, whole: bool) -> list[dict[str, object]]:
        root = f"{self.uri.partition(':')[2].strip('/')}" if not whole else "model"
        inside = folder.removeprefix(root).strip("/")
        before = f"{inside}/" if inside else ""
        entries: dict[str, dict[str, object]] = {}
        for path, data in self.files.items():
            if path.startswith(before):
                name, deeper, _ = path.removeprefix(before).partition("/")
                listed = f"{folder}/{name}".strip("/") if whole else name
                size = {} if deeper or not data else {"file_size": len(data)}
                entries[name] = {"path": listed, "is_dir": bool(deeper), **size}
        return list(entries.values())

    def _write(self, what: str, request: Request) -> Answer:
        form = json.loads(request.headers["x-form"])
        if what == "registered-models/alias":
            if request.headers.get("x-method") == "DELETE":
                self.aliases.pop(form["alias"], None)
            else:
                self.aliases[form["alias"]] = form["version"]
        return _json({})


def _json(value: object) -> Answer:
    return Answer(body=json.dumps(value).encode(), headers={"Content-Type": "application/json"})


def _ranged(data: bytes | None, request: Request) -> Answer:
    if data is None:
        return Answer(status=404)
    if request.range is None or not data:
        return Answer(body=data)
    first, stop = request.range
    part = data[first:stop]
    return Answer(
        status=206, body=part, headers={"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(data)}"}
    )
