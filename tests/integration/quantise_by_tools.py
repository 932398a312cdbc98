# ruff: noqa: PLC0415, FBT003 (each tool is imported by who uses it: they do not all live together)
"""Quantise a Hugging Face model by the real tools, and say what each makes of its own codes.

Run by `test_real_quant` in an environment of its own: `python quantise_by_tools.py MODEL OUT METHOD...`. For each
method writes OUT/METHOD/checkpoint, as the tool lays it out, and OUT/METHOD/expected.safetensors: the matrices of one
layer as the tool itself dequantises them, float32, under their plain names.
"""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

LAYERS = 2
SHOWN = 1  # the layer whose dequantised matrices are kept
ROLES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
NAMES = tuple(f"model.layers.{SHOWN}.{role}" for role in ROLES)


def main(model: Path, out: Path, method: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    checkpoint = out / "checkpoint"
    checkpoint.mkdir(parents=True)
    kind, _, variant = method.partition("-")
    expected = MAKERS[kind](model, checkpoint, variant)
    save_file({name: values.float().contiguous() for name, values in expected.items()}, out / "expected.safetensors")


def short(model: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Read the first layers of the model, in float32, and its config for so many."""
    config = json.loads((model / "config.json").read_text()) | {"num_hidden_layers": LAYERS}
    with safe_open(model / "model.safetensors", "pt") as file:
        kept = [name for name in file.keys() if ".layers." not in name or int(name.split(".")[2]) < LAYERS]  # noqa: SIM118
        return {name: file.get_tensor(name).float() for name in kept}, config


def write(out: Path, tensors: dict[str, torch.Tensor], config: dict[str, object]) -> None:
    tensors = {
        name: t.half() if t.dtype == torch.float32 and t.ndim < 2 and "norm" in name else t
        for name, t in tensors.items()
    }
    save_file({name: t.contiguous() for name, t in tensors.items()}, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_text(json.dumps(config))


def is_linear(name: str) -> bool:
    return name.endswith("_proj.weight")


def linear(weight: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.nn.Linear:
    module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    module.weight.data = weight.to(dtype)
    return module


# --- the tools ------------------------------------------------------------------------------------------


def bitsandbytes(model: Path, out: Path, variant: str) -> dict[str, torch.Tensor]:
    import bitsandbytes.functional as bnb
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if variant == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        double = variant.endswith("dq")
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type=variant.removesuffix("dq"), bnb_4bit_use_double_quant=double
        )
    loaded = AutoModelForCausalLM.from_pretrained(
        model, quantization_config=config, dtype=torch.float16, device_map="cpu", num_hidden_layers=LAYERS
    )
    loaded.save_pretrained(out)
    modules = dict(loaded.named_modules())
    if variant == "int8":
        weights = {name: modules[name].weight for name in NAMES}
        return {name: w.CB.float() * w.SCB[:, None] / 127 for name, w in weights.items()}
    states = {name: (modules[name].weight, modules[name].weight.quant_state) for name in NAMES}
    for _, state in states.values():
        state.dtype = torch.float32
    return {name: bnb.dequantize_4bit(w, state) for name, (w, state) in states.items()}


def hqq(model: Path, out: Path, variant: str) -> dict[str, torch.Tensor]:
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    bits, axis, as_float = int(variant[0]), int(variant[2]), variant.endswith("f")  # "4a1", "4a1f"
    stated = BaseQuantizeConfig(nbits=bits, group_size=64, axis=axis, view_as_float=as_float)
    tensors, config = short(model)
    expected = {}
    for name in [name for name in tensors if is_linear(name)]:
        stem = name.removesuffix(".weight")
        layer = HQQLinear(linear(tensors.pop(name)), stated, compute_dtype=torch.float16, device="cpu")
        tensors |= {f"{stem}.{leaf}": t.data if hasattr(t, "data") else t for leaf, t in layer.state_dict().items()}
        if stem in NAMES:
            layer.meta["compute_dtype"] = torch.float32
            layer.meta |= {key: layer.meta[key].float() for key in ("scale", "zero")}
            expected[stem] = layer.dequantize()
    config["quantization_config"] = {"quant_method": "hqq", "quant_config": stated, "skip_modules": ["lm_head"]}
    write(out, {name: t for name, t in tensors.items() if t is not None}, config)
    return expected


def gptq(model: Path, out: Path, variant: str) -> dict[str, torch.Tensor]:
    # Its log module wants a regular expression module that needs a compiler to install; nothing here comes to use it.
    sys.modules["pcre"] = Stub("pcre")
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization.config import QuantizeConfig
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    bits, group, order, v2 = int(variant[0]), 64, "act" in variant, "v2" in variant  # "4", "4act", "4v2"
    stating = QuantizeConfig(bits=bits, group_size=group, offload_to_disk=False)
    tensors, config = short(model)
    expected = {}
    for name in [name for name in tensors if is_linear(name)]:
        stem, weight = name.removesuffix(".weight"), tensors.pop(name)
        g_idx = torch.arange(weight.shape[1], dtype=torch.int32) // group
        if order:
            g_idx = g_idx[torch.randperm(len(g_idx))]
        sorted_first = torch.argsort(g_idx, stable=True)
        scales, zeros = asymmetric(weight[:, sorted_first], group, bits)
        made = TorchLinear(bits, group, False, order, weight.shape[1], weight.shape[0], register_buffers=True)
        made.pack_original(linear(weight), scales, zeros, g_idx)
        if stem in NAMES:
            made.post_init()
            codes = made.scales
            made.scales = codes.float()
            expected[stem] = made.dequantize_weight().T.clone()
            made.scales = codes
        if not v2:
            convert_gptq_v2_to_v1_format_module(made, stating)
        kept = ("qweight", "qzeros", "scales", "g_idx")
        tensors |= {f"{stem}.{leaf}": t for leaf, t in made.state_dict().items() if leaf in kept}
    stated = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": order, "sym": False}
    stated["checkpoint_format"] = "gptq_v2" if v2 else "gptq"
    write(out, tensors, config | {"quantization_config": stated})
    return expected


class Stub(types.ModuleType):
    """A module that has everything, and of which nothing is any good."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return Stub(name)

    def __call__(self, *_: object, **__: object) -> object:
        return self

    def __or__(self, _: object) -> object:
        return self


def awq(model: Path, out: Path, variant: str) -> dict[str, torch.Tensor]:
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.utils.packing_utils import dequantize_gemm

    group = 64
    tensors, config = short(model)
    if variant == "folded":
        for layer in range(LAYERS):
            at = f"model.layers.{layer}."
            fold(tensors, at + "input_layernorm.weight", [f"{at}self_attn.{r}_proj.weight" for r in "qkv"])
            fold(tensors, at + "post_attention_layernorm.weight", [f"{at}mlp.{r}_proj.weight" for r in ("gate", "up")])
    expected = {}
    for name in [name for name in tensors if is_linear(name)]:
        stem, weight = name.removesuffix(".weight"), tensors.pop(name)
        scales, zeros = asymmetric(weight, group, 4)
        weight = rounded(weight, scales, zeros)  # packing rounds and does not clamp
        packed = WQLinear_GEMM.from_linear(
            linear(weight, torch.float16), 4, group, scales=scales.half().T.contiguous(), zeros=zeros.T.contiguous()
        )
        tensors |= {f"{stem}.{leaf}": t for leaf, t in packed.state_dict().items()}
        if stem in NAMES:
            expected[stem] = dequantize_gemm(packed.qweight, packed.qzeros, packed.scales.float(), 4, group).T
    stated = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm"}
    write(out, tensors, config | {"quantization_config": stated})
    return expected


def fold(tensors: dict[str, torch.Tensor], norm: str, weights: list[str]) -> None:
    """Rescale inputs as AWQ does: by the square root of how much each usually carries, here any positive factors."""
    factors = torch.exp(0.5 * torch.randn(tensors[norm].shape))
    tensors[norm] = tensors[norm] / factors
    for name in weights:
        tensors[name] = tensors[name] * factors


def asymmetric(weight: torch.Tensor, group: int, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales and zero points of each group, shape (outputs, groups), as AutoAWQ's quantiser computes them."""
    parts = weight.reshape(weight.shape[0], -1, group)
    largest, least = parts.amax(-1), parts.amin(-1)
    scales = ((largest - least).clamp(min=1e-5) / (2**bits - 1)).half().float()
    return scales, (-torch.round(least / scales)).clamp(0, 2**bits - 1)


def rounded(weight: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor) -> torch.Tensor:
    """Quantise and undo it, as AutoAWQ does before it packs."""
    parts = weight.reshape(*scales.shape, -1)
    codes = torch.clamp(torch.round(parts / scales[..., None]) + zeros[..., None], 0, 15)
    return ((codes - zeros[..., None]) * scales[..., None]).reshape(weight.shape)


def mlx(model: Path, out: Path, variant: str) -> dict[str, torch.Tensor]:
    import mlx.core as mx

    bits, group = int(variant), 64
    tensors, config = short(model)
    arrays, expected = {}, {}
    for name, tensor in tensors.items():
        array = mx.array(tensor.numpy()).astype(mx.bfloat16)
        if not is_linear(name) and "embed" not in name:
            arrays[name] = array
            continue
        stem = name.removesuffix(".weight")
        codes, scales, biases = mx.quantize(array, group_size=group, bits=bits)
        arrays |= {name: codes, f"{stem}.scales": scales, f"{stem}.biases": biases}
        if stem in NAMES:
            wide = [part.astype(mx.float32) for part in (scales, biases)]
            values = mx.dequantize(codes, *wide, group_size=group, bits=bits)
            expected[stem] = torch.from_numpy(np.array(values))
    mx.save_safetensors(str(out / "model.safetensors"), arrays, metadata={"format": "mlx"})
    stated = {"group_size": group, "bits": bits, "mode": "affine"}
    (out / "config.json").write_text(json.dumps(config | {"quantization": stated, "quantization_config": stated}))
    return expected


def compressed(model: Path, out: Path, variant: str) -> dict[str, torch.Tensor]:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme, preset_name_to_scheme
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16, num_hidden_layers=LAYERS)
    scheme = preset_name_to_scheme(SCHEMES[variant], ["Linear"])
    if scheme.weights.group_size == 128:
        scheme.weights.group_size = 64  # the model's 576 inputs are no multiple of 128
    recipe = QuantizationModifier(config_groups={"group_0": scheme}, ignore=["lm_head"])
    oneshot(model=loaded, recipe=recipe)
    loaded.save_pretrained(out, save_compressed=True)
    stated = json.loads((out / "config.json").read_text())["quantization_config"]
    (group,) = stated["config_groups"].values()
    scheme = QuantizationScheme.model_validate({k: group[k] for k in ("targets", "weights", "input_activations")})
    compressor = BaseCompressor.get_value_from_registry(group.get("format") or stated["format"])
    saved = load_file(out / "model.safetensors")
    expected = {}
    for stem in NAMES:
        pieces = {name.removeprefix(f"{stem}."): t for name, t in saved.items() if name.startswith(f"{stem}.")}
        wide = {leaf: t.float() if t.dtype == torch.bfloat16 else t for leaf, t in pieces.items()}
        expected[stem] = compressor.decompress(wide, scheme)["weight"]
    return expected


SCHEMES = {
    "w4a16": "W4A16", "w4a16asym": "W4A16_ASYM", "w8a16": "W8A16", "w8a8": "W8A8", "fp8": "FP8_DYNAMIC",
    "fp8block": "FP8_BLOCK", "nvfp4": "NVFP4A16", "mxfp4": "MXFP4A16",
}  # fmt: skip
MAKERS = {"gptq": gptq, "bnb": bitsandbytes, "hqq": hqq, "awq": awq, "mlx": mlx, "ct": compressed}

if __name__ == "__main__":
    for name in sys.argv[3:]:
        target = Path(sys.argv[2], name)
        shutil.rmtree(target, ignore_errors=True)
        main(Path(sys.argv[1]), target, name)
