"""Torch checkpoints from before zip archives: five pickles, then the storages.

Layout (`torch/serialization.py`, `_legacy_save`): the magic number, the protocol, what the writing machine was like,
the object, the keys of its storages in order; then for each key the number of its elements in 8 bytes, and they.
Where they lie follows from the pickles; a loader takes no file in which the numbers of elements differ from theirs.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from auditor.errors import (
    BadPickle,
    FileError,
    Hole,
    LimitExceeded,
    MissingField,
    SizeMismatch,
    Truncated,
    UnsupportedFormat,
    UnsupportedVersion,
)
from auditor.formats import picklemachine
from auditor.formats.base import Container
from auditor.formats.dtypes import DTYPES
from auditor.formats.strictjson import quoted
from auditor.formats.torchtensors import Found, Span, code_of, find, missing_storage, settings_of
from auditor.limits import LIMITS

if TYPE_CHECKING:
    from auditor.formats.picklemachine import Reading
    from auditor.formats.torchvalues import Storage
    from auditor.sources.base import Blob

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
MAGIC = b"\x80\x02\x8a\x0a" + _MAGIC_NUMBER.to_bytes(10, "little") + b"."
_PROTOCOL = 1001
_PICKLES = ("magic number", "protocol", "system", "object", "storage keys")
_COUNT = 8  # bytes of the number of elements before a storage
_FIRST = 256 * 1024  # more than the pickles of most files take


def parse(blob: Blob) -> Container:
    """Read which tensors a file holds. No byte of a tensor is read.

    Parameters
    ----------
    blob : Blob

    Returns
    -------
    Container
        Format "torch". What could not be read is in `unread`, code that a loader would run in `runs`.
    """
    readings = _pickles(blob)
    found = Found()
    try:
        spans = _spans(blob, readings)
    except FileError as error:
        found.refuse(error)
    else:
        found = find(readings[3], lambda storage: _place(blob, spans, storage), file=blob.path, label=_PICKLES[3])
        for label, reading in zip(_PICKLES, readings, strict=True):
            if reading is not readings[3]:
                found.refuse_code(reading, file=blob.path, label=label)
        for key in spans.keys() - found.storages:
            problem = "it belongs to no tensor that was read"
            found.refuse(UnsupportedFormat(file=blob.path, field=f"storage {quoted(key)}", problem=problem))
    return Container(
        format="torch",
        files=(blob.path,),
        tensors=tuple(found.tensors),
        unread=found.problems(blob.path),
        runs=tuple(chain.from_iterable(map(code_of, readings))),
        makes=tuple(chain.from_iterable(map(settings_of, readings))),
    )


def _pickles(blob: Blob) -> list[Reading]:
    """Follow the five pickles, or as many as can be; how long they are is written nowhere."""
    length = min(_FIRST, blob.size)
    while True:
        data = blob.read(0, length, field="pickles")
        readings: list[Reading] = []
        at = 0
        for label in _PICKLES:
            readings.append(picklemachine.read(data, at, file=blob.path, label=label))
            at = readings[-1].stop
            if readings[-1].error:
                break
        if not isinstance(readings[-1].error, Truncated) or length == blob.size:
            return readings
        if length == LIMITS.pickle_bytes:
            problem = "the pickles before the storages are over the limit"
            readings[-1].error = LimitExceeded(file=blob.path, field="pickles", problem=problem, limit=length)
            return readings
        length = min(4 * length, blob.size, LIMITS.pickle_bytes)


def _spans(blob: Blob, readings: list[Reading]) -> dict[str, Span]:
    """Work out where each storage lies.

    Raises
    ------
    FileError
        A pickle could not be followed, or says what a loader would not take.
    """
    file = blob.path
    if readings[-1].error:
        raise readings[-1].error
    magic, protocol, system, _, _ = (reading.value for reading in readings)
    if magic != _MAGIC_NUMBER:
        raise BadPickle(file=file, field=_PICKLES[0], problem="not that of torch")
    if protocol != _PROTOCOL:
        raise UnsupportedVersion(file=file, field=_PICKLES[1], actual=protocol, limit=_PROTOCOL)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise UnsupportedFormat(file=file, field=_PICKLES[2], problem="not from a little-endian machine")
    storages = readings[3].storages
    spans: dict[str, Span] = {}
    at = readings[4].stop
    for key in _keys(readings[4].value, file):
        if key not in storages:
            raise MissingField(file=file, field=f"storage {quoted(key)} in the object")
        start = at + _COUNT
        at = start + _size(storages[key])
        spans[key] = Span(start, at)
    if at > blob.size:
        raise Truncated(file=file, field="storages", actual=blob.size, limit=at)
    if at < blob.size:
        problem = "bytes after the last storage"
        raise Hole(file=file, field="storages", problem=problem, actual=blob.size, limit=at)
    if blob.on_disk or len(spans) <= LIMITS.zip_proofs:
        _check_counts(blob, spans, storages)
    return spans


def _keys(value: object, file: str) -> list[str]:
    keys = [key for key in value if isinstance(key, str)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(set(keys)) < len(value):
        raise BadPickle(file=file, field=_PICKLES[4], problem="not a list of names, each once")
    return keys


def _size(storage: Storage) -> int:
    return storage.elements * (DTYPES[storage.dtype].size if storage.dtype else 1)


def _check_counts(blob: Blob, spans: dict[str, Span], storages: dict[str, Storage]) -> None:
    for key, span in spans.items():
        field = f"elements of storage {quoted(key)}"
        count = int.from_bytes(blob.read(span.start - _COUNT, _COUNT, field=field), "little")
        if count != storages[key].elements:
            raise SizeMismatch(file=blob.path, field=field, actual=count, limit=storages[key].elements)


def _place(blob: Blob, spans: dict[str, Span], storage: Storage) -> Span:
    if storage.key not in spans:
        raise missing_storage(blob.path, storage)
    return spans[storage.key]
