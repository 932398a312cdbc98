"""From tensors with names to a model with layers and roles."""

from __future__ import annotations

from auditor.model.canonical import ROLES, CanonicalName, canonical_name
from auditor.model.view import ModelView, model_views, unplaced_share

__all__ = ["ROLES", "CanonicalName", "ModelView", "canonical_name", "model_views", "unplaced_share"]
