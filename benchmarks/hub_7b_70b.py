"""What a scan by repository name costs at the shapes of Llama 2 7B and 70B, 40 ms away from the server.

    python benchmarks/hub_7b_70b.py      # a minute, 1 GB of disk

A stand-in for the Hub (`sparse_hub.py`) serves sparse checkpoints of the true sizes, from one network namespace to
another over a wire that is 40 ms long (`long_wire.py`); where namespaces cannot be made, on loopback, and the server
waits instead. The output says which. Beside each scan, huggingface_hub for the same evidence: downloading the shards in
which it lies, measured on one file of 250 MB and extrapolated, and `HfFileSystem` reading the same rows, and nothing
else. Bandwidth is that of the machine, not of a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llama_shape import LLAMA_7B, LLAMA_70B, Shape, write, write_sketch
from long_wire import THERE

from auditor.lineage.sample import sample_index

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUND_TRIP_MS = 40
SLICE = 250_000_000  # bytes of the file whose download is timed
HERE = Path(__file__).parent
MB = 1_000_000

README = """---
license: llama2
base_model: meta-llama/Llama-2-7b-hf
---
# A model

Fine-tuned from Llama 2.
"""
SMALL = {
    ".gitattributes": "*.safetensors filter=lfs diff=lfs merge=lfs -text\n" * 30,
    "LICENSE.txt": "LLAMA 2 COMMUNITY LICENSE AGREEMENT\n" * 200,
    "README.md": README,
    "generation_config.json": json.dumps({"bos_token_id": 1, "eos_token_id": 2, "transformers_version": "4.32.0"}),
    "special_tokens_map.json": json.dumps({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}),
    "tokenizer_config.json": json.dumps({"tokenizer_class": "LlamaTokenizer", "model_max_length": 4096}),
    "tokenizer.json": json.dumps({"version": "1.0", "model": {"type": "BPE", "merges": ["a b"] * 260_000}}),
    "tokenizer.model": "\n\x0e\n\x05<unk>\x15" + "\x00" * 499_700,
}


class Target(NamedTuple):
    """A repository, and what its scan may cost."""

    label: str
    repo: str
    shape: Shape
    verdict: str
    most_bytes: int
    most_requests: int | None


TARGETS = (
    Target("derived 7B", "bench/tuned-7b", LLAMA_7B, "derived", 4 * MB, 40),
    Target("independent 7B", "bench/other-7b", LLAMA_7B, "independent", 64 * MB, None),
    Target("derived 70B", "bench/tuned-70b", LLAMA_70B, "derived", 6 * MB, 40),
)


def publish(hub: Path, work: Path) -> dict[Shape, Path]:
    """Write every repository, and a sketch of each base; return the sketches."""
    sketches = {}
    for shape, size in ((LLAMA_7B, "7b"), (LLAMA_70B, "70b")):
        sketches[shape] = write_sketch(write(work / f"base-{size}", shape, seed=1), work / f"base-{size}.sketch")
        write(hub / "bench" / f"tuned-{size}", shape, seed=2, drift_from=1, cosine=0.5)
    write(hub / "bench" / "other-7b", seed=3)
    for target in TARGETS:
        folder = hub / target.repo
        for name, text in SMALL.items():
            (folder / name).write_text(text)
        config = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": target.shape.hidden,
            "intermediate_size": target.shape.neurons,
            "num_hidden_layers": target.shape.layers,
            "num_attention_heads": target.shape.heads,
            "num_key_value_heads": target.shape.shared,
        }
        (folder / "config.json").write_text(json.dumps(config, indent=2))
    slice_ = hub / "bench" / "slice"
    slice_.mkdir()
    with (slice_ / "model.safetensors").open("wb") as out:
        out.truncate(SLICE)
    return sketches


COPY = """
import json, sys
from pathlib import Path
from auditor.audit import Options, audit
from auditor.recalling import earlier_of
from auditor.report.reading import parse_report

target, report, sketch = sys.argv[1:]
earlier = earlier_of(parse_report(Path(report).read_bytes(), file=report))
found = audit(target, Options(against=(sketch,)), recall=lambda _: earlier).report
assert found.coverage.weights_of
print(json.dumps(found.as_dict()["coverage"]))
"""
"""Audits a target whose weights were read before."""


class Place(NamedTuple):
    """Where commands run: what to put before those of the client and of the server, and the server's address."""

    here: list[str]
    there: list[str]
    host: str


@contextlib.contextmanager
def far_away() -> Iterator[Place | None]:
    """Yield two network namespaces 40 ms apart, there and back; None where they cannot be made."""
    name = f"hub{os.getpid()}"
    command: list[str | Path] = [sys.executable, HERE / "long_wire.py", name, f"{ROUND_TRIP_MS / 2:g}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as wire:
        assert wire.stdin is not None  # noqa: S101 (both are pipes)
        assert wire.stdout is not None  # noqa: S101
        try:
            if wire.stdout.readline():
                here, there = (["ip", "netns", "exec", f"{name}-{end}"] for end in ("here", "there"))
                yield Place(here, there, THERE)
            else:
                yield None
        finally:
            wire.stdin.close()


class Cost(NamedTuple):
    """What one way of getting the evidence took."""

    requests: int
    bytes: int
    seconds: float


class Bench:
    """The server, and commands that talk with it."""

    def __init__(self, server: subprocess.Popen[str], prefix: list[str], work: Path) -> None:
        assert server.stdin is not None  # noqa: S101 (both are pipes)
        assert server.stdout is not None  # noqa: S101
        self._ask, self._answers = server.stdin, server.stdout
        self._prefix = prefix
        self.work = work
        self.endpoint = self._answers.readline().strip()

    def counts(self) -> dict[str, int]:
        """Return what the server was asked since the last call."""
        self._ask.write("\n")
        self._ask.flush()
        return dict(json.loads(self._answers.readline()))

    def run(self, *command: object) -> dict[str, Any]:
        """Run a command of Python's; return the JSON that it prints."""
        # A cache of its own each time, so that nothing is there already.
        with tempfile.TemporaryDirectory(dir=self.work) as home:
            env = os.environ | {"HF_ENDPOINT": self.endpoint, "HF_HOME": home, "XDG_CACHE_HOME": home}
            env |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}
            env = {key: value for key, value in env.items() if key not in {"HF_TOKEN", "PYTHONDONTWRITEBYTECODE"}}
            done = subprocess.run(
                [*self._prefix, sys.executable, *map(str, command)],
                cwd=self.work,
                env=env,
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
        if not done.stdout:
            sys.exit(f"{command} exited {done.returncode} and printed nothing")
        return dict(json.loads(done.stdout))

    def other(self, *command: object) -> Cost:
        """Run `hub_others.py`; requests and bytes are those that the server saw."""
        self.counts()
        done = self.run(HERE / "hub_others.py", *command)
        counted = self.counts()
        sent = counted.pop("bytes")
        return Cost(sum(counted.values()), sent, done["seconds"])


def line(label: str, cost: Cost, note: str = "") -> None:
    """Print one row."""
    print(f"  {label:<42} {cost.requests:>8} {cost.bytes / MB:>10.2f} {cost.seconds:>8.2f}  {note}".rstrip())


def compare(bench: Bench, target: Target, sketch: Path, a_slice: Cost) -> bool:
    """Scan a repository, do the same otherwise, print what each took; return whether the budget was kept."""
    bench.counts()
    started = time.perf_counter()
    report = bench.run("-m", "auditor", "scan", target.repo, "--against", sketch, "--format", "json")
    wall = time.perf_counter() - started
    kinds = bench.counts()
    lineage, coverage = report["lineage"], report["coverage"]
    if lineage["verdict"] != target.verdict or coverage["unread"]:
        sys.exit(f"{target.repo}: {lineage['verdict']}, unread {coverage['unread']}")
    cost = Cost(coverage["requests"], coverage["bytes_read"], coverage["seconds"])
    sent = kinds.pop("bytes")
    if (sum(kinds.values()), sent) != (cost.requests, cost.bytes):
        sys.exit(f"{target.repo}: the report says {cost}, the server counted {kinds} and {sent} bytes")
    most = target.most_requests or cost.requests
    kept = cost.bytes <= target.most_bytes and cost.requests <= most
    files = {file["path"]: file["size"] for file in report["target"]["files"]}
    print(f"{target.label}: {len(files)} files, {sum(files.values()) / 1e9:.1f} GB")
    limit = f"{target.most_bytes // MB} MB" + (f", {target.most_requests} requests" if target.most_requests else "")
    line("auditor scan", cost, f"budget {limit}: {'kept' if kept else 'MISSED'}; whole process {wall:.2f} s")
    print("    requests: " + ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())))
    print(
        f"    {lineage['verdict']}, log10 p {lineage['log10_p']:.1f} after corrections, {len(lineage['layers'])} layers"
    )
    if lineage["verdict"] != "inconclusive":
        (bench.work / "report.json").write_text(json.dumps(report))
        told = bench.run("-c", COPY, target.repo, bench.work / "report.json", sketch)
        bench.counts()
        line("a copy of it, in a sweep", Cost(told["requests"], told["bytes_read"], told["seconds"]))
    layers = [layer["target"] for layer in lineage["layers"]]
    index = sample_index(target.shape.neurons)
    neurons = lineage["layers"][0]["n"]
    rows = bench.other("rows", target.repo, index[0], neurons, *layers)
    line("HfFileSystem, the same rows", rows)
    tensors = {f"model.layers.{layer}.mlp.gate_proj.weight" for layer in layers}
    parts = target.shape.shards()
    shards = [i for i, names in enumerate(parts, 1) if tensors & set(names)]
    needed = sum(size for path, size in files.items() if any(f"-{i:05d}-of" in path for i in shards))
    times = needed / SLICE
    whole = Cost(a_slice.requests * len(shards), needed, a_slice.seconds * times)
    line(f"hf_hub_download, {len(shards)} shards (extrapolated)", whole, f"{needed / 125e6:.0f} s at 1 Gbit/s")
    print()
    return kept


def main() -> None:
    """Write the repositories, serve them, run everything in turn."""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.platform()}")
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "httpx2", "huggingface_hub", "fsspec"))
    print(f"Python {platform.python_version()}, {packages}")
    with tempfile.TemporaryDirectory() as temporary, far_away() as found:
        work = Path(temporary)
        sketches = publish(work / "hub", work)
        place, wait = found or Place([], [], "127.0.0.1"), 0 if found else ROUND_TRIP_MS
        if found is None:
            print(
                f"{ROUND_TRIP_MS} ms by the server: before each answer, and once for each new connection (network "
                "namespaces\ncannot be made here); TCP's slow start costs nothing then\n"
            )
        else:
            print(f"{ROUND_TRIP_MS} ms on the wire between two network namespaces, half of it each way\n")
        command: list[str | Path] = [
            *place.there,
            sys.executable,
            HERE / "sparse_hub.py",
            work / "hub",
            place.host,
            str(wait),
        ]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            try:
                bench = Bench(server, place.here, work)
                a_slice = bench.other("download", "bench/slice", "model.safetensors")
                print(f"  {'':<42} {'requests':>8} {'MB':>10} {'s':>8}")
                line("hf_hub_download, 250 MB (measured)", a_slice, "one connection, plain HTTP, no Xet")
                print()
                kept = [compare(bench, target, sketches[target.shape], a_slice) for target in TARGETS]
            finally:
                server.terminate()
    sys.exit(0 if all(kept) else "a budget was missed")


if __name__ == "__main__":
    main()
