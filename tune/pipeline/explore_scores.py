"""What explore measures with models that nothing was trained on: lengths in tokens, TF-IDF, untouched base models.

Scores are of validation pairs, so that they are those a search reports; never of test.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tune.config.search import SearchConfig
from tune.data.pairs import Pairs
from tune.data.sides import LabelledPairs
from tune.embed.base_models import is_static
from tune.embed.lengths import TokenLengths, lengths_by_model, usual_lengths
from tune.embed.prepare import embedding_progress, keyed_rows, texts_by_prompt
from tune.embed.similarity import cosine
from tune.embed.snapshot import Snapshot
from tune.embed.sources import load_open
from tune.embed.tfidf import Tfidf
from tune.evaluate.draws import component_sizes, draws_of
from tune.events import Emit, Message
from tune.metrics.intervals import Resampled
from tune.metrics.resolution import CORRELATION, Resolution, Sizes, correlation
from tune.metrics.score import roc_auc
from tune.metrics.two_way import Drawn
from tune.report.explore.findings import Histogram, Lengths, Resolved, Scored

TFIDF_NAME = "TF-IDF"
MOST_PAIRS = 50_000
"""Pairs that TF-IDF scores."""
MOST_EMBEDDED = 10_000
"""Pairs that base models score, unless all of them are static: about a minute for MiniLM on a CPU."""
_FEWEST_OF_CLASS = 250
"""Pairs of either class that a sample keeps, if there are as many."""
_MOST_TEXTS, _MOST_CHARACTERS = 100_000, 20_000_000
"""Texts whose tokens are counted: seconds."""
_BINS = 40
_LONG_TAIL = 8
"""Longest text over the median one from which lengths are shown on a logarithmic scale."""


@dataclass(frozen=True)
class Judged:
    """The pairs that are scored. where: what they are, as in "validation". of: how many there are in all.

    sizes: of the components of all of them. drawn: the bootstrap of those that are scored. tfidf: fitted on train.
    test: the test side, of which only labels and shared texts are used; None without one.
    """

    pairs: LabelledPairs
    of: int
    where: str
    sizes: Sizes
    drawn: Drawn
    tfidf: Tfidf
    test: LabelledPairs | None

    def part(self, most: int, seed: int) -> "tuple[Judged, NDArray[np.int64]]":
        """Return a seeded sample of at most so many pairs, and their indices; all if there are no more."""
        index = sampled(self.pairs.label, most, seed)
        if len(index) == len(self.pairs):
            return self, index
        part = self.pairs.take(index)
        return replace(self, pairs=part, drawn=draws_of(part, seed)), index


@dataclass(frozen=True)
class ScoredModels:
    """Untouched models, TF-IDF first. cosines: by base model, of the same sample. lengths: by the first base model.

    resampled: by model, with the pairs that they are of.
    """

    scored: list[Scored]
    cosines: dict[str, NDArray[np.float64]]
    sample: Judged
    lengths: Lengths
    resampled: dict[str, tuple[Judged, Resampled]]
    agreement: float | None
    """Correlation of the first base model's AUC with that of TF-IDF over the draws."""


def sampled(label: NDArray[np.int8], most: int, seed: int) -> NDArray[np.int64]:
    """Return the indices of a seeded sample of at most about `most` pairs, ascending; both classes keep their share.

    A rare class keeps up to 250 pairs, since an AUC is only as good as its rarer class.
    """
    if len(label) <= most:
        return np.arange(len(label), dtype=np.int64)
    generator = np.random.default_rng(seed)
    chosen = []
    for value in (0, 1):
        rows = np.flatnonzero(label == value)
        wanted = max(round(most * len(rows) / len(label)), min(len(rows), _FEWEST_OF_CLASS))
        chosen.append(generator.permutation(rows)[:wanted])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def score_models(config: SearchConfig, names: Sequence[str], judged: Judged, pairs: Pairs, emit: Emit) -> ScoredModels:
    """Score the judged pairs by TF-IDF and by every named open base model; count the tokens of the texts of `pairs`.

    Raises ModelError if a base model cannot be used.
    """
    seed, tfidf = config.search.seed, judged.tfidf
    emit(Message(f"scoring {judged.where} with {TFIDF_NAME}: {len(judged.pairs):,}"))
    by_words = tfidf.cosine(judged.pairs.text_a, judged.pairs.text_b)
    scored, resampled = [], {}
    first, resampled[TFIDF_NAME] = _scored(TFIDF_NAME, by_words, judged, tfidf.note)
    scored.append(first)
    most = MOST_PAIRS if all(is_static(name) for name in names) else MOST_EMBEDDED
    sample, index = judged.part(most, seed)
    cosines: dict[str, NDArray[np.float64]] = {}
    lengths = None
    for name in names:
        emit(Message(f"{name}: loading"))
        cosines[name], found, note = _by_base(config, name, sample.pairs, pairs, emit)
        one, resampled[name] = _scored(name, cosines[name], sample, note)
        scored.append(one)
        lengths = lengths or found
    agreement = None
    if names:
        words = sample.drawn.bootstrap.resample(by_words[index])
        agreement = correlation(words, resampled[names[0]][1])
    return ScoredModels(scored, cosines, sample, lengths or _usual(config, pairs), resampled, agreement)


def _by_base(
    config: SearchConfig, name: str, pairs: LabelledPairs, every: Pairs, emit: Emit
) -> tuple[NDArray[np.float64], Lengths | None, str]:
    """Return a base model's cosines of the pairs, the lengths of all texts in its tokens, and a note on it."""
    data = config.data
    source = load_open(name, max_length=data.max_length, trust_remote_code=config.search.trust_remote_code)
    given = (data.prompt_a, data.prompt_b)
    prompts = source.prompts(every.columns.query_document, given)
    for remark in source.remarks(prompts, given):
        emit(Message(f"{name}: {remark}"))
    snapshot = Snapshot.in_cache(config.search.cache.expanduser(), source.fingerprint, source.dims)
    progress = embedding_progress(name, emit)
    for prompt, texts in texts_by_prompt([pairs], prompts).items():
        snapshot.embed(source, prompt, texts, progress)
    keys, rows = keyed_rows(pairs, *prompts)
    cosines = cosine(snapshot.vectors(keys), rows)
    by_prompt = texts_by_prompt([LabelledPairs(every.text_a, every.text_b, every.label)], prompts)
    kept = {prompt: _some(texts, config.search.seed) for prompt, texts in by_prompt.items()}
    counted = lengths_by_model(source.model, kept.items())
    found = None if counted is None else _lengths(f"tokens of {name}", counted, sum(map(len, by_prompt.values())))
    return cosines, found, source.note(prompts)


def _scored(
    name: str, cosines: NDArray[np.float64], judged: Judged, note: str
) -> tuple[Scored, tuple[Judged, Resampled]]:
    label, bootstrap = judged.pairs.label, judged.drawn.bootstrap
    resampled = bootstrap.resample(cosines)
    interval = bootstrap.interval_of(resampled)
    low, high = (None, None) if interval is None else interval
    described = (
        bootstrap.described() if interval else bootstrap.reason or "every draw gives the same, or nearly every, AUC"
    )
    edges = np.linspace(min(float(cosines.min()), 0.0), max(float(cosines.max()), 1.0), _BINS + 1)
    found = Scored(
        name, roc_auc(cosines, label), low, high, described, len(label), judged.of,
        by_class(cosines, label, edges), note,
    )  # fmt: skip
    return found, (judged, resampled)


def by_class(values: NDArray[np.float64], label: NDArray[np.int8], edges: NDArray[np.float64]) -> Histogram:
    """Return how many values of each class fall into each bin."""
    counts = {
        name: np.histogram(values[label == value], edges)[0].tolist()
        for value, name in ((1, "positive"), (0, "negative"))
    }
    return Histogram(edges.tolist(), counts)


def _some(texts: Sequence[str], seed: int) -> list[str]:
    """Return the texts, or a seeded sample of them that is counted in seconds."""
    order = np.random.default_rng(seed).permutation(len(texts))[:_MOST_TEXTS].tolist()
    characters = np.cumsum([len(texts[at]) for at in order])
    fitting = max(int(np.searchsorted(characters, _MOST_CHARACTERS, side="right")), 1)
    return [texts[at] for at in sorted(order[:fitting])]


def _usual(config: SearchConfig, pairs: Pairs) -> Lengths:
    """Return the lengths in tokens of the packaged MiniLM; in words if it is not installed."""
    texts = list(dict.fromkeys([*pairs.text_a, *pairs.text_b]))
    some = _some(texts, config.search.seed)
    counted = usual_lengths(some, config.data.max_length)
    if counted is not None:
        return _lengths("tokens of all-MiniLM-L6-v2", counted, len(texts))
    words = TokenLengths(np.array([len(text.split()) for text in some], dtype=np.int64), None)
    return _lengths("words", words, len(texts))


def _lengths(unit: str, counted: TokenLengths, of: int) -> Lengths:
    tokens = counted.tokens
    longest = int(tokens.max())
    edges = _whole_edges(int(tokens.min()), longest, float(np.median(tokens)))
    counts = np.histogram(tokens, edges)[0].tolist()
    return Lengths(
        unit,
        Histogram([float(edge) for edge in edges], {"texts": counts}),
        len(tokens),
        of,
        float(np.median(tokens)),
        float(np.percentile(tokens, 95)),
        longest,
        counted.limit,
        counted.cut,
    )


def _whole_edges(shortest: int, longest: int, median: float) -> list[int]:
    """Return edges of bins of whole numbers: equally wide, or 1.4 times as wide as the one before for a long tail."""
    if longest <= _LONG_TAIL * max(median, 1):
        width = max(int(np.ceil((longest + 1 - shortest) / _BINS)), 1)
        return list(range(shortest, longest + width + 1, width))
    powers = sorted({round(2 ** (k / 2)) for k in range(2 * int(np.ceil(np.log2(longest + 1))) + 2)})
    first = max(at for at, edge in enumerate(powers) if edge <= max(shortest, 1))
    last = min(at for at, edge in enumerate(powers) if edge > longest)
    return powers[first : last + 1]


def resolve(models: ScoredModels, judged: Judged) -> tuple[list[Resolved], str]:
    """Return what the judged pairs and test can show, and the assumption on the correlation of two models.

    From the best untouched model: of the models known, its errors are most like those of a trained one.
    """
    best = max(models.scored, key=lambda one: one.auc).name
    measured, resampled = models.resampled[best]
    found = Resolution.of(measured.drawn.bootstrap, resampled)
    assumed = (
        f"Two models' errors are assumed to correlate at {CORRELATION}, as those of a base model and its fine-tuned"
        " versions do (0.71 to 0.91 on Quora)"
    )
    if models.agreement is not None:
        name = next(iter(models.cosines))
        assumed += f"; here, those of {TFIDF_NAME} and {name}, which differ more, correlate at {models.agreement:.2f}"
    sides = [(judged.where, judged.sizes, judged.drawn)]
    if judged.test is not None and len(judged.test):
        sides.append(("test", component_sizes(judged.test), draws_of(judged.test, 0)))
    here = component_sizes(measured.pairs)
    shown = [
        _resolved(where, sizes, drawn, None if found is None else found.for_pairs(here, sizes))
        for where, sizes, drawn in sides
    ]
    return shown, assumed


def _resolved(where: str, sizes: Sizes, drawn: Drawn, found: Resolution | None) -> Resolved:
    pairs, components = int(sizes.sum()), len(sizes)
    reason = drawn.bootstrap.reason or ("the scores never vary" if found is None else "")
    if found is None or reason:
        reason = reason if where == "test" else reason.replace("test pairs", "pairs")
        return Resolved(where, pairs, components, None, None, None, "", reason)
    how = drawn.bootstrap.described()
    if drawn.bootstrap.method == "components":
        # Of all pairs, where only a sample is scored.
        how = f"bootstrap over {components:,} components"
    return Resolved(where, pairs, components, found.auc, found.difference, found.found, how)
