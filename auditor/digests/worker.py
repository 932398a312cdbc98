"""Hash mapped files in a process of its own: a file that is truncated while it is mapped kills whoever reads it.

Run as a script by `files.py`, with nothing but the standard library until a job asks for tensors. One JSON object a
line: jobs on standard input `{path, identity, tensors}`, answers on standard output `{at}` (progress) and then
`{sha256, tensors}` or `{error}`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIECE = 1 << 20  # bytes hashed at a time
_REPORT = 64 << 20  # bytes between two reports of progress


def digest_view(
    view: memoryview, tensors: list[dict[str, object]], *, report: Callable[[int], None]
) -> tuple[str, dict[str, str]]:
    """Hash a file, and the values of its tensors from the same bytes while they are at hand.

    Parameters
    ----------
    view : memoryview of bytes
        The whole file.
    tensors : list of dict
        `TensorLayout` as dicts, in file order.
    report : callable
        Called with the bytes hashed so far.

    Returns
    -------
    sha256 : str
    tensors : dict of name to value digest
    """
    whole = hashlib.sha256()
    at = 0
    digests = {}
    for name, digest, needed in _tensors(view, tensors):
        for stop in needed:
            at = _advance(whole, view, at, stop, report)
        digests[name] = digest()
    _advance(whole, view, at, len(view), report)
    return whole.hexdigest(), digests


def _tensors(
    view: memoryview, tensors: list[dict[str, object]]
) -> Iterator[tuple[str, Callable[[], str], Iterator[int]]]:
    if not tensors:
        return
    import numpy as np  # noqa: PLC0415 (only where tensors are asked for)

    from auditor.digests.values import TensorLayout, ValueDigest  # noqa: PLC0415

    data = np.frombuffer(view, np.uint8)
    for fields in tensors:
        layout = TensorLayout(**{**fields, "shape": tuple(fields["shape"])})  # type: ignore[arg-type]
        value = ValueDigest(layout, data[layout.start : layout.stop])
        yield layout.name, value.hexdigest, (layout.start + needed for needed in value.blocks())


def _advance(whole: hashlib._Hash, view: memoryview, at: int, stop: int, report: Callable[[int], None]) -> int:
    while at < stop:
        upto = min(at + PIECE, stop)
        whole.update(view[at:upto])
        if upto // _REPORT != at // _REPORT:
            report(upto)
        at = upto
    return at


def _identity(descriptor: int) -> list[int]:
    status = os.fstat(descriptor)
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _job(path: str, identity: list[int], tensors: list[dict[str, object]]) -> dict[str, object]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        kind = "changed" if error.errno == errno.ELOOP else "unavailable"  # ELOOP: a symbolic link in its place
        return {"error": kind, "problem": os.strerror(error.errno or 0)}
    try:
        if _identity(descriptor) != identity:
            return {"error": "changed"}
        if identity[2] == 0:
            return {"sha256": hashlib.sha256().hexdigest(), "tensors": {}}
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
            mapped.madvise(mmap.MADV_SEQUENTIAL)
            with memoryview(mapped) as view:
                digest, values = digest_view(view, tensors, report=partial(_reached, mapped))
        if _identity(descriptor) != identity:
            return {"error": "changed"}
    except OSError as error:
        return {"error": "unavailable", "problem": os.strerror(error.errno or 0)}
    else:
        return {"sha256": digest, "tensors": values}
    finally:
        os.close(descriptor)


def _reached(mapped: mmap.mmap, at: int) -> None:
    """Report progress, and give back the pages that are done with, so that a file never stands in memory whole."""
    _say({"at": at})
    mapped.madvise(mmap.MADV_DONTNEED, 0, at // mmap.PAGESIZE * mmap.PAGESIZE)


def _say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Answer jobs until there are no more."""
    for line in sys.stdin:
        _say(_job(**json.loads(line)))


if __name__ == "__main__":
    main()
