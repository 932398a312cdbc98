"""What loaders of torch checkpoints see, by Python's own libraries: to hold our reader against, in tests only.

The archive is opened by `zipfile`, the pickle followed by `pickle`'s unpickler in Python, whose globals are all stubs:
nothing of a file is imported or called.
"""

from __future__ import annotations

import io
import itertools
import pickle
import struct
import zipfile
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = {
    "DoubleStorage": ("F64", 8), "FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2),
    "LongStorage": ("I64", 8), "IntStorage": ("I32", 4), "ShortStorage": ("I16", 2), "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1), "BoolStorage": ("BOOL", 1),
}  # fmt: skip
UNTYPED = {"float8_e4m3fn": ("F8_E4M3", 1), "float8_e5m2": ("F8_E5M2", 1), "uint16": ("U16", 2)}


class Name(NamedTuple):
    module: str
    name: str


class Held(NamedTuple):
    key: str
    kind: str
    count: int


class Seen(NamedTuple):
    """A tensor as a loader sees it."""

    held: Held
    dtype: str
    size: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Stub:
    """Anything that is no tensor: takes whatever is done to it."""

    def __new__(cls, *_: object, **__: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass

    def __setitem__(self, _: object, __: object) -> None:
        pass

    def append(self, _: object) -> None:
        pass

    def extend(self, _: object) -> None:
        pass


class Mapping(dict):  # type: ignore[type-arg]
    """An ordered dict, whose attributes do not matter."""


def _view(held: object, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Seen:
    dtype, size = SIZES[held.kind]  # type: ignore[attr-defined]
    return Seen(held, dtype, size, offset, tuple(shape), tuple(stride))  # type: ignore[arg-type]


def _typed_view(
    held: object, offset: int, shape: object, stride: object, _: object, __: object, kind: Name, *_rest: object
) -> Seen:
    dtype, size = UNTYPED[kind.name]
    return Seen(held, dtype, size, offset, tuple(shape), tuple(stride))  # type: ignore[arg-type]


@dataclass
class Unpickler(pickle._Unpickler):  # type: ignore[name-defined,misc]  # noqa: SLF001 (in Python, so memory is bounded)
    data: bytes
    asked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.stream = io.BytesIO(self.data)
        super().__init__(self.stream)

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return Mapping
        if module == "torch._utils" and name in {"_rebuild_tensor", "_rebuild_tensor_v2"}:
            return _view
        if (module, name) == ("torch._utils", "_rebuild_tensor_v3"):
            return _typed_view
        if (module == "torch" and name in {*SIZES, *UNTYPED}) or (module, name) == ("torch.storage", "UntypedStorage"):
            return Name(module, name)
        self.asked.add(f"{module}.{name}")
        return Stub

    def get_extension(self, code: int) -> None:
        self.asked.add(f"extension {code}")
        self.append(Stub)

    def persistent_load(self, pid: tuple[object, ...]) -> Held:
        mark, kind, key, _, count = pid[:5]
        if mark != "storage" or not isinstance(kind, Name):
            raise pickle.UnpicklingError
        return Held(str(key), kind.name, count)  # type: ignore[arg-type]


@dataclass
class Loaded:
    """What a loader sees of a file."""

    tensors: dict[str, tuple[str, tuple[int, ...], bytes]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)


def load(data: bytes) -> Loaded:
    """Load a file as torch would.

    Raises
    ------
    Exception
        Of any kind: a loader does not take it.
    """
    return _load_legacy(data) if data.startswith(b"\x80\x02\x8a") else _load_zip(data)


def asked_before_failing(data: bytes) -> set[str]:
    """Return which globals a loader asks for, also of a file that it fails on in the end."""
    asked: set[str] = set()
    try:
        pickles = [data] if data.startswith(b"\x80\x02\x8a") else [_member(data, _root(data) + "data.pkl")]
    except Exception:  # noqa: BLE001 (there is no archive that it could open)
        return asked
    unpickler = Unpickler(pickles[0])
    for _ in range(5 if data.startswith(b"\x80\x02\x8a") else 1):
        try:
            unpickler.load()
        except Exception:  # noqa: BLE001 (whatever a loader fails with)
            break
    return unpickler.asked


def _root(data: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.namelist()[0].split("/")[0] + "/"


def _member(data: bytes, name: str) -> bytes:
    """Return the bytes of a member by its own header, as torch finds them, whatever the checksum."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        info = archive.getinfo(name)
    lengths = struct.unpack_from("<2H", data, info.header_offset + 26)
    start = info.header_offset + 30 + sum(lengths)
    return data[start : start + info.file_size]


def _load_zip(data: bytes) -> Loaded:
    root = _root(data)
    unpickler = Unpickler(_member(data, f"{root}data.pkl"))
    value = unpickler.load()
    return _read(value, lambda key: _member(data, f"{root}data/{key}"), unpickler.asked)


def _load_legacy(data: bytes) -> Loaded:
    unpickler = Unpickler(data)
    _, _, _, value, keys = (unpickler.load() for _ in range(5))
    counts = {seen.held.key: seen for seen in _flat(value).values()}
    at = unpickler.stream.tell()
    storages = {}
    for key in keys:
        (count,) = struct.unpack_from("<q", data, at)
        size = SIZES.get(counts[key].held.kind, ("", 1))[1]
        storages[key] = data[at + 8 : at + 8 + count * size]
        at += 8 + count * size
    return _read(value, storages.__getitem__, unpickler.asked)


def _read(value: object, storage: object, asked: set[str]) -> Loaded:
    out = Loaded(asked=asked)
    for name, seen in _flat(value).items():
        raw = storage(seen.held.key)  # type: ignore[operator]
        out.tensors[name] = (seen.dtype, seen.shape, b"".join(_elements(seen, raw)))
    return out


def _elements(seen: Seen, raw: bytes) -> Iterator[bytes]:
    """Yield the elements in order, one by one."""
    if prod(seen.shape) > 1 << 16:
        raise ValueError("more than these storages hold")
    for index in itertools.product(*map(range, seen.shape)):
        at = seen.offset + sum(i * step for i, step in zip(index, seen.stride, strict=True))
        yield raw[at * seen.size : (at + 1) * seen.size]


def _flat(value: object, path: tuple[str, ...] = ()) -> dict[str, Seen]:
    if isinstance(value, Seen):
        return {".".join(path): value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    out: dict[str, Seen] = {}
    for key, inner in items:
        out |= _flat(inner, (*path, str(key)))
    return out
