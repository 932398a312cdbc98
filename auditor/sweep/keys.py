"""What a result depends on beside the target: where that is the same, an unchanged revision is not read again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor import __version__
from auditor.compliance import load_policies, parse_config
from auditor.errors import AuditError, UsageError
from auditor.lineage.references import has_sketch, list_references, plan_references
from auditor.sources import Stamped, open_source

if TYPE_CHECKING:
    from auditor.audit import Options
    from auditor.lineage.references import Reference
    from auditor.listing import Entry
    from auditor.sources import Source


def digest_of(value: object) -> str:
    """Return the sha256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def identity_of(entry: Entry) -> str:
    """Return what makes two entries the same target: what is read and how, not where and under which name it stands."""
    fields = asdict(entry)
    del fields["place"], fields["name"]
    return digest_of(fields)


def revision_of(source: Source) -> str | None:
    """Return what changes with any byte of a source.

    That is its commit; else a digest of the digests of all files, or of what the file system says of each (size, inode,
    times of modification and of change), or a bucket (ETag). None where nothing says it.
    """
    if source.revision:
        return source.revision
    stamped = source if isinstance(source, Stamped) else None
    parts: list[object] = [[unread.path, unread.code] for unread in source.refused()]
    for info in source.files():
        disk = source.on_disk(info.path)
        known = disk.identity if disk else info.sha256 or (stamped.stamp(info.path) if stamped else None)
        if known is None:
            return None
        parts.append([info.path, info.size, known])
    return f"files:{digest_of(parts)}"


def library_state() -> str:
    """Return which references are on this machine: what an audit without a verdict may have lacked."""
    return digest_of([reference.name for reference in _references() if has_sketch(reference)])


@cache
def _references() -> tuple[Reference, ...]:
    return list_references()


class Keys:
    """Digests of everything that decides a report beside the target's bytes.

    That is this tool's version, the options, the contents of files and models that these name, the table of references,
    which statements and waivers have expired by today, and whom the Hub's names are asked of.

    Parameters
    ----------
    options : Options
    origin : str
        Of the Hub's names.

    Raises
    ------
    UsageError, BadReference, TargetError
        When the options could serve no audit at all.
    """

    def __init__(self, options: Options, origin: str) -> None:
        self._contents: dict[str, str] = {}
        self._library = {reference.name for reference in list_references()}
        load_policies(options.policies)
        plan_references(options.against, hidden_sizes=set(), seed=options.sample_seed)
        named = (*options.against, *options.policies, *filter(None, (options.base, options.config, options.baseline)))
        self._base = digest_of({
            "tool": __version__,
            "origin": origin,
            "options": asdict(options),
            "contents": {name: self._content(name) for name in named},
            "references": [asdict(reference) for reference in list_references()],
            "expired": _expired(options.config),
        })  # fmt: skip

    @property
    def base(self) -> str:
        """Digest of what is the same for all targets."""
        return self._base

    def of(self, entry: Entry) -> str:
        """Return the key of one target."""
        named = (*entry.against, *filter(None, (entry.base, entry.attestation, entry.key, entry.trust_config)))
        return digest_of([self._base, [[name, self._content(name)] for name in named]]) if named else self._base

    def _content(self, name: str) -> str:
        if name not in self._contents:
            self._contents[name] = self._read(name)
        return self._contents[name]

    def _read(self, name: str) -> str:
        path = Path(name)
        try:
            if path.is_file():
                with path.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            if name in self._library:
                return "library"
            return revision_of(open_source(name)) or "unknown"
        except (OSError, AuditError) as error:  # the audit will say so; what cannot be read now may be there later
            return f"not read: {type(error).__name__}"


def _expired(config: str | None) -> list[str]:
    """Return the dates on which something of the user's word ended: from then on, reports are others."""
    if config is None:
        return []
    today = datetime.now(tz=UTC).date()
    try:
        data = Path(config).read_bytes()
    except OSError as error:
        raise UsageError(f"{config}: cannot be read: {error.strerror}") from error
    said = parse_config(data, file=config, today=today)
    ends: list[Any] = [*(statement.until for statement in said.statements), *(w.expires for w in said.waivers)]
    return sorted(str(day) for day in ends if day < today)
