"""Test as it is opened: intervals that fit how test pairs share texts, and one verdict from the corrected result."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.tiny import TOPIC_WORDS, TOPICS, save_tiny_model, topic_pairs
from tune.config.trial import TrialConfig
from tune.data.sides import LabelledPairs
from tune.embed.prepare import PreparedBase, prepare_base
from tune.embed.sources import load_source
from tune.embed.view import View
from tune.evaluate.final_test import draws_of, open_test
from tune.train.frozen.trial import open_frozen_trial
from tune.train.outcomes import trial_outcomes
from tune.train.trained import Models

Opened = Callable[[LabelledPairs], dict[str, Any]]


def tickets(count: int, articles: int, seed: int = 9) -> LabelledPairs:
    """Tickets with two articles each, out of a catalogue that repeats."""
    rng = np.random.default_rng(seed)
    about = np.arange(articles) % TOPICS
    catalogue = [f"Article {i}: {' '.join(rng.choice(words(topic), 4))}" for i, topic in enumerate(about)]
    a, b, label = [], [], []
    for number in range(count):
        topic = int(rng.integers(0, TOPICS))
        text = f"Ticket {number}: {' '.join(rng.choice(words(topic), 4))}"
        for wanted in (1, 0):
            a.append(text)
            b.append(catalogue[int(rng.choice(np.flatnonzero((about == topic) == (wanted == 1))))])
            label.append(wanted)
    return LabelledPairs(a, b, np.array(label, np.int8))


def words(topic: int) -> list[str]:
    return [word for word in TOPIC_WORDS if word.startswith(f"t{topic}w")]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Return a function that opens test on other pairs, with a trained layer of 32 dims and one of 4."""
    folder = tmp_path_factory.mktemp("final")
    name = str(save_tiny_model(folder / "words", words=TOPIC_WORDS))
    source = load_source(name)

    def prepare(test: LabelledPairs) -> PreparedBase:
        sides = {"train": topic_pairs(600, 0), "val": topic_pairs(300, 1), "test": test}
        return prepare_base(source, sides, folder / "cache", ("", ""))

    def open_on(test: LabelledPairs) -> dict[str, Any]:
        base = prepare(test)
        for dims in (32, 4):
            trial = TrialConfig(base_model=name, dims=dims, loss="cosent", learning_rate=1e-2, epochs=4)
            list(open_frozen_trial(trial, folder / "trials" / trial.digest(base.digest), view_of(base, folder)))
        outcomes = [
            one
            for one in trial_outcomes(folder / "trials", folder / "asha.json")
            if one.trial == one.config.digest(base.digest)
        ]
        outcomes.sort(key=lambda one: -(one.config.dims or 0))
        models = Models({name: base}, folder / "cache", None)
        result = open_test([models.of(one) for one in outcomes], models, test, 0).result
        assert json.loads(json.dumps(result)) == result, "plain data"
        return result

    return open_on


def view_of(base: PreparedBase, folder: Path) -> View:
    return View.open(base.view(folder / "cache"))


def test_a_catalogue_that_repeats_is_one_component_with_a_finite_interval(opened: Opened) -> None:
    result = opened(tickets(400, 150))
    made = result["intervals"]
    assert (made["method"], made["components"], made["reason"]) == ("two-way", 1, "")
    assert made["sentence"] == (
        "intervals: two-way bootstrap over texts; shared texts form 1 component, the largest holds 100% of the test"
        " pairs"
    )
    for final in result["models"].values():
        score = final["test"]
        assert score["auc_low"] < score["auc"] < score["auc_high"] and score["auc_high"] - score["auc_low"] < 0.2
        assert score["interval"] == "two-way bootstrap over texts"
    verdict = result["verdict"]
    assert -0.2 < verdict["low"] < verdict["delta"] < verdict["high"] < 0.4
    assert verdict["outcome"] == "beats" and " beats the untouched " in verdict["sentence"]
    assert result["verdicts"] == [verdict["sentence"]] and result["correction"] == "", "one comparison is primary"
    assert [entry["family"] for entry in result["comparisons"]] == ["primary", "exploratory"]


def test_one_text_in_all_pairs_gives_no_interval_but_the_reason(opened: Opened) -> None:
    pairs = topic_pairs(300, 3)
    result = opened(
        LabelledPairs(["t1w1 t1w2"] * 300, [f"{text} {i}" for i, text in enumerate(pairs.text_b)], pairs.label)
    )
    reason = "one text is in 100% of the test pairs, so nothing shows what the result would be with another"
    assert (result["intervals"]["method"], result["intervals"]["reason"]) == (None, reason)
    assert result["intervals"]["sentence"] == f"no intervals can be given: {reason}"
    for final in result["models"].values():
        assert 0 < final["test"]["auc"] < 1
        assert (final["test"]["auc_low"], final["test"]["auc_high"], final["test"]["interval"]) == (None, None, reason)
    for entry in result["comparisons"]:
        assert entry["outcome"] == "unknown" and entry["low"] is None and entry["p_holm"] is None
        assert entry["sentence"].startswith("no interval can be given for") and entry["sentence"].endswith(reason)


def test_texts_are_linked_as_the_split_links_them_but_only_within_test() -> None:
    pairs = LabelledPairs(
        ["How do I pay?", "how do i  PAY", "Where is it", "Something else"],
        ["By card", "In cash", "How do I pay", "By car"],
        np.array([0, 1, 0, 1], np.int8),
    )
    drawn = draws_of(pairs, 0)
    assert (drawn.components, drawn.largest) == (2, 0.75)
    # What the split called one component is no bond: nothing in test links these two pairs.
    apart = LabelledPairs(["a", "c"] * 60, [f"b{i}" for i in range(120)], np.tile([0, 1], 60), np.zeros(120, np.int64))
    assert draws_of(apart, 0).components == 2


def test_draws_do_not_depend_on_the_order_of_the_rows() -> None:
    pairs = tickets(60, 20)
    rows = np.random.default_rng(0).permutation(len(pairs))
    other = LabelledPairs([pairs.text_a[i] for i in rows], [pairs.text_b[i] for i in rows], pairs.label[rows])
    scores = np.random.default_rng(1).normal(size=len(pairs))
    one, two = (draws_of(one, 5).bootstrap for one in (pairs, other))
    np.testing.assert_allclose(one.aucs(scores), two.aucs(scores[rows]), atol=1e-14)
