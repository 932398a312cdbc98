"""From tensors with names to a model with layers and roles."""

from __future__ import annotations

from auditor.model.canonical import ROLES, CanonicalName, canonical_name
from auditor.model.experts import Block
from auditor.model.finding import model_views, unplaced_share
from auditor.model.view import ModelView

__all__ = ["ROLES", "Block", "CanonicalName", "ModelView", "canonical_name", "model_views", "unplaced_share"]
