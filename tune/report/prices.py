"""What a report prices: storing vectors in a database, and GPU time. Dated list prices, which options can replace.

Loads nothing, so that `--help` can show the defaults.
"""

from dataclasses import dataclass

from tune.config.prices import MODAL_ORIGIN, modal_usd_per_hour

STORAGE_USD_PER_GB_MONTH = 0.33
STORAGE_ORIGIN = "list price of Pinecone, 2026-11-04"
"""Pinecone's list price of storage in USD per GB and month: plan Standard, on demand, AWS us-east-1, as its pricing
page (pinecone.io/pricing) showed it on 2026-11-04. Reads, writes and the plan's monthly minimum come on top."""


@dataclass(frozen=True)
class Prices:
    """Prices in USD. storage: per GB (1e9 bytes) and month, None for the default. gpu: per GPU hour, None if not given:
    then a search on Modal is priced by its list.
    """

    storage: float | None = None
    gpu: float | None = None

    @property
    def storage_usd(self) -> float:
        """USD per GB and month."""
        return STORAGE_USD_PER_GB_MONTH if self.storage is None else self.storage

    @property
    def storage_note(self) -> str:
        """Where the price of storage is from: "at 0.33 USD per GB and month, list price of …"."""
        origin = STORAGE_ORIGIN if self.storage is None else "as given"
        return f"at {self.storage_usd:g} USD per GB and month, {origin}"

    def gpu_usd_per_hour(self, gpus: str | list[str] | None) -> tuple[float, float] | None:
        """Return the lowest and highest price of an hour on one of these GPUs; None if one of them has no price.

        gpus: as in `modal.gpu` of the summary: one GPU ("L4", "H100:2"), or several of which Modal took any.
        """
        if self.gpu is not None:
            return self.gpu, self.gpu
        return modal_usd_per_hour(gpus)

    def gpu_origin(self) -> str:
        """Where the price of GPU time is from."""
        return "the price given" if self.gpu is not None else MODAL_ORIGIN
