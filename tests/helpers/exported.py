"""ROC AUC of an exported model on labelled pairs, computed by sentence-transformers alone.

As a script, `exported.py MODEL PAIRS.csv TEXT_A TEXT_B LABEL` (the last three are columns) prints the AUC and the
vectors' dims as JSON: a fresh process that imports nothing of tune, like a user's own code.
"""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sklearn.metrics import roc_auc_score


def exported_auc(
    model: Path, text_a: Sequence[str], text_b: Sequence[str], label: Sequence[int], dims: int | None = None
) -> float:
    """Return the AUC of an exported model on pairs, by its own unit vectors.

    dims: if given, truncate the vectors to their first `dims` components and normalise them again (Matryoshka).
    """
    return cosine_auc(*_encode(model, text_a, text_b, dims), label)


def cosine_auc(a: NDArray[np.float32], b: NDArray[np.float32], label: Sequence[int]) -> float:
    """Return the AUC of the cosine similarity of unit vectors a, b [pairs, dims]."""
    return float(roc_auc_score(label, (a * b).sum(axis=1)))


def _encode(
    model: Path, text_a: Sequence[str], text_b: Sequence[str], dims: int | None = None
) -> list[NDArray[np.float32]]:
    loaded = SentenceTransformer(str(model), device="cpu", truncate_dim=dims)
    return [
        loaded.encode(list(texts), show_progress_bar=False, normalize_embeddings=dims is not None)
        for texts in (text_a, text_b)
    ]


def main(model: str, pairs: str, *columns: str) -> None:
    """Print AUC and dims of a model on a csv of pairs."""
    with open(pairs, newline="") as handle:
        rows = list(csv.DictReader(handle))
    text_a, text_b, label = ([row[column] for row in rows] for column in columns)
    a, b = _encode(Path(model), text_a, text_b)
    assert "tune" not in sys.modules
    print(json.dumps({"auc": cosine_auc(a, b, [int(value) for value in label]), "dims": a.shape[1]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
