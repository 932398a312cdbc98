"""A Hugging Face Hub on loopback, as well-behaved or as hostile as a test wants it."""

from loopback_hub.hub import LoopbackHub
from loopback_hub.repository import Repository, Sparse
from loopback_hub.server import Answer, Request

__all__ = ["Answer", "LoopbackHub", "Repository", "Request", "Sparse"]
