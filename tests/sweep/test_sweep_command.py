"""`auditor sweep` at the command line: what it refuses before anything begins, what it says, and how it ends."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from attestkit import write_sketch, write_tuned
from clikit import Commands
from modelkit import make_model, write_model
from sweepkit import held

from auditor.sources.hub_settings import HubSettings


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.chdir(tmp_path)
    offline = HubSettings(endpoint="https://huggingface.co", cache=tmp_path, offline=True)
    monkeypatch.setattr(HubSettings, "current", staticmethod(lambda: offline))
    write_sketch(Path("base.sketch"))
    Path("list.txt").write_text("tuned\nother  # a comment\n")
    return Commands(capsys, monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.txt"], "nothing.txt: cannot be read: No such file or directory"),
        (["list.txt", "--shard", "0/2"], "--shard 0/2: write 1/4 for the first of four parts"),
        (["list.txt", "--shard", "3/2"], "--shard 3/2"),
        (["list.txt", "-a", "lama-2-7b"], "lama-2-7b"),
        (["list.txt", "--policy", "nothing.toml"], "nothing.toml"),
        (["list.txt", "--tag", "x"], "says nothing of tags"),
        (["hf:acme/*", "--updated-since", "soon"], "--updated-since soon: write 2026-11-02"),
        (["hf:acme/*"], "offline mode is on"),
        (["hf:acme"], "all models of an organisation are hf:org/*"),
    ],
)
def test_what_cannot_work_is_one_line_and_no_store(run: Commands, arguments: list[str], said: str) -> None:
    done = run("sweep", "run", *arguments, "--store", "s.db")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err
    assert not Path("s.db").exists()


@pytest.mark.parametrize(
    "command", [["status"], ["export", "--jsonl", "x"], ["report", "-o", "x"], ["merge", "nothing.db"]]
)
def test_a_store_that_is_not_there(run: Commands, command: list[str]) -> None:
    name, *rest = command
    done = run("sweep", name, *rest, "--store", "none.db" if name != "merge" else "new.db")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "there is no such store" in done.err
    assert not Path("none.db").exists()
    assert not Path("x").exists()


def test_an_export_into_nothing_and_a_merge_into_itself(run: Commands) -> None:
    assert run("sweep", "export", "--store", "s.db").code == 2
    done = run("sweep", "merge", "s.db", "./s.db", "--store", "s.db")
    assert (done.code, done.err) == (2, "auditor: s.db: a store is not merged into itself\n")


@pytest.mark.slow
def test_a_list_is_swept_shown_and_exported(run: Commands) -> None:
    write_tuned(Path("tuned"))
    write_model(make_model(2, layers=2, hidden=32, neurons=48), Path("other"))
    again = ["sweep", "run", "list.txt", "--store", "s.db", "-a", "base.sketch"]
    done = run(*again)
    assert (done.code, done.out) == (0, "")
    assert "targets    2: 2 done" in done.err
    assert held(Path("s.db")).verdicts == {"tuned": ("derived", "base"), "other": ("independent", None)}
    done = run("sweep", "status", "--store", "s.db", "-f", "json")
    assert done.json["verdicts"] == {"derived": 1, "independent": 1}
    assert (done.json["ended"], done.json["driver"]) == (True, None)
    assert "unchanged  2" in run(*again).err
    assert sqlite3.connect("s.db").execute("SELECT count(*) FROM round").fetchone() == (2,)

    assert run("sweep", "export", "--store", "s.db", "--jsonl", "o.jsonl", "--sarif", "o.sarif").code == 0
    rows = [json.loads(line) for line in Path("o.jsonl").read_text().splitlines()]
    scanned = run("scan", "tuned", "-a", "base.sketch", "-f", "json").json
    for report in (rows[0]["report"], scanned):
        report["coverage"]["seconds"] = 0
    assert rows[0]["report"] == scanned  # a sweep says what a scan says
    done = run("sweep", "report", "--store", "s.db", "-o", "pages")
    assert (done.code, done.err) == (0, "pages/index.html: 1 page\n")
    assert len(list(Path("pages/targets").iterdir())) == 2


@pytest.mark.slow
def test_findings_failures_and_what_is_unfinished_decide_the_exit_code(run: Commands) -> None:
    write_tuned(Path("tuned"))
    Path("list.txt").write_text("tuned\nnowhere\n")
    done = run("sweep", "run", "list.txt", "--store", "s.db", "-a", "base.sketch", "--workers", "1")
    assert done.code == 3
    assert "failed: target: nowhere: no such file or folder" in done.err
    Path("tuned/config.json").write_text('{"auto_map": {"AutoModel": "modeling.X"}}')
    done = run(
        "sweep", "run", "list.txt", "--store", "s.db", "-a", "base.sketch", "--fail-on", "warn", "--workers", "1"
    )
    assert done.code == 1


@pytest.mark.slow
def test_attestations_of_a_list_are_verified(run: Commands) -> None:
    write_tuned(Path("tuned"))
    assert run("keygen", "-o", "me", "--no-passphrase").code == 0
    assert run("attest", "tuned", "--key", "me.key", "-o", "t.sigstore.json", "-a", "base.sketch").code == 0
    Path("list.yaml").write_text("- {target: tuned, attestation: t.sigstore.json, key: me.pub}\n")
    again = ["sweep", "run", "list.yaml", "--store", "s.db", "-a", "base.sketch", "--workers", "1"]
    assert run(*again).code == 0
    Path("tuned/README.md").write_text("changed after it was signed")
    assert run(*again).code == 1
    assert held(Path("s.db")).states == {"tuned": "done"}
