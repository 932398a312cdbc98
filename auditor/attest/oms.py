"""OpenSSF Model Signing's own statement, as `model_signing` 1.1 writes it into `model.sig` and reads it from there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from auditor.attest.errors import BadStatement, WrongPredicate
from auditor.attest.manifest import Manifest, Resource
from auditor.attest.statement import STATEMENT_TYPE
from auditor.errors import FileError
from auditor.formats import strictjson

if TYPE_CHECKING:
    from collections.abc import Iterator

PREDICATE_TYPE = "https://model_signing/signature/v1.0"

_SHA256 = re.compile(r"[0-9a-f]{64}")


def oms_statement(manifest: Manifest, *, name: str, single_file: bool) -> bytes:
    """Write the statement of a `model.sig`.

    Parameters
    ----------
    manifest : Manifest
    name : str
        Of the model.
    single_file : bool
        The model is a file and no folder: Model Signing calls it ".".
    """
    resources = [
        {"name": "." if single_file else r.name, "algorithm": "sha256", "digest": r.sha256} for r in manifest.resources
    ]
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": manifest.root}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"serialization": manifest.serialization, "resources": resources},
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def parse_oms_statement(payload: bytes, *, file: str) -> Manifest:
    """Read the statement of a `model.sig`.

    Raises
    ------
    WrongPredicate
        It is another statement, or a serialization that is not made here (shards, another hash).
    BadStatement
        It is malformed, or its root digest is not that of its files.
    """
    try:
        document: Any = strictjson.loads(payload, file=file, field="statement")
        if (document.get("_type"), document.get("predicateType")) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise WrongPredicate(f"{file}: not a signature of OpenSSF Model Signing 1.0")
        predicate = document["predicate"]
        serialization = predicate["serialization"]
        if (serialization["method"], serialization["hash_type"]) != ("files", "sha256"):
            found = f"{serialization['method']!s:.20}, {serialization['hash_type']!s:.20}"
            raise WrongPredicate(f"{file}: serialization {found}; files and sha256 are read here")
        manifest = Manifest(
            resources=tuple(_resources(predicate["resources"])),
            ignored=tuple(_text(path) for path in _list(serialization.get("ignore_paths", []))),
            follows_links=serialization["allow_symlinks"] is True,
        )
        (subject,) = _list(document["subject"])
        root = subject["digest"]["sha256"]
    except FileError as error:
        raise BadStatement(str(error)) from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadStatement(f"{file}: malformed statement: {type(error).__name__}: {error}") from error
    if manifest.root != root:
        raise BadStatement(f"{file}: the files it lists do not add up to the digest of its subject")
    return manifest


def _resources(entries: object) -> Iterator[Resource]:
    names = set()
    for entry in _list(entries):
        name, sha256 = _text(entry["name"]), _text(entry["digest"])
        if entry["algorithm"] != "sha256" or not _SHA256.fullmatch(sha256):
            raise ValueError("a digest that is not sha256")
        if name in names:
            raise ValueError("a file twice")
        names.add(name)
        yield Resource(name=name, sha256=sha256)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not an array")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value
