"""What hashing and signing cost on a model of 4 GB in four shards, beside OpenSSL and `model_signing`.

    python benchmarks/attest_4gb.py      # part of make bench

The model has the layers of Llama 2 7B, nine of them, and random weights, all of it really on disk; files are in the
page cache. Whole processes, run in turn, the median of five after one to warm up. `openssl speed` hashes 16 KB from its
cache over and over, on as many cores: nothing that reads a file can be faster.
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scan_7b import AUDITOR, measure

RUNS = 5
HIDDEN, NEURONS, LAYERS, VOCABULARY, SHARDS = 4096, 11008, 9, 32000, 4


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of the model."""
    out: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        out |= {f"{at}self_attn.{role}_proj.weight": (HIDDEN, HIDDEN) for role in "qkvo"}
        out |= {f"{at}mlp.{role}_proj.weight": (NEURONS, HIDDEN) for role in ("gate", "up")}
        out[f"{at}mlp.down_proj.weight"] = (HIDDEN, NEURONS)
        out |= {f"{at}{role}_layernorm.weight": (HIDDEN,) for role in ("input", "post_attention")}
    return out | {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}


def write(folder: Path, *, seed: int) -> None:
    """Write the model: every tensor from another place of one block of random numbers."""
    folder.mkdir()
    values = np.random.default_rng(seed).normal(0, 0.02, 1 << 25).astype("<f4")
    block = (values.view("<u4") >> 16).astype("<u2").tobytes()
    names = list(shapes())
    weight_map = {}
    for shard in range(SHARDS):
        part = names[shard * len(names) // SHARDS : (shard + 1) * len(names) // SHARDS]
        file = f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
        weight_map |= dict.fromkeys(part, file)
        header, at = {}, 0
        for name in part:
            size = 2 * int(np.prod(shapes()[name]))
            header[name] = {"dtype": "BF16", "shape": list(shapes()[name]), "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header).encode()
        with (folder / file).open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for number, name in enumerate(part):
                left, start = 2 * int(np.prod(shapes()[name])), 8192 * (number + 1) % len(block)
                while left:
                    left -= out.write(block[start : start + min(left, len(block) - start)])
                    start = 0
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def ceiling(cores: int) -> float:
    """Return GB/s that OpenSSL hashes on this many cores."""
    command = ["openssl", "speed", "-multi", str(cores), "-seconds", "3", "-bytes", "16384", "sha256"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    (kilobytes,) = re.findall(r"^sha256\s+([0-9.]+)k", done.stdout, re.MULTILINE)
    return float(kilobytes) / 1e6


def main() -> None:
    """Write the model, run everything in turn, print one table and the ratios."""
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.processor() or platform.machine()}, {cores} cores, {platform.platform()}")
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "model-signing", "sigstore", "cryptography"))
    print(f"Python {platform.python_version()}, {versions}; {RUNS} runs each, in turn\n")
    with tempfile.TemporaryDirectory(dir=Path.cwd() / ".cache" if Path(".cache").is_dir() else None) as temporary:
        work = Path(temporary)
        write(work / "model", seed=1)
        write(work / "base", seed=2)
        subprocess.run([*AUDITOR, "sketch", "base", "-o", "base.sketch"], cwd=work, check=True, capture_output=True)
        subprocess.run([*AUDITOR, "keygen", "-o", "k", "--no-passphrase"], cwd=work, check=True, capture_output=True)
        size = sum(file.stat().st_size for file in (work / "model").iterdir()) / 1e9
        attest = [*AUDITOR, "attest", "model", "--against", "base.sketch", "--key", "k.key", "-o", "a.json"]
        model_signing = [sys.executable, "-m", "model_signing", "sign", "key", "model", "--private_key", "k.key"]
        commands = {
            "auditor digest": [*AUDITOR, "digest", "model"],
            "auditor digest --tensors": [*AUDITOR, "digest", "model", "--tensors"],
            "auditor scan (no hashing)": [*AUDITOR, "scan", "model", "--against", "base.sketch"],
            "auditor attest (scan, hash, sign)": attest,
            "model_signing sign key": [*model_signing, "--signature", "b.sig"],
        }
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for run in range(RUNS + 1):
            for name, command in commands.items():
                result = measure(command, work)
                if run:
                    results[name].append(result)
        top = ceiling(cores)
        print(f"{size:.2f} GB in {SHARDS} shards; openssl speed sha256 x {cores} cores: {top:.2f} GB/s\n")
        print(f"{'':<34} {'wall s':>8} {'min':>6} {'max':>6} {'peak MB':>8} {'GB/s':>6} {'of openssl':>10}")
        wall = {}
        for name, runs in results.items():
            times = [seconds for seconds, _ in runs]
            wall[name] = statistics.median(times)
            rate = size / wall[name]
            hashed = "" if "no hashing" in name else f" {rate:6.2f} {rate / top:10.0%}"
            peak = max(memory for _, memory in runs)
            print(f"{name:<34} {wall[name]:8.2f} {min(times):6.2f} {max(times):6.2f} {peak:8.0f}{hashed}")
        pure = in_process(work / "model", size)
        print(f"\nhashing alone, process already running: {pure:.2f} GB/s, {pure / top:.0%} of openssl")
        digest, signed = wall["auditor digest"], wall["auditor attest (scan, hash, sign)"]
        print(f"scan, hash and sign in one pass over hashing alone: {signed / digest - 1:+.0%}")
        print(f"against model_signing sign key: {wall['model_signing sign key'] / signed:.2f} times as fast")


def in_process(model: Path, size: float) -> float:
    """Return GB/s of hashing without the start of Python."""
    code = (
        "import sys, time; from auditor.digests.files import digest_files; from auditor.sources import LocalSource\n"
        "source = LocalSource(sys.argv[1]); times = []\n"
        "for _ in range(5):\n"
        "    start = time.perf_counter(); assert not digest_files(source).unread\n"
        "    times.append(time.perf_counter() - start)\n"
        "print(sorted(times)[2])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(model)], check=True, capture_output=True, text=True)
    return size / float(done.stdout)


if __name__ == "__main__":
    main()
