"""The zero-shot table alone: every base model untouched, on the test side, without a search.

The phases are those of a search; so are the files it leaves.
"""

from tune.config.search import SearchConfig
from tune.errors import pausing
from tune.events import Emit
from tune.pipeline.backend import Backend
from tune.pipeline.latency import measure_latency
from tune.pipeline.pairs import read_split
from tune.pipeline.phases import embed_all, open_test_once, record_start, write_table
from tune.pipeline.run import Run
from tune.pipeline.timing import Clock
from tune.results.layout import ResultsFolder, new_folder
from tune.results.naming import data_name
from tune.results.provenance import now
from tune.results.summary import Summary

KIND = "baselines"


def run_baselines(config: SearchConfig, backend: Backend, *, command: str, emit: Emit) -> ResultsFolder:
    """Split, embed and score; return the results folder: leaderboard.csv, summary.json and test.json.

    `config` has passed `check_search`; only the base models of its space count. There is no search to resume, so
    there is no search.toml. Raises SearchPaused if a full disk or the like ends it.
    """
    clock = Clock()
    with clock.phase("data"):
        split, facts = read_split(config, emit)
    backend.agree(config, split, emit)
    folder = new_folder(config.search.results, config.search.name, f"{KIND}-{data_name(config)}")
    with folder.locked(), pausing():
        run = Run(config, folder, split, facts, Summary(folder.summary), clock, emit, backend)
        record_start(run, command, KIND)
        models = embed_all(run)
        with clock.phase("test"):
            test = open_test_once(run, models, [], searched=False)
        write_table(run, models, [], [], test)
        with clock.phase("latency"):
            measure_latency(run, models)
        run.summary.update(seconds=clock.seconds, finished=now())
    return folder
