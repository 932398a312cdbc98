"""Whatever names, shapes, types and configs meet: models, or a typed error; and no row outside of its tensor."""

from __future__ import annotations

import json
from math import prod

import numpy as np
from familykit import FAMILIES, Family
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.errors import FileError
from auditor.formats import Container, TensorEntry, dtype_of
from auditor.model import model_views, names, unplaced_share
from auditor.sources import BytesSource

SIZES = st.sampled_from([0, 1, 2, 3, 4, 8, 12, 16, 24, 32])
SHAPES = st.one_of(st.tuples(SIZES, SIZES), st.lists(SIZES, max_size=4).map(tuple))
TAILS = sorted({*names.LAYER, *names.BARE})
COUNTS = st.one_of(st.integers(-1, 8), st.booleans(), st.none(), st.text(max_size=2), st.lists(st.integers(0, 4)))
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "model_type": st.sampled_from(["bloom", "chatglm", "falcon", "gpt_bigcode", "gpt_oss", "llama4", "qwen", 7]),
        "num_attention_heads": COUNTS,
        "num_key_value_heads": COUNTS,
        "multi_query": COUNTS,
        "new_decoder_architecture": COUNTS,
        "text_config": st.dictionaries(st.sampled_from(["num_attention_heads", "model_type"]), COUNTS),
    },
)


@st.composite
def layer_names(draw: st.DrawFn) -> str:
    tail = draw(st.sampled_from(TAILS)).replace("#", str(draw(st.integers(0, 3))))
    suffix = "" if tail in names.BARE else draw(st.sampled_from([".weight", ".weight", ".bias"]))
    return f"{draw(st.sampled_from(['', 'model.']))}layers.{draw(st.integers(0, 1))}.{tail}{suffix}"


@st.composite
def gguf_names(draw: st.DrawFn) -> str:
    tail = draw(st.sampled_from(sorted(names.GGUF_LAYER))).replace("#", "1")
    return f"blk.{draw(st.integers(0, 1))}.{tail}{draw(st.sampled_from(['.weight', '.weight', '.bias']))}"


def stored(tensors: dict[str, tuple[str, tuple[int, ...]]], form: str, metadata: dict[str, object]) -> Container:
    entries, at = [], 0
    for name, (kind, shape) in tensors.items():
        dtype = dtype_of(kind)
        size = prod(shape) // dtype.block * dtype.size
        entries.append(TensorEntry(name=name, dtype=kind, shape=shape, file="f", start=at, stop=at + size))
        at += size
    return Container(format=form, files=("f",), tensors=tuple(entries), metadata=metadata)


def check(container: Container, config: dict[str, object]) -> None:
    size = max((entry.stop for entry in container.tensors), default=0)
    source = BytesSource({"f": bytes(size), "config.json": json.dumps(config).encode()})
    try:
        views = model_views(source, container)
    except FileError:
        return
    assert 0 <= unplaced_share([container], views) <= 1
    known = set(container.tensors)
    for view in views:
        assert {entry for entry, _ in view.unplaced} <= known
        assert set(view.entries()) <= known
        for layer, role, entry in view.places():
            whole = view.stored(layer, role)
            assert whole.start <= entry.start <= entry.stop <= whole.stop
            try:
                if len(entry.shape) == 1:
                    assert view.vector(layer, role).shape == entry.shape
                else:
                    found = view.rows(layer, role, np.arange(entry.shape[0] if entry.shape else 0))
                    assert found.shape == entry.shape
            except FileError:
                pass
        for block in view.blocks():
            assert block.role("gate") in {role for layer, role, _ in view.places() if layer == block.layer}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    tensors=st.dictionaries(
        layer_names(), st.tuples(st.sampled_from(["F32", "BF16", "I8", "F4"]), SHAPES), max_size=14
    ),
    config=CONFIGS,
)
def test_any_tensors_of_any_families(
    tensors: dict[str, tuple[str, tuple[int, ...]]], config: dict[str, object]
) -> None:
    check(stored(tensors, "safetensors", {}), config)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    tensors=st.dictionaries(gguf_names(), st.tuples(st.sampled_from(["F32", "Q8_0", "Q4_K"]), SHAPES), max_size=14),
    architecture=st.sampled_from(["llama", "phi3", "chatglm", "falcon", "qwen2moe", ""]),
    heads=COUNTS,
)
def test_any_tensors_of_gguf(tensors: dict[str, tuple[str, tuple[int, ...]]], architecture: str, heads: object) -> None:
    metadata = {"general.architecture": architecture, f"{architecture}.attention.head_count": heads}
    check(stored(tensors, "gguf", metadata), {})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    family=st.sampled_from(list(FAMILIES.values())),
    changes=st.lists(st.tuples(st.integers(0, 60), st.one_of(st.none(), SHAPES)), min_size=1, max_size=4),
    turned=st.lists(st.integers(0, 60), max_size=3),
    config=st.one_of(st.none(), CONFIGS),
)
def test_a_model_of_any_family_with_some_tensors_changed(
    family: Family,
    changes: list[tuple[int, tuple[int, ...] | None]],
    turned: list[int],
    config: dict[str, object] | None,
) -> None:
    written = family.write(family.draw(1, family.shape()), family.shape())
    shapes: dict[str, tuple[int, ...] | None] = {name: w.shape for name, w in written.tensors.items()}
    order = list(shapes)
    for number in turned:
        shapes[order[number % len(order)]] = written.tensors[order[number % len(order)]].shape[::-1]
    for number, shape in changes:
        shapes[order[number % len(order)]] = shape
    tensors = {name: ("F32", shape) for name, shape in shapes.items() if shape is not None}
    stated = written.config if config is None else config
    check(stored(tensors, "gguf" if written.gguf else "safetensors", stated if written.gguf else {}), stated)
