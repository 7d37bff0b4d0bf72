"""What a report prices: storing vectors in a database, and GPU time. Dated list prices, which options can replace.

Loads nothing, so that `--help` can show the defaults.
"""

from dataclasses import dataclass

STORAGE_USD_PER_GB_MONTH = 0.33
STORAGE_ORIGIN = "list price of Pinecone, 2026-11-04"
"""Pinecone's list price of storage in USD per GB and month: plan Standard, on demand, AWS us-east-1, as its pricing
page (pinecone.io/pricing) showed it on 2026-11-04. Reads, writes and the plan's monthly minimum come on top."""

MODAL_ORIGIN = "Modal's base list prices of 2026-05"
MODAL_USD_PER_HOUR = {
    "T4": 0.5904,
    "L4": 0.7992,
    "A10G": 1.1016,
    "L40S": 1.9512,
    "A100-80GB": 2.4984,
    "H100": 3.9492,
}
"""Modal's base list prices of GPUs in USD per hour (modal.com/pricing lists them by the second; as of 2026-05-07, that
of the A10G as of 2026-03). CPU, memory and some regions cost extra. A GPU that is not here has no price."""


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
        names = [gpus] if isinstance(gpus, str) else gpus or []
        found = [_modal_price(name) for name in names]
        known = [price for price in found if price is not None]
        return (min(known), max(known)) if known and len(known) == len(found) else None

    def gpu_origin(self) -> str:
        """Where the price of GPU time is from."""
        return "the price given" if self.gpu is not None else MODAL_ORIGIN


def _modal_price(gpu: str) -> float | None:
    name, _, count = gpu.strip().partition(":")
    price = MODAL_USD_PER_HOUR.get(name.upper())
    return None if price is None or not (count or "1").isdigit() else price * int(count or 1)
