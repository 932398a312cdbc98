"""Every family's layout gives back the same rows, and no byte more than they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from familykit import FAMILIES, Family, Written
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.formats import open_checkpoints
from auditor.model import ModelView, model_views, unplaced_share
from auditor.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.sources import Range


class Counting(BytesSource):
    """A source that counts the bytes of weight files."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__(contents)
        self.taken = 0

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        if not path.endswith(".json"):
            self.taken += sum(stop - start for start, stop in ranges)
        return super().read(path, ranges)


def view_of(written: Written) -> tuple[ModelView, Counting]:
    source = Counting(written.files())
    found = open_checkpoints(source)
    assert found.unread == ()
    (view,) = model_views(source, found.containers[0])
    source.taken = 0
    return view, source


def share(written: Written) -> float:
    source = BytesSource(written.files())
    containers = open_checkpoints(source).containers
    return unplaced_share(containers, [view for each in containers for view in model_views(source, each)])


@pytest.mark.parametrize("name", FAMILIES)
def test_every_matrix_comes_back(name: str) -> None:
    family = FAMILIES[name]
    shape = family.shape()
    model = family.draw(1, shape)
    view, source = view_of(family.write(model, shape))
    assert view.architecture == family.architecture
    assert view.unplaced == ()
    rng = np.random.default_rng(2)
    for (layer, canonical), expected in model.items():
        role = family.router if canonical == "router" else canonical
        if expected.ndim == 1:
            np.testing.assert_array_equal(view.vector(layer, role), expected)
            continue
        assert view.tensor(layer, role).shape == expected.shape
        np.testing.assert_array_equal(view.rows(layer, role, np.arange(len(expected))), expected, err_msg=role)
        index = rng.integers(0, len(expected), 5)
        np.testing.assert_array_equal(view.rows(layer, role, index), expected[index], err_msg=role)
        source.taken = 0
        start = len(expected) // 2
        stretch = np.arange(start, min(start + 4, len(expected)))
        view.rows(layer, role, stretch)
        own = expected[stretch].nbytes
        # rows that alternate with those of another matrix, in columns, are read with what lies between them
        most = 2 * own if name == "GPT-OSS" and not role.endswith("down") else own
        assert source.taken <= most, role


@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_are_those_that_have_a_gate(name: str) -> None:
    family = FAMILIES[name]
    shape = family.shape()
    view, _ = view_of(family.write(family.draw(1, shape), shape))
    assert view.gated == (family.kind != "plain")
    found = [(block.layer, block.expert) for block in view.blocks()]
    if family.kind == "plain":
        assert found == []
        assert view.layers("up", "down") == (0, 1)
    elif family.kind == "gated":
        assert found == [(0, None), (1, None)]
        assert view.layers("gate", "up") == (0, 1)
    else:
        experts = shape.experts + shape.shared
        assert found == [(layer, expert) for layer in range(2) for expert in range(experts)]
        assert view.layers("gate", "up") == ()
    for block in view.blocks():
        for kind in ("gate", "up", "down"):
            assert view.tensor(block.layer, block.role(kind)).shape[kind == "down"] == shape.neurons


@pytest.mark.parametrize("name", FAMILIES)
def test_next_to_nothing_is_unplaced(name: str) -> None:
    family = FAMILIES[name]
    shape = family.shape()
    written = family.write(family.draw(1, shape), shape)
    matrices = {n: w.size for n, w in written.tensors.items() if w.ndim > 1}
    beside = sum(size for n, size in matrices.items() if "vision" in n or "projector" in n)
    assert share(written) == pytest.approx(beside / sum(matrices.values()))


FUSED = {name: FAMILIES[name] for name in ("Phi-3", "InternLM 2", "Megatron", "ChatGLM", "Falcon 40B", "GPT-NeoX")}


@settings(max_examples=40, deadline=None)
@given(
    family=st.sampled_from(list(FUSED.values())),
    kv_heads=st.integers(1, 4),
    group=st.integers(1, 4),
    half=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_queries_keys_and_values_of_any_head_counts(
    family: Family, kv_heads: int, group: int, half: int, seed: int
) -> None:
    shape = family.shape(layers=1, heads=kv_heads * group, kv_heads=kv_heads, head=2 * half)
    model = family.draw(seed, shape)
    view, _ = view_of(family.write(model, shape))
    for role in "qkv":
        np.testing.assert_array_equal(view.rows(0, role, np.arange(len(model[0, role]))), model[0, role])
