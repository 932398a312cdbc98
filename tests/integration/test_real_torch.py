"""A real language model in every layout that real torch writes gives the very rows that its safetensors gives."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import derive
import numpy as np
import pytest
import smollm2
import torchkit

from auditor.audit import Options, scan
from auditor.formats import Checkpoints, open_checkpoints
from auditor.model import ModelView, model_views
from auditor.model.adapter import find_adapters
from auditor.model.merged import merge
from auditor.sources import LocalSource

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.integration

HEADS, KV_HEADS, DIM, LAYERS = 9, 3, 576, 30
ROLES = ("q", "k", "v", "o", "gate", "up", "down")

SAVE = """
import json, os, sys
import torch
from safetensors.torch import load_file

source, folder = sys.argv[1:]
model = load_file(source)
names = sorted(model)

def save(path, values, **how):
    os.makedirs(os.path.dirname(f"{folder}/{path}"), exist_ok=True)
    torch.save(values, f"{folder}/{path}", **how)

save("zip/pytorch_model.bin", model)
save("float32/pytorch_model.bin", {n: w.float() for n, w in model.items()})
save("half/pytorch_model.bin", {n: w.half() for n, w in model.items()})
save("parameters/model.pt", {"model": {n: torch.nn.Parameter(w) for n, w in model.items()}, "step": 3})
save("legacy/pytorch_model.bin", model, _use_new_zipfile_serialization=False)
weight_map = {}
for i in range(3):
    file = f"pytorch_model-{i + 1:05d}-of-00003.bin"
    save(f"sharded/{file}", {n: model[n] for n in names[i::3]}, _use_new_zipfile_serialization=i != 1)
    weight_map |= dict.fromkeys(names[i::3], file)
with open(f"{folder}/sharded/pytorch_model.bin.index.json", "w") as out:
    json.dump({"metadata": {}, "weight_map": weight_map}, out)

META = {
    "self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
}

def turned(w, heads):  # the inverse of `permute` in transformers' conversion of Meta's weights
    rows, columns = w.shape
    return w.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)

def meta(turn=turned):
    out = {"tok_embeddings.weight": model["model.embed_tokens.weight"], "norm.weight": model["model.norm.weight"],
           "output.weight": model["model.embed_tokens.weight"], "rope.freqs": torch.ones(32)}
    for name, w in model.items():
        if name.startswith("model.layers."):
            _, _, layer, tail = name.split(".", 3)
            kind = META[tail.removesuffix(".weight")]
            heads = {"attention.wq": 9, "attention.wk": 3}.get(kind)
            out[f"layers.{layer}.{kind}.weight"] = turn(w, heads) if heads else w
    return out

def axis(name):
    if ".wo." in name or ".w2." in name or name.startswith("tok_embeddings"):
        return 1
    return 0

def save_meta(to, values, shards):
    for i in range(shards):
        part = {
            n: w if w.dim() == 1 else w.chunk(shards, axis(n))[i].clone() for n, w in values.items()
        }
        save(f"{to}/consolidated.{i:02d}.pth", part)
    with open(f"{folder}/{to}/params.json", "w") as out:
        json.dump({"dim": 576, "n_heads": 9, "n_kv_heads": 3, "n_layers": 30, "norm_eps": 1e-5, "vocab_size": -1}, out)

for shards in (1, 2, 3):
    save_meta(f"meta-{shards}", meta(), shards)
save_meta("meta-unturned", meta(lambda w, heads: w), 1)
save_meta("meta-twice", meta(lambda w, heads: turned(turned(w, heads), heads)), 2)
"""

WRITTEN = ("zip", "parameters", "legacy", "sharded", "meta-1", "meta-2", "meta-3")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model as Hugging Face keeps it, in bfloat16."""
    return derive.write(derive.load(smollm2.fetch()), tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def written(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    torchkit.run_torch(SAVE, original / "model.safetensors", folder)
    return folder


def opened(folder: Path) -> tuple[ModelView, Checkpoints]:
    source = LocalSource(folder)
    found = open_checkpoints(source)
    (container,) = found.containers
    (view,) = model_views(source, container)
    return view, found


def rows(view: ModelView, layer: int | None, role: str) -> NDArray[np.float32]:
    return view.rows(layer, role, np.arange(view.tensor(layer, role).shape[0]))


def differing(view: ModelView, expected: ModelView, *, close: float = 0.0) -> set[str]:
    """Return the roles of which any row of any layer is another."""
    assert view.layers(*ROLES) == tuple(range(LAYERS))
    out = {role for role in ("attn_norm", "mlp_norm") for layer in range(LAYERS)
           if not np.allclose(view.vector(layer, role), expected.vector(layer, role), rtol=0, atol=close)}  # fmt: skip
    places = [(layer, role) for layer in range(LAYERS) for role in ROLES] + [(None, "embed")]
    for layer, role in places:
        if not np.allclose(rows(view, layer, role), rows(expected, layer, role), rtol=0, atol=close):
            out.add(role)
    return out


@pytest.mark.parametrize("layout", WRITTEN)
def test_every_row_is_the_same(original: Path, written: Path, layout: str) -> None:
    view, found = opened(written / layout)
    assert found.unread == ()
    assert {item.status for item in found.findings if item.id in {"FILE-007", "FILE-008"}} == {"pass"}
    assert differing(view, opened(original)[0]) == set()


@pytest.mark.parametrize(("layout", "close"), [("float32", 0.0), ("half", 1e-7)])
def test_other_types(original: Path, written: Path, layout: str, close: float) -> None:
    view, found = opened(written / layout)
    assert found.unread == ()
    assert differing(view, opened(original)[0], close=close) == set()


@pytest.mark.parametrize("layout", ["meta-unturned", "meta-twice"])
def test_another_order_of_q_and_k_is_seen(original: Path, written: Path, layout: str) -> None:
    assert differing(opened(written / layout)[0], opened(original)[0]) == {"q", "k"}


def test_set_of_which_a_file_is_missing_is_unread(written: Path, tmp_path: Path) -> None:
    for path in (written / "meta-3").iterdir():
        (tmp_path / path.name).symlink_to(path) if path.name != "consolidated.02.pth" else None
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    found = open_checkpoints(LocalSource(tmp_path))
    assert found.containers == ()
    assert found.unread


# --- what torch writes besides tensors ------------------------------------------------------------------

ODD = """
import os, sys
import torch

folder = sys.argv[1]

class Evil:
    def __reduce__(self):
        return (os.system, (f"touch {folder}/ran",))

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = torch.nn.Linear(3, 2)
    def forward(self, x):
        return self.gate(x)

torch.save({"w": torch.ones(2), "x": Evil()}, f"{folder}/evil.bin")
torch.save({"w": torch.ones(2), "x": Evil()}, f"{folder}/old-evil.bin", _use_new_zipfile_serialization=False)
torch.save(Net(), f"{folder}/module.pt")
torch.jit.script(Net()).save(f"{folder}/script.pt")
base = torch.arange(6.0).reshape(2, 3)
views = {"w": base, "tied": base, "row": base[1], "turned": base.t(), "none": torch.empty(0, 3)}
torch.save(views, f"{folder}/views.bin")
optimizer = torch.optim.AdamW(Net().parameters())
optimizer.step()
torch.save(optimizer.state_dict(), f"{folder}/optimizer.pt")
torch.save({n: torch.ones(4).to(getattr(torch, n)) for n in
    ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
     "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool")}, f"{folder}/types.bin")
torch.save({"q": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "s": torch.eye(2).to_sparse(),
            "w": torch.ones(2)}, f"{folder}/kinds.bin")
torch.serialization.set_crc32_options(False)
torch.save({"w": torch.ones(2)}, f"{folder}/unchecked.bin")
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    torchkit.run_torch(ODD, folder)
    return folder


def one(odd: Path, name: str) -> tuple[dict[str, tuple[str, tuple[int, ...]]], list[str], str]:
    """Return tensors, codes of what was not read, and what would be run."""
    found = open_checkpoints(LocalSource(odd / name))
    tensors = {e.name: (e.dtype, e.shape) for container in found.containers for e in container.tensors}
    (runs,) = (item.evidence for item in found.findings if item.id == "FILE-007")
    return tensors, [entry.code for entry in found.unread], runs


@pytest.mark.parametrize("name", ["evil.bin", "old-evil.bin"])
def test_code_is_named_and_not_run(odd: Path, name: str) -> None:
    tensors, unread, runs = one(odd, name)
    assert tensors == {"w": ("F32", (2,))}
    assert unread == ["executable-pickle"]
    assert "REDUCE posix.system" in runs
    assert not (odd / "ran").exists()
    with (odd / "old-evil.bin").open("rb") as file:  # the case is a real one: it is the fourth pickle that runs it
        for _ in range(3):
            pickle.load(file)  # noqa: S301 (written by the fixture, and these three hold numbers)


def test_whole_module_and_script(odd: Path) -> None:
    tensors, unread, runs = one(odd, "module.pt")
    assert tensors == {"gate.weight": ("F32", (2, 3)), "gate.bias": ("F32", (2,))}
    assert unread == ["executable-pickle"]
    assert "torch.nn.modules.linear.Linear" in runs
    tensors, unread, runs = one(odd, "script.pt")
    assert (tensors, unread) == ({}, ["unsupported-format"])
    assert "code/__torch__" in runs


def test_views(odd: Path) -> None:
    tensors, unread, runs = one(odd, "views.bin")
    assert tensors == {"w": ("F32", (2, 3)), "tied": ("F32", (2, 3)), "row": ("F32", (3,)), "none": ("F32", (0, 3))}
    assert (unread, runs) == (["not-contiguous"], "")


def test_types(odd: Path) -> None:
    tensors, unread, runs = one(odd, "types.bin")
    assert {dtype for dtype, _ in tensors.values()} == {
        "F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I64", "I32", "I16", "I8",
        "U8", "U16", "U32", "U64", "BOOL",
    }  # fmt: skip
    assert (len(tensors), unread, runs) == (17, [], "")


def test_tensors_of_other_kinds_are_unread_by_name(odd: Path) -> None:
    tensors, unread, _ = one(odd, "kinds.bin")
    assert tensors == {"w": ("F32", (2,))}
    assert {"unsupported-dtype"} <= set(unread) <= {"unsupported-dtype", "unsupported-format", "executable-pickle"}


def test_state_of_an_optimizer_and_file_without_checksums(odd: Path) -> None:
    tensors, unread, runs = one(odd, "optimizer.pt")
    assert (unread, runs) == ([], "")
    tensors, unread, runs = one(odd, "unchecked.bin")
    assert (tensors, unread, runs) == ({"w": ("F32", (2,))}, [], "")


# --- adapters by real PEFT ------------------------------------------------------------------------------

ADAPT = """
import json, sys
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

source, folder = sys.argv[1:]
torch.manual_seed(0)
weights = {n: w.float() for n, w in load_file(source).items() if ".layers." not in n or int(n.split(".")[2]) < 2}
config = LlamaConfig(hidden_size=576, intermediate_size=1536, num_attention_heads=9, num_key_value_heads=3,
    num_hidden_layers=2, vocab_size=49152, tie_word_embeddings=False)
WAYS = {
    "plain": {"target_modules": ["q_proj", "k_proj", "gate_proj", "down_proj"]},
    "rslora": {"target_modules": "all-linear", "use_rslora": True},
    "patterns": {"target_modules": ["gate_proj", "up_proj"], "rank_pattern": {"layers.1.mlp.up_proj": 3},
                 "alpha_pattern": {"up_proj": 5}},
    "embedding": {"target_modules": ["embed_tokens", "up_proj"]},
    "saved": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]},
    "dora": {"target_modules": ["q_proj"], "use_dora": True},
    "pissa": {"target_modules": ["q_proj"], "init_lora_weights": "pissa"},
    "rotated": {"target_modules": ["q_proj"], "fan_in_fan_out": True},
}
for name, how in WAYS.items():
    model = LlamaForCausalLM(config)
    model.load_state_dict({**weights, "lm_head.weight": weights["model.embed_tokens.weight"].clone()})
    if name == "plain":
        save_file(model.state_dict(), f"{folder}/base.safetensors")
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=6, **how))
    with torch.no_grad():
        for key, w in adapted.named_parameters():
            if "lora_" in key or "modules_to_save" in key:
                w.add_(torch.randn_like(w) * 0.05)
    adapted.save_pretrained(f"{folder}/{name}", safe_serialization=name != "rslora")
    merged = adapted.merge_and_unload().state_dict()
    save_file({n: w.contiguous().clone() for n, w in merged.items()}, f"{folder}/{name}-merged.safetensors")
"""


@pytest.fixture(scope="module")
def adapted(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapted")
    torchkit.run_torch(ADAPT, original / "model.safetensors", folder)
    return folder


@pytest.mark.parametrize("way", ["plain", "rslora", "patterns", "embedding", "saved", "rotated"])
def test_merged_rows_are_those_of_peft(adapted: Path, way: str) -> None:
    base, _ = opened(adapted / "base.safetensors")
    theirs, _ = opened(adapted / f"{way}-merged.safetensors")
    source = LocalSource(adapted / way)
    found = open_checkpoints(source)
    assert found.unread == ()
    (adapter,), unread = find_adapters(source, found.containers)
    assert (unread, adapter.problems) == ((), ())
    view = merge(base, adapter, source)
    moved = set()
    for layer, role in [(layer, role) for layer in (0, 1) for role in ROLES] + [(None, "embed"), (None, "head")]:
        ours = rows(view, layer, role)
        np.testing.assert_allclose(ours, rows(theirs, layer, role), rtol=0, atol=2e-6, err_msg=f"{layer} {role}")
        if not np.array_equal(ours, rows(base, layer, role)):
            moved.add(role)
    expected = {
        "plain": {"q", "k", "gate", "down"}, "rslora": set(ROLES), "patterns": {"gate", "up"},
        "embedding": {"embed", "up"}, "saved": {"q", "head", "embed"}, "rotated": {"q"},
    }  # fmt: skip
    assert moved == expected[way]


@pytest.mark.parametrize(("way", "why"), [("dora", "DoRA"), ("pissa", "pissa")])
def test_adapters_that_are_not_merged(adapted: Path, way: str, why: str) -> None:
    source = LocalSource(adapted / way)
    (adapter,), _ = find_adapters(source, open_checkpoints(source).containers)
    assert why in " ".join(adapter.problems)
    assert json.loads((adapted / way / "adapter_config.json").read_text())["peft_type"] == "LORA"


@pytest.mark.parametrize(
    ("way", "base", "verdict"),
    [
        ("plain", False, "adapter"),
        ("rslora", False, "adapter"),
        ("saved", False, "embeddings-shared"),
        ("plain", True, "derived"),
        ("rslora", True, "derived"),
        ("saved", True, "derived"),
    ],
)
def test_audits_of_adapters(adapted: Path, way: str, base: bool, verdict: str) -> None:  # noqa: FBT001 (a parameter)
    report = scan(
        str(adapted / way),
        Options(
            against=(str(smollm2.fetch()),),  # the model itself: the sketch that ships holds no tokens
            base=str(adapted / "base.safetensors") if base else None,
            licence=False,
            depth="quick",
        ),
    )
    assert report.lineage.verdict == verdict
    assert report.exit_code == (3 if verdict == "adapter" else 0)
    (adapter,) = report.target.adapters
    assert (adapter.method, adapter.rank, adapter.alpha) == ("LORA", 4, 6)
    assert (adapter.merged_into is not None) == base
    assert len(adapter.saved) == (2 if way == "saved" else 0)
