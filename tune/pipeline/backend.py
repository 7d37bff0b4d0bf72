"""Backend: the place where a search runs. `LocalBackend` trains under local Ray, `cluster.backend` on Modal."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tune.config.search import SearchConfig
from tune.config.trial import TrialConfig
from tune.data.split import Split
from tune.embed.orders import EmbedOrder
from tune.embed.prepare import PreparedBase
from tune.events import Emit
from tune.results.layout import ResultsFolder
from tune.train.planned import PlannedCost, planned_cost


@dataclass(frozen=True)
class TrialsJob:
    """The trials of a search. options: what all of them share, as `trial_config` takes it.

    train_pairs: number of pairs on the train side. bought_usd: what the search's vectors have cost.
    """

    config: SearchConfig
    folder: ResultsFolder
    bases: dict[str, PreparedBase]
    options: dict[str, Any]
    train_pairs: int
    bought_usd: float = 0.0

    @property
    def digests(self) -> dict[str, str]:
        """Base model -> digest of its view."""
        return {name: base.digest for name, base in self.bases.items()}

    def cost(self, by_default: bool) -> Callable[[TrialConfig], PlannedCost] | None:
        """Return what a trial is expected to cost, if the search decides in a logical order, else None.

        by_default: whether it does unless the user chose. Costs of whole models depend on the machine, so it does not.
        """
        chosen = self.config.search.deterministic
        if not (by_default and not self.config.whole if chosen is None else chosen):
            return None
        return lambda trial: planned_cost(trial, self.bases[trial.base_model].dims, self.train_pairs)


class Backend(Protocol):
    """What the pipeline needs from a place."""

    def ahead(self, config: SearchConfig, emit: Emit) -> AbstractContextManager[None]:
        """Return a context, entered before texts are embedded, in which `search` has what it runs on.

        Nothing of it is left at the end.
        """
        ...

    def agree(self, config: SearchConfig, split: Split, emit: Emit) -> None:
        """Get approval for what closed models will cost, before anything is made. Raises UserError without it."""
        ...

    def embed(self, orders: Sequence[EmbedOrder], cache: Path, emit: Emit) -> list[PreparedBase]:
        """Embed what the orders ask for; return the base models in the same order."""
        ...

    def share_cache(self) -> None:
        """Make what was written to the cache visible to the trials."""
        ...

    def search(self, job: TrialsJob, emit: Emit) -> str:
        """Run the trials; return why the search was interrupted, or ""."""
        ...

    def commit(self) -> None:
        """Make the results so far durable; called after each phase."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return what the place adds to the summary."""
        ...
