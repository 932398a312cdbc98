"""A small Llama in torch, with the tensor names of Hugging Face, and how it is trained.

Runs in a virtual environment of its own: the auditor never needs torch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from recipes import EPSILON, THETA, Shape
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

State = dict[str, NDArray[np.float32]]
WINDOW, BATCH = 48, 8  # tokens in a sequence, sequences in a step
COOLING = 30  # steps in which the rate falls to 0, once a model has gone far enough


class _Norm(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON) * self.weight


def _rotary(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] * THETA ** (-torch.arange(half) / half)
    cosine, sine = angle.cos(), angle.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cosine - b * sine, b * cosine + a * sine], -1)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


class _Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.groups, self.size = shape.heads // shape.kv_heads, shape.head_size
        self.q_proj = _linear(shape.hidden, shape.heads * shape.head_size)
        self.k_proj = _linear(shape.hidden, shape.kv_heads * shape.head_size)
        self.v_proj = _linear(shape.hidden, shape.kv_heads * shape.head_size)
        self.o_proj = _linear(shape.heads * shape.head_size, shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (-1, self.size)).transpose(1, 2) for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        k, v = (part.repeat_interleave(self.groups, 1) for part in (k, v))
        mixed = functional.scaled_dot_product_attention(_rotary(q), _rotary(k), v, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (_linear(shape.hidden, shape.neurons) for _ in range(2))
        self.down_proj = _linear(shape.neurons, shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class _Expert(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.w1, self.w3 = (_linear(shape.hidden, shape.neurons) for _ in range(2))
        self.w2 = _linear(shape.neurons, shape.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(functional.silu(self.w1(x)) * self.w3(x))


class _Mixture(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate = _linear(shape.hidden, shape.experts)
        self.experts = nn.ModuleList(_Expert(shape) for _ in range(shape.experts))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, -2)
        weights, chosen = self.gate(flat).topk(2, dim=-1)
        weights = weights.softmax(-1)
        out = torch.zeros_like(flat)
        for i, expert in enumerate(self.experts):
            rows, place = torch.where(chosen == i)
            out = out.index_add(0, rows, expert(flat[rows]) * weights[rows, place, None])
        return out.view_as(x)


class _Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = _Norm(shape.hidden), _Norm(shape.hidden)
        self.self_attn = _Attention(shape)
        if shape.experts:
            self.block_sparse_moe = _Mixture(shape)
        else:
            self.mlp = _Mlp(shape)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        block = self.block_sparse_moe if hasattr(self, "block_sparse_moe") else self.mlp
        return x + block(self.post_attention_layernorm(x))


class _Decoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
        self.norm = _Norm(shape.hidden)


class TinyLlama(nn.Module):
    """A decoder that predicts the next token."""

    def __init__(self, shape: Shape, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.model = _Decoder(shape)
        self.lm_head = _linear(shape.hidden, shape.vocabulary)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
        if shape.tied:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits after each token."""
        x = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            x = layer(x)
        return self.lm_head(self.model.norm(x))


def state_of(model: nn.Module, *, tied: bool = False) -> State:
    """Return the weights as arrays under their Hugging Face names."""
    return {
        name: value.detach().numpy().astype(np.float32).copy()
        for name, value in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }


def load(shape: Shape, state: Mapping[str, NDArray[np.float32]], seed: int = 0) -> TinyLlama:
    """Build a model with the given weights."""
    model = TinyLlama(shape, seed)
    weights = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}
    if shape.tied:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights)
    return model


def batches(tokens: NDArray[np.int64], seed: int) -> Callable[[], Tensor]:
    """Return a source of batches, shape (BATCH, WINDOW + 1), in an order that the seed fixes."""
    rng, data = np.random.default_rng(seed), torch.from_numpy(tokens)

    def draw() -> Tensor:
        starts = rng.integers(len(data) - WINDOW - 1, size=BATCH)
        return torch.stack([data[start : start + WINDOW + 1] for start in starts])

    return draw


@torch.no_grad()
def loss_of(model: nn.Module, tokens: NDArray[np.int64], *, count: int = 12) -> float:
    """Return the mean loss (nats a token) on fixed batches."""
    draw = batches(tokens, 12_345)
    return sum(float(_loss(model, draw())) for _ in range(count)) / count


def _loss(model: nn.Module, batch: Tensor, teacher: nn.Module | None = None) -> Tensor:
    logits = model(batch[:, :-1]).flatten(0, 1)
    if teacher is None:
        return functional.cross_entropy(logits, batch[:, 1:].flatten())
    with torch.no_grad():
        wanted = teacher(batch[:, :-1]).flatten(0, 1).softmax(-1)
    return functional.cross_entropy(logits, wanted)


def train(
    model: nn.Module,
    tokens: NDArray[np.int64],
    *,
    steps: int,
    rate: float,
    order: int,
    teacher: nn.Module | None = None,
    after_step: Callable[[], None] | None = None,
    enough: Callable[[], bool] | None = None,
) -> int:
    """Train with AdamW; return the number of steps.

    Parameters
    ----------
    model : Module
        Those of its parameters that require gradients are trained.
    tokens : ndarray of int
    steps : int
        At most so many, unless `enough` ends the run earlier; then come `COOLING` more in which the rate falls to 0.
    rate : float
        Peak learning rate; linear warm-up over 30 steps, then a cosine to a tenth, or constant with `enough`.
    order : int
        Seed of the order of data.
    teacher : Module, optional
        Its predictions are learnt in place of the text.
    after_step : callable, optional
        Called after each step: to keep pruned weights at zero.
    enough : callable, optional
        Asked every fifth step.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.95), weight_decay=0.1)
    draw = batches(tokens, order)
    end = steps
    cooling: int | None = None
    step = 0
    while step < end:
        if enough is not None and cooling is None and step % 5 == 4 and enough():
            cooling, end = step, step + COOLING
        if cooling is not None:
            scale = 1.0 - (step - cooling) / COOLING
        else:
            scale = 1.0 if enough else 0.1 + 0.45 * (1.0 + math.cos(math.pi * step / end))
        for group in optimizer.param_groups:
            group["lr"] = rate * scale * min(1.0, (step + 1) / 30)
        loss = _loss(model, draw(), teacher)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if after_step:
            after_step()
        step += 1
    return step
