"""`python -m tune apply`: stored vectors of a base model through the layer that was trained on it."""

from pathlib import Path
from typing import Any

from tune.cli.loading import no_weight_bars
from tune.cli.options import plain_request
from tune.cli.parser import Parser, add_options
from tune.config.search import OPTIONS

_SIDES: dict[str, Any] = {"a": "a", "b": "b", "query": "a", "document": "b"}


def apply(arguments: list[str]) -> int:
    """Run `python -m tune apply`."""
    parser = _parser()
    config, parsed = plain_request(parser, arguments)
    from tune.cli.display import SearchDisplay
    from tune.pipeline.apply import apply_command
    from tune.pipeline.apply_request import ApplyRequest

    given = {name: value for name, value in vars(parsed).items() if name not in OPTIONS}
    request = ApplyRequest(config=config, side=_SIDES.get(given.pop("vectors_side")), **given)
    if request.texts is not None:
        no_weight_bars()
    with SearchDisplay() as display:
        done = apply_command(request, display.emit, display.asker())
    rate = done.rows / max(done.seconds, 1e-9)
    print(
        f"wrote {parsed.to}: {done.rows:,} vectors of {done.dims} dims in {done.seconds:.1f} s ({rate:,.0f} vectors/s)"
    )
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="python -m tune apply",
        description="Turn stored vectors of a base model into those of a layer trained on it, without embedding a text "
        "again.",
        operands="MODEL --vectors FILE|FOLDER --to NEW",
        common=("model", "vectors", "to", "column", "vectors_side", "texts", "text_column", "dtype"),
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="results/NAME, or an exported model")
    parser.add_argument(
        "--vectors", type=Path, required=True, metavar="FILE|FOLDER", help=".npy or .parquet file, or a folder of them"
    )
    parser.add_argument(
        "--to", type=Path, required=True, metavar="NEW", help="file or folder to create, of the same kind"
    )
    parser.add_argument(
        "--column", default=None, help="column of vectors in parquet (default: the only one of lists of floats)"
    )
    parser.add_argument(
        "--side",
        # `side` is an axis of a search, with other values.
        dest="vectors_side",
        choices=tuple(_SIDES),
        default=None,
        help="what the vectors are of, where the model tells them apart",
    )
    parser.add_argument(
        "--texts",
        type=Path,
        default=None,
        metavar="FILE",
        help="the vectors' texts in order (.txt, .csv, .parquet, .npy): embed ten again and compare first",
    )
    parser.add_argument(
        "--text-column", default=None, metavar="COLUMN", help="column of texts in --texts (default: the only one)"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", help="type of the output (default: float32)"
    )
    parser.add_argument(
        "--chunk", type=int, default=8192, metavar="ROWS", help="rows held in memory at a time (default: 8192)"
    )
    closed = {name for name, (table, _) in OPTIONS.items() if table == "closed"}
    add_options(parser, {"cache", "trust_remote_code", *closed})
    return parser
