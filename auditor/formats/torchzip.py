"""Torch checkpoints as zip archives: `pytorch_model.bin`, `consolidated.00.pth`, and whatever `torch.save` writes.

Layout (`torch/serialization.py`, `caffe2/serialize/inline_container.cc`): one folder, in it `data.pkl`, a pickle that
describes the tensors, `data/KEY`, the bytes of each storage, and small notes. The members are stored as they are, so a
tensor is a range of the file. The pickle is followed by `picklemachine`, never unpickled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.errors import AmbiguousArchive, UnsupportedFormat
from auditor.formats import picklemachine, zipdir
from auditor.formats.base import Container, Unproved
from auditor.formats.strictjson import quoted
from auditor.formats.torchtensors import Found, Span, code_of, find, missing_storage, settings_of
from auditor.limits import LIMITS
from auditor.sources.base import Unread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditor.formats.torchvalues import Storage
    from auditor.formats.zipdir import Member
    from auditor.sources.base import Blob

MAGIC = b"PK\3\4"
_PICKLE = "data.pkl"
_NOTES = frozenset({"version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"})
_NOTE_BYTES = 1024


def parse(blob: Blob) -> Container:
    """Read which tensors an archive holds. No byte of a tensor is read.

    Parameters
    ----------
    blob : Blob

    Returns
    -------
    Container
        Format "torch". Tensors that cannot be read, and members that belong to no tensor, are in `unread`; code
        that a loader would run is in `runs`. Members of a file that is far away may be `unproved`.

    Raises
    ------
    BadMagic, Truncated, LimitExceeded, AmbiguousArchive, UnsafePath
        As `zipdir.read_directory`.
    UnsupportedFormat
        A zip archive of another kind, or compressed.
    """
    members = {member.name: member for member in zipdir.read_directory(blob)}
    root = _root(blob, members)
    code = sorted(name for name in members if name.startswith(f"{root}code/") or name == f"{root}constants.pkl")
    if code:
        return _torchscript(blob, code)
    for member in members.values():
        if member.method:
            field = f"zip member {quoted(member.name)}"
            problem = "compressed, which torch does not do to its checkpoints"
            raise UnsupportedFormat(file=blob.path, field=field, problem=problem, actual=member.method, limit=0)
    _check_byte_order(blob, members.get(f"{root}byteorder"))
    data = zipdir.contents(blob, members[root + _PICKLE], limit=LIMITS.pickle_bytes)
    reading = picklemachine.read(data, file=blob.path, label=_PICKLE)

    def place(storage: Storage) -> Span:
        member = members.get(f"{root}data/{storage.key}")
        if member is None:
            raise missing_storage(blob.path, storage)
        return Span(member.start, member.stop)

    if reading.error is None and reading.stop != len(data):
        reading.error = AmbiguousArchive(
            file=blob.path, field=_PICKLE, problem="bytes after its end", actual=len(data), limit=reading.stop
        )
        picklemachine.follow(reading, data, file=blob.path, label=_PICKLE)
    found = Found() if reading.error else find(reading, place, file=blob.path, label=_PICKLE)
    if reading.error:
        found.refuse(reading.error)
    _check_members(blob, members, root, found)
    unproved = _prove(blob, [member for name, member in members.items() if name.startswith(f"{root}data/")])
    return Container(
        format="torch",
        files=(blob.path,),
        tensors=tuple(found.tensors),
        unread=found.problems(blob.path),
        runs=code_of(reading),
        makes=settings_of(reading),
        unproved=unproved,
    )


def _root(blob: Blob, members: Mapping[str, Member]) -> str:
    """Return the folder of the archive's only `data.pkl`, with its slash."""
    roots = [name.removesuffix(_PICKLE) for name in members if name.rpartition("/")[2] == _PICKLE]
    if len(roots) == 1:
        return roots[0]
    if roots:
        problem = f"{len(roots)} members named {_PICKLE}"
        raise AmbiguousArchive(file=blob.path, field="zip directory", problem=problem)
    inside = "a NumPy archive" if any(name.endswith(".npy") for name in members) else "a zip archive, not of torch,"
    raise UnsupportedFormat(file=blob.path, field="format", problem=f"{inside} which this version does not read")


def _torchscript(blob: Blob, code: list[str]) -> Container:
    what = f"TorchScript code in {quoted(code[0])}" + (f" and {len(code) - 1} more members" if len(code) > 1 else "")
    problem = "a TorchScript archive, which this version does not read"
    error = UnsupportedFormat(file=blob.path, field="format", problem=problem)
    return Container(format="torch", files=(blob.path,), tensors=(), unread=(Unread.from_error(error),), runs=(what,))


def _check_byte_order(blob: Blob, member: Member | None) -> None:
    if member is None:  # as in archives of torch before 2.1
        return
    order = zipdir.contents(blob, member, limit=_NOTE_BYTES)
    if order != b"little":
        raise UnsupportedFormat(file=blob.path, field="byteorder", actual=order, limit="little")


def _check_members(blob: Blob, members: Mapping[str, Member], root: str, found: Found) -> None:
    """Note every member that is no part of what was read."""
    known = {f"{root}data/{key}" for key in found.storages} | {root + _PICKLE}
    for name, member in members.items():
        if name in known or not member.size or (name.removeprefix(root) in _NOTES and member.size <= _NOTE_BYTES):
            continue
        problem = "it belongs to no tensor that was read"
        found.refuse(UnsupportedFormat(file=blob.path, field=f"zip member {quoted(name)}", problem=problem))


def _prove(blob: Blob, members: list[Member]) -> tuple[Unproved, ...]:
    """Hold members against their own headers, or leave that to whoever reads them where each would be a request."""
    if blob.on_disk or len(members) <= LIMITS.zip_proofs:
        for member in members:
            header = blob.read(member.at, member.header_size, field=f"zip member {quoted(member.name)}")
            zipdir.prove(blob.path, member, header)
        return ()
    return tuple(Unproved(file=blob.path, member=member) for member in members)
