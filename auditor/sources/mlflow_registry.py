"""What MLflow's registry says of a version, and the tags and aliases that we set there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from auditor.errors import MissingModelVersion, MlflowError, MlflowMismatch, MlflowUnreachable
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditor.sources.mlflow_http import MlflowHttp
    from auditor.sources.mlflow_target import MlflowTarget

_API = "/api/2.0/mlflow"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A version of a registered model.

    Attributes
    ----------
    name, version : str
        Those that were asked for.
    source : str
        What was registered: `runs:/...`, `models:/m-...`, a URI. Text of whoever registered it.
    artifact_uri : str
        Where its files are, as the registry resolves the source.
    run_id, model_id : str or None
        The run or the logged model that it came from.
    created : int
        When, in ms since 1970: a version that is deleted and made anew has the same number.
    tags : mapping of str to str
        Not part of what makes two of these equal.
    """

    name: str
    version: str
    source: str
    artifact_uri: str
    run_id: str | None
    model_id: str | None
    created: int
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def uri(self) -> str:
        """What names it in a report."""
        return f"models:/{self.name}/{self.version}"


class Registry:
    """The REST API of the model registry.

    Parameters
    ----------
    http : MlflowHttp
    endpoint : str
        Without a slash at its end.
    """

    def __init__(self, http: MlflowHttp, endpoint: str) -> None:
        self._http = http
        self._api = endpoint + _API

    def resolve(self, target: MlflowTarget) -> ModelVersion:
        """Return the version that a target names now.

        Raises
        ------
        MlflowError
            There is no such version, it is not ready, or the server gives no usable answer.
        """
        version = target.version
        if version is None:
            version = self.holder(target.name, target.alias or "")
            if version is None:
                raise MissingModelVersion(f"{target}: the registry has no such model, or the alias is on none of it")
        return self.version(target.name, version)

    def version(self, name: str, version: str) -> ModelVersion:
        """Return a version by its number.

        Raises
        ------
        MlflowError
        """
        about = f"models:/{name}/{version}"
        found = self._record("model-versions/get", {"name": name, "version": version}, about)
        if found is None:
            raise MissingModelVersion(f"{about}: the registry has no such model, or no such version of it")
        if (found.get("name"), str(found.get("version"))) != (name, version):
            raise MlflowMismatch(f"{about}: the registry answers for another version")
        status = found.get("status", "READY")
        if status != "READY":
            raise MlflowError(f"{about}: not ready: its registration has not ended well, or not yet")
        query = urlencode({"name": name, "version": version})
        _, answer = self._http.ask(f"{self._api}/model-versions/get-download-uri?{query}", about=about)
        uri = answer.get("artifact_uri") if isinstance(answer, dict) else None
        if not isinstance(uri, str) or not uri:
            raise MlflowUnreachable(f"{about}: the registry does not say where its files are")
        return ModelVersion(
            name=name,
            version=version,
            source=_text(found, "source"),
            artifact_uri=uri,
            run_id=_text(found, "run_id") or None,
            model_id=_text(found, "model_id") or _logged_model(_text(found, "source")),
            created=_number(found, "creation_timestamp"),
            tags=_tags(found),
        )

    def holder(self, name: str, alias: str) -> str | None:
        """Return the number of the version that an alias is on; None where it is on none.

        Raises
        ------
        MlflowError
        """
        about = f"models:/{name}@{alias}"
        found = self._record("registered-models/alias", {"name": name, "alias": alias}, about)
        if found is None:
            return None
        version = str(found.get("version", ""))
        if found.get("name") != name or not (version.isascii() and version.isdigit() and len(version) <= 10):
            raise MlflowMismatch(f"{about}: the registry answers for another model")
        return version

    def set_tag(self, version: ModelVersion, key: str, value: str) -> None:
        """Set a tag of a version.

        Raises
        ------
        MlflowError
        """
        fields = {"name": version.name, "version": version.version, "key": key, "value": value[: LIMITS.mlflow_text]}
        self._http.send("POST", f"{self._api}/model-versions/set-tag", fields, about=f"{version.uri}: tag {key}")

    def delete_tag(self, version: ModelVersion, key: str) -> None:
        """Remove a tag of a version, if it is there.

        Raises
        ------
        MlflowError
        """
        fields = {"name": version.name, "version": version.version, "key": key}
        self._http.send("DELETE", f"{self._api}/model-versions/delete-tag", fields, about=f"{version.uri}: tag {key}")

    def set_alias(self, version: ModelVersion, alias: str) -> None:
        """Put an alias on a version. It leaves the version that it was on.

        Raises
        ------
        MlflowError
        """
        fields = {"name": version.name, "alias": alias, "version": version.version}
        self._http.send("POST", f"{self._api}/registered-models/alias", fields, about=f"{version.uri}: alias {alias}")

    def delete_alias(self, version: ModelVersion, alias: str) -> None:
        """Remove an alias of the model that a version is of, whichever version it is on.

        Raises
        ------
        MlflowError
        """
        fields = {"name": version.name, "alias": alias}
        self._http.send("DELETE", f"{self._api}/registered-models/alias", fields, about=f"{version.uri}: alias {alias}")

    def _record(self, path: str, query: Mapping[str, str], about: str) -> Mapping[str, object] | None:
        status, answer = self._http.ask(f"{self._api}/{path}?{urlencode(query)}", about=about)
        if status != 200:
            return None
        record = answer.get("model_version") if isinstance(answer, dict) else None
        if not isinstance(record, dict):
            raise MlflowUnreachable(f"{about}: the registry sends no version of a model")
        return record


def _logged_model(source: str) -> str | None:
    """Return the logged model that a source names; older servers say it nowhere else."""
    return source.removeprefix("models:/").partition("/")[0] if source.startswith("models:/m-") else None


def _text(record: Mapping[str, object], key: str) -> str:
    value = record.get(key, "")
    return value if isinstance(value, str) else ""


def _number(record: Mapping[str, object], key: str) -> int:
    value = record.get(key)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return value if isinstance(value, int) else 0


def _tags(record: Mapping[str, object]) -> dict[str, str]:
    tags = record.get("tags", [])
    if not isinstance(tags, list):
        return {}
    pairs = [(tag.get("key"), tag.get("value", "")) for tag in tags if isinstance(tag, dict)]
    return {key: value for key, value in pairs if isinstance(key, str) and isinstance(value, str)}
