"""The plan of a trial: batches, learning rates and the steps that end in a report."""

import numpy as np
import pytest
import torch
from transformers import get_scheduler

from tune.train.schedule import Plan, learning_rate_factors, report_steps


def test_each_report_follows_the_first_step_that_reaches_its_share() -> None:
    for sizes in ([32] * 100 + [5], [10] * 16, [1] * 7, [64], [30, 30, 3] * 40):
        due = report_steps(sizes)
        seen = np.cumsum(sizes) / sum(sizes)
        expected = sorted({int(np.argmax(seen >= k / 16 - 1e-12)) + 1 for k in range(1, 17)})
        assert list(due) == expected
        assert due[len(sizes)] == 1.0 and all(b == pytest.approx(seen[s - 1]) for s, b in due.items())


def test_a_step_that_passes_several_marks_has_one_report() -> None:
    assert report_steps([1, 1, 1], (1, 4, 16)) == {1: 1 / 3, 3: 1.0}
    assert report_steps([5], (1, 4, 16)) == {1: 1.0}
    assert list(report_steps([1] * 32, (1, 4, 16))) == [2, 8, 32]


def assert_no_text_twice(batches: list[np.ndarray], a: np.ndarray, b: np.ndarray) -> None:
    for batch in batches:
        texts = [*a[batch], *b[batch]]
        assert len(set(texts)) == len(texts)


def test_every_pair_is_seen_once_an_epoch_and_distinct_batches_repeat_no_text() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.integers(0, 60, 300), generator.integers(60, 90, 300)
    plain = Plan(a, b, 32, 2, seed=1)
    assert sorted(np.concatenate(plain.epoch(0))) == list(range(300))
    assert [list(x) for x in plain.epoch(0)] == [list(x) for x in Plan(a, b, 32, 2, seed=1).epoch(0)]
    assert [list(x) for x in plain.epoch(0)] != [list(x) for x in plain.epoch(1)]
    distinct = Plan(a, b, 32, 2, seed=1, distinct=True).epoch(1)
    assert sorted(np.concatenate(distinct)) == list(range(300))
    assert_no_text_twice(distinct, a, b)


def test_pairs_of_similar_length_share_a_batch() -> None:
    generator = np.random.default_rng(0)
    a, b, lengths = (
        generator.integers(0, 900, 3000),
        generator.integers(900, 1800, 3000),
        generator.integers(1, 500, 3000),
    )
    plain = Plan(a, b, 16, 2, seed=1)
    plan = Plan(a, b, 16, 2, seed=1, lengths=lengths)
    batches = plan.epoch(0)
    assert sorted(np.concatenate(batches)) == list(range(3000)) and len(batches) == len(plain.epoch(0))
    spread = [np.mean([np.ptp(lengths[batch]) for batch in either.epoch(0)]) for either in (plan, plain)]
    assert spread[0] < spread[1] / 10
    means = np.array([lengths[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.25, "short and long batches come in random order"
    assert [list(batch) for batch in batches] == [list(batch) for batch in plan.epoch(0)]
    assert [list(batch) for batch in batches] != [list(batch) for batch in plan.epoch(1)]
    assert_no_text_twice(Plan(a, b, 16, 2, seed=1, distinct=True, lengths=lengths).epoch(0), a, b)


def test_schedules_have_the_shape_of_their_name() -> None:
    def factors(name: str, warmup: float = 0.1) -> np.ndarray:
        return np.array(learning_rate_factors(name, 100, warmup))

    assert (factors("constantlr") == 1).all()
    for name in ("warmupconstant", "warmuplinear", "warmupcosine", "warmupcosinewithhardrestarts"):
        assert factors(name)[0] == 0 and factors(name)[10] == pytest.approx(1), name
        assert (factors(name, 20.0) == factors(name, 0.2)).all(), "a share below 1, otherwise a number of steps"
    assert factors("warmuplinear")[55] == pytest.approx(0.5)
    assert factors("warmupcosine")[55] == pytest.approx(0.5)
    assert factors("warmupcosinewithhardrestarts")[55] == pytest.approx(1), "the second cycle begins half-way"
    assert (factors("warmupconstant")[10:] == 1).all()


def test_schedules_are_those_of_transformers() -> None:
    names = {
        "constantlr": "constant",
        "warmupconstant": "constant_with_warmup",
        "warmuplinear": "linear",
        "warmupcosine": "cosine",
        "warmupcosinewithhardrestarts": "cosine_with_restarts",
    }
    for name, theirs in names.items():
        for steps, warmup in ((100, 0.1), (7, 0.0), (1, 0.5), (40, 3.0), (20, 30.0)):
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
            rising = int(np.ceil(warmup * steps)) if warmup < 1 else int(warmup)
            extra = {"num_cycles": 2} if name.endswith("restarts") else {}
            [factor] = get_scheduler(theirs, optimizer, rising, steps, extra).lr_lambdas
            expected = [factor(step) for step in range(steps)]
            assert learning_rate_factors(name, steps, warmup) == pytest.approx(expected), (name, steps, warmup)
