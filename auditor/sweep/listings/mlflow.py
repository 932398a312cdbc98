"""All versions of all models in MLflow's registry, or of one model: `models:/*`, `models:/name/*`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from auditor.errors import MlflowError, MlflowUnreachable, UsageError
from auditor.limits import LIMITS
from auditor.listing import Entry
from auditor.report import Place
from auditor.sources.mlflow_http import MlflowHttp
from auditor.sources.mlflow_settings import MlflowSettings
from auditor.sources.mlflow_target import SCHEME
from auditor.sweep.listings.base import Filters, Listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PATH: Final = "/api/2.0/mlflow/model-versions/search"
_NAME: Final = re.compile(r"models:/(?:([^/'\\]+)/)?\*")  # a quote would end the registry's filter
_PAGE: Final = 1_000


class MlflowListing:
    """The versions of a registry, page by page.

    Parameters
    ----------
    name : str
        `models:/*` or `models:/name/*`; what messages call it.
    model : str or None
        The only model that is wanted.
    settings : MlflowSettings
    """

    def __init__(self, name: str, model: str | None, settings: MlflowSettings) -> None:
        self._name, self._model, self._registry = name, model, settings.registry
        self._http = MlflowHttp(settings)

    def __iter__(self) -> Iterator[Listed]:
        """See `Listing`. The registry names no digest of a version: each is asked whether it changed.

        Raises
        ------
        MlflowError
        """
        seen: set[str] = set()
        asked: set[str] = set()
        token = ""
        while token not in asked and len(asked) < LIMITS.hub_pages:
            asked.add(token)
            answer = self._page(token)
            for record in _records(answer):
                target = self._target(record)
                if target not in seen:
                    seen.add(target)
                    yield Listed(entry=Entry(target=target, place=Place(path=self._name)))
            following = answer.get("next_page_token")
            if not isinstance(following, str) or not following:
                break
            token = following
        else:
            raise MlflowUnreachable(f"{self._name}: the registry sends a list of versions that does not end")
        if not seen:
            raise MlflowError(f"{self._name}: the registry lists no version")

    def _page(self, token: str) -> Mapping[str, object]:
        fields = {"max_results": str(_PAGE)}
        if self._model is not None:
            fields["filter"] = f"name='{self._model}'"
        if token:
            fields["page_token"] = token
        _, answer = self._http.ask(f"{self._registry}{_PATH}?{urlencode(fields)}", about=self._name)
        if not isinstance(answer, dict):
            raise MlflowUnreachable(f"{self._name}: the registry sends no list of versions")
        return answer

    def _target(self, record: object) -> str:
        """Return the name of a version.

        Raises
        ------
        MlflowUnreachable
            When it is none, or of another model: then the list is no answer to what was asked.
        """
        name, version = (record.get("name"), record.get("version")) if isinstance(record, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(version, str | int) or self._model not in {None, name}:
            raise MlflowUnreachable(f"{self._name}: the registry lists what is no version of a model")
        return f"{SCHEME}{name}/{version}"  # where that names nothing that can be asked for, its audit will say so


def listing(name: str, filters: Filters) -> MlflowListing:
    """Open the versions of a registry, or of one of its models.

    Raises
    ------
    UsageError, MlflowError
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UsageError(f"{name}: all versions of a registry are models:/*, and of one model models:/NAME/*")
    if filters.any:
        raise UsageError(f"{name}: MLflow says nothing of tags, dates and sizes to filter by")
    return MlflowListing(name, match[1], MlflowSettings.current())


def _records(answer: Mapping[str, object]) -> list[object]:
    records = answer.get("model_versions", [])
    if not isinstance(records, list):
        raise MlflowUnreachable("the registry sends no list of versions")
    return records
