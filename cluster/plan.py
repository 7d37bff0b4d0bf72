"""The plan of a search on Modal, for a dry run: where its trials run at which price, and what is uploaded."""

from cluster import settings
from tune.config.data import GENERAL
from tune.config.prices import modal_usd_per_hour
from tune.config.search import SearchConfig
from tune.data.local_files import local_files
from tune.metrics.verdict import counted
from tune.pipeline.plan import Place


def place(config: SearchConfig, gpu: str | None) -> Place:
    """Return where the trials run. gpu: as given; None for the default of their kind."""
    gpus = settings.trial_gpus(config.whole, gpu)
    given = config.search.gpu_usd_per_hour
    price = modal_usd_per_hour(gpus) if given is None else (given, given)
    return Place(config.search.jobs or settings.JOBS, gpus, price)


def upload_line(config: SearchConfig) -> str:
    """Return what is copied from this machine to Modal, in a sentence."""
    names = [name for name in (config.data.data, *config.data.guards) if name not in (None, GENERAL)]
    files = [file for name in names if (found := local_files(str(name))) is not None for file in found.files]
    if not files:
        return "upload: no pairs, only embedtune's code"
    size = sum(file.stat().st_size for file in files) / 1e6
    return f"upload: {counted(len(files), 'file')} of pairs, {size:.1f} MB, and embedtune's code"


__all__ = ["place", "upload_line"]
