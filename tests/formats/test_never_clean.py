"""From end to end: what could not be read never gives a clean verdict, and never hides descent."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from ggufkit import gguf_bytes, llama_gguf
from modelkit import make_model, safetensors_bytes, write_model

from auditor.audit import Options, scan
from auditor.enrolling import sketch
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelkit import Model

    from auditor.report import Report

BASE, OTHER = (make_model(seed, layers=2) for seed in (1, 2))
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("base") / "base.sketch"
    path.write_bytes(sketch(str(write_model(BASE, path.parent / "model")), name="base"))
    return str(path)


def audit(target: Path, base: str) -> Report:
    return scan(str(target), Options(against=(base,), depth="quick"))


def put(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def link(name: str, goal: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).symlink_to(goal)


def sparse(folder: Path) -> None:
    (folder / "blob").write_bytes(b"\1")
    os.truncate(folder / "blob", LIMITS.unknown_binary + 1)


def unsupported_type(folder: Path) -> None:
    """A model whose MLP is in a type that is not decoded."""
    matrix = {"dtype": "F4", "shape": [96, 64], "data_offsets": [0, 96 * 32]}
    second = {**matrix, "data_offsets": [96 * 32, 2 * 96 * 32]}
    header = json.dumps({"layers.0.mlp.gate_proj.weight": matrix, "layers.0.mlp.up_proj.weight": second}).encode()
    (folder / "f4").mkdir()
    content = len(header).to_bytes(8, "little") + header + bytes(2 * 96 * 32)
    (folder / "f4" / "x.safetensors").write_bytes(content)


def many_layers(folder: Path) -> None:
    (folder / "deep").mkdir()
    tiny = np.ones((1, 1), np.float32)
    names = [f"layers.{i}.mlp.{role}_proj.weight" for i in range(LIMITS.layers + 1) for role in ("gate", "up")]
    (folder / "deep" / "x.safetensors").write_bytes(safetensors_bytes(dict.fromkeys(names, tiny)))


def many_models(folder: Path) -> None:
    (folder / "many").mkdir()
    tiny = np.ones((1, 1), np.float32)
    names = [f"{i}.layers.0.mlp.{role}_proj.weight" for i in range(LIMITS.models + 1) for role in ("gate", "up")]
    (folder / "many" / "x.safetensors").write_bytes(safetensors_bytes(dict.fromkeys(names, tiny)))


def same_place_twice(folder: Path) -> None:
    (folder / "twice").mkdir()
    tiny = np.ones((1, 1), np.float32)
    names = ["layers.0.mlp.gate_proj.weight", "layers.0.mlp.up_proj.weight", "blk.0.ffn_gate.weight"]
    (folder / "twice" / "x.safetensors").write_bytes(safetensors_bytes(dict.fromkeys(names, tiny)))


BESIDE = {
    "pickle": (put("pytorch_model.bin", b"\x80\x04."), "pytorch_model.bin"),
    "pickle named safetensors": (put("extra.safetensors", b"\x80\x04."), "extra.safetensors"),
    "pickle named gguf": (put("extra.gguf", b"\x80\x04."), "extra.gguf"),
    "pickle without a mark": (put("extra.safetensors", b"cos\nsystem\n."), "extra.safetensors"),
    "zip": (put("weights", b"PK\3\4" + bytes(100)), "weights"),
    "onnx": (put("model.onnx", b"\x08\x07"), "model.onnx"),
    "broken gguf": (put("extra.gguf", b"GGUF"), "extra.gguf"),
    "broken safetensors": (put("extra.safetensors", b"\xff" * 100), "extra.safetensors"),
    "empty safetensors": (put("extra.safetensors", b""), "extra.safetensors"),
    "git lfs pointer": (put("x.safetensors", b"version https://git-lfs.github.com/spec/v1\n"), "x.safetensors"),
    "part of a split": (put("m-00001-of-00002.gguf", gguf_bytes({})), "m-00001-of-00002.gguf"),
    "large unknown binary": (sparse, "blob"),
    "link out": (link("extra.safetensors", "../other/model.safetensors"), "extra.safetensors"),
    "link to a device": (link("extra.safetensors", "/dev/zero"), "extra.safetensors"),
    "link loop": (link("extra.safetensors", "extra.safetensors"), "extra.safetensors"),
    "dangling link": (link("extra.safetensors", "absent"), "extra.safetensors"),
    "folder linked in": (link("weights", "../other"), "weights"),
    "fifo": (lambda folder: os.mkfifo(folder / "extra.safetensors"), "extra.safetensors"),
    "name that is not text": (put(os.fsdecode(b"\xff.safetensors"), b""), "\\xff.safetensors"),
    "broken index": (put("x.safetensors.index.json", b"{"), "x.safetensors.index.json"),
    "index that leads out": (
        put("x.safetensors.index.json", b'{"weight_map": {"a": "../other/model.safetensors"}}'),
        "x.safetensors.index.json",
    ),
    "type that is not decoded": (unsupported_type, "f4/x.safetensors"),
    "too many layers": (many_layers, "deep/x.safetensors"),
    "too many models": (many_models, "many/x.safetensors"),
    "two tensors in one place": (same_place_twice, "twice/x.safetensors"),
}


def check(report: Report, unread: str) -> None:
    found = report.as_dict()
    coverage = found["coverage"]
    assert isinstance(coverage, dict)
    assert unread in {entry["path"] for entry in coverage["unread"]}
    assert coverage["complete"] is False
    assert found["exit_code"] == (1 if any(finding.status == "fail" for finding in report.findings) else 3)
    assert report.lineage.verdict != "independent"
    json.dumps(found).encode()


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize(("model", "verdict"), [(BASE, "derived"), (OTHER, "independent")], ids=["base", "other"])
def test_benign_twin(tmp_path: Path, base: str, model: Model, verdict: str, shards: int) -> None:
    report = audit(write_model(model, tmp_path / "model", shards=shards), base)
    assert (report.lineage.verdict, report.exit_code, report.coverage.complete) == (verdict, 0, True)


@pytest.mark.parametrize("case", BESIDE)
@pytest.mark.parametrize("model", [BASE, OTHER], ids=["derived", "unrelated"])
def test_unread_beside_a_whole_model(tmp_path: Path, base: str, model: Model, case: str) -> None:
    write_model(OTHER, tmp_path / "other")
    folder = write_model(model, tmp_path / "model")
    act, path = BESIDE[case]
    act(folder)
    report = audit(folder, base)
    check(report, path)
    assert report.lineage.verdict == ("derived" if model is BASE else "inconclusive")


class Broken(NamedTuple):
    act: Callable[[Path], object]
    unread: tuple[str, ...]


WITHIN = {
    "shard missing": Broken(lambda folder: (folder / TWO).unlink(), (INDEX,)),
    "shard cut": Broken(lambda folder: os.truncate(folder / TWO, 1000), (INDEX, TWO)),
    "shard empty": Broken(put(TWO, b""), (INDEX, TWO)),
    "shard is a pickle": Broken(put(TWO, b"\x80\x04."), (INDEX, TWO)),
    "index gone and shard missing": Broken(lambda folder: [(folder / name).unlink() for name in (INDEX, TWO)], (ONE,)),
    "index not of these shards": Broken(put(INDEX, json.dumps({"weight_map": {"x": ONE}}).encode()), (INDEX,)),
    "index of absent files": Broken(put(INDEX, json.dumps({"weight_map": {"x": "y.safetensors"}}).encode()), (INDEX,)),
}


@pytest.mark.parametrize("case", WITHIN)
@pytest.mark.parametrize("model", [BASE, OTHER], ids=["derived", "unrelated"])
def test_model_of_which_a_part_is_unread(tmp_path: Path, base: str, model: Model, case: str) -> None:
    folder = write_model(model, tmp_path / "model", shards=2)
    act, unread = WITHIN[case]
    act(folder)
    report = audit(folder, base)
    for path in unread:
        check(report, path)


def test_what_is_left_of_a_broken_set_still_shows_descent(tmp_path: Path, base: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    layers = {name: w for name, w in BASE.items() if ".layers.0." in name or ".layers.1." in name}
    (folder / ONE).write_bytes(safetensors_bytes(layers))
    (folder / TWO).write_bytes(b"")
    report = audit(folder, base)
    check(report, TWO)
    assert report.lineage.verdict == "derived"


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"GGUF", b"\xff" * 64, b"PK\3\4"])
def test_single_broken_file(tmp_path: Path, base: str, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    report = audit(path, base)
    check(report, path.name)
    assert report.lineage.verdict == "inconclusive"


@pytest.mark.parametrize("files", [{}, {"README.md": b"# Nothing here"}, {"config.json": b"{}"}])
def test_nothing_to_read_is_no_clean_verdict(tmp_path: Path, base: str, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    report = audit(tmp_path, base)
    assert report.coverage.complete  # nothing was left unread, and nothing was tested
    assert report.lineage.verdict == "inconclusive"
    assert report.exit_code == 3


def test_gguf_of_the_same_model_is_derived(tmp_path: Path, base: str) -> None:
    (tmp_path / "model.gguf").write_bytes(llama_gguf(BASE))
    report = audit(tmp_path, base)
    assert report.lineage.verdict == "derived"
    assert report.exit_code == 0


def test_misnamed_file_is_read_and_fails(tmp_path: Path, base: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(llama_gguf(BASE))
    report = audit(tmp_path, base)
    assert report.lineage.verdict == "derived"
    assert report.exit_code == 1
