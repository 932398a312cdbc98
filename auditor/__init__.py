"""Audit where a model's weights come from, and whether its repository keeps the licence that follows."""

__version__ = "0.1.0"
