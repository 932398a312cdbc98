"""Families among swept models: found without any enrolled ancestor, and nobody else's relatives among them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clikit import Commands
from modelkit import drifted, make_model, write_model

from auditor.sources.hub_settings import HubSettings

if TYPE_CHECKING:
    from modelkit import Model

SHAPE = {"layers": 4, "hidden": 64, "neurons": 96}


def model(seed: int) -> Model:
    return make_model(seed, **SHAPE)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    """A list of two families of three and two, a loner, a model of another shape, and what is no model."""
    monkeypatch.chdir(tmp_path)
    offline = HubSettings(endpoint="https://huggingface.co", cache=tmp_path, offline=True)
    monkeypatch.setattr(HubSettings, "current", staticmethod(lambda: offline))
    models = {
        "a": model(1),
        "loner": model(9),
        "a-tuned": drifted(model(1), cosine=0.9),
        "b": model(2),
        "a-far": drifted(drifted(model(1), cosine=0.9), cosine=0.7, seed=5),
        "b-tuned": drifted(model(2), cosine=0.5, seed=6),  # the same noise would make them relatives, as it did once
        "other-shape": make_model(1, layers=4, hidden=48, neurons=96),
    }
    for name, made in models.items():
        write_model(made, Path(name))
    Path("empty").mkdir()
    Path("list.txt").write_text("\n".join([*models, "empty"]))
    return Commands(capsys, monkeypatch)


def test_families_are_found_without_an_ancestor(run: Commands) -> None:
    run("sweep", "run", "list.txt", "--store", "s.db", "--workers", "2")
    found = run("sweep", "families", "--store", "s.db", "-f", "json").json
    by_name = {member["target"]: member for member in found}
    assert set(by_name) == {"a", "loner", "a-tuned", "b", "a-far", "b-tuned", "other-shape"}
    families: dict[int, set[str]] = {}
    for member in found:
        families.setdefault(member["family"], set()).add(member["target"])
        assert member["size"] == len([m for m in found if m["family"] == member["family"]])
    assert list(families.values())[:2] == [{"a", "a-tuned", "a-far"}, {"b", "b-tuned"}]
    assert {"loner"} in families.values()
    assert {"other-shape"} in families.values()
    assert by_name["a-far"]["nearest"]["target"] == "a-tuned"
    assert by_name["a-tuned"]["nearest"]["log10_p"] < -12
    assert by_name["b-tuned"]["nearest"]["cosine"] == pytest.approx(0.5, abs=0.08)
    assert by_name["loner"]["nearest"] is None
    shown = run("sweep", "families", "--store", "s.db")
    assert "a-far: like a-tuned, cosine 0.7" in shown.out


def test_what_was_not_kept_or_is_damaged_is_left_out(run: Commands) -> None:
    run("sweep", "run", "list.txt", "--store", "none.db", "--no-families")
    assert run("sweep", "families", "--store", "none.db", "-f", "json").json == []
    run("sweep", "run", "list.txt", "--store", "s.db")
    with sqlite3.connect("s.db") as store:
        store.execute("UPDATE result SET compact = x'00' WHERE id = (SELECT min(id) FROM result WHERE compact NOTNULL)")
    assert len(run("sweep", "families", "--store", "s.db", "-f", "json").json) == 6
