"""`auditor fix` as a user meets it: shown first, written on request, never outside the folder, and once."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from clikit import in_process as auditor
from modelkit import drifted, make_model, safetensors_bytes, write_model

from auditor.errors import UsageError
from auditor.fixing import apply_fixes
from auditor.writing import check_unchanged, locked, write_whole

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

BASE = make_model(1)
POLICY = """\
extends = "llama2"
name = "stand-in"
title = "Llama 2 Community License (a small model standing in)"
references = ["acme/base-*"]
repos = ["acme/base-*"]
families = []
base_example = "acme/base-7b"
"""
CARD = "---\r\n# ours\r\nlicense: 'apache-2.0'  # as the data\r\ntags:\r\n- a\r\n---\r\n# Tuned\r\n"
SENTENCE = "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Acme. All Rights Reserved."
DUE = {"NOT-001", "NOT-002", "CARD-001", "CARD-005", "BASE-001"}
OPTIONS = ("--against", "base.sketch", "--policy", "policy.toml")


def fix(work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return auditor("fix", "tuned", *OPTIONS, *arguments, cwd=work)


def statuses(work: Path) -> dict[str, str]:
    done = auditor("scan", "tuned", *OPTIONS, "--format", "json", cwd=work)
    return {finding["id"]: finding["status"] for finding in json.loads(done.stdout)["findings"]}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def sketch(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("base")
    write_model(BASE, folder / "base")
    done = auditor("sketch", "base", "-o", "base.sketch", "--name", "acme/base-7b", cwd=folder)
    assert done.returncode == 0, done.stderr
    return (folder / "base.sketch").read_bytes()


@pytest.fixture
def work(tmp_path: Path, sketch: bytes) -> Path:
    """A folder with a relicensed fine-tune `tuned`, the sketch of its base, and a policy that protects it."""
    (tmp_path / "base.sketch").write_bytes(sketch)
    (tmp_path / "policy.toml").write_text(POLICY)
    folder = write_model(drifted(BASE, cosine=0.9), tmp_path / "tuned")
    (folder / "README.md").write_bytes(CARD.encode())
    (folder / "notice.txt").write_text(f"Parts of Acme.\n\n{SENTENCE}\n")
    return tmp_path


def test_shown_and_not_written(work: Path) -> None:
    before = snapshot(work)
    done = fix(work)
    assert done.returncode == 1
    assert snapshot(work) == before
    assert "--- a/notice.txt\n+++ b/notice.txt\n@@ -1,3 +1,3 @@\n Parts of Acme.\n \n-Llama 2 is" in done.stdout
    assert "-license: 'apache-2.0'  # as the data\n+license: 'llama2'  # as the data\n" in done.stdout
    assert "+base_model: acme/base-7b\n+base_model_relation: finetune\n" in done.stdout
    assert "--- /dev/null\n+++ auditor.toml\n" in done.stdout
    assert done.stderr.startswith("basis      the weights share descent with acme/base-7b\n")
    assert "\nto do      LIC-001: Add the agreement" in done.stderr
    assert done.stderr.endswith("shown      and not written; --write makes these changes\n")


def test_written_and_then_there_is_nothing_to_do(work: Path) -> None:
    assert {rule for rule in DUE if statuses(work)[rule] == "fail"} == {"NOT-002", "CARD-001", "BASE-001"}
    before = snapshot(work)
    done = fix(work, "--write")
    assert done.returncode == 0, done.stderr
    assert "written    tuned/README.md: " in done.stderr
    assert done.stdout == fix_diff(done.stdout)
    after = snapshot(work)
    assert {path for path in after if before.get(path) != after[path]} == {
        "auditor.toml",
        "tuned/README.md",
        "tuned/notice.txt",
    }
    assert after["tuned/README.md"].decode() == (
        "---\r\n# ours\r\nlicense: 'llama2'  # as the data\r\nlicense_link: https://ai.meta.com/llama/license/\r\n"
        "tags:\r\n- a\r\nbase_model: acme/base-7b\r\nbase_model_relation: finetune\r\n---\r\n# Tuned\r\n"
    )
    assert {rule: statuses(work)[rule] for rule in DUE} == dict.fromkeys(DUE, "pass")
    again = fix(work, "--write")
    assert (again.returncode, again.stdout) == (0, "")
    assert snapshot(work) == after
    assert fix(work).returncode == 0


def fix_diff(text: str) -> str:
    """A diff and nothing else: standard output can be kept and read by tools."""
    return "".join(
        line for line in text.splitlines(keepends=True) if line.startswith(("---", "+++", "@@", " ", "+", "-"))
    )


def test_from_nothing_to_a_declared_model(work: Path) -> None:
    for name in ("README.md", "notice.txt"):
        (work / "tuned" / name).unlink()
    assert {rule for rule in DUE if statuses(work)[rule] == "fail"} == {"NOT-001", "CARD-005", "BASE-001"}
    assert fix(work, "--write").returncode == 0
    assert not {rule for rule, status in statuses(work).items() if status == "fail"} & DUE
    assert (work / "tuned" / "NOTICE").read_text().startswith("Llama 2 is licensed under the LLAMA 2")


def test_text_of_the_model_is_escaped(work: Path) -> None:
    (work / "tuned" / "README.md").write_text(
        "---\nlicense: mit  # \x1b]0;x\x07\u202e\nt: a\n---\n::warning::\x9b31m\r\n"
    )
    done = fix(work)
    assert done.returncode == 1
    assert "\\x1b]0;x" not in done.stdout  # YAML allows no such byte: the card is left to a person
    (work / "tuned" / "README.md").write_text("---\nlicense: mit  # \u202e\n---\nT\x1b[31m\x07\n")
    done = fix(work)
    assert "-license: mit  # \\u202e\n+license: llama2  # \\u202e\n" in done.stdout
    assert " T\\x1b[31m\\x07\n" in done.stdout
    assert not set(done.stdout + done.stderr) & {"\x1b", "\x07", "\x9b", "\u202e", "\r"}


@pytest.mark.parametrize("real_path", ["elsewhere.md", "tuned/real.md"], ids=["out of the target", "inside it"])
def test_links_are_not_written_through(work: Path, real_path: str) -> None:
    real = work / real_path
    real.write_bytes(CARD.encode())
    (work / "tuned" / "README.md").unlink()
    (work / "tuned" / "README.md").symlink_to(real)
    done = fix(work, "--write")
    assert done.returncode == 0
    assert real.read_bytes() == CARD.encode()
    assert (work / "tuned" / "README.md").is_symlink()
    assert "to do      README.md: " in done.stderr


def test_weights_under_a_text_s_name_are_not_touched(work: Path) -> None:
    weights = safetensors_bytes(make_model(5, layers=1, hidden=8, neurons=8))
    (work / "tuned" / "notice.txt").write_bytes(weights)
    done = fix(work, "--write")
    assert (work / "tuned" / "notice.txt").read_bytes() == weights
    assert done.returncode == 0


def test_no_settings_inside_the_target(work: Path) -> None:
    arguments = ("fix", ".", "--against", "../base.sketch", "--policy", "../policy.toml", "--write")
    done = auditor(*arguments, cwd=work / "tuned")
    assert done.returncode == 0, done.stderr
    assert not (work / "tuned" / "auditor.toml").exists()
    assert "run this outside the target" in done.stderr


def test_settings_that_are_there_are_kept(work: Path) -> None:
    (work / "auditor.toml").write_text("# mine\n")
    done = fix(work, "--write")
    assert done.returncode == 0
    assert (work / "auditor.toml").read_text() == "# mine\n"
    assert "only a person can state these; add them to auditor.toml" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fix", "tunde"), "tunde: no such file or folder; did you mean tuned?"),
        (("fix", "tuned/model.safetensors"), "tuned/model.safetensors: only a local folder can be put right"),
        (("fix", "tuned", "--policy", "llama9"), "llama9: no such policy or file"),
        (("fix", "tuned", "--against", "nothing"), "nothing: no such reference"),
    ],
)
def test_errors_are_one_line_and_exit_2(work: Path, arguments: tuple[str, ...], says: str) -> None:
    before = snapshot(work)
    done = auditor(*arguments, "--write", cwd=work)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("auditor: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert snapshot(work) == before


def test_help(work: Path) -> None:
    done = auditor("fix", "--help", cwd=work)
    assert done.returncode == 0
    assert "--write" in done.stdout


# Writing


def test_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_whole(path, b"1")
    path.chmod(0o640)
    write_whole(path, b"2")
    assert path.read_bytes() == b"2"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write_whole(tmp_path / "folder", b"1")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_paths_and_links_that_lead_out(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    (root / "link").symlink_to(other)
    (root / "dangling").symlink_to(other / "nothing")
    (root / "sub").mkdir()
    assert locked(root, "new") is locked(root, "sub/new") is None
    for path in ("link/x", "dangling", "../other/x", "/etc/x", "sub"):
        assert locked(root, path)
        with pytest.raises(UsageError, match="nothing was written"):
            check_unchanged(root, path, old=None)


def test_a_file_that_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    check_unchanged(tmp_path, "a", old=b"1")
    check_unchanged(tmp_path, "b", old=None)
    for path, old in (("a", b"2"), ("a", None), ("b", b"")):
        with pytest.raises(UsageError, match="changed since it was audited"):
            check_unchanged(tmp_path, path, old=old)


def test_nothing_is_written_when_one_file_changed(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from auditor.audit import Options  # noqa: PLC0415 (heavy; the other tests run it in a process)
    from auditor.fixing import plan_fixes  # noqa: PLC0415

    monkeypatch.chdir(work)
    found = plan_fixes("tuned", Options(against=("base.sketch",), policies=("policy.toml",)))
    (work / "tuned" / "README.md").write_text("mine")
    before = snapshot(work)
    with pytest.raises(UsageError, match=r"README\.md: it changed"):
        apply_fixes(work / "tuned", found)
    assert snapshot(work) == before
