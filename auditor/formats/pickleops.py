"""Cut a pickle into opcodes with their arguments. Nothing is built, imported or called.

The format is that of CPython's `pickletools`, protocols 0 to 5. Stricter than its unpicklers where two of them could
see two pickles (an opcode across the end of its frame) and for what no checkpoint holds: lines that are not UTF-8,
integers of more than 256 bytes. Every length is held against the bytes left before anything is copied.
"""

from __future__ import annotations

import codecs
import re
import struct
from typing import TYPE_CHECKING, NamedTuple

from auditor.errors import BadPickle, LimitExceeded, Truncated, UnsupportedVersion
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROTOCOLS = range(6)

Argument = int | float | str | bytes | tuple[str, str] | None


class Op(NamedTuple):
    """An opcode: its name as in `pickletools`, its argument, where it stands and where the next one does."""

    name: str
    argument: Argument
    at: int
    stop: int


_PLAIN = {
    "(": "MARK", ".": "STOP", "0": "POP", "1": "POP_MARK", "2": "DUP", "N": "NONE", "Q": "BINPERSID", "R": "REDUCE",
    "b": "BUILD", "}": "EMPTY_DICT", "d": "DICT", "a": "APPEND", "e": "APPENDS", "]": "EMPTY_LIST", "l": "LIST",
    "o": "OBJ", "s": "SETITEM", "u": "SETITEMS", "t": "TUPLE", ")": "EMPTY_TUPLE", "\x81": "NEWOBJ", "\x85": "TUPLE1",
    "\x86": "TUPLE2", "\x87": "TUPLE3", "\x88": "NEWTRUE", "\x89": "NEWFALSE", "\x8f": "EMPTY_SET", "\x90": "ADDITEMS",
    "\x91": "FROZENSET", "\x92": "NEWOBJ_EX", "\x93": "STACK_GLOBAL", "\x94": "MEMOIZE", "\x97": "NEXT_BUFFER",
    "\x98": "READONLY_BUFFER",
}  # fmt: skip
_FIXED = {
    "J": ("BININT", "<i"), "K": ("BININT1", "<B"), "M": ("BININT2", "<H"), "G": ("BINFLOAT", ">d"),
    "h": ("BINGET", "<B"), "j": ("LONG_BINGET", "<I"), "q": ("BINPUT", "<B"), "r": ("LONG_BINPUT", "<I"),
    "\x80": ("PROTO", "<B"), "\x82": ("EXT1", "<B"), "\x83": ("EXT2", "<H"), "\x84": ("EXT4", "<i"),
    "\x95": ("FRAME", "<Q"),
}  # fmt: skip
_COUNTED = {
    "U": ("SHORT_BINSTRING", "<B", "bytes"), "T": ("BINSTRING", "<i", "bytes"),
    "C": ("SHORT_BINBYTES", "<B", "bytes"), "B": ("BINBYTES", "<I", "bytes"), "\x8e": ("BINBYTES8", "<Q", "bytes"),
    "\x96": ("BYTEARRAY8", "<Q", "bytes"),
    "\x8c": ("SHORT_BINUNICODE", "<B", "text"), "X": ("BINUNICODE", "<I", "text"),
    "\x8d": ("BINUNICODE8", "<Q", "text"),
    "\x8a": ("LONG1", "<B", "long"), "\x8b": ("LONG4", "<i", "long"),
}  # fmt: skip
_LINES = {
    "I": ("INT", "int"), "L": ("LONG", "int"), "F": ("FLOAT", "float"), "S": ("STRING", "quoted"),
    "V": ("UNICODE", "escaped"), "P": ("PERSID", "text"), "g": ("GET", "int"), "p": ("PUT", "int"),
    "c": ("GLOBAL", "pair"), "i": ("INST", "pair"),
}  # fmt: skip


_INTEGER = re.compile(r"[+-]?[0-9]{1,256}L?")  # no CPython setting refuses that few digits
_FLOAT = re.compile(
    r"[+-]?([0-9]{1,256}(\.[0-9]{0,256})?|\.[0-9]{1,256})(e[+-]?[0-9]{1,4})?|[+-]?inf|[+-]?nan", re.IGNORECASE
)


class _Reader:
    """The bytes of a pickle, and what its errors name."""

    __slots__ = ("data", "field", "file", "frame")

    def __init__(self, data: bytes, *, file: str, field: str) -> None:
        self.data = data
        self.file = file
        self.field = field
        self.frame = len(data) + 1  # where the frame ends; past everything where there is none

    def bad(self, at: int, problem: str, *, actual: object = None) -> BadPickle:
        return BadPickle(file=self.file, field=f"{self.field} at byte {at}", problem=problem, actual=actual)

    def take(self, at: int, length: int) -> int:
        """Return where `length` bytes from `at` end, which must be inside."""
        if length < 0:
            raise self.bad(at, "a negative length", actual=length)
        if length > len(self.data) - at:
            field = f"{self.field} at byte {at}"
            raise Truncated(file=self.file, field=field, actual=len(self.data) - at, limit=length)
        return at + length

    def line(self, at: int) -> tuple[bytes, int]:
        end = self.data.find(b"\n", at, at + LIMITS.pickle_line + 1)
        if end >= 0:
            return self.data[at:end], end + 1
        if len(self.data) - at <= LIMITS.pickle_line:
            raise Truncated(file=self.file, field=f"{self.field} at byte {at}", problem="a line without end")
        field = f"{self.field} at byte {at}"
        raise LimitExceeded(file=self.file, field=field, problem="a line over the limit", limit=LIMITS.pickle_line)

    def text(self, raw: bytes, at: int) -> str:
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise self.bad(at, "not UTF-8", actual=raw) from None

    def escaped(self, raw: bytes, at: int, *, quoted: bool) -> str:
        """Return a text of protocol 0: in quotes and with escapes of bytes, or bare and with those of characters."""
        try:
            if not quoted:
                return raw.decode("raw-unicode-escape")
            if len(raw) > 1 and raw[:1] == raw[-1:] and raw[:1] in b"'\"":
                return codecs.escape_decode(raw[1:-1])[0].decode("latin-1")
        except ValueError:  # of either escape
            pass
        raise self.bad(at, "not a text in escapes", actual=raw)


_Read = tuple[Argument, int]
_Decoder = tuple[str, "Callable[[_Reader, int], _Read]"]


def _nothing(_reader: _Reader, at: int) -> _Read:
    return None, at


def _fixed(layout: str) -> Callable[[_Reader, int], _Read]:
    packed = struct.Struct(layout)

    def read(reader: _Reader, at: int) -> _Read:
        stop = reader.take(at, packed.size)
        return packed.unpack_from(reader.data, at)[0], stop

    return read


def _counted(layout: str, kind: str) -> Callable[[_Reader, int], _Read]:
    packed = struct.Struct(layout)

    def read(reader: _Reader, at: int) -> _Read:
        begin = reader.take(at, packed.size)
        (length,) = packed.unpack_from(reader.data, at)
        if kind == "long" and length > LIMITS.pickle_long:
            field = f"{reader.field} at byte {at}"
            raise LimitExceeded(
                file=reader.file, field=field, problem="an integer too long", actual=length, limit=LIMITS.pickle_long
            )
        stop = reader.take(begin, length)
        raw = reader.data[begin:stop]
        if kind == "bytes":
            return raw, stop
        return (int.from_bytes(raw, "little", signed=True) if kind == "long" else reader.text(raw, at)), stop

    return read


def _lines(kind: str) -> Callable[[_Reader, int], _Read]:
    def read(reader: _Reader, at: int) -> _Read:
        raw, stop = reader.line(at)
        if kind == "pair":
            second, stop = reader.line(stop)
            return (reader.text(raw, at), reader.text(second, at)), stop
        if kind in {"quoted", "escaped"}:
            return reader.escaped(raw, at, quoted=kind == "quoted"), stop
        text = reader.text(raw, at)
        if kind == "text":
            return text, stop
        number = _FLOAT if kind == "float" else _INTEGER
        if not number.fullmatch(text):
            raise reader.bad(at, "not a number", actual=text)
        return (float(text) if kind == "float" else int(text.removesuffix("L"))), stop

    return read


_DECODERS: list[_Decoder | None] = [None] * 256
_DECODERS_OF: dict[str, _Decoder] = (
    {code: (name, _nothing) for code, name in _PLAIN.items()}
    | {code: (name, _fixed(layout)) for code, (name, layout) in _FIXED.items()}
    | {code: (name, _counted(layout, kind)) for code, (name, layout, kind) in _COUNTED.items()}
    | {code: (name, _lines(kind)) for code, (name, kind) in _LINES.items()}
)
for _code, _decoder in _DECODERS_OF.items():
    _DECODERS[ord(_code)] = _decoder


def operations(data: bytes, at: int = 0, *, file: str, field: str, steps: int = LIMITS.pickle_steps) -> Iterator[Op]:
    """Walk one pickle, up to and with its STOP.

    Parameters
    ----------
    data : bytes
        May go on behind the pickle.
    at : int
        Where it begins.
    file, field : str
        What errors name.
    steps : int
        Opcodes that may be walked.

    Raises
    ------
    Truncated
        It ends within an opcode, or without STOP.
    LimitExceeded
        More than `steps` opcodes, or an argument over its cap.
    BadPickle
        No such opcode, an argument that is not of its kind, or an opcode across the end of a frame.
    UnsupportedVersion
        A protocol that CPython does not have.
    """
    reader = _Reader(data, file=file, field=field)
    for _ in range(steps):
        if at >= len(data):
            raise Truncated(file=file, field=field, problem="it ends without STOP")
        decoder = _DECODERS[data[at]]
        if decoder is None:
            raise reader.bad(at, "no such opcode", actual=data[at : at + 1])
        name, decode = decoder
        argument, stop = decode(reader, at + 1)
        if at < reader.frame < stop:
            raise reader.bad(at, "an opcode across the end of its frame", actual=name)
        if name == "FRAME":
            _enter_frame(reader, argument, at, stop)
        elif name == "PROTO" and argument not in PROTOCOLS:
            raise UnsupportedVersion(file=file, field=f"{field} protocol", actual=argument, limit=PROTOCOLS[-1])
        yield Op(name, argument, at, stop)
        if name == "STOP":
            return
        at = stop
    problem = "opcodes over the limit"
    raise LimitExceeded(file=file, field=field, problem=problem, limit=LIMITS.pickle_steps)


def _enter_frame(reader: _Reader, length: Argument, at: int, stop: int) -> None:
    if at < reader.frame <= len(reader.data):
        raise reader.bad(at, "a frame within a frame")
    if not isinstance(length, int):
        raise reader.bad(at, "a frame without a length")
    reader.frame = reader.take(stop, length)
