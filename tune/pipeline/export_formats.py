"""Exports a trial in another form: as a graph, with fewer dims, or with what its vectors need to be stored smaller.

The model is written as a SentenceTransformer first, in a temporary folder; all else is made from that and compared with
it.
"""

import json
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tune.embed.adapted import ABOUT
from tune.embed.graph import RUNTIMES, GraphEmbedder
from tune.embed.graphs.part import CALIBRATION
from tune.embed.latency import machine_of
from tune.embed.sentence_transformer import SentenceTransformerSource
from tune.errors import ResultsError, UserError
from tune.evaluate.quantised import bytes_per_vector
from tune.events import Emit, Message
from tune.export.about import about
from tune.export.card import Extras, model_card
from tune.export.facts import ExportFacts
from tune.export.formats.card import TITLES, graph_section, instead_of, vectors_section, with_sections
from tune.export.formats.graph import write_graph
from tune.export.formats.request import Request
from tune.export.formats.vectors import VECTORS, write_ranges
from tune.export.trial import chosen_model
from tune.export.write import CARD, check_new, write_exported, write_model
from tune.pipeline.export import picture_of
from tune.pipeline.export_pairs import Known, known_pairs
from tune.pipeline.export_scores import (
    Runtime,
    lost,
    pair_vectors,
    ranges_of,
    scores_of,
    stored_scores,
    times_of,
)
from tune.results.layout import ResultsFolder
from tune.results.summary import Summary
from tune.train.trained import TrialModel

_CALIBRATION = 1_000
"""The most distinct training texts of either side that give the ranges of int8 vectors."""


@dataclass(frozen=True)
class _Export:
    """What is exported: facts at the dims that are kept, the pairs to score on, and where the finished parts are."""

    request: Request
    facts: ExportFacts
    known: Known
    parts: Path
    emit: Emit

    def say(self, text: str) -> None:
        """Show a line."""
        self.emit(Message(text))


def export_format(
    folder: ResultsFolder, trial: str | None, to: Path, request: Request, emit: Emit, *, trust_remote_code: bool = False
) -> Path:
    """Export a trial as `request` asks, into the new directory `to`, whole or not at all; return it.

    Raises UserError before anything is converted if that cannot be, ModelError if the model cannot be converted;
    otherwise as `export`.
    """
    request.check()
    check_new(to)
    model, facts = chosen_model(folder, trial, trust_remote_code=trust_remote_code)
    request.check_trial(facts.config, model.dims, closed=facts.base.closed is not None)
    known = known_pairs(folder, Summary(folder.summary))
    if request.vectors == "int8" and known.sides is None:
        raise UserError(f"--vectors int8 takes its ranges from training texts, but {known.reason}")
    facts = _truncated(model, facts, request.truncate)
    with TemporaryDirectory(prefix="embedtune-export-") as stage:
        parts = Path(stage) / "parts"
        picture = picture_of(folder, facts.trial) if request.form == "st" and request.truncate is None else None
        try:
            write_model(model, facts, Path(stage) / "model", picture)
        except ResultsError as error:
            fix = "set TMPDIR to a folder with more space"
            raise ResultsError(str(error).replace("choose another directory", fix)) from None
        parts.mkdir()
        _write(_Export(request, facts, known, parts, emit), Path(stage) / "model", to)
    return to


def _truncated(model: TrialModel, facts: ExportFacts, dims: int | None) -> ExportFacts:
    """Let the model keep its first dims, and return the facts at these."""
    if dims is None:
        return facts
    model.kept_dims = dims
    return replace(facts, finals={own: final for own, final in facts.finals.items() if own <= dims})


def _write(export: _Export, model: Path, to: Path) -> None:
    """Make the parts of the export from the model's directory, and move them to `to`."""
    found = json.loads((model / ABOUT).read_text(encoding="utf-8"))
    card = (model / CARD).read_text(encoding="utf-8")
    if export.request.form == "st":
        _copy(model, export.parts)
        if export.request.vectors is not None:
            source = _loaded(model, export.facts)
            vectors = _stored(export, Runtime.of_model(source, export.facts.prompts), None)
            card, found = with_sections(card, vectors_section(vectors)), {**found, "vectors": vectors}
    else:
        source = _loaded(model, export.facts)
        table, vectors = _graph(export, source, model)
        extras = Extras(table["sides"]["a"]["max_tokens"], instead=instead_of(export.facts, table))
        card = with_sections(model_card(export.facts, extras), graph_section(table), vectors_section(vectors))
        found = about(export.facts) | {"graph": table} | ({} if vectors is None else {"vectors": vectors})
    write_exported(to, lambda part: _copy(export.parts, part), found, {CARD: card})


def _copy(source: Path, to: Path) -> None:
    """Copy what a directory contains. Unlike `copytree`, this ends at the first file that fails, with its reason."""
    for path in sorted(source.rglob("*")):
        target = to / path.relative_to(source)
        if path.is_dir():
            target.mkdir()
        else:
            shutil.copyfile(path, target)


def _loaded(model: Path, facts: ExportFacts) -> SentenceTransformerSource:
    """Load the exported model on the CPU, where graphs run as well."""
    source = SentenceTransformerSource(str(model), trust_remote_code=facts.base.trusted)
    source.model.to("cpu")
    return source


def _graph(
    export: _Export, source: SentenceTransformerSource, model: Path
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Convert the model; return `graph` and `vectors` of embedtune.json."""
    request, prompts = export.request, export.facts.prompts
    assert request.form != "st"
    title = TITLES[request.form]
    export.say(f"converting {export.facts.trial} to {title}: one graph from tokens to unit vectors")
    first, second = export.known.train_texts(CALIBRATION // 2)
    if request.quantize is not None:
        export.say(f"quantising its weights to {request.quantize}")
    written = write_graph(source, prompts, request, export.parts, [*first, *second])
    size = sum((export.parts / name).stat().st_size for name in written.files)
    table = written.table | {"bytes": size, "versions": _versions(request.form)}
    # What the embedder needs to load itself.
    (export.parts / ABOUT).write_text(json.dumps({"graph": table}), encoding="utf-8")
    own = Runtime.of_export(GraphEmbedder.load(export.parts), f"the {title} graph")
    table, found = _measured(export, table, (Runtime.of_model(source, prompts), own), model)
    table["machine"] = machine_of(source)
    return table, _stored(export, own, found)


def _measured(
    export: _Export, table: dict[str, Any], runtimes: tuple[Runtime, Runtime], model: Path
) -> tuple[dict[str, Any], Any]:
    """Return the table with scores and times of the graph and, as `fp32`, of the model; and the graph's vectors."""
    final = export.facts.final
    side, pairs, reason = export.known.scored(final)
    empty = {"scored": None, "unscored": reason, "auc": None, "accuracy": None, "ms_1": None, "ms_64": None}
    if pairs is None:
        export.say(f"the graph is not scored: {reason}")
        return table | empty | {"fp32": None, "lost": None, "half_width": None, "warning": None}, None
    export.say(f"scoring {len(pairs):,} {side} pairs with the fp32 model and the graph, and timing both")
    numbers, vectors = [], []
    for runtime in runtimes:
        vectors.append(pair_vectors(runtime, pairs, export.emit))
        numbers.append(scores_of(*vectors[-1], final["threshold"]) | times_of(runtime, pairs))
    before, own = numbers
    what = f"{TITLES[table['format']]} {table['precision']}"
    loss = lost(before["auc"], own["auc"], final["test"], what)
    if loss["warning"]:
        export.say(f"Warning: {loss['warning']}")
    accuracy = "" if own["accuracy"] is None else f", accuracy {own['accuracy']:.4f} (fp32 {before['accuracy']:.4f})"
    export.say(
        f"{what}: {side} AUC {own['auc']:.4f} (fp32 {before['auc']:.4f}){accuracy}, "
        f"{own['ms_1']:.2f} ms per text (fp32 {before['ms_1']:.2f}), in batches of 64 {own['ms_64']:.2f} "
        f"(fp32 {before['ms_64']:.2f})"
    )
    shared = {"scored": side, "unscored": None, "pairs": len(pairs), "threshold": final["threshold"]}
    return table | shared | own | {"fp32": before | {"bytes": _weights(model)}} | loss, vectors[1]


def _stored(export: _Export, runtime: Runtime, found: Any) -> dict[str, Any] | None:
    """Write what stored vectors need; return `vectors` of embedtune.json. found: of `pair_vectors`, if known."""
    precision = export.request.vectors
    if precision is None:
        return None
    dims, final = export.facts.dims, export.facts.final
    side, pairs, reason = export.known.scored(final)
    about_them: dict[str, Any] = {"precision": precision, "dims": dims, "bytes": bytes_per_vector(dims, precision)}
    ranges = None
    if precision == "int8":
        texts = export.known.train_texts(_CALIBRATION)
        export.say(f"taking the ranges of int8 vectors from {sum(map(len, texts)):,} training texts")
        ranges = ranges_of(runtime, texts)
        write_ranges(ranges, export.parts)
        about_them |= {"file": VECTORS, "calibrated_on": sum(map(len, texts))}
    if pairs is None:
        return about_them | {"scored": None, "unscored": reason, "auc": None, "float32_auc": None, "warning": None}
    if found is None:
        export.say(f"scoring {precision} vectors of {len(pairs):,} {side} pairs")
        found = pair_vectors(runtime, pairs, export.emit)
    numbers = stored_scores(found, precision, ranges)
    loss = lost(numbers["float32_auc"], numbers["auc"], final["test"], f"storing vectors as {precision}")
    export.say(f"{precision} vectors: {side} AUC {numbers['auc']:.4f} (float32 {numbers['float32_auc']:.4f})")
    if loss["warning"]:
        export.say(f"Warning: {loss['warning']}")
    return about_them | {"scored": side, "unscored": None, "pairs": len(pairs)} | numbers | loss


def _weights(model: Path) -> int:
    """Return the bytes of a SentenceTransformer's weights."""
    return sum(path.stat().st_size for name in ("model.safetensors", "pytorch_model.bin") for path in model.rglob(name))


def _versions(form: str) -> dict[str, str]:
    names = ["torch", "sentence-transformers", RUNTIMES["onnx" if form == "onnx" else "openvino"]]
    return {name: version(name) for name in names}
