"""One Sigstore: its services, wired to each other and to a port."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from loopback_sigstore.faults import Faults
from loopback_sigstore.fulcio import Fulcio
from loopback_sigstore.keys import now
from loopback_sigstore.oidc import IdentityProvider
from loopback_sigstore.rekor import RekorV1, RekorV2
from loopback_sigstore.server import Server
from loopback_sigstore.timestamp import TimestampAuthority
from loopback_sigstore.trust import client_trust_config, trusted_root

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection
    from types import TracebackType
    from typing import Self

    from loopback_sigstore.faults import Service
    from loopback_sigstore.server import Routes

IN_STEP = timedelta(0)


class LoopbackSigstore:
    """A Sigstore on 127.0.0.1, running between `with` and its end.

    Attributes
    ----------
    url
        Where the services listen.
    ca_skew, rekor_skew, tsa_skew
        How far the clock of the certificate authority, of Rekor v1 and of the timestamp authority is ahead of the
        true time. A `ca_skew` of -1 h gives certificates that have expired, of +1 h ones that are not valid yet.
    """

    def __init__(self) -> None:
        self.ca_skew = self.rekor_skew = self.tsa_skew = IN_STEP
        self._faults = Faults()
        self._identities = IdentityProvider()
        self._fulcio = Fulcio(self._identities, clock=lambda: now() + self.ca_skew)
        self._rekor_v1 = RekorV1(clock=lambda: now() + self.rekor_skew)
        self._rekor_v2 = RekorV2()
        self._tsa = TimestampAuthority(clock=lambda: now() + self.tsa_skew)
        self._server = Server(self._routes(), self._faults)
        self.url = self._server.url

    def _routes(self) -> Routes:
        return {
            ("POST", "/api/v2/signingCert"): ("fulcio", self._fulcio.sign),
            ("POST", "/api/v1/log/entries"): ("rekor", self._rekor_v1.add),
            ("POST", "/api/v2/log/entries"): ("rekor", self._rekor_v2.add),
            ("POST", "/api/v1/timestamp"): ("tsa", self._tsa.stamp),
            ("GET", "/oidc/.well-known/openid-configuration"): ("oidc", self._identities.discovery),
            ("GET", "/oidc/auth"): ("oidc", self._identities.login),
            ("POST", "/oidc/token"): ("oidc", self._identities.exchange),
            ("GET", "/github/token"): ("github", self._identities.ambient_token),
        }

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    # ---- whom to trust and where to sign

    def trusted_root(self) -> dict[str, Any]:
        """Return the TrustedRoot of this instance, which names both logs."""
        return trusted_root(
            self.url,
            logs=[self._rekor_v1.log.key, self._rekor_v2.log.key],
            certificate_log=self._fulcio.log.key,
            authority=[self._fulcio.authority.certificate],
            timestamp_authority=self._tsa.chain,
        )

    def trust_config(self, rekor: Literal[1, 2] = 2, *, tsa: bool = True, unreachable: Collection[Service] = ()) -> str:
        """Return a ClientTrustConfig as JSON; the services named unreachable refuse connections."""

        def at(service: Service) -> str:
            return self._server.closed_url if service in unreachable else self.url

        config = client_trust_config(
            self.trusted_root(),
            fulcio=at("fulcio"),
            oidc=at("oidc") + "/oidc",
            rekor=at("rekor"),
            rekor_version=rekor,
            tsa=at("tsa") + "/api/v1/timestamp" if tsa else None,
        )
        return json.dumps(config)

    # ---- who signs

    def token(self, **claims: object) -> str:
        """Return an identity token of a GitHub job, some claims replaced, or left out where None."""
        return self._identities.token(**claims)

    def github_env(self, *, unreachable: bool = False) -> dict[str, str]:
        """Return the environment in which a client finds a token by itself."""
        return self._identities.github_env(self._server.closed_url if unreachable else self.url)

    # ---- what goes wrong

    @property
    def requests(self) -> Counter[str]:
        """How often each service was asked, faults included."""
        return self._faults.requests

    def fail(
        self,
        service: Service,
        *,
        status: int | None = 500,
        body: bytes | None = None,
        wait: float = 0.0,
        times: int | None = None,
    ) -> None:
        """Let a service fail, the next `times` requests or until `recover`.

        It answers with this status, and this body instead of an error of the service's own kind; a status of None
        closes the connection without an answer. `wait` seconds pass first.
        """
        self._faults.set(service, status=status, body=body, wait=wait, times=times)

    def recover(self, service: Service | None = None) -> None:
        """Let a service work again, or all of them."""
        self._faults.clear(service)

    def reset(self) -> None:
        """Undo what tests have changed: faults, clocks and counts. The logs keep what they hold."""
        self.recover()
        self.ca_skew = self.rekor_skew = self.tsa_skew = IN_STEP
        self.requests.clear()
