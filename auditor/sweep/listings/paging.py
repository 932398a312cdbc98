"""Lists that servers send in pages, each with a link to the next (RFC 8288)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from auditor.limits import LIMITS

if TYPE_CHECKING:
    from auditor.sources.hub_http import Head

_NEXT: Final = re.compile(r'<([^<>]+)>\s*;\s*rel="?next"?')


def next_query(head: Head) -> str:
    """Return the query of the next page; empty where there is none. Host and path are ours to say, not the server's."""
    link = _NEXT.search(head.headers.get("link", "")[: LIMITS.hub_url])
    try:
        return quote(urlsplit(link[1]).query, safe="=&%[]") if link else ""
    except ValueError:
        return ""
