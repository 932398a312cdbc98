"""HTTP with a hostile or busy server: bounded in tries, time and bytes, counted, and careful with the token."""

from __future__ import annotations

import os
import random
import re
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import httpx2

from auditor.errors import HubError
from auditor.limits import LIMITS
from auditor.sources.hub_settings import HubSettings, Origin

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from auditor.sources.base import Range

_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed."""
_SMALL_BODY = 64 * 1024  # bytes read and dropped so that the connection can be used again
_AFTER = re.compile(r"[0-9]{1,9}")
_RESET = re.compile(r"\bt=([0-9]{1,9})\b")  # of `RateLimit: "resolvers";r=0;t=42`

_pause = time.sleep


class ExchangeError(Exception):
    """A request got no usable answer. Callers say for what, as an `AuditError`; `problem` names the host."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


class _TryAgainError(Exception):
    def __init__(self, problem: str, *, after: float | None = None) -> None:
        self.problem = problem
        self.after = after
        super().__init__(problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """An answer without its body.

    Attributes
    ----------
    url : str
        What was asked.
    status : int
    headers : mapping of str to str
        Any case of name finds them.
    """

    url: str
    status: int
    headers: Mapping[str, str]

    @property
    def host(self) -> str:
        """Name of the server, for messages."""
        return str(Origin.of(self.url))

    @property
    def is_redirect(self) -> bool:
        """Whether it sends us elsewhere."""
        return self.status in {301, 302, 303, 307, 308} and "location" in self.headers


Want = Callable[[Head], int]
"""Says how many bytes the body of a 200 or 206 has, or raises before any of it is read."""


class HubHttp:
    """The one place that sends requests.

    The token goes to the endpoint's own scheme, host and port, and to no other. Redirects are not followed:
    whoever asked decides. Cookies are not kept.

    Parameters
    ----------
    settings : HubSettings

    Raises
    ------
    HubError
        When the endpoint, the proxy or the certificates that the environment names cannot be used.

    Attributes
    ----------
    requests : int
        Sent so far, failed ones included.
    bytes : int
        Of bodies, received so far.
    """

    def __init__(self, settings: HubSettings) -> None:
        self.home = settings.origin
        self.requests = 0
        self.bytes = 0
        self._lost = 0.0
        self._token = settings.token
        self._counting = threading.Lock()
        self._client = _client(settings.endpoint)
        weakref.finalize(self, self._client.close)

    @property
    def has_token(self) -> bool:
        """Whether requests to the endpoint carry a token."""
        return self._token is not None

    def scrubbed(self, text: str) -> str:
        """Return text of a server without the token, which it may send back to us."""
        return text.replace(self._token, "[token]") if self._token else text

    def is_home(self, url: str) -> bool:
        """Say whether `url` is at the endpoint."""
        return Origin.of(url) == self.home

    def redirect(self, head: Head) -> str:
        """Return where a redirect leads: another URL of http or https, never from https down to http.

        Raises
        ------
        ExchangeError
        """
        location = head.headers["location"]
        try:
            url = urljoin(head.url, location)
            origin = Origin.of(url)
            httpx2.URL(url)
        except (ValueError, httpx2.InvalidURL) as error:
            raise ExchangeError(f"{head.host} redirects to what is no http or https URL") from error
        if len(url) > LIMITS.hub_url:
            raise ExchangeError(f"{head.host} redirects to a URL of more than {LIMITS.hub_url} characters")
        if Origin.of(head.url).scheme == "https" and origin.scheme != "https":
            raise ExchangeError(f"{head.host} redirects from https to http")
        return url

    def get(self, url: str, *, want: Want, span: Range | None = None, at_most: bool = False) -> tuple[Head, bytes]:
        """Ask for `url`, again when it fails for a reason that may pass.

        Parameters
        ----------
        url : str
        want : callable
            Called with the head of a 200 or 206; its answer is the length of the body.
        span : Range, optional
            Bytes to ask for.
        at_most : bool
            A shorter body is fine too.

        Returns
        -------
        head : Head
        body : bytes
            Empty unless the status is 200 or 206.

        Raises
        ------
        ExchangeError
            When no answer was got within `LIMITS.hub_tries`, or one that breaks the protocol.
        """
        host = Origin.of(url)
        problem = ""
        for attempt in range(LIMITS.hub_tries):
            if self._lost > LIMITS.hub_patience_seconds:
                raise ExchangeError(
                    f"{host} was given up after {self._lost:.0f} s of failed tries; {problem}".rstrip("; ")
                )
            started = time.monotonic()
            try:
                return self._once(url, want, span, at_most=at_most)
            except _TryAgainError as error:
                problem = error.problem
                wait = self._wait(error.after, attempt, problem)
            except httpx2.TransportError as error:
                problem = _problem(host, error)
                wait = self._wait(None, attempt, problem)
            finally:
                failed = time.monotonic() - started
            last = attempt + 1 == LIMITS.hub_tries
            self._count(lost=failed + (0 if last else wait))
            if not last:
                _pause(wait)
        raise ExchangeError(f"{problem}, {LIMITS.hub_tries} times")

    def post(self, url: str, content: bytes, *, media_type: str, limit: int) -> bytes | None:
        """Send something to the endpoint, once; None for any answer but a 200 of at most `limit` bytes."""
        headers = {"Content-Type": media_type, "Accept": media_type}
        if self._token and self.is_home(url):
            headers["Authorization"] = f"Bearer {self._token}"
        self._count(requests=1)
        body = bytearray()
        deadline = time.monotonic() + LIMITS.hub_timeout_seconds
        try:
            with self._client.stream("POST", url, headers=headers, content=content) as response:
                if response.status_code != 200 or response.headers.get("content-encoding", "identity") != "identity":
                    return None
                for chunk in response.iter_raw():
                    body += chunk
                    self._count(received=len(chunk))
                    if len(body) > limit or time.monotonic() > deadline:
                        return None
        except httpx2.TransportError:
            return None
        return bytes(body)

    def _once(self, url: str, want: Want, span: Range | None, *, at_most: bool) -> tuple[Head, bytes]:
        headers = {}
        if span:
            headers["Range"] = f"bytes={span.start}-{span.stop - 1}"
        if self._token and self.is_home(url):
            headers["Authorization"] = f"Bearer {self._token}"
        self._count(requests=1)
        with self._client.stream("GET", url, headers=headers) as response:
            head = Head(url=url, status=response.status_code, headers=response.headers)
            if head.status not in {200, 206}:
                self._drop(response)
                if head.status in _MAY_PASS:
                    raise _TryAgainError(f"{head.host} answers {head.status}", after=_asked_wait(head.headers))
                return head, b""
            if head.headers.get("content-encoding", "identity").lower() != "identity":
                raise ExchangeError(f"{head.host} sends an encoded body though told not to")
            return head, self._body(response, head, want(head), at_most=at_most)

    def _body(self, response: httpx2.Response, head: Head, length: int, *, at_most: bool) -> bytes:
        announced = head.headers.get("content-length")
        if announced is not None and announced != str(length) and not (at_most and _is_at_most(announced, length)):
            raise ExchangeError(f"{head.host} announces a body of another length than {length} bytes")
        body = bytearray()
        deadline = time.monotonic() + LIMITS.hub_timeout_seconds + length / LIMITS.hub_slowest
        for chunk in response.iter_raw():
            body += chunk
            self._count(received=len(chunk))
            if len(body) > length:
                raise ExchangeError(f"{head.host} sends more than {length} bytes")
            if time.monotonic() > deadline:
                raise _TryAgainError(f"{head.host} sends under {LIMITS.hub_slowest} bytes a second")
        if len(body) < length and not at_most:
            raise _TryAgainError(f"{head.host} ends the connection after {len(body)} of {length} bytes")
        return bytes(body)

    def _drop(self, response: httpx2.Response) -> None:
        """Read a short body that nobody wants; of others the connection is closed."""
        if _is_at_most(response.headers.get("content-length", ""), _SMALL_BODY):
            deadline = time.monotonic() + LIMITS.hub_timeout_seconds
            for chunk in response.iter_raw():
                self._count(received=len(chunk))
                if time.monotonic() > deadline:
                    break

    def _wait(self, asked: float | None, attempt: int, problem: str) -> float:
        if asked is None:
            return float(LIMITS.hub_backoff_seconds * 2**attempt * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
        if asked > LIMITS.hub_wait_seconds:
            raise ExchangeError(f"{problem} and asks to wait {asked:.0f} s")
        return asked

    def _count(self, *, requests: int = 0, received: int = 0, lost: float = 0.0) -> None:
        with self._counting:
            self.requests += requests
            self.bytes += received
            self._lost += lost


def _client(endpoint: str) -> httpx2.Client:
    try:
        httpx2.URL(endpoint)
        return httpx2.Client(
            verify=_trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
            headers={"User-Agent": "provenance-auditor", "Accept-Encoding": "identity"},
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            timeout=httpx2.Timeout(LIMITS.hub_timeout_seconds, pool=None),  # waiting for our own turn is no silence
            limits=httpx2.Limits(max_connections=LIMITS.hub_parallel, max_keepalive_connections=LIMITS.hub_parallel),
            follow_redirects=False,
        )
    except (httpx2.InvalidURL, ValueError, ImportError, OSError) as error:
        # Not shown: a password may stand in the variable.
        problem = "HF_ENDPOINT, HTTPS_PROXY or SSL_CERT_FILE holds what cannot be used"
        raise HubError(f"{problem} ({type(error).__name__})") from error


@cache
def _trusted(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    """Return whom to trust, read once for each setting: it takes 50 ms, and a sweep opens a client a target."""
    return httpx2.create_ssl_context()


def _asked_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait, where it says so in seconds."""
    after = headers.get("retry-after", "").strip()
    if _AFTER.fullmatch(after):
        return float(after)
    reset = _RESET.search(headers.get("ratelimit", ""))
    return float(reset[1]) if reset else None


def _is_at_most(announced: str, length: int) -> bool:
    return announced.isascii() and announced.isdigit() and len(announced) < 20 and int(announced) <= length


def _problem(host: Origin, error: httpx2.TransportError) -> str:
    """Say what happened to a connection, without text of the server."""
    if isinstance(error, httpx2.TimeoutException):
        return f"{host} does not answer within {LIMITS.hub_timeout_seconds:g} s"
    if isinstance(error, httpx2.ConnectError | httpx2.ProxyError):
        return f"{host} cannot be reached ({error})"
    return f"the connection to {host} breaks off"
