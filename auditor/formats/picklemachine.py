"""Work through a pickle and build nothing but plain values and descriptions of tensors.

A pickle is a program. This machine knows dicts, lists, tuples, numbers and texts, and the few calls by which torch
rebuilds tensors (`torchvalues`). Every other global stays a name: it is not imported, a call of it is not made, and
both are reported. What was built from plain parts beside it can be used all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from auditor.errors import BadPickle, DuplicateName, FileError, LimitExceeded
from auditor.formats import torchvalues
from auditor.formats.pickleops import Op, operations
from auditor.formats.torchvalues import Foreign, Global, Storage
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable


class Problem(NamedTuple):
    """Code that a loader would run: by which opcode, whose, and where in the pickle."""

    opcode: str
    name: str
    at: int


@dataclass(slots=True)
class Reading:
    """What was made of a pickle.

    Attributes
    ----------
    value : object
        What it describes; meaningless where there is an `error`.
    problems : list of Problem
        Code that a loader would run, the first `LIMITS.pickle_problems` by name. Complete up to an `error`, for what
        stands before it is run before a loader meets it.
    unread : int
        Bytes in long texts and in byte strings, which were stepped over.
    error : FileError or None
        Why it could not be followed to its end.
    stop : int
        Where it ends.
    steps : int
        Opcodes walked.
    storages : dict
        Every storage that it names, by key.
    """

    value: object = None
    problems: list[Problem] = field(default_factory=list)
    unread: int = 0
    error: FileError | None = None
    stop: int = 0
    steps: int = 0
    storages: dict[str, Storage] = field(default_factory=dict)

    def report(self, opcode: str, name: str, at: int) -> None:
        """Note code that would be run; a call of a global takes the place of its mere import."""
        for index, known in enumerate(self.problems):
            if known.name == name:
                if known.opcode in _IMPORTS and opcode not in _IMPORTS:
                    self.problems[index] = Problem(opcode, name, at)
                return
        if len(self.problems) < LIMITS.pickle_problems:
            self.problems.append(Problem(opcode, name, at))


_LONG_TEXT = 1024  # no name is longer, and weights may be
_IMPORTS = frozenset({"GLOBAL", "STACK_GLOBAL"})


class _Mark:
    """Where a group of values begins on the stack."""


_MARK = _Mark()


def read(data: bytes, at: int = 0, *, file: str, label: str) -> Reading:
    """Work through one pickle.

    Parameters
    ----------
    data : bytes
        May go on behind it.
    at : int
    file, label : str
        What errors name.

    Returns
    -------
    Reading
        Never raises for what the bytes say: that is `Reading.error`.
    """
    return _run(Reading(), data, at, file=file, label=label)


def follow(reading: Reading, data: bytes, *, file: str, label: str) -> None:
    """Work through the pickles that stand behind one, for the code that they name: some loaders go on to them.

    Parameters
    ----------
    reading : Reading
        Of the pickle before. Problems and unread bytes are added to it; a first error stays the one it has.
    data : bytes
    file, label : str
        What errors name.
    """
    after = reading
    for number in count(1):
        if after.stop == len(data):
            return
        if number > LIMITS.pickle_streams:
            field_, limit = f"{label}: pickles behind it", LIMITS.pickle_streams
            reading.error = reading.error or LimitExceeded(file=file, field=field_, limit=limit)
            return
        further = Reading(problems=reading.problems, unread=reading.unread, steps=after.steps)
        after = _run(further, data, after.stop, file=file, label=label)
        reading.unread = after.unread
        if after.error:
            reading.error = reading.error or after.error
            return


def _run(reading: Reading, data: bytes, at: int, *, file: str, label: str) -> Reading:
    machine = _Machine(reading, file, label)
    try:
        for op in operations(data, at, file=file, field=label, steps=LIMITS.pickle_steps - reading.steps):
            reading.steps += 1
            machine.run(op)
    except FileError as error:
        reading.error = error
    return reading


class _Machine:
    __slots__ = ("_file", "_label", "_memo", "_stack", "reading")

    def __init__(self, reading: Reading, file: str, label: str) -> None:
        self._file = file
        self._label = label
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self.reading = reading

    def run(self, op: Op) -> None:
        name = op.name
        if name in _VALUES:
            self._stack.append(self._plain(op.argument))
        elif name in _PUTS:
            self._memo[len(self._memo) if op.argument is None else self._integer(op)] = self._top(op)
        elif name in _GETS:
            self._get(op)
        else:
            _ACTS[name](self, op)

    def bad(self, op: Op, problem: str, *, actual: object = None) -> BadPickle:
        where = f"{self._label} at byte {op.at}"
        return BadPickle(file=self._file, field=where, problem=f"{op.name}: {problem}", actual=actual)

    def _plain(self, argument: object) -> object:
        """Keep numbers and texts; of what is long, only its length."""
        if not isinstance(argument, (str, bytes)):
            return argument
        if isinstance(argument, bytes) or len(argument) > _LONG_TEXT:
            self.reading.unread += len(argument)
        if len(argument) > LIMITS.pickle_text:
            return None
        return argument.decode("latin-1") if isinstance(argument, bytes) else argument

    def _integer(self, op: Op) -> int:
        if not isinstance(op.argument, int) or op.argument < 0:
            raise self.bad(op, "not an index of the memo", actual=op.argument)
        return op.argument

    def _get(self, op: Op) -> None:
        index = self._integer(op)
        if index not in self._memo:
            raise self.bad(op, "nothing there in the memo", actual=index)
        self._stack.append(self._memo[index])

    def _top(self, op: Op) -> object:
        if not self._stack or self._stack[-1] is _MARK:
            raise self.bad(op, "nothing on the stack")
        return self._stack[-1]

    def _pop(self, op: Op) -> object:
        top = self._top(op)
        self._stack.pop()
        return top

    def _group(self, op: Op) -> list[object]:
        """Take what stands above the last mark, and the mark."""
        for at in range(len(self._stack) - 1, -1, -1):
            if self._stack[at] is _MARK:
                group = self._stack[at + 1 :]
                del self._stack[at:]
                return group
        raise self.bad(op, "no mark on the stack")

    # --- what each opcode does ---

    def mark(self, _op: Op) -> None:
        self._stack.append(_MARK)

    def stop(self, op: Op) -> None:
        self.reading.value = self._pop(op)
        self.reading.stop = op.stop
        if self._stack:
            raise self.bad(op, "values are left on the stack", actual=len(self._stack))

    def pop(self, op: Op) -> None:
        if not self._stack:
            raise self.bad(op, "nothing on the stack")
        self._stack.pop()

    def pop_mark(self, op: Op) -> None:
        self._group(op)

    def dup(self, op: Op) -> None:
        self._stack.append(self._top(op))

    def constant(self, op: Op) -> None:
        self._stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[op.name])

    def empty(self, op: Op) -> None:
        made: object = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}[op.name]()
        self._stack.append(made)

    def tuple_of(self, op: Op) -> None:
        count = int(op.name[-1])
        if len(self._stack) < count or any(value is _MARK for value in self._stack[-count:]):
            raise self.bad(op, "too few values on the stack")
        self._stack[-count:] = [tuple(self._stack[-count:])]

    def grouped(self, op: Op) -> None:
        group = self._group(op)
        if op.name == "DICT":
            made: dict[object, object] = {}
            self._set(op, made, group)
            self._stack.append(made)
        else:
            self._stack.append(tuple(group) if op.name == "TUPLE" else group)

    def append(self, op: Op) -> None:
        group = [self._pop(op)] if op.name == "APPEND" else self._group(op)
        onto = self._top(op)
        if isinstance(onto, list):
            onto.extend(group)
        elif not isinstance(onto, Foreign):
            raise self.bad(op, "onto something that is no list")

    def set_items(self, op: Op) -> None:
        if op.name == "SETITEM":
            value = self._pop(op)
            group = [self._pop(op), value]
        else:
            group = self._group(op)
        into = self._top(op)
        if isinstance(into, dict):
            self._set(op, into, group)
        elif not isinstance(into, Foreign):
            raise self.bad(op, "into something that is no dict")

    def _set(self, op: Op, into: dict[object, object], group: list[object]) -> None:
        if len(group) % 2:
            raise self.bad(op, "a key without a value")
        for key, value in zip(group[::2], group[1::2], strict=True):
            # Only what hashes in one step: a tuple nested deep enough would end the process.
            named = key if isinstance(key, (str, int, float, type(None))) else Foreign("a key")
            if named in into:
                where = f"{self._label} at byte {op.at}"
                raise DuplicateName(file=self._file, field=where, actual=key)
            into[named] = value

    def named_global(self, op: Op) -> None:
        if op.name == "STACK_GLOBAL":
            name, module = self._pop(op), self._pop(op)
        else:
            module, name = op.argument if isinstance(op.argument, tuple) else (None, None)
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.bad(op, "a global without a name")
        found = Global(module, name)
        if not torchvalues.is_known(found):
            self.reading.report(op.name, str(found), op.at)
        self._stack.append(found)

    def extension(self, op: Op) -> None:
        name = f"extension {op.argument!r}"
        self.reading.report(op.name, name, op.at)
        self._stack.append(Foreign(name, reported=True))

    def call(self, op: Op) -> None:
        arguments = self._pop(op)
        self._stack.append(self._called(op, self._pop(op), arguments))

    def call_with_keywords(self, op: Op) -> None:
        self._pop(op)
        self.call(op)

    def old_call(self, op: Op) -> None:
        """Run INST and OBJ, which take their arguments from the stack."""
        group = self._group(op)
        if op.name == "INST":
            if not isinstance(op.argument, tuple):
                raise self.bad(op, "a global without a name")
            what: object = Global(*op.argument)
        elif group:
            what = group.pop(0)
        else:
            raise self.bad(op, "nothing to call")
        self._stack.append(self._called(op, what, tuple(group)))

    def _called(self, op: Op, what: object, arguments: object) -> object:
        if isinstance(what, Global) and isinstance(arguments, tuple):
            try:
                if op.name == "REDUCE" and torchvalues.is_call(what):
                    return torchvalues.call(what, arguments)
            except torchvalues.MalformedError as error:
                raise self.bad(op, f"{what}: {error}") from None
        if not (isinstance(what, Foreign) and what.reported):
            self.reading.report(op.name, _name_of(what), op.at)
        return Foreign(_name_of(what), reported=True)

    def build(self, op: Op) -> None:
        state = self._pop(op)
        target = self._top(op)
        # torch keeps the versions of modules beside a state dict: the one attribute that it ever has.
        if isinstance(target, dict) and isinstance(state, dict) and state.keys() <= {"_metadata"}:
            return
        if isinstance(target, Foreign):
            target.state = state
            if target.reported:
                return
        self.reading.report(op.name, _name_of(target), op.at)

    def persistent(self, op: Op) -> None:
        what = self._pop(op) if op.name == "BINPERSID" else op.argument
        try:
            held = torchvalues.storage(what)
        except torchvalues.MalformedError as error:
            raise self.bad(op, str(error)) from None
        # A loader goes by what it met first, and which part of the file it reads first is its own choice.
        if isinstance(held, Storage) and self.reading.storages.setdefault(held.key, held) != held:
            raise self.bad(op, "one storage, described in two ways", actual=held.key)
        self._stack.append(held)

    def out_of_band(self, op: Op) -> None:
        if op.name == "NEXT_BUFFER":
            raise self.bad(op, "bytes that are not in the file")

    def ignore(self, _op: Op) -> None:
        pass


def _name_of(what: object) -> str:
    if isinstance(what, (Global, Foreign)):
        return str(what)
    return f"a {type(what).__name__}"


_VALUES = frozenset({
    "BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1", "LONG4", "INT", "LONG", "FLOAT", "STRING", "UNICODE",
    "SHORT_BINSTRING", "BINSTRING", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8", "SHORT_BINUNICODE",
    "BINUNICODE", "BINUNICODE8",
})  # fmt: skip
_PUTS = frozenset({"BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"})
_GETS = frozenset({"BINGET", "LONG_BINGET", "GET"})
_ACTS: dict[str, Callable[[_Machine, Op], None]] = {
    "MARK": _Machine.mark, "STOP": _Machine.stop, "POP": _Machine.pop, "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.dup, "NONE": _Machine.constant, "NEWTRUE": _Machine.constant, "NEWFALSE": _Machine.constant,
    "EMPTY_DICT": _Machine.empty, "EMPTY_LIST": _Machine.empty, "EMPTY_TUPLE": _Machine.empty,
    "EMPTY_SET": _Machine.empty, "TUPLE1": _Machine.tuple_of, "TUPLE2": _Machine.tuple_of,
    "TUPLE3": _Machine.tuple_of, "TUPLE": _Machine.grouped, "LIST": _Machine.grouped, "DICT": _Machine.grouped,
    "FROZENSET": _Machine.grouped, "APPEND": _Machine.append, "APPENDS": _Machine.append,
    "ADDITEMS": _Machine.append, "SETITEM": _Machine.set_items, "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.named_global, "STACK_GLOBAL": _Machine.named_global, "EXT1": _Machine.extension,
    "EXT2": _Machine.extension, "EXT4": _Machine.extension, "REDUCE": _Machine.call, "NEWOBJ": _Machine.call,
    "NEWOBJ_EX": _Machine.call_with_keywords, "INST": _Machine.old_call, "OBJ": _Machine.old_call,
    "BUILD": _Machine.build, "PERSID": _Machine.persistent, "BINPERSID": _Machine.persistent,
    "NEXT_BUFFER": _Machine.out_of_band, "READONLY_BUFFER": _Machine.out_of_band, "PROTO": _Machine.ignore,
    "FRAME": _Machine.ignore,
}  # fmt: skip
