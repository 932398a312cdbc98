"""An audit that hashes every value tells a copy from one that only looks like it where it was sampled."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import derive
import jsonschema
import numpy as np
import pytest
from ggufkit import gguf_bytes, gguf_tensors, llama_gguf
from modelkit import drifted, make_model, safetensors_bytes, write_model
from reportkit import rendered
from typer.testing import CliRunner

from auditor.audit import Options, audit, scan
from auditor.cli import app
from auditor.enrolling import sketch
from auditor.lineage.references import load_sketch_file
from auditor.report.schema import load_schema

if TYPE_CHECKING:
    from pathlib import Path

    from auditor.report import Report

BASE = {
    name: (np.ascontiguousarray(w, "<f4").view("<u4") & 0xFFFF0000).view("<f4") for name, w in make_model(1).items()
}
UNSAMPLED = "model.layers.2.self_attn.v_proj.weight"
"""A matrix that no comparison reads."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(BASE, tmp_path_factory.mktemp("full") / "base")


@pytest.fixture(scope="module")
def base_sketch(base: Path) -> Path:
    path = base.parent / "base.sketch"
    path.write_bytes(sketch(str(base), name="base"))
    return path


@pytest.fixture
def saved_again(tmp_path: Path) -> Path:
    """Return the base in shards, in bfloat16, with a card beside it."""
    return derive.write(BASE, tmp_path / "again", shards=3, texts={"README.md": "# Again\n"})


def full(target: Path, *against: Path) -> Report:
    return scan(str(target), Options(against=tuple(map(str, against)), digests="tensors"))


def verdict(report: Report) -> tuple[str, str]:
    """Return the verdict, and the kind of the best candidate's relation."""
    best = report.lineage.best
    assert best is not None
    assert best.relation is not None
    return report.lineage.verdict, best.relation.kind


def test_a_copy_in_other_files_is_identical_to_the_folder(saved_again: Path, base: Path) -> None:
    report = full(saved_again, base)
    assert verdict(report) == ("identical", "copy")
    assert report.lineage.best is not None
    assert (report.lineage.best.verdict, report.lineage.best.reference) == ("identical", str(base))
    assert report.lineage.candidates[0] == report.lineage.best
    assert report.exit_code == 0


def test_a_copy_in_other_files_is_identical_to_the_sketch(saved_again: Path, base_sketch: Path) -> None:
    provenance = load_sketch_file(base_sketch).provenance
    assert provenance is not None
    assert len(provenance.weights or "") == 64
    assert verdict(full(saved_again, base_sketch)) == ("identical", "copy")


def test_a_gguf_of_it_is_identical(tmp_path: Path, base: Path, base_sketch: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(llama_gguf(BASE))
    assert verdict(full(path, base)) == verdict(full(path, base_sketch)) == ("identical", "copy")


def test_without_every_value_a_copy_stays_derived(saved_again: Path, base: Path) -> None:
    for digests in ("known", "files"):
        report = scan(str(saved_again), Options(against=(str(base),), digests=digests))
        assert verdict(report) == ("derived", "copy")


def test_one_value_that_no_sample_sees(tmp_path: Path, base: Path, base_sketch: Path) -> None:
    changed = BASE | {UNSAMPLED: BASE[UNSAMPLED].copy()}
    changed[UNSAMPLED][5, 5] += 1
    target = write_model(changed, tmp_path / "m")
    assert verdict(full(target, base)) == verdict(full(target, base_sketch)) == ("derived", "copy")


def test_a_fine_tune_and_another_model(tmp_path: Path, base: Path) -> None:
    assert verdict(full(write_model(drifted(BASE, cosine=0.9), tmp_path / "m"), base)) == ("derived", "modified")
    assert full(write_model(make_model(2), tmp_path / "n"), base).lineage.verdict == "independent"


def test_the_identical_one_of_two_references(tmp_path: Path, base: Path, saved_again: Path) -> None:
    changed = BASE | {UNSAMPLED: -BASE[UNSAMPLED]}
    near = write_model(changed, tmp_path / "near")
    for against in ((near, base), (base, near)):
        report = full(saved_again, *against)
        assert verdict(report) == ("identical", "copy")
        assert report.lineage.best is not None
        assert report.lineage.best.reference == str(base)
        assert sorted(c.verdict for c in report.lineage.candidates) == ["derived", "identical"]


def test_every_file_has_its_computed_digest_and_is_counted(saved_again: Path, base: Path) -> None:
    quick, hashed = (scan(str(saved_again), Options(against=(str(base),), digests=d)) for d in ("known", "tensors"))
    on_disk = {path.name: path.read_bytes() for path in saved_again.iterdir()}
    assert {info.path: (info.sha256, info.digest_source) for info in hashed.target.files} == {
        name: (hashlib.sha256(data).hexdigest(), "computed") for name, data in on_disk.items()
    }
    assert {info.sha256 for info in quick.target.files} == {None}
    every_byte = sum(map(len, on_disk.values()))
    assert hashed.coverage.bytes_read - quick.coverage.bytes_read == every_byte
    assert hashed.coverage.complete


def test_the_report_validates(saved_again: Path, base: Path) -> None:
    document = json.loads(rendered("json", full(saved_again, base)))
    jsonschema.validate(document, load_schema())
    assert document["lineage"]["verdict"] == "identical"
    assert {file["digest_source"] for file in document["target"]["files"]} == {"computed"}


def test_an_unknown_row_order_costs_the_values_and_not_the_audit(tmp_path: Path, base: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes(gguf_tensors(BASE, heads=4), {"general.architecture": "llama"}))
    done = audit(str(path), Options(against=(str(base),), digests="tensors"))
    assert verdict(done.report) == ("derived", "copy")
    assert done.report.target.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_full_on_the_command_line(saved_again: Path, base_sketch: Path) -> None:
    arguments = ["scan", str(saved_again), "--against", str(base_sketch), "--format", "json"]
    reports = [json.loads(CliRunner().invoke(app, [*arguments, *more]).stdout) for more in ([], ["--full"])]
    assert [report["lineage"]["verdict"] for report in reports] == ["derived", "identical"]
    text = CliRunner().invoke(app, [*arguments[:-2], "--full"])
    assert text.exit_code == 0
    assert text.stdout.startswith("IDENTICAL")


def test_a_changed_copy_beside_the_identical_one_is_not_called_identical(tmp_path: Path, base: Path) -> None:
    changed = BASE | {UNSAMPLED: -BASE[UNSAMPLED]}
    target = tmp_path / "m"
    (target / "a").mkdir(parents=True)
    (target / "z").mkdir()
    (target / "a" / "model.safetensors").write_bytes(safetensors_bytes(changed))
    (target / "z" / "model.safetensors").write_bytes(safetensors_bytes(BASE))
    report = full(target, base)
    assert {c.model: c.verdict for c in report.lineage.candidates} == {
        "a/model.safetensors": "derived",
        "z/model.safetensors": "identical",
    }
