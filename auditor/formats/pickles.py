"""Pickles that are no torch checkpoint: not read, but followed, to name the code that a loader would run.

Protocols 0 and 1 have no mark to know them by, so whatever is named like a pickle or a torch checkpoint is followed.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from auditor.errors import AmbiguousArchive, BadMagic, LimitExceeded, Truncated, UnsafePath, UnsupportedFormat
from auditor.formats import picklemachine, zipdir
from auditor.formats.base import Container
from auditor.formats.torchtensors import code_of, settings_of
from auditor.limits import LIMITS
from auditor.sources.base import Unread

if TYPE_CHECKING:
    from auditor.formats.picklemachine import Reading
    from auditor.sources.base import Blob

MAGICS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How a pickle of protocol 2 or later begins; older ones are told by the file's name."""

_FIRST = 64 * 1024  # one request where the file is far away


def parse(blob: Blob) -> Container:
    """Say what a pickle would run. Nothing of it is used.

    Returns
    -------
    Container
        Format "pickle", without tensors and always with an `unread`.
    """
    error = UnsupportedFormat(file=blob.path, field="format", problem="a pickle, which this version does not read")
    unread = [Unread.from_error(error)]
    reading = _reading(blob)
    if reading.error:
        unread.append(Unread.from_error(reading.error))
    return Container(
        format="pickle",
        files=(blob.path,),
        tensors=(),
        unread=tuple(unread),
        runs=code_of(reading),
        makes=settings_of(reading),
    )


def _reading(blob: Blob) -> Reading:
    """Follow all pickles of a file, reading no more of it than that takes."""
    length = min(_FIRST, blob.size)
    while True:
        data = blob.read(0, length, field="pickle")
        reading = picklemachine.read(data, file=blob.path, label="pickle")
        if not reading.error:
            picklemachine.follow(reading, data, file=blob.path, label="pickle")
        if length == blob.size or (reading.error and not isinstance(reading.error, Truncated)):
            return reading
        if length == LIMITS.pickle_bytes:
            reading.error = LimitExceeded(file=blob.path, field="pickle", actual=blob.size, limit=length)
            return reading
        length = min(8 * length, blob.size, LIMITS.pickle_bytes)


def parse_unmarked(blob: Blob) -> Container:
    """Look into a file that is named like a pickle or a torch checkpoint and begins like none.

    Returns
    -------
    Container
        As `parse`, where a loader would run something.

    Raises
    ------
    AmbiguousArchive
        A zip archive ends the file: some loaders look for one there, whatever stands before it.
    UnsupportedFormat
        Anything else: its name says that it holds weights.
    """
    try:
        zipdir.read_directory(blob)
    except BadMagic:
        pass
    except (AmbiguousArchive, LimitExceeded, Truncated, UnsafePath, UnsupportedFormat) as error:
        raise AmbiguousArchive(file=blob.path, field="archive", problem=error.reason) from None
    else:
        raise AmbiguousArchive(file=blob.path, field="archive", problem="bytes before it")
    found = parse(blob)
    if found.runs or found.makes:
        return found
    what = f"a file named {PurePosixPath(blob.path).suffix.lower()}, which is how weights are named"
    raise UnsupportedFormat(file=blob.path, field="format", problem=f"{what}, which this version does not read")
