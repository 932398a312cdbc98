"""A user at a desk: commands run in this process, a library of stand-ins, a cache of their own, a Hub on loopback."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clikit import Commands, Done
from modelkit import drifted, make_model, safetensors_bytes, write_model
from referencekit import NAME, REPO, pin_lines, shards, write_library

from auditor.lineage import known
from auditor.lineage.references import table
from auditor.sources.hub_settings import HubSettings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pytest
    from loopback_hub import LoopbackHub

    from auditor.lineage.known import KnownFile

BASE = shards(1)
"""The weight files of the stand-in for Llama 2 7B."""

COMMAND = f"auditor references build {NAME}"
TUNED = drifted(make_model(1), cosine=0.9)
OTHER = make_model(2)
TARGET = "acme/tuned"
CARD = b"---\nlicense: llama2\n---\n# A model\n"
CONFIG = json.dumps({"model_type": "llama", "hidden_size": 64}).encode()


class Desk:
    """What a test has at hand. `cache` is empty, the Hub serves the stand-in, and `library` pins it."""

    def __init__(
        self, folder: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.folder = folder
        self.hub = hub
        self._run = Commands(capsys, monkeypatch)
        self._monkeypatch = monkeypatch
        self.write_library()
        self.use_cache("cache")
        self.settings(token=None)
        hub.publish(REPO, {"config.json": CONFIG, "README.md": CARD, **BASE})

    def __call__(self, *arguments: str | Path) -> Done:
        return self._run(*arguments)

    def fails(self, *arguments: str | Path) -> str:
        """Run a command that ends with 2 and one line on standard error; return that line."""
        done = self(*arguments)
        lines = [line for line in done.err.splitlines() if not line.startswith("making the sketch")]
        assert (done.code, done.out, len(lines)) == (2, "", 1), done
        assert lines[0].startswith("auditor: ")
        return lines[0]

    def scan(self, target: str | Path, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
        """Run a scan without regard to the licence; return its report."""
        done = self("scan", target, "--format", "json", "--fail-on", "never", *arguments)
        assert done.code == code, done
        report: dict[str, Any] = done.json
        assert report["exit_code"] == code
        return report

    def settings(self, **changed: Any) -> None:  # noqa: ANN401 (any field)
        """Reach the Hub with these settings."""
        settings = replace(self.hub.settings(), **changed)
        self._monkeypatch.setattr(HubSettings, "current", staticmethod(lambda: settings))

    def write_library(
        self, pins: str = pin_lines(BASE), *, mirrors: bool = True, rows: Iterable[KnownFile] = ()
    ) -> None:
        folder = write_library(self.folder / "library", pins, mirrors=mirrors, known=rows)
        for module in (table, known):
            self._monkeypatch.setattr(module, "library_folder", lambda: folder)

    def use_cache(self, name: str) -> Path:
        """Go to another machine, as far as sketches are concerned; return where it keeps them."""
        self._monkeypatch.setenv("XDG_CACHE_HOME", str(self.folder / name))
        return self.folder / name / "auditor" / "references"

    @property
    def sketches(self) -> list[Path]:
        """Everything in the cache of sketches, on every machine."""
        return sorted(path for path in self.folder.glob("*/auditor/references/*") if path.is_file())

    def build(self) -> Path:
        """Make the stand-in's sketch, and forget what was asked of the Hub; return the sketch."""
        done = self("references", "build", NAME)
        assert done.code == 0, done
        self.hub.requests.clear()
        (sketch,) = (path for path in self.sketches if path.suffix == ".safetensors")
        return sketch

    def write(self, model: dict[str, Any], name: str = "model") -> Path:
        """Write a model with a card and a config below the folder."""
        folder = write_model(model, self.folder / name)
        (folder / "README.md").write_bytes(CARD)
        (folder / "config.json").write_bytes(CONFIG)
        return folder

    def publish(self, model: dict[str, Any], repo: str = TARGET) -> str:
        """Put the same files on the Hub; return the commit."""
        files = {"README.md": CARD, "config.json": CONFIG, "model.safetensors": safetensors_bytes(model)}
        return self.hub.publish(repo, files)

    def read_of(self, data: bytes) -> list[tuple[int, int]]:
        """Return the ranges of a file in LFS that the storage host was asked for; whole ones as (0, -1)."""
        return [request.range or (0, -1) for request in self.hub.asked("cdn", hashlib.sha256(data).hexdigest())]
