"""The library of references at the command line: made from a Hub or a folder, checked, handed on, and refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from deskkit import BASE, CARD, COMMAND, Desk
from llamakit import SHAPE, llama_7b
from loopback_hub import Answer, Sparse
from referencekit import MIRROR, NAME, REPO, pin_lines, shards

import auditor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loopback_hub import LoopbackHub, Request

pytest_plugins = ("deskfixtures",)

WRONG = "0" * 64


class Installed:
    """An installed package with a library of its own, run in processes of their own."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self._folder = folder
        package = Path(auditor.__file__).parent
        skip = shutil.ignore_patterns("_fingerprints")
        self._library = shutil.copytree(package, folder / "site" / "auditor", ignore=skip) / "_fingerprints"
        self._library.mkdir()
        shutil.copy(package.parent / "fingerprints" / "known_digests.csv", self._library)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        self._environment = kept | {
            "PYTHONPATH": str(folder / "site"),
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(folder / "home"),
            "NO_PROXY": "127.0.0.1",
        }

    def pin(self, digests: Mapping[str, tuple[str, int]]) -> None:
        shape = "".join(f"{key} = {value}\n" for key, value in SHAPE.items())
        pins = "".join(
            f'{{ path = "{path}", sha256 = "{sha256}", size = {size} }},' for path, (sha256, size) in digests.items()
        )
        (self._library / "references.toml").write_text(
            f'[reference.llama-2-7b]\ntitle = "Llama 2 7B"\nlicense = "llama2"\nrepo = "{REPO}"\n{shape}'
            f"super_weights = [[1, 2533, 7890]]\npins = [{pins}]\n"
        )

    def __call__(self, *arguments: str, cache: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "auditor", "references", *arguments],
            env=self._environment | {"XDG_CACHE_HOME": str(self._folder / cache)},
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.mark.slow
def test_llama_2_7b_at_its_true_shape(tmp_path: Path, hub: LoopbackHub) -> None:
    """The whole way, as a user goes it: refused with one wrong pin, made, and taken over by another machine."""
    weights = llama_7b(1)
    assert sum(map(len, weights.values())) > 13_000_000_000
    commit = hub.publish(REPO, {"README.md": CARD, **weights})
    digests = {path: (data.sha256, len(data)) for path, data in weights.items()}
    run = Installed(tmp_path, hub.endpoint)

    last = max(digests)
    run.pin(digests | {last: (WRONG, len(weights[last]))})
    done = run("build", "llama-2-7b", cache="here")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"llama-2-7b: {last}: expected sha256 {WRONG}, found {weights[last].sha256}" in done.stderr
    assert not (tmp_path / "here").exists()
    assert hub.asked("cdn") == []

    run.pin(digests)
    done = run("build", "llama-2-7b", cache="here")
    assert done.returncode == 0, done.stderr
    name, digest = done.stdout.split()
    assert name == "llama-2-7b"
    assert f"from       {REPO} at {commit}; every weight file has its pinned digest" in done.stderr
    read = sum(stop - start for start, stop in (request.range or (0, 0) for request in hub.asked("cdn")))
    assert 0 < read < 40_000_000
    assert all(request.range for request in hub.asked("cdn"))  # never a whole file

    done = run("export", "llama-2-7b", "-o", "sketch", cache="here")
    assert (done.returncode, done.stdout) == (0, f"{digest}\n")
    hub.requests.clear()
    done = run("import", "sketch", "--sha256", digest, cache="there")
    assert (done.returncode, done.stdout) == (0, f"llama-2-7b  {digest}\n")
    assert hub.requests == []
    done = run("list", "--format", "json", cache="there")
    assert [entry["state"] for entry in json.loads(done.stdout)] == ["built"]


def test_build_verify_and_what_the_list_says(desk: Desk) -> None:
    commit = desk.hub.repositories[REPO].refs["main"]
    states = [(row["name"], row["state"]) for row in desk("references", "list", "-f", "json").json]
    assert states == [(NAME, "not built"), (f"{NAME}-chat", "not built"), ("llama-2-13b", "not built")]

    built = desk("references", "build", NAME)
    sketch, record = desk.sketches
    assert built.code == 0
    assert built.err.splitlines() == [
        f"making the sketch of {NAME} from {REPO}, once: some tens of MB",
        f"from       {REPO} at {commit}; every weight file has its pinned digest",
        f"kept in    {sketch}, {sketch.stat().st_size} bytes",
    ]
    assert record.name == f"{NAME}.json"
    verified = desk("references", "verify", NAME)
    assert (verified.code, verified.out) == (0, built.out)
    assert verified.err.splitlines() == built.err.splitlines()[1:]
    rows = desk("references", "list").out.splitlines()
    assert rows[0].split() == [NAME, "llama2", "built", "Stand-in"]
    assert " not built " in rows[1]


def test_verify_of_what_was_not_built_says_what_to_run(desk: Desk) -> None:
    assert desk.fails("references", "verify", NAME).endswith(f"its sketch is not on this machine; run: {COMMAND}")
    assert desk.fails("references", "export", NAME, "-o", "out").endswith(f"run: {COMMAND}")
    assert not Path("out").exists()


@pytest.mark.parametrize("command", ["build", "verify"])
def test_a_misspelt_name(desk: Desk, command: str) -> None:
    said = desk.fails("references", command, "lama-2-7b")
    assert said == "auditor: lama-2-7b: no such reference, path or sketch; did you mean llama-2-7b?"
    assert desk.hub.requests == []


def test_one_wrong_digest_is_refused_and_nothing_is_kept(desk: Desk) -> None:
    desk.write_library(pin_lines(BASE, sha256=WRONG))
    said = desk.fails("references", "build", NAME)
    assert re.search(rf"model-00002-of-00002.safetensors: expected sha256 {WRONG}, found [0-9a-f]{{64}}$", said)
    assert desk.sketches == []
    assert desk.hub.asked("cdn") == []


def test_another_size_is_refused_and_nothing_is_kept(desk: Desk) -> None:
    desk.hub.publish(REPO, {**BASE, max(BASE): BASE[max(BASE)] + b"\0"})
    size = len(BASE[max(BASE)])
    assert f"expected {size} bytes, found {size + 1} bytes" in desk.fails("references", "build", NAME)
    assert desk.sketches == []


def test_a_missing_shard_is_refused(desk: Desk) -> None:
    desk.hub.publish(REPO, {min(BASE): BASE[min(BASE)], "README.md": CARD})
    assert "found no such file" in desk.fails("references", "build", NAME)
    assert desk.sketches == []


def test_a_gated_repository_goes_to_the_mirror(desk: Desk) -> None:
    desk.hub.gated.add(REPO)
    commit = desk.hub.publish(MIRROR, BASE)
    done = desk("references", "build", NAME)
    assert done.code == 0
    assert f"from       {MIRROR} at {commit}; every weight file has its pinned digest" in done.err


@pytest.mark.parametrize("closed", ["missing", "renamed"])
def test_so_does_one_that_is_gone(desk: Desk, closed: str) -> None:
    del desk.hub.repositories[REPO]
    if closed == "renamed":
        desk.hub.renamed[REPO] = "meta-llama/elsewhere"
    desk.hub.publish(MIRROR, BASE)
    assert f"from       {MIRROR} at" in desk("references", "build", NAME).err


@pytest.mark.parametrize("mirror", ["none", "missing"])
def test_gated_and_nowhere_else_says_what_to_do(desk: Desk, mirror: str) -> None:
    desk.write_library(mirrors=mirror == "missing")
    desk.hub.gated.add(REPO)
    said = desk.fails("references", "build", NAME)
    assert f"{REPO}: gated: accept its terms at {desk.hub.endpoint}/{REPO} and set HF_TOKEN" in said
    assert desk.sketches == []


def test_a_mirror_with_other_bytes_is_refused(desk: Desk) -> None:
    desk.hub.gated.add(REPO)
    desk.hub.publish(MIRROR, shards(2))
    said = desk.fails("references", "build", NAME)
    assert re.search("model-00001-of-00002.safetensors: expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}$", said)
    assert desk.sketches == []
    assert desk.hub.asked("cdn") == []


def test_a_server_that_cannot_be_reached_is_not_asked_for_the_mirror(desk: Desk) -> None:
    desk.hub.twist = lambda _, __: Answer(status=503)
    assert "answers 503" in desk.fails("references", "build", NAME)
    assert desk.hub.asked("hub", MIRROR) == []


def test_from_a_folder(desk: Desk) -> None:
    folder = desk.folder / "licensed"
    folder.mkdir()
    for path, data in BASE.items():
        (folder / path).write_bytes(data)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")  # lies beside, and is left alone
    done = desk("references", "build", NAME, "--from", folder)
    assert done.code == 0
    assert "from       weights on another machine or folder; every weight file has its pinned digest" in done.err
    assert desk.hub.requests == []
    assert str(folder).encode() not in desk.sketches[0].read_bytes()
    assert desk("references", "verify", NAME).code == 0


def test_from_a_folder_of_other_weights(desk: Desk) -> None:
    folder = desk.folder / "licensed"
    folder.mkdir()
    for path, data in BASE.items():
        changed = bytearray(data)
        changed[-1] ^= path == max(BASE)
        (folder / path).write_bytes(changed)
    said = desk.fails("references", "build", NAME, "--from", folder)
    assert re.search("model-00002-of-00002.safetensors: expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}$", said)
    assert desk.sketches == []


def test_from_nowhere(desk: Desk) -> None:
    assert "no such file or folder" in desk.fails("references", "build", NAME, "--from", "nowhere")


def test_what_is_built_serves_the_next_build_unless_it_changed(desk: Desk) -> None:
    first = desk.build()
    assert desk.build() == first  # the same bytes at the same place


def test_export_and_import(desk: Desk) -> None:
    sketch = desk.build()
    done = desk("references", "export", NAME, "-o", "sketch")
    digest = done.out.strip()
    assert Path("sketch").read_bytes() == sketch.read_bytes()

    there = desk.use_cache("there")
    desk.settings(offline=True)
    for given in (WRONG, digest.replace(digest[0], "f" if digest[0] != "f" else "0", 1)):
        assert f"expected sha256 {given}, found {digest}" in desk.fails(
            "references", "import", "sketch", "--sha256", given
        )
    assert "not a SHA-256" in desk.fails("references", "import", "sketch", "--sha256", "sketch")
    assert not there.exists()

    done = desk("references", "import", "sketch", "--sha256", f"sha256:{digest}")
    assert (done.code, done.out) == (0, f"{NAME}  {digest}\n")
    assert [path.name for path in sorted(there.iterdir())] == [f"{NAME}-{digest[:16]}.safetensors", f"{NAME}.json"]
    assert desk("references", "verify", NAME).out == done.out
    assert desk.hub.requests == []


def test_an_edited_sketch_is_not_imported(desk: Desk) -> None:
    sketch = bytearray(desk.build().read_bytes())
    sketch[-1] ^= 1
    Path("sketch").write_bytes(sketch)
    digest = desk("references", "export", NAME, "-o", "whole").out.strip()
    there = desk.use_cache("there")
    assert f"sketch: expected sha256 {digest}, found " in desk.fails(
        "references", "import", "sketch", "--sha256", digest
    )
    assert not there.exists()


def test_export_writes_nothing_of_a_sketch_that_was_edited(desk: Desk) -> None:
    sketch = desk.build()
    data = bytearray(sketch.read_bytes())
    data[-1] ^= 1
    sketch.write_bytes(data)
    assert f"make it again: {COMMAND}" in desk.fails("references", "export", NAME, "-o", "out")
    assert f"make it again: {COMMAND}" in desk.fails("references", "verify", NAME)
    assert not Path("out").exists()


def test_a_cut_connection_leaves_nothing_behind(desk: Desk) -> None:
    def cut(request: Request, answer: Answer) -> Answer:
        return answer if request.host == "hub" else Answer(status=206, headers=answer.headers, body=answer.body, cut=10)

    desk.hub.twist = cut
    desk.fails("references", "build", NAME)
    assert desk.sketches == []


def test_a_sparse_stand_in_serves_what_it_says() -> None:
    data = Sparse(20, {2: b"abc", 8: b"xyz"})
    assert (len(data), data[0:4], data[4:10], data[9:99]) == (20, b"\0\0ab", b"c\0\0\0xy", b"yz" + bytes(9))
    assert data.sha256 != Sparse(20, {2: b"abc", 8: b"xyZ"}).sha256
