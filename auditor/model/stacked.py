"""All experts of a layer in one tensor of three dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.errors import LimitExceeded
from auditor.limits import LIMITS
from auditor.model.fused import CannotSplit, HalfOrder, split_gate_up
from auditor.model.part import plane
from auditor.model.quantised import PackedEntry

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from auditor.model.config import Config
    from auditor.model.part import Part

_GGUF_OR_LINEAR = frozenset({"ffn_gate_up_exps", "block_sparse_moe.input_linear"})
_LLAMA4, _GPT_OSS = frozenset({"llama4", "llama4_text"}), "gpt_oss"


def unstack(
    stacked: Mapping[str, Part], tail: str, names: Collection[str], config: Config, *, room: int
) -> dict[str, Part]:
    """Find the matrices of each expert.

    Parameters
    ----------
    stacked : mapping of str to Part
        By role: "experts.gate", "experts.up", "experts.down", "experts.gate_up", as far as they are there.
    tail : str
        What the last is called within its layer.
    names : collection of str
        Roles of everything in the layer.
    config : Config
    room : int
        Experts there may be.

    Returns
    -------
    dict of str to Part
        "experts.0.gate" and so on.

    Raises
    ------
    CannotSplit
        When it is not known which rows are which.
    LimitExceeded
        When there are more experts.
    """
    out: dict[str, Part] = {}
    if any(isinstance(part.stored, PackedEntry) for part in stacked.values()):
        raise CannotSplit("quantised experts in one tensor")
    counts = {part.stored.shape[0] for part in stacked.values()}
    if len(counts) > 1:
        raise CannotSplit(f"tensors for {sorted(counts)} experts in one layer")
    for part in stacked.values():
        if part.stored.shape[0] > room:
            raise LimitExceeded(
                file=part.stored.file,
                field="MLP blocks",
                actual=LIMITS.blocks - room + part.stored.shape[0],
                limit=LIMITS.blocks,
            )
    transposed = order = None
    if "experts.gate_up" in stacked:
        transposed, order = _layout(stacked, tail, names, config)
    for role, part in stacked.items():
        own = role.removeprefix("experts.")
        for expert in range(part.stored.shape[0]):
            try:
                piece = plane(part.stored, expert, transposed=bool(transposed))
            except ValueError as error:
                raise CannotSplit(str(error)) from None
            pieces = {own: piece} if own != "gate_up" else split_gate_up(piece, order=order or "halves")
            out.update({f"experts.{expert}.{kind}": found for kind, found in pieces.items()})
    return out


def _layout(stacked: Mapping[str, Part], tail: str, names: Collection[str], config: Config) -> tuple[bool, HalfOrder]:
    """Tell whether gate and up are kept `[in, out]`, which shapes decide, and in which order, which families do."""
    fused = stacked["experts.gate_up"].stored.shape
    if "experts.down" not in stacked:
        raise CannotSplit("no down projection beside it says which of its dimensions are neurons")
    down = stacked["experts.down"].stored.shape
    if fused[1] == 2 * down[2] and fused[2] == down[1]:
        if "experts.gate_up.bias" in names and tail not in _GGUF_OR_LINEAR:
            raise CannotSplit("gate and up are in an order that is not known")
        return False, "halves"
    if fused[1] != down[2] or fused[2] != 2 * down[1]:
        raise CannotSplit(f"shapes {fused} and {down} are no gate, up and down")
    if tail.startswith("feed_forward.") or config.architecture in _LLAMA4:
        return True, "halves"
    if "experts.gate_up.bias" in names or config.architecture == _GPT_OSS:
        return True, "alternating"
    raise CannotSplit("gate and up are in an order that neither names nor config tell")
