"""FP8 checkpoints outside compressed-tensors: DeepSeek and transformers (blocks), FBGEMM and ModelOpt (rows, tensors).

What is added to `scaled`: which tensor holds the scales, and the size of blocks from `weight_block_size`. ModelOpt's
NVFP4 stands beside its FP8 and is told from it by the type of its codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.errors import MissingField
from auditor.formats.quant.compressed import block_size, compressed
from auditor.formats.quant.float4 import float4
from auditor.formats.quant.scaled import FLOAT8, scaled

if TYPE_CHECKING:
    from auditor.formats.quant.config import QuantConfig
    from auditor.formats.quant.packed import PackedMatrix, Pieces


def fp8(pieces: Pieces, config: QuantConfig | None) -> PackedMatrix:
    """Put a matrix of 8-bit floats together.

    Raises
    ------
    FileError
        When a piece is missing, or the pieces contradict each other or the configuration.
    """
    found = [name for name in ("weight_scale_inv", "weight_scale") if name in pieces.entries]
    if not found:
        raise MissingField(file=pieces.file, field=f"scales of {pieces.stem}")
    if len(found) > 1:
        raise pieces.mismatch("two tensors of scales", actual=", ".join(found))
    if config is not None and config.method == "compressed-tensors":
        return compressed(pieces, config)
    stated = config is not None and config.values.get("weight_block_size") is not None
    block = block_size(config, "weight_block_size") if config is not None and stated else None
    return scaled(pieces, dtypes=FLOAT8, block=block, suffix=found[0])


def modelopt_float4(pieces: Pieces) -> PackedMatrix:
    """Put a matrix of ModelOpt's NVFP4 together.

    Raises
    ------
    FileError
        As `fp8`.
    """
    return float4(pieces, codes="weight", whole_scale="weight_scale_2", divides=False)
