"""Every cap on what a hostile file can make us do, with its reason; checked before allocating."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps on input; sizes in bytes unless the name says otherwise."""

    # sources
    files: int = 100_000
    """Entries listed in one target: the Hub advises under 100,000 files a repository."""
    path_depth: int = 64
    """Folders inside one another; deeper trees are made to exhaust a walker."""

    # JSON of any kind
    json_depth: int = 64
    """Nesting of arrays and objects; real headers, indexes and configs stay under 10."""

    # safetensors
    safetensors_header: int = 100_000_000
    """The format's own cap, as the reference implementation enforces it."""
    tensors: int = 1_000_000
    """Tensors in one file; the largest public mixture-of-experts shards hold some thousands."""
    dims: int = 32
    """Dimensions of one tensor: what every numpy can hold."""

    # shard index
    index_bytes: int = 64 * 1024 * 1024
    """`*.index.json`; the largest public ones are under 20 MB."""

    # GGUF
    gguf_kv: int = 65_536
    """Key-value pairs in a header; real files hold under 100."""
    gguf_key: int = 65_535
    """Bytes of a key: the specification's own cap."""
    gguf_name: int = 63
    """Bytes of a tensor name: llama.cpp's GGML_MAX_NAME less the terminator."""
    gguf_dims: int = 4
    """Dimensions of a tensor: llama.cpp's GGML_MAX_DIMS."""
    gguf_string: int = 16 * 1024 * 1024
    """Bytes of one string value; chat templates reach some 100 KB."""
    gguf_array_depth: int = 4
    """Arrays inside arrays; llama.cpp writes depth 1."""
    gguf_header: int = 512 * 1024 * 1024
    """Header bytes walked (vocabularies are skipped over, not kept); the largest real ones are some 30 MB."""


LIMITS = Limits()
