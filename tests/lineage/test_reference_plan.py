"""Which references a scan uses, and which it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from modelkit import make_model, write_model
from referencekit import NAME, REPO, hub, pin_lines, shards, stand_in, write_library

from auditor.errors import BadReference, UsageError
from auditor.lineage.references import build_reference, find_reference, install_sketch, plan_references
from auditor.lineage.references import resolve_references as resolve

if TYPE_CHECKING:
    from pathlib import Path

    from auditor.lineage.references import ReferencePlan

FILES = shards()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_library(tmp_path / "library", pin_lines(FILES))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def build(folder: Path, cache: Path) -> None:
    reference = stand_in(folder)
    install_sketch(reference, build_reference(reference, hub(FILES), repo=REPO, tool_version="1"), cache=cache)


def names(plan: ReferencePlan) -> tuple[list[str], list[str], list[str]]:
    return [s.name for s in plan.sketches], [r.name for r in plan.missing], [r.name for r in plan.left_out]


def test_only_roots_that_fit_are_needed(folder: Path, cache: Path) -> None:
    plan = plan_references(hidden_sizes={64}, folder=folder, cache=cache)
    assert names(plan) == ([], [NAME], [f"{NAME}-chat", "llama-2-13b"])
    assert plan.missing[0].command == f"auditor references build {NAME}"
    assert plan.missing[0].repos == (REPO, "NousResearch/Llama-2-7b-hf")


def test_a_built_one_is_used(folder: Path, cache: Path) -> None:
    build(folder, cache)
    assert names(plan_references(hidden_sizes={64, 80}, folder=folder, cache=cache))[:2] == ([NAME], ["llama-2-13b"])
    assert names(plan_references(hidden_sizes={64}, folder=folder, cache=cache))[:2] == ([NAME], [])
    assert names(plan_references(hidden_sizes={32}, folder=folder, cache=cache))[:2] == ([], [])


def test_nothing_is_needed_where_there_is_no_model(folder: Path, cache: Path) -> None:
    assert names(plan_references(hidden_sizes=(), folder=folder, cache=cache))[:2] == ([], [])


def test_all_that_may_fit_where_the_width_is_not_known(folder: Path, cache: Path) -> None:
    assert names(plan_references(folder=folder, cache=cache))[1] == [NAME, "llama-2-13b"]


def test_an_optional_one_is_used_where_it_is_there(folder: Path, cache: Path) -> None:
    chat = find_reference(f"{NAME}-chat", folder=folder)
    data = build_reference(chat, hub(FILES), repo=f"{REPO}-chat", tool_version="1")
    install_sketch(chat, data, cache=cache)
    assert names(plan_references(hidden_sizes={64}, folder=folder, cache=cache))[:2] == ([f"{NAME}-chat"], [NAME])


def test_named_ones_are_missing_whatever_the_width(folder: Path, cache: Path) -> None:
    plan = plan_references((NAME, f"{NAME}-chat"), hidden_sizes={32}, folder=folder, cache=cache)
    assert names(plan) == ([], [NAME, f"{NAME}-chat"], [])
    build(folder, cache)
    plan = plan_references((f"{NAME}-chat", NAME), folder=folder, cache=cache)
    assert names(plan) == ([NAME], [f"{NAME}-chat"], [])


def test_paths_and_names_together(folder: Path, cache: Path, tmp_path: Path) -> None:
    model = write_model(make_model(3), tmp_path / "model")
    plan = plan_references((str(model), NAME), folder=folder, cache=cache)
    assert names(plan) == ([str(model)], [NAME], [])


def test_resolving_what_is_not_there(folder: Path, cache: Path) -> None:
    assert resolve((), folder=folder, cache=cache) == ()
    with pytest.raises(BadReference, match=f"run: auditor references build {NAME}"):
        resolve((NAME,), folder=folder, cache=cache)
    with pytest.raises(UsageError, match="did you mean"):
        resolve(("lama-2-7b",), folder=folder, cache=cache)
    build(folder, cache)
    assert [sketch.name for sketch in resolve((), folder=folder, cache=cache)] == [NAME]


def test_a_damaged_one_is_never_stepped_over(folder: Path, cache: Path) -> None:
    build(folder, cache)
    (path,) = cache.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadReference, match="sha256 is"):
        plan_references(hidden_sizes={64}, folder=folder, cache=cache)
    assert plan_references(hidden_sizes={32}, folder=folder, cache=cache).sketches == ()


def test_the_shipped_library(tmp_path: Path) -> None:
    def needed(*sizes: int) -> list[str]:
        return names(plan_references(hidden_sizes=sizes, cache=tmp_path))[1]

    assert needed(4096) == ["llama-2-7b"]
    assert needed(5120) == ["llama-2-13b"]
    assert needed(8192) == ["llama-2-70b", "codellama-34b"]
    assert needed(576) == []
