"""A winner on MiniLM in every form it can be exported in: AUC, accuracy, bytes, and milliseconds per text.

A layer of 256 dims on MiniLM, trained on 2,000 of Quora's pairs (CoSENT, batch 32, 8 epochs, learning rate 1e-3), its
weights those of the best report on val. It is exported once as a SentenceTransformer, then as ONNX and OpenVINO, fp32
and int8. Each form scores the same test pairs by its own runtime, at the threshold fitted on val, and is timed on the
same texts in this process, at batch 1 and 64. `lost` is the AUC of PyTorch fp32 minus that of the form. `ratio_1` and
`ratio_64` are PyTorch's milliseconds over the form's, which other work on the machine moves less than milliseconds.
"""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.common import Options, Result, Target, first, pairs_config, prepared, some, split_of
from tune.config.trial import TrialConfig
from tune.embed.graph import GraphEmbedder
from tune.embed.latency import measure
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.embed.view import View
from tune.events import ignore
from tune.export.facts import ExportFacts
from tune.export.formats.graph import write_graph
from tune.export.formats.request import Request
from tune.export.write import write_model
from tune.pipeline.export_scores import Runtime, pair_vectors, scores_of
from tune.train.kinds import kind_of
from tune.train.outcomes import trial_outcomes
from tune.train.trained import Models

TITLE = "a MiniLM winner exported as ONNX and OpenVINO, fp32 and int8"
TRAIN, VAL, TEST = 2_000, 500, 1_000
FORMS = {
    "onnx_fp32": Request("onnx"),
    "onnx_int8": Request("onnx", "int8"),
    "openvino_fp32": Request("openvino"),
    "openvino_int8": Request("openvino", "int8"),
}


def run(options: Options) -> Result:
    """Train, export in every form, score and time."""
    result = Result()
    _, sides = split_of(pairs_config(options, space={"base_model": "minilm"}))
    test = some(sides["test"], options.pick(TEST, 100))
    train = first(sides["train"], options.pick(TRAIN, 100))
    with tempfile.TemporaryDirectory() as folder:
        source, threshold = _trained(options, Path(folder))
        weights = sum(path.stat().st_size for path in Path(folder, "model").rglob("model.safetensors"))
        model = Runtime.of_model(source, ("", ""))
        figures = {"pytorch_fp32": _figures(model, test, threshold) | {"bytes": weights}}
        for name, request in FORMS.items():
            graph, size = _graph(source, request, Path(folder) / name, train.text_a)
            figures[name] = _figures(Runtime.of_export(graph, name), test, threshold) | {"bytes": size}
    whole = figures["pytorch_fp32"]
    for name, own in figures.items():
        own |= {"lost": whole["auc"] - own["auc"]}
        own |= {f"ratio_{batch}": whole[f"ms_{batch}"] / own[f"ms_{batch}"] for batch in (1, 64)}
        if name.endswith("fp32"):
            result.targets.append(Target(f"AUC that {name} moves", abs(own["lost"]), most=1e-4))
        else:
            result.targets.append(Target(f"AUC that {name} loses", own["lost"], most=0.01))
    result.figures = {"test_pairs": len(test), **figures}
    return result


def _trained(options: Options, folder: Path) -> tuple[SentenceTransformerSource, float]:
    """Train and export the layer; return the exported model, and its threshold."""
    base = prepared(options, "minilm", options.pick(TRAIN, 100), options.pick(VAL, 60))
    config = TrialConfig(
        base_model="minilm", loss="cosent", dims=256, learning_rate=1e-3, batch_size=32, epochs=8, bias=False
    )
    trial = folder / "trials" / config.digest(base.digest)
    list(kind_of(config).open(config, trial, View.open(base.view(options.cache))))
    [outcome] = trial_outcomes(folder / "trials", folder / "asha.json")
    trained = Models({"minilm": base}, options.cache, None).of(outcome)
    final = trained.val()[256].to_json()
    write_model(trained, ExportFacts(trial.name, config, base, {256: final}, {}), folder / "model")
    source = SentenceTransformerSource(str(folder / "model"))
    source.model.to("cpu")
    return source, final["threshold"]


def _graph(
    source: SentenceTransformerSource, request: Request, folder: Path, texts: list[str]
) -> tuple[GraphEmbedder, int]:
    """Write and load a graph; return it and its bytes."""
    folder.mkdir()
    written = write_graph(source, ("", ""), request, folder, texts)
    (folder / "embedtune.json").write_text(json.dumps({"graph": written.table}))
    return GraphEmbedder.load(folder), sum((folder / name).stat().st_size for name in written.files)


def _figures(runtime: Runtime, test: Any, threshold: float) -> dict[str, Any]:
    times = asdict(measure(runtime.batch, list(dict.fromkeys(test.text_a)), 5.0))
    return scores_of(*pair_vectors(runtime, test, ignore), threshold) | times
