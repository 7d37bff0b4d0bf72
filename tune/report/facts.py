"""What the report says in words: the answer, the data, and how the results came about."""

from typing import Any

from tune.metrics.verdict import as_sentence
from tune.report.story import Line, Story

_REASONS = {
    "unlabelled": "no label",
    "unscored": "no score",
    "empty": "an empty text",
    "contradicting": "the same pair with both labels",
    "identical_dropped": "equal texts labelled 0",
    "repeated": "repeated pairs",
}


def answer(story: Story) -> list[str]:
    """Return the answer in a few sentences: whether training pays and how surely, which model, at what cost."""
    if story.state and not story.finished:
        return [story.state]
    lines: list[str] = []
    sentences = story.summary.get("verdicts") or [(story.summary.get("verdict") or {}).get("sentence") or ""]
    lines += [as_sentence(one) for one in sentences if one]
    if not lines:
        nothing = "No trial produced a model." if story.trained else "Untouched base models only: nothing was trained."
        lines.append(nothing)
    if story.winner is not None:
        lines.append(_winner(story, story.winner))
    if story.state:
        lines.append(story.state)
    if story.inverted and story.praised:
        lines.append(f"Warning: {story.inverted}.")
    return lines + [f"Warning: {warning}." for warning in story.summary.get("warnings") or []]


def _winner(story: Story, winner: Line) -> str:
    size = winner.get("bytes_per_million_vectors")
    stored = f", {size / 1e9:.2g} GB per million vectors" if size else ""
    judged = story.summary.get("out_of_fold")
    if judged:
        interval, auc, of = (judged["low"], judged["high"]), judged["auc"], "AUC out of fold"
    else:
        found = winner.interval("test_auc")
        interval, auc, of = (found[1:] if found else (None, None)), winner.get("test_auc"), "test AUC"
    sure = f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval[0] is not None else ""
    scored = "" if auc is None else f", {of} {auc:.4f}{sure}"
    return f"The winner has {winner.get('dims')} dims{stored}{scored}."


def cost(story: Story) -> str:
    """Return what the search took, in one sentence; "" if it did not record it."""
    seconds = story.summary.get("seconds") or {}
    if not seconds:
        return ""
    trained = sum(trial.last.seconds for trial in story.trials if trial.last)
    training = f"; its trials took {duration(trained)}, added up" if trained else ""
    return f"The search took {duration(sum(seconds.values()))}{training}."


def data(story: Story) -> dict[str, Any]:
    """Return facts about the pairs: counts, drops by reason, split, leaks."""
    facts = story.data
    counts, split, leaks = facts.get("counts") or {}, facts.get("split") or {}, facts.get("leaks") or {}
    columns = facts.get("columns") or {}
    dropped = [f"{counts[key]:,} {reason}" for key, reason in _REASONS.items() if counts.get(key)]
    rows, positives = split.get("rows") or {}, split.get("positives") or {}
    sides = [f"{side} {count:,} ({positives.get(side, 0):,} positive)" for side, count in rows.items()]
    seen, near = leaks.get("texts_seen_in_train") or {}, leaks.get("near_copies_in_train") or {}
    left_out = facts.get("left_out") or {}
    folded = bool(split.get("out_of_fold"))
    if folded:
        sides, seen = [f"{rows.get('train', 0):,} pairs ({positives.get('train', 0):,} positive), all in folds"], {}
    found: dict[str, Any] = {
        "source": facts.get("source"),
        "synthetic": "yes: invented pairs" if facts.get("synthetic") else "",
        "columns": ", ".join(str(columns[key]) for key in ("text_a", "text_b", "label", "score") if columns.get(key)),
        "labels": facts.get("labels"),
        "pairs": f"{counts['read']:,} read, {counts['kept']:,} kept" if "kept" in counts else "",
        "dropped": ", ".join(dropped) or "none",
        "split": f"{split.get('mode')}: {', '.join(sides)}" if sides else "",
        "left out (no vector)": ", ".join(f"{side} {n:,}" for side, n in (left_out.get("pairs") or {}).items()),
        "largest group of linked pairs": _share(split.get("giant_share")),
        "val and test texts also in train": ", ".join(f"{side} {count}" for side, count in seen.items()),
    }
    for side in ("val", "test"):
        if side in near:
            found[f"{side} texts nearly in train (cosine 0.95)"] = f"{near[side]['near']:,} of {near[side]['of']:,}"
    if near.get("folds"):
        found["texts nearly in another fold (cosine 0.95)"] = f"{near['folds']['near']:,} of {near['folds']['of']:,}"
    if judged := story.summary.get("out_of_fold"):
        found["judged"] = judged.get("sentence")
    return found


def provenance(story: Story) -> dict[str, Any]:
    """Return how the results came about: command, seed, versions, machine, seconds."""
    summary = story.summary
    versions = ", ".join(f"{name} {version}" for name, version in (summary.get("versions") or {}).items())
    phases = ", ".join(f"{phase} {duration(value)}" for phase, value in (summary.get("seconds") or {}).items())
    return {
        "command": summary.get("command"),
        "search": summary.get("search"),
        "seed": summary.get("seed"),
        "started": summary.get("started"),
        "finished": summary.get("finished"),
        "winner fixed": (summary.get("winner") or {}).get("fixed"),
        "test opened": (summary.get("test") or {}).get("opened"),
        "split hash": story.data.get("split_hash"),
        "cores": summary.get("cores"),
        "phases": phases,
        "versions": versions,
    }


def duration(seconds: float) -> str:
    """Return a span of time in one or two units."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%} of the pairs"
