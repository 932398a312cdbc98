"""Weights as Meta published them: names, row order, and the files that one model is split over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torchkit as kit
from hypothesis import given, settings
from hypothesis import strategies as st
from modelkit import make_model, safetensors_bytes

from auditor.errors import MissingField, SizeMismatch
from auditor.formats import open_checkpoints
from auditor.model import ModelView, model_views
from auditor.sources import BytesSource

if TYPE_CHECKING:
    from modelkit import Model

HEADS, KV_HEADS, LAYERS = 4, 2, 2
PARAMS = {"dim": 64, "n_heads": HEADS, "n_kv_heads": KV_HEADS, "n_layers": LAYERS, "vocab_size": -1, "norm_eps": 1e-5}
ROLES = {
    "self_attn.q_proj": "q", "self_attn.k_proj": "k", "self_attn.v_proj": "v", "self_attn.o_proj": "o",
    "mlp.gate_proj": "gate", "mlp.up_proj": "up", "mlp.down_proj": "down",
}  # fmt: skip


def grouped(seed: int = 1) -> Model:
    model = make_model(seed, layers=LAYERS)
    for layer in range(LAYERS):
        for role in "kv":
            name = f"model.layers.{layer}.self_attn.{role}_proj.weight"
            model[name] = model[name][: 64 * KV_HEADS // HEADS]
    model["lm_head.weight"] = np.random.default_rng(seed).normal(size=(50, 64)).astype(np.float32)
    rng = np.random.default_rng(seed)
    return {name: rng.normal(1, 0.1, w.shape).astype(np.float32) if w.ndim == 1 else w for name, w in model.items()}


HF = grouped()
META = kit.meta_layout(HF, heads=HEADS, kv_heads=KV_HEADS)


def files(model: Model = META, *, shards: int = 1, params: object = PARAMS, embed_axis: int = 1) -> dict[str, bytes]:
    parts = kit.meta_shards(model, shards, embed_axis=embed_axis)
    out = {f"consolidated.{i:02d}.pth": kit.torch_zip(kit.values_of(part)) for i, part in enumerate(parts)}
    return out | ({"params.json": json.dumps(params).encode()} if params is not None else {})


def view_of(contents: dict[str, bytes]) -> ModelView:
    source = BytesSource(contents)
    found = open_checkpoints(source)
    assert found.unread == ()
    (container,) = found.containers
    (view,) = model_views(source, container)
    return view


def check(view: ModelView, model: Model = HF) -> None:
    """Hold every row against the model in Hugging Face's layout."""
    for name, w in model.items():
        parts = name.split(".")
        if parts[1] == "layers" and w.ndim == 2:
            layer, role = int(parts[2]), ROLES[".".join(parts[3:5])]
        elif parts[1] == "layers":
            layer, role = int(parts[2]), "attn_norm" if parts[3].startswith("input") else "mlp_norm"
        else:
            layer, role = None, {"embed_tokens": "embed", "norm": "final_norm", "weight": "head"}[parts[1]]
        if w.ndim == 1:
            assert (view.vector(layer, role) == w).all(), name
        else:
            assert view.tensor(layer, role).shape == w.shape, name
            assert (view.rows(layer, role, np.arange(len(w))) == w).all(), name


@pytest.mark.parametrize("embed_axis", [0, 1])
@pytest.mark.parametrize("shards", [1, 2])
def test_every_row_is_that_of_hugging_face(shards: int, embed_axis: int) -> None:
    check(view_of(files(shards=shards, embed_axis=embed_axis)))


@pytest.mark.parametrize("embed_axis", [0, 1])
@pytest.mark.parametrize("shards", [1, 2, 4])
def test_without_grouped_heads(shards: int, embed_axis: int) -> None:
    model = all_heads()
    turned = kit.meta_layout(model, heads=HEADS, kv_heads=HEADS)
    params = {**PARAMS, "n_kv_heads": None}
    check(view_of(files(turned, shards=shards, embed_axis=embed_axis, params=params)), model)


def all_heads() -> Model:
    """Return a model without grouped heads, and of a vocabulary that divides by four."""
    rng = np.random.default_rng(3)
    shapes = {name: (64, 64) if ".k_proj" in name or ".v_proj" in name else w.shape for name, w in HF.items()}
    shapes |= dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (52, 64))
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_rows_in_hugging_faces_order_are_other_rows() -> None:
    """What a wrong order would give: the check above can fail."""
    unturned = {**META, **{f"layers.{i}.attention.w{r}.weight": HF[f"model.layers.{i}.self_attn.{r}_proj.weight"]
                           for i in range(LAYERS) for r in "qk"}}  # fmt: skip
    with pytest.raises(AssertionError, match="q_proj"):
        check(view_of(files(unturned)))
    with pytest.raises(AssertionError, match="k_proj"):
        check(view_of(files({**unturned, "layers.0.attention.wq.weight": META["layers.0.attention.wq.weight"]})))


@settings(max_examples=25)
@given(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]), st.sampled_from([2, 4, 6]), st.data())
def test_any_heads(heads: int, ratio: int, size: int, data: st.DataObject) -> None:
    kv_heads = heads
    heads *= ratio
    shards = data.draw(st.sampled_from([n for n in (1, 2, 4) if kv_heads % n == 0]))
    rng = np.random.default_rng(0)
    dim = heads * size
    hf = {
        "model.embed_tokens.weight": rng.normal(size=(8, dim)),
        "model.norm.weight": rng.normal(size=dim),
        "model.layers.0.self_attn.q_proj.weight": rng.normal(size=(dim, dim)),
        "model.layers.0.self_attn.k_proj.weight": rng.normal(size=(kv_heads * size, dim)),
        "model.layers.0.mlp.gate_proj.weight": rng.normal(size=(12, dim)),
        "model.layers.0.mlp.up_proj.weight": rng.normal(size=(12, dim)),
    }
    hf = {name: w.astype(np.float32) for name, w in hf.items()}
    params = {"dim": dim, "n_heads": heads, "n_kv_heads": kv_heads}
    check(view_of(files(kit.meta_layout(hf, heads=heads, kv_heads=kv_heads), shards=shards, params=params)), hf)


def test_rows_asked_for_cost_their_own_bytes() -> None:
    source = Counted(files(shards=2))
    (container,) = open_checkpoints(source).containers
    (view,) = model_views(source, container)
    source.read_bytes = 0
    view.rows(0, "gate", np.arange(46, 50))  # two of each file
    assert source.read_bytes <= 4 * 64 * 4 + 2 * 60  # and the headers of their members
    view.rows(0, "down", np.arange(3))
    assert source.read_bytes <= 4 * 64 * 4 + 3 * 96 * 4 + 4 * 60


class Counted(BytesSource):
    read_bytes = 0

    def read(self, path: str, ranges: list[tuple[int, int]]) -> list[bytes]:  # type: ignore[override]
        self.read_bytes += sum(stop - start for start, stop in ranges)
        return super().read(path, ranges)  # type: ignore[arg-type]


def test_safetensors_of_mistral() -> None:
    contents = {"consolidated.safetensors": safetensors_bytes(META), "params.json": json.dumps(PARAMS).encode()}
    check(view_of(contents))
    view = view_of({"consolidated.safetensors": contents["consolidated.safetensors"]})
    assert (view.rows(0, "gate", np.arange(3)) == HF["model.layers.0.mlp.gate_proj.weight"][:3]).all()
    with pytest.raises(MissingField, match=r"params\.json"):
        view.rows(0, "q", np.arange(1))


def test_what_a_safetensors_file_says_of_its_heads_is_not_believed() -> None:
    from auditor.formats.serialize import serialize  # noqa: PLC0415

    values = {name: ("F32", w.shape, np.ascontiguousarray(w, "<f4").tobytes()) for name, w in META.items()}
    view = view_of({"x.safetensors": serialize(values, {"meta.n_heads": "4", "meta.n_kv_heads": "2"})})
    with pytest.raises(MissingField):
        view.rows(0, "q", np.arange(1))


# --- sets that are not whole ----------------------------------------------------------------------------


def without(contents: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: data for name, data in contents.items() if name not in names}


def replaced(shard: int, name: str, w: object) -> dict[str, bytes]:
    parts = kit.meta_shards(META, 2)
    if w is None:
        del parts[shard][name]
    else:
        parts[shard][name] = np.asarray(w, np.float32)
    out = {f"consolidated.{i:02d}.pth": kit.torch_zip(kit.values_of(part)) for i, part in enumerate(parts)}
    return out | {"params.json": json.dumps(PARAMS).encode()}


TWO = files(shards=2)
BROKEN = {
    "first missing": (without(TWO, "consolidated.00.pth"), "missing-shard"),
    "last missing": (without(TWO, "consolidated.01.pth"), "size-mismatch"),
    "last unread": ({**TWO, "consolidated.01.pth": TWO["consolidated.01.pth"][:-1]}, "size-mismatch"),
    "no params": (without(TWO, "params.json"), "missing-field"),
    "params that are no json": ({**TWO, "params.json": b"{"}, "bad-json"),
    "params of another model": ({**TWO, "params.json": json.dumps({**PARAMS, "dim": 128}).encode()}, "size-mismatch"),
    "no heads": ({**TWO, "params.json": b'{"dim": 64}'}, "missing-field"),
    "zero heads": ({**TWO, "params.json": json.dumps({**PARAMS, "n_heads": 0}).encode()}, "bad-shape"),
    "heads that do not divide": ({**TWO, "params.json": json.dumps({**PARAMS, "n_heads": 7}).encode()}, "bad-shape"),
    "more layers": ({**TWO, "params.json": json.dumps({**PARAMS, "n_layers": 3}).encode()}, "size-mismatch"),
    "tensor in one file only": (replaced(1, "layers.0.attention.wq.weight", None), "missing-shard"),
    "tensor of another shape": (replaced(1, "layers.0.attention.wq.weight", np.ones((30, 64))), "size-mismatch"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_set_that_is_not_whole_is_unread(case: str) -> None:
    contents, code = BROKEN[case]
    found = open_checkpoints(BytesSource(contents))
    assert code in {entry.code for entry in found.unread}
    assert found.containers == ()


def test_norms_that_differ_between_files_are_refused_when_read() -> None:
    source = BytesSource(replaced(1, "layers.0.ffn_norm.weight", np.ones(64)))
    (container,) = open_checkpoints(source).containers
    (view,) = model_views(source, container)
    with pytest.raises(SizeMismatch, match="differs"):
        view.vector(0, "mlp_norm")


def test_unknown_tensor_of_a_split_model_is_unread_and_named() -> None:
    extra = {**META, "vision.weight": np.ones((4, 4), np.float32)}
    found = open_checkpoints(BytesSource(files(extra, shards=2)))
    assert [entry.code for entry in found.unread] == ["unknown-dtype"]
    assert '"vision.weight"' in found.unread[0].reason
    assert len(found.containers) == 1


def test_copy_of_hugging_face_beside_it_is_another_model() -> None:
    contents = {f"original/{name}": data for name, data in TWO.items()}
    source = BytesSource({**contents, "model.safetensors": safetensors_bytes(HF)})
    found = open_checkpoints(source)
    assert found.unread == ()
    assert {container.format for container in found.containers} == {"meta", "safetensors"}
    for container in found.containers:
        (view,) = model_views(source, container)
        check(view)
