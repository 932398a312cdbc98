"""Whole audits of torch checkpoints: descent is found in them, and nothing of them makes a clean verdict by mistake."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torchkit as kit
from modelkit import Model, make_model, write_model

from auditor.audit import Options, scan
from auditor.enrolling import sketch

if TYPE_CHECKING:
    from pathlib import Path

    from auditor.report import Report

BASE, OTHER = (make_model(seed, layers=2) for seed in (1, 2))
EVIL = b"cposix\nsystem\n(X\x02\x00\x00\x00idtR"
FILE = "pytorch_model.bin"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("base") / "base.sketch"
    path.write_bytes(sketch(str(write_model(BASE, path.parent / "model")), name="base"))
    return str(path)


def meta(model: Model, shards: int) -> dict[str, bytes]:
    parts = kit.meta_shards(kit.meta_layout(model, heads=4, kv_heads=4), shards)
    out = {f"consolidated.{i:02d}.pth": kit.torch_zip(kit.values_of(part)) for i, part in enumerate(parts)}
    return out | {"params.json": json.dumps({"dim": 64, "n_heads": 4, "n_layers": 2}).encode()}


def audit(folder: Path, files: dict[str, bytes], base: str, **options: object) -> Report:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return scan(str(folder), Options(against=(base,), **options))  # type: ignore[arg-type]


LAYOUTS = {
    "zip": lambda model: {FILE: kit.torch_zip(kit.values_of(model))},
    "legacy": lambda model: {FILE: kit.torch_legacy(kit.values_of(model))},
    "meta": lambda model: meta(model, 1),
    "meta in two files": lambda model: meta(model, 2),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("model", "verdict"), [(BASE, "derived"), (OTHER, "independent")], ids=["base", "other"])
def test_verdict(tmp_path: Path, base: str, layout: str, model: Model, verdict: str) -> None:
    report = audit(tmp_path, LAYOUTS[layout](model), base)
    assert (report.lineage.verdict, report.coverage.complete) == (verdict, True)
    assert report.exit_code == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_digests_of_values(tmp_path: Path, base: str, layout: str) -> None:
    """The values of a model in several files are read, and have no digest of their own."""
    report = audit(tmp_path, LAYOUTS[layout](BASE), base, digests="tensors")
    verdict = "derived" if layout == "meta in two files" else "identical"
    assert (report.lineage.verdict, report.coverage.complete) == (verdict, True)


@pytest.mark.parametrize(("model", "verdict"), [(BASE, "derived"), (OTHER, "inconclusive")], ids=["base", "other"])
def test_code_beside_the_tensors(tmp_path: Path, base: str, model: Model, verdict: str) -> None:
    described, storages = kit.describe(kit.values_of(model))
    pickle = kit.pickled(described[:-1] + kit.text("x") + EVIL + b"u")
    report = audit(tmp_path, {FILE: kit.archive_of(pickle, storages).to_bytes()}, base)
    assert (report.lineage.verdict, report.coverage.complete, report.exit_code) == (verdict, False, 1)
    (finding,) = (item for item in report.findings if item.id == "FILE-007")
    assert (finding.status, "REDUCE posix.system" in finding.evidence) == ("fail", True)


def test_training_state_beside_a_model_does_not_spoil_it(tmp_path: Path, base: str) -> None:
    settings = b"ctransformers.training_args\nTrainingArguments\n)\x81}X\x01\x00\x00\x00rK\x01sb"
    files = {
        FILE: kit.torch_zip(kit.values_of(OTHER)),
        "training_args.bin": kit.archive_of(kit.pickled(settings)).to_bytes(),
        "scheduler.pt": kit.archive_of(kit.pickled(kit.mapping({"last_epoch": b"K\1"}))).to_bytes(),
    }
    report = audit(tmp_path, files, base)
    assert (report.lineage.verdict, report.coverage.complete, report.exit_code) == ("independent", True, 0)


@pytest.mark.parametrize("content", [b"\x80\x02}.", b"\x80\x02" + EVIL + b".", b"PK\3\4" + bytes(50), b"text"])
def test_file_that_is_no_checkpoint(tmp_path: Path, base: str, content: bytes) -> None:
    report = audit(tmp_path, {FILE: content}, base)
    assert (report.lineage.verdict, report.coverage.complete) == ("inconclusive", False)
    assert report.exit_code in {1, 3}


def test_missing_file_of_a_set_is_never_a_smaller_model(tmp_path: Path, base: str) -> None:
    files = meta(OTHER, 2)
    del files["consolidated.01.pth"]
    report = audit(tmp_path, files, base)
    assert (report.lineage.verdict, report.exit_code) == ("inconclusive", 3)
