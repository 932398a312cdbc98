"""`auditor digest`: what it prints, for people and for programs, and how it ends."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from ggufkit import gguf_bytes, gguf_tensors, llama_gguf
from modelkit import make_model, write_model
from typer.testing import CliRunner

from auditor.cli import app

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

BASE = make_model(1, layers=2)


def digest(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["digest", *map(str, arguments)])


def as_json(*arguments: str | Path) -> dict[str, Any]:
    done = digest(*arguments, "--format", "json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "b").write_bytes(b"bee")
    (folder / "a.b").write_bytes(b"ab")
    (folder / "sub" / "c").write_bytes(b"")
    (folder / ".gitignore").write_bytes(b"left out")
    return folder


SHA256 = {name: hashlib.sha256(data).hexdigest() for name, data in (("a.b", b"ab"), ("b", b"bee"), ("sub/c", b""))}
ROOT = hashlib.sha256(b"".join(map(bytes.fromhex, SHA256.values()))).hexdigest()


def test_a_line_for_each_file_as_sha256sum_writes_it_and_the_root(model: Path) -> None:
    done = digest(model)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [*(f"{sha256}  {name}" for name, sha256 in SHA256.items()), f"{ROOT}  root"]
    assert done.stderr == ""


def test_json(model: Path) -> None:
    assert as_json(model) == {
        "uri": str(model),
        "root": ROOT,
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": [".cache/huggingface", ".git", ".gitattributes", ".github", ".gitignore", "model.sig"],
        },
        "files": [{"path": name, "sha256": sha256, "digest_source": "computed"} for name, sha256 in SHA256.items()],
        "tensors": [],
        "weights": {},
        "unread": [],
    }


def test_a_single_file(model: Path) -> None:
    done = digest(model / "b")
    assert done.exit_code == 0
    root = hashlib.sha256(bytes.fromhex(SHA256["b"])).hexdigest()
    assert done.stdout == f"{SHA256['b']}  b\n{root}  root\n"


# --- tensors --------------------------------------------------------------------------------------------


def test_tensors_and_weights(tmp_path: Path) -> None:
    sharded = as_json("--tensors", write_model(BASE, tmp_path / "sharded", shards=2))
    (tmp_path / "m.gguf").write_bytes(llama_gguf(BASE))
    converted = as_json("--tensors", tmp_path / "m.gguf")
    assert {entry["name"] for entry in sharded["tensors"]} == set(BASE)
    assert {entry["file"] for entry in sharded["tensors"]} == {f"model-0000{i}-of-00002.safetensors" for i in (1, 2)}
    assert list(sharded["weights"]) == ["model-00001-of-00002.safetensors"]
    assert list(converted["weights"]) == ["m.gguf"]
    assert list(sharded["weights"].values()) == list(converted["weights"].values())
    assert sharded["root"] != converted["root"]
    values = {entry["name"]: entry["values"] for entry in converted["tensors"]}
    assert values["token_embd.weight"] in {entry["values"] for entry in sharded["tensors"]}


def test_tensors_as_text(tmp_path: Path) -> None:
    path = write_model(BASE, tmp_path / "m")
    found = as_json("--tensors", path)
    lines = digest("--tensors", path).stdout.splitlines()
    assert lines[0].endswith("  model.safetensors")
    assert lines[1:-2] == [f"{entry['values']}  model.safetensors: {entry['name']}" for entry in found["tensors"]]
    assert lines[-2:] == [
        f"{found['weights']['model.safetensors']}  weights of model.safetensors",
        f"{found['root']}  root",
    ]


def test_without_tensors_none_are_read(tmp_path: Path) -> None:
    found = as_json(write_model(BASE, tmp_path / "m"))
    assert (found["tensors"], found["weights"]) == ([], {})


# --- what could not be hashed ---------------------------------------------------------------------------


def test_links_out_and_fifos_are_named_and_the_rest_is_hashed(model: Path) -> None:
    (model / "out").symlink_to("/etc/passwd")
    os.mkfifo(model / "fifo")
    done = digest(model)
    assert done.exit_code == 3
    assert done.stdout.splitlines()[-1] == f"{ROOT}  root"
    assert done.stderr.splitlines() == [
        "auditor: fifo: file: neither a regular file nor a folder (found a FIFO)",
        "auditor: out: symbolic link: a path that leaves the target (found /etc/passwd)",
    ]
    found = digest(model, "-f", "json")
    assert found.exit_code == 3
    assert [(entry["path"], entry["code"]) for entry in json.loads(found.stdout)["unread"]] == [
        ("fifo", "not-regular-file"),
        ("out", "unsafe-path"),
    ]


def test_weights_that_cannot_be_parsed_are_hashed_and_named(model: Path) -> None:
    (model / "broken.safetensors").write_bytes(b"\xff" * 16)
    assert digest(model).exit_code == 0  # every byte was hashed
    done = digest("--tensors", model)
    assert done.exit_code == 3
    assert f"{hashlib.sha256(bytes([255] * 16)).hexdigest()}  broken.safetensors\n" in done.stdout
    assert done.stderr.startswith("auditor: broken.safetensors: ")
    assert done.stderr.count("\n") == 1


def test_a_model_of_unknown_row_order_is_named_and_hashed(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes(gguf_tensors(BASE, heads=4)))
    done = digest("--tensors", path)
    assert done.exit_code == 3
    assert done.stdout.count("\n") == 2
    assert "general.architecture" in done.stderr


# --- manners --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("no/such/target",), (), (".", "--format", "xml"), (".", "--nope")])
def test_no_target_or_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    done = digest(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""


def test_control_characters_never_reach_the_terminal(tmp_path: Path) -> None:
    names = ["a\x1b[31m", "b\nroot", "c\u202egnp", "d\x7f"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "e\x1b]0;x\x07").symlink_to("/etc/\x1b[2J")
    done = digest(tmp_path)
    assert done.exit_code == 3
    empty = hashlib.sha256().hexdigest()
    assert done.stdout.splitlines()[:-1] == [
        f"{empty}  {shown}" for shown in ("a\\x1b[31m", "b\\nroot", "c\\u202egnp", "d\\x7f")
    ]
    for text in (done.stdout, done.stderr, digest(tmp_path, "-f", "json").stdout):
        assert not {"\x1b", "\u202e", "\x07", "\x7f"} & set(text)
    assert [entry["path"] for entry in json.loads(digest(tmp_path, "-f", "json").stdout)["files"]] == sorted(names)


def test_tensor_names_are_escaped(tmp_path: Path) -> None:
    write_model(BASE | {"x\x1b[31m\n": BASE["model.norm.weight"]}, tmp_path / "m")
    done = digest("--tensors", tmp_path / "m")
    assert "  model.safetensors: x\\x1b[31m\\n\n" in done.stdout
    assert "\x1b" not in done.stdout


def test_nothing_is_written(model: Path) -> None:
    before = sorted(model.rglob("*"))
    digest(model, "--tensors")
    assert sorted(model.rglob("*")) == before
