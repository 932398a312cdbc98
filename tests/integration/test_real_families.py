"""Models that transformers itself makes: our matrices compute what its modules compute, and no audit of them fails."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import transformerskit
from modelkit import drifted, make_model, write_model

from auditor.audit import Options, scan
from auditor.formats import open_checkpoints
from auditor.model import ModelView, model_views, unplaced_share
from auditor.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

pytestmark = pytest.mark.integration

HEADS = 4

GATED = {
    "llama": "llama",
    "llama-tied": "llama",
    "mistral": "llama",
    "cohere": "llama",
    "granite": "llama",
    "olmo": "llama",
    "gemma": "llama",
    "gemma2": "gemma2",
    "gemma3": "gemma3",
    "glm": "glm",
    "glm4": "glm",
    "olmo2": "olmo2",
    "phi3": "phi3",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "stablelm": "stablelm",
    "deepseek-v3": "deepseek",  # its first layer is dense
}
EXPERTS = {
    "mixtral": "mixtral",
    "qwen2-moe": "qwen2_moe",
    "qwen3-moe": "qwen3_moe",
    "olmoe": "qwen3_moe",
    "granite-moe": "granitemoe",
    "gpt-oss": "gpt_oss",
    "llama4": "llama4",
}
PLAIN = {
    "bloom": "bloom",
    "falcon-7b": "falcon",
    "falcon-40b": "falcon",
    "falcon-rw": "falcon",
    "gpt2": "gpt2",
    "gpt-bigcode": "gpt2",
    "gpt-bigcode-mha": "gpt2",
    "gpt-neox": "gpt_neox",
    "mpt": "mpt",
    "nemotron": "nemotron",
    "opt": "opt",
    "phi": "phi",
    "starcoder2": "starcoder2",
}
OTHERS = ("llava", "bert", "clip", "mamba", "t5", "vit", "whisper")
FAMILIES = GATED | EXPERTS | PLAIN


@pytest.fixture(scope="module")
def made() -> Path:
    return transformerskit.families()


def view_of(folder: Path) -> ModelView:
    source = open_source(str(folder))
    found = open_checkpoints(source)
    assert found.unread == ()
    (view,) = (view for container in found.containers for view in model_views(source, container))
    return view


def matrix(view: ModelView, role: str) -> Floats:
    return view.rows(0, role, np.arange(view.tensor(0, role).shape[0])).astype(np.float64)


def apply(view: ModelView, role: str, x: Floats) -> Floats:
    """Multiply rows of `x` by a matrix of layer 0, and add its bias where it has one."""
    out: Floats = x @ matrix(view, role).T
    bias = f"{role}.bias"
    return out + view.vector(0, bias) if 0 in view.layers(bias) else out


def silu(x: Floats) -> Floats:
    return np.asarray(x / (1 + np.exp(-x)))


def gelu(x: Floats) -> Floats:
    return np.asarray(x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2)


def gelu_tanh(x: Floats) -> Floats:
    return np.asarray(x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2)


def relu_squared(x: Floats) -> Floats:
    return np.asarray(np.maximum(x, 0) ** 2)


ACTIVATION: dict[str, Callable[[Floats], Floats]] = {
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "bloom", "gpt2", "gpt-bigcode", "gpt-bigcode-mha"), gelu_tanh),
    **dict.fromkeys(("starcoder2", "phi"), gelu_tanh),
    **dict.fromkeys(("gpt-neox", "mpt", "falcon-7b", "falcon-40b", "falcon-rw"), gelu),
    "nemotron": relu_squared,
}


def assert_close(ours: Floats, theirs: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4 * float(np.abs(theirs).max()))


@pytest.mark.parametrize("name", FAMILIES)
def test_named_and_wholly_placed(made: Path, name: str) -> None:
    view = view_of(made / name)
    assert view.architecture == FAMILIES[name]
    assert view.gated == (name not in PLAIN)
    assert view.unplaced == ()
    assert unplaced_share([view.container], [view]) == 0


@pytest.mark.parametrize("name", [name for name in GATED | PLAIN if name != "opt"])
def test_mlp_computes_the_same(made: Path, name: str) -> None:
    view, truth = view_of(made / name), np.load(made / f"{name}.npz")
    x = truth["mlp_in"].astype(np.float64)
    active = ACTIVATION.get(name, silu)
    up = apply(view, "up", x)
    inner = active(up) if name in PLAIN else active(apply(view, "gate", x)) * up
    assert_close(apply(view, "down", inner), truth["mlp_out"])


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_compute_the_same(made: Path, name: str) -> None:
    view, truth = view_of(made / name), np.load(made / f"{name}.npz")
    biases = stacked_biases(view) if name == "gpt-oss" else {}
    for expert, (x, theirs) in enumerate(zip(truth["experts_in"], truth["experts_out"], strict=True)):
        given = x.astype(np.float64)[None]
        gate, up = (apply(view, f"experts.{expert}.{role}", given) for role in ("gate", "up"))
        if biases:  # GPT-OSS clamps, and shifts what it multiplies by
            gate = np.minimum(gate + biases["gate_up"][expert, ::2], 7)
            up = np.clip(up + biases["gate_up"][expert, 1::2], -7, 7)
            inner = (up + 1) * gate / (1 + np.exp(-1.702 * gate))
        else:
            inner = silu(gate) * up
        out = apply(view, f"experts.{expert}.down", inner)
        assert_close((out + biases["down"][expert] if biases else out)[0], theirs)


def stacked_biases(view: ModelView) -> dict[str, NDArray[np.float32]]:
    return {
        role: view.rows(0, f"experts.{role}.bias", np.arange(view.tensor(0, f"experts.{role}.bias").shape[0]))
        for role in ("gate_up", "down")
    }


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in {"deepseek-v3", "gpt-oss"}])
def test_attention_to_one_token_is_its_value(made: Path, name: str) -> None:
    """With nothing else to look at, attention gives each query head the value of its key-value head."""
    view, truth = view_of(made / name), np.load(made / f"{name}.npz")
    values = apply(view, "v", truth["attention_in"].astype(np.float64))
    size = view.tensor(0, "o").shape[1] // HEADS
    heads = values.reshape(len(values), -1, size)
    heads = np.repeat(heads, HEADS // heads.shape[1], axis=1).reshape(len(values), -1)
    assert_close(apply(view, "o", heads), truth["attention_out"])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a Llama of the same width."""
    return str(write_model(make_model(1), tmp_path_factory.mktemp("base") / "llama"))


@pytest.mark.parametrize("name", [*FAMILIES, *OTHERS])
def test_audit_answers_with_a_reason(made: Path, base: str, name: str) -> None:
    report = scan(str(made / name), Options(against=(base,)))
    assert report.coverage.unread == ()
    assert report.lineage.verdict in {"independent", "inconclusive"}
    if report.lineage.verdict == "inconclusive":
        assert report.lineage.reason
    if name in PLAIN or (name in OTHERS and name != "llava"):
        assert report.lineage.verdict == "inconclusive"


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen3", "gemma2", "phi3", "olmo2"])
def test_a_model_is_found_in_its_own_derivative(made: Path, tmp_path: Path, name: str) -> None:
    """The twin of the above: answers are not all the same because nothing is looked at."""
    view = view_of(made / name)
    names = {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
    model = {
        f"model.layers.{layer}.{names[role]}.weight": view.rows(layer, role, np.arange(entry.shape[0]))
        for layer, role, entry in view.places()
        if role in names
    }
    derived = write_model(drifted(model, cosine=0.8), tmp_path / "derived")
    report = scan(str(derived), Options(against=(str(made / name),), licence=False))
    assert report.lineage.verdict == "derived"
    assert json.loads((made / "versions.json").read_text())["torch"].startswith("2.13.0")
