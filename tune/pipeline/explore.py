"""Labelled pairs alone, before any search: what a search would read, how hard they are, what they can show.

Scores and texts are of train and validation pairs. Of test, only counts, labels and shared texts are used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tune.config.closed import provider_of
from tune.config.search import SearchConfig
from tune.data.clean import canonical, normalise
from tune.data.conflicts import contradicting_rows
from tune.data.numbered import text_ids
from tune.data.one_line import one_line
from tune.data.pairs import Pairs
from tune.data.sides import SIDES, LabelledPairs
from tune.data.words import Near, Words
from tune.embed.base_models import check_source
from tune.embed.tfidf import Tfidf
from tune.errors import ConfigError
from tune.evaluate.draws import component_sizes, draws_of
from tune.evaluate.inverted import inverted
from tune.events import Emit, Message
from tune.metrics.two_way import linked
from tune.pipeline.check_data import ReadPairs, examples, read_and_split, report_on_pairs
from tune.pipeline.environment import check_cache
from tune.pipeline.explore_scores import (
    MOST_PAIRS,
    TFIDF_NAME,
    Judged,
    ScoredModels,
    by_class,
    resolve,
    sampled,
    score_models,
)  # fmt: skip
from tune.pipeline.report import Written, write_page
from tune.report.explore.findings import (
    TEXT_LENGTH,
    Components,
    Conflicts,
    Findings,
    Graph,
    Overlap,
    ShownPair,
    Side,
)  # fmt: skip

MOST_WORDS = 200_000
"""Pairs whose words are compared, with each other too: seconds."""
MOST_DRAWN = 200
"""Texts of the largest component that are drawn."""
_SHOWN = 20
_OVERLAP_EDGES = np.linspace(0, 1, 21)


@dataclass(frozen=True, eq=False)
class _Rows:
    """The pairs by use. kept: all. seen: those whose labels and texts may be looked at, all but test.

    component: of each kept pair, [n]. is_seen: [n]. names: the numbers of their normalised texts, a then b, [2n].
    """

    kept: Pairs
    is_seen: NDArray[np.bool_]
    component: NDArray[np.int64]
    names: NDArray[np.int64]

    @property
    def seen(self) -> Pairs:
        return self.kept.take(np.flatnonzero(self.is_seen))


def explore_pairs(config: SearchConfig, base_models: Sequence[str], texts: bool, emit: Emit) -> Findings:
    """Return what there is to find in the pairs. base_models: open ones to score them with, untouched.

    texts: whether the findings may hold texts. Raises UserError if the pairs or a base model cannot be used.
    """
    _check(config, base_models)
    emit(Message("reading the pairs"))
    read = read_and_split(config)
    report, rows = report_on_pairs(read), _rows(read)
    seen, seed = rows.seen, config.search.seed
    judged = _judged(read, seen, seed)
    models = score_models(config, base_models, judged, rows.kept, emit)
    compared = seen.take(sampled(seen.label, MOST_WORDS, seed))
    emit(Message(f"comparing the words of {len(compared):,} pairs"))
    words = Words.of(compared.text_a, compared.text_b, judged.tfidf.terms)
    resolved, correlation = resolve(models, judged)
    return Findings(
        source=report.source,
        synthetic=read.raw.synthetic,
        facts=_facts(read),
        read=report.rows["read"],
        kept=len(rows.kept),
        dropped=report.dropped,
        sides=_sides(read, rows),
        problem=read.problem,
        judged=judged.where,
        lengths=models.lengths,
        overlap=_overlap(words, compared, len(seen), judged.tfidf.terms),
        scores=models.scored,
        components=_components(rows, texts),
        contradicting=_contradicting(read, texts),
        near=_near(words.near(compared.label), compared, len(seen), texts),
        resolved=resolved,
        correlation=correlation,
        warnings=_warnings(models, judged, seen, seed),
        examples={
            name: [_shown(seen, at) for at in examples(seen, label)]
            for label, name in ((1, "positive"), (0, "negative"))
        }
        if texts
        else {},
        texts=texts,
        scope=_scope(read),
    )


def write_findings(found: Findings, to: Path) -> Written:
    """Write explore.html, explore.md and plots/ into a folder, made if missing. Raises ResultsError if it cannot be."""
    # Late: Altair and Vega take a second to import.
    from tune.report.explore.page import explore_document

    return write_page(explore_document(found).write, to, "explore")


def _check(config: SearchConfig, base_models: Sequence[str]) -> None:
    """Raise UserError for base models that cannot be used, before the pairs are read."""
    if closed := [name for name in base_models if provider_of(name) is not None]:
        raise ConfigError(
            [
                f"--base-model {closed[0]}: explore takes open base models only, since it buys nothing; closed ones are"
                " scored by python -m tune baselines"
            ]
        )
    for name in base_models:
        check_source(name, trust_remote_code=config.search.trust_remote_code)
    if base_models:
        check_cache(config.search.cache)


def _rows(read: ReadPairs) -> _Rows:
    kept = read.pairs if read.split is None else read.split.pairs
    names, _ = text_ids([normalise(text) for text in [*kept.text_a, *kept.text_b]])
    if read.split is None:
        return _Rows(kept, np.ones(len(kept), dtype=bool), linked(names[: len(kept)], names[len(kept) :]), names)
    return _Rows(kept, read.split.side != "test", read.split.component, names)


def _judged(read: ReadPairs, seen: Pairs, seed: int) -> Judged:
    """Return the pairs that are scored: val, or all but test where a search would cross-validate or refuse them."""
    split, test, fitted = read.split, None, seen
    pairs, where = seen, "all pairs" if split is None or split.out_of_fold else "train and validation pairs"
    if split is not None:
        test = _labelled(split.pairs.take(np.flatnonzero(split.side == "test")))
        fitted = split.pairs.take(np.flatnonzero(split.side == "train"))
        val = split.pairs.take(np.flatnonzero(split.side == "val"))
        if not split.out_of_fold and len(set(val.label.tolist())) == 2:
            pairs, where = val, "validation pairs"
    tfidf = Tfidf.fit((*fitted.text_a, *fitted.text_b), seed)
    part = _labelled(pairs.take(sampled(pairs.label, MOST_PAIRS, seed)))
    return Judged(part, len(pairs), where, component_sizes(_labelled(pairs)), draws_of(part, seed), tfidf, test)


def _labelled(pairs: Pairs) -> LabelledPairs:
    return LabelledPairs(pairs.text_a, pairs.text_b, pairs.label)


def _facts(read: ReadPairs) -> dict[str, str]:
    """Return what was recognised, by name."""
    raw, columns = read.raw, read.raw.columns
    label = f"{columns.label!r}: {raw.meaning.text}" if columns.label else raw.meaning.text
    return {
        "texts": f"{columns.text_a!r} and {columns.text_b!r}",
        "label": label,
        "score": f"{columns.score!r}, {raw.scale.described()}" if columns.score and raw.scale else "",
        "split": f"column {columns.split!r}" if columns.split else "" if read.split is None else _mode(read),
        "hint": raw.hint,
    }


def _mode(read: ReadPairs) -> str:
    assert read.split is not None
    mode = read.split.counts["mode"]
    if read.split.out_of_fold:
        return "no test side: all pairs are in folds, and the winner is judged out of fold"
    known = {"given": "as given by the files", "components": "linked pairs stay on one side"}
    return known.get(mode, f"--split {mode}")


def _sides(read: ReadPairs, rows: _Rows) -> list[Side]:
    label = rows.kept.label
    if read.split is None or read.split.out_of_fold:
        name = "all" if read.split is None else "folds"
        return [Side(name, len(label), int((label == 1).sum()), len(np.unique(rows.component)))]
    found = []
    for name in SIDES:
        at = read.split.side == name
        found.append(Side(name, int(at.sum()), int((label[at] == 1).sum()), len(np.unique(rows.component[at]))))
    return found


def _scope(read: ReadPairs) -> str:
    if read.split is None or read.split.out_of_fold:
        return "There is no test side, so scores and texts are of all pairs."
    if not len(read.split.pairs.take(np.flatnonzero(read.split.side == "val"))):
        return "Scores and texts are of train pairs; nothing of test is scored or shown."
    return "Scores are of validation pairs, texts of train and validation; nothing of test is scored or shown."


def _overlap(words: Words, pairs: Pairs, of: int, terms: str) -> Overlap:
    values = words.overlap()
    means = {name: float(values[pairs.label == label].mean()) for label, name in ((1, "positive"), (0, "negative"))}
    return Overlap(terms, by_class(values, pairs.label, _OVERLAP_EDGES), means, len(pairs), of)


def _components(rows: _Rows, texts: bool) -> Components:
    size = np.bincount(rows.component)
    sizes, low = [], 1
    while low <= int(size.max()):
        high = low if low == 1 else 2 * low - 1 if low > 2 else 3
        of_size = size[(size >= low) & (size <= high)]
        sizes.append((low, high, len(of_size), int(of_size.sum())))
        low = high + 1
    return Components(len(size), len(rows.kept), int(size.max()), sizes, _graph(rows, texts))


def _graph(rows: _Rows, texts: bool) -> Graph | None:
    """Return the largest component outside test, cut to the texts nearest to its most linked one."""
    size = np.bincount(rows.component[rows.is_seen])
    if size.max(initial=0) < 3:
        return None
    n = len(rows.kept)
    at = np.flatnonzero(rows.is_seen & (rows.component == int(size.argmax())))
    ids, numbers = np.unique(np.concatenate([rows.names[at], rows.names[n + at]]), return_inverse=True)
    a, b = numbers[: len(at)], numbers[len(at) :]
    kept = _nearest(a, b, len(ids))
    place = {int(text): number for number, text in enumerate(kept)}
    edges = [
        (place[int(one)], place[int(other)], int(label))
        for one, other, label in zip(a, b, rows.kept.label[at], strict=True)
        if int(one) in place and int(other) in place
    ]
    names = [""] * len(kept)
    if texts:
        written = {int(number): text for number, text in zip(a, (rows.kept.text_a[i] for i in at), strict=True)}
        written |= {int(number): text for number, text in zip(b, (rows.kept.text_b[i] for i in at), strict=True)}
        names = [one_line(written[int(text)], TEXT_LENGTH) for text in kept]
    return Graph(names, edges, len(at), len(ids))


def _nearest(a: NDArray[np.int64], b: NDArray[np.int64], texts: int) -> list[int]:
    """Return at most MOST_DRAWN texts, those fewest steps from the most linked one first."""
    linked_to: dict[int, list[int]] = {}
    for one, other in zip(a.tolist(), b.tolist(), strict=True):
        linked_to.setdefault(one, []).append(other)
        linked_to.setdefault(other, []).append(one)
    start = max(range(texts), key=lambda text: (len(linked_to[text]), -text))
    found = dict.fromkeys([start])
    for text in (queue := [start]):
        for other in linked_to[text]:
            if other not in found and len(found) < MOST_DRAWN:
                found[other] = None
                queue.append(other)
    return list(found)


def _contradicting(read: ReadPairs, texts: bool) -> Conflicts:
    """Return the pairs with both labels, which are dropped; not those with a text of test, or given to it."""
    count = read.rows["contradicting"]
    if not count:
        return Conflicts(0, [])
    groups = contradicting_rows(read.raw)
    hidden = set()
    if read.split is not None:
        test = np.flatnonzero(read.split.side == "test")
        hidden = {canonical(one[at]) for one in (read.split.pairs.text_a, read.split.pairs.text_b) for at in test}
    raw = read.raw
    shown: list[list[ShownPair]] = []
    for group in groups:
        given = {raw.side[at] for at in group} if raw.side is not None else set()
        held = {canonical(text) for at in group for text in (raw.text_a[at], raw.text_b[at])}
        if texts and len(shown) < _SHOWN and "test" not in given and hidden.isdisjoint(held):
            shown.append([_shown(raw, at) for at in group])
    return Conflicts(count, shown, searched=len(raw), of=len(raw))


def _near(found: Sequence[Near], pairs: Pairs, of: int, texts: bool) -> Conflicts:
    some = found[:_SHOWN] if texts else []
    shown = [[_shown(pairs, one.positive), _shown(pairs, one.negative)] for one in some]
    return Conflicts(len(found), shown, [one.share for one in some], len(pairs), of)


def _shown(pairs: Pairs, at: int) -> ShownPair:
    texts = (one_line(text[at], TEXT_LENGTH) for text in (pairs.text_a, pairs.text_b))
    return ShownPair(int(pairs.row[at]), int(pairs.label[at]), *texts)


def _warnings(models: ScoredModels, judged: Judged, seen: Pairs, seed: int) -> list[str]:
    """Return sentences without a full stop: labels that look inverted, or words that speak against them."""
    if found := inverted(models.cosines, models.sample.pairs, seen.meaning, judged.where, seed):
        return [found.sentence]
    words = models.scored[0]
    if not models.cosines and words.high is not None and words.high < 0.5:
        return [
            f"negative pairs share more words than positive ones ({TFIDF_NAME} AUC {words.described()}): either the"
            " negatives were chosen to look alike, or the labels are inverted; add --base-model to tell"
        ]
    return []
