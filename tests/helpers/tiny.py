"""Small real parts for the tests: tiny models, the demo pairs as a view, and topic pairs that models can learn."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import BertProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tune.config.search import search_config
from tune.config.trial import TrialConfig
from tune.data.demo import demo_pairs
from tune.data.sides import LabelledPairs
from tune.embed.orders import embed_bases
from tune.embed.prepare import PreparedBase, ViewOptions, prepare_base
from tune.embed.sources import load_source
from tune.embed.view import View
from tune.events import ignore
from tune.pipeline.pairs import read_split

TINY = "tiny-static"

TOPICS = 10
TOPIC_WORDS = [f"t{topic}w{word}" for topic in range(TOPICS) for word in range(8)]


def save_tiny_model(path: Path, dims: int = 48, seed: int = 0, words: list[str] | None = None) -> Path:
    """Save a SentenceTransformer of random static vectors for `words` (default: those of the demo pairs)."""
    words = words or sorted({w for a, b, _ in demo_pairs() for w in re.findall(r"\w+|[^\w\s]", f"{a} {b}")})
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, **{w: i for i, w in enumerate(words, 1)}}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = torch.randn(len(words) + 1, dims, generator=torch.Generator().manual_seed(seed))
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")
    model.save(str(path), create_model_card=False)
    return path


def save_tiny_bert(path: Path, hidden: int = 32, dropout: float = 0.0, seed: int = 0) -> Path:
    """Save a random two-layer BERT over the words of the topic pairs, with mean pooling; return its directory."""
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: index for index, word in enumerate([*marks, *TOPIC_WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), marks, strict=True))
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(path / "bert")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=48, **names).save_pretrained(path / "bert")
    model = SentenceTransformer(modules=[Transformer(str(path / "bert")), Pooling(hidden)], device="cpu")
    model.save(str(path / "model"), create_model_card=False)
    return path / "model"


def topic_pairs(count: int, seed: int) -> LabelledPairs:
    """Return pairs of texts with words of one topic each, labelled 1 if both have the same topic.

    A model has to learn which words belong together.
    """
    generator = np.random.default_rng(seed)
    label = (generator.random(count) < 0.4).astype(np.int8)
    first = generator.integers(0, TOPICS, count)
    second = np.where(label == 1, first, (first + generator.integers(1, TOPICS, count)) % TOPICS)

    def text(topic: int) -> str:
        return " ".join(f"t{topic}w{word}" for word in generator.integers(0, 8, generator.integers(2, 7)))

    return LabelledPairs([text(t) for t in first], [text(t) for t in second], label)


def write_topic_pairs(path: Path, sizes: dict[str, int], *, inverted: bool = False) -> Path:
    """Write topic pairs as a csv (text1, text2, label, side), so many per side; return its path.

    inverted: label pairs of the same topic 0.
    """
    with open(path, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text1", "text2", "label", "side"])
        for seed, (side, count) in enumerate(sizes.items()):
            made = topic_pairs(count, seed)
            label = 1 - made.label if inverted else made.label
            writer.writerows(zip(made.text_a, made.text_b, label, [side] * count, strict=True))
    return path


def save_topics(folder: Path) -> Path:
    """Write topic pairs (topics.csv, column side) and a static base model (static) for them; return the folder."""
    write_topic_pairs(folder / "topics.csv", {"train": 500, "val": 300, "test": 300})
    save_tiny_model(folder / "static", words=TOPIC_WORDS)
    return folder


@dataclass(frozen=True)
class Prepared:
    """A prepared base model and its view."""

    cache: Path
    base: PreparedBase
    view: View

    @property
    def view_path(self) -> Path:
        """The directory of the view."""
        return self.base.view(self.cache)

    def config(self, **changes: Any) -> TrialConfig:
        """Return a trial of at most a second that learns the demo pairs."""
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
    """Return the demo pairs with wordllama's vectors."""
    config = search_config(space={"base_model": "wordllama"})
    split, _ = read_split(config, ignore)
    bases, _ = embed_bases(config, split, folder, ignore)
    base = bases["wordllama"]
    return Prepared(folder, base, View.open(base.view(folder)))


def prepare_topics(folder: Path, base_model: str, prompts: tuple[str, str] = ("", "")) -> Prepared:
    """Return topic pairs (480 train, 200 val) with a base model's vectors and texts, for trials that train the base."""
    sides = {side: topic_pairs(count, seed) for seed, (side, count) in enumerate({"train": 480, "val": 200}.items())}
    base = prepare_base(load_source(base_model), sides, folder, prompts, ViewOptions(texts=True))
    return Prepared(folder, base, View.open(base.view(folder)))


def write_some_pairs(path: Path, sizes: dict[str, int]) -> Path:
    """Write the first demo pairs of each side as a csv with text1, text2, label and side. sizes: {side: pairs}."""
    split, _ = read_split(search_config(), ignore)
    with open(path, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text1", "text2", "label", "side"])
        for side, count in sizes.items():
            taken = split.pairs.take(np.flatnonzero(split.side == side)[:count])
            writer.writerows(zip(taken.text_a, taken.text_b, taken.label, [side] * count, strict=True))
    return path
