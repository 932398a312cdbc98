"""A desk for a test. A plugin for the tests that name it in `pytest_plugins`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from deskkit import Desk
from loopback_hub import LoopbackHub

from auditor.sources import hub_http

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        yield server


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the waits between tries instead of waiting."""
    waited: list[float] = []
    monkeypatch.setattr(hub_http, "_pause", waited.append)
    return waited


@pytest.fixture
def desk(
    tmp_path: Path,
    hub: LoopbackHub,
    waits: list[float],  # noqa: ARG001 (nothing waits)
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path, hub, capsys, monkeypatch)
