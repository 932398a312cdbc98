"""securesystemslib as an independent verifier of envelopes: the library under TUF and in-toto."""

from __future__ import annotations

import json

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

NAME = "the key"


class EnvelopeRefusedError(Exception):
    """The signature is not that key's."""


def verify_envelope(bundle: str, public_key_pem: bytes) -> bytes:
    """Return the payload of a bundle that this key signed.

    DSSE leaves it open how a signature names its key, and a bundle names none; the library insists on a name.
    """
    envelope = json.loads(bundle)["dsseEnvelope"]
    (signature,) = envelope["signatures"]
    signature["keyid"] = NAME
    key = SSlibKey.from_crypto(load_pem_public_key(public_key_pem), keyid=NAME)
    read = Envelope.from_dict(envelope)
    try:
        read.verify([key], threshold=1)
    except VerificationError as error:
        raise EnvelopeRefusedError(str(error)) from error
    return read.payload
