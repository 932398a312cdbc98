"""A version of a registered model in MLflow's registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.errors import VersionChanged
from auditor.sources.base import FileInfo
from auditor.sources.mlflow_artifacts import list_files, place_of
from auditor.sources.mlflow_http import MlflowHttp
from auditor.sources.mlflow_reader import MlflowReader
from auditor.sources.mlflow_registry import Registry
from auditor.sources.mlflow_settings import MlflowSettings
from auditor.sources.mlflow_target import parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.sources.base import OnDisk, Range, Unread


class MlflowSource:
    """Files of one version of a registered model.

    An alias becomes a version once; every request after that is for this version. Files are read by ranges, through
    the server.

    Parameters
    ----------
    target : str
        `models:/name/version`, or `models:/name@alias`.
    settings : MlflowSettings, optional
        What MLflow's own client would use where left out.

    Attributes
    ----------
    uri : str
        `models:/name/version`.
    revision : str
        The version, and the run or logged model that it came from: `3+run.f00d`.
    version : ModelVersion
        What the registry says of it.
    registry : Registry

    Raises
    ------
    MlflowError
        The name is none, there is no such version, its files lie where the server does not list them, or the server
        gives no usable answer. The message says what to do.
    TargetError
        More than `LIMITS.files` files and folders.
    """

    kind = "mlflow"

    def __init__(self, target: str, settings: MlflowSettings | None = None) -> None:
        parsed = parse_target(target)
        self._settings = settings or MlflowSettings.current()
        self._http = MlflowHttp(self._settings)
        self.registry = Registry(self._http, self._settings.registry)
        self.version = self.registry.resolve(parsed)
        self.uri = self.version.uri
        self._place = place_of(self.version, self._http, self._settings)
        self.revision = _revision(self.version.version, self.version.run_id, self.version.model_id)
        self._listing = list_files(self._place, self.version, self._http, self._settings)
        self._files = {file.path: file for file in self._listing.files}
        self._reader = MlflowReader(self._http, self._settings, self.version, self._place)

    @property
    def http_requests(self) -> int:
        """Requests sent: those to the registry, redirects and repetitions included."""
        return self._http.requests

    @property
    def http_bytes(self) -> int:
        """Bytes of bodies received."""
        return self._http.bytes

    def files(self) -> tuple[FileInfo, ...]:
        """See `Source.files`. MLflow has no digests of them."""
        return tuple(FileInfo(path=file.path, size=file.size) for file in self._listing.files)

    def refused(self) -> tuple[Unread, ...]:
        """See `Source.refused`."""
        return self._listing.refused

    def read(self, path: str, ranges: Sequence[Range]) -> list[bytes]:
        """See `Source.read`."""
        return self._reader.read_file(self._files[path], ranges)

    def on_disk(self, path: str) -> OnDisk | None:  # noqa: ARG002
        """See `Source.on_disk`: nothing of it lies on this machine."""
        return None

    def check_unchanged(self) -> None:
        """Ask again what the version is, and which files it has.

        Raises
        ------
        VersionChanged
            When the answer is another than at the beginning.
        MlflowError
        """
        now = self.registry.version(self.version.name, self.version.version)
        if now != self.version:
            raise VersionChanged(f"{self.uri}: another model was registered under this number meanwhile")
        if list_files(self._place, now, self._http, self._settings) != self._listing:
            raise VersionChanged(f"{self.uri}: its files changed meanwhile")


def _revision(version: str, run_id: str | None, model_id: str | None) -> str:
    """Return the version with what it was made from: as build metadata stands in a version number."""
    if model_id:
        return f"{version}+model.{model_id}"
    return f"{version}+run.{run_id}" if run_id else version
