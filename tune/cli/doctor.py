"""`python -m tune doctor`: what this machine has for a search, and what is missing."""

from collections import Counter

from tune.cli.options import plain_request
from tune.cli.parser import Parser, add_options


def doctor(arguments: list[str]) -> int:
    """Run `python -m tune doctor`; return 1 if there is a problem."""
    parser = Parser(
        prog="python -m tune doctor",
        description="Check this machine: versions, cores, memory, disk, keys, hub, GPU, and that Ray starts. "
        "Exit code 1 if something would stop a search.",
    )
    add_options(parser, {"results", "cache"})
    config, _ = plain_request(parser, arguments)
    from tune.cli.tables import make_console
    from tune.pipeline.doctor import examine

    console, states = make_console(), Counter[str]()
    for finding in examine(config.search):
        fix = f"; fix: {finding.fix}" if finding.fix else ""
        console.print(f"{finding.state:<8}{finding.name:<10}{finding.text}{fix}", markup=False, soft_wrap=True)
        states[finding.state] += 1
    problems, notes = states["problem"], states["note"]
    console.print(f"{problems} problem{'s' * (problems != 1)}, {notes} note{'s' * (notes != 1)}")
    return 1 if problems else 0
