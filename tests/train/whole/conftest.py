"""Tiny base models with topic pairs prepared for them, shared by the tests of trials that train the base."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.helpers.tiny import TOPIC_WORDS, save_tiny_bert, save_tiny_model
from tests.helpers.whole_trials import Topics


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread, as trials do: results are equal to the last bit, and small models are faster on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for base models and a cache."""
    return tmp_path_factory.mktemp("bases")


@pytest.fixture(scope="session")
def bert(bases: Path) -> Topics:
    """A tiny BERT."""
    return Topics(bases / "cache", save_tiny_bert(bases / "bert"))


@pytest.fixture(scope="session")
def dropping(bases: Path) -> Topics:
    """A tiny BERT with dropout in its layers, so that random numbers matter."""
    return Topics(bases / "cache", save_tiny_bert(bases / "dropping", dropout=0.1))


@pytest.fixture(scope="session")
def static(bases: Path) -> Topics:
    """A model of static word vectors."""
    return Topics(bases / "cache", save_tiny_model(bases / "static", dims=32, words=TOPIC_WORDS))
