"""What goes in and out of a service, whatever carries it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request, as far as any service looks at it."""

    base: str
    query: Mapping[str, str]
    bearer: str
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - what a client sends may be anything
        """Read the body, which must be JSON."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise RefusedError(400, f"not JSON: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer."""

    status: int = 200
    content_type: str = "application/json"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: object, *, status: int = 200) -> Reply:
        """Answer with JSON."""
        return cls(status=status, body=json.dumps(value).encode())


class RefusedError(Exception):
    """A service will not do what it was asked to."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def reply(self) -> Reply:
        """Say so, in the way of Fulcio and Rekor."""
        return Reply.of({"code": self.status, "message": self.message}, status=self.status)
