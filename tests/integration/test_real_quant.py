"""A real LLM quantised by the real tools: every matrix as the tool itself reads it, and the audit's verdict on it.

The tools live in an environment of their own under `.cache/`, made once; their checkpoints of SmolLM2's first layers
stay there too. GPTQModel, AutoAWQ and HQQ are installed without what they need for GPUs, of which nothing is used:
GPTQModel packs and unpacks, AutoAWQ packs what its own rule for scales and zero points gives, HQQ quantises.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import derive
import numpy as np
import pytest
import smollm2
from safetensors.numpy import load_file
from venvkit import python_of

from auditor import Options, scan
from auditor.formats import open_checkpoints
from auditor.model import model_views
from auditor.sources import open_source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from auditor.model import ModelView

    Floats = NDArray[np.float32]

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "quant"
SCRIPT = HERE / "quantise_by_tools.py"
LAYER = 1
ROLES = {"q_proj": "q", "k_proj": "k", "o_proj": "o", "gate_proj": "gate", "up_proj": "up", "down_proj": "down"}
LEAST = {
    # Lowest row cosine to the source that each method leaves; another order of rows leaves some 0.
    "bnb-nf4": 0.98, "bnb-nf4dq": 0.98, "bnb-fp4": 0.96, "bnb-fp4dq": 0.96, "bnb-int8": 0.999,
    "gptq-4": 0.98, "gptq-4act": 0.98, "gptq-4v2": 0.98, "gptq-3": 0.93, "gptq-2": 0.6, "gptq-8act": 0.999,
    "awq-plain": 0.92, "awq-folded": 0.75,
    "ct-w4a16": 0.97, "ct-w4a16asym": 0.98, "ct-w8a16": 0.999, "ct-w8a8": 0.999, "ct-fp8": 0.999, "ct-fp8block": 0.999,
    "ct-nvfp4": 0.98, "ct-mxfp4": 0.97,
    "mlx-2": 0.6, "mlx-3": 0.93, "mlx-4": 0.98, "mlx-5": 0.99, "mlx-6": 0.999, "mlx-8": 0.999,
    "hqq-4a1": 0.98, "hqq-4a1f": 0.98, "hqq-4a0": 0.8, "hqq-8a1": 0.999, "hqq-3a1": 0.9, "hqq-3a0": 0.6, "hqq-2a1": 0.7,
    "hqq-1a1": 0.25,
}  # fmt: skip
INEXACT = {"bnb-int8": 1e-6, "ct-nvfp4": 0.005}  # int8 divides later; NVFP4's tool reckons in bfloat16


def tools() -> Path:
    """Return the python of the tools' environment, making that first where it is not there."""
    together, alone = HERE / "quant_tools.txt", HERE / "quant_tools_alone.txt"
    return python_of(
        "quant",
        ("setuptools", "wheel"),
        ("-r", str(together)),
        ("--no-deps", "--no-build-isolation", "-r", str(alone)),
        variables={"DISABLE_CUDA": "1", "BUILD_CUDA_EXT": "0"},
        depends_on=[path.read_text() for path in (together, alone)],
    )


def write_original() -> Path:
    """Return SmolLM2 as Hugging Face has it: bfloat16 safetensors and a config that transformers can load."""
    folder = CACHE / "smollm2"
    if not (folder / "config.json").exists():
        config = {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152,
            "tie_word_embeddings": True, "rope_theta": 100000.0, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        }  # fmt: skip
        derive.write(derive.load(smollm2.fetch()), folder, texts={"config.json": json.dumps(config)})
    return folder


def write_quantised(original: Path) -> Path:
    """Return the folder of checkpoints of every method, each made once for this version of the script."""
    folder = CACHE / f"made-{hashlib.sha256(SCRIPT.read_bytes()).hexdigest()[:12]}"
    missing = [method for method in LEAST if not (folder / method / "expected.safetensors").exists()]
    for _, methods in groupby(missing, key=lambda method: method.partition("-")[0]):
        command = [str(tools()), str(SCRIPT), str(original), str(folder), *methods]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="session")
def original() -> Path:
    return write_original()


@pytest.fixture(scope="session")
def quantised(original: Path) -> Path:
    return write_quantised(original)


def view_of(path: Path) -> ModelView:
    source = open_source(str(path))
    found = open_checkpoints(source)
    assert found.unread == ()
    (view,) = (view for container in found.containers for view in model_views(source, container))
    return view


def cosines(left: Floats, right: Floats) -> Floats:
    a, b = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / lengths, dtype=np.float32)


def matrix(view: ModelView, role: str) -> Floats:
    return view.rows(LAYER, role, np.arange(view.tensor(LAYER, role).shape[0]))


@pytest.mark.parametrize("method", LEAST)
def test_values_are_those_that_the_tool_itself_reads(quantised: Path, method: str) -> None:
    view = view_of(quantised / method / "checkpoint")
    for name, theirs in load_file(quantised / method / "expected.safetensors").items():
        ours = matrix(view, ROLES[name.rpartition(".")[2]])
        assert ours.shape == theirs.shape
        if method in INEXACT:
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=INEXACT[method] * np.abs(theirs).max())
        else:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("method", LEAST)
def test_rows_stand_in_the_order_of_the_source(original: Path, quantised: Path, method: str) -> None:
    view, source = view_of(quantised / method / "checkpoint"), view_of(original)
    for role in ("gate", "up", "q", "k"):
        ours, theirs = matrix(view, role), matrix(source, role)
        assert cosines(ours, theirs).min() > LEAST[method]
        assert np.median(np.abs(cosines(np.roll(ours, 1, axis=0), theirs))) < 0.2


@pytest.mark.parametrize("method", LEAST)
def test_audit_says_derived(quantised: Path, method: str) -> None:
    report = scan(str(quantised / method / "checkpoint"), Options(against=("smollm2-135m-instruct",), licence=False))
    assert report.lineage.verdict == "derived"
    assert report.coverage.unread == ()


def test_gains_undo_what_awq_folds_into_the_norms(original: Path, quantised: Path) -> None:
    folded, plain = (view_of(quantised / method / "checkpoint") for method in ("awq-folded", "awq-plain"))
    source = view_of(original)

    def with_gain(view: ModelView) -> Floats:
        return matrix(view, "gate") * view.vector(LAYER, "mlp_norm")

    worst = cosines(matrix(folded, "gate"), matrix(source, "gate")).mean()
    undone = cosines(with_gain(folded), with_gain(source)).mean()
    assert worst < 0.9
    assert undone > 0.97
    assert undone > cosines(with_gain(plain), with_gain(source)).mean() - 0.02


def test_mlx_packs_embeddings_too(original: Path, quantised: Path) -> None:
    view, source = view_of(quantised / "mlx-4" / "checkpoint"), view_of(original)
    index = np.array([0, 5, 49151])
    assert cosines(view.rows(None, "embed", index), source.rows(None, "embed", index)).min() > 0.97
