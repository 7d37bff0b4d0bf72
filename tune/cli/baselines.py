"""`python -m tune baselines`: base models untouched, open and closed, in one table."""

import sys

from tune.cli.early_end import EarlyEnd
from tune.cli.loading import command_line, no_weight_bars, show_dry_run
from tune.cli.options import PAIRS_OPTIONS, plain_request
from tune.cli.parser import DRY_RUN, Parser, add_options
from tune.cli.presentation import Presentation, add_presentation
from tune.errors import SearchPaused

COMMON = (
    "data", "base_model", "split_column", "text_a", "text_b", "label", "max_embed_usd", "dry_run", "quiet", "json",
)  # fmt: skip
"""Options on the first help page."""


def baselines(arguments: list[str]) -> int:
    """Run `python -m tune baselines`."""
    parser = Parser(
        prog="python -m tune baselines",
        description="Score base models untouched on labelled pairs: open and closed ones, in one table.",
        common=COMMON,
    )
    parser.add_argument("--dry-run", action="store_true", default=False, help=DRY_RUN)
    add_presentation(parser)
    own = ("base_model", "seed", "precision", "trust_remote_code", "cache", "results", "name")
    add_options(parser, {*own, *PAIRS_OPTIONS})
    config, parsed = plain_request(parser, arguments)
    presentation = Presentation.of(parsed)
    from tune.pipeline.preflight import check_search

    check_search(config, parsed.dry_run, buys=not parsed.dry_run)
    if parsed.dry_run:
        return show_dry_run(config, trials=False)
    from tune.cli.tables import present_baselines
    from tune.cli.verdict import interrupted_baselines
    from tune.pipeline.baselines import run_baselines
    from tune.pipeline.local import LocalBackend

    no_weight_bars()
    display, command = presentation.display(), command_line("baselines", arguments)
    try:
        with presentation.apart(), display:
            folder = run_baselines(config, LocalBackend(display.asker()), command=command, emit=display.emit)
    except (KeyboardInterrupt, SearchPaused) as error:
        end = EarlyEnd.of(error)
        presentation.finish(interrupted_baselines(display.folder, end.reason))
        if isinstance(error, KeyboardInterrupt):
            raise
        name = " with another --name" if config.search.name else ""
        print(f"{end.line}; embedded texts are kept. run the command again{name}", file=sys.stderr)
        return end.code
    present_baselines(folder, presentation)
    return 0
