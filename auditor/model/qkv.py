"""Which rows of a fused attention projection are whose, by what it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from auditor.model.fused import CannotSplit, split_qkv_blocks, split_qkv_groups

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditor.model.config import Config
    from auditor.model.part import Part

Order = Literal["blocks", "groups", "heads"]
"""All queries, then keys, then values; by key-value head; or by head, each with a key and a value of its own."""

_BY_NAME: dict[str, Order] = {
    "self_attn.qkv_proj": "blocks",
    "self_attn.W_pack": "blocks",
    "attn.Wqkv": "blocks",
    "attn_qkv": "blocks",  # llama.cpp's converters put all families in this order
    "attention.wqkv": "groups",
    "self_attention.linear_qkv": "groups",
    "attention.query_key_value": "heads",
}
_BY_MODEL: dict[tuple[str, str | None], Order] = {
    ("self_attention.query_key_value", "bloom"): "heads",
    ("self_attention.query_key_value", "RefinedWeb"): "groups",
    ("attn.c_attn", "qwen"): "blocks",
}
_FALCON = frozenset({"falcon", "RefinedWebModel"})


def split_qkv(part: Part, tail: str, layer: Mapping[str, Part], number: int, config: Config) -> dict[str, Part]:
    """Part queries, keys and values.

    Parameters
    ----------
    part : Part
        The fused matrix, or its bias.
    tail : str
        What it is called within its layer.
    layer : mapping of str to Part
        The other matrices, by role: `o` takes in as much as there are queries.
    number : int
        Of the layer.
    config : Config

    Raises
    ------
    CannotSplit
    """
    output = layer.get("o")
    if output is None or len(output.plane.shape) != 2:
        raise CannotSplit("no output projection says how many of its rows are queries")
    queries = output.plane.shape[0 if output.transposed else 1]
    order = _order(tail, config, transposed=output.transposed)
    if order == "blocks":
        return split_qkv_blocks(part, queries=queries)
    groups = config.heads(number) if order == "heads" else config.kv_heads(number)
    if groups is None:
        what = "attention heads" if order == "heads" else "key and value heads"
        raise CannotSplit(f"no config says how many {what} its rows are kept by")
    if order == "heads" and part.count != 3 * queries:
        raise CannotSplit(f"{part.count} rows are not as many keys and values as queries")
    return split_qkv_groups(part, groups=groups, queries=queries)


def _order(tail: str, config: Config, *, transposed: bool) -> Order:
    kind = config.architecture
    known = _BY_NAME.get(tail) or _BY_MODEL.get((tail, kind))
    if tail == "attn.c_attn" and transposed:  # GPT-2's
        known = "blocks"
    elif tail == "attn.c_attn" and kind == "gpt_bigcode":
        known = _shared_or_own(config, "multi_query")
    elif tail == "self_attention.query_key_value" and kind in _FALCON:
        known = _of_falcon(config)
    elif tail == "self_attention.query_key_value" and kind == "chatglm":
        known = _shared_or_own(config, "multi_query_attention")
    if known is None:
        raise CannotSplit(f"queries, keys and values are in an order that no config tells (model type {kind})")
    return known


def _of_falcon(config: Config) -> Order | None:
    if config.flag("new_decoder_architecture"):
        return "groups"
    return _shared_or_own(config, "multi_query")


def _shared_or_own(config: Config, key: str) -> Order | None:
    """Keys and values that several heads share stand after all queries; those of one head stand with it."""
    shared = config.flag(key)
    return None if shared is None else "blocks" if shared else "heads"
