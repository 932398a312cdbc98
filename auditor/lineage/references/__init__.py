"""The library of references: the table, their sketches, how one is made, and which a scan needs."""

from __future__ import annotations

from auditor.lineage.references.build import build_reference
from auditor.lineage.references.plan import ReferencePlan, load_sketch_file, plan_references, resolve_references
from auditor.lineage.references.store import (
    Installed,
    cache_folder,
    export_reference,
    has_sketch,
    import_reference,
    install_sketch,
    load_reference,
    verify_reference,
)
from auditor.lineage.references.table import Pin, Reference, find_reference, library_folder, list_references

__all__ = [
    "Installed",
    "Pin",
    "Reference",
    "ReferencePlan",
    "build_reference",
    "cache_folder",
    "export_reference",
    "find_reference",
    "has_sketch",
    "import_reference",
    "install_sketch",
    "library_folder",
    "list_references",
    "load_reference",
    "load_sketch_file",
    "plan_references",
    "resolve_references",
    "verify_reference",
]
