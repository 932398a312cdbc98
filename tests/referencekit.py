"""A library of stand-ins: a small model under the name of Llama 2 7B, with pins that fit it."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from modelkit import make_model, safetensors_bytes

from auditor.lineage.known import COLUMNS, KnownFile
from auditor.lineage.references import Reference, find_reference
from auditor.sources import BytesSource, FileInfo, Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from modelkit import Model

    from auditor.sources import OnDisk, Source, Unread

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "llama-2-7b"
REPO = "meta-llama/Llama-2-7b-hf"
MIRROR = "NousResearch/Llama-2-7b-hf"
SHAPE = {"layers": 4, "hidden_size": 64, "neurons": 96, "vocabulary": 50}


def shards(seed: int = 1, **shape: int) -> dict[str, bytes]:
    """Draw a model in two files, without an index."""
    model = make_model(seed, **shape)
    names = sorted(model)
    parts: list[Model] = [{name: model[name] for name in names[i::2]} for i in range(2)]
    return {f"model-{i + 1:05d}-of-00002.safetensors": safetensors_bytes(part) for i, part in enumerate(parts)}


def pin_lines(files: dict[str, bytes], **changed: str) -> str:
    """Write the pins of these files; `changed` gives the second another digest."""
    lines = [
        f'  {{ path = "{path}", sha256 = "{hashlib.sha256(data).hexdigest()}", size = {len(data)}, sources = 3 }},'
        for path, data in sorted(files.items())
    ]
    if "sha256" in changed:
        last = hashlib.sha256(files[max(files)]).hexdigest()
        lines[-1] = lines[-1].replace(last, changed["sha256"])
    return "pins = [\n" + "\n".join(lines) + "\n]\n"


def write_library(folder: Path, pins: str, *, mirrors: bool = True, known: Iterable[KnownFile] = ()) -> Path:
    """Write a table: the stand-in, a model that descends from it, and one of another width; and known digests."""
    shape = "".join(f"{key} = {value}\n" for key, value in SHAPE.items())
    table = (
        f'[reference.{NAME}]\ntitle = "Stand-in"\nlicense = "llama2"\nrepo = "{REPO}"\n'
        f"{f'mirrors = [{MIRROR!r}]' if mirrors else ''}\nsuper_weights = [[1, 5, 7]]\n{shape}{pins}\n"
        f'[reference.{NAME}-chat]\ntitle = "Chat"\nlicense = "llama2"\nrepo = "{REPO}-chat"\n'
        f'descends_from = "{NAME}"\n{shape}\n'
        '[reference.llama-2-13b]\ntitle = "Wider"\nlicense = "llama2"\nrepo = "meta-llama/Llama-2-13b-hf"\n'
        "layers = 4\nhidden_size = 80\nneurons = 96\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "references.toml").write_text(table)
    with (folder / "known_digests.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for row in known:
            fields = asdict(row) | {"sources": " | ".join(row.sources)}
            rows.writerow("" if fields[column] is None else fields[column] for column in COLUMNS)
    return folder


def known_row(data: bytes, file: str, **changed: Any) -> KnownFile:  # noqa: ANN401 (any field)
    """Make a row that decides for the stand-in: a weight file of it, in two sources."""
    fields: dict[str, Any] = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "model": "Stand-in",
        "repo": REPO,
        "file": file,
        "relation": "official",
        "reference": NAME,
        "confidence": "corroborated",
        "sources": ("one record", "another record"),
    }
    return KnownFile(**fields | changed)


def stand_in(folder: Path) -> Reference:
    """Return the stand-in of a library."""
    return find_reference(NAME, folder=folder)


class HubStub:
    """A source that claims to be a repository of the Hub, and says what was read of it."""

    kind = "hub"

    def __init__(
        self,
        source: Source,
        *,
        digests: dict[str, str | None],
        revision: str | None = COMMIT,
        disk: Source | None = None,
    ) -> None:
        self.uri = f"hf://{REPO}"
        self.revision = revision
        self.bytes_read = 0
        self.requests = 0
        self._source = source
        self._digests = digests
        self._disk = disk

    def files(self) -> tuple[FileInfo, ...]:
        return tuple(
            FileInfo(
                path=info.path,
                size=info.size,
                sha256=self._digests.get(info.path),
                digest_source="hub" if self._digests.get(info.path) else None,
            )
            for info in self._source.files()
        )

    def refused(self) -> tuple[Unread, ...]:
        return ()

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        parts = self._source.read(path, ranges)
        self.bytes_read += sum(map(len, parts))
        self.requests += len(parts)
        return parts

    def on_disk(self, path: str) -> OnDisk | None:
        return self._disk.on_disk(path) if self._disk else None


def hub(files: dict[str, bytes], *, revision: str | None = COMMIT, **digests: str | None) -> HubStub:
    """Serve files with their true digests, except for those given by the end of their name (`a` for the first)."""
    known: dict[str, str | None] = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    for key, value in digests.items():
        known[sorted(files)["ab".index(key)]] = value
    return HubStub(BytesSource(files), digests=known, revision=revision)
