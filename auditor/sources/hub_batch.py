"""Git LFS's batch API: where all files of a repository are, in one request instead of one redirect for each.

Source: git-lfs docs/api/batch.md. Only a short cut: whatever it does not say plainly is found by `resolve` as before.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditor.sources.hub_api import HubFile

MEDIA_TYPE = "application/vnd.git-lfs+json"


def batch_request(files: Sequence[HubFile]) -> bytes:
    """Ask for the places of files in LFS."""
    objects = [{"oid": file.sha256, "size": file.size} for file in files]
    return json.dumps(
        {"operation": "download", "transfers": ["basic"], "hash_algo": "sha256", "objects": objects}
    ).encode()


def batch_places(answer: bytes, files: Sequence[HubFile], *, https: bool) -> dict[str, str]:
    """Read the places out of an answer.

    Parameters
    ----------
    answer : bytes
    files : sequence of HubFile
        Those asked for.
    https : bool
        The endpoint is asked by https: then no place is one of http.

    Returns
    -------
    dict of path to URL
        Of the files that the answer names with the digest and the size asked for, and that can be fetched without
        headers of the server's choice. Empty where it is no such answer.
    """
    try:
        document = json.loads(answer.decode())
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict) or document.get("transfer", "basic") != "basic":
        return {}
    objects = document.get("objects")
    urls: dict[tuple[object, object], str] = {}
    for entry in objects if isinstance(objects, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("oid"), str) and type(entry.get("size")) is int:
            url = _url(entry.get("actions"), https=https)
            if url is not None:
                urls[entry["oid"], entry["size"]] = url
    return {file.path: urls[file.sha256, file.size] for file in files if (file.sha256, file.size) in urls}


def _url(actions: object, *, https: bool) -> str | None:
    download = actions.get("download") if isinstance(actions, dict) else None
    url = download.get("href") if isinstance(download, dict) else None
    if not isinstance(download, dict) or not isinstance(url, str) or download.get("header"):
        return None
    schemes = ("https://",) if https else ("https://", "http://")
    return url if url.startswith(schemes) and len(url) <= LIMITS.hub_url and url.isascii() else None
