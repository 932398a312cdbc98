"""Models inside containers, and rows of them: the right values, the right order, and no byte more than asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from ggufkit import gguf_bytes, gguf_tensors, llama_gguf, llama_metadata, permute
from hypothesis import given, settings
from hypothesis import strategies as st
from modelkit import Model, make_model, safetensors_bytes

from auditor.errors import (
    BadShape,
    DuplicateName,
    FileError,
    LimitExceeded,
    MissingField,
    SizeMismatch,
    Truncated,
    UnsupportedDtype,
    WrongType,
)
from auditor.formats import Container, TensorEntry, dtype_of, open_checkpoints
from auditor.formats.dtypes import DTYPES
from auditor.formats.quant.ggml import GGML_TYPES
from auditor.formats.safetensors import SAFETENSORS_DTYPES
from auditor.formats.serialize import serialize
from auditor.limits import LIMITS
from auditor.model import ModelView, model_views
from auditor.sources import BytesSource, Range

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


class Noting(BytesSource):
    """A source that notes the ranges asked for once the headers are read."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__(contents)
        self.ranges: list[Range] = []

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        self.ranges += ranges
        return super().read(path, ranges)

    @property
    def lengths(self) -> list[int]:
        return [stop - start for start, stop in self.ranges]


def views(content: bytes, name: str = "model") -> tuple[ModelView, ...]:
    source = Noting({name: content})
    found = open_checkpoints(source)
    assert found.unread == ()
    source.ranges.clear()
    return tuple(view for container in found.containers for view in model_views(source, container))


def view_of(content: bytes) -> ModelView:
    (view,) = views(content)
    return view


def noted(view: ModelView) -> Noting:
    return cast("Noting", view._source)  # noqa: SLF001


def rows(view: ModelView, role: str, *index: int, layer: int | None = 0) -> NDArray[np.float32]:
    return view.rows(layer, role, np.array(index, dtype=np.intp))


def whole(view: ModelView, role: str, *, layer: int | None = 0) -> NDArray[np.float32]:
    return view.rows(layer, role, np.arange(view.tensor(layer, role).shape[0]))


def block(dtype: str, shape: tuple[int, ...], raw: bytes) -> bytes:
    """Write a model of one block whose gate is as given."""
    up = ("F32", (1, 1), bytes(4))
    return serialize({"layers.0.mlp.gate_proj.weight": (dtype, shape, raw), "layers.0.mlp.up_proj.weight": up})


MODEL = make_model(1, layers=3)


# --- which models there are -----------------------------------------------------------------------------


def test_hugging_face_model() -> None:
    view = view_of(safetensors_bytes(MODEL))
    assert view.prefix == "model."
    assert view.layers("gate", "up") == view.layers() == (0, 1, 2)
    assert view.tensor(2, "q").name == "model.layers.2.self_attn.q_proj.weight"
    assert view.tensor(None, "embed").shape == (50, 64)
    for name, role in (("mlp.up_proj", "up"), ("mlp.down_proj", "down"), ("self_attn.q_proj", "q")):
        np.testing.assert_array_equal(whole(view, role, layer=1), MODEL[f"model.layers.1.{name}.weight"])
    np.testing.assert_array_equal(whole(view, "embed", layer=None), MODEL["model.embed_tokens.weight"])
    np.testing.assert_array_equal(view.vector(0, "attn_norm"), np.ones(64, np.float32))
    np.testing.assert_array_equal(view.vector(None, "final_norm"), np.ones(64, np.float32))


def test_gguf_model_is_the_same_model() -> None:
    ours, theirs = view_of(llama_gguf(MODEL, heads=4)), view_of(safetensors_bytes(MODEL))
    assert ours.prefix == ""
    assert ours.layers("gate") == (0, 1, 2)
    for layer in range(3):
        for role in ("q", "k", "v", "o", "gate", "up", "down"):
            np.testing.assert_array_equal(whole(ours, role, layer=layer), whole(theirs, role, layer=layer))


def test_wrapped_model() -> None:
    wrapped = {f"language_model.{name}": w for name, w in MODEL.items()}
    vision = "vision_tower.vision_model.encoder.layers.0."
    tower = {vision + "mlp.fc1.weight": np.ones((2, 2)), vision + "self_attn.q_proj.weight": np.ones((2, 2))}
    view = view_of(safetensors_bytes(wrapped | tower))
    assert view.prefix == "language_model.model."
    assert view.layers("gate", "up") == (0, 1, 2)


def test_two_models_in_one_file_are_two_views() -> None:
    hidden = {f"spare.{name}": w for name, w in make_model(2, layers=2).items()}
    first, second = views(safetensors_bytes(MODEL | hidden))
    assert (first.prefix, second.prefix) == ("model.", "spare.model.")
    assert (first.layers("up"), second.layers("up")) == ((0, 1, 2), (0, 1))
    np.testing.assert_array_equal(whole(second, "up"), hidden["spare.model.layers.0.mlp.up_proj.weight"])
    np.testing.assert_array_equal(whole(first, "up"), MODEL["model.layers.0.mlp.up_proj.weight"])


def test_layers_are_those_that_have_every_role() -> None:
    some = {
        name: w
        for name, w in make_model(1, layers=12).items()
        if ".layers.3.mlp.up" not in name and ".layers.10.self_attn.q" not in name
    }
    view = view_of(safetensors_bytes(some))
    assert view.layers("up") == (0, 1, 2, *range(4, 12))
    assert view.layers("up", "q") == (0, 1, 2, *range(4, 10), 11)
    assert view.layers("absent") == ()
    with pytest.raises(KeyError):
        view.tensor(3, "up")
    with pytest.raises(KeyError):
        rows(view, "up", 0, layer=3)
    with pytest.raises(KeyError):
        view.vector(None, "attn_norm")


@pytest.mark.parametrize("role", ["gate", "up"])
def test_block_needs_gate_and_up(role: str) -> None:
    found = views(safetensors_bytes({name: w for name, w in MODEL.items() if f"mlp.{role}" not in name}))
    assert [view.gated for view in found] == ([False] if role == "gate" else [])  # up and down are an MLP as well


def test_file_of_no_model() -> None:
    assert views(safetensors_bytes({})) == ()
    assert views(safetensors_bytes({"h.0.mlp.c_fc.weight": np.ones((2, 2), np.float32)})) == ()


TINY = np.ones((2, 2), np.float32)


def tiny(*names: str) -> bytes:
    return safetensors_bytes({f"{name}.weight": TINY for name in names})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("layers.0.mlp.gate_proj", "blk.0.ffn_gate"),
        ("layers.7.mlp.gate_proj", "layers.07.mlp.gate_proj"),
        ("norm", "output_norm"),
        ("embed_tokens", "token_embd"),
    ],
)
def test_second_tensor_for_the_same_place(first: str, second: str) -> None:
    names = ("layers.0.mlp.up_proj", "layers.7.mlp.up_proj", first)
    assert len(views(tiny(*names))) == ("gate" in first)  # benign twin
    with pytest.raises(DuplicateName) as caught:
        views(tiny(*names, second))
    assert caught.value.file == "model"


def test_hostile_names_give_views_like_others() -> None:
    odd = "../\x1b[31m\n\u202e\0."
    names = [f"{odd}layers.0.mlp.{role}_proj" for role in ("gate", "up")]
    assert view_of(tiny(*names)).prefix == odd
    far = [f"layers.{'9' * 4000}.mlp.{role}_proj" for role in ("gate", "up")]
    assert views(tiny(*far)) == ()
    assert view_of(tiny(*far, *names)).layers() == (0,)


def test_number_of_layers_is_capped() -> None:
    def stack(count: int) -> bytes:
        return tiny(*(f"layers.{i}.mlp.{role}_proj" for i in range(count) for role in ("gate", "up")))

    assert len(view_of(stack(LIMITS.layers)).layers()) == LIMITS.layers
    with pytest.raises(LimitExceeded) as caught:
        views(stack(LIMITS.layers + 1))
    assert (caught.value.field, caught.value.actual) == ("layers", LIMITS.layers + 1)
    high = tiny("layers.9999.mlp.gate_proj", "layers.9999.mlp.up_proj")
    assert view_of(high).layers("gate") == (9999,)  # a high number is no more layers


def test_number_of_models_is_capped() -> None:
    def several(count: int) -> bytes:
        return tiny(*(f"{i}.layers.0.mlp.{role}_proj" for i in range(count) for role in ("gate", "up")))

    assert len(views(several(LIMITS.models))) == LIMITS.models
    with pytest.raises(LimitExceeded) as caught:
        views(several(LIMITS.models + 1))
    assert (caught.value.field, caught.value.actual) == ("models", LIMITS.models + 1)


# --- rows -----------------------------------------------------------------------------------------------

RNG = np.random.default_rng(7)
COUNT, BLOCKS = 12, 2


@pytest.mark.parametrize("name", [name for name, dtype in SAFETENSORS_DTYPES.items() if dtype.decode])
def test_rows_of_every_plain_type(name: str) -> None:
    dtype = DTYPES[name]
    raw = RNG.integers(0, 2 if name == "BOOL" else 256, COUNT * 5 * dtype.size, dtype=np.uint8)
    assert dtype.decode is not None
    check_rows(view_of(block(name, (COUNT, 5), raw.tobytes())), dtype.decode(raw).reshape(COUNT, 5), 5 * dtype.size)


@pytest.mark.parametrize("kind", GGML_TYPES)
def test_rows_of_every_gguf_type(kind: int) -> None:
    dtype = GGML_TYPES[kind]
    stride = BLOCKS * dtype.size
    raw = RNG.integers(0, 256, COUNT * stride, dtype=np.uint8)
    gate = (kind, (COUNT, BLOCKS * dtype.block), raw.tobytes())
    content = gguf_bytes({"blk.0.ffn_gate.weight": gate, "blk.0.ffn_up.weight": (0, (1, 1), bytes(4))})
    assert dtype.decode is not None
    check_rows(view_of(content), dtype.decode(raw).reshape(COUNT, -1), stride)


def check_rows(view: ModelView, expected: NDArray[np.float32], stride: int) -> None:
    start = view.tensor(0, "gate").start
    for index in ([3], [0, 1, 2], [11, 0], [5, 4, 3], [2, 2, 9, 2], list(range(COUNT))):
        noted(view).ranges.clear()
        found = rows(view, "gate", *index)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected[index])
        assert noted(view).ranges == [
            Range(start + first * stride, start + (last + 1) * stride) for first, last in runs(index)
        ]


def runs(index: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each stretch of rows that lie side by side."""
    wanted = set(index)
    firsts = sorted(i for i in wanted if i - 1 not in wanted)
    lasts = sorted(i for i in wanted if i + 1 not in wanted)
    return list(zip(firsts, lasts, strict=True))


MATRIX = RNG.normal(size=(40, 8)).astype(np.float32)
HALF = MATRIX.astype("<f2")


@settings(max_examples=40)
@given(index=st.lists(st.integers(0, 39), max_size=60))
def test_any_index_gives_the_rows_and_reads_each_once(index: list[int]) -> None:
    view = view_of(block("F16", HALF.shape, HALF.tobytes()))
    np.testing.assert_array_equal(rows(view, "gate", *index), HALF.astype(np.float32)[index])
    assert len(noted(view).ranges) == len(runs(index))
    assert sum(noted(view).lengths) == len(set(index)) * 16


def test_contiguous_rows_are_one_range() -> None:
    view = view_of(safetensors_bytes(MODEL))
    view.rows(1, "up", np.arange(20, 52))
    assert noted(view).lengths == [32 * 64 * 4]


@pytest.mark.parametrize("index", [[-1], [40], [0, 40], [-1, 5], [2**40]])
def test_rows_that_the_matrix_does_not_have(index: list[int]) -> None:
    view = view_of(block("F16", HALF.shape, HALF.tobytes()))
    with pytest.raises(IndexError, match="0 to 39"):
        rows(view, "gate", *index)
    assert noted(view).ranges == []


@pytest.mark.parametrize("role", ["q", "k"])
@pytest.mark.parametrize("index", [[-1], [64], [-64]])
def test_rows_that_an_interleaved_matrix_does_not_have(role: str, index: list[int]) -> None:
    with pytest.raises(IndexError, match="0 to 63"):
        rows(view_of(llama_gguf(MODEL)), role, *index)


@pytest.mark.parametrize("name", [name for name, dtype in SAFETENSORS_DTYPES.items() if dtype.decode is None])
def test_types_that_are_not_decoded(name: str) -> None:
    dtype = DTYPES[name]
    view = view_of(block(name, (4, dtype.block), bytes(4 * dtype.size)))
    with pytest.raises(UnsupportedDtype) as caught:
        rows(view, "gate", 0)
    assert caught.value.actual == name
    assert (caught.value.file, caught.value.field) == ("model", 'tensor "layers.0.mlp.gate_proj.weight"')
    assert noted(view).ranges == []
    assert rows(view, "up", 0).tolist() == [[0.0]]  # benign twin, in the same file


@pytest.mark.parametrize("shape", [(), (8,), (2, 2, 2), (1, 8, 1)])
def test_what_is_no_matrix(shape: tuple[int, ...]) -> None:
    view = view_of(block("U8", shape, bytes(int(np.prod(shape)))))
    with pytest.raises(SizeMismatch) as caught:
        rows(view, "gate", 0)
    assert caught.value.actual == shape


@pytest.mark.parametrize("shape", [(), (1, 8), (8, 1)])
def test_what_is_no_vector(shape: tuple[int, ...]) -> None:
    view = view_of(block("U8", shape, bytes(int(np.prod(shape)))))
    with pytest.raises(SizeMismatch) as caught:
        view.vector(0, "gate")
    assert caught.value.actual == shape


def test_vector() -> None:
    gains = RNG.normal(size=96).astype("<f4")
    for content in (
        block("F32", (96,), gains.tobytes()),
        gguf_bytes({"blk.0.ffn_gate.weight": (0, (96,), gains.tobytes()), "blk.0.ffn_up.weight": (0, (0,), b"")}),
    ):
        view = view_of(content)
        np.testing.assert_array_equal(view.vector(0, "gate"), gains)
        assert noted(view).lengths == [4 * 96]


def test_quantised_vector() -> None:
    raw = RNG.integers(0, 256, 68, dtype=np.uint8)
    content = {"blk.0.ffn_gate.weight": (8, (64,), raw.tobytes()), "blk.0.ffn_up.weight": (0, (0,), b"")}
    found = view_of(gguf_bytes(content)).vector(0, "gate")
    decode = dtype_of("Q8_0").decode
    assert decode is not None
    np.testing.assert_array_equal(found, decode(raw))


@pytest.mark.parametrize("shape", [(4, 0), (0, 4), (0, 0)])
def test_empty_matrix(shape: tuple[int, int]) -> None:
    view = view_of(block("F32", shape, b""))
    assert whole(view, "gate").shape == shape
    assert rows(view, "gate").shape == (0, shape[1])


def test_empty_vector() -> None:
    assert view_of(block("F32", (0,), b"")).vector(0, "gate").shape == (0,)


def test_no_rows() -> None:
    view = view_of(safetensors_bytes(MODEL))
    assert rows(view, "gate").shape == (0, 64)
    assert noted(view).ranges == []


def test_signalling_nan_and_what_float32_cannot_hold() -> None:
    bits = np.array([[0x7FF0000000000001, 0xFFF0000000000001, 0x7FEFFFFFFFFFFFFF, 0x3FF0000000000000]], "<u8")
    found = rows(view_of(block("F64", (1, 4), bits.tobytes())), "gate", 0)[0]
    assert np.isnan(found[:2]).all()
    assert found[2:].tolist() == [np.inf, 1.0]


class Closed(BytesSource):
    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        raise AssertionError(f"{path} must not be read: {ranges}")


def bare_view(shape: tuple[int, ...], source: BytesSource | None = None, **more: object) -> ModelView:
    """Build a view of a tensor that no file has to hold."""
    entry = TensorEntry(name="gate", dtype="F32", shape=shape, file="f", start=0, stop=4 * int(np.prod(shape)))
    container = Container(format="safetensors", files=("f",), tensors=(entry,), **more)  # type: ignore[arg-type]
    return ModelView(source=source or Closed({}), container=container, prefix="", tensors={(0, "gate"): entry})


def test_length_of_a_row_is_capped() -> None:
    size = LIMITS.row_elements
    memory = BytesSource({"f": bytes(4 * size)})
    assert rows(bare_view((1, size), memory), "gate", 0).shape == (1, size)  # benign twin
    assert bare_view((size,), memory).vector(0, "gate").shape == (size,)
    with pytest.raises(LimitExceeded) as caught:
        rows(bare_view((1, size + 1)), "gate", 0)
    assert caught.value.actual == size + 1
    with pytest.raises(LimitExceeded):
        bare_view((size + 1,)).vector(0, "gate")


def test_bytes_that_are_gone() -> None:
    with pytest.raises(Truncated):
        rows(bare_view((4, 4), BytesSource({"f": bytes(63)})), "gate", 3)


# --- the row order of q and k ---------------------------------------------------------------------------

HEADS, KV_HEADS, HEAD_SIZE = 6, 2, 8


def attention(layers: int = 1) -> Model:
    """Draw a model with fewer key heads than query heads, in Hugging Face order."""
    model = make_model(3, layers=layers, hidden=16)
    rng = np.random.default_rng(5)
    for layer in range(layers):
        for role, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            shape = (heads * HEAD_SIZE, 16)
            model[f"model.layers.{layer}.self_attn.{role}_proj.weight"] = rng.normal(size=shape).astype(np.float32)
    return model


ATTENTION = attention()
Q, K = (ATTENTION[f"model.layers.0.self_attn.{role}_proj.weight"] for role in "qk")
STORED = gguf_tensors(ATTENTION, heads=HEADS, kv_heads=KV_HEADS)


def attention_view(metadata: Mapping[str, object], tensors: Mapping[str, object] = STORED) -> ModelView:
    return view_of(gguf_bytes(tensors, metadata))  # type: ignore[arg-type]


def stored(role: str) -> NDArray[np.float32]:
    _, shape, raw = STORED[f"blk.0.attn_{role}.weight"]
    return np.frombuffer(raw, "<f4").reshape(shape)


def test_q_and_k_come_back_in_hugging_face_order() -> None:
    view = attention_view(llama_metadata(heads=HEADS, kv_heads=KV_HEADS))
    np.testing.assert_array_equal(whole(view, "q"), Q)
    np.testing.assert_array_equal(whole(view, "k"), K)
    assert not np.array_equal(stored("q"), Q)  # the file really holds another order
    assert not np.array_equal(stored("k"), K)
    for role in ("v", "o", "gate", "up", "down"):
        np.testing.assert_array_equal(whole(view, role), stored_as_is(role))


def stored_as_is(role: str) -> NDArray[np.float32]:
    names = {"v": "self_attn.v", "o": "self_attn.o", "gate": "mlp.gate", "up": "mlp.up", "down": "mlp.down"}
    return ATTENTION[f"model.layers.0.{names[role]}_proj.weight"]


@pytest.mark.parametrize(("heads", "kv_heads"), [(3, 2), (HEADS, 1), (2, 4), (24, 8)])
def test_wrong_head_counts_give_another_order(heads: int, kv_heads: int) -> None:
    """The count is what decides the order; the file's word is all there is."""
    view = attention_view(llama_metadata(heads=heads, kv_heads=kv_heads))
    right = [np.array_equal(whole(view, "q"), Q), np.array_equal(whole(view, "k"), K)]
    assert right == [heads == HEADS, kv_heads == KV_HEADS]


@settings(max_examples=40)
@given(data=st.data())
def test_any_rows_of_q(data: st.DataObject) -> None:
    index = data.draw(st.lists(st.integers(0, HEADS * HEAD_SIZE - 1), max_size=20))
    view = attention_view(llama_metadata(heads=HEADS, kv_heads=KV_HEADS))
    np.testing.assert_array_equal(rows(view, "q", *index), Q[index])
    assert sum(noted(view).lengths) == len(set(index)) * 64


def test_one_head_is_one_range() -> None:
    view = attention_view(llama_metadata(heads=HEADS, kv_heads=KV_HEADS))
    view.rows(0, "q", np.arange(HEAD_SIZE, 2 * HEAD_SIZE))
    assert noted(view).lengths == [HEAD_SIZE * 64]


def test_without_a_count_for_keys_it_is_that_of_queries() -> None:
    model = dict(ATTENTION)
    model["model.layers.0.self_attn.k_proj.weight"] = key = Q[::-1].copy()
    view = attention_view(llama_metadata(heads=HEADS), gguf_tensors(model, heads=HEADS))
    np.testing.assert_array_equal(whole(view, "k"), key)


def test_counts_of_each_layer() -> None:
    model = attention(layers=2)
    heads, kv_heads = [HEADS, 3], [KV_HEADS, 1]
    tensors = {}
    for layer in range(2):
        part = {name: w for name, w in model.items() if f".layers.{layer}." in name}
        tensors |= gguf_tensors(part, heads=heads[layer], kv_heads=kv_heads[layer])
    view = attention_view(llama_metadata(heads=heads, kv_heads=kv_heads, name="deci"), tensors)
    for layer in range(2):
        for role in "qk":
            expected = model[f"model.layers.{layer}.self_attn.{role}_proj.weight"]
            np.testing.assert_array_equal(whole(view, role, layer=layer), expected)


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "gemma3", "exaone", "phi3", "llama4", "starcoder2", "made-up"])
def test_other_architectures_are_untouched(name: str) -> None:
    view = attention_view(llama_metadata(heads=HEADS, kv_heads=KV_HEADS, name=name))
    np.testing.assert_array_equal(whole(view, "q"), stored("q"))
    np.testing.assert_array_equal(whole(view, "k"), stored("k"))
    assert whole(attention_view({"general.architecture": name}), "q").shape == Q.shape  # asks for no counts


@pytest.mark.parametrize("name", ["mistral3", "granite", "granitemoe", "smollm3", "minicpm", "internlm2", "arcee"])
def test_other_architectures_that_are_interleaved(name: str) -> None:
    view = attention_view(llama_metadata(heads=HEADS, kv_heads=KV_HEADS, name=name))
    np.testing.assert_array_equal(whole(view, "q"), Q)
    np.testing.assert_array_equal(whole(view, "k"), K)


def test_safetensors_are_untouched_whatever_their_metadata_say() -> None:
    """What Hugging Face writes is in Hugging Face order."""
    arrays = {n: ("F32", w.shape, np.ascontiguousarray(w, "<f4").tobytes()) for n, w in ATTENTION.items()}
    claims = {"general.architecture": "llama", "llama.attention.head_count": "6"}
    np.testing.assert_array_equal(whole(view_of(serialize(arrays, claims)), "q"), Q)


HEAD_COUNT, KV_COUNT = 'metadata "llama.attention.head_count"', 'metadata "llama.attention.head_count_kv"'
LONG = [HEADS] * (LIMITS.gguf_items + 1)
UNUSABLE: dict[str, tuple[dict[str, object], type[FileError], str]] = {
    "no architecture": ({"llama.attention.head_count": HEADS}, MissingField, 'metadata "general.architecture"'),
    "architecture no text": ({"general.architecture": 7}, WrongType, 'metadata "general.architecture"'),
    "architecture a list": ({"general.architecture": ["llama"]}, WrongType, 'metadata "general.architecture"'),
    "no count": ({"general.architecture": "llama"}, MissingField, HEAD_COUNT),
    "count of another architecture": (
        {"general.architecture": "llama", "qwen2.attention.head_count": HEADS},
        MissingField,
        HEAD_COUNT,
    ),
    "zero": (llama_metadata(heads=0), BadShape, HEAD_COUNT),
    "negative": (llama_metadata(heads=-HEADS), BadShape, HEAD_COUNT),
    "huge": (llama_metadata(heads=2**62), BadShape, HEAD_COUNT),
    "not dividing": (llama_metadata(heads=5), BadShape, HEAD_COUNT),
    "heads of an odd size": (llama_metadata(heads=16), BadShape, HEAD_COUNT),
    "more heads than rows": (llama_metadata(heads=96), BadShape, HEAD_COUNT),
    "NaN": (llama_metadata(heads=float("nan")), WrongType, HEAD_COUNT),
    "a float": (llama_metadata(heads=6.0), WrongType, HEAD_COUNT),
    "text": (llama_metadata(heads="6"), WrongType, HEAD_COUNT),
    "a bool": (llama_metadata(heads=True), WrongType, HEAD_COUNT),
    "a list too short": (llama_metadata(heads=[]), WrongType, HEAD_COUNT),
    "a list too long to keep": (llama_metadata(heads=LONG), WrongType, HEAD_COUNT),
    "a list of lists": (llama_metadata(heads=[[HEADS]]), WrongType, HEAD_COUNT),
    "a list with zero here": (llama_metadata(heads=[0, HEADS]), BadShape, HEAD_COUNT),
    "a list of floats": (llama_metadata(heads=[6.0]), WrongType, HEAD_COUNT),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_head_counts_refuse_q_and_k_and_nothing_else(case: str) -> None:
    metadata, error, field = UNUSABLE[case]
    view = attention_view(metadata)
    for role in "qk":
        with pytest.raises(error) as caught:
            whole(view, role)
        assert type(caught.value) is error
        assert (caught.value.file, caught.value.field) == ("model", field)
    for role in ("v", "o", "gate", "up", "down"):
        np.testing.assert_array_equal(whole(view, role), stored_as_is(role))


@pytest.mark.parametrize("count", [0, -1, 3, 2.0, "2", []])
def test_unusable_count_for_keys_refuses_only_these(count: object) -> None:
    view = attention_view(llama_metadata(heads=HEADS, kv_heads=count))
    np.testing.assert_array_equal(whole(view, "q"), Q)
    with pytest.raises(FileError) as caught:
        whole(view, "k")
    assert caught.value.field == KV_COUNT


def test_file_of_the_reference_writer(tmp_path: Path) -> None:
    import gguf  # noqa: PLC0415 # slow to import, and only this test wants it

    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    for role, values, heads in (("q", Q, HEADS), ("k", K, KV_HEADS)):
        writer.add_tensor(f"blk.0.attn_{role}.weight", permute(values, heads))
    gate = RNG.normal(size=(32, 256)).astype(np.float32)
    packed = gguf.quants.quantize(gate, gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("blk.0.ffn_gate.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("blk.0.ffn_up.weight", gate)
    act: list[Callable[[], None]] = [
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ]
    for step in act:
        step()
    view = view_of(path.read_bytes())
    np.testing.assert_array_equal(whole(view, "q"), Q)
    np.testing.assert_array_equal(whole(view, "k"), K)
    np.testing.assert_array_equal(whole(view, "up"), gate)
    unpacked = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q4_1)
    np.testing.assert_array_equal(rows(view, "gate", 31, 0, 7), unpacked[[31, 0, 7]])
