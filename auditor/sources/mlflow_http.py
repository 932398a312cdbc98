"""HTTP with MLflow's servers: what the Hub's client does, with MLflow's credentials, JSON, and writes."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import httpx2

from auditor.errors import HubError, MlflowDenied, MlflowError, MlflowUnreachable
from auditor.limits import LIMITS
from auditor.sources.hub_http import ExchangeError, Head, HubHttp
from auditor.sources.hub_settings import HubSettings, Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from auditor.sources.mlflow_settings import MlflowSettings

_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})

_pause = time.sleep


class _LengthError(Exception):
    """Ends a request when its head has said enough."""

    def __init__(self, length: int | None) -> None:
        self.length = length
        super().__init__(length)


class MlflowHttp(HubHttp):
    """The one place that sends requests to MLflow: bounded, counted and patient as `HubHttp` is.

    Credentials go to the tracking server and the registry, and to no other. Redirects are not followed: whoever asked
    decides.

    Parameters
    ----------
    settings : MlflowSettings

    Raises
    ------
    MlflowError
        When a proxy or the certificates that the environment names cannot be used.
    """

    def __init__(self, settings: MlflowSettings) -> None:
        try:
            super().__init__(HubSettings(endpoint=settings.registry, cache=Path(os.devnull)))
        except HubError as error:
            problem = "MLFLOW_TRACKING_URI, HTTPS_PROXY or SSL_CERT_FILE holds what cannot be used"
            raise MlflowError(problem) from error
        self._homes = settings.origins
        self._authorization = settings.authorization
        self._secrets = settings.secrets
        self._client.auth = self._authorized

    @property
    def has_credentials(self) -> bool:
        """Whether requests to the servers say who we are."""
        return self._authorization is not None

    def is_home(self, url: str) -> bool:
        """Say whether `url` is at the tracking server or the registry."""
        return Origin.of(url) in self._homes

    def scrubbed(self, text: str) -> str:
        """Return text of a server without the credentials, which it may send back to us."""
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return text

    def ask(self, url: str, *, about: str, refusals: Collection[int] = (400, 404)) -> tuple[int, object]:
        """Ask a server of ours for JSON.

        Parameters
        ----------
        url : str
        about : str
            What it is about, for messages.
        refusals : collection of int
            Other statuses than 200 that the caller knows the meaning of.

        Returns
        -------
        status : int
        answer : object
            None unless the status is 200.

        Raises
        ------
        MlflowDenied
        MlflowUnreachable
        """
        try:
            head, body = self.get(url, want=_json_length(about), at_most=True)
        except ExchangeError as error:
            raise MlflowUnreachable(f"{about}: {error.problem}") from error
        if head.status in refusals:
            return head.status, None
        if head.status != 200:
            self._refuse(about, head, to="read")
        try:
            return 200, json.loads(body.decode())
        except (ValueError, RecursionError) as error:
            raise MlflowUnreachable(f"{about}: {head.host} sends no JSON") from error

    def length(self, url: str) -> int | None:
        """Return how long a server of ours says that a file is; None where it does not say. The file is not read.

        Raises
        ------
        ExchangeError
        """

        def look(head: Head) -> int:
            announced = head.headers.get("content-length", "")
            usable = head.status == 200 and announced.isascii() and announced.isdigit() and len(announced) < 19
            raise _LengthError(int(announced) if usable else None)

        try:
            self.get(url, want=look)
        except _LengthError as found:
            return found.length
        return None

    def send(self, method: str, url: str, fields: Mapping[str, str], *, about: str) -> None:
        """Have a server of ours change something, again when that fails for a reason that may pass.

        What is sent may be sent twice: tags and aliases are set to a value, or removed.

        Raises
        ------
        MlflowDenied
        MlflowUnreachable
        MlflowError
            When it answers anything but a 200.
        """
        if not self.is_home(url):
            raise MlflowError(f"{about}: not at the registry")
        content = json.dumps(fields).encode()
        problem = ""
        for attempt in range(LIMITS.hub_tries):
            if attempt:
                _pause(LIMITS.hub_backoff_seconds * 2 ** (attempt - 1) * random.uniform(0.75, 1.25))  # noqa: S311
            self._count(requests=1)
            try:
                with self._client.stream(
                    method, url, content=content, headers={"Content-Type": "application/json"}
                ) as response:
                    head = Head(url=url, status=response.status_code, headers=response.headers)
                    self._drop(response)
            except httpx2.TransportError as error:
                problem = f"{Origin.of(url)} does not answer ({type(error).__name__})"
                continue
            if head.status == 200:
                return
            if head.status not in _MAY_PASS:
                self._refuse(about, head, to="write")
            problem = f"{head.host} answers {head.status}"
        raise MlflowUnreachable(f"{about}: {problem}, {LIMITS.hub_tries} times")

    def _authorized(self, request: httpx2.Request) -> httpx2.Request:
        if self._authorization is not None and self.is_home(str(request.url)):
            request.headers["Authorization"] = self._authorization
        return request

    def _refuse(self, about: str, head: Head, *, to: str) -> NoReturn:
        """Say what a refusal means. The server's own words are not shown: they may be hostile, or hold a secret."""
        if head.status in {401, 403}:
            hint = (
                f"the credentials in use are wrong, or may not {to} it"
                if self.has_credentials
                else "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
            raise MlflowDenied(f"{about}: {head.host} answers {head.status}: {hint}")
        if head.is_redirect:
            raise MlflowError(f"{about}: {head.host} redirects; set MLFLOW_TRACKING_URI to where it does")
        if to == "write":
            raise MlflowError(f"{about}: {head.host} answers {head.status}")
        raise MlflowUnreachable(f"{about}: {head.host} answers {head.status}")


def _json_length(about: str) -> Callable[[Head], int]:
    def want(head: Head) -> int:
        if head.status != 200:
            raise MlflowUnreachable(f"{about}: {head.host} answers {head.status}")
        return LIMITS.mlflow_json

    return want
