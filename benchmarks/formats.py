"""One real model, SmolLM2-135M, in every format that is read: which rows are found again, and what that costs.

    python benchmarks/formats.py [-o FILE]    # the first run makes environments and checkpoints: half an hour

Every checkpoint was written by the tool of its format: torch, llama.cpp's quantiser, bitsandbytes, GPTQModel, AutoAWQ,
llm-compressor, MLX, HQQ, PEFT. What all are made from, and compared with, is the only SmolLM2 that a package index
has: itself of 4 bits (Q4_1), so that rows of more bits may equal it, and Q4_1 of it is a copy. Its width of 576 holds
no whole block of 256: llama.cpp then keeps gate and q in other types, and only down (1,536) in one of the kind asked
for. Those of `integration/test_real_quant.py` hold the first two layers only. Speeds are of float32 that comes out of
gate, from files in the page cache, by time of the processor on one thread.
"""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / at) for at in ("scripts", "tests", "tests/integration", "benchmarks/lineage")]

import numpy as np
import smollm
import test_real_quant as by_tools
import test_real_torch as by_torch
import torchkit
import venvs
from gguf import GGUFReader
from gguf.quants import dequantize

from auditor import Options, scan
from auditor.errors import FileError
from auditor.formats import dtype_of, open_checkpoints
from auditor.formats.quant.bnb import MAPS
from auditor.model import find_base, find_subjects
from auditor.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from auditor.model import ModelView
    from auditor.report import Report

    Floats = NDArray[np.float32]

REFERENCE = "smollm2-135m-instruct"
LAYER = 1
CACHE = ROOT / ".cache" / "formats"
GGUF = (
    "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0", "IQ4_XS", "IQ4_NL", "Q3_K_M",
    "IQ3_S", "IQ3_XXS", "Q2_K", "TQ2_0", "TQ1_0", "MXFP4_MOE",
)  # fmt: skip
QUANTISED = {
    "nf4, nested scales (bitsandbytes)": "bnb-nf4dq", "fp4 (bitsandbytes)": "bnb-fp4",
    "int8 (bitsandbytes)": "bnb-int8",
    "GPTQ 4 bits (GPTQModel)": "gptq-4", "GPTQ 4 bits, act-order": "gptq-4act", "GPTQ 3 bits": "gptq-3",
    "AWQ (AutoAWQ)": "awq-plain", "AWQ, scales folded into norms": "awq-folded",
    "int4 (compressed-tensors)": "ct-w4a16", "FP8 (compressed-tensors)": "ct-fp8", "FP8 in blocks": "ct-fp8block",
    "NVFP4 (compressed-tensors)": "ct-nvfp4", "MLX 4 bits": "mlx-4", "MLX 8 bits": "mlx-8",
    "HQQ 4 bits": "hqq-4a1", "HQQ 2 bits": "hqq-2a1",
}  # fmt: skip
LORA = """
import sys
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
import torch
torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
adapted = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
with torch.no_grad():
    for name, w in adapted.named_parameters():
        if "lora_B" in name:
            w.add_(torch.randn_like(w) * 0.02)
adapted.save_pretrained(sys.argv[2])
"""


class Written(NamedTuple):
    """A checkpoint: what to call it, where it lies, and the base where it is an adapter."""

    name: str
    path: Path
    base: Path | None = None


def checkpoints(original: Path) -> Iterator[Written]:
    """Make every checkpoint that is not there yet, one after another."""
    yield Written("safetensors, bfloat16", original)
    torch = made("torch", lambda folder: torchkit.run_torch(by_torch.SAVE, original / "model.safetensors", folder))
    for name, at in (("zip", "zip"), ("before zip", "legacy"), ("three shards with index", "sharded")):
        yield Written(f"torch, {name}", torch / at)
    for name, shards in (("one file", 1), ("three files", 3)):
        yield Written(f"Meta's layout, {name}", torch / f"meta-{shards}")
    source = str(smollm.smollm2.fetch())
    for kind in GGUF:
        try:
            path = made(kind, lambda folder, kind=kind: quantise(source, kind, folder))
        except subprocess.CalledProcessError:
            print(f"GGUF {kind}: llama.cpp refuses", file=sys.stderr)
            continue
        yield Written(f"GGUF {kind}", path)
    quantised = by_tools.write_quantised(original)
    for name, method in QUANTISED.items():
        yield Written(name, quantised / method / "checkpoint")
    adapter = made("lora-2", lambda folder: torchkit.run_torch(LORA, original, folder))
    yield Written("LoRA of rank 16 (PEFT), alone", adapter)
    yield Written("LoRA of rank 16 (PEFT), with its base", adapter, base=original)


def made(name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder of what `make` makes, once."""
    folder = CACHE / name
    if not (folder / ".complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        make(folder)
        (folder / ".complete").touch()
    return folder


def quantise(source: str, kind: str, folder: Path) -> None:
    """Quantise by llama.cpp."""
    venvs.run("real", "smollm_tools.py", "quantise", str(venvs.llama_cpp()), source, kind, str(folder))


def view_of(written: Written) -> ModelView | None:
    """Return the model of a checkpoint, None where it is none."""
    source = open_source(str(written.path))
    base_source = open_source(str(written.base)) if written.base else None
    base = find_base(base_source, open_checkpoints(base_source)) if base_source else None
    return next(iter(find_subjects(source, open_checkpoints(source), base=base).models), None)


def cosine(ours: Floats, theirs: Floats) -> float:
    """Return the mean cosine of rows."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    return float(((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean())


def whole(view: ModelView, role: str) -> Floats:
    """Decode a matrix of the layer looked at."""
    return view.rows(LAYER, role, np.arange(view.tensor(LAYER, role).shape[0]))


def speed(decode: Callable[[], Floats], *, seconds: float = 0.4) -> float:
    """Return GB of float32 that come out in a second of the processor, the best of many runs."""
    best, until = float("inf"), time.process_time() + seconds
    while time.process_time() < until:
        started = time.process_time()
        size = decode().nbytes
        best = min(best, (time.process_time() - started) / size)
    return 1e-9 / best


def row(written: Written, source: ModelView) -> str:
    """Audit one checkpoint, and return a row of the table."""
    report = scan(str(written.path), Options(against=(REFERENCE,), licence=False, base=_text(written.base)))
    best = report.lineage.best
    view = view_of(written)
    cells = [written.name]
    if view is None:
        cells += ["-"] * 4
    else:
        kinds = dict.fromkeys(view.tensor(LAYER, role).dtype for role in ("gate", "down"))
        cells += [
            ", ".join(kinds),
            *(f"{cosine(whole(view, role), whole(source, role)):.4f}" for role in ("gate", "q", "down")),
        ]
    p = f"{best.log10_p:.0f}" if best is not None and best.log10_p is not None else "-"
    size = sum(info.size for info in report.target.files)
    rate = "-" if view is None else f"{speed(lambda: whole(view, 'gate')):.2f}"
    cells += [report.lineage.verdict, p, f"{_bytes(report) / 1e6:.2f} of {size / 1e6:.0f}", rate]
    return f"| {' | '.join(cells)} |"


def _bytes(report: Report) -> int:
    merged = next((adapter.merged_into for adapter in report.target.adapters if adapter.merged_into), None)
    return report.coverage.bytes_read + (merged.bytes_read if merged else 0)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def beside_gguf(files: list[Path]) -> Iterator[str]:
    """Decode a matrix of every type by us and by `gguf`."""
    seen: set[str] = set()
    for file in files:
        for tensor in GGUFReader(file).tensors:
            kind = tensor.tensor_type.name
            if kind in seen or len(tensor.shape) != 2 or tensor.n_elements < 100_000:
                continue
            seen.add(kind)
            raw = np.ascontiguousarray(tensor.data).view(np.uint8).reshape(-1)
            decode = dtype_of(kind).decode
            if decode is None:
                yield f"| {kind} | not read | | | |"
                continue
            ours = decode(raw)
            mine = speed(lambda decode=decode, raw=raw: decode(raw))
            try:
                theirs = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
            except NotImplementedError:
                yield f"| {kind} | {mine:.2f} | none | | |"
                continue
            other = speed(lambda tensor=tensor: np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32))
            apart = float(np.abs(ours - theirs.reshape(-1)).max())
            yield f"| {kind} | {mine:.2f} | {other:.2f} | {mine / other:.1f} | {apart:.1g} |"


# --- peak memory ----------------------------------------------------------------------------------------


LARGE = """
import json, os, sys
import torch
from safetensors.torch import save_file
folder, times = sys.argv[1], int(sys.argv[2])
torch.manual_seed(times)
model = {"model.embed_tokens.weight": torch.randn(12288 * times, 576), "model.norm.weight": torch.ones(576)}
for layer in range(12):
    at = f"model.layers.{layer}."
    for role in ("gate", "up"):
        model[f"{at}mlp.{role}_proj.weight"] = torch.randn(1536 * times, 576)
    model[f"{at}mlp.down_proj.weight"] = torch.randn(576, 1536 * times)
    for role in ("input", "post_attention"):
        model[f"{at}{role}_layernorm.weight"] = torch.ones(576)
model = {name: w.bfloat16() for name, w in model.items()}
for name in ("safetensors", "zip", "legacy"):
    os.makedirs(f"{folder}/{name}")
save_file(model, f"{folder}/safetensors/model.safetensors")
torch.save(model, f"{folder}/zip/pytorch_model.bin")
torch.save(model, f"{folder}/legacy/pytorch_model.bin", _use_new_zipfile_serialization=False)
packed = {}
for name, w in model.items():  # the sizes of nf4, any codes
    if ".layers." in name and w.dim() == 2:
        packed[name] = torch.randint(0, 256, (w.numel() // 2, 1), dtype=torch.uint8)
        packed[f"{name}.absmax"] = torch.rand(w.numel() // 64) + 1
        packed[f"{name}.quant_map"] = torch.tensor(MAP)
        state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": list(w.shape)}
        text = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
        packed[f"{name}.quant_state.bitsandbytes__nf4"] = text
    else:
        packed[name] = w
os.makedirs(f"{folder}/nf4")
save_file(packed, f"{folder}/nf4/model.safetensors")
with open(f"{folder}/nf4/config.json", "w") as out:
    out.write('{"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}}')
"""


MEASURED = """
import os, subprocess, sys
command = [sys.executable, "-m", "auditor", "compare", *sys.argv[1:], "--format", "json"]
process = subprocess.Popen(command, stdout=subprocess.PIPE)
out = process.stdout.read()
print(out.decode().rstrip(), os.wait4(process.pid, 0)[2].ru_maxrss, sep="\\n")
"""
"""A process of its own, for a child's peak memory starts at what its parent held when it was made."""


def peak(reference: str, target: Path) -> tuple[float, str]:
    """Scan in a process of its own; return peak resident MB, and the verdict."""
    command = [sys.executable, "-c", MEASURED, reference, str(target)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    report, used = done.stdout.rsplit("\n", 2)[:2]
    return int(used) / 1024, json.loads(report)["lineage"]["verdict"]


def memory(original: Path) -> Iterator[str]:
    """Scan unrelated models of two sizes: against a sketch, which takes rows, and a model, which takes whole layers."""
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        for times in (1, 4):
            script = LARGE.replace("MAP)", f"{[float(x) for x in MAPS['nf4']]})")
            torchkit.run_torch(script, Path(temporary, str(times)), str(times))
        for kind in ("safetensors", "zip", "legacy", "nf4"):
            for reference, name in ((REFERENCE, "a sketch"), (str(original), "the model")):
                cells = []
                for times in (1, 4):
                    folder = Path(temporary, str(times), kind)
                    size = sum(path.stat().st_size for path in folder.iterdir())
                    used, verdict = peak(reference, folder)
                    cells.append(f"{size / 1e6:.0f} MB: {used:.0f} MB ({verdict})")
                yield f"| {kind} against {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    output = parser.parse_args().output
    CACHE.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []

    def say(*text: str) -> None:
        lines.extend(text)
        print(*text, sep="\n", flush=True)

    original = by_tools.write_original()
    source = view_of(Written("", original))
    assert source is not None  # noqa: S101 (it has just been written)
    say("| checkpoint | gate, down stored as | row cosine of gate | q | down | verdict | log10 p | MB read | GB/s |")
    say("|---|---|---|---|---|---|---|---|---|")
    files = []
    for written in checkpoints(original):
        try:
            say(row(written, source))
        except FileError as error:
            say(f"| {written.name} | {error} |")
        files += written.path.glob("*.gguf")
    say("", "| GGUF type | GB/s | gguf's own | ratio | largest difference |", "|---|---|---|---|---|")
    for line in beside_gguf(files):
        say(line)
    say("", "| peak memory of a scan | 1x | 4x |", "|---|---|---|")
    for line in memory(original):
        say(line)
    if output:
        output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
