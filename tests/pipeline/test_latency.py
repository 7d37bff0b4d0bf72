"""Milliseconds per text: what is timed, that it stays short, and where it is written."""

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.helpers.command import summary, tune_here
from tests.helpers.tiny import save_tiny_model
from tune.config.search import search_config
from tune.embed.latency import LARGE, measure
from tune.embed.prepare import PreparedBase
from tune.events import Event, Message, ignore
from tune.machine import cpu_name
from tune.pipeline.latency import measure_latency
from tune.pipeline.local import LocalBackend
from tune.pipeline.pairs import read_split
from tune.pipeline.run import Run
from tune.pipeline.timing import Clock
from tune.results.layout import ResultsFolder
from tune.results.summary import Summary


def test_batches_of_1_and_64_are_timed_after_one_that_is_not() -> None:
    seen: list[list[str]] = []

    def encode(texts: list[str]) -> None:
        seen.append(texts)
        # The first batch of each size is slow, as where weights are still read or kernels chosen.
        time.sleep(0.3 if sum(len(one) == len(texts) for one in seen) == 1 else 0.002 * len(texts) ** 0.5)

    found = measure(encode, ["a", "b", "c"], seconds=0.1)
    assert 2 <= found.ms_1 < 100 and 0.25 <= found.ms_64 < 4, "the slow batches would be 300 and 4.7"
    assert {len(texts) for texts in seen} == {1, LARGE}
    [first, *_] = [texts for texts in seen if len(texts) == LARGE]
    assert first[:4] == ["a", "b", "c", "a"], "too few texts are repeated"


def test_a_slow_model_is_timed_by_one_batch_and_a_fast_one_by_some() -> None:
    calls = {1: 0, LARGE: 0}

    def slow(texts: list[str]) -> None:
        calls[len(texts)] += 1
        time.sleep(0.02)

    measure(slow, ["a"], seconds=0.001)
    assert calls == {1: 2, LARGE: 2}
    measure(lambda texts: calls.update({len(texts): calls[len(texts)] + 1}), ["a"], seconds=60)
    assert all(10 < count < 1_100 for count in calls.values()), "not for a minute"
    with pytest.raises(ValueError, match="no texts"):
        measure(slow, [])


def test_baselines_have_it_with_the_machine_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = str(save_tiny_model(tmp_path / "tiny"))
    ran = tune_here(
        capsys, "baselines", "--base-model", base, "--results", tmp_path, "--name", "b", "--cache", tmp_path / "cache"
    )
    assert ran.code == 0, ran.err
    assert "measuring milliseconds per text: 1 model, in batches of 1 and 64" in ran.out
    facts = summary(tmp_path / "b")
    latency = facts["latency"]
    assert latency["texts"] == 256 and list(latency["models"]) == [f"baseline:{base}"]
    [times] = latency["models"].values()
    assert set(times) == {"ms_1", "ms_64"} and all(0 < value < 1_000 for value in times.values())
    assert latency["machine"].startswith(cpu_name()) and latency["machine"].endswith(("thread", "threads"))
    assert 0 < facts["seconds"]["latency"] < 10
    assert {entry["trial"] for entry in facts["quantised"]} == {f"baseline:{base}"}
    assert measured_again(tmp_path / "b", base) == [] and summary(tmp_path / "b")["latency"] == latency, "kept"
    (tmp_path / "b" / "summary.json").write_text(json.dumps({**facts, "latency": None}))
    shutil.rmtree(base)
    said = measured_again(tmp_path / "b", base)
    assert said[1].startswith(f"baseline:{base}: milliseconds per text could not be measured (") and len(said) == 2
    assert summary(tmp_path / "b")["latency"] is None, "a model that cannot be loaded has none, and fails nothing"


def measured_again(folder: Path, base: str) -> list[str]:
    """Measure once more, as a resumed search does; return what is said."""
    said: list[str] = []

    def emit(event: Event) -> None:
        assert isinstance(event, Message)
        said.append(event.text)

    config = search_config(space={"base_model": base})
    split, facts = read_split(config, ignore)
    of_folder, known = ResultsFolder(folder), Summary(folder / "summary.json")
    run = Run(config, of_folder, split, facts, known, Clock(), emit, LocalBackend())
    measure_latency(run, run.models({base: PreparedBase.from_json(known["bases"][base])}))
    return said


def test_the_cpu_is_named_by_its_architecture_if_the_system_does_not_tell(tmp_path: Path) -> None:
    told = tmp_path / "told"
    told.write_text("processor\t: 0\nmodel name\t: Some  CPU @ 2.0GHz\n\nprocessor\t: 1\nmodel name\t: Other\n")
    assert cpu_name(told) == "Some CPU @ 2.0GHz"
    for text in ("processor\t: 0\nBogoMIPS\t: 50.00\n", "model name\t: unknown\n"):
        told.write_text(text)
        assert cpu_name(told) == cpu_name(tmp_path / "missing") and cpu_name(told) not in ("", "unknown")
