"""Supporting evidence: it says what was tested, and what cannot be tested raises nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelkit import make_model, safetensors_bytes
from referencekit import SHAPE, pin_lines, shards, stand_in, write_library
from scipy import stats

from auditor.formats import open_checkpoints
from auditor.lineage.known import load_known
from auditor.lineage.sketch import Sketch, sketch_model
from auditor.lineage.supporting import (
    Evidence,
    column_agreement,
    config_agreement,
    known_files,
    norm_gains,
    outlier,
    shape_of,
    super_weight,
    supporting_evidence,
    tokenizer_agreement,
)
from auditor.model import ModelView, model_views
from auditor.sources import BytesSource, FileInfo

if TYPE_CHECKING:
    from pathlib import Path

    from modelkit import Model

    from auditor.lineage.references import Reference

DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    return stand_in(write_library(tmp_path / "library", pin_lines(shards())))


def view_of(model: Model) -> ModelView:
    source = BytesSource({"model.safetensors": safetensors_bytes(model)})
    (view,) = model_views(source, open_checkpoints(source).containers[0])
    return view


def with_norms(seed: int, *, like: Model | None = None, noise: float = 1.0) -> Model:
    """Draw a model with norm gains, near those of another where given."""
    model, rng = make_model(seed), np.random.default_rng(seed)
    for name, w in model.items():
        if w.ndim == 1:
            drawn = 1 + 0.1 * rng.standard_normal(w.shape)
            model[name] = (drawn if like is None else like[name] + noise * (drawn - 1)).astype(np.float32)
    return model


def sketch_of(model: Model) -> Sketch:
    return sketch_model(view_of(model), name="llama-2-7b", norms=True)


# super weights


def test_a_super_weight_stands_out(reference: Reference) -> None:
    model = make_model(1)
    model[DOWN][5, 7] = -2.0
    found = super_weight(view_of(model), reference, (1, 5, 7))
    assert found.value is not None
    assert found.value > 50
    assert found.log10_p == pytest.approx(np.log10(1 / 96))
    assert "number 1 of 96 in its row and 1 of 16 rows read in its column" in found.text


def test_without_one_nothing_stands_out(reference: Reference) -> None:
    model = make_model(1)
    model[DOWN][5, 7] = 0.0
    found = super_weight(view_of(model), reference, (1, 5, 7))
    assert (found.value, found.log10_p) == (0.0, 0.0)


@pytest.mark.parametrize("coordinate", [(1, 0, 0), (1, 63, 95)])
def test_corners(reference: Reference, coordinate: tuple[int, int, int]) -> None:
    model = make_model(1)
    model[DOWN][coordinate[1:]] = 3.0
    found = super_weight(view_of(model), reference, coordinate)
    assert "number 1 of 96" in found.text


def test_few_rows_are_read(reference: Reference) -> None:
    class Counting(BytesSource):
        read_bytes = 0

        def read(self, path, ranges):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            parts = super().read(path, ranges)
            self.read_bytes += sum(map(len, parts))
            return parts

    source = Counting({"model.safetensors": safetensors_bytes(make_model(1))})
    (view,) = model_views(source, open_checkpoints(source).containers[0])
    source.read_bytes = 0
    super_weight(view, reference, (1, 5, 7))
    assert source.read_bytes == 16 * 96 * 4


def test_what_cannot_be_tested_says_why(reference: Reference) -> None:
    model = make_model(1)
    assert "no such matrix" in super_weight(view_of(model), reference, (9, 5, 7)).text
    small = view_of(make_model(1, hidden=32))
    assert "the matrix is 32 x 96, not the reference's" in super_weight(small, reference, (1, 5, 7)).text
    model[DOWN][5] = 0
    assert "no finite values other than zero" in super_weight(view_of(model), reference, (1, 5, 7)).text
    model[DOWN][5] = np.nan
    assert super_weight(view_of(model), reference, (1, 5, 7)).value is None


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 40), st.floats(1e-30, 1e30))
def test_ranks_are_ranks_at_any_scale(seed: int, k: int, n: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((k, n)).astype(np.float64)
    row, column = int(rng.integers(k)), int(rng.integers(n))
    found, scaled = outlier(rows, row=row, column=column), outlier(rows * scale, row=row, column=column)
    assert found is not None
    assert scaled is not None
    assert (found.rank, found.n, found.column_rank) == (scaled.rank, scaled.n, scaled.column_rank)
    assert found.rank == int((np.abs(rows[row]) >= abs(rows[row, column])).sum())
    assert 1 <= found.column_rank <= k
    assert found.times_usual == pytest.approx(scaled.times_usual)


# norm gains


def test_gains_of_a_descendant_and_of_a_stranger() -> None:
    base = with_norms(1)
    near = norm_gains(view_of(with_norms(2, like=base, noise=0.5)), sketch_of(base))
    far = norm_gains(view_of(with_norms(3)), sketch_of(base))
    assert near.value is not None
    assert near.value > 15
    assert far.value is not None
    assert abs(far.value) < 4
    assert near.text.startswith("norm gains of 4 layers correlate by 0.")


def test_permuted_dimensions_lose_it() -> None:
    base = with_norms(1)
    order = np.random.default_rng(0).permutation(64)
    moved = {name: w[order] if w.ndim == 1 else w for name, w in base.items()}
    found = norm_gains(view_of(moved), sketch_of(base))
    assert found.value is not None
    assert abs(found.value) < 4


def test_gains_that_cannot_be_compared() -> None:
    base = with_norms(1)
    assert "constant" in norm_gains(view_of(make_model(2)), sketch_of(base)).text
    assert "no layer" in norm_gains(view_of(make_model(2, hidden=32)), sketch_of(base)).text
    assert "no layer" in norm_gains(view_of(base), replace(sketch_of(base), norms=None)).text
    bare = {name: w for name, w in base.items() if w.ndim == 2}
    assert sketch_of(bare).norms == {}


def test_layers_are_compared_by_number() -> None:
    base = with_norms(1)
    fewer = {name: w for name, w in base.items() if ".layers.3." not in name}
    found = norm_gains(view_of(fewer), sketch_of(base))
    assert "of 3 layers correlate by 1.000" in found.text


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_mean_and_variance_under_permutations_are_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 3, 5))
    found = []
    for _ in range(400):
        agreement = column_agreement(a, b[:, rng.permutation(5)])
        assert agreement is not None
        found.append(agreement.z)
    assert np.mean(found) == pytest.approx(0, abs=0.25)
    assert np.std(found) == pytest.approx(1, abs=0.25)


def test_one_row_is_pearsons_correlation() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 30))
    found = column_agreement([a], [b])
    assert found is not None
    expected = stats.pearsonr(a, b).statistic
    assert found.correlation == pytest.approx(expected)
    assert found.z == pytest.approx(expected * np.sqrt(29))


@pytest.mark.parametrize("bad", [np.zeros(6), np.full(6, 7.3e20), np.array([np.nan] * 6), np.array([np.inf] + [0] * 5)])
def test_rows_that_say_nothing_are_left_out(bad: np.ndarray) -> None:  # type: ignore[type-arg]
    good = np.arange(6.0)
    assert column_agreement([bad], [good]) is None
    found = column_agreement([bad, good], [good, good])
    assert found is not None
    assert (found.rows, found.correlation) == (1, pytest.approx(1))


# config, tokenizer, known files


def test_config(reference: Reference) -> None:
    same = config_agreement(reference, **SHAPE)
    assert same.value == 1.0
    assert same.text == "4 of 4 shape fields agree: independent models share shapes, so this is no evidence of descent"
    other = config_agreement(reference, **SHAPE | {"vocabulary": 51})
    assert other.value == 0.75
    assert "vocabulary 51, not 50" in other.text
    unknown = config_agreement(reference, layers=None, hidden_size=None, neurons=None, vocabulary=None)
    assert (unknown.value, unknown.text[:24]) == (None, "0 of 0 shape fields agree"[:24])


def test_shapes_are_the_tensors() -> None:
    assert shape_of(view_of(make_model(1))) == SHAPE
    bare = {name: w for name, w in make_model(1).items() if "embed" not in name}
    assert shape_of(view_of(bare))["vocabulary"] is None
    mixed = make_model(1) | {"model.layers.0.mlp.gate_proj.weight": np.ones((3, 64), np.float32)}
    assert set(shape_of(view_of(mixed)).values()) == {None}


def test_tokenizers_and_known_files() -> None:
    known = load_known()
    sha256 = "9e556afd44213b6bd1be2b850ebbbd98f5481437a8021afaf58ee7fb1818d347"
    tokenizer = FileInfo(path="tokenizer.model", size=499_723, sha256=sha256, digest_source="hub")
    (piece,) = tokenizer_agreement([tokenizer], known)
    assert piece.kind == "tokenizer"
    assert piece.reference is None
    assert "no evidence of descent" in piece.text
    assert known_files(known.match([tokenizer])) == ()
    chat = "632fa75f94b46960de3caf623e79b1d0a4c8564b39a5faacbb8c1fdbd9ba3f52"  # in one source only
    weights = FileInfo(path="q.gguf", size=1, sha256=chat, digest_source="hub")
    (piece,) = known_files(known.match([weights]))
    assert (piece.kind, piece.reference) == ("known-file", "llama-2-7b-chat")
    assert "one source only" in piece.text


def test_all_together(reference: Reference) -> None:
    base = with_norms(1)
    pieces = supporting_evidence(view_of(base), reference, sketch_of(base))
    assert [piece.kind for piece in pieces] == ["config", "super-weight", "norm-gains"]
    assert [piece.kind for piece in supporting_evidence(view_of(base), reference)] == ["config", "super-weight"]
    for piece in pieces:
        assert isinstance(piece, Evidence)
        assert set(json.loads(json.dumps(piece.as_dict()))) == {"kind", "reference", "text", "value", "log10_p"}
