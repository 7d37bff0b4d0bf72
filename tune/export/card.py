"""The model card of an export (README.md): what the model is, what it scores, how it was trained."""

from dataclasses import dataclass
from importlib.metadata import version
from string import Template
from typing import Any

from tune.config.trial import TrialConfig
from tune.embed.prepare import PreparedBase
from tune.train.kinds import kind_of


@dataclass(frozen=True)
class ExportFacts:
    """What an export records besides its weights.

    finals: by dims, ascending; the model outputs the last. Each has val_auc, threshold (cosine from which a pair counts
    as positive: best accuracy on val), logistic_threshold (the one behind the hard AUC) and test (scores, if the trial
    was a finalist); val_spearman if the pairs have graded scores. search: provenance of the search.
    """

    trial: str
    config: TrialConfig
    base: PreparedBase
    finals: dict[int, dict[str, Any]]
    search: dict[str, Any]

    @property
    def final(self) -> dict[str, Any]:
        """The numbers of the model at its full dims."""
        return self.finals[self.dims]

    @property
    def dims(self) -> int:
        """Dimensions of the model's vectors."""
        return max(self.finals)


def model_card(facts: ExportFacts) -> str:
    """Return the card's text."""
    config = facts.config
    kind = kind_of(config)
    what = kind.description.format(base=facts.base.name, data=facts.search.get("data", ""))
    if kind.trains_base and config.dims is not None:
        what += ", with a Dense layer"
    usage = ", ".join(
        f"`{name}`: {prompt!r}"
        for name, prompt in (("first text", facts.base.prompt_a), ("second text", facts.base.prompt_b))
        if prompt
    )
    threshold = facts.final["threshold"]
    graded_by = (facts.search.get("scores") or {}).get("column")
    closed = facts.base.closed is not None
    belongs = f"belongs_together = float(a @ b) >= {threshold:.6f}" if threshold is not None else "cosine = a @ b"
    usage_of_it = Template(_USE_CLOSED if closed else _USE).substitute(belongs=belongs)
    return Template(_CARD).substitute(
        head=_HEAD_CLOSED if closed else _HEAD,
        use=usage_of_it,
        needs=_NEEDS_CLOSED.format(extra=facts.base.name.partition(":")[0])
        if closed
        else _NEEDS.format(version=version("sentence-transformers")),
        base=facts.base.name,
        dims=facts.dims,
        what=what,
        synthetic=" The pairs are synthetic." if facts.search.get("synthetic") else "",
        prompts=f"\nTrained with these prompts: {usage}.\n" if usage else "",
        scores="\n\n".join(
            _scores(dims, final, len(facts.finals) > 1) + _spearman(final, graded_by)
            for dims, final in facts.finals.items()
        ),
        smaller=(_SMALLER_CLOSED if closed else _SMALLER).format(dims=min(facts.finals))
        if len(facts.finals) > 1
        else "",
        settings="\n".join(f"| {name} | {value} |" for name, value in config.model_dump().items()),
    )


def _scores(dims: int, final: dict[str, Any], several: bool) -> str:
    head = f"At {dims} dims: validation" if several else "Validation"
    threshold = ""
    if final["threshold"] is not None:
        threshold = f" The threshold {final['threshold']:.6f} maximises accuracy on validation."
    test = final["test"]
    if test is None:
        said = "This trial was not a finalist, so it was not scored on the test side."
    else:
        said = f"Test, scored once: ROC AUC {_interval(test)}, accuracy {test['accuracy']:.4f} on {test['n']} pairs."
    return f"{head}: ROC AUC {final['val_auc']:.4f}. {said}{threshold}"


def _spearman(final: dict[str, Any], column: str | None) -> str:
    """Return a sentence on the correlation with graded scores, "" without them (or in results of earlier versions)."""
    val, test = final.get("val_spearman"), final["test"] or {}
    parts = [] if val is None else [f"{val:.4f} on validation"]
    if (rho := test.get("spearman")) is not None:
        low, high = test["spearman_low"], test["spearman_high"]
        parts.append(f"{rho:.4f}{f' [{low:.4f}, {high:.4f}]' if low is not None else ''} on test")
    of = f" (column `{column}`)" if column else ""
    return f" Spearman correlation with the graded scores{of}: {', '.join(parts)}." if parts else ""


def _interval(test: dict[str, Any]) -> str:
    if test["auc_low"] is None:
        return f"{test['auc']:.4f} (no interval: {test['interval']})"
    # Versions up to 0.1.0 drew components alone, and did not write so.
    how = test.get("interval") or "bootstrap over components"
    return f"{test['auc']:.4f} [{test['auc_low']:.4f}, {test['auc_high']:.4f}] (95% interval, {how})"


_SMALLER = """
Its first components also work alone, compared by cosine: `SentenceTransformer(..., truncate_dim={dims})`.
"""

_SMALLER_CLOSED = """
Its first components also work alone, compared by cosine: `vectors[:, :{dims}]`.
"""

_HEAD = """library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, feature-extraction, embedtune]"""

_HEAD_CLOSED = """pipeline_tag: sentence-similarity
tags: [feature-extraction, embedtune]"""

_USE = """from sentence_transformers import SentenceTransformer

model = SentenceTransformer("PATH/OF/THIS/DIRECTORY")
a, b = model.encode(["first text", "second text"])
$belongs"""

_USE_CLOSED = """from tune.embed.adapted import AdaptedEmbedder

model = AdaptedEmbedder.load("PATH/OF/THIS/DIRECTORY")
[a] = model.encode(["first text"])
[b] = model.encode(["second text"], side="b")
$belongs"""

_NEEDS = "It needs sentence-transformers 6 or later (saved by {version}; earlier versions cannot read it)."

_NEEDS_CLOSED = (
    "It contains only the Dense layer: every text it encodes is bought from the provider, with the API key from the "
    "environment. It needs embedtune (`pip install 'embedtune[{extra}]'`), but neither torch nor a GPU."
)

_CARD = """---
$head
---

# $base, adapted to $dims dimensions

$what and a final normalisation.$synthetic

```python
$use
```
$smaller$prompts
## Scores

$scores

## How it was trained

| option | value |
|---|---|
$settings

$needs
"""
