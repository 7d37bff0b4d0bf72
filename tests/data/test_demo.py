"""Demo data: the same everywhere, in small groups, not solvable by shared words, and learnable.

Uses wordllama's static vectors as the untouched base model, so that no transformer has to run.
"""

import hashlib
import os
import pathlib
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score

from tune.data.demo import demo_pairs

ROOT = pathlib.Path(__file__).parents[2]
CHECKSUM = "6b3714caecf7b4985afd902c7c612ec755daf29c54a33f3724392af464adccdd"
PRINT_CHECKSUM = """
import hashlib, json
from tune.data.demo import demo_pairs
print(hashlib.sha256(json.dumps(demo_pairs()).encode()).hexdigest())
"""

Pairs = list[tuple[str, str, int]]
Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return demo_pairs()


@pytest.fixture(scope="module")
def components(pairs: Pairs) -> list[str]:
    return _components(pairs)


def test_pairs_depend_on_the_seed_alone(pairs: Pairs) -> None:
    assert demo_pairs(0) == pairs
    assert len(set(demo_pairs(1)) & set(pairs)) < 100


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_every_process_makes_the_pinned_pairs(hash_seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINT_CHECKSUM],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == CHECKSUM


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pairs_are_clean(seed: int) -> None:
    pairs = demo_pairs(seed)
    assert len(pairs) == 4_000
    assert {label for _, _, label in pairs} == {0, 1}
    assert 0.40 <= sum(label for _, _, label in pairs) / len(pairs) <= 0.45
    assert len({frozenset((a, b)) for a, b, _ in pairs}) == len(pairs), "a pair comes twice"
    assert all(_normal(a) != _normal(b) for a, b, _ in pairs)
    assert not any(re.search(r"[\[\]{}|]|  ", text) for a, b, _ in pairs for text in (a, b))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_components_are_small_and_each_tenth_holds_enough_of_either_class(seed: int) -> None:
    pairs = demo_pairs(seed)
    components = _components(pairs)
    sizes = Counter(components)
    assert len(sizes) > 1_000
    assert max(sizes.values()) <= 8
    side = _sides(components)
    for name in ("val", "test"):
        of_class = Counter(label for (_, _, label), where in zip(pairs, side, strict=True) if where == name)
        assert min(of_class[0], of_class[1]) >= 130


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("words", [{}, {"analyzer": "char_wb", "ngram_range": (2, 4)}], ids=["words", "ngrams"])
def test_shared_words_do_not_reveal_labels(seed: int, words: dict[str, object]) -> None:
    pairs = demo_pairs(seed)
    texts, a, b, labels = _columns(pairs)
    vectors = TfidfVectorizer(**words).fit_transform(texts)
    cosines = np.asarray(vectors[a].multiply(vectors[b]).sum(axis=1)).ravel()
    assert 0.35 < roc_auc_score(labels, cosines) < 0.6


def test_an_adapter_on_frozen_vectors_learns_the_house_names_from_1000_pairs(
    pairs: Pairs, components: list[str]
) -> None:
    texts, a, b, labels = _columns(pairs)
    vectors = _wordllama(texts)
    side = np.array(_sides(components))
    train, test = np.flatnonzero(side == "train")[:1_000], np.flatnonzero(side == "test")

    adapted = _adapt(vectors, a, b, labels, train)
    before = np.sum(vectors[a[test]] * vectors[b[test]], axis=1)
    after = np.sum(adapted[a[test]] * adapted[b[test]], axis=1)

    low = _lower_end_of_gain(labels[test], before, after, [components[row] for row in test])
    assert roc_auc_score(labels[test], before) < 0.65
    assert roc_auc_score(labels[test], after) > 0.72
    assert low > 0.1


def _normal(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()


def _components(pairs: Pairs) -> list[str]:
    """For each pair, the smallest text hash among all texts it is linked to."""
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        while parent.setdefault(text, text) != text:
            text = parent[text]
        return text

    for a, b, _ in pairs:
        parent[root(_normal(a))] = root(_normal(b))
    smallest: dict[str, str] = {}
    for text in parent:
        digest = hashlib.sha256(text.encode()).hexdigest()
        smallest[root(text)] = min(smallest.get(root(text), digest), digest)
    return [smallest[root(_normal(a))] for a, _, _ in pairs]


def _sides(components: list[str]) -> list[str]:
    """Train, val or test, 80/10/10. Hashed again, because the smallest of several hashes is not a fair draw."""
    hashes = [hashlib.sha256(component.encode()).hexdigest() for component in components]
    shares = [int(digest[:12], 16) / 16**12 for digest in hashes]
    return ["train" if share < 0.8 else "val" if share < 0.9 else "test" for share in shares]


def _columns(pairs: Pairs) -> tuple[list[str], Rows, Rows, Rows]:
    """Unique texts, and for each pair the rows of both texts and the label."""
    row: dict[str, int] = {}
    for a, b, _ in pairs:
        row.setdefault(a, len(row))
        row.setdefault(b, len(row))
    columns = np.array([(row[a], row[b], label) for a, b, label in pairs], dtype=np.int64)
    return list(row), columns[:, 0], columns[:, 1], columns[:, 2]


def _wordllama(texts: list[str]) -> Numbers:
    """The texts' unit vectors: the mean of wordllama's token vectors, untouched."""
    safetensors = pytest.importorskip("safetensors.torch")
    tokenizers = pytest.importorskip("tokenizers")
    folder = pathlib.Path(pytest.importorskip("wordllama").__file__).parent
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokens = safetensors.load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
    table = tokens.float().numpy()
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    means = np.stack([table[text.ids].mean(axis=0) for text in encoded])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), dtype=np.float64)


def _adapt(vectors: Numbers, a: Rows, b: Rows, labels: Rows, train: Rows) -> Numbers:
    """All vectors through a Dense layer trained on the rows in `train` (eight epochs of CoSENT), at unit length."""
    torch.manual_seed(0)
    inputs = torch.tensor(vectors, dtype=torch.float32)
    dense = torch.nn.Linear(inputs.shape[1], 128)
    optimizer = torch.optim.AdamW(dense.parameters(), lr=1e-3)
    for _ in range(8):
        order = train[torch.randperm(len(train)).numpy()]
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            cosines = 20 * torch.cosine_similarity(dense(inputs[a[rows]]), dense(inputs[b[rows]]))
            target = torch.tensor(labels[rows])
            gaps = cosines[target == 0][:, None] - cosines[target == 1][None, :]
            loss = torch.logsumexp(torch.cat([torch.zeros(1), gaps.flatten()]), dim=0)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    with torch.no_grad():
        adapted = torch.nn.functional.normalize(dense(inputs), dim=1)
    return np.asarray(adapted.numpy(), dtype=np.float64)


def _lower_end_of_gain(labels: Rows, before: Numbers, after: Numbers, components: list[str]) -> float:
    """The 2.5% quantile of AUC after minus AUC before, both on the same 200 draws of components."""
    rows: dict[str, list[int]] = {}
    for at, component in enumerate(components):
        rows.setdefault(component, []).append(at)
    groups = [np.array(group) for group in rows.values()]
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(200):
        drawn = np.concatenate([groups[at] for at in rng.integers(len(groups), size=len(groups))])
        gains.append(roc_auc_score(labels[drawn], after[drawn]) - roc_auc_score(labels[drawn], before[drawn]))
    return float(np.quantile(gains, 0.025))
