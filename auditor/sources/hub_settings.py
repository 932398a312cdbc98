"""Where the Hub is and who we are there, as huggingface_hub knows it: its variables and files, read in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from huggingface_hub import constants, get_token
from huggingface_hub.errors import HfHubHTTPError, OIDCError

from auditor.errors import HubError

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """What credentials are bound to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Return the origin of a URL.

        Raises
        ------
        ValueError
            When it is no `http` or `https` URL with a host, or carries a user name.
        """
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
            raise ValueError("neither an http nor an https URL of a host")
        return cls(parts.scheme, parts.hostname.lower(), parts.port or _DEFAULT_PORTS[parts.scheme])

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    """How to reach the Hub.

    Attributes
    ----------
    endpoint : str
        `HF_ENDPOINT` or the public Hub, without a slash at its end.
    token : str or None
        `HF_TOKEN`, or that of `hf auth login`. Never part of a representation or a message.
    cache : Path
        `HF_HUB_CACHE`. Read, never written.
    offline : bool
        `HF_HUB_OFFLINE`.
    """

    endpoint: str
    cache: Path
    offline: bool = False
    token: str | None = field(default=None, repr=False)

    @classmethod
    def current(cls) -> HubSettings:
        """Return what huggingface_hub itself would use.

        Raises
        ------
        HubError
            When the endpoint or the token cannot be used.
        """
        offline = constants.is_offline_mode()
        return cls(
            endpoint=constants.ENDPOINT,
            cache=Path(constants.HF_HUB_CACHE),
            offline=offline,
            token=None if offline or constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else _token(),
        )

    @property
    def origin(self) -> Origin:
        """Scheme, host and port of the endpoint.

        Raises
        ------
        HubError
            When the endpoint is no URL of a host.
        """
        try:
            return Origin.of(self.endpoint)
        except ValueError as error:
            # Not shown: a user name and password may stand in it.
            raise HubError("HF_ENDPOINT must be an http or https URL, without a user name in it") from error

    @property
    def is_public_hub(self) -> bool:
        """Whether the endpoint is the one that `hf://` means to everybody."""
        return self.origin == Origin.of(constants.HUGGINGFACE_CO_URL_HOME)


def _token() -> str | None:
    try:
        token = get_token()
    except (HfHubHTTPError, OIDCError, NotImplementedError, OSError) as error:
        raise HubError(f"huggingface_hub cannot get a token ({type(error).__name__}); see `hf auth login`") from error
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise HubError("HF_TOKEN holds characters that no token has")
    return token or None
