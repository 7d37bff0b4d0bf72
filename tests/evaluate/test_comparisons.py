"""The winner's comparisons are a family of their own, so that no other can void its result."""

import numpy as np
import pytest

from tune.evaluate.comparisons import Comparison, Family, judged
from tune.metrics.intervals import ComponentBootstrap, Difference
from tune.metrics.verdict import Compared


def comparison(family: Family, number: int = 0) -> Comparison:
    return Comparison("own", family, f"trial{number}", "baseline:x", Compared(f"trial {number}", "x"))


@pytest.fixture(scope="module")
def differences() -> dict[str, Difference]:
    """Real differences on 150 components: a winner ahead by a little, and one that is level."""
    rng = np.random.default_rng(0)
    component = np.repeat(np.arange(150), 4)
    labels = rng.integers(0, 2, component.size)
    base = 1.5 * labels + rng.normal(size=labels.size)
    bootstrap = ComponentBootstrap(labels, component, draws=500)
    noise = rng.normal(size=labels.size)
    return {
        "ahead": bootstrap.difference(base + 0.3 * labels + 0.4 * noise, base),
        "level": bootstrap.difference(base + 0.05 * noise, base),
    }


def test_sixty_finalists_do_not_void_a_clear_winner(differences: dict[str, Difference]) -> None:
    ahead, level = differences["ahead"], differences["level"]
    # Corrected for 61 comparisons in one family, the winner's p-value would not do.
    assert ahead.p is not None and ahead.p < 0.05 < 61 * ahead.p
    planned = [comparison("primary"), *(comparison("exploratory", number) for number in range(1, 61))]
    entries = judged(planned, [ahead, *[ahead] * 20, *[level] * 40])
    assert (entries[0]["outcome"], entries[0]["p_holm"]) == ("beats", pytest.approx(ahead.p))
    assert "beats x by" in entries[0]["sentence"]
    assert [entry["family"] for entry in entries] == ["primary"] + ["exploratory"] * 60
    # The other sixty are corrected for sixty.
    assert {entry["outcome"] for entry in entries[1:]} == {"level"}
    assert entries[1]["p_holm"] == pytest.approx(60 * ahead.p) and entries[1]["p"] == ahead.p
    assert entries[1]["sentence"].endswith("not significant after correction for 60 comparisons")
    assert "correction" not in entries[60]["sentence"], "its interval holds 0 anyway"


def test_a_clear_result_holds_among_very_many_primary_comparisons(differences: dict[str, Difference]) -> None:
    clear = Difference(0.05, 0.04, 0.06, 1e-9, 0.95, 500)
    entries = judged([comparison("primary", n) for n in range(500)], [clear, *[differences["level"]] * 499])
    assert entries[0]["outcome"] == "beats" and entries[0]["p_holm"] == pytest.approx(5e-7)


def test_comparisons_without_an_interval_are_unknown_and_do_not_count(differences: dict[str, Difference]) -> None:
    unknown = Difference(0.043, None, None, None, 0.95, 500, "one text is in 100% of the test pairs")
    planned = [comparison("primary", n) for n in range(3)]
    entries = judged(planned, [unknown, differences["ahead"], unknown])
    assert [entry["outcome"] for entry in entries] == ["unknown", "beats", "unknown"]
    assert entries[1]["p_holm"] == differences["ahead"].p, "corrected for one comparison"
    assert entries[0]["p_holm"] is None and entries[0]["low"] is None
    assert "one text is in 100% of the test pairs" in entries[0]["sentence"]
