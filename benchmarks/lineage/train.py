"""Train the small models of the battery on one thread; what is done already is skipped.

    python benchmarks/lineage/train.py [NAME ...]

Wants torch and safetensors; `run.py` makes a virtual environment with them and calls this. Each model becomes a folder
`.cache/lineage/tiny/NAME` with `model.safetensors`, `config.json` and `recipe.json`: the loss before and after, the
mean row cosine to its parent (to what was inherited, where the shape changed), and the key of its recipe.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from dataclasses import asdict

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported

from typing import TYPE_CHECKING

import corpus
import numpy as np
import surgery
import tinymodel
import torch
from recipes import BY_NAME, RECIPES, Recipe
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

State = tinymodel.State
_LORA_RANK, _LORA_SCALE = 8, 2.0


def main(names: list[str]) -> None:
    """Make all models, or those named and what they come from."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    wanted = RECIPES if not names else _with_parents(names)
    for recipe in wanted:
        if recipe.done:
            continue
        begun = time.process_time()
        made = make(recipe)
        said = f"{recipe.name:22s} {made['steps']:4d} steps, loss {made['loss_before']:.2f} -> {made['loss_after']:.2f}"
        if made["row_cosine"] is not None:
            said += f", row cosine to {recipe.parent} {made['row_cosine']:.3f}"
        print(f"{said}, {time.process_time() - begun:.0f} s of CPU", flush=True)
    print(f"{len(wanted)} models in {wanted[0].folder.parent}, {time.perf_counter() - started:.0f} s")


def make(recipe: Recipe) -> dict[str, float | None]:
    """Train one model and write its folder."""
    tokens = corpus.tokens(recipe.data, recipe.vocabulary)
    parent = load_file(BY_NAME[recipe.parent].folder / "model.safetensors") if recipe.parent else None
    model = start(recipe, parent)
    same_shape = recipe.parent is None or BY_NAME[recipe.parent].shape == recipe.shape
    inherited = (parent or {}) if same_shape else tinymodel.state_of(model)
    before = tinymodel.loss_of(model, tokens)
    options = _extras(recipe, model, parent)
    steps = tinymodel.train(model, tokens, steps=recipe.steps, rate=recipe.rate, order=recipe.order, **options)  # type: ignore[arg-type]
    after = tinymodel.loss_of(model, tokens)
    state = _merged(model) if recipe.change == "lora" else tinymodel.state_of(model, tied=recipe.shape.tied)
    cosine = surgery.mean_row_cosine(state, inherited)
    made: dict[str, float | None] = {
        "steps": steps,
        "loss_before": before,
        "loss_after": after,
        "row_cosine": None if math.isnan(cosine) else cosine,
    }
    if not after < before + 0.05:  # a pruned or merged model may begin where it ends; none may get worse
        sys.exit(f"{recipe.name}: did not learn: loss {before:.3f} -> {after:.3f}")
    _write(recipe, state, made)
    return made


def start(recipe: Recipe, parent: State | None) -> nn.Module:
    """Build a model as it is before training."""
    if parent is None or recipe.distil or recipe.truth == "apart":
        return _fresh(recipe)
    if recipe.change == "transplant":
        model = tinymodel.TinyLlama(recipe.shape, recipe.seed)
        for name, parameter in (
            (surgery.EMBED, model.model.embed_tokens.weight),
            (surgery.HEAD, model.lm_head.weight),
        ):
            parameter.data = torch.from_numpy(parent[name].copy())
            parameter.requires_grad_(requires_grad=False)
        return model
    model = tinymodel.load(recipe.shape, _changed(recipe, parent), recipe.seed)
    if recipe.change == "lora":
        _add_lora(model)
    return model


def _changed(recipe: Recipe, parent: State) -> State:
    shape, seed = recipe.shape, recipe.seed
    old = BY_NAME[recipe.parent or ""].shape
    changes: dict[str, Callable[[], State]] = {
        "none": lambda: parent,
        "lora": lambda: parent,
        "embeddings-and-norms": lambda: surgery.embeddings_and_norms_anew(parent, seed),
        "vocabulary": lambda: surgery.vocabulary_anew(parent, shape.vocabulary, seed),
        "extended-vocabulary": lambda: surgery.vocabulary_extended(parent, shape.vocabulary, seed),
        "narrow": lambda: surgery.narrowed(parent, old, shape),
        "mixture": lambda: surgery.mixture_of_copies(parent, shape.experts, seed),
        "grouped": lambda: surgery.grouped(parent, old.heads, shape.kv_heads),
        "dropped": lambda: surgery.restacked(parent, [0, 1, 3]),
        "half": lambda: {n: w * ~m for n, w, m in _masks(recipe, parent)},
        "two-of-four": lambda: {n: w * ~m for n, w, m in _masks(recipe, parent)},
    }
    return changes[recipe.change]()


def _masks(recipe: Recipe, parent: State) -> list[tuple[str, np.ndarray, np.ndarray]]:
    def mask(name: str, w: np.ndarray) -> np.ndarray:
        if not surgery.is_block_matrix(name):
            return np.zeros(w.shape, dtype=bool)
        return surgery.mask(w, 0.5) if recipe.change == "half" else surgery.mask_two_of_four(w)

    return [(name, w, mask(name, w)) for name, w in parent.items()]


def _fresh(recipe: Recipe) -> nn.Module:
    model = tinymodel.TinyLlama(recipe.shape, recipe.seed)
    for name, parameter in model.named_parameters():
        if recipe.start in {"orthogonal", "all"} and parameter.dim() > 1:
            nn.init.orthogonal_(parameter, gain=0.02 * math.sqrt(max(parameter.shape)))
        if recipe.start in {"zero", "all"} and ("o_proj" in name or "down_proj" in name):
            nn.init.zeros_(parameter)
        if recipe.start in {"constant-norms", "all"} and "norm" in name:
            parameter.requires_grad_(requires_grad=False)
    return model


def _extras(recipe: Recipe, model: nn.Module, parent: State | None) -> dict[str, object]:
    """Return what else `tinymodel.train` is told."""
    if parent is None:
        return {}
    if recipe.distil:
        return {"teacher": tinymodel.load(BY_NAME[recipe.parent or ""].shape, parent)}
    if recipe.until is not None:
        until = recipe.until
        return {"enough": lambda: surgery.mean_row_cosine(tinymodel.state_of(model), parent) <= until}
    if recipe.change in {"half", "two-of-four"}:
        weights = dict(model.named_parameters())
        kept = [(weights[name], torch.from_numpy(~mask).float()) for name, _, mask in _masks(recipe, parent)]

        @torch.no_grad()
        def keep_zeros() -> None:
            for weight, keep in kept:
                weight.mul_(keep)

        return {"after_step": keep_zeros}
    return {}


class _Lora(nn.Module):
    """A linear layer and its low-rank addition; only the addition is trained."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner = inner
        self.a = nn.Parameter(torch.randn(_LORA_RANK, inner.in_features) / math.sqrt(inner.in_features))
        self.b = nn.Parameter(torch.zeros(inner.out_features, _LORA_RANK))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + (x @ self.a.T) @ self.b.T * _LORA_SCALE


def _add_lora(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.requires_grad_(requires_grad=False)
    for layer in model.model.layers:
        for block in (layer.self_attn, layer.mlp):
            for name, inner in list(block.named_children()):
                setattr(block, name, _Lora(inner))


@torch.no_grad()
def _merged(model: nn.Module) -> State:
    for layer in model.model.layers:
        for block in (layer.self_attn, layer.mlp):
            for name, lora in list(block.named_children()):
                lora.inner.weight += lora.b @ lora.a * _LORA_SCALE
                setattr(block, name, lora.inner)
    return tinymodel.state_of(model)


def _write(recipe: Recipe, state: State, made: dict[str, float | None]) -> None:
    partial = recipe.folder.with_name(recipe.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({name: np.ascontiguousarray(w) for name, w in state.items()}, partial / "model.safetensors")
    (partial / "config.json").write_text(json.dumps(recipe.shape.config(), indent=1))
    (partial / "recipe.json").write_text(json.dumps({"key": recipe.key, **made, **asdict(recipe)}, indent=1))
    for name, text in corpus.tokenizer_files(recipe.vocabulary).items():
        (partial / name).write_text(text)
    shutil.rmtree(recipe.folder, ignore_errors=True)
    partial.rename(recipe.folder)


def _with_parents(names: list[str]) -> tuple[Recipe, ...]:
    wanted = set(names)
    for recipe in reversed(RECIPES):
        if recipe.name in wanted and recipe.parent:
            wanted.add(recipe.parent)
    return tuple(recipe for recipe in RECIPES if recipe.name in wanted)


if __name__ == "__main__":
    main(sys.argv[1:])
