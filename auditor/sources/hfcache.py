"""The cache of huggingface_hub, whose snapshots are links: where these may lead.

Layout, below the cache folder:

    models--org--name/snapshots/<commit>/x    link to ../../blobs/<etag>
    models--org--name/blobs/<etag>            file, or link to ../../blobs/<2 hex>/<64 hex>
    blobs/<2 hex>/<64 hex>                    file, shared by all repositories (since huggingface_hub 2)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ENTRY = re.compile(r"(models|datasets|spaces|kernels)--.+")
_SHARED = re.compile(r"[0-9a-f]{64}")


def is_blob(path: Path, *, root: Path) -> bool:
    """Say whether `path` is a blob of the cache entry that `root` is a snapshot of, or a folder of a snapshot.

    Parameters
    ----------
    path, root : Path
        Absolute, without links.
    """
    entry = _cache_entry(root)
    if entry is None:
        return False
    if path.parent == entry / "blobs":
        return True
    shared = path.parent.parent == entry.parent / "blobs" and path.parent.name == path.name[:2]
    return shared and _SHARED.fullmatch(path.name) is not None


def _cache_entry(root: Path) -> Path | None:
    for folder in (root, *root.parents):
        entry = folder.parent.parent
        if folder.parent.name == "snapshots" and _ENTRY.fullmatch(entry.name):
            return entry
    return None
