"""SmolLM2-135M and what real tools make of it, as the battery's second family."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import venvs
from recipes import CACHE, ROOT, Heads

sys.path.insert(0, str(ROOT / "scripts"))  # how the demo fetches and reads it

import derive
import smollm2

FOLDER = CACHE / "smollm"
_VERSION = 1  # of what `smollm_tools.py` does
HEADS = Heads(query=9, key=3)
THETA = 100_000.0  # of the rotary embedding
QUANTISED = ("Q8_0", "Q4_K_M", "Q2_K", "IQ4_XS", "IQ3_S")
MODELS = ("base", "fine-tune", "lora", "nf4", "int8", *QUANTISED)

CONFIG = (
    '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, '
    '"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, '
    '"intermediate_size": 1536, "rms_norm_eps": 1e-05, "rope_theta": 100000.0, "hidden_act": "silu", '
    '"max_position_embeddings": 8192, "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2, '
    '"torch_dtype": "bfloat16"}'
)


def folder(name: str) -> Path:
    """Return where a model of this family lies, making it if it is not there: "smollm-base", "smollm-Q8_0"...

    Folders of quantised GGUF models hold that one file.
    """
    short = name.removeprefix("smollm-")
    made = FOLDER / short
    stamp = made / ".key"
    if stamp.exists() and stamp.read_text() == key(name):
        return made
    made.mkdir(parents=True, exist_ok=True)
    gguf = str(smollm2.fetch())
    if short == "base":
        derive.write(derive.load(Path(gguf)), made, texts={"config.json": CONFIG})
        venvs.run("real", "smollm_tools.py", "tokenizer", gguf, str(made))
    elif short in QUANTISED:
        venvs.run("real", "smollm_tools.py", "quantise", str(venvs.llama_cpp()), gguf, short, str(made))
    else:
        venvs.run("real", "smollm_tools.py", short, str(folder("smollm-base")), str(made))
    stamp.write_text(key(name))
    return made


def key(name: str) -> str:
    """Return what tells one making of a model from another."""
    return hashlib.sha256(f"{_VERSION} {smollm2.SHA256} {name}".encode()).hexdigest()
