"""What Modal's seconds cost."""

import pytest

from tune.config.prices import MODAL_USD_PER_HOUR, modal_usd, modal_usd_per_hour


def test_seconds_cost_at_most_what_the_dearest_possible_gpu_does() -> None:
    t4, l4 = MODAL_USD_PER_HOUR["T4"], MODAL_USD_PER_HOUR["L4"]
    assert modal_usd_per_hour(["T4", "L4"]) == (t4, l4)
    assert modal_usd(1800, ["T4", "L4"]) == pytest.approx(l4 / 2)
    assert modal_usd(3600, "T4:2") == pytest.approx(2 * t4)
    assert modal_usd(3600, ["T4", "unknown"]) is None and modal_usd(3600, None) is None
    assert modal_usd(900, "unknown", usd_per_hour=4.0) == pytest.approx(1.0)
