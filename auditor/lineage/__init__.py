"""Does the target share descent with a reference? Tests on weights, with p-values that need no calibration."""

from __future__ import annotations

from auditor.lineage.ladder import compare, model_label
from auditor.lineage.looks import Depth, FirstLayers
from auditor.lineage.merging import explain_merge
from auditor.lineage.plain import compare_plain, width_of
from auditor.lineage.reader import ModelReader
from auditor.lineage.references import list_references, resolve_references
from auditor.lineage.sketch import Sketch, dump_sketch, sketch_model
from auditor.lineage.verdict import FOUND, Candidate, LayerMatch, Lineage, Relation, judge, settle_copies

__all__ = [
    "FOUND",
    "Candidate",
    "Depth",
    "FirstLayers",
    "LayerMatch",
    "Lineage",
    "ModelReader",
    "Relation",
    "Sketch",
    "compare",
    "compare_plain",
    "dump_sketch",
    "explain_merge",
    "judge",
    "list_references",
    "model_label",
    "resolve_references",
    "settle_copies",
    "sketch_model",
    "width_of",
]
