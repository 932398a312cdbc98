"""How fast a host is asked: a bucket of requests for each, which targets are paid from.

A target is paid with what targets took so far on average, and settled when it is done, so nothing has to be shared
with workers, which may be on other machines. A host that asks to be left alone is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from auditor.sources.hub_target import is_hub_id, is_hub_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditor.sources.hub_settings import HubSettings

WINDOW: Final = 300.0
"""Seconds that a quota is for, as the Hub counts."""

ANONYMOUS, SIGNED_IN = 500, 1_000
"""Calls of its API that the Hub grants in a window to an address, and to a free account (huggingface.co/docs/hub/
rate-limits). Ranged reads of files count elsewhere, and are granted three to six times as many."""

_CALLS: Final = 3
"""Calls of the API that opening a repository takes: its commit, its list of files, the places of files in LFS."""

_ENDPOINTS: Final = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"), "gs": ("GOOGLE_BASE_URL",)}
"""Where the environment says that buckets are, as obstore reads it, whose import is an extra."""

_ALIASES: Final = {"index.docker.io": "docker.io"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What may be asked of a host in a window.

    Attributes
    ----------
    requests : int
    calls_only : bool
        Only the API is counted: a target takes the same whatever is read of it.
    """

    requests: int
    calls_only: bool = False


@dataclass(slots=True)
class _Host:
    quota: Quota | None
    level: float = 0.0
    at: float = 0.0
    held: float = 0.0
    mean: float = 20.0
    settled: int = 0
    failures: int = 0
    pause: float = 0.0
    silent_since: float | None = None
    under_way: dict[int, float] = field(default_factory=dict)


class Pace:
    """When a target of a host may begin. Times are those of a monotonic clock.

    Parameters
    ----------
    quota_of : callable
        Quota of a host; None where it is not limited.
    patience : int
        Targets in a row that may find it unreachable, before it counts as down.
    pause : float
        Seconds before a host that is down is asked again; doubled each time.
    """

    def __init__(self, quota_of: Callable[[str], Quota | None], *, patience: int, pause: float) -> None:
        self._quota_of = quota_of
        self._patience, self._pause = patience, pause
        self._hosts: dict[str, _Host] = {}

    def wait(self, host: str, now: float) -> float:
        """Return how many seconds the next target of a host has to wait; infinite while only an answer helps."""
        state = self._state(host, now)
        if self.is_down(host) and state.under_way:
            return float("inf")  # one at a time finds out whether it is back
        wait = max(0.0, state.held - now)
        if state.quota is not None and state.level < 0:
            wait = max(wait, -state.level * WINDOW / state.quota.requests)
        return wait

    def begin(self, host: str, job: int, now: float) -> None:
        """Pay for a target."""
        state = self._state(host, now)
        price = float(_CALLS) if state.quota is not None and state.quota.calls_only else state.mean
        state.under_way[job] = price
        state.level -= price

    def settle(self, host: str, job: int, requests: int, now: float, *, reached: bool, wait: float | None) -> None:
        """Take note of what a target took, and whether its host served it.

        Parameters
        ----------
        host : str
        job : int
        requests : int
        now : float
        reached : bool
        wait : float or None
            Seconds for which the host asks to be left alone.
        """
        state = self._state(host, now)
        price = state.under_way.pop(job, 0.0)
        state.settled += 1
        state.mean += (requests - state.mean) / min(state.settled, 50)
        if state.quota is not None and not state.quota.calls_only:
            state.level += price - requests
        if wait is not None:
            state.held = max(state.held, now + wait)
        if reached:
            state.failures, state.pause, state.silent_since = 0, 0.0, None
            return
        if wait is None:  # a host that asks to wait is busy, and not down
            state.failures += 1
        if state.silent_since is None:
            state.silent_since = now
        if self.is_down(host):
            state.pause = state.pause * 2 or self._pause
            state.held = max(state.held, now + state.pause)

    def is_down(self, host: str) -> bool:
        """Say whether a host served none of the last targets."""
        return host in self._hosts and self._hosts[host].failures >= self._patience

    def silent(self, host: str, now: float) -> float:
        """Return for how many seconds every target of a host failed for the host's sake."""
        state = self._hosts.get(host)
        return now - state.silent_since if state and state.silent_since is not None else 0.0

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host that was asked so far."""
        return tuple(self._hosts)

    def _state(self, host: str, now: float) -> _Host:
        if host not in self._hosts:
            quota = self._quota_of(host)
            # A tenth of a window at once; then as they come.
            self._hosts[host] = _Host(quota=quota, level=quota.requests / 10 if quota else 0.0, at=now)
        state = self._hosts[host]
        if state.quota is not None:
            gained = (now - state.at) * state.quota.requests / WINDOW
            state.level = min(state.level + gained, state.quota.requests / 10)
        state.at = now
        return state


def host_of(target: str, hub: str) -> str | None:
    """Return whom a target is asked of; None for what lies on this machine.

    Buckets are all asked of the endpoint that the environment names, where it names one.

    Examples
    --------
    >>> host_of("org/name", "huggingface.co"), host_of("oci://reg.example/a:1", ""), host_of("./folder", "")
    ('huggingface.co', 'oci://reg.example', None)
    """
    if is_hub_url(target):
        return hub
    try:
        if Path(target).exists():
            return None
        parts = urlsplit(target)
        host = parts.netloc.rpartition("@")[2].lower()
        if variables := _ENDPOINTS.get(parts.scheme):
            endpoint = next(filter(None, map(os.environ.get, variables)), "")
            usual = host if parts.scheme == "s3" else "storage.googleapis.com"  # S3 has a host for each bucket
            host = urlsplit(endpoint).netloc.rpartition("@")[2].lower() or usual
    except (OSError, ValueError):  # no name of anything; the audit will say so
        return None
    if parts.scheme:
        return f"{parts.scheme}://{_ALIASES.get(host, host)}"
    return hub if is_hub_id(target) else None


def quota_for(settings: HubSettings, rate: int | None) -> Callable[[str], Quota | None]:
    """Return what hosts are asked: `rate` requests in five minutes of each; else what the public Hub grants of its own.

    A mirror of one's own is not held back unless it asks to be.
    """
    hub = str(settings.origin)

    def quota_of(host: str) -> Quota | None:
        if rate is not None:
            return Quota(requests=rate)
        if host == hub and settings.is_public_hub:
            return Quota(requests=SIGNED_IN if settings.token else ANONYMOUS, calls_only=True)
        return None

    return quota_of
