"""What the card says of an export's form: how to load a graph, its scores beside the fp32 model's, stored vectors."""

from collections.abc import Mapping
from typing import Any

from tune.embed.graph import RUNTIMES
from tune.export.card import PLACE, Instead
from tune.export.facts import ExportFacts
from tune.export.formats.vectors import VECTORS
from tune.export.markdown import plain, table

TITLES = {"onnx": "ONNX", "openvino": "OpenVINO"}
_BEFORE = "\n## Scores\n"
_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def instead_of(facts: ExportFacts, graph: Mapping[str, Any]) -> Instead:
    """Return what the card of a graph says in place of sentence-transformers. graph: of embedtune.json."""
    kind = graph["format"]
    use = [
        "from tune.embed.graph import GraphEmbedder",
        "",
        f'model = GraphEmbedder.load("{PLACE}")',
        '[a] = model.encode(["first text"])',
        '[b] = model.encode(["second text"], side="b")',
    ]
    files = ", ".join(f"`{name}`" for name in dict.fromkeys(side["file"] for side in graph["sides"].values()))
    notes = [
        f"Each {TITLES[kind]} graph ({files}) goes from tokens to unit vectors: all modules, with pooling, "
        "Dense and normalisation. `encode` runs it on the CPU, and imports neither torch nor transformers.",
    ]
    prompts = {side: about["prompt"] for side, about in graph["sides"].items() if about["prompt"]}
    if prompts:
        notes.append("`encode` puts the prompts that the model was trained with before each text.")
    if facts.config.side == "query":
        notes.append(
            'Only the query side was trained: `side="b"` returns the base model\'s own unit vectors, so document '
            "vectors that you have stored stay valid."
        )
    needs = (
        f"It needs embedtune (`pip install 'embedtune[{kind}]'`), of which loading uses tokenizers, numpy and "
        f"{RUNTIMES[kind]}. Other programs can run the graph as well: `graph` in embedtune.json names its inputs' "
        "tokenizer, padding, prompts and outputs."
    )
    return Instead("\n".join(use), tuple(notes), needs, RUNTIMES[kind])


def with_sections(card: str, *sections: str) -> str:
    """Return a card with sections before its scores; empty ones are left out."""
    return card.replace(_BEFORE, "\n" + "".join(f"{one}\n" for one in sections if one) + _BEFORE.lstrip("\n"), 1)


def graph_section(graph: Mapping[str, Any]) -> str:
    """Return the section that compares a graph with the fp32 model in PyTorch."""
    name = f"{TITLES[graph['format']]}, {graph['precision']}"
    if graph["auc"] is None:
        return f"## {name}\n\nThe graph is not scored: {plain(graph['unscored'])}. It has {size(graph['bytes'])}.\n"
    fp32, where = graph["fp32"], {"val": "validation"}.get(graph["scored"], graph["scored"])
    rows = [_row("PyTorch, fp32", fp32), _row(f"**{name}**", graph)]
    headings = ["model", f"{where} ROC AUC", "accuracy", "size", "ms per text, batch 1", "batch 64"]
    warning = f"\n**Warning:** {plain(graph['warning'])}.\n" if graph["warning"] else ""
    return (
        f"## {name}\n\n{table(headings, rows, right=range(1, len(headings)))}\n\nBoth were measured in one run, on "
        f"the same {graph['pairs']:,} {where} pairs and the same texts, on {plain(graph['machine'])}. Accuracy is at "
        f"the threshold fitted on validation. Size is that of the weights or graph.\n{warning}\n"
        "The scores below are the trial's own, by the fp32 model.\n"
    )


def vectors_section(vectors: Mapping[str, Any] | None) -> str:
    """Return the section on vectors stored as int8 or bits; "" for None."""
    if vectors is None:
        return ""
    precision, size_of_one = vectors["precision"], vectors["bytes"]
    what = "int8" if precision == "int8" else "single bits"
    measured = f"Their AUC is not known: {plain(vectors['unscored'])}."
    if vectors["auc"] is not None:
        where = {"val": "validation"}.get(vectors["scored"], vectors["scored"])
        measured = (
            f"ROC AUC on {vectors['pairs']:,} {where} pairs: {vectors['auc']:.4f}, with float32 vectors "
            f"{vectors['float32_auc']:.4f}."
        )
        if vectors["warning"]:
            measured += f"\n\n**Warning:** {plain(vectors['warning'])}."
    lines = [f"## Vectors as {what}", "", f"{size_of_one} bytes per vector. {measured}", "", "```python"]
    return "\n".join([*lines, *_snippet(precision), "```", ""])


def size(count: int) -> str:
    """Return bytes for people, as in 23.4 MB."""
    for unit, name in _BYTES:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"


def _snippet(precision: str) -> list[str]:
    if precision == "binary":
        return [
            "import numpy as np",
            "",
            "codes = np.packbits(np.stack([a, b]) > 0, axis=-1)  # uint8",
            "different = np.bitwise_count(codes[0] ^ codes[1]).sum()  # the fewer bits, the more alike",
        ]
    return [
        "import numpy as np",
        "from safetensors.numpy import load_file",
        "",
        f'low, high = load_file("{PLACE}/{VECTORS}")["ranges"]  # of each component, from training texts',
        "steps = np.where(high > low, (high - low) / 255, 1)",
        "codes = (np.clip(np.floor((np.stack([a, b]) - low) / steps), 0, 255) - 128).astype(np.int8)",
        "c, d = codes.astype(float)",
        "similarity = c @ d / np.sqrt((c @ c) * (d @ d))",
    ]


def _row(name: str, numbers: Mapping[str, Any]) -> list[str]:
    accuracy = numbers["accuracy"]
    return [
        name,
        f"{numbers['auc']:.4f}",
        "-" if accuracy is None else f"{accuracy:.4f}",
        size(numbers["bytes"]),
        f"{numbers['ms_1']:.2f}",
        f"{numbers['ms_64']:.2f}",
    ]
