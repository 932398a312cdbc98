"""Files that belong together: indexes on a real file system, content against names, what is left unread."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ggufkit import gguf_bytes

from auditor.formats import Checkpoints, open_checkpoints
from auditor.formats.serialize import serialize
from auditor.formats.sniff import HEAD_BYTES
from auditor.limits import LIMITS
from auditor.sources import BytesSource, LocalSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from auditor.findings import Finding
    from auditor.sources import Range

INDEX = "model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
PICKLE = b"\x80\x04\x95\x14\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."


def tensors(*names: str, metadata: Mapping[str, str] | None = None) -> bytes:
    return serialize(dict.fromkeys(names, ("U8", (2,), b"ab")), metadata)


def index(weight_map: Mapping[str, object]) -> bytes:
    return json.dumps({"metadata": {}, "weight_map": weight_map}).encode()


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def read(folder: Path) -> Checkpoints:
    return open_checkpoints(LocalSource(folder))


def files(found: Checkpoints) -> list[tuple[str, ...]]:
    return [container.files for container in found.containers]


def names(found: Checkpoints) -> set[str]:
    return {entry.name for container in found.containers for entry in container.tensors}


def unread(found: Checkpoints) -> dict[str, str]:
    return {entry.path: entry.code for entry in found.unread}


def finding(found: Checkpoints, rule: str) -> Finding:
    (chosen,) = (item for item in found.findings if item.id == rule)
    return chosen


def statuses(found: Checkpoints) -> dict[str, str]:
    return {item.id: item.status for item in found.findings}


SHARDED = {INDEX: index({"a": ONE, "b": TWO}), ONE: tensors("a"), TWO: tensors("b")}
CLEAN = {"FILE-001": "pass", "FILE-002": "pass", "FILE-004": "pass", "FILE-007": "n/a", "FILE-008": "n/a"}


# --- an index and its shards ----------------------------------------------------------------------------


def test_sharded(tmp_path: Path) -> None:
    found = read(write(tmp_path, SHARDED))
    assert files(found) == [(ONE, TWO)]
    assert found.unread == ()
    assert statuses(found) == CLEAN


def test_index_in_a_subfolder_and_shards_below_it(tmp_path: Path) -> None:
    shards = {f"x/{INDEX}": index({"a": "parts/1.safetensors"}), "x/parts/1.safetensors": tensors("a")}
    found = read(write(tmp_path, shards))
    assert files(found) == [("x/parts/1.safetensors",)]
    assert statuses(found) == CLEAN
    write(tmp_path, {"x/parts/2.safetensors": tensors("hidden")})
    assert finding(read(tmp_path), "FILE-001").status == "warn"


def test_missing_shard(tmp_path: Path) -> None:
    found = read(write(tmp_path, {name: SHARDED[name] for name in (INDEX, ONE)}))
    assert unread(found)[INDEX] == "missing-shard"
    assert names(found) == {"a"}  # evidence, not a whole
    assert finding(found, "FILE-001").status == "n/a"


@pytest.mark.parametrize("broken", [b"", b"\x08", SHARDED[TWO][:-1], PICKLE, b"PK\3\4" + bytes(60)])
def test_one_broken_shard(tmp_path: Path, broken: bytes) -> None:
    """The index is unread and so is the shard; the other shard is still read."""
    found = read(write(tmp_path, {**SHARDED, TWO: broken}))
    assert set(unread(found)) == {TWO, INDEX}
    assert files(found) == [(ONE,)]
    (reason,) = (entry.reason for entry in found.unread if entry.path == INDEX)
    assert "could not be read" in reason
    assert TWO in reason


def test_tensor_not_in_its_shard(tmp_path: Path) -> None:
    found = read(write(tmp_path, {**SHARDED, INDEX: index({"a": ONE, "b": TWO, "c": TWO})}))
    assert unread(found) == {INDEX: "index-mismatch"}
    assert names(found) == {"a", "b"}


def test_tensor_that_the_index_leaves_out(tmp_path: Path) -> None:
    found = read(write(tmp_path, {**SHARDED, TWO: tensors("b", "hidden")}))
    assert unread(found) == {INDEX: "index-mismatch"}
    assert names(found) == {"a", "b", "hidden"}


def test_unlisted_tensor_in_a_file_of_its_own(tmp_path: Path) -> None:
    found = read(write(tmp_path, {**SHARDED, "extra.safetensors": tensors("hidden")}))
    assert found.unread == ()
    assert statuses(found) == {**CLEAN, "FILE-001": "warn"}
    assert finding(found, "FILE-001").evidence == "weights that no index names: extra.safetensors"
    assert files(found) == [(ONE, TWO), ("extra.safetensors",)]  # audited too


def test_empty_index(tmp_path: Path) -> None:
    found = read(write(tmp_path, {INDEX: index({})}))
    assert found.containers == found.unread == ()
    write(tmp_path, {ONE: tensors("a"), TWO: tensors("b")})
    assert finding(read(tmp_path), "FILE-001").status == "warn"


def test_extra_file_in_another_folder_is_not_beside_the_index(tmp_path: Path) -> None:
    found = read(write(tmp_path, {**SHARDED, "other/extra.safetensors": tensors("hidden")}))
    assert statuses(found) == CLEAN
    assert ("other/extra.safetensors",) in files(found)


def test_long_lists_are_cut(tmp_path: Path) -> None:
    extra = {f"extra-{i:03d}.safetensors": tensors(f"x{i}") for i in range(20)}
    evidence = finding(read(write(tmp_path, {**SHARDED, **extra})), "FILE-001").evidence
    assert evidence.endswith("extra-004.safetensors; and 15 more")


def test_single_file_and_index_that_disagree(tmp_path: Path) -> None:
    found = read(write(tmp_path, {**SHARDED, "model.safetensors": tensors("a", "b")}))
    assert statuses(found) == {**CLEAN, "FILE-001": "fail", "FILE-002": "fail"}
    assert finding(found, "FILE-002").evidence == (
        f'loaders may pick different weights: "a" is in {INDEX}, model.safetensors'
    )
    assert files(found) == [(ONE, TWO), ("model.safetensors",)]  # both are audited


def test_two_single_files_that_hold_the_same_names(tmp_path: Path) -> None:
    colliding = {"model.safetensors": tensors("a", "b"), "model.fp16.safetensors": tensors("b", "c")}
    found = read(write(tmp_path, colliding))
    assert files(found) == [("model.fp16.safetensors",), ("model.safetensors",)]
    assert statuses(found) == {**CLEAN, "FILE-001": "n/a", "FILE-002": "fail"}


def test_same_names_in_two_folders_are_no_clash(tmp_path: Path) -> None:
    found = read(write(tmp_path, {"model.safetensors": tensors("a"), "fp16/model.safetensors": tensors("a")}))
    assert len(found.containers) == 2
    assert finding(found, "FILE-002").status == "pass"


def test_evidence_shows_no_more_than_a_line_of_a_hostile_name(tmp_path: Path) -> None:
    name = "n" * 100_000
    found = read(write(tmp_path, {"a.safetensors": tensors(name), "b.safetensors": tensors(name)}))
    assert len(finding(found, "FILE-002").evidence) < 300


def test_two_indexes_of_the_same_shards_are_one_model(tmp_path: Path) -> None:
    found = read(write(tmp_path, {**SHARDED, "copy.safetensors.index.json": SHARDED[INDEX]}))
    assert files(found) == [(ONE, TWO)]
    assert statuses(found) == CLEAN


def test_two_indexes_that_share_a_shard(tmp_path: Path) -> None:
    found = read(write(tmp_path, {**SHARDED, "part.safetensors.index.json": index({"a": ONE})}))
    assert sorted(files(found)) == [(ONE,), (ONE, TWO)]
    assert finding(found, "FILE-002").status == "fail"


def test_shards_of_one_index_that_hold_a_name_twice(tmp_path: Path) -> None:
    found = read(write(tmp_path, {**SHARDED, TWO: tensors("a", "b")}))
    assert unread(found) == {INDEX: "index-mismatch"}


def test_index_of_pickles(tmp_path: Path) -> None:
    bad = {INDEX: index({"a": "model-00001-of-00001.bin"}), "model-00001-of-00001.bin": PICKLE}
    found = read(write(tmp_path, bad))
    assert unread(found) == {INDEX: "unsupported-format", "model-00001-of-00001.bin": "unsupported-format"}


def test_index_of_torch_files_whose_shard_is_another_pickle(tmp_path: Path) -> None:
    bad = {"pytorch_model.bin.index.json": index({"a": "x.bin"}), "x.bin": PICKLE}
    found = read(write(tmp_path, bad))
    assert unread(found) == {"x.bin": "unsupported-format", "pytorch_model.bin.index.json": "missing-shard"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"weight_map": []}', b"\xff", b"[" * 100_000])
def test_broken_index(tmp_path: Path, content: bytes) -> None:
    found = read(write(tmp_path, {**SHARDED, INDEX: content}))
    assert set(unread(found)) == {INDEX}
    assert files(found) == [(ONE, TWO)]  # they complete each other


# --- an index that leads elsewhere ----------------------------------------------------------------------

OUTSIDE = "tensor-from-outside"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model folder beside which a valid shard lies that must never be read."""
    write(tmp_path, {"outside/x.safetensors": tensors(OUTSIDE), "x.safetensors": tensors(OUTSIDE)})
    return write(tmp_path / "model", {ONE: tensors("a")})


def spellings(folder: Path) -> dict[str, str]:
    absolute = str(folder.parent / "x.safetensors")
    return {
        "relative": "../x.safetensors",
        "through a folder": "../outside/x.safetensors",
        "through itself": "../model/../x.safetensors",
        "absolute": absolute,
        "absolute, doubled": "/" + absolute,
        "home": "~/x.safetensors",
        "backslash": "..\\x.safetensors",
        "percent encoded": "%2e%2e/x.safetensors",
        "percent encoded slash": "..%2fx.safetensors",
        "url": f"file://{absolute}",
        "nul": "../x.safetensors\0.safetensors",
        "inside a shard's folder": f"{ONE}/../../x.safetensors",
    }


@pytest.mark.parametrize("spelling", spellings(Path("/parent/model")))
def test_traversal_to_a_valid_shard(model: Path, monkeypatch: pytest.MonkeyPatch, spelling: str) -> None:
    shard = spellings(model)[spelling]
    write(model, {INDEX: index({"a": ONE, OUTSIDE: shard})})
    opened: list[str] = []
    original = os.open

    def noting(path: str | Path, *arguments: int) -> int:
        opened.append(os.path.realpath(path))
        return original(path, *arguments)

    monkeypatch.setattr(os, "open", noting)
    found = read(model)
    assert INDEX in unread(found)
    assert names(found) == {"a"}
    assert OUTSIDE not in str(found.containers) + str(found.findings)
    assert set(opened) == {str(model.resolve() / name) for name in (INDEX, ONE)}


def test_benign_twin_of_the_traversals(model: Path) -> None:
    shard = {"sub/x.safetensors": tensors("b")}
    found = read(write(model, {INDEX: index({"a": ONE, "b": "sub/x.safetensors"}), **shard}))
    assert files(found) == [(ONE, "sub/x.safetensors")]
    assert found.unread == ()


def link_out(path: Path) -> None:
    path.symlink_to("../x.safetensors")


def link_loop(path: Path) -> None:
    path.symlink_to(path.name)


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_nothing(path: Path) -> None:
    path.symlink_to("absent")


@pytest.mark.parametrize("act", [link_out, link_loop, link_to_device, link_to_nothing, os.mkfifo])
def test_shard_that_is_no_file_of_the_target(model: Path, act: Callable[[Path], None]) -> None:
    act(model / TWO)
    found = read(write(model, {INDEX: index({"a": ONE, OUTSIDE: TWO})}))
    assert set(unread(found)) == {INDEX, TWO}
    assert names(found) == {"a"}


def test_shard_behind_a_link_inside(model: Path) -> None:
    write(model, {"real/weights": tensors("b"), INDEX: index({"a": ONE, "b": TWO})})
    (model / TWO).symlink_to("real/weights")
    found = read(model)
    assert (ONE, TWO) in files(found)
    assert found.unread == ()


def test_shard_that_changes_after_listing(model: Path) -> None:
    source = LocalSource(write(model, {INDEX: index({"a": ONE})}))
    (model / ONE).unlink()
    (model / ONE).symlink_to("../x.safetensors")
    found = open_checkpoints(source)
    assert unread(found) == {ONE: "changed", INDEX: "missing-shard"}
    assert found.containers == ()


# --- content against names ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "model.gguf", "pytorch_model.bin", "weights"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_renamed_pickle(tmp_path: Path, name: str, protocol: int) -> None:
    found = read(write(tmp_path, {name: b"\x80" + bytes([protocol]) + PICKLE[2:]}))
    assert unread(found) == {name: "unsupported-format"}
    assert "a pickle" in found.unread[0].reason
    assert "STACK_GLOBAL posix.system at byte 28" in finding(found, "FILE-007").evidence


@pytest.mark.parametrize("name", ["model.safetensors", "model.gguf"])
@pytest.mark.parametrize("content", [b"cposix\nsystem\n(S'id'\ntR.", b"<html>Not found</html>", b"\0" * 64, b""])
def test_anything_else_renamed(tmp_path: Path, name: str, content: bytes) -> None:
    found = read(write(tmp_path, {name: content}))
    assert set(unread(found)) == {name}
    assert found.containers == ()


GGUF = gguf_bytes({"w": (0, (2,), bytes(8))}, {"general.architecture": "llama"})


def test_gguf_named_safetensors(tmp_path: Path) -> None:
    found = read(write(tmp_path, {"model.safetensors": GGUF}))
    assert [container.format for container in found.containers] == ["gguf"]
    assert found.unread == ()
    assert finding(found, "FILE-004").status == "fail"
    assert finding(found, "FILE-004").evidence == "by content: model.safetensors is a gguf file"


def test_safetensors_named_gguf(tmp_path: Path) -> None:
    found = read(write(tmp_path, {"model.gguf": tensors("a")}))
    assert [container.format for container in found.containers] == ["safetensors"]
    assert found.unread == ()
    assert finding(found, "FILE-004").status == "fail"


def test_gguf_as_a_shard(tmp_path: Path) -> None:
    found = read(write(tmp_path, {**SHARDED, TWO: GGUF}))
    assert unread(found) == {TWO: "unsupported-format"}
    assert {container.format for container in found.containers} == {"safetensors", "gguf"}


def test_weights_that_call_themselves_an_index(tmp_path: Path) -> None:
    found = read(write(tmp_path, {INDEX: tensors("a")}))
    assert files(found) == [(INDEX,)]
    assert finding(found, "FILE-004").status == "fail"


def test_safetensors_without_a_suffix(tmp_path: Path) -> None:
    found = read(write(tmp_path, {"d7edf6bd": tensors("a")}))
    assert files(found) == [("d7edf6bd",)]
    assert statuses(found) == {**CLEAN, "FILE-001": "n/a"}


IGNORED = {
    "README.md": b"# A model\n",
    "LICENSE": b"Apache License\n",
    "config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer.model": b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02" + bytes(500_000),
    "logo.png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    ".gitattributes": b"*.safetensors filter=lfs\n",
    "empty": b"",
    "modeling.py": b"import os\n",
}


def test_files_of_no_format_are_ignored(tmp_path: Path) -> None:
    found = read(write(tmp_path, IGNORED))
    assert found.containers == found.unread == ()
    assert statuses(found) == {**CLEAN, "FILE-001": "n/a", "FILE-002": "n/a"}
    assert len(files(read(write(tmp_path, SHARDED)))) == 1


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.onnx", "w.pt", "w.ckpt", "flax_model.msgpack", "x.npz"])
@pytest.mark.parametrize("content", [b"", b"just text", bytes(100)])
def test_names_of_weights_are_unread(tmp_path: Path, name: str, content: bytes) -> None:
    found = read(write(tmp_path, {**SHARDED, name: content}))
    assert unread(found) == {name: "unsupported-format"}
    assert files(found) == [(ONE, TWO)]


@pytest.mark.parametrize("size", [LIMITS.unknown_binary, LIMITS.unknown_binary + 1, 1 << 40])
def test_large_unknown_binary(tmp_path: Path, size: int) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"\x01\x02\x03")
    os.truncate(path, size)
    assert unread(read(tmp_path)) == ({"blob": "unsupported-format"} if size > LIMITS.unknown_binary else {})


def test_pointer_of_git_lfs(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9976578928\n"
    found = read(write(tmp_path, {"model.safetensors": pointer}))
    assert "Git LFS pointer" in found.unread[0].reason


# --- files without an index -----------------------------------------------------------------------------


def test_two_loose_shards_are_joined(tmp_path: Path) -> None:
    found = read(write(tmp_path, {ONE: tensors("a"), TWO: tensors("b")}))
    assert files(found) == [(ONE, TWO)]
    assert found.unread == ()


def test_a_loose_shard_that_says_it_is_one_of_two(tmp_path: Path) -> None:
    found = read(write(tmp_path, {ONE: tensors("a")}))
    assert unread(found) == {ONE: "missing-shard"}
    assert files(found) == [(ONE,)]


def test_sharded_and_gguf_beside_are_two_models(tmp_path: Path) -> None:
    found = read(write(tmp_path, {**SHARDED, "model.Q4_1.gguf": GGUF}))
    assert files(found) == [(ONE, TWO), ("model.Q4_1.gguf",)]
    assert statuses(found) == CLEAN


def test_splits_of_llama_cpp(tmp_path: Path) -> None:
    def part(number: int, name: str) -> bytes:
        keys = {"split.no": number, "split.count": 2, "split.tensors.count": 2}
        return gguf_bytes({name: (0, (2,), bytes(8))}, {"general.architecture": "llama"} | keys if not number else keys)

    first, second = "m-00001-of-00002.gguf", "m-00002-of-00002.gguf"
    found = read(write(tmp_path, {first: part(0, "a"), second: part(1, "b")}))
    assert files(found) == [(first, second)]
    assert found.containers[0].metadata["general.architecture"] == "llama"
    assert found.unread == ()
    (tmp_path / first).unlink()
    found = read(tmp_path)
    assert unread(found) == {second: "missing-shard"}


def test_single_file_as_target(tmp_path: Path) -> None:
    write(tmp_path, SHARDED)
    assert files(read(tmp_path / ONE)) == [(ONE,)]
    assert unread(read(tmp_path / ONE)) == {ONE: "missing-shard"}


# --- reading --------------------------------------------------------------------------------------------


class Noting(BytesSource):
    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__(contents)
        self.ranges: list[tuple[str, Range]] = []

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        self.ranges += [(path, range_) for range_ in ranges]
        return super().read(path, ranges)


@pytest.mark.parametrize("count", [1, 100])
def test_no_tensor_data_is_read_and_nothing_twice(count: int) -> None:
    large = serialize({f"tensor-{i}": ("U8", (1 << 14,), bytes(1 << 14)) for i in range(count)})
    source = Noting({"model.safetensors": large, "config.json": b"{}" * 100_000, "x.onnx": bytes(100_000)})
    open_checkpoints(source)
    header = 8 + int.from_bytes(large[:8], "little")
    taken = {path: sum(r.stop - r.start for p, r in source.ranges if p == path) for path, _ in source.ranges}
    assert taken.pop("model.safetensors") == max(HEAD_BYTES, header)
    assert taken == {"config.json": HEAD_BYTES, "x.onnx": HEAD_BYTES}


def test_an_unindexed_file_that_shares_names_is_graver_than_one_beside_it(tmp_path: Path) -> None:
    # Mistral ships consolidated.safetensors, under other names, beside its index: a warning, not a failure.
    found = read(write(tmp_path / "beside", {**SHARDED, "consolidated.safetensors": tensors("layers.0.x")}))
    assert finding(found, "FILE-001").status == "warn"
    found = read(write(tmp_path / "shared", {**SHARDED, "model.safetensors": tensors("a")}))
    assert finding(found, "FILE-001").status == "fail"
