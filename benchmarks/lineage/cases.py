"""The battery as data: 35 numbers, each with at least one target, a base to hold it against, and the truth."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import derivations
import smollm
from disguises import DISGUISES
from recipes import RECIPES
from renumbered import Renumbered
from targets import Target, step

if TYPE_CHECKING:
    from collections.abc import Iterator

Truth = Literal["derived", "disguised", "not derived", "apart"]
Change = tuple[int, str, Target | Renumbered]
"""Number and name of a case, and its target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the battery.

    Attributes
    ----------
    number : int
        Of the kind of case: 1 to 14 derived, 15 to 23 disguised, 24 to 35 not derived (30 apart).
    name : str
    family : {"tiny", "smollm"}
    truth : str
        "apart": shares a random start, which is neither training nor independence; counted nowhere.
    base, target : Target
    note : str
        What the row stands for where the real thing cannot be had.
    """

    number: int
    name: str
    family: Literal["tiny", "smollm"]
    truth: Truth
    base: Target
    target: Target | Renumbered
    note: str = ""


_TRAINED = {
    "fine-tune": 2, "lora": 2, "cpt-83": 3, "cpt-50": 3, "cpt-20": 3, "vocabulary-replaced": 4,
    "vocabulary-extended": 4, "half": 6, "two-of-four": 6, "narrow": 7, "dropped": 8, "mixture": 10, "grouped": 12,
    "reinit": 13,
}  # fmt: skip
_DISGUISE_NUMBERS = {
    "neurons-permuted": 15, "heads-permuted": 15, "hidden-permuted": 15, "signs-flipped": 16, "gains-folded": 17,
    "rescaled": 17, "attention-rebased": 17, "hidden-rotated": 18, "tokens-permuted": 19, "everything": 20,
    "channel-0-swapped": 21, "neurons-inserted": 22,
}  # fmt: skip
_STACKS = {
    "layers dropped": (0, 3), "layers stacked": (0, 1, 2, 1, 2, 3), "layers interleaved": (0, 0, 1, 1, 2, 2, 3, 3),
    "layers in another order": (2, 0, 3, 1),
}  # fmt: skip


def battery() -> tuple[Case, ...]:
    """Return every case, in the order of its number."""
    beside = (case for base, other in (("A", "B"), ("B", "A")) for case in _look_alikes(base, other))
    cases = (*_derived_tiny(), *_disguised_tiny(), *_independent(), *beside, *_odd(), *_smollm())
    return tuple(sorted(cases, key=lambda case: (case.number, case.family != "tiny")))


def _derived_tiny() -> Iterator[Case]:
    for base, other in (("A", "B"), ("B", "A")):
        # What is merged in, or gives the rest of the layers, is a fine-tune of an independent base.
        for number, name, target in (
            *_copies(base),
            *((number, name, Target(model=f"{base}-{name}")) for name, number in _TRAINED.items()),
            *_values(base),
            *_merges(base, other),
            *_shapes(base),
        ):
            yield Case(number=number, name=name, family="tiny", truth="derived", base=Target(model=base), target=target)


def _copies(base: str) -> Iterator[Change]:
    yield 1, "byte copy", Target(model=base)
    for layout in ("bf16", "f16", "shards", "renamed"):
        yield 1, f"written as {layout}", Target(model=base, layout=layout)


def _values(base: str) -> Iterator[Change]:
    """Yield changes of values alone."""
    tuned = f"{base}-fine-tune"
    for cosine in (0.5, 0.2, 0.1, 0.05):
        yield 3, f"drift to cosine {cosine}", Target(model=base, steps=(step("drift", cosine=cosine),))
    yield 4, "vocabulary cut", Target(model=tuned, steps=(step("vocabulary-resized", size=400),))
    yield 4, "embeddings and head noise", Target(model=tuned, steps=(step("vocabulary-noise"),))
    for bits in (8, 4, 3, 2):
        yield 5, f"values rounded to {bits} bits", Target(model=tuned, steps=(step("rounded", bits=bits),))
    for layout in ("gptq", "int8", "fp8"):
        yield 5, f"{layout} checkpoint", Target(model=tuned, layout=layout)
    yield 5, "awq checkpoint", Target(model=tuned, steps=(step("awq-scaled"),), layout="awq")
    for share in (0.5, 0.7, 0.9):
        yield 6, f"{share:.0%} pruned", Target(model=tuned, steps=(step("pruned", share=share),))
    yield 6, "2:4 pruned", Target(model=tuned, steps=(step("pruned-2-of-4"),))


def _merges(base: str, other: str) -> Iterator[Change]:
    """Yield merges with an independent model and its fine-tune."""
    tuned, others = f"{base}-fine-tune", (other, f"{other}-fine-tune")
    for share in (0.5, 0.3, 0.1):
        for kind in ("linear", "slerp"):
            merge = step(kind, other=others[1], share=share)
            yield 9, f"{kind}, {share:.0%} of the base", Target(model=tuned, steps=(merge,))
        for kind in ("ties", "dare"):
            merge = step(kind, others=others, share=share)
            yield 9, f"{kind}, {share:.0%} of the base", Target(model=tuned, steps=(merge,))
    for layers in ((1, 2), (2,)):
        taken = step("inherited", other=others[1], layers=layers)
        yield 14, f"{len(layers)} of 4 layers inherited", Target(model=tuned, steps=(taken,))


def _shapes(base: str) -> Iterator[Change]:
    """Yield changes of layers, names and layouts."""
    tuned = f"{base}-fine-tune"
    for name, layers in _STACKS.items():
        yield 8, name, Target(model=tuned, steps=(step("restacked", layers=layers),))
    yield 10, "experts, copied", Target(model=tuned, steps=(step("copied-experts", experts=4),))
    yield 10, "experts, neurons split", Target(model=tuned, steps=(step("split-experts", experts=4),))
    yield 11, "multimodal wrapper", Target(model=tuned, steps=(step("wrapped"),))
    yield 11, "fused qkv and gate_up", Target(model=tuned, steps=(step("fused"),))
    for layout in ("meta", "gguf"):
        yield 11, f"{layout} names and row order", Target(model=tuned, layout=layout)
    yield 12, "grouped keys and values", Target(model=tuned, steps=(step("grouped", key=2),))


def _disguised_tiny() -> Iterator[Case]:
    for base in "AB":
        for number, name, target in _disguised(base):
            yield Case(
                number=number, name=name, family="tiny", truth="disguised", base=Target(model=base), target=target
            )


def _disguised(base: str) -> Iterator[Change]:
    for model in ("fine-tune", "cpt-83"):
        for name in DISGUISES:
            yield _DISGUISE_NUMBERS[name], f"{model}, {name}", Target(model=f"{base}-{model}", steps=(step(name),))
    noisy = (step("everything"), step("drift", cosine=0.95), step("rounded", bits=4))
    for model in ("fine-tune", "cpt-83", "cpt-50", "cpt-20"):
        yield 20, f"{model}, everything, noise, 4 bits", Target(model=f"{base}-{model}", steps=noisy)
    for model in ("cpt-50", "cpt-20", "reinit", "vocabulary-replaced", "narrow", "grouped", "dropped", "half"):
        # Grouped and narrowed models are disguised by the same functions, which ask how many heads they have.
        yield 20, f"{model}, everything", Target(model=f"{base}-{model}", steps=(step("everything"),))
    for model in ("cpt-83", "cpt-50", "cpt-20", "dropped"):
        known = Renumbered(target=Target(model=f"{base}-{model}", steps=(step("everything"),)))
        yield 20, f"{model}, everything, with its tokenizer", known
    for model in ("cpt-50", "reinit", "narrow"):
        yield 18, f"{model}, hidden-rotated", Target(model=f"{base}-{model}", steps=(step("hidden-rotated"),))
        yield 15, f"{model}, neurons-permuted", Target(model=f"{base}-{model}", steps=(step("neurons-permuted"),))
    for name in ("sample-replaced", "sample-permuted"):
        yield 23, name, Target(model=f"{base}-fine-tune", steps=(step(name),))


def _case(
    number: int, name: str, base: str | Target, target: str | Target, note: str = "", truth: Truth = "not derived"
) -> Case:
    base, target = (Target(model=model) if isinstance(model, str) else model for model in (base, target))
    return Case(number=number, name=name, family="tiny", truth=truth, base=base, target=target, note=note)


def _independent() -> Iterator[Case]:
    """Yield pairs that share a shape, a tokenizer, and mostly data and its order, but no weights."""
    for base, target in itertools.permutations("ABCD", 2):
        yield _case(24 if "D" in (base, target) else 25, f"{target} against {base}", base, target)
    for recipe in RECIPES:  # what came from one base, against the others
        if recipe.truth == "derived":
            for other in sorted(set("ABC") - {recipe.parent or ""}):
                yield _case(25, f"{recipe.name} against {other}", other, recipe.name)
    for base, other in (("A", "B"), ("B", "A"), ("C", "A"), ("D", "A")):
        for name in ("everything", "hidden-rotated", "neurons-permuted", "neurons-inserted"):
            hidden = Target(model=f"{other}-cpt-83", steps=(step(name),))
            yield _case(25, f"{hidden.name} against {base}", base, hidden)
    yield _case(34, "LLaMA-1 against Llama 2", "A", "D", "stand-in: an independent model of the same shape")
    for base, target in (("A", "A-wide"), ("A-wide", "A")):
        yield _case(35, "sibling size", base, target, "stand-in: another width, trained on the same data")


def _look_alikes(base: str, other: str) -> Iterator[Case]:
    """Yield what shares something with a base that is not its training."""

    def both(name: str, **arguments: object) -> tuple[Target, Target]:
        kept, made = (Target(model=model, steps=(step(name, **arguments),)) for model in (base, other))
        return kept, made

    borrowed = Target(model=other, steps=(step("embeddings-of", other=base),))
    yield _case(26, "embeddings transplanted", base, borrowed)
    yield _case(26, "embeddings frozen, the rest trained", base, f"{base}-transplanted")
    yield _case(27, "the base's config and norms, junk weights", base, Target(model=base, steps=(step("junk"),)))
    yield _case(27, "a Llama 2 card on another model", base, Target(model=other, layout="llama-2-card"))
    yield _case(28, "distilled from the base's outputs", base, f"{base}-distilled")
    for start in ("zero", "orthogonal", "constant-norms", "tied", "all-30"):
        yield _case(29, f"start: {start}", base, f"start-{start}")
    yield _case(
        31, "the base's spectra, embeddings and norms", base, Target(model=base, steps=(step("spectral-twin"),))
    )
    yield _case(32, "neurons sorted by size in both", *both("sorted"))
    for kind in derivations.DEGENERATE:
        kept, made = both("degenerate", kind=kind)
        yield _case(33, f"{kind} rows in both", kept, made)
        yield _case(33, f"{kind} rows in the target", base, made)


def _odd() -> Iterator[Case]:
    """Yield pairs of models that are odd in the same way."""
    for seeds in ((30, 31), (31, 30)):
        yield _case(29, "all of these, another seed", *(f"start-all-{seed}" for seed in seeds))
    for seeds in ((41, 42), (42, 41), (43, 44)):
        pair = [Target(model="A", steps=(step("anisotropic", seed=seed),)) for seed in seeds]
        yield _case(31, "low rank, common mean, outlier channels", *pair)
    yield _case(30, "the same random start, other data", "A", "A-start", truth="apart")


def _smollm() -> Iterator[Case]:
    for truth, changes in (
        ("derived", _smollm_derived()),
        ("disguised", _smollm_disguised()),
        ("not derived", _smollm_unrelated()),
    ):
        for number, name, target in changes:
            yield Case(
                number=number, name=name, family="smollm", truth=truth, base=Target(model="smollm-base"), target=target
            )


def _smollm_derived() -> Iterator[Change]:
    yield 1, "written as float16", Target(model="smollm-base", layout="f16")
    yield 2, "full fine-tune (transformers)", Target(model="smollm-fine-tune")
    yield 2, "LoRA, merged (PEFT)", Target(model="smollm-lora")
    for cosine in (0.95, 0.8, 0.5, 0.3, 0.1):
        yield 3, f"drift to cosine {cosine}", Target(model="smollm-base", steps=(step("drift", cosine=cosine),))
    for name in smollm.QUANTISED:
        yield 5, f"{name} (llama.cpp)", Target(model=f"smollm-{name}")
    for name in ("nf4", "int8"):
        yield 5, f"{name} (bitsandbytes)", Target(model=f"smollm-{name}")


def _smollm_disguised() -> Iterator[Change]:
    for name in DISGUISES:
        yield _DISGUISE_NUMBERS[name], f"fine-tune, {name}", Target(model="smollm-fine-tune", steps=(step(name),))
    for cosine in (0.95, 0.8, 0.5, 0.3):
        for name in ("hidden-rotated", "neurons-permuted", "everything"):
            hidden = Target(model="smollm-base", steps=(step("drift", cosine=cosine), step(name)))
            yield _DISGUISE_NUMBERS[name], f"cosine {cosine}, {name}", hidden
    noisy = (step("everything"), step("drift", cosine=0.95), step("rounded", bits=4))
    yield 20, "fine-tune, everything, noise, 4 bits", Target(model="smollm-fine-tune", steps=noisy)
    for name in ("sample-replaced", "sample-permuted"):
        yield 23, name, Target(model="smollm-fine-tune", steps=(step(name),))


def _smollm_unrelated() -> Iterator[Change]:
    yield 27, "the base's config and norms, junk weights", Target(model="smollm-base", steps=(step("junk"),))
    yield 31, "the base's spectra, embeddings and norms", Target(model="smollm-base", steps=(step("spectral-twin"),))
