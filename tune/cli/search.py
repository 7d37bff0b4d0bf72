"""`python -m tune search`: find the best fine-tuned embedding model for labelled text pairs."""

import sys

from tune.cli.early_end import EarlyEnd, last_words
from tune.cli.loading import command_line, no_weight_bars, show_dry_run
from tune.cli.options import SearchRequest, search_parser, search_request
from tune.cli.presentation import Presentation
from tune.config.search import SearchConfig
from tune.errors import SearchPaused, UserError


def search(arguments: list[str]) -> int:
    """Run `python -m tune search`."""
    request, parsed = search_request(search_parser(), arguments)
    presentation = Presentation.of(parsed)
    from tune.pipeline.preflight import check_search

    runs = not parsed.dry_run
    check_search(request.config, request.resume is not None or parsed.dry_run, buys=runs, trains=runs)
    if parsed.dry_run:
        config = request.config
        if request.extends is not None:
            # Those that it begins with are not trained again.
            added = config.search.model_copy(update={"trials": int(parsed.extend)})
            config = config.model_copy(update={"search": added})
        return show_dry_run(config)
    return _run(request, command_line("search", arguments), presentation)


def _run(request: SearchRequest, command: str, presentation: Presentation) -> int:
    from tune.cli.tables import present_results
    from tune.cli.verdict import interrupted_outcome
    from tune.pipeline.local import LocalBackend
    from tune.pipeline.search import SearchJob, run_search

    no_weight_bars()
    display = presentation.display()
    job = SearchJob(request.config, command, request.resume, extends=request.extends)

    def ended(error: KeyboardInterrupt | SearchPaused) -> int:
        end = EarlyEnd.of(error)
        hint = f" resume with: {_resume_command(request.config, display.name)}" if display.name else ""
        print(f"{end.line}; finished work is kept.{hint}", file=sys.stderr)
        presentation.finish(interrupted_outcome(display.folder, end.reason))
        return end.code

    try:
        with presentation.apart(), display:
            folder = run_search(job, LocalBackend(display.asker(), last_words(display.close, ended)), display.emit)
    except (KeyboardInterrupt, SearchPaused) as error:
        if isinstance(error, SearchPaused) and not display.name:
            # There is nothing to resume yet.
            raise UserError(str(error)) from error
        return ended(error)
    return 0 if present_results(folder, presentation) else 1


def _resume_command(config: SearchConfig, name: str) -> str:
    default = SearchConfig().search.results
    where = "" if config.search.results == default else f" --results {config.search.results}"
    trust = " --trust-remote-code true" if config.search.trust_remote_code else ""
    return f"python -m tune search --resume {name}{where}{trust}"
