"""`python -m tune serve`: an exported model behind OpenAI's embeddings API, on this machine."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tune.cli.options import plain_request
from tune.cli.parser import Parser, add_options

if TYPE_CHECKING:
    from tune.pipeline.serve import Ready

_CLOSED = {"base_url", "cohere_base_url", "too_long", "texts_per_request", "max_in_flight", "request_timeout",
           "request_retries"}  # fmt: skip


def serve(arguments: list[str]) -> int:
    """Run `python -m tune serve`."""
    parser = Parser(
        prog="python -m tune serve",
        description="Serve an exported model with OpenAI's /v1/embeddings, until Ctrl-C. Only this machine can reach it"
        " unless --host says otherwise.",
        operands="MODEL",
        common=("model", "host", "port", "api_key_env", "served_name", "allow_purchases"),
    )
    _add_arguments(parser)
    add_options(parser, {"trust_remote_code", *_CLOSED})
    config, parsed = plain_request(parser, arguments)
    from tune.cli.loading import no_weight_bars
    from tune.pipeline.serve import ServeOptions, get_ready

    no_weight_bars()
    options = ServeOptions(
        path=parsed.model,
        host=parsed.host,
        port=parsed.port,
        key_variable=parsed.api_key_env,
        served_name=parsed.served_name,
        purchases=parsed.allow_purchases,
        trust_remote_code=config.search.trust_remote_code,
        max_batch=parsed.max_batch,
        wait_ms=parsed.wait_ms,
        max_queue=parsed.max_queue,
    )
    print(f"loading {parsed.model}", flush=True)
    ready = get_ready(options, config.closed)
    _show(ready)
    ready.run()
    print("stopped", flush=True)
    return 0


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="an export, or a results folder for its best/")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (default: 127.0.0.1)"
    )
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="port; 0 for a free one (default: 8000)")
    parser.add_argument(
        "--api-key-env", default=None, metavar="VARIABLE",
        help="environment variable with the key that requests must send (default: EMBEDTUNE_API_KEY, if it is set)",
    )  # fmt: skip
    parser.add_argument(
        "--served-name", default=None, metavar="NAME", help="the model's name in requests (default: the search's name)"
    )
    parser.add_argument(
        "--allow-purchases", action="store_true", default=False,
        help="let an export on a closed model buy every text that is requested",
    )  # fmt: skip
    parser.add_argument(
        "--max-batch", type=int, default=256, metavar="TEXTS", help="most texts encoded together (default: 256)"
    )
    parser.add_argument(
        "--wait-ms", type=float, default=2.0, metavar="MS",
        help="how long the first text of a batch waits for more (default: 2)",
    )  # fmt: skip
    parser.add_argument(
        "--max-queue", type=int, default=8192, metavar="TEXTS",
        help="most texts that may wait; beyond that, requests get 503 (default: 8192)",
    )  # fmt: skip


def _show(ready: "Ready") -> None:
    served = ready.served
    if ready.warning:
        print(f"warning: {ready.warning}", file=sys.stderr)
    if served.buys:
        print("every text that is requested is bought from the provider")
    print(f"serving {served.name} ({served.possible} dims, loaded in {served.seconds:.1f} s) at {ready.url}")
    key = f' -H "Authorization: Bearer ${ready.key}"' if ready.key else ""
    body = json.dumps({"model": served.name, "input": "some text"}, ensure_ascii=False).replace("'", "'\\''")
    print(f"try: curl {ready.url}/embeddings{key} -H 'Content-Type: application/json' -d '{body}'", flush=True)
