"""One digest for all weights of a model, whatever they are called and wherever they lie."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditor.model import ModelView

_TAG = b"auditor-weights-1\n"


def weights_digest(view: ModelView, tensors: Mapping[tuple[str, str], str]) -> str | None:
    """Return the digest of a model's weights: over every tensor whose place is known, by layer and role.

    Parameters
    ----------
    view : ModelView
    tensors : mapping of (file, name) to str
        Value digests.

    Returns
    -------
    str or None
        64 hex digits. None where a tensor's digest is not known. A head that repeats the embeddings is left out, for
        some tools save it twice and others once.
    """
    lines = {}
    for layer, role, entry in view.places():
        digest = tensors.get((entry.file, entry.name))
        if digest is None:
            return None
        lines[layer, role] = digest
    if lines.get((None, "head")) == lines.get((None, "embed")):
        lines.pop((None, "head"), None)
    text = "".join(
        sorted(f"{'' if layer is None else layer} {role} {digest}\n" for (layer, role), digest in lines.items())
    )
    return hashlib.sha256(_TAG + text.encode()).hexdigest()
