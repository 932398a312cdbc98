"""A real MLflow server on loopback: SQLite behind it, artifacts through its proxy, spoken to by REST only.

Behind the proxy is a folder, or a bucket of S3 as moto plays it. Both are installed once, in an environment of their
own; where they cannot be, the tests that need them fail, and do not skip.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

from venvkit import python_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

REQUIREMENTS = ("mlflow==3.17.0", "boto3==1.44.8", "moto[server]==5.2.5")

_SURROUNDINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",  # the receiver of the tests listens on loopback
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
    "MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_WEBHOOK_CACHE_TTL": "0",  # else a new webhook may take a minute to be known
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # nothing here needs its workers, which take long to start
}

_S3 = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def python() -> Path:
    """Return an interpreter that has MLflow."""
    return python_of("mlflow", REQUIREMENTS)


@dataclass(slots=True)
class MlflowServer:
    """A server, and what a person does to it who trains and registers models.

    Attributes
    ----------
    folder : Path
        Where its database, its artifacts and its log are.
    bucket : bool
        The artifacts are in a bucket instead.
    """

    folder: Path
    bucket: bool = False
    _port: int = 0
    _experiment: str = ""
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def ask(self, method: str, path: str, fields: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401 (JSON)
        """Call `api/2.0/mlflow/PATH`."""
        url = f"{self.url}/api/2.0/mlflow/{path}"
        if method == "GET" and fields:
            url += f"?{urlencode(fields)}"
        data = None if method == "GET" else json.dumps(fields or {}).encode()
        request = urllib.request.Request(  # noqa: S310 - our own loopback server
            url, data=data, method=method, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read())

    def log_run(self, folder: Path, *, below: str = "model") -> str:
        """Upload a folder as the artifacts of a new run; return the run's id."""
        run = self.ask("POST", "runs/create", {"experiment_id": self._experiment})["run"]["info"]
        self._upload(folder, f"{run['artifact_uri']}/{below}".rstrip("/"))
        return str(run["run_id"])

    def log_model(self, folder: Path) -> str:
        """Upload a folder as a logged model of MLflow 3; return its id."""
        made = self.ask("POST", "logged-models", {"experiment_id": self._experiment, "name": "model"})
        info = made["model"]["info"]
        self._upload(folder, info["artifact_uri"])
        return str(info["model_id"])

    def register(self, name: str, source: str, **fields: str) -> str:
        """Make a version of a registered model; return its number."""
        try:
            self.ask("POST", "registered-models/create", {"name": name})
        except urllib.error.HTTPError as error:
            error.close()  # it is there
        made = self.ask("POST", "model-versions/create", {"name": name, "source": source, **fields})
        return str(made["model_version"]["version"])

    def unregister(self, name: str) -> None:
        """Delete a registered model with all its versions."""
        self.ask("DELETE", "registered-models/delete", {"name": name})

    def register_run(self, name: str, folder: Path) -> str:
        """Upload a folder, and register it as most people do."""
        run = self.log_run(folder)
        return self.register(name, f"runs:/{run}/model", run_id=run)

    def version(self, name: str, version: str) -> Any:  # noqa: ANN401 (JSON)
        """Return what the server says of a version, its tags as a dictionary."""
        found = self.ask("GET", "model-versions/get", {"name": name, "version": version})["model_version"]
        found["tags"] = {tag["key"]: tag["value"] for tag in found.get("tags", [])}
        return found

    def logged(self) -> str:
        """Return everything that the server wrote down."""
        return (self.folder / "server.log").read_text(errors="replace")

    def _upload(self, folder: Path, uri: str) -> None:
        root = uri.removeprefix("mlflow-artifacts:").strip("/")
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            place = quote(f"{root}/{path.relative_to(folder).as_posix()}")
            url = f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{place}"
            request = urllib.request.Request(url, data=path.read_bytes(), method="PUT")  # noqa: S310
            with urllib.request.urlopen(request, timeout=60):  # noqa: S310
                pass

    def __enter__(self) -> Self:
        interpreter = python()
        self._port, bucket = _free_ports()
        surroundings = os.environ | _SURROUNDINGS
        destination = str(self.folder / "artifacts")
        try:
            if self.bucket:
                surroundings |= _S3 | {"MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{bucket}"}
                destination = "s3://models/artifacts"
                self._start(
                    [str(interpreter.with_name("moto_server")), "-H", "127.0.0.1", "-p", str(bucket)], surroundings
                )
                self._wait(f"http://127.0.0.1:{bucket}/moto-api/")
                made = urllib.request.Request(f"http://127.0.0.1:{bucket}/models", method="PUT")
                urllib.request.urlopen(made, timeout=20).close()  # noqa: S310
            command = [str(interpreter), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
            command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
            command += ["--artifacts-destination", destination, "--serve-artifacts"]
            self._start(command, surroundings)
            self._wait(f"{self.url}/health")
            self._experiment = str(self.ask("POST", "experiments/create", {"name": "tests"})["experiment_id"])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in reversed(self._processes):
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:  # it waits for connections that clients keep
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(20)

    def _start(self, command: list[str], surroundings: Mapping[str, str]) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    command,
                    cwd=self.folder,
                    env=surroundings,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # it starts others, which end with it
                )
            )

    def _wait(self, url: str) -> None:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            if any(process.poll() is not None for process in self._processes):
                raise RuntimeError(f"a server does not start:\n{self.logged()[-2000:]}")
            try:
                with urllib.request.urlopen(url, timeout=5):  # noqa: S310
                    return
            except OSError:
                time.sleep(0.2)
        raise TimeoutError(f"{url} does not come up")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        for listener in (one, two):
            listener.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]
