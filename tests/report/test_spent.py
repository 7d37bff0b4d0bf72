"""What a search spent and on what: how trials ended and why they failed, time, money, speed, and its settings."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command import tune_here
from tests.report.folders import made_up_folder
from tests.report.test_odd_results import changed, report_of, rewritten
from tests.report.test_stored import column, story_of
from tune.config.prices import MODAL_USD_PER_HOUR
from tune.report.facts import answer, cost
from tune.report.figures.parallel import parallel, shared_by_best
from tune.report.figures.spent import paid, statuses
from tune.report.prices import Prices
from tune.report.tables import failures, models
from tune.results.layout import ResultsFolder

CLOSED = "openai:text-embedding-3-small"


def drawn(chart: Any) -> list[dict[str, Any]]:
    """Return the rows of all data sets of a figure."""
    return [row for rows in chart.spec()["datasets"].values() for row in rows]


def test_trials_are_counted_by_how_they_ended(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 60)
    # Of 60 made-up trials, every eleventh failed; of the others, every fifth had 4 of its 16 reports.
    halfway = sum(number % 5 == 4 and number % 11 != 10 for number in range(60))
    figure = statuses(story_of(folder))
    assert figure is not None
    counted = {row["end"]: row["value"] for row in drawn(figure) if row["bar"] == "trials"}
    assert counted == {"finished": 60 - 5 - halfway, "failed": 5, "unfinished": halfway}
    assert figure.title == f"Of 60 trials, 5 failed and {halfway} did not finish"


def test_trials_that_were_stopped_early_say_how_early(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 60)
    names = [
        path.parent.name
        for path in (folder / "trials").glob("*/reports.jsonl")
        if len(path.read_text().splitlines()) == 4
    ]
    rungs = {"rungs": {"0.25": dict.fromkeys(names, 0.7)}, "stopped": dict.fromkeys(names, 0.25)}
    ResultsFolder(folder).asha.write_text(json.dumps(rungs))
    figure = statuses(story_of(folder))
    assert figure is not None
    assert (
        figure.title
        == f"Of 60 trials, {len(names)} were stopped early, after 25% of their training pairs on average and 5 failed"
    )


def test_trials_that_all_ended_alike_need_no_figure(tmp_path: Path) -> None:
    assert statuses(story_of(made_up_folder(tmp_path, 3))) is None


def test_failures_are_listed_by_reason_with_a_trial_to_look_at(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 60)
    rewritten(
        folder, lambda row: row["rank"] == "" and row["trial"] < "8" and row.update(error="out of memory\nat step 3")
    )
    story = story_of(folder)
    failed = [line for line in story.trained if line.get("status") == "failed"]
    memory = [line for line in failed if line.get("error") != "the loss is nan"]
    assert len(failed) == 5 and 0 < len(memory) < 5
    table = failures(story)
    counts = dict(zip(column(table, "why trials failed"), column(table, "trials"), strict=True))
    assert counts == {"the loss is nan": str(5 - len(memory)), "out of memory at step 3": str(len(memory))}
    assert {row.trial for row in table.rows} <= {line.trial for line in failed}
    assert "| out of memory at step 3 |" in report_of(folder).markdown()
    assert failures(story_of(made_up_folder(tmp_path, 3, name="fine"))).rows == []


@pytest.mark.parametrize("trials", [5, 60])
def test_parallel_coordinates_have_every_trial_with_an_auc(tmp_path: Path, trials: int) -> None:
    folder = made_up_folder(tmp_path, trials)
    figure = parallel(story_of(folder))
    assert figure is not None
    lines = [row for row in drawn(figure) if "trial" in row]
    assert len(lines) == trials - trials // 11
    # The best are drawn last, on top; the learning rate is logarithmic.
    assert [row["auc"] for row in lines] == sorted(row["auc"] for row in lines)
    rates = {row["trial"]: row["learning_rate"] for row in lines}
    given = {trial.trial: trial.config.learning_rate for trial in story_of(folder).trials if trial.reports}
    middle = (min(given.values()) * max(given.values())) ** 0.5
    assert all(
        (rates[trial] > 0.5) == (rate > middle) for trial, rate in given.items() if abs(rates[trial] - 0.5) > 0.001
    )
    assert all(0 <= row[axis] <= 1 for row in lines for axis in ("learning_rate", "dims", "loss", "val AUC"))


def test_what_the_best_share_is_what_others_lack() -> None:
    points = [
        {"auc": i / 100, "loss": "mnr" if i >= 35 else "cosent", "dims": 64, "learning_rate": 1e-3} for i in range(40)
    ]
    assert shared_by_best(points, ["loss", "dims"]) == (4, ["loss mnr"])


def test_money_is_the_time_of_all_trials_at_the_price_of_an_hour(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 60)
    seconds = sum(trial.last.seconds for trial in story_of(folder).trials if trial.last)
    unpriced = paid(story_of(folder), Prices())
    assert unpriced is not None and "of the trial time" in unpriced.title and "USD" not in unpriced.title
    priced = paid(story_of(folder), Prices(gpu=36.0))
    assert priced is not None and priced.title.endswith(f"of {seconds / 100:.2f} USD")
    assert max(row["paid"] for row in drawn(priced)) == pytest.approx(seconds / 100)
    changed(folder, lambda summary: summary.update(modal={"container_seconds": 900.0, "gpu": "L4"}))
    listed = paid(story_of(folder), Prices())
    assert listed is not None and "0.80 USD per GPU hour (Modal's base list prices of" in listed.subtitle
    # Which of several GPUs a trial ran on is not known, nor is the price of every GPU.
    for unknown in (["T4", "L4"], "B300", None):
        changed(folder, lambda summary, gpu=unknown: summary["modal"].update(gpu=gpu))
        figure = paid(story_of(folder), Prices())
        assert figure is not None and "USD" not in figure.title + figure.subtitle


def test_the_cost_says_what_is_known_and_no_more(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 12)
    assert "USD" not in cost(story_of(folder), Prices()) and "in total" in cost(story_of(folder), Prices())
    changed(folder, lambda summary: summary.update(modal={"container_seconds": 7200.0, "gpu": ["T4", "L4"]}))
    low, high = 2 * MODAL_USD_PER_HOUR["T4"], 2 * MODAL_USD_PER_HOUR["L4"]
    said = cost(story_of(folder), Prices())
    assert f"2 h 0 min of container time on T4 or L4: {low:.2f} to {high:.2f} USD for the GPU" in said
    assert "4.00 USD for the GPU, at the price given" in cost(story_of(folder), Prices(gpu=2.0))
    changed(folder, lambda summary: summary["modal"].update(gpu="B300"))
    assert "the price of that GPU is unknown" in cost(story_of(folder), Prices())
    base = {"closed": {"provider": "openai"}, "embedded": 20_000, "usd_per_million_texts": 0.5}
    changed(folder, lambda summary: summary.update(bases={CLOSED: base, "wordllama": {"embedded": 5}}))
    assert f"20,000 texts were bought from {CLOSED} for about 0.01 USD" in cost(story_of(folder), Prices())
    changed(folder, lambda summary: summary["bases"][CLOSED].update(usd_per_million_texts=None))
    assert "its price is unknown" in cost(story_of(folder), Prices())
    changed(folder, lambda summary: summary["bases"][CLOSED].update(embedded=0))
    assert f"No vectors of {CLOSED} had to be bought" in cost(story_of(folder), Prices())


def test_speed_stands_where_it_was_measured_and_nowhere_else(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 12)
    assert not any("ms/text" in name for name in models(story_of(folder)).columns)
    winner = json.loads((folder / "summary.json").read_text())["winner"]["trial"]
    timed = {winner: {"ms_1": 1.234, "ms_64": 0.0567}, "baseline:wordllama": {"ms_1": 12.5, "ms_64": 100.0}}
    latency = {"machine": "a <fast> CPU, 2 cores", "texts": 1234, "models": timed}
    changed(folder, lambda summary: summary.update(latency=latency))
    table = models(story_of(folder))
    speeds = dict(zip(column(table, "model"), column(table, "ms/text batch 1"), strict=True))
    assert {text for text in speeds.values() if text} == {"1.23", "12.5"}
    assert {"0.0567", "100"} <= set(column(table, "ms/text batch 64"))
    assert "over up to 1,234 texts, measured on" in table.notes[-1] and "a <fast> CPU, 2 cores" in table.notes[-1]
    page = report_of(folder).html()
    assert "a &lt;fast&gt; CPU" in page and "a <fast>" not in page


def test_tf_idf_stands_beside_the_models_without_dims(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 12)
    words = {"trial": "baseline:tf-idf", "base_model": "tf-idf", "dims": "", "bytes_per_million_vectors": ""}
    rewritten(folder, lambda row: row["status"] == "baseline" and row.update(words))
    table = models(story_of(folder))
    [row] = [row for row in table.rows if row.cells[0].text == "tf-idf"]
    assert row.cells[1].text == "words" and row.trial == ""
    assert column(table, "dims")[-1] == "" and column(table, "MB per M vectors")[-1] == ""
    assert report_of(folder).html()


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("beats", "Fine-tuning pays here: the winner"),
        ("level", "Fine-tuning makes no clear difference here: the winner"),
        ("behind", "Fine-tuning does not pay here: the winner"),
        ("unknown", "The winner (wordllama, cosent)"),
    ],
)
def test_the_answer_begins_with_whether_fine_tuning_pays(tmp_path: Path, outcome: str, said: str) -> None:
    folder = made_up_folder(tmp_path, 12)
    changed(folder, lambda summary: summary["verdict"].update(outcome=outcome, p_holm=0.0123))
    first, second, *_ = answer(story_of(folder))
    assert first.startswith(said) and first.endswith(", p = 0.012." if outcome != "unknown" else "at 64 dims.")
    assert second.startswith("The winner is wordllama (layer, ")


def test_prices_are_options_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_up_folder(tmp_path, 0, grid=True)
    ran = tune_here(capsys, "report", folder, "--gpu-usd-per-hour", "36", "--storage-usd-per-gb-month", "2")
    assert ran.code == 0
    answer = (folder / "report.md").read_text()
    assert "At 36.00 USD per GPU hour, its trials cost" in answer and "at 2 USD per GB and month, as given" in answer
    assert (folder / "plots" / "best-so-far-paid-dark.png").exists()
