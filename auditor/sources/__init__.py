"""Where bytes live. `open_source` turns what a user wrote into a `Source`."""

from __future__ import annotations

import difflib
import itertools
import re
from pathlib import Path

from auditor.errors import TargetError
from auditor.limits import LIMITS
from auditor.sources.base import Blob, BytesSource, Counting, FileInfo, OnDisk, Range, Source, Stamped, Unread
from auditor.sources.hub_target import is_hub_id, is_hub_url
from auditor.sources.local import LocalSource
from auditor.sources.metered import MeteredSource
from auditor.sources.mlflow_target import is_models_uri

__all__ = [
    "Blob",
    "BytesSource",
    "Counting",
    "FileInfo",
    "LocalSource",
    "MeteredSource",
    "OnDisk",
    "Range",
    "Source",
    "Stamped",
    "Unread",
    "called",
    "open_source",
]

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)
_REMOTE = frozenset({"oci", "s3", "gs"})
_LONGEST_NAME = 255  # characters of a file name that any common file system takes


def open_source(target: str) -> Source:
    """Open what a user named. A string that exists as a path is that path.

    A name of the form `org/name` means the Hub, unless there is a folder `org`: then it is a path that does not
    exist, and `hf://org/name` means the Hub.

    Raises
    ------
    TargetError
        When there is no such target, with the nearest name that does exist.
    """
    if not target:  # an unset shell variable; the path "" would be the current folder
        raise TargetError("no target given: its name is empty")
    path = Path(target)
    if _exists(path):
        return LocalSource(target)
    if is_hub_url(target) or (is_hub_id(target) and not _exists(path.parent)):
        return _open_hub(target)
    if is_models_uri(target):
        return _open_mlflow(target)
    if scheme := _SCHEME.match(target):
        if scheme[1].lower() in _REMOTE and target[scheme.end() :].startswith("/"):
            return _open_remote(target, scheme[1].lower())
        raise TargetError(f"{target}: {scheme[1]}: targets are not supported by this version; give a local path")
    raise TargetError(f"{target}: no such file or folder{_hint(target, path)}")


def called(target: str) -> str:
    """Return what people call a target: the last part of its path, without a registry's version, tag or digest.

    Examples
    --------
    >>> [called(each) for each in ("models:/chat/3", "models:/chat@live", "oci://host:5000/org/chat:v1", "hf://org/chat@1")]
    ['chat', 'chat', 'chat', 'chat']
    """
    if _exists(Path(target)):
        return Path(target).resolve().name
    if is_models_uri(target):
        return re.split("[/@]", target.removeprefix("models:/"))[0]
    return re.split("[@:]", target.rstrip("/").rpartition("/")[2])[0]


def _open_hub(target: str) -> Source:
    from auditor.sources.hub import HubSource  # noqa: PLC0415 - its HTTP client takes .4 s to import

    return HubSource(target)


def _open_mlflow(target: str) -> Source:
    from auditor.sources.mlflow import MlflowSource  # noqa: PLC0415 - as for the Hub

    return MlflowSource(target)


def _open_remote(target: str, scheme: str) -> Source:
    if scheme == "oci":
        from auditor.sources.oci import OciSource  # noqa: PLC0415 - as for the Hub

        return OciSource(target)
    from auditor.sources.objectstore import ObjectStoreSource  # noqa: PLC0415 - an extra

    return ObjectStoreSource(target)


def _exists(path: Path) -> bool:
    try:
        return path.is_symlink() or path.exists()
    except PermissionError:  # something is there; opening it will say what is wrong
        return True
    except (OSError, ValueError):  # a name that no file system takes: too long, or with a NUL
        return False


def _hint(target: str, path: Path) -> str:
    nearby: list[str] = []
    if len(path.name) <= _LONGEST_NAME:
        try:
            nearby = [entry.name for entry in itertools.islice(path.parent.iterdir(), LIMITS.files)]
        except (OSError, ValueError):
            nearby = []
    if close := difflib.get_close_matches(path.name, nearby, n=1):
        return f"; did you mean {path.parent / close[0]}?"
    if is_hub_id(target):
        return f"; for the Hub's repository of that name write hf://{target}"
    return ""
