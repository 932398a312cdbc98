"""The transparency log, of both kinds: Rekor v1, which vouches for the time, and Rekor v2, which does not."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rfc8785

from loopback_sigstore.keys import SigningKey, b64, sha256
from loopback_sigstore.merkle import MerkleTree
from loopback_sigstore.messages import RefusedError, Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from loopback_sigstore.messages import Request

EARLIER_ENTRIES = 5  # by others, so that even the first proof has hashes in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """An entry in its place: the tree that holds it, and the proof that it does."""

    index: int
    tree_size: int
    root: bytes
    path: list[bytes]
    checkpoint: str


class Log:
    """A tree that grows, and a key that signs its root."""

    def __init__(self) -> None:
        self.key = SigningKey()
        self._tree = MerkleTree()
        self._growing = threading.Lock()
        for i in range(EARLIER_ENTRIES):
            self._tree.append(b"earlier entry %d" % i)

    def append(self, body: bytes, *, origin: str) -> Logged:
        """Add an entry, and prove that it is in the tree of this moment."""
        with self._growing:
            index = self._tree.append(body)
            size, root, path = len(self._tree), self._tree.root(), self._tree.path(index)
        note = f"{origin}\n{size}\n{b64(root)}\n"
        signature = b64(self.key.id[:4] + self.key.sign(note.encode()))
        checkpoint = f"{note}\n\N{EM DASH} {origin} {signature}\n"
        return Logged(index=index, tree_size=size, root=root, path=path, checkpoint=checkpoint)


class RekorV1:
    """Keeps `dsse` entries of version 0.0.1, each with a promise that carries the time."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.log = Log()
        self._clock = clock

    def add(self, request: Request) -> Reply:
        """Log an envelope."""
        body = rfc8785.dumps(_dsse_entry(request))
        logged = self.log.append(body, origin=_origin(request))
        entry: dict[str, int | str] = {
            "body": b64(body),
            "integratedTime": int(self._clock().timestamp()),
            "logID": self.log.key.id.hex(),
            "logIndex": logged.index,
        }
        verification = {
            "signedEntryTimestamp": b64(self.log.key.sign(rfc8785.dumps(entry))),
            "inclusionProof": {
                "logIndex": logged.index,
                "treeSize": logged.tree_size,
                "rootHash": logged.root.hex(),
                "hashes": [step.hex() for step in logged.path],
                "checkpoint": logged.checkpoint,
            },
        }
        return Reply.of({sha256(body).hex(): {**entry, "verification": verification}}, status=201)


class RekorV2:
    """Keeps `hashedrekord` entries of version 0.0.2: proofs of inclusion alone, so that a timestamp is needed."""

    def __init__(self) -> None:
        self.log = Log()

    def add(self, request: Request) -> Reply:
        """Log a digest and its signature."""
        body = rfc8785.dumps(_hashedrekord_entry(request))
        logged = self.log.append(body, origin=_origin(request))
        return Reply.of(
            {
                "logIndex": str(logged.index),
                "logId": {"keyId": b64(self.log.key.id)},
                "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
                "canonicalizedBody": b64(body),
                "inclusionProof": {
                    "logIndex": str(logged.index),
                    "treeSize": str(logged.tree_size),
                    "rootHash": b64(logged.root),
                    "hashes": [b64(step) for step in logged.path],
                    "checkpoint": {"envelope": logged.checkpoint},
                },
            },
            status=201,
        )


def _origin(request: Request) -> str:
    return request.base.removeprefix("http://")


def _dsse_entry(request: Request) -> dict[str, Any]:
    """Keep of a proposed envelope what Rekor keeps: hashes and signatures, not the payload."""
    proposal = request.json()
    try:
        content = proposal["spec"]["proposedContent"]
        envelope = json.loads(content["envelope"])
        (verifier,) = content["verifiers"]
        return {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": _hash(content["envelope"].encode()),
                "payloadHash": _hash(base64.b64decode(envelope["payload"])),
                "signatures": [{"signature": s["sig"], "verifier": verifier} for s in envelope["signatures"]],
            },
        }
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(400, f"not a dsse entry: {error!r}") from error


def _hashedrekord_entry(request: Request) -> dict[str, Any]:
    proposal = request.json()
    try:
        record = proposal["hashedRekordRequestV002"]
        data = {"algorithm": "SHA2_256", "digest": record["digest"]}
        spec = {"hashedRekordV002": {"data": data, "signature": record["signature"]}}
    except (KeyError, TypeError) as error:
        raise RefusedError(400, f"not a hashedrekord entry: {error!r}") from error
    return {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": spec}


def _hash(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": sha256(data).hex()}
