"""From tensors with roles to the matrices of a model: what only neighbours, shapes and config can tell of a name."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from auditor.errors import DuplicateName, LimitExceeded
from auditor.formats.strictjson import quoted
from auditor.limits import LIMITS
from auditor.model.experts import expert_of, number_shared
from auditor.model.fused import CannotSplit, split_gate_up
from auditor.model.part import whole
from auditor.model.qkv import split_qkv
from auditor.model.stacked import unstack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from auditor.formats import TensorEntry
    from auditor.model.config import Config
    from auditor.model.part import Part

Place = tuple[int | None, str]


class Named(NamedTuple):
    """A tensor, and the row of the tables that its name is in."""

    entry: TensorEntry
    tail: str


class Unplaced(NamedTuple):
    """A tensor whose name is known and whose place is not, and why."""

    entry: TensorEntry
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The matrices and vectors of a model.

    Attributes
    ----------
    parts : dict of (layer or None, role) to Part
    unplaced : tuple of Unplaced
    """

    parts: dict[Place, Part]
    unplaced: tuple[Unplaced, ...]


def place(tensors: Mapping[Place, Named], config: Config) -> Placed:
    """Work out which rows of which tensor are which matrix.

    Parameters
    ----------
    tensors : mapping of (layer or None, role) to Named
        Of one model.
    config : Config

    Raises
    ------
    DuplicateName
        When a fused tensor holds a matrix that is there by itself too.
    LimitExceeded
        When there are more experts than `LIMITS.blocks`.
    """
    layers: dict[int, dict[str, Named]] = defaultdict(dict)
    parts: dict[Place, Part] = {}
    unplaced: list[Unplaced] = []
    for (layer, role), named in tensors.items():
        if layer is None:
            parts[None, role] = whole(named.entry)
        else:
            layers[layer][role] = named
    hidden = _hidden_size(tensors)
    blocks = 0
    for layer, found in layers.items():
        placing = _Layer(number=layer, tensors=_norms_named(found), hidden=hidden, config=config)
        placing.run(room=LIMITS.blocks - blocks)
        blocks += placing.blocks
        parts.update({(layer, role): part for role, part in placing.parts.items()})
        unplaced += placing.unplaced
    return Placed(parts=parts, unplaced=tuple(unplaced))


class _Layer:
    """The tensors of one layer, on their way to their places."""

    def __init__(self, *, number: int, tensors: dict[str, Named], hidden: int | None, config: Config) -> None:
        self.number = number
        self.tensors = tensors
        self.hidden = hidden
        self.config = config
        self.parts: dict[str, Part] = {}
        self.unplaced: list[Unplaced] = []
        self.blocks = 0

    def run(self, *, room: int) -> None:
        """Place everything; at most `room` MLP blocks."""
        turned = self._is_input_first()
        for role, named in self.tensors.items():
            if not _fits(role, named.entry):
                self.unplaced.append(Unplaced(named.entry, f"of shape {named.entry.shape}, which no {role} has"))
            else:
                matrix = len(named.entry.shape) == 2
                self.parts[role] = whole(named.entry, transposed=turned and matrix and named.tail in _INPUT_FIRST)
        self._split_all(room)
        self.parts = number_shared(self.parts)
        self.blocks = len({expert_of(role) for role in self.parts if role == "gate" or role.startswith("experts.")})
        if self.blocks > room:
            raise LimitExceeded(
                file=next(iter(self.tensors.values())).entry.file,
                field="MLP blocks",
                actual=LIMITS.blocks - room + self.blocks,
                limit=LIMITS.blocks,
            )
        self._check_routers()

    def _split_all(self, room: int) -> None:
        if "qkv" in self.parts:
            self._split("qkv", lambda part: split_qkv(part, self._tail("qkv"), self.parts, self.number, self.config))
        for before in ("", "shared."):
            self._split_gate_up(before)
        stacked = {role: part for role, part in self.parts.items() if role in _STACKED}
        for role in stacked:
            del self.parts[role]
        for role in _STACKED:
            bias, experts = self.parts.get(f"{role}.bias"), stacked.get(role)
            if bias is not None and (experts is None or not _is_bias_of(bias.stored, experts.stored)):
                self._leave(f"{role}.bias", "a bias of another shape than its experts")
        try:
            found = unstack(stacked, self._tail("experts.gate_up"), self.tensors.keys(), self.config, room=room)
        except CannotSplit as reason:
            self.unplaced += [Unplaced(part.stored, str(reason)) for part in stacked.values()]
        else:
            for role, part in found.items():
                self._put(role, part)

    def _split_gate_up(self, before: str) -> None:
        """Part a tensor that is named gate and up, or named up and of twice the size that down takes in."""
        down = self.parts.get(f"{before}down")
        neurons = down.plane.shape[0 if down.transposed else 1] if down and len(down.plane.shape) == 2 else None
        role = f"{before}gate_up"
        if role not in self.parts:
            role = f"{before}up"
            part = self.parts.get(role)
            if part is None or f"{before}gate" in self.parts or neurons is None or part.count != 2 * neurons:
                return
            if not _gate_comes_first(self._tail(role), self.config):
                self._leave(role, "as many rows as a gate and an up, in an order that is not known")
                return

        def halves(part: Part) -> dict[str, Part]:
            if neurons is not None and part.count != 2 * neurons:
                raise CannotSplit(f"{part.count} rows are no gate and up of the {neurons} neurons that down takes in")
            return {before + own: half for own, half in split_gate_up(part, order="halves").items()}

        self._split(role, halves)

    def _split(self, role: str, split: Callable[[Part], dict[str, Part]]) -> None:
        """Replace a fused matrix, and its bias with it, by what it holds."""
        part, bias = self.parts.pop(role), self.parts.pop(f"{role}.bias", None)
        try:
            pieces = split(part)
            biases = split(bias) if bias is not None else {}
        except CannotSplit as reason:
            self.unplaced += [Unplaced(left.stored, str(reason)) for left in (part, bias) if left is not None]
            return
        for own, piece in (pieces | {f"{own}.bias": piece for own, piece in biases.items()}).items():
            self._put(own, piece)

    def _put(self, role: str, part: Part) -> None:
        if role in self.parts:
            field = f"tensor {quoted(part.stored.name)}"
            raise DuplicateName(file=part.stored.file, field=field, problem="a second tensor for the same place")
        self.parts[role] = part

    def _leave(self, role: str, reason: str) -> None:
        self.unplaced.append(Unplaced(self.parts.pop(role).stored, reason))

    def _tail(self, role: str) -> str:
        return self.tensors[role].tail if role in self.tensors else ""

    def _is_input_first(self) -> bool:
        """Matrices are `[in, out]`, as GPT-2 keeps them: told by shapes, the other way round these have no sense."""
        up, down, gate = (self.tensors.get(role) for role in ("up", "down", "gate"))
        if not up or not down or self.hidden is None:
            return False
        if gate is not None and (gate.tail not in _INPUT_FIRST or gate.entry.shape != up.entry.shape):
            return False
        shapes = up.entry.shape, down.entry.shape
        return (
            up.tail in _INPUT_FIRST
            and shapes[0] == shapes[1][::-1]
            and shapes[0][0] == self.hidden
            and shapes[0][1] != self.hidden
        )

    def _check_routers(self) -> None:
        """Leave out routers of another number of experts: a large matrix of that name would escape every comparison."""
        experts = sum(role.endswith(".gate") and expert_of(role) is not None for role in self.parts)
        shared = any(role.startswith("shared.") for role in self.tensors)
        for role in [role for role in self.parts if role.startswith(_ROUTERS)]:
            part, wanted = self.parts[role], 1 if role.startswith("shared") else experts - shared
            if len(part.plane.shape) > 1 and part.count != wanted:
                self._leave(role, f"a router of {part.count} experts, where there are {wanted}")


_INPUT_FIRST = frozenset({"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_fc2", "mlp.c_proj"})
_STACKED = frozenset({"experts.gate", "experts.up", "experts.down", "experts.gate_up"})
_ROUTERS = ("router", "shared_router")
_GATE_FIRST = frozenset({"mlp.dense_h_to_4h", "mlp.linear_fc1", "shared_mlp.input_linear"})
_GATE_FIRST_GGUF = frozenset({"chatglm", "glm4", "phi3"})


def _gate_comes_first(tail: str, config: Config) -> bool:
    return tail in _GATE_FIRST or (tail == "ffn_up" and config.architecture in _GATE_FIRST_GGUF)


def _fits(role: str, entry: TensorEntry) -> bool:
    """Whether a tensor has as many dimensions as its role: what is called a bias must not be a hidden matrix."""
    if role.removesuffix(".bias") in _STACKED and role.endswith(".bias"):
        return len(entry.shape) == 2
    if role.endswith(("norm", ".bias", "sinks", ".correction")):
        return len(entry.shape) == 1
    return role not in _STACKED or len(entry.shape) == 3


def _is_bias_of(bias: TensorEntry, experts: TensorEntry) -> bool:
    return bias.shape[0] == experts.shape[0] and bias.shape[1] in experts.shape[1:]


def _norms_named(layer: dict[str, Named]) -> dict[str, Named]:
    """Name norms by where they stand: `post_attention_layernorm` comes before the MLP, unless another one does."""
    if "pre_mlp_norm" in layer:
        new = {"mlp_norm": "post_attn_norm", "pre_mlp_norm": "mlp_norm"}
    elif "post_mlp_norm" in layer and "attn_norm" not in layer:
        new = {"mlp_norm": "post_attn_norm"}
    else:
        return layer
    return {new.get(role, role): named for role, named in layer.items()}


def _hidden_size(tensors: Mapping[Place, Named]) -> int | None:
    embed = tensors.get((None, "embed"))
    if embed is not None and len(embed.entry.shape) == 2:
        return embed.entry.shape[1]
    norms = {named.entry.shape for (_, role), named in tensors.items() if role in {"attn_norm", "mlp_norm"}}
    return next(iter(norms))[0] if len(norms) == 1 and len(next(iter(norms))) == 1 else None
