"""`python -m tune export`: a trial of a finished search as a model directory."""

import argparse
from pathlib import Path

from tune.cli.loading import no_weight_bars
from tune.cli.parser import Parser, add_options
from tune.config.search import search_config


def export(arguments: list[str]) -> int:
    """Run `python -m tune export`."""
    parser = Parser(
        prog="python -m tune export",
        description="Write a trial as a SentenceTransformer directory (on a closed model: an AdaptedEmbedder).",
        operands="RESULTS --to DIR",
    )
    add_trial(parser)
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="directory to create")
    _add_form(parser)
    parsed = parser.parse_args(arguments)
    trust = is_trusted(parsed)
    from tune.cli.display import SearchDisplay
    from tune.export.about import read_about
    from tune.export.formats.request import Request
    from tune.export.servers import warnings
    from tune.pipeline.export import export_model
    from tune.pipeline.export_formats import export_format
    from tune.results.layout import existing_folder

    folder = existing_folder(parsed.results)
    no_weight_bars()
    request = Request(parsed.format, parsed.quantize, parsed.truncate, parsed.vectors)
    if request.plain:
        written = export_model(folder, parsed.trial, parsed.to, trust_remote_code=trust)
    else:
        with SearchDisplay() as display:
            written = export_format(folder, parsed.trial, parsed.to, request, display.emit, trust_remote_code=trust)
    print(f"wrote {written}")
    for line in warnings(read_about(written).get("servers") or {}):
        print(line)
    return 0


def _add_form(parser: Parser) -> None:
    """Add what the export is written as."""
    parser.add_argument(
        "--format", choices=("st", "onnx", "openvino"), default="st",
        help="st: a SentenceTransformer (default); onnx, openvino: one graph from tokens to unit vectors",
    )  # fmt: skip
    parser.add_argument(
        "--quantize", choices=("int8",), default=None, help="with --format onnx or openvino: int8 weights"
    )
    parser.add_argument(
        "--truncate", type=int, default=None, metavar="DIMS",
        help="for a Matryoshka model: keep the first DIMS components of its vectors",
    )  # fmt: skip
    parser.add_argument(
        "--vectors", choices=("int8", "binary"), default=None,
        help="also score vectors stored as int8 or as single bits, and write the ranges that int8 needs",
    )  # fmt: skip


def add_trial(parser: Parser) -> None:
    """Add what names a trial of a search: RESULTS and --trial, and --trust-remote-code for its base model."""
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder of a search, such as results/NAME"
    )
    parser.add_argument(
        "--trial", default=None, help="the trial's name in the leaderboard, or its beginning (default: the winner)"
    )
    add_options(parser, {"trust_remote_code"})


def is_trusted(parsed: argparse.Namespace) -> bool:
    """Return whether base models may run code of their own."""
    given = getattr(parsed, "trust_remote_code", False)
    return search_config({"trust_remote_code": given}).search.trust_remote_code
