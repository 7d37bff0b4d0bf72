"""The model card of an export (README.md): what the model is, what it scores, how it was trained."""

from dataclasses import dataclass
from importlib.metadata import version
from string import Template
from typing import Any

from tune.config.trial import TrialConfig
from tune.embed.prepare import PreparedBase
from tune.embed.routes import split_route
from tune.metrics.verdict import as_sentence
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
        for name, (_, prompt) in zip(("first text", "second text"), named_prompts(facts.base), strict=True)
        if prompt
    )
    threshold = facts.final["threshold"]
    graded_by = (facts.search.get("scores") or {}).get("column")
    closed = facts.base.closed is not None
    belongs = f"belongs_together = float(a @ b) >= {threshold:.6f}" if threshold is not None else "cosine = a @ b"
    usage_of_it = Template(_USE_CLOSED if closed else _USE).substitute(
        belongs=belongs, encode=_encode(facts.base), trust=", trust_remote_code=True" if facts.base.trusted else ""
    )
    return Template(_CARD).substitute(
        head=_HEAD_CLOSED if closed else _HEAD,
        use=usage_of_it,
        needs=_NEEDS_CLOSED.format(extra=facts.base.name.partition(":")[0])
        if closed
        else _NEEDS.format(version=version("sentence-transformers")) + (_CODE if facts.base.trusted else ""),
        base=facts.base.name,
        dims=facts.dims,
        what=what,
        synthetic=" The pairs are synthetic." if facts.search.get("synthetic") else "",
        prompts=f"\nTrained with these prompts: {usage}.\n" if usage else "",
        warning=f"**Warning:** {inverted}.\n\n" if (inverted := facts.search.get("inverted")) else "",
        scores="\n\n".join(_scores(facts, dims) + _spearman(final, graded_by) for dims, final in facts.finals.items()),
        smaller=(_SMALLER_CLOSED if closed else _SMALLER).format(dims=min(facts.finals))
        if len(facts.finals) > 1
        else "",
        settings="\n".join(f"| {name} | {value} |" for name, value in config.model_dump().items()),
    )


def named_prompts(base: PreparedBase) -> list[tuple[str, str]]:
    """Return (name, prompt) of first and second texts, without routes, as the exported model knows them."""
    first, second = (split_route(prompt, base.routed) for prompt in (base.prompt_a, base.prompt_b))
    if first[0] is not None and first[0] == second[0]:
        # `encode_query` would take the query route, whatever the prompt.
        return [("first", first[1]), ("second", second[1])]
    return [(first[0] or "query", first[1]), (second[0] or "document", second[1])]


def _encode(base: PreparedBase) -> str:
    """Return the lines that encode a first and a second text."""
    if base.prompt_a == base.prompt_b:
        return 'a, b = model.encode(["first text", "second text"])'
    calls = {"query": "encode_query({})", "document": "encode_document({})"}
    lines = []
    for letter, text, (name, _) in zip("ab", ("first text", "second text"), named_prompts(base), strict=True):
        call = calls.get(name, f'encode({{}}, prompt_name="{name}")').format(f'["{text}"]')
        lines.append(f"[{letter}] = model.{call}")
    return "\n".join(lines)


def _scores(facts: ExportFacts, dims: int) -> str:
    final, judged = facts.finals[dims], facts.search.get("out_of_fold")
    head = f"At {dims} dims: validation" if len(facts.finals) > 1 else "Validation"
    threshold = ""
    if final["threshold"] is not None:
        threshold = f" The threshold {final['threshold']:.6f} maximises accuracy on validation."
    test = final["test"]
    if judged is not None:
        of_winner = facts.search["winner"] and dims == min(facts.finals)
        result = _judgement(judged) if of_winner else "There was no test side."
    elif test is None:
        result = "This trial was not a finalist, so it was not scored on the test side."
    else:
        result = f"Test, scored once: ROC AUC {_interval(test)}, accuracy {test['accuracy']:.4f} on {test['n']} pairs."
    return f"{head}: ROC AUC {final['val_auc']:.4f}. {result}{threshold}"


def _judgement(judged: dict[str, Any]) -> str:
    """Return sentences on the winner of a search without a test side."""
    ends = "no interval" if judged["low"] is None else f"95% interval [{judged['low']:.4f}, {judged['high']:.4f}]"
    sentences = [judged["sentence"], f"ROC AUC {judged['auc']:.4f}, {ends}", *judged["verdicts"]]
    return f"There was no test side. {' '.join(map(as_sentence, sentences))}"


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

model = SentenceTransformer("PATH/OF/THIS/DIRECTORY"$trust)
$encode
$belongs"""

_USE_CLOSED = """from tune.embed.adapted import AdaptedEmbedder

model = AdaptedEmbedder.load("PATH/OF/THIS/DIRECTORY")
[a] = model.encode(["first text"])
[b] = model.encode(["second text"], side="b")
$belongs"""

_NEEDS = "It needs sentence-transformers 6 or later (saved by {version}; earlier versions cannot read it)."

_CODE = " It runs custom code from its base model (`trust_remote_code`); read that code before loading."

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

$warning$scores

## How it was trained

| option | value |
|---|---|
$settings

$needs
"""
