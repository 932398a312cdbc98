"""What a refusal of the Hub means for the whole target, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from auditor.errors import GatedRepo, HubError, HubMismatch, HubUnreachable, MissingRepo, MissingRevision, RenamedRepo
from auditor.sources.hub_target import is_repo_id

if TYPE_CHECKING:
    from auditor.sources.hub_http import Head, HubHttp
    from auditor.sources.hub_target import HubTarget

_API_PATH = re.compile(r"/api/models/([^/]+/[^/]+)")


def refusal(head: Head, *, http: HubHttp, endpoint: str, target: HubTarget) -> HubError | None:
    """Return the error that an answer means for the whole repository; None where it tells of one file only.

    Only codes and statuses are used: the server's own words may be hostile, or hold our token.
    """
    code = head.headers.get("x-error-code", "")
    if code == "GatedRepo":
        token = (
            "with the account of the token in use" if http.has_token else "and set HF_TOKEN to a token of that account"
        )
        return GatedRepo(f"{target}: gated: accept its terms at {endpoint}/{target.repo} {token}")
    if head.headers.get("x-error-message", "") == "Access to this resource is disabled.":
        return HubError(f"{target}: the Hub has disabled access to this repository")
    if code == "RevisionNotFound":
        return MissingRevision(f"{target}: the repository has no such revision; see {endpoint}/{target.repo}/commits")
    if code == "RepoNotFound" or (head.status == 401 and not code):
        return _missing(head, http, target)
    return None


def listing_refusal(head: Head, *, http: HubHttp, endpoint: str, target: HubTarget) -> HubError:
    """Return the error that any answer but a 200 means to a request for the commit or the list of files."""
    if found := refusal(head, http=http, endpoint=endpoint, target=target):
        return found
    if head.is_redirect:
        return _moved(head, http, target)
    if head.status == 404:
        return _missing(head, http, target)
    if head.status == 403:
        return HubError(f"{target}: {head.host} forbids it (403): the token in use may lack the right to read")
    return HubUnreachable(f"{target}: {head.host} answers {head.status}")


def _missing(head: Head, http: HubHttp, target: HubTarget) -> MissingRepo:
    revision = f", the revision {target.revision} does not exist" if target.revision else ""
    token = "the token in use is not valid or may not read it" if http.has_token else "it is private: then set HF_TOKEN"
    return MissingRepo(
        f"{target}: {head.host} knows no such repository ({head.status}): "
        f"no such local path or Hub name{revision}, or {token}"
    )


def repo_of(url: str) -> str:
    """Return the repository that a URL of the API is about; nothing is checked about the name."""
    try:
        named = _API_PATH.search(urlsplit(url).path)
    except ValueError:
        return ""
    return unquote(named[1]) if named else ""


def _moved(head: Head, http: HubHttp, target: HubTarget) -> HubError:
    name = http.scrubbed(repo_of(head.headers["location"]))
    if not is_repo_id(name):
        return HubUnreachable(f"{target}: {head.host} redirects to what is no repository")
    if name == target.repo:
        return HubMismatch(f"{target}: {head.host} redirects the repository to itself or to another host")
    at = f"@{target.revision}" if target.revision else ""
    return RenamedRepo(f"{target}: renamed: the repository is called {name} now; scan {name}{at}", new_name=name)
