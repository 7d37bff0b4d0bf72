"""What made a result: the time and the versions of the packages."""
from datetime import UTC
from datetime import datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version


PACKAGES = ("embedtune", "ray", "optuna", "sentence-transformers", "transformers", "torch", "modal", "numpy")


def now() -> str:
    """The time, as a summary writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def version_of(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
