"""`python -m tune presets`: the searches that come with embedtune."""

from tune.cli.parser import Parser
from tune.config.search import search_config


def presets(arguments: list[str]) -> int:
    """Run `python -m tune presets`."""
    parser = Parser(prog="python -m tune presets", description="List the presets with their number of trials.")
    parser.parse_args(arguments)
    from tune.cli.tables import show_presets
    from tune.config.toml import read_toml
    from tune.presets import preset_names, preset_path, preset_purpose
    from tune.search.points import planned_trials

    rows = []
    for name in preset_names():
        config = search_config(**read_toml(preset_path(name)))
        trials = "by the data" if config.sizes_by_data else str(planned_trials(config))
        rows.append((name, config.search.search, trials, preset_purpose(name)))
    show_presets(rows)
    return 0
