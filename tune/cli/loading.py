"""What commands that load models share: quiet weights, the command as typed, and the dry run."""

import logging
import shlex
import sys
from collections.abc import Sequence

from tune.config.addresses import without_secrets
from tune.config.search import SearchConfig


def no_weight_bars() -> None:
    """Turn off the bars and notices that transformers and sentence-transformers show while a model loads.

    Does not import transformers, which takes half a second: once imported, it does what HF_HUB_DISABLE_PROGRESS_BARS
    says (see main).
    """
    if (transformers := sys.modules.get("transformers.utils.logging")) is not None:
        transformers.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)


def command_line(name: str, arguments: Sequence[str]) -> str:
    """Return the command as it was typed, without secrets in addresses."""
    return f"python -m tune {name} {shlex.join(map(without_secrets, arguments))}".strip()


def show_dry_run(config: SearchConfig, trials: bool = True) -> int:
    """Print the split, the plan and what closed models would cost; return 0. trials: whether there would be any."""
    from tune.cli.display import SearchDisplay
    from tune.machine import usable_cores
    from tune.pipeline.dry_run import dry_run
    from tune.pipeline.plan import Place

    place = Place(config.search.jobs or usable_cores()) if trials else None
    dry_run(config, SearchDisplay().emit, config.search.cache.expanduser(), place=place)
    return 0
