"""What the tests of the Hub source share."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from auditor.limits import LIMITS
from auditor.sources import Range, hub_api, hub_http, hub_reader

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from loopback_hub import Answer, Request

    from auditor.sources import Source

REPO = "acme/model"
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz01234567"  # noqa: S105 - of nobody


def noise(size: int, seed: str = "") -> bytes:
    return hashlib.shake_128(seed.encode()).digest(size)


WEIGHTS = noise(1_000_000)
FILES = {
    "README.md": b"---\nlicense: llama2\n---\n",
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "sub/tokenizer.json": noise(400_000, "tokenizer"),
}


def limits(monkeypatch: pytest.MonkeyPatch, **changes: float) -> None:
    for module in (hub_api, hub_http, hub_reader):
        monkeypatch.setattr(module, "LIMITS", replace(LIMITS, **changes))  # type: ignore[arg-type]


def whole(source: Source, path: str) -> bytes:
    (size,) = (info.size for info in source.files() if info.path == path)
    return source.read(path, [Range(0, size)])[0]


def times(count: int, twist: Callable[[Request, Answer], Answer]) -> Callable[[Request, Answer], Answer]:
    """Twist the first `count` answers that a twist changes, and none after."""
    left = [count]

    def limited(request: Request, answer: Answer) -> Answer:
        changed = twist(request, answer)
        if changed is answer or not left[0]:
            return answer
        left[0] -= 1
        return changed

    return limited
