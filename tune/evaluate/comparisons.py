"""Which models are compared on test, and in which family of comparisons their p-values are corrected.

The winner was fixed before test. Its comparisons with every base model, and with the best trial of another kind, are
the primary family: what a search is run for. All others are exploratory, so that finalists nobody asked about cannot
make the winner's result uncertain.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tune.metrics.intervals import Difference
from tune.metrics.multiple import holm
from tune.metrics.verdict import Compared, storage, verdict
from tune.train.kinds import FROZEN, TRAINS_BASE
from tune.train.trained import Models, TrialModel, baseline_key

Family = Literal["primary", "exploratory"]


@dataclass(frozen=True)
class Comparison:
    """Models `a` and `b`, by key.

    kind: own (a against its own base model), other (another base model), or frozen (the best frozen trial).
    """

    kind: Literal["own", "other", "frozen"]
    family: Family
    a: str
    b: str
    models: Compared


def planned(finalists: Sequence[TrialModel], models: Models) -> list[Comparison]:
    """Return the comparisons of every finalist with every untouched base model, and of the kinds with one another.

    finalists[0] is the winner.
    """
    return [*_with_bases(finalists, models), *_with_frozen(finalists)]


def judged(comparisons: Sequence[Comparison], differences: Sequence[Difference]) -> list[dict[str, Any]]:
    """Return plain values per comparison: `kind`, `family`, `a`, `b`, and those of its verdict.

    `p_holm` is corrected for the comparisons of the same family; those without an interval do not count.
    """
    entries: list[dict[str, Any]] = [{}] * len(comparisons)
    for family in ("primary", "exploratory"):
        places = [i for i, one in enumerate(comparisons) if one.family == family]
        p_values = {i: p for i in places if (p := differences[i].p) is not None}
        corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
        for i in places:
            one = comparisons[i]
            found = verdict(one.models, differences[i], corrected.get(i), len(corrected))
            entries[i] = {"kind": one.kind, "family": family, "a": one.a, "b": one.b, **found.to_json()}
    return entries


def described(model: TrialModel, dims: int | None = None) -> str:
    """Return a model in a few words: "minilm, whole, 128 dims, cosent". dims None: leave them out."""
    kind = [] if model.kind.label == FROZEN.label else [model.kind.label]
    return ", ".join([model.config.base_model, *kind, *([f"{dims} dims"] if dims else []), model.config.loss])


def _with_bases(finalists: Sequence[TrialModel], models: Models) -> Iterator[Comparison]:
    for model in finalists:
        won = model is finalists[0]
        subject = f"the winner ({described(model)})" if won else described(model)
        for dims in model.dims:
            for name, base in models.bases.items():
                yield Comparison(
                    kind="own" if name == model.base.name else "other",
                    family="primary" if won and dims == model.dims[0] else "exploratory",
                    a=model.key(dims),
                    b=baseline_key(name),
                    models=Compared(
                        subject, name if base.closed is not None else f"the untouched {name}", storage(dims, base.dims)
                    ),
                )


def _with_frozen(finalists: Sequence[TrialModel]) -> Iterator[Comparison]:
    """Compare the best trial of every kind that trains the base with the best frozen one, each at its first dims."""
    frozen = next((model for model in finalists if not model.kind.trains_base), None)
    for kind in TRAINS_BASE:
        whole = next((model for model in finalists if model.kind is kind), None)
        if frozen is None or whole is None:
            continue
        a, b = whole.dims[0], frozen.dims[0]
        yield Comparison(
            kind="frozen",
            family="primary" if finalists[0] in (whole, frozen) else "exploratory",
            a=whole.key(a),
            b=frozen.key(b),
            models=Compared(described(whole, a), f"the best frozen one ({described(frozen, b)})"),
        )
