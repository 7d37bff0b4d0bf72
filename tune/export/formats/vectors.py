"""vectors.safetensors: the range of each component, for storing an export's vectors as int8."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VECTORS = "vectors.safetensors"


def write_ranges(ranges: NDArray[np.float32], directory: Path) -> None:
    """Write ranges [2, dims], lowest over highest, as the tensor `ranges`.

    They are what sentence-transformers' `quantize_embeddings` takes as `ranges`.
    """
    from safetensors.numpy import save

    content = save({"ranges": np.ascontiguousarray(ranges, np.float32)}, {"precision": "int8"})
    (directory / VECTORS).write_bytes(content)
