"""Sweeps of what real servers on loopback hold: every tag of a registry, every folder of a bucket."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import registrykit
from attestkit import BASE, DERIVED, write_sketch
from modelkit import make_model, safetensors_bytes
from registrykit import Auth, DockerRegistry, FakeGcs, Moto
from sweepkit import auditor, environment, held

from auditor.sweep.listings import open_listing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

OTHER = make_model(2, layers=2, hidden=32, neurons=48)


def model(weights: bytes, title: str) -> dict[str, bytes]:
    card = f"---\nlicense: apache-2.0\n---\n# {title}\n".encode()
    return {"README.md": card, "config.json": b'{"model_type": "llama"}', "model.safetensors": weights}


MODELS = {
    "acme/chat": model(safetensors_bytes(DERIVED), "Chat"),
    "acme/team/embed": model(safetensors_bytes(OTHER), "Embed"),
    "copied": model(safetensors_bytes(BASE), "Copy"),
}
VERDICTS = {
    "acme/chat": ("derived", "base"),
    "acme/team/embed": ("independent", None),
    "copied": ("derived", "base"),
}


@dataclass
class Desk:
    """A folder with a store, and the command that fills it."""

    folder: Path
    environment: dict[str, str]

    def sweep(self, collection: str, store: str = "sweep.db", *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            auditor("sweep", "run", collection, "--store", store, "-a", "base.sketch", "--workers", "2", *options),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def verdicts(self, store: str = "sweep.db") -> dict[str, tuple[str, str | None]]:
        return held(self.folder / store).verdicts


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    write_sketch(tmp_path / "base.sketch")
    made = environment("http://127.0.0.1:9", tmp_path) | {"DOCKER_CONFIG": str(tmp_path / "docker")}
    return Desk(tmp_path, made)


# --- registries


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as server:
        for name, files in MODELS.items():
            server.push(name, registrykit.modelpack(files), tag="v1")
        server.push("acme/chat", registrykit.modelpack(MODELS["acme/chat"] | {"NOTES.md": b"# Notes\n"}), tag="v2")
        yield server


def tags(registry: DockerRegistry, *names: str) -> dict[str, tuple[str, str | None]]:
    return {registry.target(name): VERDICTS[name.partition(":")[0]] for name in names}


def test_a_registry_is_swept_and_what_did_not_change_is_not_read_again(registry: DockerRegistry, desk: Desk) -> None:
    whole = registry.target("*")
    first = desk.sweep(whole)
    assert first.returncode == 0, first.stderr
    expected = tags(registry, "acme/chat:v1", "acme/chat:v2", "acme/team/embed:v1", "copied:v1")
    assert desk.verdicts() == expected
    again = desk.sweep(whole)
    assert again.returncode == 0, again.stderr
    assert "unchanged  4" in again.stderr
    assert set(held(desk.folder / "sweep.db").results.values()) == {1}
    registry.push("acme/chat", registrykit.modelpack(MODELS["copied"]), tag="v2")
    moved = desk.sweep(registry.target("acme/*"))
    assert moved.returncode == 0, moved.stderr
    assert "unchanged  2" in moved.stderr
    assert held(desk.folder / "sweep.db").results[registry.target("acme/chat:v2")] == 2


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("acme/*", ["acme/chat:v1", "acme/chat:v2", "acme/team/embed:v1"]),
        ("acme/team/*", ["acme/team/embed:v1"]),
        ("copied/*", ["copied:v1"]),
        ("acme/chat:*", ["acme/chat:v1", "acme/chat:v2"]),
    ],
)
def test_a_part_of_a_registry(registry: DockerRegistry, desk: Desk, what: str, names: list[str]) -> None:
    assert desk.sweep(registry.target(what)).returncode == 0
    assert desk.verdicts().keys() == {registry.target(name) for name in names}


def test_an_ordinary_image_is_recorded_as_no_model(desk: Desk, tmp_path: Path) -> None:
    config = ("application/vnd.oci.image.config.v1+json", {"architecture": "amd64", "os": "linux"})
    layer = ("application/vnd.oci.image.layer.v1.tar", registrykit.tar({"bin/sh": b"x"}), dict[str, str]())
    with DockerRegistry(tmp_path / "registry") as server:
        server.push("image", registrykit.artifact([layer], config=config))
        server.push("copied", registrykit.modelpack(MODELS["copied"]))
        done = desk.sweep(server.target("*"))
        assert done.returncode == 3
        assert f"failed: oci-no-model: {server.target('image:latest')}" in done.stderr
        assert desk.verdicts()[server.target("copied:latest")] == ("derived", "base")
        assert held(desk.folder / "sweep.db").states[server.target("image:latest")] == "failed"


def test_a_registry_that_wants_to_know_who_asks(desk: Desk, tmp_path: Path) -> None:
    basic = base64.b64encode(b"tester:U*U*").decode()
    # A published test vector of bcrypt, so that no library is needed to make one.
    auth = Auth(htpasswd="tester:$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK\n")
    with DockerRegistry(tmp_path / "registry", auth, f"Basic {basic}") as server:
        server.push("copied", registrykit.modelpack(MODELS["copied"]))
        refused = desk.sweep(server.target("*"))
        assert (refused.returncode, refused.stdout, len(refused.stderr.splitlines())) == (2, "", 1)
        assert "shows us no list of its repositories" in refused.stderr
        assert "`docker login` first" in refused.stderr
        config = desk.folder / "docker" / "config.json"
        config.parent.mkdir()
        config.write_text(json.dumps({"auths": {f"127.0.0.1:{server.port}": {"auth": basic}}}))
        done = desk.sweep(server.target("*"))
        assert done.returncode == 0, done.stderr
        assert desk.verdicts() == {server.target("copied:latest"): ("derived", "base")}
        assert basic not in refused.stderr + done.stderr


def test_more_repositories_than_one_page_lists(tmp_path: Path) -> None:
    """Those that hold no tag any more are no targets."""
    packed = registrykit.modelpack({"README.md": b"# Hi\n"})
    with DockerRegistry(tmp_path / "registry") as server:
        for tag in ("v1", "v2"):
            server.push("zoo", packed, tag=tag)
        root = server.folder / "blobs" / "docker" / "registry" / "v2" / "repositories"
        for number in range(1_100):
            (root / f"r{number}" / "_manifests" / "tags").mkdir(parents=True)
            (root / f"r{number}" / "_layers").mkdir()
        listed = [listed.entry.target for listed in open_listing(server.target("*"))]
        assert listed == [server.target("zoo:v1"), server.target("zoo:v2")]
        assert "GET /v2/_catalog?last=" in server.logged


# --- buckets


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("s3")) as server:
        fill(server)
        yield server


@pytest.fixture(scope="module")
def gs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcs]:
    with FakeGcs(tmp_path_factory.mktemp("gs")) as server:
        fill(server)
        yield server


def fill(store: Moto | FakeGcs) -> None:
    store.make_bucket("models")
    for name, files in MODELS.items():
        for path, data in files.items():
            store.put("models", f"zoo/{name}/{path}", data)
    store.put("models", "zoo/acme/chat/1_Pooling/config.json", b"{}")
    store.put("models", "zoo/README.md", b"# A zoo\n")
    store.put("models", "zoos/other/config.json", b"{}")
    store.make_bucket("many")
    for number in range(1_050):
        store.put("many", f"a/{number:05}.json", b"{}")
    store.put("many", "b/50% ü/config.json", b"{}")


@pytest.fixture
def stores(s3: Moto, gs: FakeGcs, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    variables = {
        "AWS_ENDPOINT_URL": s3.url,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret-of-nobody",
        "AWS_REGION": "us-east-1",
        "GOOGLE_BASE_URL": gs.url,
        "GOOGLE_SKIP_SIGNATURE": "true",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    desk.environment |= variables
    return desk


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_every_folder_with_a_model_is_swept(stores: Desk, kind: str) -> None:
    for _ in range(2):
        done = stores.sweep(f"{kind}://models/zoo/**")
        assert done.returncode == 0, done.stderr
        assert stores.verdicts() == {f"{kind}://models/zoo/{name}": verdict for name, verdict in VERDICTS.items()}
    assert f"unchanged  {len(VERDICTS)}\n" in done.stderr


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_folder_of_a_bucket_is_read_again_when_an_object_of_it_is_another(
    stores: Desk, s3: Moto, gs: FakeGcs, kind: str
) -> None:
    server = {"s3": s3, "gs": gs}[kind]
    server.make_bucket("turned")
    for name in ("a", "b"):
        for path, data in MODELS["copied"].items():
            server.put("turned", f"{name}/{path}", data)
    assert stores.sweep(f"{kind}://turned/*", "turned.db").returncode == 0
    data = bytearray(MODELS["copied"]["model.safetensors"])
    data[-1] ^= 1
    server.put("turned", "b/model.safetensors", bytes(data))
    again = stores.sweep(f"{kind}://turned/*", "turned.db")
    assert "unchanged  1\n" in again.stderr
    assert held(stores.folder / "turned.db").results == {f"{kind}://turned/a": 1, f"{kind}://turned/b": 2}


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_every_folder_below_a_prefix_is_swept(stores: Desk, kind: str) -> None:
    done = stores.sweep(f"{kind}://models/zoo/acme/*")
    assert done.returncode == 0, done.stderr
    named = {name: VERDICTS[f"acme/{name}"] for name in ("chat",)} | {"team": VERDICTS["acme/team/embed"]}
    assert stores.verdicts() == {f"{kind}://models/zoo/acme/{name}": verdict for name, verdict in named.items()}


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_many_objects_and_odd_names(stores: Desk, kind: str) -> None:
    done = stores.sweep(f"{kind}://many/*", "many.db")
    assert done.returncode == 3, done.stderr  # they hold no weights
    assert {name: verdict[0] for name, verdict in stores.verdicts("many.db").items()} == {
        f"{kind}://many/a": "inconclusive",
        f"{kind}://many/b": "inconclusive",
    }
    assert stores.sweep(f"{kind}://many/b/**", "odd.db").returncode == 3
    assert list(stores.verdicts("odd.db")) == [f"{kind}://many/b/50% ü"]


@pytest.mark.parametrize("name", ["models/absent/*", "models/absent/**", "absent/*"])
def test_what_is_not_there_is_one_line(stores: Desk, name: str) -> None:
    done = stores.sweep(f"s3://{name}")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert json.dumps(done.stderr).count("s3://") >= 1
