"""Small real parts for the tests: a model made in memory, and the demo pairs as a view."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tune.config.search import search_config
from tune.config.trial import TrialConfig
from tune.data.demo import demo_pairs
from tune.embed.prepare import PreparedBase
from tune.embed.view import View
from tune.events import ignore
from tune.pipeline import embed_bases, read_split

TINY = "tiny-static"


def save_tiny_model(path: Path, dims: int = 48, seed: int = 0) -> Path:
    """Random vectors for the words of the demo pairs, saved as a SentenceTransformer."""
    words = sorted({w for a, b, _ in demo_pairs() for w in re.findall(r"\w+|[^\w\s]", f"{a} {b}")})
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, **{w: i for i, w in enumerate(words, 1)}}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = torch.randn(len(words) + 1, dims, generator=torch.Generator().manual_seed(seed))
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")
    model.save(str(path), create_model_card=False)
    return path


@dataclass(frozen=True)
class Prepared:
    """A prepared base model and its view."""

    cache: Path
    base: PreparedBase
    view: View

    @property
    def view_path(self) -> Path:
        """Where the view lies."""
        return self.base.view(self.cache)

    def config(self, **changes: Any) -> TrialConfig:
        """A trial of a second or less that learns the demo pairs."""
        values: dict[str, Any] = {
            "base_model": self.base.name,
            "dims": 32,
            "loss": "cosent",
            "learning_rate": 5e-3,
            "epochs": 2,
            "batch_size": 64,
        }
        return TrialConfig(**(values | changes))


def prepare_tiny(folder: Path) -> Prepared:
    """The demo pairs with wordllama's vectors."""
    config = search_config(space={"base_model": "wordllama"})
    split, _ = read_split(config, ignore)
    bases, _ = embed_bases(config, split, folder, ignore)
    base = bases["wordllama"]
    return Prepared(folder, base, View.open(base.view(folder)))
