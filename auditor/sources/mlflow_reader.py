"""Bytes of a version's files by ranged requests, none of them taken on trust."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from auditor.errors import MlflowError, ServerMismatch, Undelivered
from auditor.limits import LIMITS
from auditor.sources.hub_api import HubFile
from auditor.sources.hub_http import Head
from auditor.sources.hub_reader import _EXPIRED, HubReader
from auditor.sources.hub_target import HubTarget
from auditor.sources.mlflow_artifacts import file_url, proxied_root
from auditor.sources.ranges import Block

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from auditor.errors import AuditError
    from auditor.sources.base import Range
    from auditor.sources.mlflow_artifacts import MlflowFile, Place
    from auditor.sources.mlflow_http import MlflowHttp
    from auditor.sources.mlflow_registry import ModelVersion
    from auditor.sources.mlflow_settings import MlflowSettings


class MlflowReader(HubReader):
    """Reads files of one version. May be used from several threads.

    It asks, checks and keeps as the reader of the Hub does; only where a file is asked for is MLflow's. Where the
    server gives signed URLs of the store behind it, ranges are read there: through the proxy, every range of a file
    in a bucket would cost the server all of that file. MLflow has no digests of files to hold them against.

    Parameters
    ----------
    http : MlflowHttp
    settings : MlflowSettings
    version : ModelVersion
    place : Place
    """

    def __init__(self, http: MlflowHttp, settings: MlflowSettings, version: ModelVersion, place: Place) -> None:
        super().__init__(http, settings.registry, HubTarget(repo=version.uri), version.version)
        self._server = http
        self._settings = settings
        self._version = version
        self._place = place
        self._root: str | None = None
        self._signing_asked = False
        self._signing = threading.Lock()

    def read_file(self, file: MlflowFile, ranges: Sequence[Range]) -> list[bytes]:
        """See `Source.read`.

        Raises
        ------
        FileError
            The server refuses, ignores ranges, or contradicts the list of files.
        """
        return self.read(HubFile(path=file.path, size=file.size, blob_id=""), ranges)

    def _find(self, file: HubFile, span: Range | None) -> Block | None:
        """Ask the server where the file is. One thread does; the others then go straight there."""
        with self._finding.setdefault(file.path, threading.Lock()):
            if file.path in self._places:
                return None
            url = self._signed(file) or file_url(self._place, file.path, self._version, self._settings)
            for _ in range(LIMITS.hub_hops + 1):
                head, block = self._ask(file, span, url)
                if block:
                    self._places[file.path] = url
                    return block
                at_home = self._http.is_home(url)
                if head.is_redirect and at_home:
                    url = self._http.redirect(head)
                elif at_home or head.status not in _EXPIRED:
                    raise self._refused(file, head)
                else:
                    return None
        raise Undelivered(file=file.path, field="file", problem=f"more than {LIMITS.hub_hops} redirects")

    def _signed(self, file: HubFile) -> str | None:
        """Return a signed URL of a file that is worth one; None where the server gives none that can be used."""
        if file.size <= LIMITS.hub_whole or (root := self._signing_root()) is None:
            return None
        path = quote("/".join(part for part in (root, file.path) if part))
        answer = self._optional(f"{self._settings.tracking}/api/2.0/mlflow-artifacts/presigned/{path}")
        signed, headers = answer.get("url"), answer.get("headers") or {}
        if not isinstance(signed, str) or headers:  # headers are for stores that we do not speak with
            return None
        # It is held to the rules for a redirect: http or https, and never from https down to http.
        here = Head(url=self._settings.tracking, status=307, headers={"location": signed})
        return self._http.redirect(here)

    def _signing_root(self) -> str | None:
        """Ask once whether the server signs URLs of the store behind it, and where there the files of the version are.

        A server that does not say so is taken not to.
        """
        with self._signing:
            if not self._signing_asked:
                self._signing_asked = True
                answer = self._optional(f"{self._settings.tracking}/api/3.0/mlflow/server-info")
                if answer.get("multipart_downloads_enabled") is True:
                    with contextlib.suppress(MlflowError):  # what only makes reading cheaper
                        self._root = proxied_root(self._place, self._version, self._server, self._settings)
            return self._root

    def _optional(self, url: str) -> Mapping[str, object]:
        """Ask for what only makes reading cheaper; empty for any refusal."""
        try:
            _, answer = self._server.ask(url, about=self._version.uri)
        except MlflowError:
            return {}
        return answer if isinstance(answer, dict) else {}

    def _ask(self, file: HubFile, span: Range | None, url: str) -> tuple[Head, Block | None]:
        head, body = self._http.get(url, want=partial(self._want, file, span), span=span)
        if head.status not in {200, 206}:
            return head, None
        return head, Block(0 if span is None or head.status == 200 else span.start, body)

    def _refused(self, file: HubFile, head: Head) -> AuditError:
        problem = f"{head.host} answers {head.status}"
        if head.is_redirect:
            problem = f"{head.host} is no server of ours and redirects again"
        elif head.status in {401, 403} and self._http.is_home(head.url):
            problem += (
                ": the credentials in use may not read it" if self._server.has_credentials else ": no credentials"
            )
        elif head.status == 416:
            return ServerMismatch(file=file.path, field="size", problem=f"{head.host} has fewer bytes than it listed")
        return Undelivered(file=file.path, field="file", problem=problem)
