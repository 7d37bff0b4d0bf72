"""The front door on Modal: `modal run cluster/launch.py --search asha`, with the options of `python -m tune search`.

What can be refused is refused on the user's machine. The head is the last call that is spawned, then this only watches
and downloads: with `modal run --detach` the search outlives it. Modal keeps --help for itself:
`modal run cluster/launch.py -- --help` lists the options.
"""

import argparse
import json
import shlex
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import modal

from cluster.watch import fetch_results, stop_status_line, watch

if modal.is_local() and str(Path(__file__).resolve().parents[1]) not in sys.path:
    # Given by path, Modal imports this file alone; the packages lie beside it.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster import settings
from cluster.backend import CallOptions
from cluster.embed_snapshot import embed_closed, embed_snapshot
from cluster.head import HEADS, HeadOrder, search_head
from cluster.ledger import is_over
from cluster.train_trial import train_trial
from cluster.volume_files import names_in, read_text, upload_data
from tune.cli.options import SearchRequest, search_parser, search_request
from tune.cli.parser import Parser
from tune.config.search import DEFAULT_CACHE, SearchConfig
from tune.errors import ConfigError, ResultsError, UserError
from tune.events import ignore

app = settings.app


_GPUS = f"{', '.join(settings.TRIAL_GPUS)}; with freeze=false {settings.WHOLE_TRIAL_GPU}"
_TIMEOUTS = f"{settings.TRIAL_TIMEOUT}; with freeze=false {settings.WHOLE_TRIAL_TIMEOUT}"

_WORST = "; at most, since what the Volume embedtune-snapshots has already is not bought again"


@app.local_entrypoint()
def main(*arglist: str) -> None:
    """`modal run cluster/launch.py OPTIONS`; exit code 2 where the user can mend it, 130 after Ctrl-C."""
    from tune.cli.main import show_error

    try:
        code = launch(list(arglist))
    except UserError as error:
        show_error(error)
        code = 2
    if code:
        sys.exit(code)


@dataclass(frozen=True)
class Options:
    """What only Modal's front door knows."""

    gpu: str | None
    head_gpu: str | None
    trial_timeout: int | None
    private_server: bool


def make_parser() -> Parser:
    """The search's own parser, with Modal's options."""
    parser = search_parser()
    group = parser.add_argument_group("Modal")
    group.add_argument("--gpu", metavar="NAME", help=f"GPU of a trial (default: {_GPUS})")
    group.add_argument("--head-gpu", metavar="NAME", help=f"GPU of the head (default: {', '.join(settings.HEAD_GPUS)})")
    group.add_argument("--max-concurrent", metavar="N", help=f"trials at the same time (default: {settings.JOBS})")
    group.add_argument("--trial-timeout", metavar="SECONDS", help=f"of a trial (default: {_TIMEOUTS})")
    group.add_argument(
        "--allow-private-server",
        action="store_true",
        default=False,
        help="containers can reach a server on a private address, such as through a VPN (--base-url)",
    )
    assert parser.common is not None
    parser.common |= {"gpu", "max_concurrent"}
    return parser


def launch(arguments: Sequence[str]) -> int:
    """Checks, uploads, spawns, watches, downloads; returns the exit code."""
    parser = make_parser()
    request, parsed = search_request(parser, arguments, _begun_on_modal)
    options, config = _options(parser, parsed, request.config)
    command = shlex.join(["modal", "run", "cluster/launch.py", *arguments])
    if parsed.dry_run:
        return _dry_run(config, options)
    if request.resume is not None:
        return _resume(SearchRequest(config, request.resume), options, command)
    check_servers(config, options.private_server)
    config, agreed_usd = _checked(config)
    calls = CallOptions(uuid.uuid4().hex, options.gpu, options.trial_timeout, agreed_usd)
    order = HeadOrder(config, command, calls, upload_data(settings.results_volume, config.data.data))
    return watch(_spawn(order, options), calls.events, config)


def _options(parser: Parser, parsed: argparse.Namespace, config: SearchConfig) -> tuple[Options, SearchConfig]:
    """Modal's own options, and the configuration with the number of trials at a time."""
    given = vars(parsed)
    problems: list[str] = []
    numbers: dict[str, int | None] = {}
    for name, flag in (("max_concurrent", "--max-concurrent"), ("trial_timeout", "--trial-timeout")):
        text = given.get(name)
        numbers[name] = int(text) if text is not None and text.isdigit() and int(text) > 0 else None
        if text is not None and numbers[name] is None:
            problems.append(f"{flag}: a whole number above 0, not {text!r}; see {parser.prog} --help")
    jobs = numbers["max_concurrent"]
    if jobs is not None and config.search.jobs not in (None, jobs):
        problems.append(f"--max-concurrent {jobs} and --jobs {config.search.jobs} mean the same; give one of them")
    if (numbers["trial_timeout"] or 0) > settings.HEAD_TIMEOUT:
        problems.append(f"--trial-timeout: Modal allows {settings.HEAD_TIMEOUT} seconds at most")
    for name in ("ray_address", "gpus_per_trial"):
        if getattr(config.search, name):
            problems.append(f"[search] {name}: of no use on Modal, where a trial has a GPU of its own; leave it out")
    if config.search.cache != DEFAULT_CACHE:
        problems.append("[search] cache: on Modal texts are kept on the Volume embedtune-snapshots; leave it out")
    if problems:
        raise ConfigError(problems)
    if jobs is not None:
        config = config.model_copy(update={"search": config.search.model_copy(update={"jobs": jobs})})
    return Options(
        given.get("gpu"), given.get("head_gpu"), numbers["trial_timeout"], parsed.allow_private_server
    ), config


def _checked(config: SearchConfig) -> tuple[SearchConfig, float]:
    """(the configuration with a name, USD agreed to), after everything that can be checked here.

    That is options, base models and their servers, names, pairs.
    """
    from tune.cli.display import SearchDisplay
    from tune.embed.base_models import PACKAGED
    from tune.embed.purchase import agree, search_estimates
    from tune.pipeline.pairs import read_split
    from tune.pipeline.preflight import check_search
    from tune.results.naming import name_stem

    # Packaged base models are in the image, whether or not they are installed here.
    remote = tuple(one for one in config.base_models if one not in PACKAGED)
    if local := [one for one in remote if Path(one).expanduser().exists()]:
        raise ConfigError([f"[space] base_model: containers cannot see the folder {local[0]}; give a hub name"])
    check_search(config, resume=False, elsewhere=set(PACKAGED), sdks=False)
    name = config.search.name
    taken = _searches()
    if name is not None and name in taken:
        raise ResultsError(
            f"the Volume embedtune-results has a search {name}; choose another --name, or --resume {name}"
        )

    split, _ = read_split(config, ignore)
    agreed_usd = config.closed.max_embed_usd
    if config.closed_models:
        stop_status_line()
        display = SearchDisplay()
        estimates = search_estimates(config, split, None)
        agree(estimates, config.closed, display.emit, display.asker(), _WORST)
        agreed_usd = max(agreed_usd, sum(one.usd or 0.0 for one in estimates))
    if name is None:
        stem = f"{name_stem(config)}-{time.strftime('%Y%m%d-%H%M')}"
        names = [stem, *(f"{stem}-{number}" for number in range(2, 100))]
        name = next(one for one in names if one not in taken and not (config.search.results / one).exists())
    return config.model_copy(update={"search": config.search.model_copy(update={"name": name})}), agreed_usd


def check_servers(config: SearchConfig, allow_private: bool = False) -> None:
    """Raise ConfigError if a closed model's server has an address that containers cannot reach.

    allow_private: the user says that they can.
    """
    from tune.config.closed import ADDRESS_OPTION, provider_of
    from tune.embed.closed.names import is_near

    if allow_private:
        return
    providers = {provider_of(name) for name in config.closed_models}
    problems = [
        f"[closed] {option}: Modal's containers cannot reach {url}, an address of this machine or its network; give a "
        "public one, search here with python -m tune search, or add --allow-private-server if they can (VPN)"
        for provider, option in ADDRESS_OPTION.items()
        if provider in providers and (url := getattr(config.closed, option)) is not None and is_near(url)
    ]
    if problems:
        raise ConfigError(problems)


def _dry_run(config: SearchConfig, options: Options) -> int:
    from tune.cli.display import SearchDisplay
    from tune.embed.base_models import PACKAGED
    from tune.pipeline.dry_run import dry_run
    from tune.pipeline.preflight import check_search

    check_servers(config, options.private_server)
    check_search(config, resume=True, elsewhere=set(PACKAGED), buys=False)
    stop_status_line()
    dry_run(config, SearchDisplay().emit, None, _WORST)
    return 0


def _searches() -> set[str]:
    """Names of the searches that any head has begun."""
    return {Path(path).stem for path in names_in(settings.results_volume, HEADS)}


def _begun_on_modal(folder: Path) -> Path:
    """search.toml of a search on the Volume, as a file here."""
    text = read_text(settings.results_volume, f"{folder.name}/search.toml")
    if text is None:
        known = ", ".join(sorted(_searches())[-5:])
        raise ResultsError(
            f"the Volume embedtune-results has no search {folder.name} to go on with"
            + (f"; there are {known}" if known else "")
        )
    path = Path(tempfile.mkdtemp(prefix="embedtune-")) / "search.toml"
    path.write_text(text)
    return path


def _resume(request: SearchRequest, options: Options, command: str) -> int:
    """A finished search is downloaded, a running one watched, any other gets a new head.

    What that one still has to buy may cost max_embed_usd: only it sees what the Volume lacks.
    """
    from tune.embed.base_models import check_source

    config, name = request.config, str(request.resume)
    summary = json.loads(read_text(settings.results_volume, f"{name}/summary.json") or "{}")
    if summary.get("finished"):
        print(f"search {name} is finished: downloading it")
        return fetch_results(config)
    about = json.loads(read_text(settings.results_volume, f"{HEADS}/{name}.json") or "{}")
    if about.get("call") and not is_over(about["call"]):
        print(f"search {name} is running: watching it from here on")
        return watch(modal.FunctionCall.from_id(about["call"]), about["events"], config)
    check_servers(config, options.private_server)
    for model in config.closed_models:
        check_source(model, config.closed, sdk=False)
    calls = CallOptions(
        events=uuid.uuid4().hex,
        gpu=options.gpu or about.get("gpu"),
        trial_timeout=options.trial_timeout or about.get("trial_timeout"),
        agreed_usd=config.closed.max_embed_usd,
    )
    return watch(_spawn(HeadOrder(config, command, calls, about.get("data")), options), calls.events, config)


def _spawn(order: HeadOrder, options: Options) -> Any:
    """The head, as the last call that is made from here."""
    search = order.config.search.model_copy(update={"results": settings.RESULTS})
    order = replace(order, config=order.config.model_copy(update={"search": search}))
    if options.head_gpu is None:
        return search_head.spawn(order)
    head = search_head.with_options(gpu=options.head_gpu)
    try:
        head.hydrate()
    except modal.exception.Error as error:
        raise ConfigError([f"--head-gpu {options.head_gpu}: Modal has no such GPU: {error}"]) from error
    return head.spawn(order)


__all__ = ["app", "embed_closed", "embed_snapshot", "launch", "main", "search_head", "train_trial"]
