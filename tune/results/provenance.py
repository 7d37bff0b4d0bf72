"""What a result was made with: the time and the package versions."""

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("embedtune", "ray", "optuna", "sentence-transformers", "transformers", "torch", "modal", "numpy")


def now() -> str:
    """Return the time (UTC) as summaries write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def version_of(package: str) -> str | None:
    """Return the installed version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
