"""Pickles as programs: nothing of them runs, what they would run is named, and none of them takes long."""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torchkit as kit
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.formats import open_checkpoints, picklemachine
from auditor.formats.pickleops import operations
from auditor.formats.torchtensors import code_of
from auditor.limits import LIMITS
from auditor.sources import BytesSource

if TYPE_CHECKING:
    from auditor.formats import Checkpoints
    from auditor.formats.picklemachine import Reading

RUN = b"cposix\nsystem\n(X\x02\x00\x00\x00idtR"
CLEAN = b"\x80\x02}q\x00X\x01\x00\x00\x00aK\x01s."


def run(data: bytes) -> Reading:
    reading = picklemachine.read(data, file="x.bin", label="pickle")
    if not reading.error:
        picklemachine.follow(reading, data, file="x.bin", label="pickle")
    return reading


def scan(name: str, data: bytes) -> Checkpoints:
    return open_checkpoints(BytesSource({name: data}))


def executable(found: Checkpoints) -> tuple[str, str]:
    (one,) = (item for item in found.findings if item.id == "FILE-007")
    return one.status, one.evidence


# --- pickles that run code ------------------------------------------------------------------------------

EVIL = {
    "os system": (b"\x80\x02" + RUN + b".", "REDUCE posix.system at byte 25"),
    "builtins eval": (b"\x80\x02c__builtin__\neval\n(X\x01\x00\x00\x001tR.", "REDUCE __builtin__.eval"),
    "protocol 0": (b"cposix\nsystem\n(S'id'\ntR.", "REDUCE posix.system"),
    "protocol 4": (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.", "REDUCE posix.system"),
    "stacked clean then evil": (CLEAN + b"\x80\x02" + RUN + b".", "REDUCE posix.system"),
    "evil then broken": (b"\x80\x02" + RUN + b"\xff\xff", "REDUCE posix.system"),
    "evil then cut": (b"\x80\x02" + RUN + b"X\xff\xff\xff\x7f", "REDUCE posix.system"),
    "evil then empty stack": (b"\x80\x02" + RUN + b"000000.", "REDUCE posix.system"),
    "stack global by memo": (
        b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x9400h\x00h\x01\x93\x8c\x02id\x85R.",
        "REDUCE posix.system",
    ),
    "inst": (b"(S'id'\niposix\nsystem\n.", "INST posix.system"),
    "obj": (b"\x80\x02(cposix\nsystem\nX\x02\x00\x00\x00ido.", "OBJ posix.system"),
    "newobj": (b"\x80\x02csubprocess\nPopen\nX\x02\x00\x00\x00id\x85\x81.", "NEWOBJ subprocess.Popen"),
    "newobj with keywords": (b"\x80\x04csubprocess\nPopen\n)}\x92.", "NEWOBJ_EX subprocess.Popen"),
    "import only": (b"\x80\x02cevil\nmodule\n.", "GLOBAL evil.module"),
    "dotted name": (b"\x80\x04\x8c\x05torch\x8c\x15_utils.os.path.exists\x93.", "torch._utils.os.path.exists"),
    "name like torch": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2x\n.", "torch._utils._rebuild_tensor_v2x"),
    "torch loads code": (b"\x80\x02ctorch.jit\nload\n(X\x01\x00\x00\x00xtR.", "REDUCE torch.jit.load"),
    "extension": (b"\x80\x02\x82\x07.", "EXT1 extension 7"),
    "state of a call": (b"\x80\x02ca\nB\n)R}X\x01\x00\x00\x00xK\x01sb.", "REDUCE a.B"),
    "state of a dict": (b"\x80\x02}}X\x05\x00\x00\x00itemsK\x01sb.", "BUILD a dict"),
    "call of a number": (b"\x80\x02K\x05)R.", "REDUCE a int"),
    "storage called": (b"\x80\x02ctorch\nFloatStorage\n)R.", "REDUCE torch.FloatStorage"),
}


@pytest.mark.parametrize("case", EVIL)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "x.pkl", "x.joblib", "x.pt"])
def test_code_is_named_and_never_run(monkeypatch: pytest.MonkeyPatch, case: str, name: str) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("os.system", forbidden)
    monkeypatch.setattr("pickle.Unpickler", forbidden)
    data, what = EVIL[case]
    found = scan(name, data)
    status, evidence = executable(found)
    assert (status, what in evidence) == ("fail", True), evidence
    assert {entry.path for entry in found.unread} == {name}
    assert found.containers == ()


@pytest.mark.parametrize("case", EVIL)
def test_code_in_a_torch_archive_is_named_and_its_tensors_are_read(case: str) -> None:
    evil, what = EVIL[case]
    held = kit.tensor(kit.storage("0", "U8", 2), "U8", (2,))
    if evil.startswith((b"\x80\x02", b"\x80\x04")) and "then" not in case:
        body = b"}(" + kit.text("w") + held + kit.text("x") + evil[2:-1] + b"u"
        found = scan("pytorch_model.bin", kit.archive_of(b"\x80\x04" + body + b".", {"0": b"ab"}).to_bytes())
        assert [[entry.name for entry in container.tensors] for container in found.containers] == [["w"]]
    else:
        found = scan("pytorch_model.bin", kit.archive_of(evil).to_bytes())
    status, evidence = executable(found)
    assert (status, what.partition(" at ")[0].rpartition(" ")[2] in evidence) == ("fail", True), evidence
    assert "pytorch_model.bin" in {entry.path for entry in found.unread}


@pytest.mark.parametrize("suffix", ["safetensors", "gguf"])
@pytest.mark.parametrize("case", ["os system", "protocol 4"])
def test_renamed(case: str, suffix: str) -> None:
    found = scan(f"model.{suffix}", EVIL[case][0])
    assert executable(found)[0] == "fail"
    assert next(item.status for item in found.findings if item.id == "FILE-004") == "fail"


def test_benign_pickle_is_unread_and_nothing_else() -> None:
    for data in (CLEAN, pickle.dumps({"a": [1, 2.5, None, True, "x" * 300]}, protocol=5)):
        found = scan("x.pkl", data)
        if data == CLEAN:  # a mark
            assert [entry.code for entry in found.unread] == ["unsupported-format"]
        assert executable(found)[0] == "pass"


def test_settings_of_libraries_are_a_warning() -> None:
    data = b"ctransformers.training_args\nTrainingArguments\n)\x81}X\x01\x00\x00\x00rK\x01sb"
    found = scan("training_args.bin", kit.archive_of(kit.pickled(data)).to_bytes())
    assert executable(found) == (
        "warn",
        "a loader must trust the file, for it makes training_args.bin: transformers.training_args.TrainingArguments",
    )
    assert found.unread == ()


def test_whole_module_is_code_whose_tensors_are_read() -> None:
    held = kit.tensor(kit.storage("0", "U8", 2), "U8", (2,))
    leaf = b"cnn\nLinear\n)\x81" + kit.mapping({"_parameters": kit.mapping({"weight": held})}) + b"b"
    model = b"cmine\nModel\n)\x81" + kit.mapping({"_modules": kit.mapping({"gate": leaf})}) + b"b"
    found = scan("model.pt", kit.archive_of(kit.pickled(model), {"0": b"ab"}).to_bytes())
    assert [entry.name for entry in found.containers[0].tensors] == ["gate.weight"]
    assert "NEWOBJ mine.Model" in executable(found)[1]
    assert [entry.code for entry in found.unread] == ["executable-pickle"]


def test_long_byte_strings_may_hold_anything() -> None:
    body = kit.mapping({"w": b"B" + struct.pack("<I", LIMITS.pickle_unread + 1) + bytes(LIMITS.pickle_unread + 1)})
    found = scan("pytorch_model.bin", kit.archive_of(kit.pickled(body)).to_bytes())
    assert [entry.code for entry in found.unread] == ["limit-exceeded"]


# --- pickles that are made to break readers -------------------------------------------------------------


def laughs(first: bytes, *, dicts: bool) -> bytes:
    """Ten times the same thing in each of 200 levels."""
    out = b"\x80\x02" + first + b"q\x000"
    for i in range(200):
        again = b"h" + bytes([i])
        items = b"".join(kit.text(k) + again for k in "abcdefghij") if dicts else again * 10
        out += (b"}(" if dicts else b"](") + items + (b"uq" if dicts else b"eq") + bytes([i + 1]) + b"0"
    return out + b"h" + bytes([200]) + b"."


BROKEN = {
    "long4 huge": (b"\x80\x02\x8b\xff\xff\xff\x7f" + bytes(10) + b".", "limit-exceeded"),
    "long4 negative": (b"\x80\x02\x8b\xff\xff\xff\xff.", "bad-pickle"),
    "binunicode8 huge": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.", "truncated"),
    "binbytes8 huge": (b"\x80\x04\x8e" + struct.pack("<Q", (1 << 64) - 1) + b"x.", "truncated"),
    "bytearray8 huge": (b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.", "truncated"),
    "binstring negative": (b"\x80\x02T\xff\xff\xff\xff.", "bad-pickle"),
    "frame lie, short": (b"\x80\x04\x95\x03\0\0\0\0\0\0\0\x8c\x05posix.", "bad-pickle"),
    "frame lie, long": (b"\x80\x04\x95\xff\0\0\0\0\0\0\0N.", "truncated"),
    "frame in a frame": (b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x95\x01\0\0\0\0\0\0\0N.", "bad-pickle"),
    "no stop": (b"\x80\x02}", "truncated"),
    "nothing": (b"\x80\x02", "truncated"),
    "stop only": (b"\x80\x02.", "bad-pickle"),
    "stop on a mark": (b"\x80\x02(.", "bad-pickle"),
    "leftovers": (b"\x80\x02NN.", "bad-pickle"),
    "protocol 6": (b"\x80\x06N.", "unsupported-version"),
    "no such opcode": (b"\x80\x02\xfeN.", "bad-pickle"),
    "memo not there": (b"\x80\x02h\x05.", "bad-pickle"),
    "memo negative": (b"Np-1\n.", "bad-pickle"),
    "no mark": (b"\x80\x02Nt.", "bad-pickle"),
    "tuple over a mark": (b"\x80\x02N(\x86.", "bad-pickle"),
    "append to a number": (b"\x80\x02K\x01Na.", "bad-pickle"),
    "set in a number": (b"\x80\x02K\x01NNs.", "bad-pickle"),
    "odd items": (b"\x80\x02}(NNNu.", "bad-pickle"),
    "line without end": (b"\x80\x02c" + b"a" * 2000, "limit-exceeded"),
    "line cut": (b"\x80\x02cposix", "truncated"),
    "not utf-8": (b"\x80\x02X\x01\0\0\0\xff.", "bad-pickle"),
    "number that is none": (b"Ix\n.", "bad-pickle"),
    "number in other digits": ("I\u0661\n.".encode(), "bad-pickle"),
    "very long number": (b"I" + b"9" * 1000 + b"\n.", "bad-pickle"),
    "name of no text": (b"\x80\x04K\x01K\x02\x93.", "bad-pickle"),
    "key twice": (b"\x80\x02}(K\x01NK\x01Nu.", "duplicate-name"),
    "persistent id of another program": (b"\x80\x02X\x01\0\0\0xQ.", "bad-pickle"),
    "buffer out of band": (b"\x80\x05\x97.", "bad-pickle"),
    "one storage, two sizes": (
        kit.pickled(kit.sequence([kit.storage("0", "F32", 1), kit.storage("0", "F32", 2)])),
        "bad-pickle",
    ),
    "tensor of nothing": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "bad-pickle"),
    "negative size": (kit.pickled(kit.tensor(kit.storage("0", "F32", 1), "F32", (-1,))), "bad-pickle"),
    "true size": (
        kit.pickled(kit.tensor(kit.storage("0", "F32", 1), "F32", (7,)).replace(b"(K\x07t", b"(\x88t")),
        "bad-pickle",
    ),
    "huge size": (kit.pickled(kit.tensor(kit.storage("0", "F32", 1), "F32", (1 << 62, 4))), "bad-pickle"),
    "33 dimensions": (kit.pickled(kit.tensor(kit.storage("0", "F32", 1), "F32", (1,) * 33)), "bad-pickle"),
    "sizes and steps differ": (
        kit.pickled(kit.tensor(kit.storage("0", "F32", 1), "F32", (1,), stride=(1, 1))),
        "bad-pickle",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_pickle(case: str) -> None:
    data, code = BROKEN[case]
    reading = run(data)
    assert reading.error is not None
    assert reading.error.code == code
    assert reading.error.file == "x.bin"
    assert reading.error.field


DEEP = 200_000
BOMBS = {
    "memo bomb": laughs(b"]", dicts=False),
    "memo bomb in dicts": laughs(kit.tensor(kit.storage("0", "U8", 1), "U8", (1,)), dicts=True),
    "deep tuples": b"\x80\x02)" + b"\x85" * DEEP + b".",
    "deep tuple as a key": b"\x80\x02}" + b")" + b"\x85" * DEEP + b"Ns.",
    "deep lists": b"\x80\x02" + b"]" * DEEP + b"a" * (DEEP - 1) + b".",
    "deep dicts": b"\x80\x02" + b"}K\x00" * DEEP + b"N" + b"s" * DEEP + b".",
    "list in itself": b"\x80\x02]q\x00h\x00a.",
    "dict in itself": b"\x80\x02}q\x00K\x01h\x00s.",
    "many marks": b"\x80\x02" + b"(" * 900_000,
    "marks and pops": b"\x80\x02" + b"(" * 300_000 + b"N" * 300_000 + b"t" + b"t" * 299_000,
    "endless": b"\x80\x02" + b"N0" * 2_000_000,
    "many streams": (b"\x80\x02N.") * 1_000_000,
    "many dicts": b"\x80\x02(" + b"}" * 990_000 + b"t.",
    "many imports": b"\x80\x02" + b"".join(b"ca\nb%d\n0" % i for i in range(100_000)) + b"N.",
    "wide memo": b"\x80\x02" + b"Nr\xff\xff\xff\xff0" * 1000 + b"N.",
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BOMBS)
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "torch"])
def test_bombs_cost_little(case: str, *, wrapped: bool) -> None:
    data = BOMBS[case]
    file = kit.archive_of(data).to_bytes() if wrapped else data
    started = time.process_time()
    scan("x.bin", file)
    assert time.process_time() - started < 10  # a busy machine; none takes 3 on an idle one


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_bombs_take_little_memory() -> None:
    script = (
        "import re, test_pickle_programs as t, torchkit as kit\n"
        "for bomb in t.BOMBS.values():\n"
        "    t.scan('x.bin', bomb)\n"
        "    t.scan('x.bin', kit.archive_of(bomb).to_bytes())\n"
        # not ru_maxrss, which begins at the peak of the process that started this one
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    folders = [str(Path(__file__).parent), str(Path(kit.__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(folders)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 512 * 1024


@pytest.mark.parametrize("case", ["memo bomb in dicts", "dict in itself", "list in itself"])
def test_bomb_around_a_tensor_is_refused(case: str) -> None:
    found = scan("x.bin", kit.archive_of(BOMBS[case]).to_bytes())
    assert [entry.code for entry in found.unread] == ["limit-exceeded"]


# --- against CPython's own reader -----------------------------------------------------------------------

_TEXT = st.text(max_size=100)  # in protocol 0 a character takes up to ten bytes of a line, and a line has a limit
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT | st.binary(max_size=100),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(_TEXT, inner),
    max_leaves=20,
)


@settings(max_examples=40)
@given(plain, st.integers(0, 5))
def test_opcodes_are_those_of_pickletools(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol=protocol)
    theirs = [(op.name, at) for op, _, at in pickletools.genops(data)]
    assert [(op.name, op.at) for op in operations(data, file="x", field="x")] == theirs


def without_bytes(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {key: without_bytes(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(without_bytes, value))
    return value


@settings(max_examples=40)
@given(plain, st.integers(2, 5))
def test_plain_values_are_what_pickle_makes(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol=protocol)
    reading = run(data)
    if any(op.name == "LONG4" for op in operations(data, file="x", field="x")):
        return
    assert reading.error is None
    assert reading.problems == []
    if protocol >= 3:  # before, bytes are the call of a codec
        assert reading.value == without_bytes(value)


def test_ordered_dict() -> None:
    reading = run(pickle.dumps(OrderedDict(a=1, b=OrderedDict()), protocol=2))
    assert (reading.value, code_of(reading), reading.error) == ({"a": 1, "b": {}}, (), None)


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer(data: bytes) -> None:
    reading = run(b"\x80\x04" + data)
    assert reading.error is not None or reading.stop > 0


STEPS = [bytes([op]) for op in b"(.012N}]lt)sueaRbQ\x81\x85\x86\x88\x8f\x90\x93\x94"]
STEPS += [kit.text("a"), b"h\0", b"q\0", kit.named("collections", "OrderedDict"), kit.storage("0", "F32", 1)]


@given(st.lists(st.sampled_from(STEPS)))
def test_any_program_gets_an_answer(parts: list[bytes]) -> None:
    reading = run(b"\x80\x04" + b"".join(parts) + b".")
    assert reading.error is not None or reading.stop > 0


def test_python_would_run_what_we_name() -> None:
    """The cases are real: Python's unpickler asks for these globals."""

    class Asked(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> object:
            raise LookupError(f"{module}.{name}")

    for case, (data, what) in EVIL.items():
        if what.split()[0] in {"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "GLOBAL"} and "posix" in what:
            evil = data[len(CLEAN) :] if case == "stacked clean then evil" else data
            with pytest.raises(LookupError, match=r"posix\.system"):
                Asked(io.BytesIO(evil)).load()
