"""What the report says in words: the answer, the data, and how the results came about."""

import tomllib
from collections.abc import Mapping
from typing import Any

from tune.embed.closed.prices import usd
from tune.embed.near import counted_text
from tune.metrics.verdict import as_sentence, in_brackets
from tune.report.prices import Prices
from tune.report.story import Line, Story

REASONS = {
    "unlabelled": "no label",
    "unscored": "no score",
    "empty": "an empty text",
    "contradicting": "the same pair with both labels",
    "identical_dropped": "equal texts labelled 0",
    "repeated": "repeated pairs",
}
_PAYS = {
    "beats": "fine-tuning pays",
    "level": "fine-tuning makes no clear difference",
    "behind": "fine-tuning does not pay",
}
_SMALLEST_P = 0.001
_PLACES = ("cache", "ray_address")
"""Options that say where a search ran, and change none of its numbers."""


def answer(story: Story) -> list[str]:
    """Return the answer in a few sentences: whether training pays and how surely, which model, at what cost."""
    if story.state and not story.finished:
        return [story.state]
    lines: list[str] = []
    sentences = story.summary.get("verdicts") or [(story.summary.get("verdict") or {}).get("sentence") or ""]
    lines += [as_sentence(f"{_pays(story, one)}{one}{_p_value(story, one)}") for one in sentences if one]
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
        auc, low, high, of = judged["auc"], judged["low"], judged["high"], "AUC out of fold"
    else:
        auc, low, high = (winner.get(f"test_auc{end}") for end in ("", "_low", "_high"))
        of = "test AUC"
    scored = "" if auc is None else f", {of} {auc:.4f}{in_brackets(low, high)}"
    model = f"{winner.base_model} ({winner.trains}, {winner.get('loss')})"
    return f"The winner is {model} at {winner.get('dims')} dims{stored}{scored}."


def _pays(story: Story, sentence: str) -> str:
    """Return what the verdict on the winner against its own base model says about fine-tuning; "" for any other."""
    verdict = story.summary.get("verdict") or {}
    found = _PAYS.get(str(verdict.get("outcome"))) if verdict.get("sentence") == sentence else None
    where = "on these synthetic pairs" if story.data.get("synthetic") else "here"
    return "" if found is None else f"{found} {where}: "


def _p_value(story: Story, sentence: str) -> str:
    verdict = story.summary.get("verdict") or {}
    known = verdict.get("sentence") == sentence and verdict.get("outcome") in _PAYS
    p = verdict.get("p_holm") if known else None
    if p is None:
        return ""
    how = " (Holm-corrected)" if story.summary.get("correction") else ""
    return f", p < {_SMALLEST_P}{how}" if p < _SMALLEST_P else f", p = {p:.2g}{how}"


def cost(story: Story, prices: Prices) -> str:
    """Return what the search took and cost, as far as it is known; "" if nothing is."""
    seconds = story.summary.get("seconds") or {}
    trained = sum(trial.last.seconds for trial in story.trials if trial.last)
    parts = []
    if seconds:
        training = f"; its trials took {duration(trained)} in total" if trained else ""
        parts.append(f"The search took {duration(sum(seconds.values()))}{training}.")
    return " ".join([*parts, *_gpu_time(story, trained, prices), *_bought(story)])


def _gpu_time(story: Story, trained: float, prices: Prices) -> list[str]:
    modal = story.summary.get("modal") or {}
    seconds = modal.get("container_seconds")
    gpus = modal.get("gpu")
    hour = prices.gpu_usd_per_hour(gpus)
    if seconds is None:
        # On this machine an hour costs only what it is said to.
        if prices.gpu is None or not trained:
            return []
        return [f"At {prices.gpu:.2f} USD per GPU hour, its trials cost {_range(trained, prices.gpu, prices.gpu)}."]
    names = [gpus] if isinstance(gpus, str) else list(gpus or [])
    on = f" on {' or '.join(filter(None, [', '.join(names[:-1]), *names[-1:]]))}" if names else ""
    price = "; the price of that GPU is unknown" if hour is None else f": {_range(seconds, *hour)} for the GPU"
    origin = "" if hour is None else f", at {prices.gpu_origin()}, without CPU and memory"
    return [f"Modal ran its trials for {duration(seconds)} of container time{on}{price}{origin}."]


def _bought(story: Story) -> list[str]:
    """Return what the vectors of closed models cost, as the search estimated it; nothing without such models."""
    parts = []
    for name, base in (story.summary.get("bases") or {}).items():
        if base.get("closed") is None:
            continue
        texts, million = base.get("embedded") or 0, base.get("usd_per_million_texts")
        if not texts:
            parts.append(f"No vectors of {name} had to be bought.")
        elif million is None:
            parts.append(f"{texts:,} texts were bought from {name}; its price is unknown.")
        else:
            cost = f"about {usd(texts * million / 1e6)} USD"
            parts.append(f"{texts:,} texts were bought from {name} for {cost} (estimated from its price per token).")
    return parts


def _range(seconds: float, low: float, high: float) -> str:
    """Return the cost of so many seconds at prices per hour."""
    least, most = (usd(seconds / 3600 * price) for price in (low, high))
    return f"{least} USD" if least == most else f"{least} to {most} USD"


def data(story: Story) -> dict[str, Any]:
    """Return facts about the pairs: counts, drops by reason, split, leaks."""
    facts = story.data
    counts, split, leaks = facts.get("counts") or {}, facts.get("split") or {}, facts.get("leaks") or {}
    columns = facts.get("columns") or {}
    dropped = [f"{counts[key]:,} {reason}" for key, reason in REASONS.items() if counts.get(key)]
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
        **_lengths(story),
        "largest group of linked pairs": _share(split.get("giant_share")),
        "val and test texts also in train": ", ".join(f"{side} {count}" for side, count in seen.items()),
    }
    for side in ("val", "test"):
        if side in near:
            found[f"{side} texts nearly in train (cosine 0.95)"] = counted_text(near[side])
    if near.get("folds"):
        found["texts nearly in another fold (cosine 0.95)"] = counted_text(near["folds"])
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
        "extends": (summary.get("extends") or {}).get("name"),
        "test first opened": (summary.get("extends") or {}).get("test_opened"),
        "test opened": (summary.get("test") or {}).get("opened"),
        "split hash": story.data.get("split_hash"),
        "hardware": _hardware(summary),
        "phases": phases,
        "versions": versions,
    }


def configuration(story: Story) -> dict[str, Any]:
    """Return the resolved options of the search by name, "[table] option"; without its folders and addresses."""
    try:
        tables = tomllib.loads(story.folder.config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = {}
    for name, table in tables.items():
        for number, options in enumerate(table if isinstance(table, list) else [table], 1):
            mark = f"{name} {number}" if isinstance(table, list) and len(table) > 1 else name
            for option, value in options.items():
                if option not in _PLACES:
                    values = value if isinstance(value, list) else [value]
                    found[f"[{mark}] {option}"] = ", ".join(_written(one) for one in values)
    return found


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _lengths(story: Story) -> dict[str, str]:
    """Return how long the texts are: in words and characters, and in the tokens of each base model that was counted."""
    measured = story.data.get("lengths") or {}
    found = {f"{unit} per text": _spread(one) for unit in ("words", "characters") if (one := measured.get(unit))}
    for name, one in (story.summary.get("tokens") or {}).items():
        if one and "median" in one:
            cut = f"; {one['cut']:,} are cut at {one['limit']:,}" if one["limit"] else ""
            found[f"tokens per text ({name})"] = f"{_spread(one)} of {one['texts']:,} texts{cut}"
    return found


def _spread(one: Mapping[str, int]) -> str:
    return f"median {one['median']:,}, 95% up to {one['p95']:,}, longest {one['longest']:,}"


def _hardware(summary: Mapping[str, Any]) -> str:
    cores = f"{summary['cores']} cores" if summary.get("cores") else ""
    timed = str((summary.get("latency") or {}).get("machine") or "")
    gpu = (summary.get("modal") or {}).get("gpu")
    on = f"trials on {', '.join(gpu) if isinstance(gpu, list) else gpu}" if gpu else ""
    cpu = str(summary.get("cpu") or "")
    # The machine that was timed may be a GPU; on a CPU it repeats the CPU's name.
    return ", ".join(filter(None, [cpu, cores, timed if not cpu or cpu not in timed else "", on]))


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
