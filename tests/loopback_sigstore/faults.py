"""What a test makes go wrong: services that answer with an error, with junk, late, or not at all."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from loopback_sigstore.messages import RefusedError, Reply

Service = Literal["fulcio", "rekor", "tsa", "oidc", "github"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How a service fails."""

    reply: Reply | None  # None: the connection is closed without an answer
    wait: float  # seconds before that


class Faults:
    """The faults that are on, and how often each service was asked."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self._faults: dict[str, tuple[Fault, int | None]] = {}
        self._changing = threading.Lock()

    def set(self, service: Service, *, status: int | None, body: bytes | None, wait: float, times: int | None) -> None:
        """Let a service fail, for so many requests or until it is cleared."""
        reply = None
        if status is not None:
            reply = RefusedError(status, "injected").reply() if body is None else Reply(status=status, body=body)
        with self._changing:
            self._faults[service] = (Fault(reply=reply, wait=wait), times)

    def clear(self, service: Service | None = None) -> None:
        """Let a service work again, or all of them."""
        with self._changing:
            for name in list(self._faults) if service is None else [service]:
                self._faults.pop(name, None)

    def meet(self, service: Service) -> Fault | None:
        """Count a request, and return the fault that it meets."""
        with self._changing:
            self.requests[service] += 1
            fault, left = self._faults.get(service, (None, None))
            if left is not None:
                if left <= 1:
                    del self._faults[service]
                else:
                    self._faults[service] = (fault, left - 1)  # type: ignore[assignment]
            return fault
