"""The findings as sentences, the same on the page and in the terminal."""

from tune.metrics.verdict import as_sentence, counted
from tune.report.explore.findings import Findings, Resolved, Scored

_CHANCE = 0.5


def answer(found: Findings) -> list[str]:
    """Return the findings in a few sentences, warnings last."""
    lines = [_usable(found), bar(found.scores[0])]
    lines += [f"The untouched {one.name} reaches {_reached(one)}." for one in found.scores[1:]]
    lines += [can_show(one) for one in found.resolved[-1:]]
    lines += [f"Warning: {as_sentence(warning)}" for warning in found.warnings]
    if found.problem:
        lines.append(f"Warning: a search would refuse these pairs: {found.problem}.")
    return lines


def _usable(found: Findings) -> str:
    positive = sum(side.positive for side in found.sides)
    usable = f"All {found.kept:,}" if found.kept == found.read else f"{found.kept:,} of {found.read:,}"
    counted = f"{usable} pairs can be used, {positive / max(found.kept, 1):.0%} of them positive."
    sides = {side.name: side.pairs for side in found.sides}
    if "train" in sides:
        split = f"train {sides['train']:,}, validation {sides['val']:,}, test {sides['test']:,}"
        return f"{counted} A search would split them into {split}."
    return counted if found.problem else f"{counted} A search would judge all of them out of fold."


def bar(words: Scored) -> str:
    """Return what word overlap alone reaches."""
    reached = _reached(words)
    if (words.auc if words.low is None else words.low) > _CHANCE:
        return f"Words alone ({words.name}) reach {reached}: the bar for any embedding model."
    if (words.auc if words.high is None else words.high) < _CHANCE:
        return f"Words alone ({words.name}) mislead: {reached}, below chance."
    return f"Words alone ({words.name}) do not tell positive pairs from negative ones: {reached}."


def _reached(one: Scored) -> str:
    sample = "" if one.pairs == one.of else f" (a sample of {one.of:,})"
    return f"an AUC of {one.described()} on {one.pairs:,} pairs{sample}"


def can_show(one: Resolved) -> str:
    """Return what some pairs can resolve, in a sentence."""
    if one.found is None:
        return f"How small a difference {one.side} can show is unknown: {one.reason}."
    return (
        f"{one.side[:1].upper()}{one.side[1:]} ({one.pairs:,} pairs, {one.how}) can show a difference of about"
        f" {points(one.found)} points of AUC between two models, four times in five."
    )


def same_line(found: Findings) -> str:
    """Return how many rows are pairs with both labels; "" for none."""
    same = found.contradicting.found
    if not same:
        return ""
    hidden = found.texts and not found.contradicting.shown
    why = " None is shown, since each shares a text with a test pair or is on the test side." if hidden else ""
    return f"{same:,} rows are pairs that occur with both labels; all are dropped.{why}"


def near_line(found: Findings, shown: int) -> str:
    """Return how often a pair nearly repeats one of the other label. shown: how many are shown, the most alike."""
    near = found.near
    searched = (
        f"{near.of:,} pairs" if near.searched == near.of else f"a sample of {near.searched:,} of {near.of:,} pairs"
    )
    if not near.found:
        return f"No pair nearly repeats one with the other label (80% of the words of both texts), among {searched}."
    below = f" The {shown} most alike are shown." if 0 < shown < near.found else ""
    # Not so many pairs: one may nearly repeat several of the other label.
    times = f"In {counted(near.found, 'case')}, a positive and a negative pair nearly repeat each other"
    return f"{times} (at least 80% of the words of both texts), among {searched}.{below}"


def points(value: float | None) -> str:
    """Return a difference in AUC in points; "unknown" for None."""
    if value is None:
        return "unknown"
    return f"{100 * value:.1f}" if value >= 0.0005 else "under 0.1"
