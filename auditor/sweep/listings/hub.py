"""All models of an organisation on the Hub, or on a server that speaks like it: `hf:org/*`."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from auditor.errors import HubError, HubOffline, HubUnreachable, UsageError
from auditor.limits import LIMITS
from auditor.listing import Entry
from auditor.report import Place
from auditor.sources.hub_http import ExchangeError, HubHttp
from auditor.sources.hub_settings import HubSettings
from auditor.sources.hub_target import COMMIT, SCHEME, is_repo_id
from auditor.sweep.listings.base import Filters, Listed
from auditor.sweep.listings.paging import next_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from auditor.sources.hub_http import Head

_NAME: Final = re.compile(r"hf:(?://)?([^/*]+)/\*")
_WIDTHS: Final = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "U32": 4, "BF16": 2, "F16": 2, "I16": 2, "U16": 2}
_PAGE: Final = 1_000


class HubListing:
    """The models of an organisation, page by page.

    Parameters
    ----------
    name : str
        `hf:org/*`; what messages, and findings about its models, point at.
    org : str
    filters : Filters
    settings : HubSettings
    """

    def __init__(self, name: str, org: str, filters: Filters, settings: HubSettings) -> None:
        self._name, self._org, self._filters = name, org, filters
        self._endpoint = settings.endpoint
        self._http = HubHttp(settings)

    @property
    def requests(self) -> int:
        """Sent so far."""
        return self._http.requests

    def __iter__(self) -> Iterator[Listed]:
        """See `Listing`.

        Raises
        ------
        HubError
        """
        seen: set[str] = set()
        asked: set[str] = set()
        query = self._first_query()
        while query:
            if query in asked or len(asked) >= LIMITS.hub_pages:
                raise HubUnreachable(f"{self._name}: {self._http.home} sends a list of models that does not end")
            asked.add(query)
            head, page = self._page(query)
            for record in page:
                listed = self._listed(record)
                if listed is not None and listed.entry.target not in seen:
                    seen.add(listed.entry.target)
                    yield listed
            query = next_query(head)
        if not asked or not (seen or self._filters.any):
            raise HubError(f"{self._name}: {self._http.home} lists no models of {self._org}")

    def _first_query(self) -> str:
        fields = [("author", self._org), ("limit", str(_PAGE))]
        fields += [("filter", tag) for tag in self._filters.tags]
        fields += [("expand[]", name) for name in ("sha", "lastModified", "tags", "safetensors")]
        return urlencode(fields)

    def _page(self, query: str) -> tuple[Head, list[object]]:
        def want(head: Head) -> int:
            if head.status != 200:
                raise HubUnreachable(f"{self._name}: {head.host} answers {head.status}")
            return LIMITS.hub_json

        try:
            head, body = self._http.get(f"{self._endpoint}/api/models?{query}", want=want, at_most=True)
        except ExchangeError as error:
            raise HubUnreachable(f"{self._name}: {error.problem}") from error
        if head.status != 200:
            raise HubError(f"{self._name}: {head.host} answers {head.status} to the list of its models")
        try:
            page = json.loads(body.decode())
        except (ValueError, RecursionError) as error:
            raise HubUnreachable(f"{self._name}: {head.host} sends no JSON") from error
        if not isinstance(page, list):
            raise HubUnreachable(f"{self._name}: {head.host} sends no list of models")
        return head, page

    def _listed(self, record: object) -> Listed | None:
        """Check one record; None for what is not wanted.

        Raises
        ------
        HubUnreachable
            For a name that is none, or of another organisation: then the list is no answer to what was asked.
        """
        repo = record.get("id") if isinstance(record, dict) else None
        if not isinstance(record, dict) or not isinstance(repo, str) or not is_repo_id(repo):
            raise HubUnreachable(f"{self._name}: {self._http.home} lists what is no model repository")
        if repo.split("/")[0].lower() != self._org.lower():
            raise HubUnreachable(f"{self._name}: {self._http.home} lists a model of another organisation")
        if not _is_wanted(record, self._filters):
            return None
        sha = record.get("sha")
        revision = sha if isinstance(sha, str) and COMMIT.fullmatch(sha) else None
        return Listed(entry=Entry(target=f"{SCHEME}{repo}", place=Place(path=self._name)), revision=revision)


def listing(name: str, filters: Filters) -> HubListing:
    """Open the models of an organisation.

    Raises
    ------
    UsageError, HubError
    """
    match = _NAME.fullmatch(name)
    if match is None or not is_repo_id(f"{match[1]}/x"):
        raise UsageError(f"{name}: all models of an organisation are hf:org/*")
    settings = HubSettings.current()
    if settings.offline:
        raise HubOffline(f"{name}: offline mode is on, and only the Hub knows the list; unset HF_HUB_OFFLINE")
    return HubListing(name, match[1], filters, settings)


def _is_wanted(record: Mapping[str, object], filters: Filters) -> bool:
    tags = record.get("tags")
    if isinstance(tags, list) and not set(filters.tags) <= {tag for tag in tags if isinstance(tag, str)}:
        return False
    modified = _time(record.get("lastModified"))
    if filters.updated_since is not None and modified is not None and modified < filters.updated_since:
        return False
    size = _bytes(record.get("safetensors"))
    return filters.max_bytes is None or size is None or size <= filters.max_bytes


def _time(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _bytes(value: object) -> int | None:
    """Return how many bytes the weights take, by the Hub's count of values of each type; None where it has none."""
    counts = value.get("parameters") if isinstance(value, dict) else None
    if not isinstance(counts, dict) or not all(isinstance(count, int) for count in counts.values()):
        return None
    return sum(int(count) * _WIDTHS.get(str(dtype), 1) for dtype, count in counts.items())
