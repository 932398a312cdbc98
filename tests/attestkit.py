"""What tests of signing and verifying share: a small model, what is signed about it, and ways to change documents."""

from __future__ import annotations

import base64
import copy
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from loopback_sigstore import IDENTITY, ISSUER
from modelkit import drifted, make_model, write_model

from auditor.attest import ByIdentity, ByKey, KeylessSigner, KeySigner, keyless, keys
from auditor.attest.bundle import sign_with_key
from auditor.attesting import attest, policy_of, verify
from auditor.audit import Options
from auditor.enrolling import sketch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest
    from loopback_sigstore import LoopbackSigstore

    from auditor.attest import Voucher
    from auditor.attesting import Verified

Path_ = tuple[str | int, ...]
BASE = make_model(1, layers=2, hidden=32, neurons=48)
DERIVED = drifted(BASE, cosine=0.9)

STATEMENT = json.dumps(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": "0" * 64}}],
        "predicateType": "https://example.org/anything",
        "predicate": {},
    }
).encode()
"""A statement that any signer takes and no verifier of ours does."""


class _Removed:
    def __repr__(self) -> str:
        return "removed"


REMOVED = _Removed()


def write_tuned(folder: Path) -> Path:
    """Write a model that descends from the base, and passes its audit."""
    write_model(DERIVED, folder, shards=2)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


def write_sketch(path: Path) -> Path:
    """Write the sketch of the base."""
    source = write_model(BASE, path.with_name(f"{path.name}-source"))
    path.write_bytes(sketch(str(source), name="base"))
    return path


def options(reference: Path) -> Options:
    """Return the options under which that model passes."""
    return Options(against=(str(reference),))


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every attempt to reach another machine fail, and say so."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def listing(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, hidden ones too, and what it holds."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- a model, signed


Kind = Literal["key", "rekor-1", "rekor-2"]
KINDS: tuple[Kind, ...] = ("key", "rekor-1", "rekor-2")
KEYLESS: tuple[Kind, ...] = ("rekor-1", "rekor-2")


@dataclass(frozen=True, kw_only=True)
class Signed:
    """A model, and two attestations of it of every kind: the second one is of the same files as another resource."""

    model: Path
    reference: Path
    key: keys.PrivateKey
    trust: keyless.Trust
    attestations: dict[Kind, bytes]
    others: dict[Kind, bytes]

    def voucher(self, kind: Kind) -> Voucher:
        """Return who vouched for an attestation of this kind."""
        if kind == "key":
            return ByKey(self.key.public_key())
        return ByIdentity(identity=IDENTITY, issuer=ISSUER, trust=self.trust)

    def verify(self, attestation: Path, target: Path, *, kind: Kind = "key", **changed: object) -> Verified:
        """Verify as one should who knows the signer and the policy."""
        arguments: dict[str, Any] = {"voucher": self.voucher(kind), "policy_sha256": self.policy_sha256, **changed}
        return verify(attestation, str(target), **arguments)

    @property
    def policy_sha256(self) -> str:
        return policy_of(options(self.reference)).sha256

    def resigned(self, statement: object) -> bytes:
        """Sign any statement with the key."""
        return sign_with_key(self.key, json.dumps(statement).encode())


FIRST, SECOND = "pkg:generic/tuned@1", "pkg:generic/tuned@2"


def sign_in_every_way(folder: Path, sigstore: LoopbackSigstore) -> Signed:
    model, reference, key = write_tuned(folder / "tuned"), write_sketch(folder / "base.sketch"), keys.generate()
    signers = {
        "key": KeySigner(key),
        "rekor-1": KeylessSigner(trust(sigstore, 1), sigstore.token),
        "rekor-2": KeylessSigner(trust(sigstore, 2), sigstore.token),
    }

    def sign(resource: str) -> dict[Kind, bytes]:
        made = {}
        for kind in KINDS:
            output = folder / "attestation"
            attest(str(model), options(reference), signer=signers[kind], output=output, resource=resource)
            made[kind] = output.read_bytes()
        return made

    root = keyless.load_trust(json.dumps(sigstore.trusted_root()).encode(), file="root")
    return Signed(model=model, reference=reference, key=key, trust=root, attestations=sign(FIRST), others=sign(SECOND))


def trust(sigstore: LoopbackSigstore, rekor: Literal[1, 2] = 2, **changed: Any) -> keyless.Trust:  # noqa: ANN401 (any argument)
    """Return whom to ask, and whom to believe, of a Sigstore."""
    return keyless.load_trust(sigstore.trust_config(rekor, **changed).encode(), file="config")


# ---- documents


def payload_of(bundle: bytes) -> dict[str, Any]:
    """Read the statement in a bundle."""
    document: dict[str, Any] = json.loads(base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))
    return document


def nodes(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:  # noqa: ANN401 (JSON)
    """Yield every value inside a document, with the way to it."""
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from nodes(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from nodes(inner, (*path, i))


def replaced(document: Any, path: Path_, value: object) -> Any:  # noqa: ANN401 (JSON)
    """Return a copy with one value replaced, or `REMOVED`."""
    if not path:
        return value
    copied = copy.deepcopy(document)
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    if value is REMOVED:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copied


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


_ANYTHING: tuple[object, ...] = (
    None, True, 0, -1, 2**31, 2**62, 2**63, 2**70, 10**300, -(2**62), 0.5, 1e300, "", "x", "AAAA", b64(b"x" * 70),
    "0", "-1", str(2**62), str(10**30), "NaN", "\u0000", "\u00e9", "http://x",
    [], {}, [None], [[]], [1, 1, 1], {"a": 1},
)  # fmt: skip


def mutations(value: object) -> Iterator[object]:
    """Yield what a hostile hand might put in the place of a value."""
    yield from _ANYTHING
    if isinstance(value, list):
        yield from (value + value, value[:1] * 40)
    if isinstance(value, str):
        yield from (value[:-1], f"{value} ", value + value, value.swapcase())
        try:
            data = base64.b64decode(value, validate=True)
        except ValueError:
            return
        for at in {0, 1, len(data) // 3, len(data) // 2, len(data) - 1} if data else ():
            yield b64(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        yield from (b64(data[:-1]), b64(data + b"\0"))
