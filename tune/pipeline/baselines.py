"""The zero-shot table alone: every base model as it is, on the test side, without a search.

The phases are those of a search; so are the files that it leaves.
"""

from tune.config.search import SearchConfig
from tune.events import Emit, Message
from tune.pipeline.backend import Backend
from tune.pipeline.pairs import read_split
from tune.pipeline.phases import begin, embed_all, score_once, write_table
from tune.pipeline.timing import Clock
from tune.results.layout import ResultsFolder, new_folder
from tune.results.naming import data_name
from tune.results.provenance import now
from tune.results.summary import Summary

KIND = "baselines"


def run_baselines(config: SearchConfig, backend: Backend, *, command: str, emit: Emit) -> ResultsFolder:
    """Splits, embeds and scores; returns the results folder: leaderboard.csv, summary.json and test.json.

    `config` has passed `check_search`; of its space only the base models count. It leaves no search.toml,
    since there is no search to go on with.
    """
    clock = Clock()
    with clock.phase("data"):
        split, facts = read_split(config, emit)
    if backend.agree is not None:
        backend.agree(config, split, emit)
    folder = new_folder(config.search.results, config.search.name, f"{KIND}-{data_name(config)}")
    with folder.locked():
        summary = Summary(folder.summary)
        begin(config, folder, summary, split, facts, command, search=KIND)
        emit(Message(f"results: {folder.root}"))
        models = embed_all(config, backend, split, facts, summary, clock, emit)
        with clock.phase("test"):
            test = score_once(folder, config, split, models, [], emit, searched=False)
        write_table(folder, config, split, models, [], [], test, summary)
        summary.update(seconds=clock.seconds, finished=now())
    return folder
