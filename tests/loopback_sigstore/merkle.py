"""A growing Merkle tree, and proofs that a leaf is in it (RFC 6962, section 2.1)."""

from __future__ import annotations

from loopback_sigstore.keys import sha256

LEAF, NODE = b"\0", b"\1"  # tell a leaf's hash from a node's


class MerkleTree:
    """The hashes of the leaves, in the order in which they came."""

    def __init__(self) -> None:
        self._leaves: list[bytes] = []

    def __len__(self) -> int:
        return len(self._leaves)

    def append(self, leaf: bytes) -> int:
        """Add a leaf, and return its index."""
        self._leaves.append(sha256(LEAF + leaf))
        return len(self._leaves) - 1

    def root(self) -> bytes:
        """Hash the whole tree."""
        return _root(self._leaves)

    def path(self, index: int) -> list[bytes]:
        """Return the siblings between a leaf and the root, from the bottom up."""
        return _path(index, self._leaves)


def _split(hashes: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    at = 1 << ((len(hashes) - 1).bit_length() - 1)  # the greatest power of two below the number of leaves
    return hashes[:at], hashes[at:]


def _root(hashes: list[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    left, right = _split(hashes)
    return sha256(NODE + _root(left) + _root(right))


def _path(index: int, hashes: list[bytes]) -> list[bytes]:
    if len(hashes) == 1:
        return []
    left, right = _split(hashes)
    if index < len(left):
        return [*_path(index, left), _root(right)]
    return [*_path(index - len(left), right), _root(left)]
