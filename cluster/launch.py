"""The entry point on Modal: `modal run cluster/launch.py --search asha`, with the options of `python -m tune search`.

Everything that can be checked is checked on the user's machine. Spawning the head is the last call made from here;
after it this process only watches and downloads, so with `modal run --detach` the search outlives it. Modal takes
--help for itself: `modal run cluster/launch.py -- --help` lists the options.
"""

import argparse
import json
import shlex
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import modal

if modal.is_local() and str(Path(__file__).resolve().parents[1]) not in sys.path:
    # Modal imports a file given by path alone; our packages are next to its folder.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster import settings
from cluster.backend import CallOptions
from cluster.calls import ask, described, passes, patiently
from cluster.embed_snapshot import embed_closed, embed_snapshot
from cluster.head import HEADS, HeadOrder, search_head
from cluster.train_trial import train_trial
from cluster.volume_files import names_in, read_text, upload_data
from cluster.watch import fetch_results, quiet_modal, stop_status_line, watch
from tune.cli.options import SearchRequest, search_parser, search_request
from tune.cli.parser import Parser, UsageError
from tune.cli.presentation import Presentation
from tune.config.addresses import without_secrets
from tune.config.data import GENERAL
from tune.config.prices import modal_usd
from tune.config.search import DEFAULT_CACHE, SearchConfig
from tune.errors import ConfigError, ResultsError, UserError
from tune.events import Message, ignore

app = settings.app
T = TypeVar("T")

_GPUS = f"{', '.join(settings.TRIAL_GPUS)}; with freeze=false {settings.WHOLE_TRIAL_GPU}"
_TIMEOUTS = f"{settings.TRIAL_TIMEOUT}; with freeze=false {settings.WHOLE_TRIAL_TIMEOUT}"

_WORST = "; at most: texts already on the Volume embedtune-snapshots are not bought again"


@app.local_entrypoint()
def main(*arglist: str) -> None:
    """Run `modal run cluster/launch.py OPTIONS`. Exit code: 2 for errors the user can fix, 130 after Ctrl-C."""
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
    """The options that exist only on Modal."""

    gpu: str | None
    head_gpu: str | None
    trial_timeout: int | None
    private_server: bool
    weights: bool = False
    """Download the weights of all trials."""


def make_parser() -> Parser:
    """Return the parser of `tune search` with Modal's options added."""
    parser = search_parser()
    group = parser.add_argument_group("Modal")
    group.add_argument("--gpu", metavar="NAME", help=f"GPU of a trial (default: {_GPUS})")
    group.add_argument("--head-gpu", metavar="NAME", help=f"GPU of the head (default: {', '.join(settings.HEAD_GPUS)})")
    group.add_argument("--max-concurrent", metavar="N", help=f"trials at the same time (default: {settings.JOBS})")
    group.add_argument("--trial-timeout", metavar="SECONDS", help=f"per attempt of a trial (default: {_TIMEOUTS})")
    group.add_argument(
        "--allow-private-server",
        action="store_true",
        default=False,
        help="allow a server (--base-url) at a private address, if containers can reach it, for example by VPN",
    )
    group.add_argument(
        "--download",
        choices=("best", "all"),
        default="best",
        help="what to fetch at the end: all but the weights of single trials (best, the default), or everything",
    )
    assert parser.common is not None
    parser.common |= {"gpu", "max_concurrent"}
    return parser


def launch(arguments: Sequence[str]) -> int:
    """Check, upload, spawn, watch and download; return the exit code."""
    parser = make_parser()
    if any(argument.split("=")[0] == "--extend" for argument in arguments):
        raise UsageError(["--extend works for searches on this machine (python -m tune search), not on Modal"])
    with tempfile.TemporaryDirectory(prefix="embedtune-") as place:
        request, parsed = search_request(parser, arguments, partial(_begun_on_modal, Path(place)))
    options, config = _options(parser, parsed, request.config)
    presentation = Presentation.of(parsed)
    if presentation.quiet or presentation.json:
        quiet_modal()
    command = shlex.join(["modal", "run", "cluster/launch.py", *map(without_secrets, arguments)])
    if parsed.dry_run:
        return _dry_run(config, options)
    if request.resume is not None:
        return _resume(SearchRequest(config, resume=request.resume), options, command, presentation)
    check_servers(config, options.private_server)
    config, agreed_usd = _checked(config, presentation)
    calls = CallOptions(uuid.uuid4().hex, options.gpu, options.trial_timeout, agreed_usd, run=uuid.uuid4().hex)
    data = upload_data(settings.results_volume, config.data.data)
    order = HeadOrder(config, command, calls, data, _uploaded_guards(config))
    return watch(_spawn(order, options), calls.events, config, presentation, options.weights)


def _options(parser: Parser, parsed: argparse.Namespace, config: SearchConfig) -> tuple[Options, SearchConfig]:
    """Return Modal's own options, and the configuration with --max-concurrent applied. Raises ConfigError."""
    given = vars(parsed)
    problems: list[str] = []
    numbers: dict[str, int | None] = {}
    for name, flag in (("max_concurrent", "--max-concurrent"), ("trial_timeout", "--trial-timeout")):
        text = given.get(name)
        numbers[name] = int(text) if text is not None and text.isdigit() and int(text) > 0 else None
        if text is not None and numbers[name] is None:
            problems.append(f"{flag}: must be a whole number above 0, not {text!r}; see {parser.prog} --help")
    jobs = numbers["max_concurrent"]
    if jobs is not None and config.search.jobs not in (None, jobs):
        problems.append(f"--max-concurrent {jobs} and --jobs {config.search.jobs} mean the same; give only one")
    if (jobs or config.search.jobs or 0) > settings.MAX_JOBS:
        problems.append(f"--max-concurrent: must be at most {settings.MAX_JOBS}, what one head can drive")
    if (numbers["trial_timeout"] or 0) > settings.HEAD_TIMEOUT:
        problems.append(f"--trial-timeout: must be at most {settings.HEAD_TIMEOUT} seconds, Modal's limit")
    for name in ("ray_address", "gpus_per_trial"):
        if getattr(config.search, name):
            problems.append(f"[search] {name}: not available on Modal, where each trial has its own GPU; remove it")
    if config.search.precision == "int8":
        problems.append("[search] precision: int8 runs on CPUs, and on Modal a GPU embeds; use fp32 or bf16")
    gpus = settings.trial_gpus(config.whole, given.get("gpu"))
    if config.search.max_usd is not None and modal_usd(1.0, gpus, config.search.gpu_usd_per_hour) is None:
        problems.append(f"[search] max_usd: the price of {gpus} is unknown; give it with --gpu-usd-per-hour")
    if config.search.cache != DEFAULT_CACHE:
        problems.append("[search] cache: not available on Modal, where texts are kept on a Volume; remove it")
    if problems:
        raise ConfigError(problems)
    if jobs is not None:
        config = config.model_copy(update={"search": config.search.model_copy(update={"jobs": jobs})})
    chosen = given.get("gpu"), given.get("head_gpu")
    weights = parsed.download == "all"
    return Options(*chosen, numbers["trial_timeout"], parsed.allow_private_server, weights), config


def _checked(config: SearchConfig, presentation: Presentation) -> tuple[SearchConfig, float]:
    """Check everything that can be checked here; return the configuration with a name, and the USD agreed to.

    Covers options, base models and their servers, names and pairs. Raises UserError.
    """
    from tune.embed.base_models import PACKAGED
    from tune.embed.purchase import agree, search_estimates
    from tune.pipeline.pairs import guards_of, read_split, with_train_sizes
    from tune.pipeline.preflight import check_search
    from tune.results.naming import name_stem

    # Packaged base models are in the image, even if they are not installed here.
    remote = tuple(name for name in config.base_models if name not in PACKAGED)
    if local := [name for name in remote if Path(name).expanduser().exists()]:
        raise ConfigError(
            [f"[space] base_model: Modal's containers cannot read the folder {local[0]}; use a model on the hub"]
        )
    check_search(config, resume=False, elsewhere=set(PACKAGED), sdks=False)
    name = config.search.name
    taken = _searches()
    if name is not None and name in taken:
        raise ResultsError(
            f"the Volume embedtune-results already has a search {name}; choose another --name, or use --resume {name}"
        )

    split, _ = read_split(config, ignore)
    guards_of(config)
    config = with_train_sizes(config, split, ignore)
    agreed_usd = config.closed.max_embed_usd
    if config.closed_models:
        stop_status_line()
        display = presentation.display()
        estimates = search_estimates(config, split, None)
        agree(estimates, config.closed, display.emit, display.asker(), _WORST)
        agreed_usd = max(agreed_usd, sum(estimate.usd or 0.0 for estimate in estimates))
    if name is None:
        stem = f"{name_stem(config)}-{time.strftime('%Y%m%d-%H%M')}"
        names = [stem, *(f"{stem}-{number}" for number in range(2, 100))]
        name = next(free for free in names if free not in taken and not (config.search.results / free).exists())
    return config.model_copy(update={"search": config.search.model_copy(update={"name": name})}), agreed_usd


def _uploaded_guards(config: SearchConfig) -> tuple[str | None, ...]:
    """Upload the guard sets that are files here; return where each is in a container, None for any other."""
    return tuple(None if name == GENERAL else upload_data(settings.results_volume, name) for name in config.data.guards)


def check_servers(config: SearchConfig, allow_private: bool = False) -> None:
    """Raise ConfigError if a closed model's server has a private address, which containers cannot reach.

    allow_private: skip the check, since the user says that they can.
    """
    from tune.config.closed import ADDRESS_OPTION, provider_of
    from tune.embed.closed.names import is_private_server

    if allow_private:
        return
    providers = {provider_of(name) for name in config.closed_models}
    problems = [
        f"[closed] {option}: Modal's containers cannot reach {url}, a private address; use a public one, run "
        "python -m tune search here, or add --allow-private-server if they can reach it (VPN)"
        for provider, option in ADDRESS_OPTION.items()
        if provider in providers and (url := getattr(config.closed, option)) is not None and is_private_server(url)
    ]
    if problems:
        raise ConfigError(problems)


def _dry_run(config: SearchConfig, options: Options) -> int:
    from cluster.plan import place, upload_line
    from tune.cli.display import SearchDisplay
    from tune.embed.base_models import PACKAGED
    from tune.pipeline.dry_run import dry_run
    from tune.pipeline.preflight import check_search

    check_servers(config, options.private_server)
    check_search(config, resume=True, elsewhere=set(PACKAGED), buys=False)
    stop_status_line()
    display = SearchDisplay()
    display.emit(Message(upload_line(config)))
    dry_run(config, display.emit, None, _WORST, place(config, options.gpu))
    return 0


def _searches() -> set[str]:
    """Return the names of all searches that a head has begun."""
    return {Path(path).stem for path in names_in(settings.results_volume, HEADS)}


def _begun_on_modal(place: Path, folder: Path) -> Path:
    """Copy the search.toml of a search on the Volume to the folder `place`; return its path. Raises ResultsError."""
    text = _reached(lambda: read_text(settings.results_volume, f"{folder.name}/search.toml"))
    if text is None:
        known = ", ".join(sorted(_reached(_searches))[-5:])
        raise ResultsError(
            f"the Volume embedtune-results has no search {folder.name} to resume"
            + (f"; it has {known}" if known else "")
        )
    path = place / "search.toml"
    path.write_text(text)
    return path


def _resume(request: SearchRequest, options: Options, command: str, presentation: Presentation) -> int:
    """Download a finished search, watch a running one, or start a new head for any other; return the exit code.

    A new head may spend up to max_embed_usd: only the head can see which texts the Volume lacks.
    """
    from tune.embed.base_models import check_source

    config, name = request.config, str(request.resume)
    summary = _on_volume(f"{name}/summary.json")
    if summary.get("finished"):
        presentation.display().emit(Message(f"search {name} is finished; downloading its results"))
        return fetch_results(config, presentation, options.weights)
    about = _on_volume(f"{HEADS}/{name}.json")
    if about.get("call") and _reached(lambda: _is_running(about["call"])):
        presentation.display().emit(Message(f"search {name} is running; watching it"))
        return watch(about["call"], about["events"], config, presentation, options.weights)
    check_servers(config, options.private_server)
    for model in config.closed_models:
        check_source(model, config.closed, sdk=False)
    calls = CallOptions(
        events=uuid.uuid4().hex,
        gpu=options.gpu or about.get("gpu"),
        trial_timeout=options.trial_timeout or about.get("trial_timeout"),
        agreed_usd=config.closed.max_embed_usd,
        run=about.get("run") or uuid.uuid4().hex,
    )
    guards, epoch = tuple(about.get("guards") or ()), about.get("epoch", 0) + 1
    order = HeadOrder(config, command, calls, about.get("data"), guards, epoch)
    return watch(_spawn(order, options), calls.events, config, presentation, options.weights)


def _on_volume(path: str) -> dict[str, Any]:
    """Return the object in a JSON file on the results Volume; {} if there is none."""
    found: dict[str, Any] = json.loads(_reached(lambda: read_text(settings.results_volume, path)) or "{}")
    return found


def _is_running(call: str) -> bool:
    """Return whether a head still runs. Raises what asking raised, if that leaves it open."""
    answer = ask(call)
    if answer.state == "unknown" and answer.error is not None:
        raise answer.error
    return answer.state == "running"


def _reached(work: Callable[[], T]) -> T:
    """Return `work()`; while Modal cannot be reached, say so once and wait. Raises ResultsError after ASK_SECONDS."""

    def say(error: BaseException) -> None:
        minutes = settings.ASK_SECONDS / 60
        print(f"Modal cannot be reached ({described(error)}); trying for {minutes:.0f} minutes", file=sys.stderr)

    try:
        return patiently(work, settings.ASK_SECONDS, say)
    except (modal.exception.Error, OSError) as error:
        if isinstance(error, modal.exception.NotFoundError):
            raise
        hint = "try again" if passes(error) else "check your token and connection, and try again"
        raise ResultsError(f"Modal cannot be asked ({described(error)}); nothing was started; {hint}") from error


def _spawn(order: HeadOrder, options: Options) -> str:
    """Spawn the head, as the last call made from here; return its id. Raises ConfigError for an unknown GPU.

    If Modal does not answer it is spawned again: of two heads with one epoch, one leaves.
    """
    search = order.config.search.model_copy(update={"results": settings.RESULTS})
    order = replace(order, config=order.config.model_copy(update={"search": search}))
    if options.head_gpu is None:
        return str(patiently(lambda: search_head.spawn(order), settings.ASK_SECONDS).object_id)
    head = search_head.with_options(gpu=options.head_gpu)
    try:
        patiently(head.hydrate, settings.ASK_SECONDS)
    except modal.exception.Error as error:
        raise ConfigError([f"--head-gpu {options.head_gpu}: Modal does not accept this GPU: {error}"]) from error
    return str(patiently(lambda: head.spawn(order), settings.ASK_SECONDS).object_id)


__all__ = ["app", "embed_closed", "embed_snapshot", "launch", "main", "search_head", "train_trial"]
