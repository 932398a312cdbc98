"""Make tiny models of many architectures with transformers, and note what their first layer computes.

Run by an interpreter that has torch and transformers: `make_families.py FOLDER [NAME ...]`. For each model, FOLDER/NAME
holds what `save_pretrained` writes, and FOLDER/NAME.npz inputs and outputs of the modules of layer 0: of the MLP (or
of every expert), and of the attention for a sequence of one token, where it is the output projection of the values.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as tf

HIDDEN, NEURONS, HEADS, KV_HEADS, LAYERS, TOKENS, EXPERTS = 64, 96, 4, 2, 4, 50, 4
COMMON = {
    "hidden_size": HIDDEN,
    "intermediate_size": NEURONS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "num_hidden_layers": LAYERS,
    "vocab_size": TOKENS,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attn_implementation": "eager",
}
GPT = {"n_embd": HIDDEN, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 64, "vocab_size": TOKENS}
GPT |= {key: COMMON[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id", "attn_implementation")}
MOE = {"num_experts": EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": NEURONS}
SMALL_HEADS = {"head_dim": 16}
FALCON = {key: COMMON[key] for key in COMMON if key != "num_key_value_heads"}
SINGLE = {key: value for key, value in COMMON.items() if key != "num_key_value_heads"}
LOCAL = {"num_local_experts": EXPERTS}
LLAMA = "model.layers.0.mlp", "model.layers.0.self_attn"
GPT2 = "transformer.h.0.mlp", "transformer.h.0.attn"
FALCON = "transformer.h.0.mlp", "transformer.h.0.self_attention"
LLAMA4 = {"intermediate_size_mlp": 80, "interleave_moe_layer_step": 1}
QWEN2_MOE = {"shared_expert_intermediate_size": 80, "decoder_sparse_step": 1}
DEEPSEEK = {
    "num_key_value_heads": HEADS,
    "n_routed_experts": EXPERTS,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "first_k_dense_replace": 1,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}
BLOOM = {"hidden_size": HIDDEN, "n_layer": LAYERS, "n_head": HEADS, "vocab_size": TOKENS, "pad_token_id": 0}
MPT = {"d_model": HIDDEN, "n_layers": LAYERS, "n_heads": HEADS, "vocab_size": TOKENS, "max_seq_len": 64}

ADD_THE_RESIDUAL = {"BloomMLP", "BloomAttention", "MptMLP"}

# name: (what the classes are called, configuration, module of the MLP, module of the attention)
CASES: dict[str, tuple[str, dict[str, object], str, str]] = {
    "llama": ("Llama", COMMON, *LLAMA),
    "llama-tied": ("Llama", COMMON | {"tie_word_embeddings": True}, *LLAMA),
    "mistral": ("Mistral", COMMON, *LLAMA),
    "qwen2": ("Qwen2", COMMON, *LLAMA),
    "qwen3": ("Qwen3", COMMON | SMALL_HEADS, *LLAMA),
    "gemma": ("Gemma", COMMON | SMALL_HEADS, *LLAMA),
    "gemma2": ("Gemma2", COMMON | SMALL_HEADS, *LLAMA),
    "gemma3": ("Gemma3", COMMON | SMALL_HEADS, *LLAMA),
    "phi3": ("Phi3", COMMON, *LLAMA),
    "glm": ("Glm", COMMON | SMALL_HEADS, *LLAMA),
    "glm4": ("Glm4", COMMON | SMALL_HEADS, *LLAMA),
    "olmo": ("Olmo", COMMON, *LLAMA),
    "olmo2": ("Olmo2", COMMON, *LLAMA),
    "stablelm": ("StableLm", COMMON, *LLAMA),
    "cohere": ("Cohere", COMMON, *LLAMA),
    "granite": ("Granite", COMMON, *LLAMA),
    "nemotron": ("Nemotron", COMMON, *LLAMA),
    "starcoder2": ("Starcoder2", COMMON, *LLAMA),
    "phi": ("Phi", COMMON, *LLAMA),
    "mixtral": ("Mixtral", COMMON | LOCAL, *LLAMA),
    "qwen2-moe": ("Qwen2Moe", COMMON | MOE | QWEN2_MOE, *LLAMA),
    "qwen3-moe": ("Qwen3Moe", COMMON | MOE | SMALL_HEADS, *LLAMA),
    "olmoe": ("Olmoe", COMMON | MOE, *LLAMA),
    "granite-moe": ("GraniteMoe", COMMON | LOCAL, "model.layers.0.block_sparse_moe", LLAMA[1]),
    "gpt-oss": ("GptOss", COMMON | SMALL_HEADS | LOCAL, *LLAMA),
    "llama4": ("Llama4", COMMON | SMALL_HEADS | LOCAL | LLAMA4, "model.layers.0.feed_forward", LLAMA[1]),
    "deepseek-v3": ("DeepseekV3", COMMON | DEEPSEEK, LLAMA[0], ""),
    "gpt-neox": ("GPTNeoX", COMMON, "gpt_neox.layers.0.mlp", "gpt_neox.layers.0.attention"),
    "gpt2": ("GPT2", GPT, *GPT2),
    "gpt-bigcode": ("GPTBigCode", GPT | {"multi_query": True}, *GPT2),
    "gpt-bigcode-mha": ("GPTBigCode", GPT | {"multi_query": False}, *GPT2),
    "bloom": ("Bloom", BLOOM, *FALCON),
    "mpt": ("Mpt", MPT, "transformer.blocks.0.ffn", "transformer.blocks.0.attn"),
    "falcon-7b": ("Falcon", SINGLE | {"multi_query": True}, *FALCON),
    "falcon-40b": ("Falcon", SINGLE | {"new_decoder_architecture": True, "num_kv_heads": KV_HEADS}, *FALCON),
    "falcon-rw": ("Falcon", SINGLE | {"multi_query": False, "alibi": True, "bias": True}, *FALCON),
    "opt": (
        "OPT",
        COMMON | {"ffn_dim": NEURONS, "word_embed_proj_dim": HIDDEN},
        "",
        "model.decoder.layers.0.self_attn",
    ),
}
CONFIG = {"Llama4": "Llama4TextConfig", "Gemma3": "Gemma3TextConfig"}
MODEL = {"GPT2": "GPT2LMHeadModel"}


def build(name: str, folder: Path) -> None:
    kind, settings, mlp, attention = CASES[name]
    config = getattr(tf, CONFIG.get(kind, f"{kind}Config"))(**settings)
    torch.manual_seed(len(name))
    model = getattr(tf, MODEL.get(kind, f"{kind}ForCausalLM"))(config).eval()
    randomise(model)
    save(model, folder, observe(model, mlp, attention))


def build_llava(folder: Path) -> None:
    """Save a LLaVA around a Llama."""
    text = tf.LlamaConfig(**COMMON)
    vision = tf.CLIPVisionConfig(
        hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4
    )
    model = tf.LlavaForConditionalGeneration(tf.LlavaConfig(text_config=text, vision_config=vision)).eval()
    randomise(model)
    save(model, folder, {})


def build_others(folder: Path) -> None:
    """Save what is no decoder at all."""
    small = {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": NEURONS}
    for name, model in {
        "bert": tf.BertModel(tf.BertConfig(**small, vocab_size=TOKENS)),
        "vit": tf.ViTModel(tf.ViTConfig(**small, image_size=8, patch_size=4)),
        "t5": tf.T5EncoderModel(
            tf.T5Config(d_model=HIDDEN, d_kv=16, d_ff=NEURONS, num_layers=2, num_heads=4, vocab_size=TOKENS)
        ),
        "mamba": tf.MambaForCausalLM(tf.MambaConfig(hidden_size=HIDDEN, num_hidden_layers=2, vocab_size=TOKENS)),
        "clip": tf.CLIPVisionModel(tf.CLIPVisionConfig(**small, image_size=8, patch_size=4)),
        "whisper": tf.WhisperModel(
            tf.WhisperConfig(
                vocab_size=TOKENS, d_model=HIDDEN, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
                decoder_attention_heads=4, encoder_ffn_dim=NEURONS, decoder_ffn_dim=NEURONS, pad_token_id=0,
                bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
            )
        ),
    }.items():  # fmt: skip
        randomise(model)
        save(model, folder / name, {})


def randomise(model: torch.nn.Module) -> None:
    """Draw every parameter, for biases and gains begin as zeros and ones that would hide a wrong order."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)


def save(model: tf.PreTrainedModel, folder: Path, truth: dict[str, np.ndarray]) -> None:
    model.save_pretrained(folder)
    np.savez(folder.with_suffix(".npz"), **truth)


@torch.no_grad()
def observe(model: tf.PreTrainedModel, mlp: str, attention: str) -> dict[str, np.ndarray]:
    """Run single tokens through, and note what goes into and out of layer 0's modules."""
    modules = dict(model.named_modules())
    seen: dict[str, list[torch.Tensor]] = {}

    def note(name: str):  # noqa: ANN202
        def hook(module, inputs, keywords, output) -> None:  # noqa: ANN001
            given = inputs[0] if inputs else keywords["hidden_states"]
            out = output[0] if isinstance(output, tuple) else output
            if type(module).__name__ in ADD_THE_RESIDUAL:
                out = out - inputs[1]
            seen.setdefault(f"{name}_in", []).append(given.reshape(-1, given.shape[-1])[0].clone())
            seen.setdefault(f"{name}_out", []).append(out.reshape(-1, out.shape[-1])[0].clone())

        return hook

    experts = modules.get(f"{mlp}.experts")
    wanted = {"attention": attention, "mlp": mlp if experts is None and "block_sparse_moe" not in mlp else ""}
    hooks = [
        modules[module].register_forward_hook(note(name), with_kwargs=True) for name, module in wanted.items() if module
    ]
    for token in range(3, 9):
        model(torch.tensor([[token]]), use_cache=False)
    for hook in hooks:
        hook.remove()
    truth = {name: torch.stack(values).numpy() for name, values in seen.items()}
    if experts is not None:
        truth |= observe_experts(experts)
    return truth


def observe_experts(experts: torch.nn.Module) -> dict[str, np.ndarray]:
    given = torch.randn(EXPERTS, HIDDEN) * 0.3
    index, weights = torch.arange(EXPERTS)[:, None], torch.ones(EXPERTS, 1)
    one_by_one = type(experts).__name__ == "Llama4TextExperts"  # takes the tokens of each expert one after another
    out = experts(given) if one_by_one else experts(given, index, weights)
    return {"experts_in": given.numpy(), "experts_out": out.reshape(EXPERTS, HIDDEN).numpy()}


def main() -> None:
    """Make all, or those that are named."""
    folder = Path(sys.argv[1])
    failed = {}
    for name in sys.argv[2:] or [*CASES, "llava", "others"]:
        try:
            if name == "others":
                build_others(folder)
            elif name == "llava":
                build_llava(folder / name)
            else:
                build(name, folder / name)
        except Exception as error:  # noqa: BLE001 (reported together)
            failed[name] = f"{type(error).__name__}: {error}"
    (folder / "failed.json").write_text(json.dumps(failed))
    (folder / "versions.json").write_text(json.dumps({"transformers": tf.__version__, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
