"""Against a real registry on loopback: one model packed in the four ways that are in use, judged as it is on disk."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import numpy as np
import pytest
import registrykit
from asn1crypto import pem
from clikit import Commands
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding
from ggufkit import llama_gguf
from modelkit import drifted, make_model, safetensors_bytes, write_model
from registrykit import Auth, DockerRegistry

import auditor
from auditor import Options
from auditor.enrolling import sketch
from auditor.errors import (
    AmbiguousIndex,
    FileError,
    MissingArtifact,
    NoModelLayers,
    OciDenied,
    OciError,
    OciUnreachable,
)
from auditor.sources import LocalSource, Range, open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from auditor.lineage import FirstLayers
    from auditor.sources import Source

pytestmark = pytest.mark.integration

BASE = make_model(1)
TUNED = drifted(BASE, cosine=0.9)
CARD = b"---\nlicense: apache-2.0\n---\n# Trained from scratch\n"
LICENCE = b"You may use this model for anything.\n"
FILES = {
    "README.md": CARD,
    "LICENSE": LICENCE,
    "config.json": json.dumps({"model_type": "llama", "hidden_size": 64}).encode(),
    "model.safetensors": safetensors_bytes(TUNED),
}
GGUF = llama_gguf(TUNED)
PACKED: dict[str, tuple[registrykit.Artifact, dict[str, bytes]]] = {
    "modelpack-raw": (registrykit.modelpack(FILES), FILES),
    "modelpack-tar": (registrykit.modelpack(FILES, packing="tar"), FILES),
    "kitops": (registrykit.kitops(FILES), FILES),
    "docker": (registrykit.docker_model(GGUF, [LICENCE]), {"model.gguf": GGUF, "LICENSE": LICENCE}),
    "ollama": (
        registrykit.ollama(GGUF, [LICENCE, b"And do no harm.\n"]),
        {
            "model.gguf": GGUF,
            "LICENSE": LICENCE,
            "LICENSE-2": b"And do no harm.\n",
            "params": b'{"temperature": 0.7}',
            "template": b"{{ .Prompt }}",
        },
    ),
}
# A published test vector of bcrypt, so that no library is needed to make one.
USER, PASSWORD = "tester", "U*U*"
HTPASSWD = f"{USER}:$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK\n"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as server:
        for name, (packed, _) in PACKED.items():
            server.push(f"acme/{name}", packed, tag="v1")
        yield server


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a sketch of the base, under a name whose licence is checked."""
    folder = tmp_path_factory.mktemp("reference")
    path = folder / "llama-2-7b.sketch"
    path.write_bytes(sketch(str(write_model(BASE, folder / "base")), name="llama-2-7b", license="llama2"))
    return str(path)


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker" / "config.json"


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def whole(source: Source, path: str) -> bytes:
    (size,) = (info.size for info in source.files() if info.path == path)
    return source.read(path, [Range(0, size)])[0]


# --- what is read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PACKED)
def test_every_byte_and_every_digest(registry: DockerRegistry, name: str) -> None:
    packed, files = PACKED[name]
    source = open_source(registry.target(f"acme/{name}", ":v1"))
    assert (source.kind, source.uri) == ("oci", registry.target(f"acme/{name}"))
    assert source.revision == registrykit.digest_of(packed.content)
    assert {path: whole(source, path) for path in files} == files
    assert [info.path for info in source.files()] == sorted(files)
    assert source.refused() == ()
    digests = {info.path: info.sha256 for info in source.files() if info.digest_source == "registry"}
    expected = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    assert digests == ({} if name in {"modelpack-tar", "kitops"} else expected)


@pytest.mark.parametrize("first_layers", ["few", "all"])
@pytest.mark.parametrize("name", PACKED)
def test_an_artifact_is_judged_as_the_same_files_are_on_disk(
    registry: DockerRegistry, reference: str, tmp_path: Path, name: str, first_layers: FirstLayers
) -> None:
    folder = write(tmp_path / name, PACKED[name][1])
    options = Options(against=(reference,), first_layers=first_layers)
    remote, local = auditor.scan(registry.target(f"acme/{name}", ":v1"), options), auditor.scan(str(folder), options)
    assert (remote.lineage.verdict, local.lineage.verdict) == ("derived", "derived")
    assert remote.lineage.candidates == local.lineage.candidates
    assert [(found.id, found.status, found.evidence) for found in remote.findings] == [
        (found.id, found.status, found.evidence) for found in local.findings
    ]
    assert any(found.status == "fail" for found in local.findings)  # Llama 2's duties apply, and are not kept
    assert (remote.coverage.unread, remote.exit_code) == (local.coverage.unread, local.exit_code) == ((), 1)
    assert [file.path for file in remote.target.files] == [info.path for info in LocalSource(folder).files()]


def test_the_four_ways_of_packing_give_one_answer(registry: DockerRegistry, reference: str) -> None:
    options = Options(against=(reference,), licence=False)
    reports = [auditor.scan(registry.target(f"acme/{name}", ":v1"), options) for name in PACKED]
    assert {report.lineage.verdict for report in reports} == {"derived"}
    assert len({report.lineage.candidates[0].log10_p for report in reports}) == 1


@pytest.mark.parametrize("name", ["modelpack-raw", "modelpack-tar", "kitops"])
def test_a_small_part_of_a_larger_model_is_read(registry: DockerRegistry, tmp_path: Path, name: str) -> None:
    base = make_model(3, layers=12, hidden=256, neurons=768, vocabulary=9000)
    weights = safetensors_bytes(drifted(base, cosine=0.9))
    files = FILES | {"model.safetensors": weights}
    pack: Callable[..., registrykit.Artifact] = registrykit.kitops if name == "kitops" else registrykit.modelpack
    more = {"packing": "tar"} if name == "modelpack-tar" else {}
    registry.push(f"acme/large-{name}", pack(files, **more))
    against = str(write_model(base, tmp_path / "base"))
    report = auditor.scan(registry.target(f"acme/large-{name}"), Options(against=(against,)))
    assert report.lineage.verdict == "derived"
    size = sum(file.size for file in report.target.files)
    assert size > 50_000_000
    assert 100_000 < report.coverage.bytes_read < size / 100
    assert report.coverage.requests < 20


def test_compressed_layers_are_named_and_not_unpacked(registry: DockerRegistry, reference: str) -> None:
    registry.push("acme/squeezed", registrykit.kitops(FILES, squeezed=True))
    report = auditor.scan(registry.target("acme/squeezed"), Options(against=(reference,)))
    assert report.lineage.verdict == "inconclusive"
    assert [entry.code for entry in report.coverage.unread] == ["unsupported-format"] * 2
    assert all("compressed" in entry.reason for entry in report.coverage.unread)
    assert report.coverage.bytes_read < 2_000


# --- what is meant ---------------------------------------------------------------------------------------


def test_a_tag_that_moves(registry: DockerRegistry) -> None:
    old = registry.push("acme/moving", PACKED["modelpack-raw"][0])
    pinned = open_source(registry.target("acme/moving"))
    changed = FILES | {"README.md": b"# Another\n", "model.safetensors": safetensors_bytes(BASE)}
    new = registry.push("acme/moving", registrykit.modelpack(changed))
    assert whole(pinned, "model.safetensors") == FILES["model.safetensors"]
    meant = ((":latest", new, changed), (f"@{old}", old, FILES), (f":latest@{old}", old, FILES))
    for reference, digest, files in meant:
        source = open_source(registry.target("acme/moving", reference))
        assert source.revision == digest
        assert whole(source, "README.md") == files["README.md"]


def test_an_index_is_followed_where_one_entry_fits(registry: DockerRegistry) -> None:
    model = PACKED["modelpack-raw"][0]
    signature = registrykit.artifact(
        [("application/vnd.dev.sigstore.bundle.v0.3+json", b"{}", {})],
        config=("application/vnd.oci.empty.v1+json", {}),
        artifact_type="application/vnd.dev.sigstore.bundle.v0.3+json",
    )
    registry.push_index("acme/index", [signature, model])
    source = open_source(registry.target("acme/index"))
    assert source.revision == registrykit.digest_of(model.content)
    assert whole(source, "README.md") == CARD


def test_an_index_of_two_models_is_not_chosen_from(registry: DockerRegistry) -> None:
    models = [PACKED[name][0] for name in ("modelpack-raw", "kitops")]
    registry.push_index("acme/two", models)
    with pytest.raises(AmbiguousIndex) as caught:
        open_source(registry.target("acme/two"))
    for model in models:
        target = registry.target("acme/two", f"@{registrykit.digest_of(model.content)}")
        assert target in str(caught.value)
        assert whole(open_source(target), "README.md") == CARD


@pytest.mark.parametrize("reference", ["acme/absent", "acme/kitops:absent", f"acme/kitops@sha256:{'0' * 64}"])
def test_missing(registry: DockerRegistry, reference: str) -> None:
    with pytest.raises(MissingArtifact):
        open_source(registry.target(reference))


def test_an_image_is_no_model(registry: DockerRegistry) -> None:
    layer = ("application/vnd.oci.image.layer.v1.tar", registrykit.tar({"bin/sh": b"#!"}), dict[str, str]())
    registry.push("acme/image", registrykit.artifact([layer], config=("application/vnd.oci.image.config.v1+json", {})))
    with pytest.raises(NoModelLayers):
        open_source(registry.target("acme/image"))


def test_a_blob_that_rotted_in_the_registry(registry: DockerRegistry) -> None:
    files = FILES | {"config.json": b'{"model_type": "rotten"}'}
    registry.push("acme/rotten", registrykit.modelpack(files))
    digest = hashlib.sha256(files["config.json"]).hexdigest()
    place = registry.folder / f"blobs/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
    place.write_bytes(files["config.json"].replace(b"rotten", b"edible"))
    source = open_source(registry.target("acme/rotten"))
    with pytest.raises(FileError, match="other bytes than the manifest names"):
        whole(source, "config.json")
    assert whole(source, "README.md") == CARD


def test_registry_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.sources.hub_http._pause", lambda _: None)
    with pytest.raises(OciUnreachable, match=r"127\.0\.0\.1:9 cannot be reached"):
        open_source("oci://127.0.0.1:9/acme/model")


def test_command_line(
    registry: DockerRegistry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Commands(capsys, monkeypatch)
    reference = write_model(BASE, tmp_path / "base")  # of no licence: the audit passes
    target = registry.target("acme/modelpack-raw", ":v1")
    done = run("scan", target, "--against", reference, "--format", "json")
    assert (done.code, done.err) == (0, "")
    jsonschema.validate(done.json, json.loads(resources.files("auditor.report").joinpath("schema.json").read_bytes()))
    found = done.json["target"]
    assert (found["kind"], found["uri"]) == ("oci", registry.target("acme/modelpack-raw"))
    assert {file["digest_source"] for file in found["files"]} == {"registry"}
    assert run("keygen", "-o", "me", "--no-passphrase").code == 0
    assert run("attest", target, "--against", reference, "--key", "me.key", "-o", "audit.json").code == 0
    statement = json.loads(
        base64.b64decode(json.loads((tmp_path / "audit.json").read_text())["dsseEnvelope"]["payload"])
    )
    assert statement["predicate"]["resourceUri"] == f"{found['uri']}@{found['revision']}"
    assert run("verify", "audit.json", target, "--key", "me.pub").code == 0
    registry.push("acme/other", registrykit.modelpack(FILES | {"README.md": b"# Another\n"}))
    refused = run("verify", "audit.json", registry.target("acme/other"), "--key", "me.pub")
    assert refused.code == 1
    assert "wrong-resource" in refused.err


# --- who asks --------------------------------------------------------------------------------------------


def keep(config: Path, entries: dict[str, Any]) -> None:
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps(entries))


def refused(target: str) -> OciError:
    with pytest.raises(OciDenied) as caught:
        open_source(target)
    error: BaseException | None = caught.value
    while error:
        assert PASSWORD not in str(error) + repr(vars(error))
        assert BASIC not in str(error) + repr(vars(error))
        error = error.__cause__
    return caught.value


def test_user_and_password(tmp_path: Path, docker_config: Path) -> None:
    with DockerRegistry(tmp_path / "registry", Auth(htpasswd=HTPASSWD), f"Basic {BASIC}") as server:
        server.push("acme/model", PACKED["modelpack-raw"][0])
        target = server.target("acme/model")
        assert "docker login" in str(refused(target))
        keep(docker_config, {"credsStore": "secretservice"})
        assert "helper program, which is not run" in str(refused(target))
        wrong = base64.b64encode(f"{USER}:wrong".encode()).decode()
        keep(docker_config, {"auths": {f"127.0.0.1:{server.port}": {"auth": wrong}}})
        assert "does not accept" in str(refused(target))
        keep(docker_config, {"auths": {f"127.0.0.1:{server.port}": {"auth": BASIC}}})
        assert whole(open_source(target), "model.safetensors") == FILES["model.safetensors"]
        keep(docker_config, {"auths": {f"127.0.0.1:{server.port + 1}": {"auth": BASIC}}})
        refused(target)  # of another registry


class TokenServer:
    """Gives tokens as registries' token services do, signed so that the real registry takes them."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "tests")])
        now = np.datetime64("now").item()
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now.replace(year=now.year - 1, day=1))
            .not_valid_after(now.replace(year=now.year + 1, day=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = folder / "tokens.pem"
        self.certificate.write_bytes(self._certificate.public_bytes(Encoding.PEM))
        self.asked: list[tuple[str, str | None]] = []
        self.seconds = 300
        self.public = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                """Keep stderr clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.realm = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        given = request.headers.get("Authorization")
        self.asked.append((request.path, given))
        query = parse_qs(urlsplit(request.path).query)
        allowed = self.public or given == f"Basic {BASIC}"
        body = json.dumps({"token": self.token(query["scope"][0])}).encode() if allowed else b"{}"
        request.send_response(200 if allowed else 401)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def token(self, scope: str) -> str:
        kind, name, actions = scope.split(":")
        _, _, der = pem.unarmor(self.certificate.read_bytes())
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        now = int(time.time())
        claims = {
            "iss": "tests",
            "sub": USER,
            "aud": "tests",
            "exp": now + self.seconds,
            "nbf": now - 60,
            "iat": now,
            "jti": str(now),
            "access": [{"type": kind, "name": name, "actions": actions.split(",")}],
        }
        signed = ".".join(_unpadded(json.dumps(part).encode()) for part in (header, claims))
        r, s = utils.decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_unpadded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    server = TokenServer(tmp_path)
    yield server
    server.stop()


def test_tokens(tmp_path: Path, docker_config: Path, tokens: TokenServer) -> None:
    pusher = f"Bearer {tokens.token('repository:acme/model:pull,push')}"
    auth = Auth(realm=tokens.realm, certificate=tokens.certificate)
    with DockerRegistry(tmp_path / "registry", auth, pusher) as server:
        server.push("acme/model", PACKED["modelpack-raw"][0])
        target = server.target("acme/model")
        refused(target)
        keep(docker_config, {"auths": {f"127.0.0.1:{server.port}": {"username": USER, "password": PASSWORD}}})
        tokens.asked.clear()
        source = open_source(target)
        assert whole(source, "model.safetensors") == FILES["model.safetensors"]
        assert tokens.asked == [
            ("/token?service=tests&scope=repository%3Aacme%2Fmodel%3Apull", f"Basic {BASIC}"),
        ]
        assert BASIC not in server.logged
        assert source.http_requests == 6  # refused, token, manifest, config, head and rest of the weights
        docker_config.unlink()
        tokens.public = True
        assert whole(open_source(target), "README.md") == CARD  # a public repository: a token for nobody
        assert tokens.asked[-1][1] is None


def test_a_token_that_runs_out_between_two_reads(tmp_path: Path, tokens: TokenServer) -> None:
    pusher = f"Bearer {tokens.token('repository:acme/model:pull,push')}"
    tokens.public, tokens.seconds = True, -58  # the registry forgives a minute
    auth = Auth(realm=tokens.realm, certificate=tokens.certificate)
    with DockerRegistry(tmp_path / "registry", auth, pusher) as server:
        server.push("acme/model", PACKED["modelpack-raw"][0])
        source = open_source(server.target("acme/model"))
        before = len(tokens.asked)
        time.sleep(3)
        tokens.seconds = 300
        assert whole(source, "README.md") == CARD
        assert len(tokens.asked) == before + 1
