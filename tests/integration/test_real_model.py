"""A real language model through our readers predicts English, and stops to when q and k stand in a wrong order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import gguf
import numpy as np
import pytest
import smollm2

from auditor.formats import open_checkpoints
from auditor.model import ModelView, model_views
from auditor.sources import LocalSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

pytestmark = pytest.mark.integration

HEADS, KV_HEADS, HEAD_SIZE = 9, 3, 64
THETA, EPSILON = 100_000.0, 1e-5
MATRICES = ("q", "k", "v", "o", "gate", "up", "down")
TEXT = (  # an order of words that only a model which knows where each stands can follow
    "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday. "
    "One, two, three, four, five, six, seven, eight, nine, ten."
)


@pytest.fixture(scope="module")
def path() -> Path:
    return smollm2.fetch()


@pytest.fixture(scope="module")
def view(path: Path) -> ModelView:
    source = LocalSource(path)
    (container,) = open_checkpoints(source).containers
    (found,) = model_views(source, container)
    return found


@pytest.fixture(scope="module")
def tokens(path: Path) -> list[int]:
    vocabulary = gguf.GGUFReader(path).fields["tokenizer.ggml.tokens"].contents()
    return tokenise(TEXT, {token: number for number, token in enumerate(vocabulary)})


def tokenise(text: str, vocabulary: dict[str, int]) -> list[int]:
    """Split into words with the blank before them, and these into the longest tokens there are."""
    out = []
    for word in re.findall(r" ?\w+|[^\w\s]", text):
        rest = word.replace(" ", "\u0120")  # how byte-level BPE spells a blank
        while rest:
            longest = max(n for n in range(1, len(rest) + 1) if rest[:n] in vocabulary)
            out.append(vocabulary[rest[:longest]])
            rest = rest[longest:]
    return out


def matrix(view: ModelView, layer: int | None, role: str) -> Floats:
    return view.rows(layer, role, np.arange(view.tensor(layer, role).shape[0]))


def as_read(rows: Floats, _heads: int) -> Floats:
    return rows


def as_stored(rows: Floats, heads: int) -> Floats:
    """Put rows in Hugging Face order back as the file has them: llama.cpp's permutation."""
    return rows.reshape(heads, 2, HEAD_SIZE // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def undone_twice(rows: Floats, heads: int) -> Floats:
    return rows.reshape(heads, HEAD_SIZE // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def only_keys_as_read(rows: Floats, heads: int) -> Floats:
    return as_stored(rows, heads) if heads == HEADS else rows


def normalised(x: Floats, gain: Floats) -> Floats:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + EPSILON) * gain


def rotated(x: Floats) -> Floats:
    """Rotary embedding of (heads, positions, size), as Hugging Face pairs: element i with i + size / 2."""
    half = HEAD_SIZE // 2
    angle = np.arange(x.shape[1])[:, None] * THETA ** (-np.arange(half) / half)
    first, second = x[..., :half], x[..., half:]
    return np.concatenate(
        [first * np.cos(angle) - second * np.sin(angle), second * np.cos(angle) + first * np.sin(angle)], axis=-1
    )


def softmax(x: Floats) -> Floats:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def attention(x: Floats, q: Floats, k: Floats, v: Floats) -> Floats:
    """Mix positions, with grouped heads; q, k and v are weights."""

    def heads_of(weight: Floats) -> Floats:
        return (x @ weight.T).reshape(len(x), -1, HEAD_SIZE).swapaxes(0, 1)

    keys, values = (np.repeat(part, HEADS // KV_HEADS, axis=0) for part in (rotated(heads_of(k)), heads_of(v)))
    future = np.triu(np.full((len(x), len(x)), -np.inf), 1)
    scores = rotated(heads_of(q)) @ keys.swapaxes(1, 2) / np.sqrt(HEAD_SIZE)
    return (softmax(scores + future) @ values).swapaxes(0, 1).reshape(len(x), -1)


def losses(view: ModelView, tokens: list[int], *orders: Callable[[Floats, int], Floats]) -> list[float]:
    """Mean negative log-likelihood of each token after the first, in nats, for each row order of q and k."""
    states = [view.rows(None, "embed", np.array(tokens)) for _ in orders]
    for layer in view.layers("gate", "up"):
        q, k, v, o, gate, up, down = (matrix(view, layer, role) for role in MATRICES)
        before, between = (view.vector(layer, role) for role in ("attn_norm", "mlp_norm"))
        for i, order in enumerate(orders):
            x = states[i]
            x = x + attention(normalised(x, before), order(q, HEADS), order(k, KV_HEADS), v) @ o.T
            inner = normalised(x, between)
            gated = inner @ gate.T
            states[i] = x + (gated / (1 + np.exp(-gated)) * (inner @ up.T)) @ down.T
    embedding, gain = matrix(view, None, "embed"), view.vector(None, "final_norm")  # tied: also the head
    probabilities = [softmax(normalised(x, gain)[:-1] @ embedding.T) for x in states]
    return [float(-np.log(p[np.arange(len(tokens) - 1), tokens[1:]]).mean()) for p in probabilities]


def test_shape(view: ModelView) -> None:
    assert view.layers("gate", "up", "down", "q", "k", "v", "o", "attn_norm", "mlp_norm") == tuple(range(30))
    assert view.tensor(0, "gate").shape == (1536, 576)
    assert view.tensor(0, "k").shape == (192, 576)
    assert view.tensor(None, "embed").shape == (49152, 576)


def test_model_predicts_english(view: ModelView, tokens: list[int]) -> None:
    """1.1 nats a token; a model that knew nothing would need ln 49,152 = 10.8."""
    assert len(tokens) == 34
    right, stored, twice, mixed = losses(view, tokens, as_read, as_stored, undone_twice, only_keys_as_read)
    assert right < 2
    assert stored > right + 1.5
    assert twice > right + 0.5
    assert mixed > right + 4
