"""The timestamp authority: signs that it saw a hash at a time (RFC 3161)."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from asn1crypto import cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from loopback_sigstore.keys import Authority, SigningKey, certificate_builder, der, key_usage, now, sha256
from loopback_sigstore.messages import RefusedError, Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from loopback_sigstore.messages import Request

POLICY = "1.3.6.1.4.1.57264.2"
SHA256 = {"algorithm": "sha256"}


class TimestampAuthority:
    """Timestamps whatever it is asked to."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._root = Authority.create("timestamp root")
        self._key = SigningKey()
        self._certificate = self._certify()
        self._clock = clock

    @property
    def chain(self) -> list[x509.Certificate]:
        """The certificate that signs, and the root that vouches for it."""
        return [self._certificate, self._root.certificate]

    def stamp(self, request: Request) -> Reply:
        """Answer a timestamp request."""
        try:
            query = tsp.TimeStampReq.load(request.body)
            imprint, nonce = query["message_imprint"], query["nonce"]
        except ValueError as error:
            raise RefusedError(400, f"timestamp request: {error}") from error
        info = tsp.TSTInfo(
            {
                "version": "v1",
                "policy": POLICY,
                "message_imprint": imprint,
                "serial_number": secrets.randbits(60),
                "gen_time": self._clock().replace(microsecond=0),
                "nonce": nonce,
            }
        )
        response = tsp.TimeStampResp(
            {
                "status": {"status": "granted"},
                "time_stamp_token": {"content_type": "signed_data", "content": self._signed(info.dump())},
            }
        )
        return Reply(status=201, content_type="application/timestamp-reply", body=response.dump())

    def _signed(self, info: bytes) -> cms.SignedData:
        certificate = asn1_x509.Certificate.load(der(self._certificate))
        named = tsp.ESSCertIDv2({"hash_algorithm": SHA256, "cert_hash": sha256(certificate.dump())})
        attributes = cms.CMSAttributes(
            [
                {"type": "content_type", "values": ["tst_info"]},
                {"type": "message_digest", "values": [sha256(info)]},
                {"type": "signing_certificate_v2", "values": [tsp.SigningCertificateV2({"certs": [named]})]},
            ]
        )
        issuer_and_serial = {"issuer": certificate.issuer, "serial_number": certificate.serial_number}
        signer = cms.SignerInfo(
            {
                "version": "v1",
                "sid": cms.SignerIdentifier({"issuer_and_serial_number": issuer_and_serial}),
                "digest_algorithm": SHA256,
                "signed_attrs": attributes,
                "signature_algorithm": {"algorithm": "sha256_ecdsa"},
                "signature": self._key.sign(attributes.dump()),
            }
        )
        return cms.SignedData(
            {
                "version": "v3",
                "digest_algorithms": [SHA256],
                "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(info)},
                "certificates": [certificate],
                "signer_infos": [signer],
            }
        )

    def _certify(self) -> x509.Certificate:
        month = timedelta(days=30)
        return self._root.certify(
            certificate_builder(
                self._key.private.public_key(), issuer=self._root.key, valid=(now() - month, now() + month)
            )
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "timestamp authority")]))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        )
