"""The small models of the battery, as data: what each starts from, and how it is trained.

Four bases are independent: A, B and C differ in their seed alone (same shape, data, order of data, tokenizer), D has
other data too. A and B have derivatives; what was trained beside them is not derived, whatever it shares.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache" / "lineage"
TINY = CACHE / "tiny"

EPSILON, THETA = 1e-5, 10_000.0
_VERSION = 1  # of the code that trains; another number trains all anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a model. `experts` of 0 is a dense block; else the best 2 of so many are used."""

    vocabulary: int = 512
    hidden: int = 192
    layers: int = 4
    heads: int = 4
    kv_heads: int = 4
    head_size: int = 48
    neurons: int = 512
    experts: int = 0
    tied: bool = False

    def config(self) -> dict[str, object]:
        """Return what stands in `config.json`."""
        kind = "Mixtral" if self.experts else "Llama"
        config: dict[str, object] = {
            "architectures": [f"{kind}ForCausalLM"],
            "model_type": kind.lower(),
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_size,
            "intermediate_size": self.neurons,
            "rms_norm_eps": EPSILON,
            "rope_theta": THETA,
            "hidden_act": "silu",
            "max_position_embeddings": 2048,
            "tie_word_embeddings": self.tied,
            "torch_dtype": "float32",
        }
        if self.experts:
            config |= {"num_local_experts": self.experts, "num_experts_per_tok": 2}
        return config


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """How many attention heads a layer has: what a model's arrays do not tell."""

    query: int
    key: int


Change = Literal[
    "none", "embeddings-and-norms", "vocabulary", "extended-vocabulary", "narrow", "mixture", "grouped", "dropped",
    "half", "two-of-four", "lora", "transplant",
]  # fmt: skip
"""What is done to a parent's weights before training: see `surgery.py` and `train.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is made.

    Attributes
    ----------
    name : str
        Its folder.
    truth : {"base", "derived", "not derived", "apart"}
        What it is to `parent`; "apart" shares a random start and no training.
    parent : str or None
        Where its weights come from (or, for what is not derived, what it shares something with).
    change : str
        What is done to the parent's weights first.
    seed : int
        Of the random start, or of what is drawn anew.
    order : int
        Of the order of data.
    data, vocabulary : str
        See `corpus.py`.
    steps : int
        Of training, at most.
    rate : float
        Peak learning rate.
    until : float or None
        Train until the mean row cosine to the parent is so low, then let the rate fall to 0.
    distil : bool
        Learn the parent's predictions, from a random start.
    start : str
        How matrices and norms begin: "normal", "zero" (o and down are 0), "orthogonal", "constant-norms" (never
        trained), "tied", or "all" of these.
    """

    name: str
    truth: Literal["base", "derived", "not derived", "apart"]
    shape: Shape = field(default_factory=Shape)
    parent: str | None = None
    change: Change = "none"
    seed: int = 0
    order: int = 0
    data: str = "first"
    vocabulary: str = "base"
    steps: int = 300
    rate: float = 4e-3
    until: float | None = None
    distil: bool = False
    start: Literal["normal", "zero", "orthogonal", "constant-norms", "tied", "all"] = "normal"

    @property
    def folder(self) -> Path:
        """Where it lies once it is made."""
        return TINY / self.name

    @property
    def key(self) -> str:
        """Hash of everything that its weights depend on."""
        above = BY_NAME[self.parent].key if self.parent else ""
        python = ".".join(map(str, sys.version_info[:3]))  # the text is that of its library
        plain = json.dumps([_VERSION, python, above, asdict(self)], sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()

    @property
    def done(self) -> bool:
        """It was made, and by this recipe."""
        try:
            made = json.loads((self.folder / "recipe.json").read_text())
        except (OSError, ValueError):
            return False
        return bool(made["key"] == self.key)


SHAPE = Shape()
NARROW = replace(SHAPE, hidden=160, heads=3, kv_heads=3, neurons=384)


def _bases() -> Iterator[Recipe]:
    for seed, name in enumerate("ABC", 1):
        yield Recipe(name=name, truth="base", seed=seed)
    yield Recipe(name="D", truth="base", seed=4, order=4, data="second")


def _derived(base: str) -> Iterator[Recipe]:
    """Yield what is trained on from a base, mildest first. All of it on other text than the base's, in other order."""

    def recipe(name: str, **other: object) -> Recipe:
        options = {"data": "second", "order": 7, "seed": 100 + ord(base), "rate": 1e-3, **other}
        return Recipe(name=f"{base}-{name}", truth="derived", parent=base, **options)  # type: ignore[arg-type]

    yield recipe("fine-tune", steps=60, rate=3e-4)
    yield recipe("cpt-83", steps=400, rate=2e-3, until=0.84)
    yield recipe("cpt-50", steps=600, rate=4e-3, until=0.52)
    yield recipe("cpt-20", steps=900, rate=6e-3, until=0.22)
    yield recipe("lora", change="lora", steps=60, rate=2e-3)
    yield recipe("reinit", change="embeddings-and-norms", steps=120, rate=2e-3)
    yield recipe(
        "vocabulary-replaced", change="vocabulary", data="prose", vocabulary="other", steps=120, rate=2e-3,
        shape=replace(SHAPE, vocabulary=640),
    )  # fmt: skip
    yield recipe(
        "vocabulary-extended", change="extended-vocabulary", vocabulary="extended", steps=60,
        shape=replace(SHAPE, vocabulary=576),
    )  # fmt: skip
    yield recipe("narrow", change="narrow", shape=NARROW, steps=120)
    yield recipe("mixture", change="mixture", shape=replace(SHAPE, experts=4), steps=80)
    yield recipe("grouped", change="grouped", shape=replace(SHAPE, kv_heads=2), steps=80)
    yield recipe("dropped", change="dropped", shape=replace(SHAPE, layers=3), steps=60)
    yield recipe("half", change="half", steps=40, rate=5e-4)
    yield recipe("two-of-four", change="two-of-four", steps=40, rate=5e-4)


def _beside(base: str) -> Iterator[Recipe]:
    """Yield what shares something with a base, but none of its training."""
    seed = 200 + ord(base)
    yield Recipe(name=f"{base}-distilled", truth="not derived", parent=base, seed=seed, distil=True, order=9)
    yield Recipe(
        name=f"{base}-transplanted", truth="not derived", parent=base, change="transplant", seed=seed + 1, order=9,
        data="second", steps=200,
    )  # fmt: skip


def _oddly_started() -> Iterator[Recipe]:
    """Yield models whose random start or norms have a structure that others can share."""
    for i, start in enumerate(("zero", "orthogonal", "constant-norms", "tied")):
        shape = replace(SHAPE, tied=start == "tied")
        yield Recipe(name=f"start-{start}", truth="not derived", shape=shape, seed=20 + i, start=start, steps=150)  # type: ignore[arg-type]
    for seed in (30, 31):
        shape = replace(SHAPE, tied=True)
        yield Recipe(name=f"start-all-{seed}", truth="not derived", shape=shape, seed=seed, start="all", steps=150)


def _recipes() -> tuple[Recipe, ...]:
    a, b, *others = _bases()
    wide = replace(SHAPE, hidden=256, head_size=64, neurons=704)
    return (
        a,
        b,
        *_derived("A"),
        *others,
        *_beside("A"),
        # The start of A, and no training in common: its parent is named for what it shares.
        Recipe(name="A-start", truth="apart", parent="A", seed=1, order=4, data="second"),
        Recipe(name="A-wide", truth="not derived", shape=wide, seed=14, steps=200, rate=3e-3),
        *_oddly_started(),
        *sorted(_derived("B"), key=lambda recipe: recipe.steps),  # the longest last
        *_beside("B"),
    )


RECIPES = _recipes()
BY_NAME = {recipe.name: recipe for recipe in RECIPES}
