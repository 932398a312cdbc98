"""Digests of a real model's weights: the same in every container, width and number of files."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import derive
import numpy as np
import pytest
import smollm2
from modelkit import write_model

from auditor.audit import Options, scan
from auditor.hashing import TargetDigests, digest_target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from derive import Model

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def path() -> Path:
    return smollm2.fetch()


@pytest.fixture(scope="module")
def model(path: Path) -> Model:
    return derive.load(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("real")
    yield path
    shutil.rmtree(path)  # 2 GB


@pytest.fixture(scope="module")
def in_float32(model: Model, folder: Path) -> Path:
    return write_model(model, folder / "float32", shards=3)


def digests(path: Path) -> TargetDigests:
    found = digest_target(str(path), tensors=True)
    assert found.unread == ()
    return found


def weights(path: Path) -> str:
    (digest,) = digests(path).weights.values()
    return digest


def test_quantised_gguf_and_its_float32_safetensors_have_the_same_weights(path: Path, in_float32: Path) -> None:
    found = digests(path)
    assert [resource.sha256 for resource in found.manifest.resources] == [smollm2.SHA256]
    assert list(found.weights.values()) == [weights(in_float32)]
    assert found.manifest.root != digests(in_float32).manifest.root


def test_every_tensor_of_the_file_has_a_digest_of_its_own(path: Path) -> None:
    found = digests(path)
    assert len(found.tensors) == 2 + 30 * 9  # embeddings and final norm; layers
    assert len(set(found.tensors.values())) == len(found.tensors)


def test_bfloat16_in_one_file_and_in_four(model: Model, folder: Path, in_float32: Path) -> None:
    whole, sharded = derive.write(model, folder / "one"), derive.write(model, folder / "four", shards=4)
    assert weights(whole) == weights(sharded)
    assert weights(whole) != weights(in_float32)  # bfloat16 rounds what Q4_1 holds
    for info in digests(sharded).manifest.resources:
        with (sharded / info.name).open("rb") as file:
            assert info.sha256 == hashlib.file_digest(file, "sha256").hexdigest()


def test_the_audit_says_identical_and_after_one_bit_derived(
    model: Model, path: Path, in_float32: Path, folder: Path
) -> None:
    options = Options(against=(str(path),), digests="tensors", licence=False)
    assert scan(str(in_float32), options).lineage.verdict == "identical"
    name = "model.layers.17.self_attn.v_proj.weight"
    changed = model | {name: model[name].copy()}
    changed[name].view(np.uint32)[3, 3] ^= 1
    assert scan(str(write_model(changed, folder / "changed")), options).lineage.verdict == "derived"
