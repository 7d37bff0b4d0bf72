"""Dated list prices of what a search can spend beside closed models: seconds of Modal's GPUs."""

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
of the A10G as of 2026-03). CPU, memory and some regions cost extra. A GPU that is not here has no price.
`modal.Workspace.billing.rates()` is not asked: Modal's client documents neither its keys nor its units."""


def modal_usd_per_hour(gpus: str | list[str] | None) -> tuple[float, float] | None:
    """Return the lowest and highest price of an hour on one of these GPUs; None if one of them has no price.

    gpus: one GPU ("L4", "H100:2"), or several of which Modal takes any.
    """
    names = [gpus] if isinstance(gpus, str) else gpus or []
    found = [_modal_price(name) for name in names]
    known = [price for price in found if price is not None]
    return (min(known), max(known)) if known and len(known) == len(found) else None


def modal_usd(seconds: float, gpus: str | list[str] | None, usd_per_hour: float | None = None) -> float | None:
    """Return what container seconds cost at most on one of these GPUs, in USD; None if one of them has no price.

    usd_per_hour: replaces the list price. CPU and memory are left out.
    """
    if usd_per_hour is None:
        listed = modal_usd_per_hour(gpus)
        if listed is None:
            return None
        usd_per_hour = listed[1]
    return seconds / 3600 * usd_per_hour


def _modal_price(gpu: str) -> float | None:
    name, _, count = gpu.strip().partition(":")
    price = MODAL_USD_PER_HOUR.get(name.upper())
    return None if price is None or not (count or "1").isdigit() else price * int(count or 1)
