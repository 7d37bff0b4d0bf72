"""What was found in labelled pairs, as plain data: computed by the pipeline, shown by the terminal and the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tune.metrics.verdict import in_brackets

TEXT_LENGTH = 300
"""Characters of a text that are shown."""


@dataclass(frozen=True)
class Histogram:
    """Counts per bin, for one or several classes. edges: [bins + 1], ascending; counts: by class, [bins] each."""

    edges: list[float]
    counts: Mapping[str, list[int]]


@dataclass(frozen=True)
class Side:
    """A side of the split, or "all" if there are no sides."""

    name: str
    pairs: int
    positive: int
    components: int


@dataclass(frozen=True)
class Lengths:
    """Lengths of distinct texts. unit: what is counted, such as "tokens of minilm". limit: where the model cuts.

    texts: how many were counted, of `of`. cut: how many of the counted are longer than the limit.
    """

    unit: str
    histogram: Histogram
    texts: int
    of: int
    median: float
    long: float
    """The 95th percentile."""
    longest: int
    limit: int | None
    cut: int


@dataclass(frozen=True)
class Overlap:
    """Jaccard index of the two texts' words. mean: by class. pairs: how many were compared, of `of`."""

    terms: str
    histogram: Histogram
    mean: Mapping[str, float]
    pairs: int
    of: int

    @property
    def what(self) -> str:
        """What is compared, in words."""
        return "words" if self.terms == "words" else "pairs of characters"


@dataclass(frozen=True)
class Scored:
    """An untouched model's cosines of some pairs. note: how it was made, or what to know about it.

    interval: what low and high are, such as "bootstrap over 4,552 components"; why there are none if they are None.
    """

    name: str
    auc: float
    low: float | None
    high: float | None
    interval: str
    pairs: int
    of: int
    histogram: Histogram
    note: str = ""

    def described(self) -> str:
        """Return the AUC with its interval."""
        return f"{self.auc:.4f}{in_brackets(self.low, self.high)}"


@dataclass(frozen=True)
class Graph:
    """The texts and pairs of a component, or of a part of it. texts: "" for all if texts are not to be shown.

    edges: (text, text, label), as indices of `texts`. pairs, of_texts: of the whole component.
    """

    texts: list[str]
    edges: list[tuple[int, int, int]]
    pairs: int
    of_texts: int


@dataclass(frozen=True)
class Components:
    """How shared texts link the pairs. sizes: (smallest, largest number of pairs, components, pairs) by size.

    graph: the largest component that is not in test; None if every pair stands alone.
    """

    count: int
    pairs: int
    largest: int
    sizes: list[tuple[int, int, int, int]]
    graph: Graph | None


@dataclass(frozen=True)
class ShownPair:
    """A labelled pair to read. row: its number in the source, from 0. Texts on one line, cut at TEXT_LENGTH."""

    row: int
    label: int
    text_a: str
    text_b: str


@dataclass(frozen=True)
class Conflicts:
    """Pairs that contradict each other. found: how many; shown: some of them, each with what it contradicts.

    searched, of: how many pairs were looked at. share: of each group, the share of common words, 1 for the same pair.
    """

    found: int
    shown: list[list[ShownPair]]
    share: list[float] = field(default_factory=list)
    searched: int = 0
    of: int = 0


@dataclass(frozen=True)
class Resolved:
    """What a side can show, in AUC. auc: half the width of an interval. difference: the smallest measured difference
    whose interval excludes 0. found: the true difference that is found four times in five. None: unknown; `reason`
    says why.
    """

    side: str
    pairs: int
    components: int
    auc: float | None
    difference: float | None
    found: float | None
    how: str
    reason: str = ""


@dataclass(frozen=True)
class Findings:
    """All of it, in the order in which people ask.

    facts: about source, columns and labels. dropped: rows by reason. problem: why a search would refuse these pairs,
    or "". judged: which pairs the scores are of, such as "validation". examples: pairs by class, none if texts are not
    to be shown. contradicting: the same pair with both labels (dropped); near: pairs that nearly repeat each other.
    """

    source: str
    synthetic: bool
    facts: Mapping[str, str]
    read: int
    kept: int
    dropped: Mapping[str, int]
    sides: Sequence[Side]
    problem: str
    judged: str
    lengths: Lengths
    overlap: Overlap
    scores: Sequence[Scored]
    components: Components
    contradicting: Conflicts
    near: Conflicts
    resolved: Sequence[Resolved]
    correlation: str
    warnings: Sequence[str]
    examples: Mapping[str, list[ShownPair]]
    texts: bool
    scope: str
    """Which rows scores and texts come from, in a sentence."""
