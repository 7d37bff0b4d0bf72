"""Exports in another form: ONNX and OpenVINO graphs, int8, fewer dims, stored vectors; each against the model."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import quantize_embeddings

from tests.helpers.command import leaderboard, tune_here
from tests.helpers.exported import exported_auc
from tests.helpers.tiny import TOPIC_WORDS, save_tiny_bert, save_tiny_model, topic_pairs, write_topic_pairs
from tune.embed.graph import GraphEmbedder
from tune.errors import ModelError
from tune.export.about import read_about
from tune.pipeline import export_scores

pytestmark = pytest.mark.usefixtures("warm_ray")

SIZES = {"train": 300, "val": 260, "test": 300}
TEXTS = [" ".join(TOPIC_WORDS[:5]), "t1w1", "", "t3w2 " * 90, "words that no model knows", "t9w1 t2w2\n t5w5"]
_LOAD = """
import json, sys
import numpy as np
from tune.embed.graph import GraphEmbedder
model, texts = GraphEmbedder.load(sys.argv[1]), json.loads(sys.argv[2])
np.save(sys.argv[3], np.stack([model.encode(texts), model.encode(texts, side="b")]))
heavy = {"torch", "transformers", "sentence_transformers", "onnx", "nncf"} & set(sys.modules)
print(json.dumps({"dims": model.dims, "heavy": sorted(heavy)}))
"""


@dataclass(frozen=True)
class Searched:
    """A search over a tiny transformer and tiny word vectors, at 8 and 16 dims. trials: by the base model's folder."""

    results: Path
    pairs: Path
    trials: dict[str, str]
    models: dict[str, Path]
    folder: Path

    def export(self, capsys: pytest.CaptureFixture[str], base: str, name: str, *options: object) -> tuple[Path, str]:
        """Export the trial on a base model; return the directory and what was printed."""
        to = self.folder / f"{base}-{name}"
        if not to.exists():
            ran = tune_here(capsys, "export", self.results, "--trial", self.trials[base], "--to", to, *options)
            assert ran.code == 0, ran.err
            (self.folder / f"{base}-{name}.txt").write_text(ran.out)
        return to, (self.folder / f"{base}-{name}.txt").read_text()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    from tune.cli.main import main

    folder = tmp_path_factory.mktemp("formats")
    bases = {"bert": save_tiny_bert(folder / "bert"), "static": save_tiny_model(folder / "static", words=TOPIC_WORDS)}
    pairs = write_topic_pairs(folder / "pairs.csv", SIZES)
    options = {
        "data": pairs, "split-column": "side", "base-model": ",".join(map(str, bases.values())), "search": "grid",
        "dims": "8,16", "matryoshka": "true", "loss": "cosent", "learning-rate": "5e-3", "epochs": 2, "jobs": 1,
        "guard": "none", "results": folder, "cache": folder / "cache", "name": "tiny", "report": "false",
    }  # fmt: skip
    assert main(["search", *(str(word) for name, value in options.items() for word in (f"--{name}", value))]) == 0
    rows = [row for row in leaderboard(folder / "tiny") if row["status"] != "baseline"]
    trials = {
        name: next(row["trial"] for row in rows if row["base_model"] == str(path)) for name, path in bases.items()
    }
    models = {name: folder / f"{name}-st" for name in bases}
    for name, trial in trials.items():
        assert main(["export", str(folder / "tiny"), "--trial", trial, "--to", str(models[name])]) == 0
    return Searched(folder / "tiny", pairs, trials, models, folder)


@pytest.fixture(autouse=True)
def _timed_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_scores, "SECONDS", 0.01)


def _of_model(model: Path, texts: Sequence[str] = TEXTS, dims: int | None = None) -> Any:
    loaded = SentenceTransformer(str(model), device="cpu", truncate_dim=dims)
    return loaded.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)


@pytest.mark.parametrize("form", ["onnx", "openvino"])
@pytest.mark.parametrize("base", ["bert", "static"])
def test_a_graph_returns_the_models_vectors_without_torch(
    searched: Searched, capsys: pytest.CaptureFixture[str], tmp_path: Path, base: str, form: str
) -> None:
    graph, said = searched.export(capsys, base, form, "--format", form)
    assert read_about(graph).get("graph") and not read_about(searched.models[base]).get("graph")
    command = [sys.executable, "-c", _LOAD, str(graph), json.dumps(TEXTS), str(tmp_path / "vectors.npy")]
    # onnxruntime keeps a file there, .ses, as long as it reports its use.
    (folder := tmp_path / "temporary").mkdir()
    own = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    env = {**own, "TMPDIR": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=env)
    assert json.loads(done.stdout) == {"dims": 16, "heavy": []} and not list(folder.iterdir())
    first, second = np.load(tmp_path / "vectors.npy")
    assert np.abs(first - _of_model(searched.models[base])).max() < 1e-5
    assert (first == second).all()
    assert "converting" in said and "scoring 300 test pairs" in said


def test_many_texts_are_as_single_ones_and_no_texts_are_no_vectors(
    searched: Searched, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = GraphEmbedder.load(searched.export(capsys, "bert", "onnx", "--format", "onnx")[0])
    texts = topic_pairs(150, 9).text_a
    together = graph.encode(texts)
    assert np.abs(together - np.concatenate([graph.encode([text]) for text in texts])).max() < 1e-5
    assert graph.encode([]).shape == (0, 16)
    assert graph.count_tokens(["t1w1 t2w2", "t1w1 " * 90]) == [4, 48]
    with pytest.raises(ValueError, match="side must be a or b, not c"):
        graph.encode(["one"], "c")  # type: ignore[arg-type]


@pytest.mark.parametrize(("base", "form"), [("bert", "onnx"), ("static", "onnx"), ("static", "openvino")])
def test_int8_is_scored_by_its_own_runtime_beside_fp32(
    searched: Searched, capsys: pytest.CaptureFixture[str], base: str, form: str
) -> None:
    int8, _ = searched.export(capsys, base, f"{form}8", "--format", form, "--quantize", "int8")
    _check_scores(searched, capsys, int8, base)
    whole = json.loads((searched.export(capsys, base, form, "--format", form)[0] / "embedtune.json").read_text())
    assert json.loads((int8 / "embedtune.json").read_text())["graph"]["bytes"] < whole["graph"]["bytes"]


@pytest.mark.slow
def test_openvino_int8_of_a_transformer(searched: Searched, capsys: pytest.CaptureFixture[str]) -> None:
    int8, _ = searched.export(capsys, "bert", "openvino8", "--format", "openvino", "--quantize", "int8")
    _check_scores(searched, capsys, int8, "bert")


def _check_scores(searched: Searched, capsys: pytest.CaptureFixture[str], int8: Path, base: str) -> None:
    """Check a graph's scores in embedtune.json, in the card and by `score`, and those of the fp32 model."""
    about = read_about(int8)
    graph, test = about["graph"], topic_pairs(SIZES["test"], 2)
    model = GraphEmbedder.load(int8)
    cosine = (model.encode(test.text_a) * model.encode(test.text_b, "b")).sum(axis=1)
    assert graph["accuracy"] == pytest.approx(((cosine >= about["threshold"]) == (test.label == 1)).mean(), abs=0.01)
    plain = exported_auc(searched.models[base], test.text_a, test.text_b, test.label.tolist())
    assert graph["fp32"]["auc"] == pytest.approx(plain, abs=1e-4) == about["test"]["auc"]
    assert graph["lost"] == pytest.approx(graph["fp32"]["auc"] - graph["auc"])
    assert graph["precision"] == "int8" and "thread" in graph["machine"] and graph["pairs"] == 300
    card = (int8 / "README.md").read_text()
    for numbers in (graph, graph["fp32"]):
        ends = f"{numbers['ms_1']:.2f} | {numbers['ms_64']:.2f} |"
        assert f"| {numbers['auc']:.4f} | {numbers['accuracy']:.4f} |" in card and ends in card
    assert bool(graph["warning"]) == ("**Warning:**" in card)
    options = ("--data", searched.pairs, "--split-column", "side", "--side", "test", "--json")
    scored = json.loads(tune_here(capsys, "score", int8, *options).out)
    assert (scored["auc"], scored["accuracy"]) == pytest.approx((graph["auc"], graph["accuracy"]), abs=1e-6)


def test_a_loss_beyond_half_the_interval_is_said_everywhere() -> None:
    test = {"auc_low": 0.90, "auc_high": 0.92}
    assert export_scores.lost(0.91, 0.905, test, "ONNX int8")["warning"] is None
    found = export_scores.lost(0.91, 0.89, test, "ONNX int8")
    assert found["warning"].startswith("ONNX int8 loses 0.0200 AUC (0.9100 to 0.8900), more than half the width")
    assert export_scores.lost(0.91, 0.5, None, "ONNX int8") | {"lost": 0} == {
        "lost": 0, "half_width": None, "warning": None,
    }  # fmt: skip


@pytest.mark.parametrize("form", ["st", "onnx"])
def test_truncated_is_the_first_components_with_their_own_scores(
    searched: Searched, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    whole = searched.models["bert"]
    short, _ = searched.export(capsys, "bert", f"short-{form}", "--truncate", 8, "--format", form)
    vectors = _of_model(short) if form == "st" else GraphEmbedder.load(short).encode(TEXTS)
    assert np.abs(vectors - _of_model(whole, dims=8)).max() < 1e-5
    full, about = read_about(whole)["by_dims"]["8"], read_about(short)
    assert {key: about[key] for key in ("threshold", "val_auc", "test")} == {
        key: full[key] for key in ("threshold", "val_auc", "test")
    }
    card = (short / "README.md").read_text()
    assert "adapted to 8 dimensions" in card and f"{full['test']['auc']:.4f}" in card and "At 16 dims" not in card


@pytest.mark.parametrize("precision", ["int8", "binary"])
def test_stored_vectors_have_their_auc_and_the_card_shows_how(
    searched: Searched, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    export, _ = searched.export(capsys, "static", f"vectors-{precision}", "--vectors", precision)
    found = json.loads((export / "embedtune.json").read_text())["vectors"]
    assert found["bytes"] == {"int8": 16, "binary": 2}[precision] and found["pairs"] == 300
    test = topic_pairs(SIZES["test"], 2)
    assert found["float32_auc"] == pytest.approx(read_about(export)["test"]["auc"], abs=1e-4)
    card = (export / "README.md").read_text()
    assert f"{found['auc']:.4f}" in card and "## Scores" in card
    a, b = _of_model(export, [test.text_a[0], test.text_b[0]])
    snippet = card.split("```python\n")[2].split("```")[0].replace("PATH/OF/THIS/DIRECTORY", str(export))
    names: dict[str, Any] = {"a": a, "b": b}
    exec(snippet, names)
    kind: Any = {"int8": "int8", "binary": "ubinary"}[precision]
    ranges = None
    if precision == "int8":
        from safetensors.numpy import load_file

        ranges = load_file(export / "vectors.safetensors")["ranges"]
        train = topic_pairs(SIZES["train"], 0)
        vectors = _of_model(export, [*train.text_a, *train.text_b])
        assert np.abs(ranges - np.stack([vectors.min(axis=0), vectors.max(axis=0)])).max() < 1e-5
    assert (names["codes"] == quantize_embeddings(np.stack([a, b]), kind, ranges=ranges)).all()


def test_what_cannot_be_is_one_line_and_writes_nothing(
    searched: Searched, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*options: object) -> str:
        ran = tune_here(capsys, "export", searched.results, "--to", tmp_path / "new", *options)
        assert ran.code == 2 and ran.err.count("\n") == 1 and not list(tmp_path.iterdir())
        return ran.err

    assert "--quantize needs --format onnx or --format openvino" in refused("--quantize", "int8")
    assert "--truncate 12: this trial was trained for 8, 16 dims; give one of them" in refused("--truncate", 12)
    (file := searched.folder / "file").write_text("")
    ran = tune_here(capsys, "export", searched.results, "--to", file / "new", "--format", "onnx")
    assert ran.code == 2 and f"cannot be created, since {file} is a file" in ran.err and not ran.out
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = refused("--format", "openvino")
    assert "onnx and openvino and nncf are not installed; run pip install 'embedtune[openvino]'" in said


def test_without_its_pairs_an_export_is_unscored_and_says_so(
    searched: Searched, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shutil.move(searched.pairs, tmp_path / "away.csv")
    try:
        to, said = searched.export(capsys, "static", "unscored", "--format", "onnx")
        ran = tune_here(capsys, "export", searched.results, "--to", tmp_path / "new", "--vectors", "int8")
    finally:
        shutil.move(tmp_path / "away.csv", searched.pairs)
    why = "the pairs of the search are not on this machine"
    graph = read_about(to)["graph"]
    assert (graph["auc"], graph["unscored"]) == (None, why)
    assert f"the graph is not scored: {why}" in said and why in (to / "README.md").read_text()
    assert ran.code == 2 and f"--vectors int8 takes its ranges from training texts, but {why}" in ran.err


def test_a_damaged_graph_is_one_line(searched: Searched, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    graph, _ = searched.export(capsys, "bert", "onnx", "--format", "onnx")
    shutil.copytree(graph, tmp_path / "graph")
    (tmp_path / "graph" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelError, match=r"cannot be loaded .*; export the model again"):
        GraphEmbedder.load(tmp_path / "graph")
    about = json.loads((tmp_path / "graph" / "embedtune.json").read_text())
    about["graph"]["sides"]["a"]["file"] = "../bert-onnx/model.onnx"
    (tmp_path / "graph" / "embedtune.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="which is not a file of its directory"):
        GraphEmbedder.load(tmp_path / "graph")
    with pytest.raises(ModelError, match="is not an export as a graph; make one with python -m tune export"):
        GraphEmbedder.load(searched.models["bert"])
