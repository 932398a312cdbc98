"""What real tools make of SmolLM2: transformers, PEFT, bitsandbytes, llama.cpp. Runs in `venv-real`.

python smollm_tools.py tokenizer GGUF FOLDER
python smollm_tools.py fine-tune|lora|nf4|int8 BASE FOLDER
python smollm_tools.py quantise LIBRARIES GGUF TYPE FOLDER
"""

# ruff: noqa: ANN401, PLC0415, S106
# Each command imports what it needs, whose types the project does not see; "passwords" are the names of tokens.

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import corpus

_STEPS, _TOKENS = 12, 192  # light: the weights move as little as an hour of fine-tuning moves them

_FTYPES = {  # llama.h, enum llama_ftype; those that want an importance matrix are left out
    "F16": 1, "BF16": 32, "Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q8_0": 7, "Q2_K": 10, "Q3_K_M": 12, "Q4_K_M": 15,
    "Q5_K_M": 17, "Q6_K": 18, "IQ3_XXS": 23, "IQ4_NL": 25, "IQ3_S": 26, "IQ4_XS": 30, "TQ1_0": 36, "TQ2_0": 37,
    "MXFP4_MOE": 38,
}  # fmt: skip
_HEADER = """
typedef struct { int32_t nthread; int ftype; int output_tensor_type; int token_embedding_type; bool allow_requantize;
  bool quantize_output_tensor; bool only_copy; bool pure; bool keep_split; bool dry_run; void* imatrix;
  void* kv_overrides; void* tt_overrides; int32_t* prune_layers; size_t max_buf_size; } params;
params llama_model_quantize_default_params(void);
uint32_t llama_model_quantize(const char*, const char*, const params*);
void llama_backend_init(void);
"""


def tokenizer(gguf: str, folder: str) -> None:
    """Write the tokenizer that a GGUF file holds, as Hugging Face's files."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    fields = GGUFReader(gguf).fields
    tokens, kinds, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type", "merges"))
    model = models.BPE(
        vocab={token: i for i, token in enumerate(tokens)}, merges=[tuple(merge.split(" ", 1)) for merge in merges]
    )
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(
        [AddedToken(token, special=True) for token, kind in zip(tokens, kinds, strict=True) if kind == 3]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    ).save_pretrained(folder)


def fine_tune(base: str, folder: str) -> None:
    """Fine-tune every weight for a few steps."""
    model, tokens = _opened(base)
    _train(model, tokens, rate=5e-5)
    _save(model, tokens, folder)


def lora(base: str, folder: str) -> None:
    """Train a low-rank adapter with PEFT, and merge it."""
    import torch
    from peft import LoraConfig, get_peft_model

    model, tokens = _opened(base)
    torch.manual_seed(0)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    _train(model, tokens, rate=1e-3)
    _save(model.merge_and_unload(), tokens, folder)


def _opened(base: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), AutoTokenizer.from_pretrained(base)


def _train(model: Any, tokens: Any, *, rate: float) -> None:
    import torch

    ids = torch.tensor(tokens(corpus.text("second")[:200_000].decode(errors="replace")).input_ids)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate)
    held_out = ids[-2 * _TOKENS :].view(2, -1)

    def loss_of(batch: Any) -> Any:
        return model(input_ids=batch, labels=batch).loss

    with torch.no_grad():
        before = float(loss_of(held_out))
    for step in range(_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 4)
        loss = loss_of(ids[None, step * _TOKENS : (step + 1) * _TOKENS])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        print(f"loss {before:.3f} -> {float(loss_of(held_out)):.3f} in {_STEPS} steps", flush=True)


def _save(model: Any, tokens: Any, folder: str) -> None:
    import torch

    model.to(torch.bfloat16).save_pretrained(folder)
    tokens.save_pretrained(folder)


def bitsandbytes(base: str, folder: str, kind: str) -> None:
    """Load with bitsandbytes' quantisation, and save."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if kind == "nf4":
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    else:
        config = BitsAndBytesConfig(load_in_8bit=True)
    model = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=config, dtype=torch.float16, device_map="cpu"
    )
    model.save_pretrained(folder)


def quantise(libraries: str, source: str, kind: str, folder: str) -> None:
    """Quantise a GGUF file with llama.cpp."""
    from cffi import FFI

    def library(pattern: str) -> str:
        return str(next(Path(libraries).glob(pattern)))

    ctypes.CDLL(library("libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
    backends = ctypes.CDLL(library("libggml.v*.so"), mode=ctypes.RTLD_GLOBAL)
    backends.ggml_backend_load_all_from_path(libraries.encode())
    ffi = FFI()
    ffi.cdef(_HEADER)
    llama = ffi.dlopen(library("libllama.v*.so"))
    llama.llama_backend_init()
    options = ffi.new("params*", llama.llama_model_quantize_default_params())
    options.ftype, options.allow_requantize, options.nthread = _FTYPES[kind], True, 1
    target = Path(folder) / f"model-{kind}.gguf"
    code = llama.llama_model_quantize(source.encode(), str(target).encode(), options)
    if code:
        sys.exit(f"llama.cpp refused {kind}: {code}")


def main(command: str, *arguments: str) -> None:
    """Do one thing."""
    if command in {"nf4", "int8"}:
        bitsandbytes(*arguments, command)
    else:
        {"tokenizer": tokenizer, "fine-tune": fine_tune, "lora": lora, "quantise": quantise}[command](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
