"""Our writer against the reference reader and our own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from auditor.formats.safetensors import parse
from auditor.formats.serialize import serialize
from auditor.sources import BytesSource

NAMES = st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda name: name != "__metadata__")


@settings(max_examples=30)
@given(
    tensors=st.dictionaries(NAMES, st.lists(st.integers(0, 255), max_size=9), max_size=5),
    metadata=st.none() | st.dictionaries(NAMES, st.text(st.characters(codec="utf-8"), max_size=5), max_size=3),
)
def test_round_trip(tensors: dict[str, list[int]], metadata: dict[str, str] | None) -> None:
    content = serialize({n: ("U8", (len(v),), bytes(v)) for n, v in tensors.items()}, metadata)
    assert {name: list(values) for name, values in load(content).items()} == tensors
    container = parse(BytesSource({"m": content}).blob("m"))
    assert {t.name: list(content[t.start : t.stop]) for t in container.tensors} == tensors
    assert dict(container.metadata) == (metadata or {})
    assert int.from_bytes(content[:8], "little") % 8 == 0


def test_order_of_arguments_does_not_show() -> None:
    a, b = ("F32", (1,), np.float32(1).tobytes()), ("BF16", (2,), bytes(4))
    one = serialize({"a": a, "b": b}, {"x": "1", "y": "2"})
    assert one == serialize({"b": b, "a": a}, {"y": "2", "x": "1"})


def test_the_name_of_the_metadata_is_taken() -> None:
    with pytest.raises(ValueError, match="__metadata__"):
        serialize({"__metadata__": ("U8", (0,), b"")})
