"""What is said about guard sets before anything is trained."""

from pathlib import Path

import pytest

from tests.helpers.tiny import write_topic_pairs
from tune.config.search import search_config
from tune.events import Event, Message
from tune.pipeline.guard import record_guards
from tune.pipeline.local import LocalBackend
from tune.pipeline.pairs import guards_of, read_split
from tune.pipeline.run import Run
from tune.pipeline.timing import Clock
from tune.results.layout import ResultsFolder
from tune.results.summary import Summary


@pytest.mark.parametrize(("freeze", "warned"), [("false", True), ("true", False)])
def test_test_pairs_in_a_guard_set_are_warned_of_where_they_could_decide(
    tmp_path: Path, freeze: str, warned: bool
) -> None:
    pairs = write_topic_pairs(tmp_path / "pairs.csv", {"train": 300, "val": 300, "test": 300})
    data = {"data": str(pairs), "split_column": "side", "guard": f"{pairs},general"}
    config = search_config(data=data, space={"base_model": "wordllama", "freeze": freeze})
    said: list[str] = []

    def emit(event: Event) -> None:
        if isinstance(event, Message):
            said.append(event.text)

    split, facts = read_split(config, emit)
    folder, guards = ResultsFolder(tmp_path), guards_of(config)
    summary = Summary(folder.summary)
    run = Run(config, folder, split, facts, summary, Clock(), emit, LocalBackend(None), guards)
    record_guards(run)
    warnings = [line for line in said if line.startswith("Warning: guard set")]
    assert [line.partition(" of its ")[0] for line in warnings] == ["Warning: guard set pairs.csv: 300"] * warned
    assert len(summary["guard"]["sets"]) == 2
