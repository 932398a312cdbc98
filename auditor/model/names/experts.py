"""Mixtures of experts.

Roles: `experts.7.gate` is expert 7's; `experts.gate` holds all experts in three dimensions; `experts.gate_up` also both
matrices. `shared.gate` is of an expert that every token passes through.
"""

from __future__ import annotations

_MATRICES = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
_NUMBERED = {"gate": "w1", "down": "w2", "up": "w3"}  # Mixtral keeps Meta's order

LAYER = {
    # Mixtral, Phi-MoE
    "block_sparse_moe.gate": "router",
    **{f"block_sparse_moe.experts.#.{theirs}": f"experts.#.{ours}" for ours, theirs in _NUMBERED.items()},
    # Qwen, DeepSeek, OLMoE and most others
    "mlp.gate": "router",
    **{f"mlp.experts.#.{theirs}": f"experts.#.{ours}" for ours, theirs in _MATRICES.items()},
    **{f"mlp.shared_expert.{theirs}": f"shared.{ours}" for ours, theirs in _MATRICES.items()},
    **{f"mlp.shared_experts.{theirs}": f"shared.{ours}" for ours, theirs in _MATRICES.items()},
    "mlp.shared_expert_gate": "shared_router",
    # GPT-OSS
    "mlp.router": "router",
    # Llama 4, and the dense layers between its mixtures
    "feed_forward.router": "router",
    **{f"feed_forward.{theirs}": ours for ours, theirs in _MATRICES.items()},
    **{f"feed_forward.shared_expert.{theirs}": f"shared.{ours}" for ours, theirs in _MATRICES.items()},
    # LFM 2
    "feed_forward.gate": "router",
    **{f"feed_forward.experts.#.{theirs}": f"experts.#.{ours}" for ours, theirs in _NUMBERED.items()},
    # Granite
    "block_sparse_moe.router.layer": "router",
    "block_sparse_moe.input_linear": "experts.gate_up",
    "block_sparse_moe.output_linear": "experts.down",
    "shared_mlp.input_linear": "shared.gate_up",
    "shared_mlp.output_linear": "shared.down",
    # LLaMA-MoE: a Llama 2 whose neurons were dealt out to experts. Its router is two layers deep.
    "mlp.gate.gate_network.#": "router.#",
    "mlp.gate.weight_noise": "router_noise",
}
BARE = {
    # one tensor for all experts of a layer: Llama 4, GPT-OSS, and what newer versions of transformers hold in memory
    "mlp.experts.gate_up_proj": "experts.gate_up",
    "mlp.experts.gate_up_proj_bias": "experts.gate_up.bias",
    "mlp.experts.down_proj": "experts.down",
    "mlp.experts.down_proj_bias": "experts.down.bias",
    "feed_forward.experts.gate_up_proj": "experts.gate_up",
    "feed_forward.experts.down_proj": "experts.down",
    "mlp.gate.e_score_correction_bias": "router.correction",
    # LLaMA-MoE keeps parameters in lists
    **{f"mlp.calculator.experts.weight_{role}.#": f"experts.#.{role}" for role in _MATRICES},
}
GLOBAL: dict[str, str] = {}
HEADS: dict[str, str] = {}
