"""Does the target share descent with a reference? Tests on weights, with p-values that need no calibration."""

from __future__ import annotations

from auditor.lineage.ladder import FirstLayers, compare, model_label
from auditor.lineage.references import list_references, resolve_references
from auditor.lineage.sample import SampleReader
from auditor.lineage.sketch import Sketch, dump_sketch, sketch_model
from auditor.lineage.verdict import Candidate, LayerMatch, Lineage, Relation, judge, settle_copies

__all__ = [
    "Candidate",
    "FirstLayers",
    "LayerMatch",
    "Lineage",
    "Relation",
    "SampleReader",
    "Sketch",
    "compare",
    "dump_sketch",
    "judge",
    "list_references",
    "model_label",
    "resolve_references",
    "settle_copies",
    "sketch_model",
]
