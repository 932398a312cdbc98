"""What torch writes into a pickle: storages, tensors, and the calls that rebuild them, as descriptions.

Sources: `torch/_utils.py` (`_rebuild_*`), `torch/serialization.py` (`persistent_id`) and
`torch/_weights_only_unpickler.py` (what torch itself takes for data).
"""

from __future__ import annotations

from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class MalformedError(ValueError):
    """Arguments that torch would not have written."""


class Global(NamedTuple):
    """A global that a pickle names. It is never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        """Spell it as Python does."""
        return f"{self.module}.{self.name}"


class Foreign:
    """Something that was not built: only what a pickle calls it, and what it is given as state, are known."""

    __slots__ = ("name", "reported", "state")

    def __init__(self, name: str, *, reported: bool = False) -> None:
        self.name = name
        self.reported = reported
        self.state: object = None

    def __str__(self) -> str:
        """Return what it is called."""
        return self.name


class Storage(NamedTuple):
    """Elements in a row, somewhere in the file.

    Attributes
    ----------
    key : str
        By which the file finds its bytes.
    dtype : str or None
        None for bytes without a type, whose tensors say what they are.
    elements : int
        Their number, or that of bytes where there is no type.
    """

    key: str
    dtype: str | None
    elements: int


class Tensor(NamedTuple):
    """A view of a storage: `offset` and `stride` in elements."""

    storage: Storage
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @property
    def contiguous(self) -> bool:
        """Whether its elements lie one after another, the last dimension fastest."""
        expected = 1
        for size, step in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if size != 1 and step != expected:
                return 0 in self.shape
            expected *= size
        return True

    @property
    def reach(self) -> int:
        """Elements of the storage from its beginning up to the last one of the tensor."""
        if 0 in self.shape:
            return self.offset
        return self.offset + 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))


_DTYPE_OF_NAME: Mapping[str, str] = MappingProxyType({
    "float64": "F64", "double": "F64", "float32": "F32", "float": "F32", "float16": "F16", "half": "F16",
    "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e8m0fnu": "F8_E8M0", "int64": "I64", "long": "I64", "int32": "I32",
    "int": "I32", "int16": "I16", "short": "I16", "int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32",
    "uint64": "U64", "bool": "BOOL", "complex64": "C64",
})  # fmt: skip
_STORAGES: Mapping[str, str] = MappingProxyType({
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "ComplexFloatStorage": "C64",
})  # fmt: skip
_UNTYPED = Global("torch.storage", "UntypedStorage")
_OTHER_STORAGES = frozenset({
    "ComplexDoubleStorage", "QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage",
})  # fmt: skip
"""Data too, and not read: a tensor in one of these is named as unread."""

_CLASSES = frozenset(
    {
        Global("torch", "Tensor"),
        Global("torch.nn.parameter", "Parameter"),
    }
)
"""What tensors are made as; the same numbers in each."""

_PARAMETERS = ("_rebuild_parameter", "_rebuild_parameter_with_state")
_OTHER_TENSORS = (
    "_rebuild_sparse_tensor", "_rebuild_qtensor", "_rebuild_meta_tensor_no_storage", "_rebuild_nested_tensor",
    "_rebuild_device_tensor_from_numpy", "_rebuild_device_tensor_from_cpu_tensor",
)  # fmt: skip

DATA_CLASSES = frozenset({
    "argparse.Namespace",
    "collections.defaultdict", "collections.Counter", "collections.deque",
    "datetime.datetime", "datetime.timedelta", "pathlib.PosixPath", "pathlib.Path",
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "numpy.ndarray",
    "transformers.training_args.TrainingArguments", "transformers.training_args.OptimizerNames",
    "transformers.training_args_seq2seq.Seq2SeqTrainingArguments", "transformers.training_args.ParallelMode",
    "transformers.trainer_utils.IntervalStrategy", "transformers.trainer_utils.SchedulerType",
    "transformers.trainer_utils.HubStrategy", "transformers.trainer_utils.SaveStrategy",
    "transformers.trainer_utils.EvaluationStrategy", "transformers.trainer_utils.FSDPOption",
    "transformers.trainer_pt_utils.AcceleratorConfig", "transformers.debug_utils.DebugOption",
    "transformers.deepspeed.HfTrainerDeepSpeedConfig", "transformers.deepspeed.HfDeepSpeedConfig",
    "transformers.integrations.deepspeed.HfTrainerDeepSpeedConfig",
    "transformers.integrations.deepspeed.HfDeepSpeedConfig",
    "accelerate.state.PartialState", "accelerate.state.AcceleratorState",
    "accelerate.utils.dataclasses.DistributedType", "accelerate.utils.dataclasses.DeepSpeedPlugin",
    "trl.trainer.sft_config.SFTConfig", "trl.trainer.dpo_config.DPOConfig",
})  # fmt: skip
"""What training scripts leave in pickles beside tensors: classes that hold settings, and run nothing of the file.

They are not built, and reported as what only a loader that trusts the file takes.
"""


_TORCH_NAMES = frozenset({*_STORAGES, *_DTYPE_OF_NAME, *_OTHER_STORAGES})


def is_known(what: Global) -> bool:
    """Say whether a global is one of those that torch takes for data, and that are described here."""
    return (
        what in CALLS or what in _CLASSES or what == _UNTYPED or (what.module == "torch" and what.name in _TORCH_NAMES)
    )


def is_call(what: Global) -> bool:
    """Say whether a global is a function whose result can be described."""
    return what in CALLS


def call(what: Global, arguments: tuple[object, ...]) -> object:
    """Describe what a call would return.

    Raises
    ------
    MalformedError
        Arguments that torch would not have written.
    """
    return CALLS[what](arguments)


def storage(persistent_id: object) -> object:
    """Describe what a persistent id stands for.

    Raises
    ------
    MalformedError
        No id that torch would have written.
    """
    if isinstance(persistent_id, tuple) and len(persistent_id) == 4 and persistent_id[0] == "module":
        return persistent_id[1]  # a class, and its source beside it: the class is reported where it is named
    if not isinstance(persistent_id, tuple) or len(persistent_id) < 5 or persistent_id[0] != "storage":
        raise MalformedError("not the id of a storage")
    kind, key, _device, count, *view = persistent_id[1:]
    if not isinstance(kind, Global) or not isinstance(key, str) or not _is_size(count):
        raise MalformedError("not the id of a storage")
    if view not in ([], [None]):
        raise MalformedError("a storage that is a view of another, as torch before 0.4 wrote")
    if kind == _UNTYPED:
        return Storage(key, None, count)
    if kind.module == "torch" and kind.name in _STORAGES:
        return Storage(key, _STORAGES[kind.name], count)
    if kind.module == "torch" and kind.name in _OTHER_STORAGES:
        return Foreign(kind.name)
    raise MalformedError(f"{kind}: not a type of storage")


def _tensor(arguments: tuple[object, ...]) -> Tensor | Foreign:
    if len(arguments) < 4:
        raise MalformedError("too few arguments")
    held, offset, shape, stride = arguments[:4]
    if isinstance(held, Foreign):
        return Foreign(f"a tensor in a {held}")
    if not isinstance(held, Storage) or held.dtype is None:
        raise MalformedError("not a storage of a known type")
    return _view(held, held.dtype, offset, shape, stride)


def _typed_tensor(arguments: tuple[object, ...]) -> Tensor | Foreign:
    if len(arguments) < 7:
        raise MalformedError("too few arguments")
    held, offset, shape, stride, _, _, dtype = arguments[:7]
    if not isinstance(held, Storage) or held.dtype is not None:
        raise MalformedError("not a storage without a type")
    if not isinstance(dtype, Global) or dtype.module != "torch" or dtype.name not in _DTYPE_OF_NAME:
        raise MalformedError("not a data type")
    return _view(held, _DTYPE_OF_NAME[dtype.name], offset, shape, stride)


def _view(held: Storage, dtype: str, offset: object, shape: object, stride: object) -> Tensor:
    sizes, steps = _sizes(shape), _sizes(stride)
    if not _is_size(offset) or len(sizes) != len(steps):
        raise MalformedError("offset, size and stride do not fit each other")
    if prod(size for size in sizes if size) > _MAX:
        raise MalformedError("too large to address")
    return Tensor(held, dtype, sizes, steps, offset)


_MAX = (1 << 63) - 1


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX


def _sizes(value: object) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or len(value) > LIMITS.dims:
        raise MalformedError("not a size")
    sizes = tuple(value)
    if not all(_is_size(size) for size in sizes):
        raise MalformedError("not a size")
    return sizes


def _parameter(arguments: tuple[object, ...]) -> object:
    if not arguments or not isinstance(arguments[0], (Tensor, Foreign)):
        raise MalformedError("not a tensor")
    return arguments[0]


def _from_type(arguments: tuple[object, ...]) -> object:
    if len(arguments) < 3:
        raise MalformedError("too few arguments")
    function, kind, inner = arguments[:3]
    if not isinstance(function, Global) or function not in _TENSORS or not isinstance(inner, tuple):
        raise MalformedError("not a call that rebuilds a tensor")
    if kind not in _CLASSES:
        return Foreign(str(kind) if isinstance(kind, Global) else "a type")
    return _TENSORS[function](inner)


def _mapping(arguments: tuple[object, ...]) -> object:
    if not arguments:
        return {}
    pairs = arguments[0]
    if len(arguments) > 1 or not isinstance(pairs, (list, tuple)):
        raise MalformedError("not pairs")
    made: dict[object, object] = {}
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], (str, int)):
            raise MalformedError("not pairs")
        if pair[0] in made:
            raise MalformedError("a name twice")
        made[pair[0]] = pair[1]
    return made


def _size(arguments: tuple[object, ...]) -> object:
    return _sizes(arguments[0]) if arguments else ()


def _sequence(arguments: tuple[object, ...]) -> object:
    return list(arguments[0]) if arguments and isinstance(arguments[0], (list, tuple)) else []


def _other(name: str) -> Callable[[tuple[object, ...]], object]:
    return lambda _arguments: Foreign(f"a tensor made by {name}")


def _data(_arguments: tuple[object, ...]) -> object:
    """Make nothing of what is no tensor, and harmless."""
    return None


_TENSORS: dict[Global, Callable[[tuple[object, ...]], Tensor | Foreign]] = {
    Global("torch._utils", "_rebuild_tensor"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Global("torch._utils", "_rebuild_tensor_v3"): _typed_tensor,
}
CALLS: dict[Global, Callable[[tuple[object, ...]], object]] = {
    **_TENSORS,
    **{Global("torch._utils", name): _parameter for name in _PARAMETERS},
    **{Global("torch._utils", name): _other(name) for name in _OTHER_TENSORS},
    Global("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    Global("collections", "OrderedDict"): _mapping,
    Global("torch", "Size"): _size,
    Global("torch", "device"): _data,
    Global("_codecs", "encode"): _data,
    Global("builtins", "set"): _sequence,
    Global("__builtin__", "set"): _sequence,
    Global("builtins", "complex"): _data,
    Global("__builtin__", "complex"): _data,
    Global("builtins", "bytes"): _data,
    Global("__builtin__", "bytes"): _data,
    Global("builtins", "bytearray"): _data,
    Global("__builtin__", "bytearray"): _data,
}
