"""`python -m tune score`: figures of an exported model, or of a base model, on labelled pairs."""

import json

from tune.cli.loading import no_weight_bars
from tune.cli.options import PAIRS_OPTIONS, plain_request
from tune.cli.parser import Parser, add_options


def score(arguments: list[str]) -> int:
    """Run `python -m tune score`."""
    from tune.data.sides import SIDES

    parser = Parser(
        prog="python -m tune score",
        description="Score a model on labelled pairs. The threshold comes from embedtune.json or --threshold; "
        "it is never fitted on what is scored.",
        operands="MODEL",
        common=("model", "data", "scored_side", "threshold", "json", "split_column", "text_a", "text_b", "label"),
    )
    parser.add_argument("model", metavar="MODEL", help="directory of an exported model, or a base model's name")
    parser.add_argument(
        "--side", dest="scored_side", choices=SIDES, default=None, help="score only this side of the given split"
    )
    parser.add_argument(
        "--threshold", type=float, default=None, metavar="COSINE", help="cosine from which a pair counts as positive"
    )
    parser.add_argument("--json", action="store_true", default=False, help="print JSON")
    add_options(
        parser, {"cache", "trust_remote_code", *PAIRS_OPTIONS} - {"split", "prompt_a", "prompt_b", "max_length"}
    )
    config, parsed = plain_request(parser, arguments)
    from tune.cli.display import SearchDisplay
    from tune.cli.tables import make_console, show_score
    from tune.pipeline.score import score_command

    no_weight_bars()
    # With --json, stdout is for the figures alone.
    display = SearchDisplay(make_console(stderr=parsed.json))
    with display:
        result = score_command(
            parsed.model, config, parsed.scored_side, parsed.threshold, display.emit, display.asker()
        )
    if parsed.json:
        print(json.dumps(result, indent=1))
    else:
        show_score(result)
    return 0
