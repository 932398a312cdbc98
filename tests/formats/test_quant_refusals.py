"""Quantised matrices that contradict themselves or their configuration, or are of a method that is only recognised."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import quantkit
from quantkit import Case, f16, f32, ints

from auditor.errors import (
    BadJson,
    BadShape,
    FileError,
    LimitExceeded,
    MissingField,
    QuantMismatch,
    SizeMismatch,
    UnsupportedDtype,
    WrongType,
)
from auditor.formats import Container, TensorEntry, open_checkpoints
from auditor.formats.quant.config import parse_configs
from auditor.formats.serialize import serialize
from auditor.limits import LIMITS, Limits
from auditor.model import model_views, unplaced_share
from auditor.model.quantised import with_packed
from auditor.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Callable

GPTQ, AWQ, NF4, DOUBLE = quantkit.gptq(1), quantkit.awq(1), quantkit.bnb4(1), quantkit.bnb4(1, double=True)
INT8, MLX, HQQ, PACKED = quantkit.bnb8(1), quantkit.mlx(1), quantkit.hqq(1), quantkit.packed_integers(1)
ASYM, FLOAT8, BLOCKS = (
    quantkit.packed_integers(1, symmetric=False),
    quantkit.scaled(1, shape=(24, 1)),
    quantkit.deepseek(1),
)
NVFP4, MODELOPT = quantkit.float4(1), quantkit.float4(1, kind="modelopt")
STATE = "weight.quant_state.bitsandbytes__nf4"


def without(case: Case, leaf: str) -> Case:
    assert leaf in case.tensors
    return case.with_tensor(leaf, None)


def described(case: Case, **values: object) -> Case:
    """Change what a 4-bit matrix of bitsandbytes says of itself; None takes a value out."""
    state = json.loads(case.tensors[STATE][2]) | values
    text = json.dumps({key: value for key, value in state.items() if value is not None}).encode()
    return case.with_tensor(STATE, ("U8", (len(text),), text))


def ways(case: Case, **weights: object) -> Case:
    return case.stating(config_groups={"group_0": {"weights": weights}})


def refusal(case: Case) -> FileError:
    """Return what reading rows raises; the shape must not be known either, or be right."""
    with pytest.raises(FileError) as caught:
        case.rows(0, 5)
    assert caught.value.file in {"model.safetensors", "config.json", "quantize_config.json"}
    return caught.value


BROKEN: dict[str, tuple[Callable[[], Case], type[FileError]]] = {
    # a piece is missing
    "gptq without scales": (lambda: without(GPTQ, "scales"), MissingField),
    "gptq without zero points": (lambda: without(GPTQ, "qzeros"), MissingField),
    "gptq without codes": (lambda: without(GPTQ, "qweight").with_tensor("weight", ints([[1]], "I8")), UnsupportedDtype),
    "act-order without g_idx": (lambda: without(GPTQ, "g_idx").stating(desc_act=True), MissingField),
    "awq without zero points": (lambda: without(AWQ, "qzeros"), MissingField),
    "nf4 without absmax": (lambda: without(NF4, "weight.absmax"), MissingField),
    "nf4 without its map": (lambda: without(NF4, "weight.quant_map"), MissingField),
    "nf4 without a description": (lambda: without(NF4, STATE), MissingField),
    "nf4 with codes alone": (
        lambda: without(without(without(NF4, STATE), "weight.absmax"), "weight.quant_map"),
        MissingField,
    ),
    "nested scales without theirs": (lambda: without(DOUBLE, "weight.nested_absmax"), MissingField),
    "nested scales without a map": (lambda: without(DOUBLE, "weight.nested_quant_map"), MissingField),
    "int8 without SCB": (lambda: without(INT8, "SCB"), MissingField),
    "mlx without biases": (lambda: without(MLX, "biases"), MissingField),
    "mlx with codes alone": (lambda: without(without(MLX, "scales"), "biases"), MissingField),
    "mlx without scales": (lambda: without(MLX, "scales"), MissingField),
    "hqq without scales": (lambda: without(HQQ, "scale"), MissingField),
    "hqq without a shape": (lambda: without(HQQ, "shape"), MissingField),
    "packed without scales": (lambda: without(PACKED, "weight_scale"), MissingField),
    "packed without a shape": (lambda: without(PACKED, "weight_shape"), MissingField),
    "asymmetric without zero points": (lambda: without(ASYM, "weight_zero_point"), QuantMismatch),
    "fp8 that should have scales": (lambda: without(BLOCKS, "weight_scale_inv"), MissingField),
    "nvfp4 without the tensor's scale": (lambda: without(NVFP4, "weight_global_scale"), MissingField),
    # a piece of another shape or type
    "gptq scales of another width": (lambda: GPTQ.with_tensor("scales", f16(np.ones((4, 63)))), QuantMismatch),
    "gptq scales of another group size": (lambda: GPTQ.with_tensor("scales", f16(np.ones((5, 64)))), QuantMismatch),
    "gptq g_idx too short": (lambda: GPTQ.with_tensor("g_idx", ints(np.zeros(127), "I32")), QuantMismatch),
    "gptq codes that are no matrix": (lambda: GPTQ.with_tensor("qweight", ints(np.zeros(1024), "I32")), SizeMismatch),
    "gptq codes of another type": (lambda: GPTQ.with_tensor("qweight", ints(np.zeros((16, 64)), "I64")), QuantMismatch),
    "gptq of an odd width": (
        lambda: quantkit.gptq(1, outputs=32).with_tensor("qweight", ints(np.zeros((16, 33)), "I32")),
        QuantMismatch,
    ),
    "gptq of nothing": (
        lambda: Case(
            tensors={
                "qweight": ints(np.zeros((0, 0)), "I32"),
                "qzeros": ints(np.zeros((0, 0)), "I32"),
                "scales": f16(np.zeros((0, 0))),
            },
            config=GPTQ.config,
            expected=GPTQ.expected,
        ),
        QuantMismatch,
    ),
    "awq in gptq's layout": (
        lambda: Case(tensors=GPTQ.tensors, config=AWQ.config, expected=GPTQ.expected),
        QuantMismatch,
    ),
    "gptq in awq's layout": (
        lambda: Case(tensors=AWQ.tensors, config=GPTQ.config, expected=AWQ.expected),
        QuantMismatch,
    ),
    "nf4 with more codes": (
        lambda: NF4.with_tensor("weight", ("U8", (1153, 1), bytes(1153))),
        QuantMismatch,
    ),
    "nf4 with fewer scales": (lambda: NF4.with_tensor("weight.absmax", f32(np.ones(35))), QuantMismatch),
    "nf4 with a map of its own": (
        lambda: NF4.with_tensor("weight.quant_map", f32(np.linspace(-1, 1, 16))),
        QuantMismatch,
    ),
    "nf4 with NaN in its map": (lambda: NF4.with_tensor("weight.quant_map", f32(np.full(16, np.nan))), QuantMismatch),
    "nested scales not spoken of": (
        lambda: described(DOUBLE, nested_blocksize=None, nested_offset=None),
        QuantMismatch,
    ),
    "scales of int8 for columns": (lambda: INT8.with_tensor("SCB", f32(np.ones(96))), QuantMismatch),
    "mlx codes of another width": (lambda: MLX.with_tensor("weight", ints(np.zeros((24, 15)), "U32")), QuantMismatch),
    "mlx scales of another group size": (lambda: MLX.with_tensor("scales", f16(np.ones((24, 2)))), QuantMismatch),
    "hqq with more codes": (lambda: HQQ.with_tensor("W_q", ints(np.zeros((81, 8)), "U8")), QuantMismatch),
    "hqq with fewer scales": (lambda: HQQ.with_tensor("scale", f16(np.ones((159, 1)))), QuantMismatch),
    "hqq shape of three": (lambda: HQQ.with_tensor("shape", ints([2, 8, 80], "I64")), QuantMismatch),
    "packed words of another width": (
        lambda: PACKED.with_tensor("weight_packed", ints(np.zeros((24, 17)), "I32")),
        QuantMismatch,
    ),
    "packed shape of another matrix": (
        lambda: PACKED.with_tensor("weight_shape", ints([24, 127], "I64")),
        QuantMismatch,
    ),
    "scales of blocks of another size": (
        lambda: BLOCKS.with_tensor("weight_scale_inv", f32(np.ones((3, 4)))),
        QuantMismatch,
    ),
    "scales of fp8 for nothing": (lambda: FLOAT8.with_tensor("weight_scale", f32(np.ones((7, 5)))), QuantMismatch),
    "two tensors of scales": (lambda: BLOCKS.with_tensor("weight_scale", f32(1)), QuantMismatch),
    "nvfp4 scales of another group size": (
        lambda: NVFP4.with_tensor("weight_scale", ("F8_E4M3", (24, 5), bytes(120))),
        QuantMismatch,
    ),
    # contents that contradict
    "g_idx out of range": (lambda: GPTQ.with_tensor("g_idx", ints(np.full(128, 4), "I32")), QuantMismatch),
    "g_idx below zero": (lambda: GPTQ.with_tensor("g_idx", ints(np.full(128, -1), "I32")), QuantMismatch),
    "weight_g_idx out of range": (
        lambda: PACKED.with_tensor("weight_g_idx", ints(np.arange(128), "I32")),
        QuantMismatch,
    ),
    "description that is no JSON": (lambda: NF4.with_tensor(STATE, ("U8", (3,), b"{a}")), BadJson),
    "description of another kind": (lambda: described(NF4, quant_type="fp4"), QuantMismatch),
    "description of another shape": (lambda: described(NF4, shape=[96, 25]), QuantMismatch),
    "description of a huge shape": (lambda: described(NF4, shape=[2**62, 2**19]), QuantMismatch),
    "description of a huge row": (lambda: described(NF4, shape=[1, 2**62]), LimitExceeded),
    "description of a shape of one": (lambda: described(NF4, shape=[2304]), BadShape),
    "description of no shape": (lambda: described(NF4, shape=None), WrongType),
    "description of a shape below zero": (lambda: described(NF4, shape=[-24, -96]), BadShape),
    "description of blocks of one": (lambda: described(NF4, blocksize=1), QuantMismatch),
    "description of blocks of none": (lambda: described(NF4, blocksize=0), QuantMismatch),
    "description with an infinite offset": (lambda: described(DOUBLE, nested_offset=1e300), QuantMismatch),
    "description with a text for an offset": (lambda: described(DOUBLE, nested_offset="0"), QuantMismatch),
    "description that is long": (
        lambda: NF4.with_tensor(STATE, ("U8", (LIMITS.packed_stated + 1,), bytes(LIMITS.packed_stated + 1))),
        LimitExceeded,
    ),
    "hqq of a huge shape": (lambda: HQQ.with_tensor("shape", ints([2**62, 2], "I64")), QuantMismatch),
    "hqq of a huge row": (lambda: HQQ.with_tensor("shape", ints([2, 2**62], "I64")), LimitExceeded),
    "hqq of a shape below zero": (lambda: HQQ.with_tensor("shape", ints([-16, 80], "I64")), BadShape),
    "hqq of groups of none": (lambda: HQQ.with_tensor("group_size", ints(0, "I32")), QuantMismatch),
    "hqq along a third axis": (lambda: HQQ.with_tensor("axis", ints(2, "I32")), QuantMismatch),
    "hqq of another packing": (lambda: HQQ.with_tensor("packing", ("U8", (7,), b"3bit_32")), QuantMismatch),
    "hqq with quantised scales": (lambda: HQQ.with_tensor("quant_scale", ints(1, "U8")), UnsupportedDtype),
    "hqq of seven bits": (lambda: HQQ.with_tensor("nbits", ints(7, "I32")), UnsupportedDtype),
    "int8 laid out for a GPU": (lambda: INT8.with_tensor("weight_format", ints(1, "U8")), UnsupportedDtype),
    # the configuration contradicts
    "gptq without a configuration": (
        lambda: Case(tensors=GPTQ.tensors, config=None, expected=GPTQ.expected),
        MissingField,
    ),
    "gptq of other bits": (lambda: GPTQ.stating(bits=8), QuantMismatch),
    "gptq of three bits": (lambda: GPTQ.stating(bits=3), QuantMismatch),
    "gptq of unknown bits": (lambda: GPTQ.stating(bits=5), UnsupportedDtype),
    "gptq of bits in words": (lambda: GPTQ.stating(bits="4"), WrongType),
    "gptq of true bits": (lambda: GPTQ.stating(bits=True), WrongType),
    "gptq of no bits": (lambda: GPTQ.stating(bits=None), MissingField),
    "gptq of another group size": (lambda: GPTQ.stating(group_size=64), QuantMismatch),
    "gptq of groups of none": (lambda: GPTQ.stating(group_size=0), QuantMismatch),
    "gptq for one kernel": (lambda: GPTQ.stating(checkpoint_format="marlin"), UnsupportedDtype),
    "gptq said to be marlin": (lambda: GPTQ.stating(is_marlin_format=True), UnsupportedDtype),
    "awq of a group size that does not divide": (lambda: AWQ.stating(group_size=48), QuantMismatch),
    "awq of eight bits": (lambda: AWQ.stating(bits=8), UnsupportedDtype),
    "awq for one kernel": (lambda: AWQ.stating(version="gemv"), UnsupportedDtype),
    "mlx of another group size": (lambda: MLX.stating(group_size=64), QuantMismatch),
    "mlx of a group size that does not divide": (lambda: MLX.stating(group_size=96), QuantMismatch),
    "mlx of groups of none": (lambda: MLX.stating(group_size=0), QuantMismatch),
    "mlx of another mode": (lambda: MLX.stating(mode="mxfp4"), UnsupportedDtype),
    "mlx module that is no object": (lambda: MLX.stating(**{quantkit.STEM: False}), WrongType),
    "hqq of other bits": (
        lambda: HQQ.stating(quant_config={"weight_quant_params": {"nbits": 8}}),
        QuantMismatch,
    ),
    "packed of other bits": (lambda: ways(PACKED, num_bits=8, group_size=32), QuantMismatch),
    "packed of another group size": (lambda: ways(PACKED, num_bits=4, group_size=64), QuantMismatch),
    "packed said to be asymmetric": (lambda: ways(PACKED, num_bits=4, group_size=32, symmetric=False), QuantMismatch),
    "packed said to be floats": (lambda: ways(PACKED, num_bits=4, group_size=32, type="float"), QuantMismatch),
    "packed of no groups of modules": (lambda: PACKED.stating(config_groups=None), MissingField),
    "packed of groups of modules in a list": (lambda: PACKED.stating(config_groups=[]), WrongType),
    "packed of too many groups of modules": (
        lambda: PACKED.stating(config_groups={str(n): {} for n in range(100)}),
        QuantMismatch,
    ),
    "packed by another method": (lambda: PACKED.stating(quant_method="of-mine"), UnsupportedDtype),
    "float8 said to be for the tensor": (
        lambda: ways(FLOAT8, num_bits=8, type="float", strategy="tensor"),
        QuantMismatch,
    ),
    "blocks of no size": (lambda: BLOCKS.stating(weight_block_size=[0, 0]), WrongType),
    "blocks of one size": (lambda: BLOCKS.stating(weight_block_size=[16]), WrongType),
    "blocks of a size nothing states": (lambda: BLOCKS.stating(weight_block_size=None), MissingField),
    "integers of a method that is not known": (
        lambda: Case(
            tensors={"weight": ints(np.ones((4, 4)), "I8")},
            config={"quant_method": "x"},
            expected=np.ones((4, 4), "f4"),
        ),
        UnsupportedDtype,
    ),
    "words of a method that is not known": (lambda: GPTQ.stating(quant_method="higgs"), UnsupportedDtype),
    "words of no method": (lambda: GPTQ.stating(quant_method=None), UnsupportedDtype),
}


@pytest.mark.parametrize("name", BROKEN)
def test_contradictions_are_typed_errors(name: str) -> None:
    make, kind = BROKEN[name]
    error = refusal(make())
    assert type(error) is kind, repr(error)


def test_configuration_that_is_no_json() -> None:
    case = Case(tensors=GPTQ.tensors, config=None, expected=GPTQ.expected, texts={"config.json": b"{"})
    assert isinstance(refusal(case), BadJson)


def test_configuration_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.model.quantised.LIMITS", Limits(config_bytes=20))
    assert isinstance(refusal(GPTQ), LimitExceeded)


def test_configurations_that_contradict_each_other() -> None:
    other = json.dumps({"bits": 8, "group_size": 32}).encode()
    case = Case(tensors=GPTQ.tensors, config=GPTQ.config, expected=GPTQ.expected, texts={"quantize_config.json": other})
    error = refusal(case)
    assert isinstance(error, QuantMismatch)
    assert error.file == "quantize_config.json"
    agreeing = json.dumps({"bits": 4, "group_size": 32}).encode()
    benign = Case(
        tensors=GPTQ.tensors, config=GPTQ.config, expected=GPTQ.expected, texts={"quantize_config.json": agreeing}
    )
    assert np.array_equal(benign.matrix(), GPTQ.expected)


@pytest.mark.parametrize(
    "values",
    [b"[]", b'{"quantization_config": []}', b'{"quantization_config": {"quant_method": 4}}', b'{"quantization": 4}'],
)
def test_configurations_of_the_wrong_type(values: bytes) -> None:
    with pytest.raises(WrongType):
        parse_configs({"config.json": values})


def test_values_of_any_type_are_compared() -> None:
    texts = {
        "config.json": b'{"quantization_config": {"bits": [4], "group_size": {}}, "quantization": {"bits": {}}}',
    }
    with pytest.raises(QuantMismatch):
        parse_configs(texts)


# --- limits ---------------------------------------------------------------------------------------------


def test_rows_that_are_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.formats.quant.packed.LIMITS", Limits(row_elements=64))
    for case in (GPTQ, AWQ, NF4, INT8, MLX, HQQ, PACKED, FLOAT8, BLOCKS, NVFP4):
        assert isinstance(refusal(case), LimitExceeded)


def test_rows_that_take_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.formats.quant.packed.LIMITS", Limits(packed_read=64))
    for case in (GPTQ, AWQ, NF4, INT8, MLX, HQQ, PACKED, FLOAT8, BLOCKS, NVFP4):
        assert isinstance(refusal(case), LimitExceeded)


# --- methods that are only named ------------------------------------------------------------------------

BYTES = ints(np.ones((4, 4)), "U8")
NAMED = {
    "EXL2": {"q_weight": ints(np.ones((4, 4)), "I32"), "q_scale": ints(np.ones((4, 4)), "I32"), "q_perm": BYTES},
    "EXL3": {"trellis": ints(np.ones((2, 2, 16)), "I16"), "suh": f16(np.ones(4)), "svh": f16(np.ones(4))},
    "QTIP": {"trellis": ints(np.ones((2, 2)), "I16"), "SU": f16(np.ones(4)), "SV": f16(np.ones(4))},
    "AQLM": {"codes": ints(np.ones((4, 1, 2)), "I16"), "codebooks": f16(np.ones((2, 8))), "scales": f16(np.ones(4))},
    "QuIP#": {"Qidxs": ints(np.ones((4, 4)), "I64"), "SU": f16(np.ones(4)), "SV": f16(np.ones(4))},
    "VPTQ": {"indices": ints(np.ones((4, 4)), "I32"), "perm": BYTES},
    "SqueezeLLM": {"qweight": ints(np.ones((4, 4)), "I32"), "lookup_table": f16(np.ones((4, 16)))},
    "Marlin": {"B": ints(np.ones((4, 4)), "I32"), "s": f16(np.ones((1, 4)))},
    "BitNet": {"weight": BYTES, "weight_scale": f32(1)},
    "EETQ": {"weight": ints(np.ones((4, 4)), "I8"), "weight_scales": f16(np.ones(4))},
    "Quanto": {"weight._data": ints(np.ones((4, 4)), "I8"), "weight._scale": f16(np.ones((4, 1)))},
}


@pytest.mark.parametrize("name", NAMED)
def test_methods_that_are_not_decoded_are_named(name: str) -> None:
    case = Case(tensors=NAMED[name], config=None, expected=np.ones((4, 4), np.float32))
    error = refusal(case)
    assert isinstance(error, UnsupportedDtype)
    assert name in error.reason
    assert quantkit.STEM in error.reason


@pytest.mark.parametrize("name", NAMED)
def test_plain_tensors_beside_them_are_still_read(name: str) -> None:
    case = Case(tensors=NAMED[name], config=None, expected=np.ones((4, 4), np.float32))
    view = case.view()
    assert view.vector(0, "mlp_norm").tolist() == [1, 1, 1, 1]
    assert view.rows(0, "up", np.array([1])).tolist() == [[1, 1, 1, 1]]
    assert view.layers("gate", "up") == (0,)
    with pytest.raises(UnsupportedDtype):
        view.tensor(0, "gate")
    source = case.source()
    containers = open_checkpoints(source).containers
    assert unplaced_share(containers, [v for c in containers for v in model_views(source, c)]) == 0


def test_error_is_the_same_each_time_and_does_not_grow() -> None:
    view = Case(tensors=NAMED["EXL2"], config=None, expected=np.ones((4, 4), np.float32)).view()
    depths = []
    for _ in range(3):
        with pytest.raises(UnsupportedDtype) as caught:
            view.tensor(0, "gate")
        depths.append(len(caught.traceback))
    assert len(set(depths)) == 1


def test_a_plain_weight_beside_packed_ones_is_a_contradiction() -> None:
    both = PACKED.with_tensor("weight", f32(np.ones(PACKED.expected.shape)))
    assert isinstance(refusal(both), QuantMismatch)


@pytest.mark.parametrize("case", [GPTQ, AWQ, HQQ], ids=["gptq", "awq", "hqq"])
def test_a_plain_weight_hides_no_quantised_one(case: Case) -> None:
    """A loader takes one of the two, and nothing says which: neither is read."""
    both = case.with_tensor("weight", f32(np.ones(case.expected.shape)))
    assert isinstance(refusal(both), QuantMismatch)


def test_a_transposed_matrix_that_is_quantised_is_refused() -> None:
    """GPT-2 keeps `[in, out]`; nothing here quantises such a matrix, and its columns would not be its rows."""
    stem = "h.0.mlp.c_fc"
    tensors = {f"{stem}.{leaf}": tensor for leaf, tensor in INT8.tensors.items()}
    tensors |= {"h.0.mlp.c_proj.weight": f32(np.ones((96, 24))), "wte.weight": f32(np.ones((3, 24)))}
    source = BytesSource({"model.safetensors": serialize(tensors)})
    for view in (v for c in open_checkpoints(source).containers for v in model_views(source, c)):
        try:
            rows = view.rows(0, "up", np.array([0]))
        except FileError as error:
            assert isinstance(error, (UnsupportedDtype, SizeMismatch))  # noqa: PT017 (either way, no wrong rows)
        else:
            assert rows.shape == (1, 96)


def test_more_matrices_than_any_checkpoint_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = tuple(
        TensorEntry(name=f"a{i}.qweight", dtype="I32", shape=(1, 8), file="m", start=32 * i, stop=32 * i + 32)
        for i in range(5)
    )
    container = Container(format="safetensors", files=("m",), tensors=tensors)
    assert len(with_packed(BytesSource({}), container).tensors) == 5
    monkeypatch.setattr("auditor.model.quantised.LIMITS", Limits(packed_matrices=4))
    with pytest.raises(LimitExceeded, match="quantised matrices"):
        with_packed(BytesSource({}), container)


def test_names_of_plain_weights_cost_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def split(name: str) -> None:
        pytest.fail(f"{name} was looked at closely")

    monkeypatch.setattr("auditor.model.quantised._split", split)
    tensors = tuple(
        TensorEntry(name=f"layers.{i}.weight", dtype="BF16", shape=(1, 8), file="m", start=16 * i, stop=16 * i + 16)
        for i in range(5)
    )
    container = Container(format="safetensors", files=("m",), tensors=tensors)
    assert with_packed(BytesSource({}), container) is container
