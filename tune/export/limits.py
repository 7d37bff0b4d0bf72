"""A card's limits: what the scores do and do not show, in sentences."""

from tune.embed.base_card import BaseCard
from tune.export.facts import ExportFacts
from tune.export.markdown import code, plain


def limits(facts: ExportFacts, base: BaseCard, max_tokens: int | None) -> list[str]:
    """Return the limits, one sentence or two each. max_tokens: per text; None for no limit or unknown."""
    return [_tested(facts), *_data(facts), *_language(base), *_length(max_tokens), *_thresholds(facts)]


def _tested(facts: ExportFacts) -> str:
    test, source = facts.final["test"], facts.search.get("data")
    if test is None:
        return "It was not scored on test. Its validation scores are optimistic, since they helped to choose it."
    return (
        f"It was tested on {test['n']:,} pairs{f' of {code(source)}' if source else ''}, and trained on other pairs of "
        "the same data. Score it on your own pairs before you rely on it (`python -m tune score`)."
    )


def _data(facts: ExportFacts) -> list[str]:
    found = []
    if facts.search.get("synthetic"):
        found.append("Its pairs are synthetic: the scores say nothing about real texts.")
    if facts.search.get("inverted"):
        found.append("The labels look inverted, see the warning above: check them before you use the model.")
    return found


def _language(base: BaseCard) -> list[str]:
    if not base.language:
        return ["The base model's language is not stated. Only texts like those of its data were tested."]
    return [
        f"The base model's language is given as {plain(', '.join(base.language))}. Only texts like those of its data "
        "were tested."
    ]


def _length(max_tokens: int | None) -> list[str]:
    return [] if max_tokens is None else [f"Texts are cut at {max_tokens:,} tokens."]


def _thresholds(facts: ExportFacts) -> list[str]:
    if facts.final["threshold"] is None:
        return []
    return [
        "The threshold was fitted on validation pairs. If another share of your pairs belongs together, or errors cost "
        "differently, fit your own."
    ]
