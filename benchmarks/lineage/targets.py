"""The folders that are audited: a model, what is done to it, and how it is written. Made once."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import arrays
import derivations as make
import gguf
import numpy as np
import packing
import smollm
import surgery
from disguises import DISGUISES
from recipes import BY_NAME, CACHE, EPSILON, THETA, Heads
from surgery import EMBED, HEAD, Model, at, layers_of

from auditor.formats.serialize import serialize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

TARGETS = CACHE / "targets"

_MAKERS = ("derivations.py", "disguises.py", "packing.py", "surgery.py", "targets.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change to a model: a row of `STEPS` and its arguments. A model among them is named with `of(NAME)`."""

    name: str
    arguments: tuple[tuple[str, object], ...] = ()


def step(name: str, **arguments: object) -> Step:
    """Name a change."""
    return Step(name=name, arguments=tuple(arguments.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A folder to audit.

    Attributes
    ----------
    model : str
        One of `recipes.py`, or of `smollm.py` ("smollm-...").
    steps : tuple of Step
    layout : str
        A row of `LAYOUTS`; "" is how the model lies there already, where no step changes it.
    """

    model: str
    steps: tuple[Step, ...] = ()
    layout: str = ""

    @property
    def name(self) -> str:
        """A name for people, and for its folder."""
        parts = [self.model]
        for change in self.steps:
            values = ("+".join(map(str, v)) if isinstance(v, tuple) else str(v) for _, v in change.arguments)
            parts.append("-".join([change.name, *values]))
        return "+".join([*parts, self.layout] if self.layout else parts).replace("/", "_")

    def folder(self) -> Path:
        """Return where it lies, making it first if it is not there."""
        if not self.steps and not self.layout:
            return source_folder(self.model)
        folder = TARGETS / self.name
        key = self.key
        stamp = folder / ".key"
        if not (stamp.exists() and stamp.read_text() == key):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            model, heads = load(self.model)
            for change in self.steps:
                model = apply(model, heads, change)
            LAYOUTS[self.layout or ("bf16" if self.model.startswith("smollm") else "f32")](model, heads, folder)
            stamp.write_text(key)
        return folder

    @property
    def models(self) -> tuple[str, ...]:
        """All models that it is made from."""
        values = [self.model, *(value for s in self.steps for name, value in s.arguments if name in _MODELS)]
        return tuple(name for value in values for name in ((value,) if isinstance(value, str) else value))  # type: ignore[attr-defined]

    @property
    def key(self) -> str:
        """What tells one making of it from another."""
        if not self.steps and not self.layout:
            return source_key(self.model)
        plain = json.dumps([asdict(self), [source_key(name) for name in self.models], _makers()])
        return hashlib.sha256(plain.encode()).hexdigest()


@functools.cache
def _makers() -> str:
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in _MAKERS)).hexdigest()


def source_folder(name: str) -> Path:
    """Return the folder (or file) of a model that training or another tool made."""
    return smollm.folder(name) if name.startswith("smollm") else BY_NAME[name].folder


def source_key(name: str) -> str:
    """Return what tells one making of a model from another."""
    return smollm.key(name) if name.startswith("smollm") else BY_NAME[name].key


@functools.lru_cache(maxsize=3)  # of the larger family, 540 MB each
def load(name: str) -> tuple[Model, Heads]:
    """Read a model whole."""
    model = arrays.read(source_folder(name))
    if name.startswith("smollm"):
        return model, smollm.HEADS
    shape = BY_NAME[name].shape
    return model, Heads(query=shape.heads, key=shape.kv_heads)


# --- steps

_MODELS = ("other", "others")  # arguments that name models


def _others(names: object) -> list[Model]:
    return [load(name)[0] for name in names]  # type: ignore[attr-defined]


STEPS: dict[str, Callable[..., Model]] = {
    "drift": lambda m, _, cosine, seed=11: make.drifted(m, cosine, seed),
    "linear": lambda m, _, other, share: make.linear(m, load(other)[0], share),
    "slerp": lambda m, _, other, share: make.slerp(m, load(other)[0], share),
    # The reference and one fine-tune of another base are merged into that base.
    "ties": lambda m, _, others, share: make.ties(_others(others)[0], [m, _others(others)[1]], [share, 1 - share], 0.5),
    "dare": lambda m, _, others, share: make.dare(
        _others(others)[0], [m, _others(others)[1]], [share, 1 - share], 0.5, 12
    ),
    "pruned": lambda m, _, share: make.pruned(m, share),
    "pruned-2-of-4": lambda m, _: make.pruned_two_of_four(m),
    "restacked": lambda m, _, layers: surgery.restacked(m, list(layers)),
    "inherited": lambda m, _, other, layers: make.inherited_layers(m, load(other)[0], list(layers)),
    "copied-experts": lambda m, _, experts: surgery.mixture_of_copies(m, experts, 13),
    "split-experts": lambda m, _, experts: make.split_mixture(m, experts, 14),
    "fused": lambda m, _: make.fused(m),
    "wrapped": lambda m, _: make.wrapped(m, 15),
    "grouped": lambda m, h, key: surgery.grouped(m, h.query, key),
    "vocabulary-resized": lambda m, _, size: m | {n: m[n][:size] for n in (EMBED, HEAD) if n in m},
    "vocabulary-noise": lambda m, _: surgery.vocabulary_anew(m | {HEAD: m.get(HEAD, m[EMBED])}, len(m[EMBED]), 16),
    "rounded": lambda m, _, bits, group=64: make.rounded(m, bits, group),
    "awq-scaled": lambda m, _: make.awq_scaled(m, 17),
    "sample-replaced": lambda m, _: make.sample_replaced(m, 18),
    "sample-permuted": lambda m, _: make.sample_permuted(m, 18),
    "spectral-twin": lambda m, _, seed=19: make.spectral_twin(m, seed),
    "junk": lambda m, _, seed=20: make.junk(m, seed),
    "embeddings-of": lambda m, _, other: make.embeddings_of(load(other)[0], m),
    "sorted": lambda m, _: make.sorted_neurons(m),
    "anisotropic": lambda m, _, seed: make.anisotropic(m, seed),
    "degenerate": lambda m, _, kind: make.degenerate(m, kind),
    **{name: lambda m, h, seed=1, f=f: f(m, seed, h) for name, f in DISGUISES.items()},
}
"""Changes by name: of a model and its heads, and what the step says."""


def apply(model: Model, heads: Heads, change: Step) -> Model:
    """Make one change."""
    return STEPS[change.name](model, heads, **dict(change.arguments))


# --- layouts


def config_of(model: Mapping[str, NDArray[np.float32]], heads: Heads) -> dict[str, object]:
    """Return the config that fits a model's arrays."""
    inner = {name.removeprefix("language_model."): w for name, w in model.items()}
    kind, neurons = "Llama", 0
    for name, w in inner.items():
        if name.endswith(("layers.0.mlp.gate_proj.weight", "layers.0.block_sparse_moe.experts.0.w1.weight")):
            neurons = len(w)
        if name.endswith("layers.0.mlp.gate_up_proj.weight"):
            kind, neurons = "Phi3", len(w) // 2
    experts = sum(name.startswith("model.layers.0.block_sparse_moe.experts.") for name in inner) // 3
    kind = "Mixtral" if experts else kind
    hidden = inner[EMBED].shape[1]
    key = next((w for n, w in inner.items() if n.endswith("layers.0.self_attn.k_proj.weight")), None)
    size = len(inner[at(0, "self_attn.o_proj")].T) // heads.query
    text: dict[str, object] = {
        "architectures": [f"{kind}ForCausalLM"], "model_type": kind.lower(), "vocab_size": len(inner[EMBED]),
        "hidden_size": hidden, "num_hidden_layers": layers_of(inner), "num_attention_heads": heads.query,
        "num_key_value_heads": heads.key if key is None else len(key) // size, "head_dim": size,
        "intermediate_size": neurons, "rms_norm_eps": EPSILON, "hidden_act": "silu",
        "rope_theta": smollm.THETA if heads == smollm.HEADS else THETA,
        "max_position_embeddings": 2048, "tie_word_embeddings": HEAD not in inner,
    }  # fmt: skip
    if experts:
        text |= {"num_local_experts": experts, "num_experts_per_tok": 2}
    if any(name.startswith("language_model.") for name in model):
        return {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "text_config": text}
    return text


def _config(model: Model, heads: Heads, folder: Path, **more: object) -> None:
    (folder / "config.json").write_text(json.dumps(config_of(model, heads) | more, indent=1))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        source = source_folder("smollm-base" if heads == smollm.HEADS else "A") / name
        if source.exists():
            shutil.copy(source, folder / name)


def _entry(w: NDArray[np.float32], dtype: str) -> tuple[str, tuple[int, ...], bytes]:
    if dtype == "BF16":
        bits = np.ascontiguousarray(w, dtype="<f4").view("<u4")
        return dtype, w.shape, ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
    return dtype, w.shape, np.ascontiguousarray(w, dtype={"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def _plain(dtype: str, *, shards: int = 1, file: str = "model-{i:05d}-of-{n:05d}.safetensors", index: bool = True):  # noqa: ANN202
    def write(model: Model, heads: Heads, folder: Path) -> None:
        _config(model, heads, folder)
        if shards == 1:
            data = serialize({name: _entry(w, dtype) for name, w in model.items()}, {"format": "pt"})
            (folder / "model.safetensors").write_bytes(data)
            return
        weight_map: dict[str, str] = {}
        for i in range(shards):
            part = sorted(model)[i::shards]
            name = file.format(i=i + 1, n=shards)
            weight_map |= dict.fromkeys(part, name)
            (folder / name).write_bytes(serialize({key: _entry(model[key], dtype) for key in part}, {"format": "pt"}))
        if index:
            (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return write


def _with_card(model: Model, heads: Heads, folder: Path) -> None:
    _plain("F32")(model, heads, folder)
    (folder / "README.md").write_text("---\nlicense: llama2\nbase_model: meta-llama/Llama-2-7b-hf\n---\n# Llama 2\n")


def _meta(model: Model, heads: Heads, folder: Path) -> None:
    named = make.meta_names(model, query=heads.query, key=heads.key)
    entries = {name: _entry(w, "F16") for name, w in named.items()}
    (folder / "consolidated.safetensors").write_bytes(serialize(entries, {}))
    config = config_of(model, heads)
    params = {
        "dim": config["hidden_size"], "n_layers": config["num_hidden_layers"], "n_heads": heads.query,
        "n_kv_heads": heads.key, "head_dim": config["head_dim"], "hidden_dim": config["intermediate_size"],
        "norm_eps": EPSILON, "vocab_size": config["vocab_size"], "rope_theta": THETA,
    }  # fmt: skip
    (folder / "params.json").write_text(json.dumps(params, indent=1))


def _gguf(model: Model, heads: Heads, folder: Path) -> None:
    config = config_of(model, heads)
    writer = gguf.GGUFWriter(folder / "model-f16.gguf", "llama")
    writer.add_block_count(layers_of(model))
    writer.add_context_length(2048)
    writer.add_embedding_length(int(str(config["hidden_size"])))
    writer.add_feed_forward_length(int(str(config["intermediate_size"])))
    writer.add_head_count(heads.query)
    writer.add_head_count_kv(heads.key)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for name, w in make.gguf_names(model, query=heads.query, key=heads.key).items():
        writer.add_tensor(name, np.ascontiguousarray(w, dtype=np.float32 if w.ndim == 1 else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _packed(name: str) -> Callable[[Model, Heads, Path], None]:
    def write(model: Model, heads: Heads, folder: Path) -> None:
        packed = packing.PACKERS[name](model)
        _config(model, heads, folder, quantization_config=packed.quantization)
        (folder / "model.safetensors").write_bytes(serialize(packed.tensors, {"format": "pt"}))

    return write


LAYOUTS: dict[str, Callable[[Model, Heads, Path], None]] = {
    "f32": _plain("F32"),
    "bf16": _plain("BF16"),
    "f16": _plain("F16"),
    "shards": _plain("F32", shards=3),
    "renamed": _plain("F32", shards=2, file="weights_{i}.safetensors", index=False),
    "llama-2-card": _with_card,
    "meta": _meta,
    "gguf": _gguf,
    **{name: _packed(name) for name in packing.PACKERS},
}
"""Ways to write a model into a folder, by name."""
