"""Rung 0: files whose SHA-256 is known. A look-up; no weight is read, and hashing is asked for only where a size fits.

The table is `fingerprints/known_digests.csv`. A row says what a file is, who says so, and how surely. A byte copy is
the strongest evidence there is, so a wrong row would be the worst error: only rows that this project hashed itself, or
that two independent public sources agree on, decide. A row never excludes: a known file of another model can lie
beside anything.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, cast, get_args

from auditor.errors import BadReference
from auditor.limits import LIMITS
from auditor.lineage.references.table import is_sha256, library_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from auditor.lineage.references.table import Reference
    from auditor.sources import FileInfo

Kinship = Literal["official", "quantisation", "derived", "other", "shared"]
"""What a file is: a weight file of the reference; a quantisation of it; of a model that descends from it; of another
model; of so many models that it tells nothing (a tokenizer)."""

Confidence = Literal["verified", "corroborated", "single"]
"""Hashed by this project; in at least two independent public sources; in one."""

COLUMNS: Final = (
    "sha256", "size", "model", "repo", "file", "relation", "reference", "confidence", "sources", "note",
)  # fmt: skip
_SEPARATOR: Final = " | "
_FROM_A_REFERENCE: Final = frozenset({"official", "quantisation", "derived"})
_OPTIONAL: Final = frozenset({"size", "repo", "reference", "note"})
_SIZE: Final = re.compile(r"[1-9][0-9]{0,17}")
_LONGEST: Final = 4096  # characters of a field; the csv module would take 131072


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """A row of the table.

    Attributes
    ----------
    sha256 : str
    size : int or None
        Bytes; None where it was not published.
    model : str
    repo : str or None
        On the Hub.
    file : str
    relation : {"official", "quantisation", "derived", "other", "shared"}
    reference : str or None
        Name in the table of references; for the first three.
    confidence : {"verified", "corroborated", "single"}
    sources : tuple of str
        Who says so.
    note : str or None
    """

    sha256: str
    size: int | None
    model: str
    repo: str | None
    file: str
    relation: Kinship
    reference: str | None
    confidence: Confidence
    sources: tuple[str, ...]
    note: str | None = None

    @property
    def decides(self) -> bool:
        """Whether this row alone is enough to say that a file descends from the reference."""
        return self.relation in _FROM_A_REFERENCE and self.confidence != "single"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMatch:
    """A file of the target that is in the table.

    Attributes
    ----------
    path : str
        In the target.
    known : KnownFile
    digest_source : {"computed", "hub"}
        Who vouches for the digest of the target's file.
    """

    path: str
    known: KnownFile
    digest_source: str

    @property
    def text(self) -> str:
        """What the match says, as a sentence for people."""
        known = self.known
        what = {
            "official": f"a weight file of {known.model}",
            "quantisation": f"a quantisation of {known.reference}",
            "derived": f"of {known.model}, which descends from {known.reference}",
            "other": f"of {known.model}",
            "shared": f"{known.model}: shared by many models, no evidence of descent",
        }[known.relation]
        where = f" ({known.repo}, {known.file})" if known.repo else ""
        sure = {"verified": "hashed by this project", "corroborated": "several sources", "single": "one source only"}
        return f"{self.path} is byte for byte {what}{where}; {sure[known.confidence]}"

    def as_dict(self) -> dict[str, object]:
        """Return the match as plain data."""
        known = self.known
        return {
            "path": self.path,
            "sha256": known.sha256,
            "digest_source": self.digest_source,
            "model": known.model,
            "repo": known.repo,
            "file": known.file,
            "relation": known.relation,
            "reference": known.reference,
            "confidence": known.confidence,
            "decides": known.decides,
            "sources": list(known.sources),
            "text": self.text,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVerdict:
    """What rung 0 decides.

    Attributes
    ----------
    verdict : {"identical", "derived"}
        "identical": every weight file of the reference is there, byte for byte.
    reference : str
    relation : {"official", "quantisation", "derived"}
        Of the nearest matching file.
    matches : tuple of KnownMatch
        Those that decide.
    """

    verdict: Literal["identical", "derived"]
    reference: str
    relation: Kinship
    matches: tuple[KnownMatch, ...]


class KnownFiles:
    """The table, to be looked up by digest and by size.

    Parameters
    ----------
    rows : iterable of KnownFile
        Digests unique.
    """

    def __init__(self, rows: Iterable[KnownFile]) -> None:
        self.rows = tuple(rows)
        self._by_digest = {row.sha256: row for row in self.rows}
        self._sizes = frozenset(row.size for row in self.rows if row.size is not None and row.relation != "shared")

    def find(self, info: FileInfo) -> KnownFile | None:
        """Return what is known of a file by digest. A size that contradicts the row is no match."""
        known = self._by_digest.get(info.sha256 or "")
        if known is not None and known.size is not None and known.size != info.size:
            return None
        return known

    def match(self, files: Iterable[FileInfo]) -> tuple[KnownMatch, ...]:
        """Return every file of a target that is known, in the order of the files. Those without a digest are not."""
        found = []
        for info in files:
            known = self.find(info)
            if known is not None and info.digest_source is not None:
                found.append(KnownMatch(path=info.path, known=known, digest_source=info.digest_source))
        return tuple(found)

    def worth_hashing(self, files: Iterable[FileInfo]) -> tuple[FileInfo, ...]:
        """Return the files without a digest whose size is that of a known file: the only ones to hash for this rung."""
        return tuple(info for info in files if info.sha256 is None and info.size in self._sizes)

    def decide(self, matches: Iterable[KnownMatch], references: Iterable[Reference] = ()) -> KnownVerdict | None:
        """Weigh the matches.

        Parameters
        ----------
        matches : iterable of KnownMatch
        references : iterable of Reference
            The library; a target that holds every pinned file of one is identical to it.

        Returns
        -------
        KnownVerdict or None
            None where no match decides. Of several references, the one whose files are nearest and most.
        """
        groups: dict[str, list[KnownMatch]] = defaultdict(list)
        for match in matches:
            if match.known.decides:
                groups[cast("str", match.known.reference)].append(match)
        if not groups:
            return None
        nearness = get_args(Kinship).index

        def rank(item: tuple[str, list[KnownMatch]]) -> tuple[int, int, str]:
            name, group = item
            return (min(nearness(match.known.relation) for match in group), -len(group), name)

        name, group = min(groups.items(), key=rank)
        held = {match.known.sha256 for match in group}
        pins = next((reference.pins for reference in references if reference.name == name), ())
        whole = bool(pins) and {pin.sha256 for pin in pins} <= held
        return KnownVerdict(
            verdict="identical" if whole else "derived",
            reference=name,
            relation=min((match.known.relation for match in group), key=nearness),
            matches=tuple(group),
        )


def load_known(folder: Path | None = None) -> KnownFiles:
    """Read the table that ships.

    Raises
    ------
    BadReference
        When it is missing, or breaks a rule; names the line and the column.
    """
    path = (folder or library_folder()) / "known_digests.csv"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadReference(f"{path}: cannot be read: {error.strerror}") from error
    return _parsed(data, file=str(path))


@lru_cache(maxsize=4)  # a sweep asks for every target
def _parsed(data: bytes, *, file: str) -> KnownFiles:
    return parse_known(data, file=file)


def parse_known(data: bytes, *, file: str) -> KnownFiles:
    """Parse the table: UTF-8 CSV with exactly the columns of `COLUMNS`.

    Raises
    ------
    BadReference
        For anything else: an unknown column, label or confidence, a digest that is no SHA-256 or stands there twice, a
        row from a reference that names none, one that claims several sources and lists one.
    """
    try:
        text = data.decode("utf-8")
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(lines, [])
        if tuple(header) != COLUMNS:
            raise BadReference(f"{file}: line 1: columns must be {','.join(COLUMNS)}, found {','.join(header)[:200]}")
        rows: dict[str, KnownFile] = {}
        for fields in lines:
            row = _row(fields, where=f"{file}: line {lines.line_num}")
            if row.sha256 in rows:
                raise BadReference(f"{file}: line {lines.line_num}: sha256: stands there twice: {row.sha256}")
            rows[row.sha256] = row
            if len(rows) > LIMITS.known_files:
                raise BadReference(f"{file}: over the limit of {LIMITS.known_files} rows")
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadReference(f"{file}: not UTF-8 CSV: {error}") from error
    return KnownFiles(rows.values())


def _row(fields: list[str], *, where: str) -> KnownFile:
    if len(fields) != len(COLUMNS):
        raise BadReference(f"{where}: {len(fields)} fields, expected {len(COLUMNS)}")
    row = dict(zip(COLUMNS, fields, strict=True))
    _check_fields(row, where)
    sources = tuple(row["sources"].split(_SEPARATOR))
    if bool(row["reference"]) != (row["relation"] in _FROM_A_REFERENCE):
        raise BadReference(f"{where}: reference: to be named exactly where the relation is to a reference")
    if not all(sources) or (row["confidence"] == "corroborated" and len(set(sources)) < 2):
        raise BadReference(f"{where}: sources: {row['confidence']}, with {len(sources)} listed")
    return KnownFile(
        sha256=row["sha256"],
        size=int(row["size"]) if row["size"] else None,
        model=row["model"],
        repo=row["repo"] or None,
        file=row["file"],
        relation=cast("Kinship", row["relation"]),
        reference=row["reference"] or None,
        confidence=cast("Confidence", row["confidence"]),
        sources=sources,
        note=row["note"] or None,
    )


def _check_fields(row: dict[str, str], where: str) -> None:
    """Check each field by itself."""
    for column, value in row.items():
        if value != value.strip() or len(value) > _LONGEST or not value.isprintable():
            raise BadReference(f"{where}: {column}: white space at an end, unprintable, or over {_LONGEST} characters")
        if not value and column not in _OPTIONAL:
            raise BadReference(f"{where}: {column}: missing, and mandatory")
    if not is_sha256(row["sha256"]):
        raise BadReference(f"{where}: sha256: not 64 lower-case hex digits: {row['sha256'][:80]}")
    if row["size"] and not _SIZE.fullmatch(row["size"]):
        raise BadReference(f"{where}: size: not a number of bytes: {row['size'][:40]}")
    for column, known in (("relation", get_args(Kinship)), ("confidence", get_args(Confidence))):
        if row[column] not in known:
            raise BadReference(f"{where}: {column}: {row[column][:40]!r} is none of {', '.join(known)}")
