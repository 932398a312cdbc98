from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from auditor.errors import (
    BadJson,
    DuplicateName,
    FileError,
    IndexMismatch,
    LimitExceeded,
    MissingField,
    MissingShard,
    NotText,
    UnsafePath,
    UnsupportedFormat,
    WrongType,
)
from auditor.formats.base import Container, TensorEntry
from auditor.formats.shards import Index, join, parse_index
from auditor.limits import LIMITS
from auditor.sources.base import Blob, BytesSource, FileInfo

FILE = "model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def read(data: bytes, file: str = FILE) -> Index:
    return parse_index(BytesSource({file: data}).blob(file))


def index(shard: object, *, name: str = "a") -> bytes:
    return json.dumps({"metadata": {"total_size": 8}, "weight_map": {name: shard}}).encode()


class Case(NamedTuple):
    refused: bytes
    twin: bytes
    error: type[FileError]
    field: str


A = 'weight_map "a"'
OK = index(ONE)


def path_case(shard: str, twin: str = ONE, error: type[FileError] = UnsafePath) -> Case:
    return Case(index(shard), index(twin), error, A)


def text_case(text: bytes, error: type[FileError], field: str, twin: bytes = OK) -> Case:
    return Case(text, twin, error, field)


REFUSED = {
    "traversal": path_case("../secret.safetensors", "secret.safetensors"),
    "traversal valid target": path_case(f"../other/{ONE}", f"other/{ONE}"),
    "traversal inside": path_case("a/../../b.safetensors", "a/b.safetensors"),
    "traversal that stays inside": path_case("a/../b.safetensors", "a/..b.safetensors"),
    "traversal with a blank": path_case(".. /b.safetensors", ".b /b.safetensors"),
    "three dots": path_case(".../b.safetensors", "...b/b.safetensors"),
    "dot": path_case("./b.safetensors", "b.safetensors"),
    "double slash": path_case("a//b.safetensors", "a/b.safetensors"),
    "absolute": path_case("/etc/secret.safetensors", "etc/secret.safetensors"),
    "network path": path_case("//host/share/a.safetensors", "host/share/a.safetensors"),
    "windows drive": path_case("C:/a.safetensors", "C/a.safetensors"),
    "windows drive, relative": path_case("C:a.safetensors", "Ca.safetensors"),
    "stream": path_case("a:b.safetensors", "a-b.safetensors"),
    "backslash": path_case("..\\a.safetensors", "..a.safetensors"),
    "backslash inside": path_case("a\\b.safetensors", "a/b.safetensors"),
    "percent encoded": path_case("%2e%2e/a.safetensors", "50%/a.safetensors"),
    "percent encoded slash": path_case("..%2Fa.safetensors", "..%zza.safetensors"),
    "percent encoded twice": path_case("%252e%252e/a.safetensors", "%/a.safetensors"),
    "url": path_case("https://example.com/a.safetensors", "https/example.com/a.safetensors"),
    "url without scheme": path_case("//example.com/a.safetensors", "example.com/a.safetensors"),
    "hub dotdot": path_case("../../../api/whoami-v2?x=.safetensors", "api/whoami-v2/x=.safetensors"),
    "query": path_case("a?b=.safetensors", "a b=.safetensors"),
    "fragment": path_case("a#b.safetensors", "a+b.safetensors"),
    "wildcard": path_case("*.safetensors", "x.safetensors"),
    "device": path_case("/dev/zero"),
    "nul": path_case("a\0.safetensors", "a0.safetensors"),
    "newline": path_case("a\n::error::.safetensors", "a_error.safetensors"),
    "empty": path_case(""),
    "trailing slash": path_case("a.safetensors/", "a.safetensors"),
    "too deep": path_case("a/" * LIMITS.path_depth + "b.safetensors", "a/" * 9 + "b.safetensors"),
    "nonstring": Case(index(1), OK, WrongType, A),
    "null shard": Case(index(None), OK, WrongType, A),
    "list of shards": Case(index([ONE]), OK, WrongType, A),
    "weight map list": text_case(b'{"weight_map":["a"]}', WrongType, "weight_map", b'{"weight_map":{}}'),
    "weight map null": text_case(b'{"weight_map":null}', WrongType, "weight_map", b'{"weight_map":{}}'),
    "no weight map": text_case(b'{"metadata":{}}', MissingField, "weight_map", b'{"weight_map":{}}'),
    "top level list": text_case(b"[]", WrongType, "index", b'{"weight_map":{}}'),
    "deep": text_case(b'{"weight_map":' * 50_000 + b"1" + b"}" * 50_000, LimitExceeded, "index"),
    "deep beside the map": text_case(
        b'{"metadata":' + b"[" * 100_000 + b"]" * 100_000 + b',"weight_map":{}}',
        LimitExceeded,
        "index",
        b'{"metadata":' + b"[" * 9 + b"]" * 9 + b',"weight_map":{}}',
    ),
    "dup key": text_case(
        b'{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}',
        DuplicateName,
        "index",
        b'{"weight_map":{"a":"x.safetensors","b":"y.safetensors"}}',
    ),
    "dup weight map": text_case(b'{"weight_map":{},"weight_map":{}}', DuplicateName, "index", b'{"weight_map":{}}'),
    "not json": text_case(b"weight_map: {}", BadJson, "index"),
    "empty file": text_case(b"", BadJson, "index"),
    "not utf8": text_case(b'{"weight_map":{"\xff":"a.safetensors"}}', NotText, "index"),
    "self reference": path_case(FILE, error=IndexMismatch),
    "wrong extension": path_case("pytorch_model-00001-of-00002.bin", error=UnsupportedFormat),
    "no extension": path_case("safetensors", error=UnsupportedFormat),
    "another index": path_case("other.safetensors.index.json", error=UnsupportedFormat),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_type_with_file_and_field(name: str) -> None:
    case = REFUSED[name]
    with pytest.raises(FileError) as caught:
        read(case.refused)
    assert type(caught.value) is case.error
    assert (caught.value.file, caught.value.field) == (FILE, case.field)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", REFUSED)
def test_benign_twin_is_accepted(name: str) -> None:
    twin = REFUSED[name].twin
    assert dict(read(twin).weight_map) == json.loads(twin)["weight_map"]


def test_paths_are_relative_to_the_folder_of_the_index() -> None:
    found = read(index("part/x.safetensors"), "sub/folder/model.safetensors.index.json")
    assert found.weight_map["a"] == "sub/folder/part/x.safetensors"
    assert found.shards == ("sub/folder/part/x.safetensors",)
    with pytest.raises(UnsafePath):
        read(index("../x.safetensors"), "sub/folder/model.safetensors.index.json")


def test_self_reference_is_found_whatever_the_index_is_called() -> None:
    with pytest.raises(IndexMismatch) as caught:
        read(index("x.safetensors"), "sub/x.safetensors")
    assert caught.value.actual == "x.safetensors"
    assert read(index("y.safetensors"), "sub/x.safetensors").shards == ("sub/y.safetensors",)


def test_size_is_capped_before_reading() -> None:
    class Closed(BytesSource):
        def read(self, *_: object) -> list[bytes]:
            raise AssertionError("must not be read")

    blob = Blob(Closed({}), FileInfo(path=FILE, size=LIMITS.index_bytes + 1))
    with pytest.raises(LimitExceeded) as caught:
        parse_index(blob)
    assert (caught.value.file, caught.value.field) == (FILE, "index size")


def test_parsing_opens_nothing_but_the_index() -> None:
    class Recording(BytesSource):
        paths: list[str]

        def read(self, path: str, *rest: object) -> list[bytes]:
            self.paths.append(path)
            return super().read(path, *rest)  # type: ignore[arg-type]

    for name, case in REFUSED.items():
        source = Recording({FILE: case.refused, ONE: b"", "secret.safetensors": b""})
        source.paths = []
        with pytest.raises(FileError):
            parse_index(source.blob(FILE))
        assert source.paths == [FILE], name


def test_any_tensor_name_is_kept() -> None:
    for name in ("", "../../a", "\x1b[31m", "\u202egnp", "a\0\n::error::b"):
        assert list(read(index(ONE, name=name)).weight_map) == [name]


def test_index_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        read(OK).weight_map["a"] = "x"  # type: ignore[index]


def shard(path: str, *names: str, metadata: dict[str, object] | None = None) -> Container:
    tensors = tuple(
        TensorEntry(name=name, dtype="U8", shape=(1,), file=path, start=100 + i, stop=101 + i)
        for i, name in enumerate(names)
    )
    return Container(format="safetensors", files=(path,), tensors=tensors, metadata=metadata or {})


MAP = Index(file=FILE, weight_map={"b": TWO, "a": ONE, "c": ONE})
SHARDS = {ONE: shard(ONE, "c", "a"), TWO: shard(TWO, "b")}


def test_join() -> None:
    whole = join(MAP, dict(reversed(SHARDS.items())))
    assert (whole.format, whole.files) == ("safetensors", (ONE, TWO))
    assert [(t.name, t.file) for t in whole.tensors] == [("c", ONE), ("a", ONE), ("b", TWO)]


def test_join_of_an_empty_index_is_empty() -> None:
    whole = join(Index(file=FILE, weight_map={}), SHARDS)
    assert (whole.files, whole.tensors, dict(whole.metadata)) == ((), (), {})


def test_join_leaves_out_shards_that_the_index_does_not_name() -> None:
    hidden = {"hidden.safetensors": shard("hidden.safetensors", "a", "z")}
    assert join(MAP, SHARDS | hidden) == join(MAP, SHARDS)


def test_join_keeps_metadata_on_which_all_shards_agree() -> None:
    shards = {
        ONE: shard(ONE, "a", "c", metadata={"format": "pt", "part": "1", "only": "here"}),
        TWO: shard(TWO, "b", metadata={"format": "pt", "part": "2"}),
    }
    assert dict(join(MAP, shards).metadata) == {"format": "pt"}


def test_missing_shard() -> None:
    with pytest.raises(MissingShard) as caught:
        join(MAP, {ONE: SHARDS[ONE]})
    assert (caught.value.file, caught.value.field, caught.value.actual) == (FILE, "weight_map", TWO)


MISMATCHES = {
    "tensor not in shard": ({ONE: shard(ONE, "a", "c"), TWO: shard(TWO)}, 'weight_map "b"', "lacks"),
    "tensor not in index": (
        {ONE: shard(ONE, "a", "c"), TWO: shard(TWO, "b", "z")},
        'weight_map "z"',
        "not in the index",
    ),
    "tensor in another shard": (
        {ONE: shard(ONE, "a", "c"), TWO: shard(TWO, "b", "a")},
        'weight_map "a"',
        "does not give",
    ),
    "shards exchanged": ({ONE: shard(ONE, "b"), TWO: shard(TWO, "a", "c")}, 'weight_map "a"', "lacks"),
}


@pytest.mark.parametrize("name", MISMATCHES)
def test_index_and_shards_disagree(name: str) -> None:
    shards, field, problem = MISMATCHES[name]
    with pytest.raises(IndexMismatch, match=problem) as caught:
        join(MAP, shards)
    assert (caught.value.file, caught.value.field) == (FILE, field)


def test_shard_of_another_format() -> None:
    other = Container(format="gguf", files=(TWO,), tensors=shard(TWO, "b").tensors)
    with pytest.raises(UnsupportedFormat) as caught:
        join(MAP, SHARDS | {TWO: other})
    assert (caught.value.file, caught.value.field) == (TWO, "format")
