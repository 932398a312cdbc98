"""HTTP with a registry: the Hub's manners, and the registry's own way of asking who we are."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

from auditor.errors import HubError, OciDenied, OciUnreachable
from auditor.limits import LIMITS
from auditor.sources.hub_http import ExchangeError, HubHttp
from auditor.sources.hub_settings import HubSettings
from auditor.sources.oci_login import is_token, parse_challenge

if TYPE_CHECKING:
    from auditor.sources.base import Range
    from auditor.sources.hub_http import Head, Want
    from auditor.sources.oci_login import Login
    from auditor.sources.oci_target import OciTarget

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


class OciHttp(HubHttp):
    """Sends requests to one registry, and to the hosts that it sends us to.

    Whatever says who we are goes to the registry's own scheme, host and port, and to no other; user and password go
    also where the registry says that tokens are given.

    Parameters
    ----------
    target : OciTarget
    login : Login

    Raises
    ------
    OciUnreachable
        The proxy or the certificates that the environment names cannot be used.
    """

    def __init__(self, target: OciTarget, login: Login) -> None:
        try:
            super().__init__(HubSettings(endpoint=target.endpoint, cache=Path()))
        except HubError as error:
            problem = "HTTPS_PROXY or SSL_CERT_FILE holds what cannot be used"
            raise OciUnreachable(f"{target}: {problem}") from error
        self._target = target
        self._login = login
        self._shown = f"Bearer {login.bearer}" if login.bearer else ""
        self._secrets = login.secrets
        self._token_url: httpx2.URL | None = None
        self._logging_in = threading.Lock()
        self._client.auth = self._sign

    @property
    def has_token(self) -> bool:
        """Whether there are credentials to show."""
        return bool(self._login.basic or self._login.bearer)

    def scrubbed(self, text: str) -> str:
        """Return text of a server without anything secret, which it may send back to us."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "[credentials]")
        return text

    def ask(self, url: str, *, want: Want, span: Range | None = None, at_most: bool = False) -> tuple[Head, bytes]:
        """Ask as `get` does, and say who we are where the registry wants to know.

        Raises
        ------
        ExchangeError
        OciDenied
            The registry lets nobody in with what we have.
        """
        shown = self._shown
        head, body = self.get(url, want=want, span=span, at_most=at_most)
        if head.status == 401 and self.is_home(url):
            self._log_in(head, shown)
            head, body = self.get(url, want=want, span=span, at_most=at_most)
            if head.status == 401:
                raise self.denied("it does not accept them" if self.has_token else "")
        return head, body

    def denied(self, why: str = "") -> OciDenied:
        """Say that the registry wants to know who asks, and what to do."""
        if why:
            text = f"it wants credentials, and {why}"
        elif self._login.helper:
            text = "it wants credentials, and Docker keeps them in a helper program, which is not run: log in with a "
            text += "config.json of its own (DOCKER_CONFIG) and no credsStore"
        else:
            text = "no such repository, or it wants credentials: `docker login` keeps them where they are found"
        return OciDenied(f"{self._target}: {self.home}: {text}")

    def _sign(self, request: httpx2.Request) -> httpx2.Request:
        """Put what belongs to it on a request; called by the client for each one."""
        url = str(request.url)
        if request.url == self._token_url:
            if self._login.basic:
                request.headers["Authorization"] = f"Basic {self._login.basic}"
        elif self.is_home(url):
            if self._shown:
                request.headers["Authorization"] = self._shown
            if "/manifests/" in request.url.path:
                request.headers["Accept"] = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))
        return request

    def _log_in(self, head: Head, shown: str) -> None:
        with self._logging_in:
            if self._shown != shown:  # another thread was here
                return
            challenge = parse_challenge(head.headers.get("www-authenticate", ""), self._target)
            if challenge is None:
                raise self.denied("it names no way of showing them that is spoken here")
            if challenge.token_url is None:
                if not self._login.basic or shown.startswith("Basic"):
                    raise self.denied("it does not accept them" if shown else "")
                self._shown = f"Basic {self._login.basic}"
                return
            token = self._new_token(challenge.token_url)
            self._secrets = (*self._secrets, token)
            self._shown = f"Bearer {token}"

    def _new_token(self, url: str) -> str:
        def want(head: Head) -> int:
            if head.status != 200:
                raise ExchangeError(f"{head.host} answers {head.status}")
            return LIMITS.oci_token_answer

        self._token_url = httpx2.URL(url)
        try:
            head, body = self.get(url, want=want, at_most=True)
        finally:
            self._token_url = None
        if head.status in {401, 403}:
            raise self.denied("it does not accept them" if self.has_token else "")
        if head.status != 200:
            raise ExchangeError(f"{head.host} gives no token but answers {head.status}")
        try:
            answer = json.loads(body.decode())
        except (ValueError, RecursionError):
            answer = None
        token = (answer.get("token") or answer.get("access_token")) if isinstance(answer, dict) else None
        if not is_token(token):
            raise ExchangeError(f"{head.host} gives no token")
        return token
