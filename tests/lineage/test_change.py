"""What was done to rows: each kind by a maker of its own, and what lies between them."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.lineage.change import describe_change, low_rank

Rows = np.ndarray

N, D = 32, 1024


def drawn(seed: int, *, n: int = N, d: int = D) -> Rows:
    return (0.02 * np.random.default_rng(seed).standard_normal((n, d))).astype(np.float32)


def bf16(rows: Rows) -> Rows:
    """Round to the nearest bfloat16, ties to even, by the bits."""
    bits = np.ascontiguousarray(rows, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def fp16(rows: Rows) -> Rows:
    return rows.astype(np.float16).astype(np.float32)


def adapted(rows: Rows, rank: int, *, size: float = 0.2, seed: int = 9) -> Rows:
    """Add a low-rank change of `size` times the rows' own."""
    rng = np.random.default_rng(seed)
    change = rng.standard_normal((len(rows), rank)) @ rng.standard_normal((rank, rows.shape[1]))
    return (rows + change * (size * rows.std() / change.std())).astype(np.float32)


def kind(ours: Rows, theirs: Rows) -> str:
    change = describe_change([(ours, theirs)])
    assert change is not None
    return change.kind


@pytest.mark.parametrize("rounded", [lambda rows: rows, bf16, fp16, lambda rows: fp16(bf16(rows))])
def test_rounding_is_no_change(rounded: object) -> None:
    ours = drawn(1)
    change = describe_change([(ours, rounded(ours)), (drawn(2), rounded(drawn(2)))])  # type: ignore[operator]
    assert change is not None
    assert (change.kind, change.rank, change.levels, change.rows) == ("none", None, None, N)


@pytest.mark.parametrize("rank", range(1, 16))
def test_a_merged_adapter_is_of_its_rank(rank: int) -> None:
    ours = bf16(drawn(1))
    change = describe_change([(ours, bf16(adapted(ours, rank)))])
    assert change is not None
    assert (change.kind, change.rank) == ("low-rank", rank)
    assert change.relative == pytest.approx(0.2, abs=0.01)


def test_an_adapter_of_half_the_rows_read_is_as_good_as_dense() -> None:
    # Rank 16 of 32 rows: rows cannot carry more. With 64 rows it is seen.
    ours = bf16(drawn(1))
    assert kind(ours, bf16(adapted(ours, 16))) == "dense"
    more = bf16(drawn(1, n=64))
    change = describe_change([(more, bf16(adapted(more, 16)))])
    assert change is not None
    assert (change.kind, change.rank) == ("low-rank", 16)


def test_adapters_on_some_matrices_only_are_low_rank() -> None:
    gate, up = bf16(drawn(1)), bf16(drawn(2))
    change = describe_change([(gate, bf16(adapted(gate, 4))), (up, up)])
    assert change is not None
    assert (change.kind, change.rank) == ("low-rank", 4)


@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.3, 1.0]))
@settings(max_examples=25)
def test_dense_changes_are_dense(seed: int, size: float) -> None:
    ours = drawn(1)
    theirs = ours + size * ours.std() * np.random.default_rng(seed).standard_normal(ours.shape).astype(np.float32)
    change = describe_change([(ours, theirs)])
    assert change is not None
    assert (change.kind, change.rank, change.levels) == ("dense", None, None)
    assert change.relative == pytest.approx(size, rel=0.05)


def test_a_merge_is_dense() -> None:
    assert kind(drawn(1), 0.5 * drawn(1) + 0.5 * drawn(2)) == "dense"


def test_an_adapter_over_a_dense_change_is_dense() -> None:
    ours = drawn(1)
    theirs = adapted(ours, 2) + 0.05 * drawn(7)
    assert kind(ours, theirs) == "dense"


# quantised, by the quantisers and dequantisers of the `gguf` package


BLOCK_TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0"]


def quantised(rows: Rows, name: str) -> Rows:
    of = gguf.GGMLQuantizationType[name]
    return np.asarray(gguf.quants.dequantize(gguf.quants.quantize(rows, of), of), dtype=np.float32)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "TQ1_0", "TQ2_0"])
def test_blocks_of_four_bits_and_less_are_quantised(name: str) -> None:
    ours = drawn(3)
    change = describe_change([(ours, quantised(ours, name))])
    assert change is not None
    assert change.kind == "quantised"
    assert change.levels is not None
    assert 2 <= change.levels <= 16


@pytest.mark.parametrize("name", ["Q5_0", "Q5_1", "Q8_0"])
def test_blocks_of_more_bits_are_never_called_low_rank_or_pruned(name: str) -> None:
    # 32 values on 32 levels or more look like any: what is said is "dense", with the size of the error beside it.
    ours = drawn(3)
    change = describe_change([(ours, quantised(ours, name))])
    assert change is not None
    assert change.kind in {"dense", "quantised", "none"}
    assert change.relative < 0.05


@pytest.mark.parametrize("bits", [4, 8])
def test_rows_on_a_grid_are_quantised(bits: int) -> None:
    # round to nearest, a scale a row, as int8 checkpoints are
    ours = drawn(4, d=4096)
    scale = np.abs(ours).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
    theirs = np.round(ours / scale) * scale
    assert kind(ours, theirs) == "quantised"


def test_nf4_is_quantised() -> None:
    # bitsandbytes: 16 levels a block of 64, scaled by its largest
    levels = np.array(
        [-1, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0, 0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626,
         0.723, 1]
    )  # fmt: skip
    ours = drawn(5)
    blocks = ours.reshape(-1, 64)
    scale = np.abs(blocks).max(axis=1, keepdims=True)
    nearest = levels[np.abs(blocks[:, :, None] / scale[:, :, None] - levels).argmin(axis=2)]
    assert kind(ours, bf16((nearest * scale).reshape(ours.shape))) == "quantised"


def test_a_reference_that_is_quantised_itself_does_not_make_the_target_so() -> None:
    ours = drawn(4, d=4096)
    scale = np.abs(ours).max(axis=1, keepdims=True) / 127
    grid = np.round(ours / scale) * scale
    assert kind(grid, grid) == "none"
    assert kind(grid, grid + 0.1 * drawn(6, d=4096)) == "dense"


# pruned


def test_half_the_values_pruned_by_size() -> None:
    ours = drawn(6)
    theirs = np.where(np.abs(ours) >= np.median(np.abs(ours)), ours, 0.0)
    change = describe_change([(ours, theirs)])
    assert change is not None
    assert change.kind == "pruned"
    assert change.zeros == pytest.approx(0.5, abs=0.01)


def test_two_of_four() -> None:
    ours = drawn(6)
    groups = np.abs(ours).reshape(-1, 4)
    keep = (groups.argsort(axis=1).argsort(axis=1) >= 2).reshape(ours.shape)
    change = describe_change([(ours, bf16(np.where(keep, ours, 0.0)))])
    assert change is not None
    assert (change.kind, change.zeros) == ("pruned", pytest.approx(0.5))


def test_pruned_and_trained_on_a_little_is_still_pruned() -> None:
    ours = drawn(6)
    theirs = np.where(np.abs(ours) >= np.median(np.abs(ours)), ours + 0.05 * drawn(7), 0.0)
    assert kind(ours, theirs) == "pruned"


def test_zeros_that_the_reference_has_too_are_no_pruning() -> None:
    ours = drawn(6)
    ours[:, ::2] = 0.0
    change = describe_change([(ours, ours)])
    assert change is not None
    assert (change.kind, change.zeros) == ("none", 0.0)


# what says nothing


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_left_out(value: float) -> None:
    ours, theirs = drawn(1), adapted(drawn(1), 2)
    ours[0, 3], theirs[1, 4] = value, value
    change = describe_change([(ours, theirs), (np.full((4, D), value, np.float32), drawn(2, n=4))])
    assert change is not None
    assert (change.kind, change.rank, change.rows) == ("low-rank", 2, N - 2)


def test_nothing_finite_is_nothing_said() -> None:
    assert describe_change([]) is None
    assert describe_change([(np.full((4, 8), np.nan), drawn(1, n=4, d=8))]) is None


def test_all_zero_rows_divide_by_nothing() -> None:
    change = describe_change([(np.zeros((8, 64)), np.zeros((8, 64)))])
    assert change is not None
    assert (change.kind, change.relative) == ("none", 0.0)


def test_everything_set_to_zero_is_pruned() -> None:
    change = describe_change([(drawn(1), np.zeros((N, D)))])
    assert change is not None
    assert (change.zeros, change.relative) == (1.0, pytest.approx(1.0))


def test_too_few_rows_have_no_rank() -> None:
    ours = drawn(1, n=7)
    assert low_rank(ours, adapted(ours, 1)) is None
    assert kind(ours, adapted(ours, 1)) == "dense"


@given(st.integers(0, 10**6))
@settings(max_examples=25)
def test_rounding_alone_has_no_rank(seed: int) -> None:
    ours = drawn(seed, d=256)
    assert low_rank(ours, bf16(ours)) == 0
    assert low_rank(bf16(ours), fp16(ours)) == 0


@given(st.integers(1, 12), st.integers(0, 10**6))
@settings(max_examples=25)
def test_the_order_of_rows_and_columns_does_not_matter(rank: int, seed: int) -> None:
    ours = bf16(drawn(1, d=256))
    theirs = bf16(adapted(ours, rank))
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(N), rng.permutation(256)
    assert low_rank(ours[rows][:, columns], theirs[rows][:, columns]) == low_rank(ours, theirs) == rank
