"""All tags of an OCI registry: `oci://host/*`, below a prefix: `oci://host/prefix/*`, of a repository: `oci://host/repo:*`.

A registry says of a tag neither its digest nor whether it is a model: that takes a request each, which the audit of an
unchanged tag takes as well.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from auditor.errors import BadOciName, MissingArtifact, OciDenied, OciError, OciUnreachable, UsageError
from auditor.limits import LIMITS
from auditor.listing import Entry
from auditor.report import Place
from auditor.sources.hub_http import ExchangeError
from auditor.sources.oci_http import OciHttp
from auditor.sources.oci_login import stored_login
from auditor.sources.oci_target import SCHEME, OciTarget, parse_target
from auditor.sweep.listings.base import Filters, Listed
from auditor.sweep.listings.paging import next_query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditor.sources.hub_http import Head

_NAME: Final = re.compile(r"oci://([^/*]+)/(?:(?:([^*:]+)/)?\*|([^*:]+):\*)")
_PAGE: Final = 1_000  # what registries give at most; some refuse to be asked for more


class OciListing:
    """The tags of a registry's repositories, page by page.

    Parameters
    ----------
    name : str
        What messages call it.
    registry : str
        Host, with a port where one is given.
    prefix : str
        Only repositories below it, and the one that it names; empty for all.
    repository : str
        The only one that is wanted; empty where the registry is asked which there are.

    Raises
    ------
    OciDenied
        Docker's own file of credentials cannot be used.
    """

    def __init__(self, name: str, registry: str, *, prefix: str = "", repository: str = "") -> None:
        self._name, self._prefix, self._repository = name, prefix, repository
        self._registry = OciTarget(registry=registry, repository="")
        self._login = stored_login(self._registry)

    def __iter__(self) -> Iterator[Listed]:
        """See `Listing`. Of a repository whose tags alone are refused, the name is listed: its audit says so.

        Raises
        ------
        OciError
        """
        found = False
        for repository in (self._repository,) if self._repository else self._repositories():
            target = OciTarget(registry=self._registry.registry, repository=repository)
            try:
                for tag in self._tags(target):
                    found = True
                    yield self._listed(f"{target}:{tag}")
            except OciDenied:
                if self._repository:
                    raise
                found = True
                yield self._listed(str(target))
        if not found:
            raise MissingArtifact(f"{self._name}: {self._registry.registry} lists no tag")

    def _listed(self, target: str) -> Listed:
        return Listed(entry=Entry(target=target, place=Place(path=self._name)))

    def _repositories(self) -> Iterator[str]:
        try:
            for repository in self._names(self._registry, "_catalog", "repositories"):
                if not self._prefix or f"{repository}/".startswith(f"{self._prefix}/"):
                    yield self._checked(repository)
        except MissingArtifact as error:
            raise OciError(self._without_list("keeps")) from error
        except OciDenied as error:
            login = (
                "" if self._login.basic or self._login.bearer else "; where it shows it to users, `docker login` first"
            )
            raise OciDenied(self._without_list("shows us") + login) from error

    def _without_list(self, verb: str) -> str:
        host = self._registry.registry
        return (
            f"{self._name}: {host} {verb} no list of its repositories, like Docker Hub and ghcr.io: name targets in "
            f"a file, or one repository, for all its tags: {SCHEME}{host}/REPOSITORY:*"
        )

    def _tags(self, target: OciTarget) -> Iterator[str]:
        try:
            for tag in self._names(target, f"{target.path}/tags/list", "tags"):
                yield self._checked(target.repository, tag)
        except MissingArtifact:
            if self._repository:
                raise  # one of which all tags were deleted stays in the lists of some registries

    def _checked(self, repository: str, tag: str | None = None) -> str:
        """Return a name that can be asked for.

        Raises
        ------
        OciUnreachable
            When it is none: then the list is no answer to what was asked.
        """
        meant = OciTarget(registry=self._registry.registry, repository=repository, tag=tag)
        try:
            if parse_target(str(meant)) == meant:
                return repository if tag is None else tag
        except BadOciName:
            pass
        what = "repository" if tag is None else "tag"
        raise OciUnreachable(f"{self._name}: {self._registry.registry} lists what is no name of a {what}")

    def _names(self, target: OciTarget, path: str, field: str) -> Iterator[str]:
        """Yield each name of a list once, page by page."""
        http = OciHttp(target, self._login)
        seen: set[str] = set()
        asked: set[str] = set()
        query = urlencode({"n": _PAGE})
        while query:
            if query in asked or len(asked) >= LIMITS.hub_pages or len(seen) > LIMITS.sweep_names:
                raise OciUnreachable(f"{self._name}: {http.home} sends a list of {field} that does not end")
            asked.add(query)
            head, body = self._page(http, f"{target.endpoint}/v2/{path}?{query}")
            for name in self._parsed(body, field, http):
                if name not in seen:
                    seen.add(name)
                    yield name
            query = next_query(head)

    def _page(self, http: OciHttp, url: str) -> tuple[Head, bytes]:
        def want(head: Head) -> int:
            if head.status != 200:
                raise ExchangeError(f"{head.host} answers {head.status}")
            return LIMITS.hub_json

        try:
            for _ in range(LIMITS.hub_hops + 1):
                head, body = http.ask(url, want=want, at_most=True)
                if not head.is_redirect:
                    break
                url = http.redirect(head)
        except ExchangeError as error:
            raise OciUnreachable(f"{self._name}: {error.problem}") from error
        if head.status in {401, 403}:
            raise http.denied("they lack the right to read" if http.has_token else "")
        if head.status in {404, 405}:
            raise MissingArtifact(f"{self._name}: {head.host} keeps no such list")
        if head.status != 200:
            raise OciUnreachable(f"{self._name}: {head.host} answers {head.status}")
        return head, body

    def _parsed(self, body: bytes, field: str, http: OciHttp) -> list[str]:
        try:
            answer = json.loads(body.decode())
        except (ValueError, RecursionError) as error:
            raise OciUnreachable(f"{self._name}: {http.home} sends no JSON") from error
        names = answer[field] if isinstance(answer, dict) and field in answer else ""
        if names is None:  # as the reference implementation says that there are none
            return []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise OciUnreachable(f"{self._name}: {http.home} sends no list of {field}")
        return names


def listing(name: str, filters: Filters) -> OciListing:
    """Open the tags of a registry, of what lies below a prefix, or of one repository.

    Raises
    ------
    UsageError, OciError
    """
    match = _NAME.fullmatch(name)
    if match is None:
        shown = f"{SCHEME}..." if "@" in name else name  # a password may stand before the @
        raise UsageError(
            f"{shown}: all tags of a registry are oci://host/*, oci://host/prefix/* or oci://host/repository:*"
        )
    registry, prefix, repository = match[1], match[2] or "", match[3] or ""
    checked = parse_target(f"{SCHEME}{registry}/{prefix or repository or 'any'}")
    if filters.any:
        raise UsageError(f"{name}: a registry says nothing of labels, dates and sizes to filter by")
    return OciListing(name, checked.registry, prefix=prefix, repository=repository)
