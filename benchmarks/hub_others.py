"""What huggingface_hub does for the same bytes: fetch whole shards, or read rows through its file system.

    python benchmarks/hub_others.py download REPO FILE ...
    python benchmarks/hub_others.py rows REPO FIRST COUNT LAYER ...

Prints seconds and the bytes that the caller got, as JSON. `HF_ENDPOINT` says from where.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from huggingface_hub import HfFileSystem, hf_hub_download


def download(repo: str, files: list[str]) -> int:
    """Fetch whole files, and throw them away."""
    with tempfile.TemporaryDirectory() as folder:
        return sum(Path(hf_hub_download(repo, file, local_dir=folder)).stat().st_size for file in files)


def rows(repo: str, first: int, count: int, layers: list[int]) -> int:
    """Read `count` rows of `gate` and `up` of some layers: the index, the header of each shard, a seek and a read."""
    hub = HfFileSystem()
    weight_map = json.loads(hub.cat_file(f"{repo}/model.safetensors.index.json"))["weight_map"]
    wanted = [f"model.layers.{layer}.mlp.{role}_proj.weight" for layer in layers for role in ("gate", "up")]
    got = 0
    for shard in sorted({weight_map[name] for name in wanted}):
        with hub.open(f"{repo}/{shard}", "rb") as file:
            base = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(base - 8))
            for name in wanted:
                if name in header:
                    row = 2 * header[name]["shape"][1]
                    file.seek(base + header[name]["data_offsets"][0] + first * row)
                    got += len(file.read(count * row))
    return got


def main() -> None:
    """Do what is asked, and time it: without the imports."""
    what, repo, *rest = sys.argv[1:]
    started = time.perf_counter()
    if what == "download":
        got = download(repo, rest)
    else:
        first, count, *layers = map(int, rest)
        got = rows(repo, first, count, layers)
    print(json.dumps({"seconds": time.perf_counter() - started, "bytes": got}))


if __name__ == "__main__":
    main()
