"""One set of matrices, written as the families of models name, order and join them.

Every writer takes canonical matrices (`[out, in]`, Hugging Face order) and lays them out by that family's published
definition, reshaping whole arrays; nothing of the reader's arithmetic on row numbers is used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from ggufkit import F32, gguf_bytes
from modelkit import safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Layer = dict[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a model: all different, so that no dimension can stand for another."""

    layers: int = 2
    hidden: int = 24
    neurons: int = 40
    heads: int = 4
    kv_heads: int = 2
    head: int = 8
    vocabulary: int = 30
    experts: int = 3
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A model in a family's layout.

    Attributes
    ----------
    tensors : dict of str to ndarray
        By the family's names.
    config : dict
        What `config.json` (or the header, for GGUF) says.
    gguf : bool
    """

    tensors: dict[str, Array]
    config: dict[str, object] = field(default_factory=dict)
    gguf: bool = False

    def files(self) -> dict[str, bytes]:
        """Return the files of a folder."""
        if self.gguf:
            content = {
                name: (F32, w.shape, np.ascontiguousarray(w, "<f4").tobytes()) for name, w in self.tensors.items()
            }
            return {"model.gguf": gguf_bytes(content, self.config)}
        return {
            "model.safetensors": safetensors_bytes(self.tensors),
            "config.json": json.dumps(self.config).encode(),
        }


Canonical = dict[tuple[int | None, str], "Array"]


def canonical(seed: int, shape: Shape, *, gated: bool = True, experts: bool = False) -> Canonical:
    """Draw the matrices of a model by layer and role."""
    rng = np.random.default_rng(seed)

    def draw(*dims: int) -> Array:
        return rng.normal(0, 0.02, dims).astype(np.float32)

    out: Canonical = {(None, "embed"): draw(shape.vocabulary, shape.hidden)}
    out[None, "final_norm"] = draw(shape.hidden)
    queries, keys = shape.heads * shape.head, shape.kv_heads * shape.head
    blocks = [f"experts.{i}." for i in range(shape.experts + shape.shared)] if experts else [""]
    for layer in range(shape.layers):
        for role, dims in {
            "attn_norm": (shape.hidden,),
            "q": (queries, shape.hidden),
            "k": (keys, shape.hidden),
            "v": (keys, shape.hidden),
            "o": (shape.hidden, queries),
            "mlp_norm": (shape.hidden,),
        }.items():
            out[layer, role] = draw(*dims)
        for block in blocks:
            out |= {(layer, f"{block}gate"): draw(shape.neurons, shape.hidden)} if gated else {}
            out[layer, f"{block}up"] = draw(shape.neurons, shape.hidden)
            out[layer, f"{block}down"] = draw(shape.hidden, shape.neurons)
        if experts:
            out[layer, "router"] = draw(shape.experts, shape.hidden)
    return out


def layer_of(model: Canonical, number: int) -> Layer:
    """Return one layer by role."""
    return {role: w for (layer, role), w in model.items() if layer == number}


def renamed(model: Canonical, names: Mapping[str, str], *, prefix: str = "model.layers.") -> dict[str, Array]:
    """Write the roles that a table has, `{role: tail}`; "{}" in a tail stands for an expert's number."""
    return {f"{prefix}{layer}.{names[role]}.weight": w for (layer, role), w in model.items() if role in names}


HF = {
    "attn_norm": "input_layernorm",
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
ATTENTION = {role: tail for role, tail in HF.items() if not tail.startswith("mlp.")}


def outside(model: Canonical, *, embed: str = "model.embed_tokens", norm: str = "model.norm") -> dict[str, Array]:
    return {f"{embed}.weight": model[None, "embed"], f"{norm}.weight": model[None, "final_norm"]}


def by_layer(
    model: Canonical, shape: Shape, make: Callable[[Layer], dict[str, Array]], prefix: str
) -> dict[str, Array]:
    """Write each layer by a function that returns tensors by the rest of their names."""
    return {
        f"{prefix}{layer}.{name}": w
        for layer in range(shape.layers)
        for name, w in make(layer_of(model, layer)).items()
    }


# --- queries, keys and values ---------------------------------------------------------------------------


def joined(layer: Layer) -> Array:
    """All queries, then all keys, then all values."""
    return np.concatenate([layer["q"], layer["k"], layer["v"]])


def grouped(layer: Layer, shape: Shape) -> Array:
    """For each key-value head its query heads, its key and its value: InternLM 2, Megatron, Falcon 40B."""
    k = layer["k"].reshape(shape.kv_heads, 1, shape.head, -1)
    v = layer["v"].reshape(shape.kv_heads, 1, shape.head, -1)
    q = layer["q"].reshape(shape.kv_heads, shape.heads // shape.kv_heads, shape.head, -1)
    return np.concatenate([q, k, v], axis=1).reshape(-1, layer["q"].shape[1])


def by_head(layer: Layer, shape: Shape) -> Array:
    """For each head query, key and value: GPT-NeoX, BLOOM. As many key heads as heads."""
    parts = [layer[role].reshape(shape.heads, shape.head, -1) for role in "qkv"]
    return np.stack(parts, axis=1).reshape(-1, layer["q"].shape[1])


# --- the families ---------------------------------------------------------------------------------------

HEADS_CONFIG = ("num_attention_heads", "num_key_value_heads")


def config(shape: Shape, kind: str, *keys: str, **more: object) -> dict[str, object]:
    heads, kv_heads = keys or HEADS_CONFIG
    return {"model_type": kind, "hidden_size": shape.hidden, heads: shape.heads, kv_heads: shape.kv_heads, **more}


def llama(model: Canonical, shape: Shape) -> Written:
    return Written(tensors=renamed(model, HF) | outside(model), config=config(shape, "llama"))


def llava(model: Canonical, shape: Shape) -> Written:
    tower = "vision_tower.vision_model.encoder.layers.0."
    tensors = {f"language_model.{name}": w for name, w in llama(model, shape).tensors.items()}
    tensors |= {tower + "mlp.fc1.weight": np.ones((3, 2), np.float32), tower + "mlp.fc2.weight": np.ones((2, 3))}
    return Written(tensors=tensors, config={"model_type": "llava", "text_config": config(shape, "llama")})


def llava_of_2025(model: Canonical, shape: Shape) -> Written:
    tensors = {name.replace("model.", "model.language_model.", 1): w for name, w in llama(model, shape).tensors.items()}
    tensors["model.multi_modal_projector.linear_1.weight"] = np.ones((2, 2), np.float32)
    return Written(tensors=tensors | {"lm_head.weight": model[None, "embed"]}, config={"model_type": "llava"})


def wrapped(model: Canonical, shape: Shape) -> Written:
    tensors = {
        "_orig_mod.module." + name.replace(".mlp.", "._fsdp_wrapped_module.mlp."): w
        for name, w in llama(model, shape).tensors.items()
    }
    return Written(tensors=tensors)


def qwen2(model: Canonical, shape: Shape) -> Written:
    tensors = llama(model, shape).tensors
    for (layer, role), w in model.items():
        if role in {"q", "k", "v"}:
            tensors[f"model.layers.{layer}.self_attn.{role}_proj.bias"] = w[:, 0].copy()
    return Written(tensors=tensors, config=config(shape, "qwen2"))


def qwen3(model: Canonical, shape: Shape) -> Written:
    tensors = llama(model, shape).tensors
    for layer in range(shape.layers):
        for role in "qk":
            tensors[f"model.layers.{layer}.self_attn.{role}_norm.weight"] = np.ones(shape.head, np.float32)
    return Written(tensors=tensors, config=config(shape, "qwen3"))


def gemma2(model: Canonical, shape: Shape) -> Written:
    names = HF | {"mlp_norm": "pre_feedforward_layernorm"}
    tensors = renamed(model, names) | outside(model)
    for layer in range(shape.layers):
        for norm in ("post_attention_layernorm", "post_feedforward_layernorm"):
            tensors[f"model.layers.{layer}.{norm}.weight"] = np.zeros(shape.hidden, np.float32)
    return Written(tensors=tensors, config=config(shape, "gemma2"))


def phi3(model: Canonical, shape: Shape) -> Written:
    def make(layer: Layer) -> dict[str, Array]:
        return {
            "self_attn.qkv_proj.weight": joined(layer),
            "mlp.gate_up_proj.weight": np.concatenate([layer["gate"], layer["up"]]),
        }

    kept = {role: tail for role, tail in HF.items() if role not in {"q", "k", "v", "gate", "up"}}
    tensors = renamed(model, kept) | by_layer(model, shape, make, "model.layers.") | outside(model)
    return Written(tensors=tensors, config=config(shape, "phi3"))


def baichuan(model: Canonical, shape: Shape) -> Written:
    kept = {role: tail for role, tail in HF.items() if role not in {"q", "k", "v"}}
    fused = by_layer(model, shape, lambda layer: {"self_attn.W_pack.weight": joined(layer)}, "model.layers.")
    return Written(tensors=renamed(model, kept) | fused | outside(model), config={"model_type": "baichuan"})


INTERNLM = {
    "attn_norm": "attention_norm",
    "o": "attention.wo",
    "mlp_norm": "ffn_norm",
    "gate": "feed_forward.w1",
    "down": "feed_forward.w2",
    "up": "feed_forward.w3",
}


def internlm2(model: Canonical, shape: Shape) -> Written:
    fused = by_layer(model, shape, lambda layer: {"attention.wqkv.weight": grouped(layer, shape)}, "model.layers.")
    tensors = renamed(model, INTERNLM) | fused | outside(model, embed="model.tok_embeddings")
    return Written(tensors=tensors | {"output.weight": model[None, "embed"]}, config=config(shape, "internlm2"))


def qwen1(model: Canonical, shape: Shape) -> Written:
    names = {"attn_norm": "ln_1", "mlp_norm": "ln_2", "o": "attn.c_proj"}
    names |= {"gate": "mlp.w2", "up": "mlp.w1", "down": "mlp.c_proj"}
    fused = by_layer(model, shape, lambda layer: {"attn.c_attn.weight": joined(layer)}, "transformer.h.")
    tensors = renamed(model, names, prefix="transformer.h.") | fused
    tensors |= outside(model, embed="transformer.wte", norm="transformer.ln_f")
    return Written(tensors=tensors, config={"model_type": "qwen"})


def chatglm(model: Canonical, shape: Shape) -> Written:
    def make(layer: Layer) -> dict[str, Array]:
        return {
            "self_attention.query_key_value.weight": joined(layer),
            "mlp.dense_h_to_4h.weight": np.concatenate([layer["gate"], layer["up"]]),
        }

    names = {"attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    names |= {"o": "self_attention.dense", "down": "mlp.dense_4h_to_h"}
    at = "transformer.encoder.layers."
    tensors = renamed(model, names, prefix=at) | by_layer(model, shape, make, at)
    tensors |= outside(model, embed="transformer.embedding.word_embeddings", norm="transformer.encoder.final_layernorm")
    tensors["transformer.output_layer.weight"] = model[None, "embed"]
    return Written(tensors=tensors, config={"model_type": "chatglm", "multi_query_attention": True})


def megatron(model: Canonical, shape: Shape) -> Written:
    def make(layer: Layer) -> dict[str, Array]:
        return {
            "self_attention.linear_qkv.weight": grouped(layer, shape),
            "self_attention.linear_qkv.layer_norm_weight": layer["attn_norm"],
            "mlp.linear_fc1.weight": np.concatenate([layer["gate"], layer["up"]]),
            "mlp.linear_fc1.layer_norm_weight": layer["mlp_norm"],
        }

    at = "decoder.layers."
    names = {"o": "self_attention.linear_proj", "down": "mlp.linear_fc2"}
    tensors = renamed(model, names, prefix=at) | by_layer(model, shape, make, at)
    tensors |= outside(model, embed="embedding.word_embeddings", norm="decoder.final_layernorm")
    return Written(tensors=tensors, config={"num_query_groups": shape.kv_heads})


# --- without a gate -------------------------------------------------------------------------------------


def gpt2(model: Canonical, shape: Shape) -> Written:
    def make(layer: Layer) -> dict[str, Array]:
        return {
            "attn.c_attn.weight": joined(layer).T,
            "attn.c_attn.bias": joined(layer)[:, 0].copy(),
            "attn.c_proj.weight": layer["o"].T,
            "mlp.c_fc.weight": layer["up"].T,
            "mlp.c_proj.weight": layer["down"].T,
        }

    tensors = renamed(model, {"attn_norm": "ln_1", "mlp_norm": "ln_2"}, prefix="h.") | by_layer(
        model, shape, make, "h."
    )
    return Written(tensors=tensors | outside(model, embed="wte", norm="ln_f"), config={"model_type": "gpt2"})


def jais(model: Canonical, shape: Shape) -> Written:
    def make(layer: Layer) -> dict[str, Array]:
        return {
            "attn.c_attn.weight": joined(layer).T,
            "attn.c_attn.bias": joined(layer)[:, 0].copy(),
            "attn.c_proj.weight": layer["o"].T,
            "mlp.c_fc.weight": layer["up"].T,
            "mlp.c_fc2.weight": layer["gate"].T,
            "mlp.c_proj.weight": layer["down"].T,
        }

    at = "transformer.h."
    tensors = renamed(model, {"attn_norm": "ln_1", "mlp_norm": "ln_2"}, prefix=at) | by_layer(model, shape, make, at)
    return Written(
        tensors=tensors | outside(model, embed="transformer.wte", norm="transformer.ln_f"),
        config={"model_type": "jais"},
    )


def starcoder2(model: Canonical, shape: Shape) -> Written:
    names = ATTENTION | {"up": "mlp.c_fc", "down": "mlp.c_proj"}
    return Written(tensors=renamed(model, names) | outside(model), config=config(shape, "starcoder2"))


def gpt_bigcode(model: Canonical, shape: Shape) -> Written:
    names = {"attn_norm": "ln_1", "mlp_norm": "ln_2", "o": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
    at = "transformer.h."
    fused = by_layer(model, shape, lambda layer: {"attn.c_attn.weight": joined(layer)}, at)
    tensors = (
        renamed(model, names, prefix=at) | fused | outside(model, embed="transformer.wte", norm="transformer.ln_f")
    )
    return Written(tensors=tensors, config={"model_type": "gpt_bigcode", "multi_query": True})


def gpt_neox(model: Canonical, shape: Shape) -> Written:
    names = {"attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm", "o": "attention.dense"}
    names |= {"up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h"}
    at = "gpt_neox.layers."

    def make(layer: Layer) -> dict[str, Array]:
        fused = by_head(layer, shape)
        return {"attention.query_key_value.weight": fused, "attention.query_key_value.bias": fused[:, 0].copy()}

    tensors = renamed(model, names, prefix=at) | by_layer(model, shape, make, at)
    tensors |= outside(model, embed="gpt_neox.embed_in", norm="gpt_neox.final_layer_norm")
    tensors["embed_out.weight"] = model[None, "embed"]
    return Written(tensors=tensors, config=config(shape, "gpt_neox"))


def mpt(model: Canonical, shape: Shape) -> Written:
    names = {"attn_norm": "norm_1", "mlp_norm": "norm_2", "o": "attn.out_proj"}
    names |= {"up": "ffn.up_proj", "down": "ffn.down_proj"}
    at = "transformer.blocks."
    fused = by_layer(model, shape, lambda layer: {"attn.Wqkv.weight": joined(layer)}, at)
    tensors = renamed(model, names, prefix=at) | fused
    return Written(tensors=tensors | outside(model, embed="transformer.wte", norm="transformer.norm_f"))


def _falcon(model: Canonical, shape: Shape, fuse: Callable[[Layer], Array], **flags: object) -> Written:
    names = {"attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm", "o": "self_attention.dense"}
    names |= {"up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h"}
    at = "transformer.h."
    fused = by_layer(model, shape, lambda layer: {"self_attention.query_key_value.weight": fuse(layer)}, at)
    tensors = renamed(model, names, prefix=at) | fused
    tensors |= outside(model, embed="transformer.word_embeddings", norm="transformer.ln_f")
    return Written(tensors=tensors, config=config(shape, "falcon", "num_attention_heads", "num_kv_heads", **flags))


def falcon_40b(model: Canonical, shape: Shape) -> Written:
    return _falcon(model, shape, lambda layer: grouped(layer, shape), new_decoder_architecture=True, multi_query=True)


def falcon_7b(model: Canonical, shape: Shape) -> Written:
    return _falcon(model, shape, joined, new_decoder_architecture=False, multi_query=True)


def falcon_rw(model: Canonical, shape: Shape) -> Written:
    return _falcon(model, shape, lambda layer: by_head(layer, shape), new_decoder_architecture=False, multi_query=False)


def bloom(model: Canonical, shape: Shape) -> Written:
    tensors = _falcon(model, shape, lambda layer: by_head(layer, shape)).tensors
    tensors["transformer.word_embeddings_layernorm.weight"] = np.ones(shape.hidden, np.float32)
    return Written(tensors=tensors, config={"model_type": "bloom", "n_head": shape.heads})


def opt(model: Canonical, _shape: Shape) -> Written:
    names = ATTENTION | {"o": "self_attn.out_proj", "attn_norm": "self_attn_layer_norm", "mlp_norm": "final_layer_norm"}
    names |= {"up": "fc1", "down": "fc2"}
    tensors = renamed(model, names, prefix="model.decoder.layers.")
    tensors |= outside(model, embed="model.decoder.embed_tokens", norm="model.decoder.final_layer_norm")
    return Written(tensors=tensors)


# --- experts --------------------------------------------------------------------------------------------


def _experts(model: Canonical, names: Callable[[int, str], str], *, router: str) -> dict[str, Array]:
    out = renamed(model, ATTENTION | {"router": router}) | outside(model)
    for (layer, role), w in model.items():
        if role.startswith("experts."):
            _, number, kind = role.split(".")
            out[f"model.layers.{layer}.{names(int(number), kind)}"] = w
    return out


def mixtral(model: Canonical, shape: Shape) -> Written:
    w = {"gate": "w1", "down": "w2", "up": "w3"}
    tensors = _experts(
        model, lambda i, kind: f"block_sparse_moe.experts.{i}.{w[kind]}.weight", router="block_sparse_moe.gate"
    )
    return Written(tensors=tensors, config=config(shape, "mixtral"))


def qwen2_moe(model: Canonical, shape: Shape) -> Written:
    def name(number: int, kind: str) -> str:
        where = "shared_expert" if number == shape.experts else f"experts.{number}"
        return f"mlp.{where}.{kind}_proj.weight"

    tensors = _experts(model, name, router="mlp.gate")
    for layer in range(shape.layers):
        tensors[f"model.layers.{layer}.mlp.shared_expert_gate.weight"] = np.ones((1, shape.hidden), np.float32)
    return Written(tensors=tensors, config=config(shape, "qwen2_moe"))


def deepseek(model: Canonical, shape: Shape) -> Written:
    tensors = {
        name.replace("shared_expert.", "shared_experts."): w for name, w in qwen2_moe(model, shape).tensors.items()
    }
    return Written(tensors={n: w for n, w in tensors.items() if "shared_expert_gate" not in n})


def llama_moe(model: Canonical, shape: Shape) -> Written:
    tensors = _experts(
        model, lambda i, kind: f"mlp.calculator.experts.weight_{kind}.{i}", router="mlp.gate.gate_network.0"
    )
    for layer in range(shape.layers):
        tensors[f"model.layers.{layer}.mlp.gate.gate_network.2.weight"] = np.ones((shape.experts,) * 2, np.float32)
    return Written(tensors=tensors)


def _stacked(layer: Layer, kind: str) -> Array:
    numbers = sorted(int(role.split(".")[1]) for role in layer if role.startswith("experts.") and role.endswith(kind))
    return np.stack([layer[f"experts.{i}.{kind}"] for i in numbers])


def fused_experts(model: Canonical, shape: Shape) -> Written:
    """[experts, 2 x neurons, hidden], as transformers holds most mixtures since its version 5."""

    def make(layer: Layer) -> dict[str, Array]:
        gate_up = np.concatenate([_stacked(layer, "gate"), _stacked(layer, "up")], axis=1)
        return {"mlp.experts.gate_up_proj": gate_up, "mlp.experts.down_proj": _stacked(layer, "down")}

    tensors = renamed(model, ATTENTION | {"router": "mlp.gate"}) | outside(model)
    return Written(tensors=tensors | by_layer(model, shape, make, "model.layers."))


def llama4(model: Canonical, shape: Shape) -> Written:
    def make(layer: Layer) -> dict[str, Array]:
        gate_up = np.concatenate([_stacked(layer, "gate"), _stacked(layer, "up")], axis=1)
        return {
            "feed_forward.experts.gate_up_proj": gate_up.swapaxes(1, 2),
            "feed_forward.experts.down_proj": _stacked(layer, "down").swapaxes(1, 2),
        }

    tensors = renamed(model, ATTENTION | {"router": "feed_forward.router"}) | outside(model)
    tensors |= by_layer(model, shape, make, "model.layers.")
    return Written(tensors={f"language_model.{name}": w for name, w in tensors.items()})


def gpt_oss(model: Canonical, shape: Shape) -> Written:
    def make(layer: Layer) -> dict[str, Array]:
        gate_up = np.stack([_stacked(layer, "gate"), _stacked(layer, "up")], axis=2)
        gate_up = gate_up.reshape(shape.experts, 2 * shape.neurons, shape.hidden)
        return {
            "mlp.experts.gate_up_proj": gate_up.swapaxes(1, 2),
            "mlp.experts.gate_up_proj_bias": gate_up[:, :, 0].copy(),
            "mlp.experts.down_proj": _stacked(layer, "down").swapaxes(1, 2),
        }

    tensors = renamed(model, ATTENTION | {"router": "mlp.router"}) | outside(model)
    return Written(tensors=tensors | by_layer(model, shape, make, "model.layers."))


def granite_moe(model: Canonical, shape: Shape) -> Written:
    def make(layer: Layer) -> dict[str, Array]:
        last = f"experts.{shape.experts}."
        own = {role: w for role, w in layer.items() if not role.startswith(last)}
        gate_up = np.concatenate([_stacked(own, "gate"), _stacked(own, "up")], axis=1)
        return {
            "block_sparse_moe.input_linear.weight": gate_up,
            "block_sparse_moe.output_linear.weight": _stacked(own, "down"),
            "shared_mlp.input_linear.weight": np.concatenate([layer[last + "gate"], layer[last + "up"]]),
            "shared_mlp.output_linear.weight": layer[last + "down"],
        }

    tensors = renamed(model, ATTENTION | {"router": "block_sparse_moe.router.layer"}) | outside(model)
    return Written(tensors=tensors | by_layer(model, shape, make, "model.layers."))


# --- GGUF -----------------------------------------------------------------------------------------------

GGUF = {
    "attn_norm": "attn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "mlp_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
    "router": "ffn_gate_inp",
}


def _gguf_outside(model: Canonical) -> dict[str, Array]:
    return outside(model, embed="token_embd", norm="output_norm")


def gguf_moe(model: Canonical, shape: Shape) -> Written:
    def make(layer: Layer) -> dict[str, Array]:
        last = f"experts.{shape.experts}."
        own = {role: w for role, w in layer.items() if not (shape.shared and role.startswith(last))}
        out = {f"ffn_{kind}_exps.weight": _stacked(own, kind) for kind in ("gate", "up", "down")}
        return out | {f"ffn_{kind}_shexp.weight": layer[last + kind] for kind in ("gate", "up", "down") if shape.shared}

    tensors = renamed(model, GGUF, prefix="blk.") | by_layer(model, shape, make, "blk.") | _gguf_outside(model)
    return Written(tensors=tensors, config={"general.architecture": "qwen2moe"}, gguf=True)


def gguf_phi3(model: Canonical, shape: Shape) -> Written:
    def make(layer: Layer) -> dict[str, Array]:
        return {
            "attn_qkv.weight": joined(layer),
            "ffn_up.weight": np.concatenate([layer["gate"], layer["up"]]),
        }

    kept = {role: tail for role, tail in GGUF.items() if role not in {"q", "k", "v", "gate", "up"}}
    tensors = renamed(model, kept, prefix="blk.") | by_layer(model, shape, make, "blk.") | _gguf_outside(model)
    return Written(tensors=tensors, config={"general.architecture": "phi3"}, gguf=True)


def gguf_falcon(model: Canonical, shape: Shape) -> Written:
    kept = {role: tail for role, tail in GGUF.items() if role not in {"q", "k", "v"}}
    fused = by_layer(model, shape, lambda layer: {"attn_qkv.weight": joined(layer)}, "blk.")
    tensors = renamed(model, kept, prefix="blk.") | fused | _gguf_outside(model)
    return Written(tensors=tensors, config={"general.architecture": "falcon"}, gguf=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A way of writing models.

    Attributes
    ----------
    write : callable
    architecture : str
        What the view should call it.
    kind : {"gated", "plain", "experts"}
    equal_heads : bool
        Only with as many key heads as query heads.
    router : str
        Role that the router's first matrix has.
    shared : bool
        With a shared expert.
    one_key : bool
        With one key head for all query heads.
    """

    write: Callable[[Canonical, Shape], Written]
    architecture: str
    kind: str = "gated"
    equal_heads: bool = False
    one_key: bool = False
    router: str = "router"
    shared: bool = False

    def shape(self, **sizes: int) -> Shape:
        """Return sizes that this family can have."""
        shape = Shape(**sizes, shared=self.shared)  # type: ignore[arg-type]
        kv_heads = shape.heads if self.equal_heads else 1 if self.one_key else shape.kv_heads
        return Shape(**{**sizes, "kv_heads": kv_heads}, shared=self.shared)  # type: ignore[arg-type]

    def draw(self, seed: int, shape: Shape) -> Canonical:
        """Draw a model of this kind."""
        return canonical(seed, shape, gated=self.kind != "plain", experts=self.kind == "experts")


FAMILIES = {
    "Llama": Family(write=llama, architecture="llama"),
    "LLaVA": Family(write=llava, architecture="llama"),
    "LLaVA of 2025": Family(write=llava_of_2025, architecture="llama"),
    "compiled, FSDP": Family(write=wrapped, architecture="llama"),
    "Qwen 2": Family(write=qwen2, architecture="qwen2"),
    "Qwen 3": Family(write=qwen3, architecture="qwen3"),
    "Gemma 2": Family(write=gemma2, architecture="gemma2"),
    "Phi-3": Family(write=phi3, architecture="phi3"),
    "Baichuan": Family(write=baichuan, architecture="baichuan", equal_heads=True),
    "InternLM 2": Family(write=internlm2, architecture="internlm2"),
    "Qwen 1": Family(write=qwen1, architecture="qwen", equal_heads=True),
    "ChatGLM": Family(write=chatglm, architecture="chatglm"),
    "Megatron": Family(write=megatron, architecture="megatron"),
    "GPT-2": Family(write=gpt2, architecture="gpt2", kind="plain", equal_heads=True),
    "Jais": Family(write=jais, architecture="jais", equal_heads=True),
    "StarCoder 2": Family(write=starcoder2, architecture="starcoder2", kind="plain"),
    "StarCoder": Family(write=gpt_bigcode, architecture="gpt2", kind="plain", one_key=True),
    "GPT-NeoX": Family(write=gpt_neox, architecture="gpt_neox", kind="plain", equal_heads=True),
    "MPT": Family(write=mpt, architecture="mpt", kind="plain", equal_heads=True),
    "Falcon 40B": Family(write=falcon_40b, architecture="falcon", kind="plain"),
    "Falcon 7B": Family(write=falcon_7b, architecture="falcon", kind="plain", one_key=True),
    "Falcon RW": Family(write=falcon_rw, architecture="falcon", kind="plain", equal_heads=True),
    "BLOOM": Family(write=bloom, architecture="bloom", kind="plain", equal_heads=True),
    "OPT": Family(write=opt, architecture="opt", kind="plain"),
    "Mixtral": Family(write=mixtral, architecture="mixtral", kind="experts"),
    "Qwen 2 MoE": Family(write=qwen2_moe, architecture="qwen2_moe", kind="experts", shared=True),
    "DeepSeek": Family(write=deepseek, architecture="moe", kind="experts", shared=True),
    "LLaMA-MoE": Family(write=llama_moe, architecture="llama_moe", kind="experts", router="router.0"),
    "fused experts": Family(write=fused_experts, architecture="moe", kind="experts"),
    "Llama 4": Family(write=llama4, architecture="llama4", kind="experts"),
    "GPT-OSS": Family(write=gpt_oss, architecture="gpt_oss", kind="experts"),
    "Granite MoE": Family(write=granite_moe, architecture="granitemoe", kind="experts", shared=True),
    "GGUF MoE": Family(write=gguf_moe, architecture="qwen2moe", kind="experts"),
    "GGUF MoE, shared": Family(write=gguf_moe, architecture="qwen2moe", kind="experts", shared=True),
    "GGUF Phi-3": Family(write=gguf_phi3, architecture="phi3"),
    "GGUF Falcon": Family(write=gguf_falcon, architecture="falcon", kind="plain"),
}
