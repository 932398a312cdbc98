"""Names of artifacts in OCI registries, checked before any URL is made of them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from auditor.errors import BadOciName
from auditor.escape import visible
from auditor.limits import LIMITS

SCHEME = "oci://"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]*[a-z0-9])?|\[[0-9a-f:]+\]")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DOCKER_HUB = frozenset({"docker.io", "index.docker.io"})
_DOCKER_HUB_API = "registry-1.docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class OciTarget:
    """An artifact, as the user names it.

    Attributes
    ----------
    registry : str
        Host, with a port where one is given.
    repository : str
        Empty for the registry itself.
    tag : str or None
    digest : str or None
        `sha256:` and 64 hex digits. Where there is one, the tag says nothing.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def reference(self) -> str:
        """What the registry is asked for."""
        return self.digest or self.tag or "latest"

    @property
    def endpoint(self) -> str:
        """The registry's URL: of https, and of http for this machine only."""
        host, _, _ = _split(self.registry)
        if is_loopback(host):
            return f"http://{self.registry}"
        return f"https://{_DOCKER_HUB_API if self.registry in _DOCKER_HUB else self.registry}"

    @property
    def path(self) -> str:
        """The repository as the registry knows it: Docker Hub's own images have a folder that nobody types."""
        official = self.registry in _DOCKER_HUB and "/" not in self.repository
        return f"library/{self.repository}" if official else self.repository

    @property
    def scope(self) -> str:
        """What a token is asked for: to read this repository; without one, the registry's list of them."""
        return f"repository:{self.path}:pull" if self.repository else "registry:catalog:*"

    @property
    def uri(self) -> str:
        """The target without tag and digest."""
        return f"{SCHEME}{self.registry}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.uri}{tag}{f'@{self.digest}' if self.digest else ''}"


def parse_target(text: str) -> OciTarget:
    """Read `oci://registry/repository`, with `:tag` or `@sha256:...` behind it.

    Raises
    ------
    BadOciName
        When it names no artifact.

    Examples
    --------
    >>> parse_target("oci://localhost:5000/acme/model:v1")
    OciTarget(registry='localhost:5000', repository='acme/model', tag='v1', digest=None)
    """
    name, at, digest = text[len(SCHEME) :].partition("@")
    registry, _, rest = name.partition("/")
    repository, colon, tag = rest.partition(":")
    host, port_given, port = _split(registry := registry.lower())
    problem = ""
    if "@" in digest or (at and not DIGEST.fullmatch(digest)):
        problem = "after @ stands sha256: and 64 hex digits; credentials are never part of a target"
    elif not _HOST.fullmatch(host) or (port_given and not (_PORT.fullmatch(port) and int(port) < 1 << 16)):
        problem = "an artifact is named oci://registry/repository:tag"
    elif not all(map(_COMPONENT.fullmatch, repository.split("/"))):
        problem = "repositories are of lower-case ASCII letters, digits, '.', '_' and '-', in folders"
    elif len(registry) + len(repository) > LIMITS.oci_name:
        problem = f"no registry and repository have more than {LIMITS.oci_name} characters together"
    elif colon and not _TAG.fullmatch(tag):
        problem = "tags are of ASCII letters, digits, '.', '_' and '-', and at most 128 characters long"
    if problem:
        # A password may stand before the @ of what is no digest.
        shown = f"{SCHEME}..." if at and not DIGEST.fullmatch(digest) else visible(text, limit=200)
        raise BadOciName(f"{shown}: {problem}")
    return OciTarget(registry=registry, repository=repository, tag=tag or None, digest=digest or None)


def is_oci_url(text: str) -> bool:
    """Say whether a target asks for a registry by its scheme."""
    return text[: len(SCHEME)].lower() == SCHEME


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _split(registry: str) -> tuple[str, str, str]:
    """Return host, colon and port."""
    if registry.startswith("["):
        host, bracket, rest = registry.partition("]")
        return host + bracket, rest[:1], rest[1:]
    return registry.partition(":")
