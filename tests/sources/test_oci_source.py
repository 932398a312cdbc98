"""OCI registries that are honest, busy or hostile: names, manifests, layers, ranges, and who is told what."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hubkit import noise
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback_hub import Answer, Request
from loopback_hub.server import Server
from registrykit import (
    DOCKER_MANIFEST,
    FILEPATH,
    INDEX,
    MANIFEST,
    Artifact,
    artifact,
    descriptor,
    digest_of,
    docker_model,
    kitops,
    modelpack,
    ollama,
    tar,
)

from auditor.errors import (
    AmbiguousIndex,
    BadManifest,
    BadOciName,
    FileError,
    MissingArtifact,
    NoModelLayers,
    OciDenied,
    OciError,
    OciMismatch,
    OciUnreachable,
    Truncated,
)
from auditor.limits import LIMITS
from auditor.sources import Counting, Range, Source, hub_http
from auditor.sources.oci import OciSource
from auditor.sources.oci_login import Login, parse_challenge, stored_login
from auditor.sources.oci_target import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Twist = Callable[[Request, Answer], Answer]

WEIGHTS = noise(1_000_000)
FILES = {"README.md": b"# Hi\n", "config.json": b"{}", "model.safetensors": WEIGHTS}
FAR = Range(500_000, 500_010)
PASSWORD = "pass-of-nobody"  # noqa: S105
BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
TOKEN = "token-of-nobody"  # noqa: S105
RAW = "application/vnd.cncf.model.weight.v1.raw"
TAR = "application/vnd.cncf.model.weight.v1.tar"
CONFIG = ("application/vnd.cncf.model.config.v1+json", {"a": 1})


class Registry:
    """A registry and, on another port and so another origin, its storage host; tokens are to be had at the first.

    Attributes
    ----------
    twist : callable
        What a hostile or busy server makes of an answer; honest until a test says otherwise.
    away : bool
        Blobs are sent for to the storage host.
    challenge : str
        What those without the token are told; empty where everybody may read.
    """

    def __init__(self) -> None:
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.twist: Twist = lambda _, answer: answer
        self.away = False
        self.challenge = ""
        self._signature = 0
        self._home = Server(lambda path, headers: self._answer("home", path, headers))
        self._storage = Server(lambda path, headers: self._answer("storage", path, headers))
        self.url = self._home.url

    @property
    def target(self) -> str:
        return f"oci://{self.url.removeprefix('http://')}/acme/model"

    def publish(self, packed: Artifact, *, tag: str = "latest") -> str:
        self.blobs |= {digest_of(blob): blob for blob in packed.blobs}
        return self.put(packed.content, packed.manifest["mediaType"], tag=tag)

    def put(self, content: bytes, media_type: str = MANIFEST, *, tag: str = "latest") -> str:
        self.manifests[tag] = self.manifests[digest_of(content)] = (media_type, content)
        return digest_of(content)

    def expire(self) -> None:
        self._signature += 1

    def stop(self) -> None:
        self._home.stop()
        self._storage.stop()

    def _answer(self, host: str, path: str, headers: dict[str, str]) -> Answer:
        request = Request(host=host, path=path, headers=headers)
        self.requests.append(request)
        return self.twist(request, self._honest(request))

    def _honest(self, request: Request) -> Answer:
        path, _, query = request.path.partition("?")
        if request.host == "storage":
            known = query == f"sig={self._signature}"
            return content(self.blobs[path.removeprefix("/")], request) if known else Answer(status=403)
        if path == "/token":
            return Answer(body=json.dumps({"token": TOKEN}).encode())
        if self.challenge and request.headers.get("authorization") not in {f"Bearer {TOKEN}", f"Basic {BASIC}"}:
            return Answer(status=401, headers={"WWW-Authenticate": self.challenge})
        return self._served(path, request)

    def _served(self, path: str, request: Request) -> Answer:
        kind, _, name = path.removeprefix("/v2/acme/model/").partition("/")
        if kind == "manifests" and name in self.manifests:
            media_type, body = self.manifests[name]
            return Answer(headers={"Content-Type": media_type, "Docker-Content-Digest": digest_of(body)}, body=body)
        if kind == "blobs" and name in self.blobs:
            if self.away:
                return Answer(status=307, headers={"Location": f"{self._storage.url}/{name}?sig={self._signature}"})
            return content(self.blobs[name], request)
        return Answer(status=404, body=b"{}")


def content(data: bytes, request: Request) -> Answer:
    if request.range is None:
        return Answer(body=data)
    start, stop = request.range
    stop = min(stop, len(data))
    return Answer(status=206, headers={"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}, body=data[start:stop])


@pytest.fixture
def registry() -> Iterator[Registry]:
    server = Registry()
    server.publish(modelpack(FILES))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(hub_http, "_pause", waited.append)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return waited


def whole(source: Source, path: str) -> bytes:
    (size,) = (info.size for info in source.files() if info.path == path)
    return source.read(path, [Range(0, size)])[0]


def refused(registry: Registry, kind: type[OciError], target: str = "", login: Login | None = None) -> str:
    with pytest.raises(kind) as caught:
        OciSource(target or registry.target, login)
    assert type(caught.value) is kind
    return str(caught.value)


def unread(registry: Registry, *layers: tuple[str, bytes, dict[str, str]]) -> tuple[list[str], list[tuple[str, str]]]:
    """Publish layers; return the files that are taken, and what is refused with its code."""
    registry.publish(artifact(layers, config=CONFIG))
    source = OciSource(registry.target)
    return [info.path for info in source.files()], [(entry.path, entry.code) for entry in source.refused()]


# --- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest", "endpoint"),
    [
        ("oci://r.example/m", "r.example", "m", None, None, "https://r.example"),
        ("OCI://R.example:5000/a/b/c:v1", "r.example:5000", "a/b/c", "v1", None, "https://r.example:5000"),
        ("oci://localhost:5000/a/m", "localhost:5000", "a/m", None, None, "http://localhost:5000"),
        ("oci://127.8.8.8/m", "127.8.8.8", "m", None, None, "http://127.8.8.8"),
        ("oci://[::1]:50/m:x", "[::1]:50", "m", "x", None, "http://[::1]:50"),
        ("oci://10.0.0.1/m", "10.0.0.1", "m", None, None, "https://10.0.0.1"),
        ("oci://localhost.example/m", "localhost.example", "m", None, None, "https://localhost.example"),
        ("oci://docker.io/ai/m", "docker.io", "ai/m", None, None, "https://registry-1.docker.io"),
        (f"oci://r.example/m:t@sha256:{'0' * 64}", "r.example", "m", "t", f"sha256:{'0' * 64}", "https://r.example"),
    ],
)
def test_names(text: str, registry: str, repository: str, tag: str | None, digest: str | None, endpoint: str) -> None:
    target = parse_target(text)
    assert (target.registry, target.repository, target.tag, target.digest, target.endpoint) == (
        *(registry, repository, tag, digest, endpoint),
    )


def test_official_images_of_docker_hub() -> None:
    assert parse_target("oci://docker.io/m").path == "library/m"
    assert parse_target("oci://docker.io/a/m").path == "a/m"
    assert parse_target("oci://r.example/m").path == "m"


@pytest.mark.parametrize(
    "text",
    [
        "oci://",
        "oci://r.example",
        "oci://r.example/",
        "oci:///m",
        "oci://r.example/M",
        "oci://r.example/../m",
        "oci://r.example/a//m",
        "oci://r.example/a/m/",
        "oci://r.example/a/%2e%2e/m",
        "oci://r.example/m?x=1",
        "oci://r.example/m#x",
        "oci://r.example/m:",
        "oci://r.example/m:a/b",
        f"oci://r.example/m:{'t' * 129}",
        f"oci://r.example/{'m' * 250}",
        "oci://r.example/m@",
        "oci://r.example/m@sha256:00",
        f"oci://r.example/m@sha512:{'0' * 128}",
        "oci://r.example:0/m",
        "oci://r.example:99999/m",
        "oci://r.example:x/m",
        "oci://-r.example/m",
        "oci://r_.example/m",
        "oci://r.example\n/m",
        "oci://ünïcode.example/m",
        "oci://[::1/m",
        "oci://[::1]x/m",
    ],
)
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(BadOciName):
        parse_target(text)


def test_a_password_in_a_target_is_not_repeated() -> None:
    with pytest.raises(BadOciName) as caught:
        parse_target(f"oci://me:{PASSWORD}@r.example/m")
    assert PASSWORD not in str(caught.value)


# --- honest ----------------------------------------------------------------------------------------------


def test_every_file(registry: Registry) -> None:
    source = OciSource(registry.target)
    assert isinstance(source, Source)
    assert isinstance(source, Counting)
    assert {path: whole(source, path) for path in FILES} == FILES
    assert {info.path: info.sha256 for info in source.files()} == {
        path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()
    }
    assert {info.digest_source for info in source.files()} == {"registry"}
    assert source.on_disk("config.json") is None


@pytest.mark.parametrize("away", [False, True])
def test_ranges_requests_and_bytes(registry: Registry, *, away: bool) -> None:
    registry.away = away
    source = OciSource(registry.target)
    first = len(registry.requests)
    ranges = [Range(start, start + 100) for start in range(100_000, 900_000, 200_000)]
    assert source.read("model.safetensors", ranges) == [WEIGHTS[start:stop] for start, stop in ranges]
    assert len(registry.requests) - first == 1 + len(ranges) + away  # the head (and its redirect), one each
    assert source.http_requests == len(registry.requests)
    assert LIMITS.hub_head + 400 <= source.http_bytes < LIMITS.hub_head + 5_000
    assert source.read("model.safetensors", [Range(8, 16), Range(3, 3)]) == [WEIGHTS[8:16], b""]
    assert source.http_requests == len(registry.requests) == first + 1 + len(ranges) + away  # kept


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(st.integers(0, len(WEIGHTS)), st.integers(0, 200_000)), max_size=6))
def test_any_ranges_of_a_file_in_an_archive(registry: Registry, pairs: list[tuple[int, int]]) -> None:
    registry.publish(kitops(FILES))
    source = OciSource(registry.target)
    wanted = [Range(start, min(start + length, len(WEIGHTS))) for start, length in pairs]
    for _ in range(2):
        assert source.read("model.safetensors", wanted) == [WEIGHTS[start:stop] for start, stop in wanted]
    with pytest.raises(Truncated):  # no way to the bytes beside it in the archive
        source.read("model.safetensors", [Range(0, len(WEIGHTS) + 1)])


def test_a_blob_that_moves_to_a_storage_host(registry: Registry) -> None:
    source = OciSource(registry.target)
    source.read("model.safetensors", [Range(0, 1)])
    registry.away = True
    assert source.read("model.safetensors", [FAR]) == [WEIGHTS[FAR.start : FAR.stop]]


def test_storage_hosts_get_no_credentials_and_urls_are_renewed(registry: Registry) -> None:
    registry.away, registry.challenge = True, 'Basic realm="r"'
    source = OciSource(registry.target, Login(basic=BASIC))
    source.read("model.safetensors", [FAR])
    registry.expire()
    assert source.read("model.safetensors", [Range(700_000, 700_010)]) == [WEIGHTS[700_000:700_010]]
    assert any(request.headers.get("authorization") == f"Basic {BASIC}" for request in registry.requests)
    assert not any("authorization" in request.headers for request in registry.requests if request.host == "storage")


def test_manifests_are_asked_for_by_type(registry: Registry) -> None:
    OciSource(registry.target)
    assert {MANIFEST, INDEX, DOCKER_MANIFEST} <= set(registry.requests[0].headers["accept"].split(", "))


def test_a_busy_registry_is_asked_again(registry: Registry, waits: list[float]) -> None:
    left = [2]

    def busy(_: Request, answer: Answer) -> Answer:
        left[0] -= 1
        return Answer(status=429, headers={"Retry-After": "7"}) if left[0] >= 0 else answer

    registry.twist = busy
    assert whole(OciSource(registry.target), "README.md") == FILES["README.md"]
    assert waits == [7.0, 7.0]


# --- layers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (modelpack({"a/b.json": b"{}"}), {"a/b.json": b"{}"}),
        (modelpack({"a/b.json": b"{}", "c": b""}, packing="tar"), {"a/b.json": b"{}", "c": b""}),
        (kitops(FILES), FILES),
        (docker_model(b"GGUF", [b"one", b"two"]), {"model.gguf": b"GGUF", "LICENSE": b"one", "LICENSE-2": b"two"}),
        (
            ollama(b"GGUF", [b"one"]),
            {
                "model.gguf": b"GGUF",
                "LICENSE": b"one",
                "params": b'{"temperature": 0.7}',
                "template": b"{{ .Prompt }}",
            },
        ),
    ],
    ids=["modelpack-raw", "modelpack-tar", "kitops", "docker", "ollama"],
)
def test_layouts(registry: Registry, packed: Artifact, expected: dict[str, bytes]) -> None:
    registry.publish(packed)
    source = OciSource(registry.target)
    assert {info.path: whole(source, info.path) for info in source.files()} == expected
    assert source.refused() == ()


def test_names_of_docker_and_ollama_layers(registry: Registry) -> None:
    docker, own = "application/vnd.docker.ai.", "application/vnd.ollama.image."
    layers: Sequence[tuple[str, bytes, dict[str, str]]] = [
        (f"{docker}gguf.v3", b"1", {}),
        (f"{docker}gguf.v3", b"2", {}),
        (f"{docker}gguf.v3", b"3", {FILEPATH: "sub/named.gguf"}),
        (f"{docker}mmproj", b"4", {}),
        (f"{docker}chat.template.jinja", b"5", {}),
        (f"{docker}vllm.config.tar", tar({"config.json": b"{}"}), {}),
        (f"{docker}model.file", b"6", {FILEPATH: "vocab.txt"}),
        (f"{own}adapter", b"7", {}),
        (f"{own}projector", b"8", {FILEPATH: "projector.gguf"}),
    ]
    assert unread(registry, *layers) == (
        [
            "adapter.gguf",
            "chat_template.jinja",
            "config.json",
            "mmproj.gguf",
            "model-00001-of-00002.gguf",
            "model-00002-of-00002.gguf",
            "projector.gguf",
            "sub/named.gguf",
            "vocab.txt",
        ],
        [],
    )


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a//b", "./x", "", "a\\b", "x\ny", "x\0"])
def test_hostile_file_names(registry: Registry, path: str) -> None:
    files, found = unread(registry, (RAW, b"1", {FILEPATH: path}), (RAW, b"2", {FILEPATH: "fine"}))
    assert files == ["fine"]
    assert [code for _, code in found] in (["unsafe-path"], ["bad-name"])


@pytest.mark.parametrize(
    ("layers", "files", "codes"),
    [
        # two layers, one name: which of them a client unpacks is not ours to guess
        ([(RAW, b"1", {FILEPATH: "a"}), (RAW, b"2", {FILEPATH: "a"})], [], ["duplicate-name"]),
        ([(RAW, b"1", {FILEPATH: "a"}), (RAW, b"1", {FILEPATH: "a"})], ["a"], []),
        ([(RAW, b"1", {FILEPATH: "a"}), (TAR, tar({"a": b"2", "b": b"3"}), {})], ["b"], ["duplicate-name"]),
        ([(RAW, b"1", {FILEPATH: "a"}), (RAW, b"2", {FILEPATH: "a/b"})], ["a/b"], ["duplicate-name"]),
        ([(RAW, b"1", {})], [], ["unsupported-format"]),
        ([(f"{TAR}+gzip", b"1", {}), (f"{TAR}+zstd", b"2", {})], [], ["unsupported-format"] * 2),
        ([("application/octet-stream", b"1", {}), (RAW, b"2", {FILEPATH: "a"})], ["a"], ["unsupported-format"]),
        ([(RAW + "x", b"1", {FILEPATH: "a"})], [], ["unsupported-format"]),
        ([("application/vnd.ollama.image.tensor", b"1", {})], [], ["unsupported-format"]),
        ([(TAR, b"no archive" * 100, {}), (RAW, b"2", {FILEPATH: "a"})], ["a"], ["bad-magic"]),
        ([(TAR, tar({"a": b"1", "b": b"2"})[:1200], {})], [], ["truncated"]),  # nothing of it, though "a" is whole
    ],
)
def test_layers_that_are_refused(
    registry: Registry, layers: list[tuple[str, bytes, dict[str, str]]], files: list[str], codes: list[str]
) -> None:
    taken, found = unread(registry, *layers)
    assert (taken, [code for _, code in found]) == (files, codes)


def test_a_digest_of_another_algorithm_is_not_read(registry: Registry) -> None:
    packed = modelpack(FILES)
    packed.manifest["layers"][0]["digest"] = f"sha512:{'0' * 128}"
    registry.publish(packed)
    source = OciSource(registry.target)
    assert [(entry.path, entry.code) for entry in source.refused()] == [("README.md", "unsupported-format")]


# --- manifests -------------------------------------------------------------------------------------------

LAYER = descriptor(b"x", RAW, **{FILEPATH: "a"})
GOOD: dict[str, Any] = {"schemaVersion": 2, "config": descriptor(b"{}", CONFIG[0]), "layers": [LAYER]}


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"{" * 100_000,
        b'{"schemaVersion": 2, "schemaVersion": 2}',
        b'{"schemaVersion": NaN}',
        {**GOOD, "schemaVersion": 1},
        {**GOOD, "manifests": []},
        {key: value for key, value in GOOD.items() if key != "config"},
        {key: value for key, value in GOOD.items() if key != "layers"},
        {**GOOD, "layers": {}},
        {**GOOD, "layers": ["x"]},
        {**GOOD, "layers": [{**LAYER, "size": -1}]},
        {**GOOD, "layers": [{**LAYER, "size": True}]},
        {**GOOD, "layers": [{**LAYER, "size": 1.0}]},
        {**GOOD, "layers": [{**LAYER, "size": 1 << 64}]},
        {**GOOD, "layers": [{**LAYER, "digest": "x"}]},
        {**GOOD, "layers": [{**LAYER, "digest": None}]},
        {**GOOD, "layers": [{**LAYER, "mediaType": 5}]},
        {**GOOD, "layers": [{**LAYER, "mediaType": "x" * 300}]},
        {**GOOD, "layers": [{**LAYER, "annotations": {FILEPATH: 5}}]},
        {**GOOD, "layers": [{**LAYER, "annotations": []}]},
        {**GOOD, "config": descriptor(b"{}", CONFIG[0]) | {"size": 1 << 40}},
        {**GOOD, "config": descriptor(b"{}", CONFIG[0]) | {"digest": "md5:x"}},
        {**GOOD, "config": descriptor(b"[]", CONFIG[0])},
        {**GOOD, "config": descriptor(b"no JSON", CONFIG[0])},
    ],
)
def test_broken_manifests(registry: Registry, manifest: bytes | dict[str, Any]) -> None:
    registry.blobs |= {digest_of(blob): blob for blob in (b"{}", b"[]", b"no JSON", b"x")}
    registry.put(manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode())
    refused(registry, BadManifest)


def test_benign_twin_of_the_broken_manifests(registry: Registry) -> None:
    registry.blobs |= {digest_of(blob): blob for blob in (b"{}", b"x")}
    registry.put(json.dumps(GOOD).encode())
    assert whole(OciSource(registry.target), "a") == b"x"


def test_a_manifest_called_an_index(registry: Registry) -> None:
    registry.put(modelpack(FILES).content, INDEX)
    refused(registry, OciMismatch)


def test_no_model(registry: Registry) -> None:
    registry.publish(artifact([("application/vnd.oci.image.layer.v1.tar", b"", {})], config=CONFIG))
    refused(registry, NoModelLayers)


def test_a_manifest_that_is_not_what_its_digest_names(registry: Registry) -> None:
    digest = registry.publish(modelpack(FILES))
    other = modelpack({"a": b"b"}).content
    registry.manifests[digest] = (MANIFEST, other)
    refused(registry, OciMismatch, f"{registry.target}@{digest}")
    registry.twist = lambda request, answer: (
        replace(answer, headers=answer.headers | {"Docker-Content-Digest": digest}, body=other)
        if "/manifests/" in request.path
        else answer
    )
    refused(registry, OciMismatch)  # by its tag, where the registry names a digest


def test_a_config_that_is_not_what_its_digest_names(registry: Registry) -> None:
    packed = modelpack(FILES)
    registry.blobs[packed.manifest["config"]["digest"]] = packed.blobs[0].replace(b"model", b"molde")
    refused(registry, OciMismatch)


def test_a_manifest_above_the_limit(registry: Registry) -> None:
    registry.put(b'{"a": "' + b"x" * LIMITS.oci_manifest + b'"}')
    assert "announces a body of another length" in refused(registry, OciUnreachable)


def index(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()


def test_index(registry: Registry) -> None:
    model = modelpack(FILES)
    digest = registry.publish(model)
    one = descriptor(model.content, MANIFEST)
    proof = one | {"digest": f"sha256:{'1' * 64}", "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    signature = one | {"digest": f"sha256:{'2' * 64}", "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json"}
    other = one | {"digest": f"sha256:{'3' * 64}"}
    registry.put(index(one, proof, signature), INDEX)
    assert OciSource(registry.target).revision == digest
    registry.put(index(one, other), INDEX)
    message = refused(registry, AmbiguousIndex)
    assert f"{registry.target}@{digest}" in message
    assert f"{registry.target}@sha256:{'3' * 64}" in message
    for entries in ((), (proof, signature)):
        registry.put(index(*entries), INDEX)
        assert "0 may be a model" in refused(registry, AmbiguousIndex)
    inner = index(one)
    registry.put(inner, INDEX, tag="inner")
    registry.put(index(descriptor(inner, MANIFEST)), INDEX)
    assert "index in an index" in refused(registry, BadManifest)
    registry.put(index(other), INDEX)
    refused(registry, MissingArtifact)


# --- bytes -----------------------------------------------------------------------------------------------


def weights(change: Twist) -> Twist:
    digest = digest_of(WEIGHTS)
    return lambda request, answer: change(request, answer) if digest in request.path else answer


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize(
    ("twist", "code"),
    [
        (lambda _, answer: replace(answer, status=200), "range-ignored"),
        (lambda _, answer: replace(answer, status=200, headers={}, body=WEIGHTS), "range-ignored"),
        (lambda _, answer: replace(answer, headers={}), "range-ignored"),
        (lambda _, answer: replace(answer, headers={"Content-Range": "bytes 0-9/1000000"}), "range-ignored"),
        (lambda _, answer: replace(answer, headers={"Content-Range": "bytes 500000-500009/*"}), "range-ignored"),
        (
            lambda _, answer: replace(
                answer, headers={"Content-Range": answer.headers["Content-Range"].replace("/1000000", "/1000001")}
            ),
            "server-mismatch",
        ),
        (lambda _, answer: replace(answer, body=answer.body + b"x"), "undelivered"),
        (lambda _, answer: replace(answer, cut=5), "undelivered"),
        (lambda _, answer: replace(answer, headers=answer.headers | {"Content-Encoding": "gzip"}), "undelivered"),
        (lambda *_: Answer(status=404), "undelivered"),
        (lambda *_: Answer(status=418), "undelivered"),
        (lambda *_: Answer(status=503), "undelivered"),
        (lambda *_: Answer(status=302, headers={"Location": "file:///etc/passwd"}), "undelivered"),
        (lambda *_: Answer(status=302, headers={"Location": "http://me:pw@127.0.0.1/"}), "undelivered"),
    ],
)
def test_answers_that_are_refused(registry: Registry, twist: Twist, code: str, *, away: bool) -> None:
    registry.away = away
    source = OciSource(registry.target)
    host = "storage" if away else "home"
    registry.twist = weights(lambda request, answer: twist(request, answer) if request.host == host else answer)
    with pytest.raises(FileError) as caught:
        source.read("model.safetensors", [FAR])
    assert (caught.value.file, caught.value.code) == ("model.safetensors", code)
    registry.twist = lambda _, answer: answer
    assert source.read("model.safetensors", [FAR]) == [WEIGHTS[FAR.start : FAR.stop]]


def test_small_files_are_held_against_their_digest(registry: Registry) -> None:
    source = OciSource(registry.target)
    registry.blobs[digest_of(FILES["README.md"])] = b"# Ho\n"
    with pytest.raises(FileError) as caught:
        source.read("README.md", [Range(0, 3)])
    assert caught.value.code == "server-mismatch"


def test_redirects_are_bounded(registry: Registry) -> None:
    source = OciSource(registry.target)
    registry.twist = weights(lambda request, _: Answer(status=302, headers={"Location": request.path}))
    before = len(registry.requests)
    with pytest.raises(FileError, match="redirects"):
        source.read("model.safetensors", [FAR])
    assert len(registry.requests) - before == LIMITS.hub_hops + 1


# --- who is told what ------------------------------------------------------------------------------------


def bearer(registry: Registry) -> str:
    return f'Bearer realm="{registry.url}/token",service="s",scope="repository:acme/model:pull,push,delete"'


def test_token(registry: Registry) -> None:
    registry.challenge = bearer(registry)
    source = OciSource(registry.target, Login(basic=BASIC))
    assert whole(source, "README.md") == FILES["README.md"]
    asked = [(request.path.partition("?")[0], request.headers.get("authorization")) for request in registry.requests]
    assert asked[:3] == [
        ("/v2/acme/model/manifests/latest", None),
        ("/token", f"Basic {BASIC}"),
        ("/v2/acme/model/manifests/latest", f"Bearer {TOKEN}"),
    ]
    assert "scope=repository%3Aacme%2Fmodel%3Apull" in registry.requests[1].path  # and no more, whatever it names
    assert [path for path, _ in asked].count("/token") == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=500),
        Answer(status=302, headers={"Location": "http://127.0.0.1:9/"}),
        Answer(body=b"no JSON"),
        Answer(body=b'{"token": 5}'),
        Answer(body=b'{"token": ""}'),
        Answer(body=b'{"token": "two\\r\\nlines"}'),
        Answer(body=json.dumps({"token": "x" * 20_000}).encode()),
        Answer(body=json.dumps({"token": TOKEN, "x": "x" * 70_000}).encode()),
    ],
)
def test_answers_that_are_no_token(registry: Registry, answer: Answer) -> None:
    registry.challenge = bearer(registry)
    registry.twist = lambda request, honest: answer if request.path.startswith("/token") else honest
    refused(registry, OciUnreachable)


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Negotiate",
        "Bearer",
        'Bearer realm="http://token.example/t"',  # of another host than this machine, and without encryption
        'Bearer realm="file:///etc/passwd"',
        'Bearer realm="https://me:pw@token.example/t"',
        'Bearer realm="//token.example/t"',
        'Bearer realm="https://token.example/t#x"',
    ],
)
def test_challenges_that_are_not_followed(registry: Registry, challenge: str) -> None:
    registry.challenge = challenge or " "
    refused(registry, OciDenied, login=Login(basic=BASIC))
    assert len(registry.requests) == 1
    assert not any("authorization" in request.headers for request in registry.requests)


def test_plain_tokens_servers_only_for_plain_registries() -> None:
    realm = 'Bearer realm="http://127.0.0.1:9/t"'
    assert parse_challenge(realm, parse_target("oci://localhost/m")) is not None
    assert parse_challenge(realm, parse_target("oci://r.example/m")) is None


def test_no_message_holds_a_secret(registry: Registry) -> None:
    registry.challenge = bearer(registry)
    login = Login(basic=BASIC)
    echo = {"Location": f"/v2/{TOKEN}/{PASSWORD}", "Content-Range": f"bytes {TOKEN}", "WWW-Authenticate": PASSWORD}
    source = OciSource(registry.target, login)
    errors: list[BaseException | None] = []
    for status in (200, 206, 301, 400, 401, 403, 404, 418, 503):
        registry.twist = lambda request, answer, status=status: (  # type: ignore[misc]
            replace(answer, status=status, headers=echo, body=f'{{"{TOKEN}": "{PASSWORD}"}}'.encode())
            if not request.path.startswith("/token")
            else answer
        )
        with pytest.raises((FileError, OciError)) as caught:
            source.read("model.safetensors", [FAR])
        errors.append(caught.value)
        with pytest.raises(OciError) as unopened:
            OciSource(registry.target, login)
        errors.append(unopened.value)
    assert f"Bearer {TOKEN}" in {request.headers.get("authorization") for request in registry.requests}
    for error in errors:
        while error:
            for secret in (TOKEN, PASSWORD, BASIC):
                assert secret not in str(error) + repr(error) + repr(vars(error))
            error = error.__cause__  # noqa: PLW2901
    assert BASIC not in repr(login)


# --- Docker's config file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "basic", "helper"),
    [
        ({}, None, False),
        ({"auths": {"r.example": {"auth": BASIC}}}, BASIC, False),
        ({"auths": {"https://r.example": {"auth": BASIC}}}, BASIC, False),
        ({"auths": {"r.example": {"username": "me", "password": PASSWORD}}}, BASIC, False),
        ({"auths": {"other.example": {"auth": BASIC}}}, None, False),
        ({"auths": {"r.example.evil": {"auth": BASIC}, "r.exampl": {"auth": BASIC}}}, None, False),
        ({"auths": {"r.example": {}}, "credsStore": "desktop"}, None, True),
        ({"credHelpers": {"r.example": "ecr-login"}}, None, True),
        ({"credHelpers": {"other.example": "ecr-login"}}, None, False),
        ({"auths": {"r.example": {"auth": "not base64!"}}}, None, True),
        ({"auths": {"r.example": {"auth": base64.b64encode(b"no colon").decode()}}}, None, True),
        ({"auths": {"r.example": {"auth": BASIC, "identitytoken": "x"}}}, None, True),
        ({"auths": {"r.example": 5}}, None, False),
        ({"auths": 5, "credHelpers": 5}, None, False),
    ],
)
def test_docker_config(tmp_path: Path, document: dict[str, Any], basic: str | None, *, helper: bool) -> None:
    (tmp_path / "config.json").write_text(json.dumps(document))
    login = stored_login(parse_target("oci://r.example/m"))
    assert (login.basic, login.helper) == (basic, helper)


def test_docker_config_of_docker_hub(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": BASIC}}}))
    assert stored_login(parse_target("oci://docker.io/ai/m")).basic == BASIC
    assert stored_login(parse_target("oci://r.example/m")).basic is None


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"\xff", f'{{"auths": "{PASSWORD}"'.encode(), b"{" * 50_000, b" " * 2_000_000]
)
def test_docker_config_that_cannot_be_used(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(OciDenied) as caught:
        stored_login(parse_target("oci://r.example/m"))
    assert PASSWORD not in str(caught.value) + repr(caught.value.__cause__)


def test_no_docker_config() -> None:
    assert stored_login(parse_target("oci://r.example/m")) == Login()
