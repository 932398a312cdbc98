"""Where formats that point into a repository point: names of files made safe, relative and never empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from auditor.escape import visible
from auditor.report.results import Place

if TYPE_CHECKING:
    from auditor.report.contract import Target
    from auditor.report.results import Placed

LONGEST: Final = 4000
"""Characters of a path or a text in formats for machines: beyond what any file system or rule of ours writes."""


def inside(path: str) -> str:
    r"""Return a path that stays below its root, whatever it was: visible, relative, without `.` and `..`.

    Examples
    --------
    >>> inside("../../etc/./passwd"), inside("/weights//model.gguf"), inside("..")
    ('etc/passwd', 'weights/model.gguf', '')
    """
    return "/".join(part for part in visible(path, limit=LONGEST).split("/") if part not in {"", ".", ".."})


def target_name(target: Target) -> str:
    """Return the target as a path: `org/name` for a repository, its own path for a folder. Never empty."""
    bare = target.uri.split("://", 1)[-1].split("#", 1)[0]
    return inside(bare) or "model"


def locate(placed: Placed, path: str | None) -> Place:
    """Return what to point at for something said of a file of the target, or of the target itself.

    Where the caller's own repository names the target, that line is meant: it is what a reviewer can change. Otherwise
    the file itself, below the folder that was audited where that is a relative path, as in a repository of the model.
    """
    place = placed.place
    if place is not None:
        return Place(path=inside(place.path) or "models", line=max(1, place.line), column=max(1, place.column))
    target = placed.report.target
    file = inside(path or "")
    if not file:
        return Place(path=target_name(target))
    beside = target.kind == "local" and not target.uri.startswith("/") and ".." not in target.uri.split("/")
    folder = inside(target.uri) if beside else ""
    if not folder or folder.rpartition("/")[2] == file:  # the target is that very file
        return Place(path=folder or file)
    return Place(path=f"{folder}/{file}")
