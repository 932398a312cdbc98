"""Repository ids as people write them: `org/name`, links to the Hub, mirrors of it, `hf://`.

An id is compared and shown, and may later name a repository to fetch from; so anything that could mean a path,
another host or another repository type is no id at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from auditor.limits import LIMITS

HOSTS: Final = frozenset(
    {
        "huggingface.co",
        "www.huggingface.co",
        "hf.co",
        "hf-mirror.com",
        "modelscope.cn",
        "www.modelscope.cn",
        "modelscope.ai",
        "www.modelscope.ai",
    }
)
"""Hosts whose model paths name the same repositories as the Hub's."""

_PART: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]{0,94}[A-Za-z0-9_])?")
_REVISION: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./\-]{0,127}")
_TYPES: Final = frozenset({"datasets", "spaces", "kernels", "buckets"})
_PAGES: Final = frozenset(
    {"api", "blog", "chat", "collections", "docs", "join", "learn", "login", "new", "organizations", "papers"}
    | {"posts", "pricing", "settings", "tasks", "welcome"}
)
_VIEWS: Final = frozenset({"tree", "blob", "resolve", "raw", "commit", "commits", "blame", "edit"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoId:
    """A model repository on the Hub or a mirror of it.

    Attributes
    ----------
    org : str or None
        None for the Hub's old ids without one ("gpt2").
    name : str
    revision : str or None
        A branch, tag or commit, where one was given.
    """

    org: str | None
    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.org}/{self.name}" if self.org else self.name

    @property
    def key(self) -> str:
        """For comparing: the Hub does not tell upper from lower case, and the revision is not part of the name."""
        return str(self).lower()


def parse_repo_id(text: str) -> RepoId | None:
    """Read a repository id, or say that this is none.

    Parameters
    ----------
    text : str
        `org/name`, `name`, `org/name@revision`, `hf://org/name`, or a link to the model on the Hub or a mirror.

    Returns
    -------
    RepoId or None
        None for paths, other hosts, datasets and spaces, control or non-ASCII characters, and over-long text.

    Examples
    --------
    >>> str(parse_repo_id("https://huggingface.co/meta-llama/Llama-2-7b-hf/tree/main"))
    'meta-llama/Llama-2-7b-hf'
    >>> parse_repo_id("../../etc/passwd") is parse_repo_id("https://huggingface.co.evil.example/a/b") is None
    True
    """
    text = text.strip(" ")
    if not 0 < len(text) <= LIMITS.repo_id_chars or not text.isascii() or not text.isprintable() or " " in text:
        return None
    revision: str | None = None
    if text.startswith("hf://"):
        path, at, revision = text[5:].removeprefix("models/").partition("@")
        revision = revision if at else None
        parts = path.removesuffix("/").split("/")
    elif "://" in text or text.split("/")[0].lower() in HOSTS:
        link = _from_link(text)
        if link is None:
            return None
        parts, revision = link
    else:
        path, at, revision = text.partition("@")
        revision = revision if at else None
        parts = path.split("/")
    return _checked(parts, revision)


def _from_link(text: str) -> tuple[list[str], str | None] | None:
    try:
        url = urlsplit(text if "://" in text else f"https://{text}")
        host, port = url.hostname, url.port
    except ValueError:
        return None
    if url.scheme not in {"http", "https"} or host not in HOSTS or "@" in url.netloc or port not in {None, 80, 443}:
        return None
    parts = url.path.removesuffix("/").split("/")[1:]
    if parts and "modelscope" in host:
        if parts[0] != "models":
            return None
        return parts[1:3], None
    if len(parts) < 2 or parts[0] in _TYPES | _PAGES:
        return (parts, None) if len(parts) == 1 and parts[0] not in _TYPES | _PAGES else None
    revision = unquote(parts[3]) if len(parts) > 3 and parts[2] in _VIEWS else None
    return parts[:2], revision


def _checked(parts: list[str], revision: str | None) -> RepoId | None:
    if len(parts) not in {1, 2} or parts[0].lower() in _TYPES:
        return None
    for part in parts:
        if not _PART.fullmatch(part) or "--" in part or ".." in part:
            return None
    name = parts[-1]
    if name.lower().endswith((".git", ".ipynb")) or re.fullmatch(r"hf_[A-Za-z0-9]{24,}", name):
        return None
    if revision is not None and (
        not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision or revision.endswith("/")
    ):
        return None
    return RepoId(org=parts[0] if len(parts) == 2 else None, name=name, revision=revision)
