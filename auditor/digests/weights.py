"""One digest for all weights of a model, whatever they are called and wherever they lie."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from auditor.model.quantised import stored_pieces

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
        64 hex digits. None where a tensor's digest is not known, or not which matrices it holds. A head that repeats
        the embeddings is left out, for some tools save it twice and others once.
    """
    if view.unplaced:
        return None
    lines = {}
    for layer, role, entry in view.places():
        digests = [tensors.get((piece.file, piece.name), "") for piece in stored_pieces(entry)]
        if "" in digests:
            return None
        lines[layer, role] = " ".join(digests)
    if lines.get((None, "head")) == lines.get((None, "embed")):
        lines.pop((None, "head"), None)
    text = "".join(
        sorted(f"{'' if layer is None else layer} {role} {digest}\n" for (layer, role), digest in lines.items())
    )
    return hashlib.sha256(_TAG + text.encode()).hexdigest()
