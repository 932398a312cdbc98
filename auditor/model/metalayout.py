"""The row order of the query and key projections that Meta published.

A head's rotary pairs stand side by side in it, as in GGUF (`auditor.model.layout`); Hugging Face's conversion moves
them. The names say that the order is Meta's, and only `params.json` how many heads there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.errors import BadShape, MissingField
from auditor.formats.strictjson import quoted

if TYPE_CHECKING:
    from auditor.formats import Container, TensorEntry

_KEYS = {"attention.wq.weight": "meta.n_heads", "attention.wk.weight": "meta.n_kv_heads"}


def heads_key(name: str) -> str | None:
    """Return under which metadata the heads of a tensor stand; None where it is no q or k of Meta's.

    Examples
    --------
    >>> heads_key("layers.0.attention.wk.weight")
    'meta.n_kv_heads'
    >>> heads_key("model.layers.0.self_attn.k_proj.weight") is None
    True
    """
    parts = name.rsplit(".", 3)
    return _KEYS.get(".".join(parts[1:]))


def meta_heads(container: Container, entry: TensorEntry, key: str) -> int:
    """Return the number of heads in each of which a tensor's rows are interleaved.

    Parameters
    ----------
    container : Container
    entry : TensorEntry
        A matrix.
    key : str
        See `heads_key`.

    Raises
    ------
    MissingField
        There is no `params.json` that fits the model. A safetensors file may say what it likes of its heads.
    BadShape
        The rows are no whole number of heads of an even size.
    """
    heads = container.metadata.get(key) if container.format == "meta" else None
    if not isinstance(heads, int):
        field = f"heads of {quoted(entry.name)}"
        raise MissingField(file=entry.file, field=field, problem="there is no params.json beside it that says them")
    if entry.shape[0] % (2 * heads):
        problem = f"do not divide the {entry.shape[0]} rows of {quoted(entry.name)} into heads of an even size"
        raise BadShape(file=entry.file, field=key, problem=problem, actual=heads)
    return heads
