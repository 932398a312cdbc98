"""From tensors with names to a model with layers and roles."""

from __future__ import annotations

from auditor.model.canonical import ROLES, CanonicalName, canonical_name
from auditor.model.experts import Block
from auditor.model.finding import model_views, unplaced_share
from auditor.model.subjects import Base, Subjects, find_base, find_subjects, told
from auditor.model.view import ModelView

__all__ = [
    "ROLES",
    "Base",
    "Block",
    "CanonicalName",
    "ModelView",
    "Subjects",
    "canonical_name",
    "find_base",
    "find_subjects",
    "model_views",
    "told",
    "unplaced_share",
]
