"""Matrices that several tensors make up: every packing undone, any rows of it, from no more bytes than they need."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
import quantkit
from hypothesis import given, settings
from hypothesis import strategies as st
from modelkit import make_model, safetensors_bytes
from quantkit import CASES, STEM, Case, view_of

from auditor.digests import layout as digest_layout
from auditor.digests.weights import weights_digest
from auditor.errors import QuantMismatch
from auditor.formats import open_checkpoints
from auditor.formats.quant.codes import covering, unpack_bits
from auditor.formats.quant.packed import runs_of
from auditor.formats.serialize import serialize
from auditor.limits import LIMITS
from auditor.model import model_views, unplaced_share
from auditor.sources import BytesSource, LocalSource, Range

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MADE = {name: make(7) for name, make in CASES.items()}
every = pytest.mark.parametrize("name", CASES)


def same(left: NDArray[np.float32], right: NDArray[np.float32]) -> bool:
    return left.dtype == right.dtype == np.float32 and np.array_equal(left, right)


class Noting(BytesSource):
    """A source that notes what is read of it."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__(contents)
        self.ranges: list[Range] = []

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        self.ranges += ranges
        return super().read(path, ranges)


# --- values ---------------------------------------------------------------------------------------------


@every
def test_values_are_those_of_the_codes(name: str) -> None:
    case = MADE[name]
    assert len(np.unique(case.expected)) > 20
    assert same(case.matrix(), case.expected)


@every
def test_any_rows_in_any_order(name: str) -> None:
    case = MADE[name]
    last = len(case.expected) - 1
    for index in ([0], [last], [3, 4, 5], [5, 3, 5, last, 0], [1, 9, 10]):
        assert same(case.rows(*index), case.expected[index])


@every
def test_no_rows(name: str) -> None:
    assert MADE[name].rows().shape == (0, MADE[name].expected.shape[1])


@every
def test_rows_that_are_not_there(name: str) -> None:
    with pytest.raises(IndexError):
        MADE[name].rows(len(MADE[name].expected))


@every
def test_shape_is_known_before_rows_are_read(name: str) -> None:
    source = Noting(MADE[name].contents())
    view = view_of(source)
    read = sum(stop - start for start, stop in source.ranges)
    size = sum(len(data) for data in source._contents.values())  # noqa: SLF001
    assert view.tensor(0, "gate").shape == MADE[name].expected.shape
    assert view.tensor(0, "gate").name == f"{STEM}.weight"
    assert read < size / 2


@every
def test_every_byte_of_the_pieces_is_placed(name: str) -> None:
    source = MADE[name].source()
    containers = open_checkpoints(source).containers
    views = [view for container in containers for view in model_views(source, container)]
    assert unplaced_share(containers, views) == 0


@every
def test_pieces_in_several_files(name: str) -> None:
    case = MADE[name]
    tensors = {f"{STEM}.{leaf}": tensor for leaf, tensor in case.tensors.items()}
    tensors["model.layers.0.mlp.up_proj.weight"] = quantkit.f32(np.ones(case.expected.shape))
    files = {key: data for key, data in case.contents().items() if key != "model.safetensors"}
    weight_map = {}
    for number, tensor in enumerate(tensors):
        weight_map[tensor] = f"part-{number}.safetensors"
        files[weight_map[tensor]] = serialize({tensor: tensors[tensor]})
    files["model.safetensors.index.json"] = json.dumps({"weight_map": weight_map}).encode()
    view = view_of(BytesSource(files))
    assert same(view.rows(0, "gate", np.array([2, 5])), case.expected[[2, 5]])
    assert same(view.rows_of([(0, "up"), (0, "gate")], np.array([5, 2]))[1], case.expected[[5, 2]])


@every
def test_hostile_scales_are_values_and_no_warnings(name: str) -> None:
    case = MADE[name]
    for leaf in ("scales", "scale", "weight_scale", "weight_scale_inv", "weight.absmax", "SCB", "weight_global_scale"):
        if leaf in case.tensors and case.tensors[leaf][0] in {"F16", "F32"}:
            dtype, shape, raw = case.tensors[leaf]
            filled = np.full(len(raw), 0xFF, np.uint8).tobytes()
            broken = case.with_tensor(leaf, (dtype, shape, filled))
            assert np.isnan(broken.matrix()).all()


# --- laws -----------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(1, 8), st.integers(1, 70), st.integers(1, 4), st.randoms(use_true_random=False))
def test_unpacked_bits_are_those_packed(bits: int, count: int, rows: int, random: object) -> None:
    codes = [[random.randrange(2**bits) for _ in range(count)] for _ in range(rows)]  # type: ignore[attr-defined]
    packed = np.array([quantkit.words_of(row, bits) for row in codes], "<u4").view(np.uint8)
    assert unpack_bits(packed, bits, count).tolist() == codes


@given(st.sets(st.integers(0, 200), max_size=20), st.integers(1, 40))
def test_covering_blocks_hold_the_rows(rows: set[int], per: int) -> None:
    index = np.array(sorted(rows), dtype=np.intp)
    numbers, place = covering(index, per)
    all_rows = (numbers[:, None] * per + np.arange(per)).reshape(-1)
    assert all_rows[place].tolist() == index.tolist()
    assert all(set(range(n * per, n * per + per)) & rows for n in numbers.tolist())


@given(st.sets(st.integers(0, 60)))
def test_runs_are_the_rows(rows: set[int]) -> None:
    runs = runs_of(np.array(sorted(rows), dtype=np.intp))
    assert [row for a, b in runs for row in range(a, b)] == sorted(rows)
    assert all(after > b for (_, b), (after, _) in pairwise(runs))


indices = st.lists(st.integers(0, 31), min_size=1, max_size=6)
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=12, deadline=None)


def check(case: Case, index: list[int]) -> None:
    assert same(case.matrix(), case.expected)
    assert same(case.rows(*index), case.expected[index])


@few
@given(seeds, indices, st.sampled_from([2, 3, 4, 8]), st.sampled_from([32, 96, -1]), st.booleans(), st.booleans())
def test_gptq_round_trip(seed: int, index: list[int], bits: int, size: int, act: bool, v2: bool) -> None:  # noqa: FBT001
    layout = "gptq_v2" if v2 else "gptq"
    check(quantkit.gptq(seed, outputs=32, inputs=64, bits=bits, group_size=size, act_order=act, layout=layout), index)


@few
@given(seeds, indices, st.sampled_from([16, 48, -1]))
def test_awq_round_trip(seed: int, index: list[int], size: int) -> None:
    check(quantkit.awq(seed, outputs=32, inputs=48, group_size=size), index)


@few
@given(seeds, indices, st.integers(1, 70), st.sampled_from(["nf4", "fp4"]), st.sampled_from([32, 64]), st.booleans())
def test_bitsandbytes_round_trip(
    seed: int,
    index: list[int],
    inputs: int,
    kind: str,
    block: int,
    double: bool,  # noqa: FBT001
) -> None:
    check(quantkit.bnb4(seed, outputs=32, inputs=inputs, kind=kind, block=block, double=double), index)


def test_more_nested_scales_than_one_block_holds() -> None:
    case = quantkit.bnb4(3, outputs=300, inputs=96, double=True)  # 450 scales, in blocks of 256
    check(case, [299, 170, 171, 0])


@few
@given(seeds, indices, st.sampled_from([2, 3, 4, 5, 6, 8]), st.sampled_from([32, 64]))
def test_mlx_round_trip(seed: int, index: list[int], bits: int, size: int) -> None:
    check(quantkit.mlx(seed, outputs=32, inputs=64, bits=bits, group_size=size), index)


@few
@given(seeds, indices, st.sampled_from([1, 2, 3, 4, 8]), st.sampled_from([8, 24]), st.integers(0, 1))
def test_hqq_round_trip(seed: int, index: list[int], bits: int, size: int, axis: int) -> None:
    check(quantkit.hqq(seed, outputs=32, inputs=24, bits=bits, group_size=size, axis=axis), index)


@few
@given(
    seeds, indices, st.integers(2, 8), st.sampled_from([None, 32]), st.booleans(), st.booleans(), st.integers(32, 40)
)
def test_packed_integers_round_trip(
    seed: int,
    index: list[int],
    bits: int,
    size: int | None,
    symmetric: bool,  # noqa: FBT001
    act: bool,  # noqa: FBT001
    outputs: int,
) -> None:
    act = act and size is not None
    case = quantkit.packed_integers(
        seed, outputs=outputs, inputs=64, bits=bits, group_size=size, symmetric=symmetric, act_order=act
    )
    check(case, index)


@few
@given(seeds, indices, st.integers(1, 40), st.integers(1, 12), st.integers(1, 12))
def test_blocks_of_any_size(seed: int, index: list[int], inputs: int, height: int, width: int) -> None:
    check(quantkit.deepseek(seed, outputs=32, inputs=inputs, block=(height, width)), index)


# --- variants that tools write --------------------------------------------------------------------------


def test_scale_for_the_whole_tensor() -> None:
    for shape in ((), (1,), (1, 1)):
        case = quantkit.scaled(1, block=(24, 96), shape=shape)
        group = {"weights": {"num_bits": 8, "type": "float", "strategy": "tensor"}}
        check(case.stating(config_groups={"g": group}), [3])


def test_packed_integers_with_a_scale_a_row_in_one_dimension() -> None:
    case = quantkit.packed_integers(1, bits=8, group_size=None)
    check(case.with_tensor("weight_scale", ("F16", (24,), case.tensors["weight_scale"][2])), [3, 9])


def test_packed_integers_with_one_scale() -> None:
    case = quantkit.packed_integers(1, bits=8, group_size=None)
    group = {"weights": {"num_bits": 8, "strategy": "tensor"}}
    one = case.with_tensor("weight_scale", quantkit.f16([0.5])).stating(config_groups={"g": group})
    ones = case.with_tensor("weight_scale", quantkit.f16(np.full((24, 1), 0.5)))
    assert same(one.matrix(), ones.matrix())


def test_fp8_without_a_configuration_says_enough_by_its_shapes() -> None:
    case = MADE["float8-channel"]
    assert same(Case(tensors=case.tensors, config=None, expected=case.expected).matrix(), case.expected)


def test_e8m0_scales_of_blocks() -> None:
    case = quantkit.deepseek(1)
    down, across = case.tensors["weight_scale_inv"][1]
    codes = np.arange(down * across, dtype=np.uint8) % 20 + 110
    scaled = case.with_tensor("weight_scale_inv", ("F8_E8M0", (down, across), codes.tobytes()))
    ones = case.with_tensor("weight_scale_inv", quantkit.f32(np.ones((down, across))))
    factor = np.repeat(np.repeat(np.ldexp(1.0, codes.astype(int) - 127).reshape(down, across), 16, 0), 32, 1)
    assert same(scaled.matrix(), ones.matrix() * factor[:40, :72].astype(np.float32))


def test_gptq_without_g_idx_groups_inputs_as_they_come() -> None:
    check(quantkit.gptq(1, g_idx=False), [0, 9])


def test_gptq_says_its_format_in_either_word() -> None:
    case = quantkit.gptq(1, layout="gptq_v2")
    assert same(case.stating(checkpoint_format=None, format="gptq_v2").matrix(), case.expected)


@pytest.mark.parametrize(
    ("case", "file", "stated"),
    [
        (MADE["gptq-4"], "quantize_config.json", {"bits": 4, "group_size": 32, "desc_act": False}),
        (MADE["awq"], "quant_config.json", {"w_bit": 4, "q_group_size": 32, "zero_point": True, "version": "GEMM"}),
    ],
)
def test_configuration_in_a_file_of_the_tool(case: Case, file: str, stated: dict[str, object]) -> None:
    plain = Case(tensors=case.tensors, config=None, expected=case.expected, texts={file: json.dumps(stated).encode()})
    assert same(plain.matrix(), case.expected)


def test_mlx_module_with_a_configuration_of_its_own() -> None:
    case = quantkit.mlx(1, bits=8, group_size=64)
    assert same(case.stating(bits=4, group_size=32, **{STEM: {"bits": 8, "group_size": 64}}).matrix(), case.expected)


def test_codes_of_bitsandbytes_saved_under_another_type() -> None:
    case = quantkit.bnb4(1)
    raw = case.tensors["weight"][2]
    check(case.with_tensor("weight", ("BF16", (len(raw) // 2, 1), raw)), [1])


def test_codes_of_hqq_saved_as_floats() -> None:
    case = quantkit.hqq(1)
    raw = case.tensors["W_q"][2]
    check(case.with_tensor("W_q", ("F16", (len(raw) // 2,), raw)), [1])


def test_act_order_that_was_reserved_and_never_set() -> None:
    case = quantkit.packed_integers(1)
    check(case.with_tensor("weight_g_idx", quantkit.ints(np.full(128, -1), "I32")), [1])


def test_two_groups_of_modules_told_apart_by_their_bits() -> None:
    case = quantkit.packed_integers(1, bits=8)
    groups = quantkit.packed_integers(1).config["config_groups"] | {"other": case.config["config_groups"]["group_0"]}  # type: ignore[index]
    assert same(case.stating(config_groups=groups).matrix(), case.expected)


# --- what is read ---------------------------------------------------------------------------------------


def read_for(case: Case, rows: range) -> tuple[int, int]:
    """Return how many ranges and bytes some rows take."""
    source = Noting(case.contents())
    view = view_of(source)
    source.ranges.clear()
    view.rows(0, "gate", np.array(rows))
    return len(source.ranges), sum(stop - start for start, stop in source.ranges)


@pytest.mark.parametrize("name", ["nf4", "nf4-double", "int8", "mlx-4", "int4-packed", "float8-channel", "mxfp4"])
def test_a_row_is_one_piece_of_each_tensor(name: str) -> None:
    case = MADE[name]
    ranges, read = read_for(case, range(2, 4))
    assert ranges <= len(case.tensors)
    share = 2 / len(case.expected)
    described = sum(len(t[2]) for leaf, t in case.tensors.items() if "quant" in leaf or "shape" in leaf)
    assert read <= described + 2 * share * sum(len(t[2]) for t in case.tensors.values()) + 8


def test_a_row_of_gptq_is_a_column_of_each_tensor() -> None:
    case = quantkit.gptq(1, outputs=512, inputs=256, group_size=64)
    ranges, read = read_for(case, range(32, 64))
    assert ranges == 256 // 8 + 4 + 4 + 1
    assert read == 32 * (4 * 32) + 4 * 16 + 4 * 64 + 4 * 256


def test_what_rows_cost_is_said_beforehand(tmp_path: Path) -> None:
    """On disk their own bytes, in as many ranges; far away also what lies between ranges that are joined."""
    case = quantkit.gptq(1, outputs=512, inputs=256, group_size=64)
    for name, content in case.contents().items():
        (tmp_path / name).write_bytes(content)
    places, index = [(0, "gate")], np.arange(32, 64)
    (near,) = (view for container in open_checkpoints(LocalSource(tmp_path)).containers
               for view in model_views(LocalSource(tmp_path), container))  # fmt: skip
    assert near.cost(places, index) == read_for(case, range(32, 64))
    ranges, size = view_of(case.source()).cost(places, index)
    stored = {leaf: len(raw) for leaf, (_, _, raw) in case.tensors.items()}
    assert ranges == 4
    assert 0.9 * stored["qweight"] < size < sum(stored.values())
    plain = view_of(case.source()).cost([(0, "up")], index)
    assert plain == (1, 32 * 256 * 4)


def test_a_row_of_awq_is_half_a_byte_of_each_row() -> None:
    case = quantkit.awq(1, outputs=512, inputs=256, group_size=64)
    ranges, read = read_for(case, range(32, 64))
    assert ranges == 256 + 4 + 4
    assert read == 256 * 16 + 4 * 16 + 4 * 64


def test_too_many_ranges_are_read_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.formats.quant.packed.LIMITS", LIMITS.__class__(packed_ranges=16))
    case = MADE["gptq-4"]
    assert read_for(case, range(2, 4))[0] <= 16 + 16
    check(case, [2, 9])


def test_whole_matrices_are_decoded_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.formats.quant.codes.BLOCK", 256)
    for module in ("bnb", "hqq"):
        monkeypatch.setattr(f"auditor.formats.quant.{module}.BLOCK", 256)
    for case in MADE.values():
        check(case, [0, 5])


def test_one_description_stands_for_all_layers_of_a_kind() -> None:
    layers = 20
    tensors, rows = {}, {}
    for layer in range(layers):
        case = quantkit.bnb4(layer, outputs=64, inputs=64, double=True)
        for role in ("gate", "up"):
            stem = f"model.layers.{layer}.mlp.{role}_proj"
            tensors |= {f"{stem}.{leaf}": tensor for leaf, tensor in case.tensors.items()}
        rows[layer] = case.expected[[3]]
    source = Noting({"model.safetensors": serialize(tensors)})
    container = open_checkpoints(source).containers[0]
    source.ranges.clear()
    (view,) = model_views(source, container)
    assert len(source.ranges) == 2
    for layer in range(layers):
        assert same(view.rows(layer, "up", np.array([3])), rows[layer])


def test_layers_that_only_look_alike_are_described_apart() -> None:
    wide, tall = quantkit.bnb4(1, outputs=32, inputs=64), quantkit.bnb4(2, outputs=64, inputs=32)
    tensors = {}
    for layer, case in enumerate((wide, tall)):
        for role in ("gate", "up"):
            stem = f"model.layers.{layer}.mlp.{role}_proj"
            tensors |= {f"{stem}.{leaf}": tensor for leaf, tensor in case.tensors.items()}
    view = view_of(BytesSource({"model.safetensors": serialize(tensors)}))
    assert same(view.rows(0, "gate", np.array([3])), wide.expected[[3]])
    with pytest.raises(QuantMismatch):  # never the wrong rows
        view.rows(1, "gate", np.array([3]))


# --- models that are not quantised, and digests ---------------------------------------------------------


def test_plain_models_cost_nothing_more() -> None:
    source = Noting({"model.safetensors": safetensors_bytes(make_model(1)), "config.json": b"no JSON at all"})
    container = open_checkpoints(source).containers[0]
    source.ranges.clear()
    model_views(source, container)
    assert source.ranges == []


def test_plain_integers_are_numbers_where_nothing_says_otherwise() -> None:
    codes = np.arange(-6, 6).reshape(3, 4)
    case = Case(tensors={"weight": quantkit.ints(codes, "I8")}, config=None, expected=codes.astype(np.float32))
    assert same(case.matrix(), case.expected)


def test_equal_codes_with_other_scales_are_other_weights() -> None:
    case = MADE["float8-channel"]
    other = case.with_tensor("weight_scale", quantkit.f32(np.full((24, 1), 0.5)))

    def digest(case: Case) -> str | None:
        source = case.source()
        containers = open_checkpoints(source).containers
        views = [view for container in containers for view in model_views(source, container)]
        layouts = digest_layout.tensor_layouts(containers, views)
        data = case.contents()["model.safetensors"]
        names = {(file, one.name): data[one.start : one.stop].hex() for file, found in layouts.items() for one in found}
        return weights_digest(views[0], names)

    assert digest(case) == digest(case)
    assert digest(case) != digest(other)
