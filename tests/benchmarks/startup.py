"""Start-up of the command line: CPU time and imported modules of commands that do no work.

Measures `--help`, `search --help` and a usage error, each in new processes; CPU time is user plus system time, the
median of several runs, with that of a bare Python beside it. Target: at most 0.7 s for either `--help`, with none of
the heavy packages imported.

If EMBEDTUNE_BENCH_BEFORE names another checkout, it is measured in the same rounds, with the same Python.
"""

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.common import Options, Result, Target, median

TITLE = "start-up of the command line: CPU seconds and imported modules"
BEFORE_VARIABLE = "EMBEDTUNE_BENCH_BEFORE"
MOST_SECONDS = 0.7
HEAVY = ("torch", "ray", "transformers", "pandas", "datasets", "scipy", "sklearn")

_MODULES = """
import json, runpy, sys
sys.argv = ["tune", *sys.argv[1:]]
try:
    runpy.run_module("tune", run_name="__main__", alter_sys=True)
except SystemExit:
    pass
print()
print(json.dumps(sorted(sys.modules)))
"""
"""Runs the command and prints, on the last line, the modules that it has imported."""


@dataclass(frozen=True)
class _Command:
    """Arguments of `python -m tune` and the exit code to expect."""

    arguments: tuple[str, ...]
    code: int = 0

    @property
    def name(self) -> str:
        return " ".join(self.arguments)


COMMANDS = (_Command(("--help",)), _Command(("search", "--help")), _Command(("search", "--base-modle", "x"), code=2))


def run(options: Options) -> Result:
    """Run every command several times, in alternation; results are by checkout if there are two."""
    checkouts = {"now": Path.cwd()}
    if before := os.environ.get(BEFORE_VARIABLE):
        checkouts["before"] = Path(before).resolve()
    seconds: dict[tuple[str, str], list[float]] = {}
    alone: list[float] = []
    # The first round only compiles and reads files.
    for number in range(1 + options.pick(7, 1)):
        for checkout, folder in checkouts.items():
            for command in COMMANDS:
                arguments = ["-m", "tune", *command.arguments]
                taken = _cpu_seconds(arguments, folder, command.code)
                if number:
                    seconds.setdefault((checkout, command.name), []).append(taken)
        alone.append(_cpu_seconds(["-c", "pass"], Path.cwd()))
    result = Result()
    result.figures["python_alone_cpu_seconds"] = median(alone)
    for checkout, folder in checkouts.items():
        result.figures[checkout] = {
            command.name: _figures(seconds[checkout, command.name], _modules(command, folder)) for command in COMMANDS
        }
    if before:
        result.figures["cpu_seconds_before_over_now"] = {
            name: result.figures["before"][name]["cpu_seconds"] / result.figures["now"][name]["cpu_seconds"]
            for name in result.figures["now"]
        }
        result.notes.append(f"before: another checkout, given by {BEFORE_VARIABLE}")
    for command in COMMANDS:
        now = result.figures["now"][command.name]
        if command.code == 0:
            result.targets.append(Target(f"{command.name}: CPU seconds", now["cpu_seconds"], most=MOST_SECONDS))
        result.targets.append(Target(f"{command.name}: heavy packages", len(now["heavy_packages"]), most=0))
    return result


def _figures(seconds: list[float], modules: list[str]) -> dict[str, Any]:
    return {
        "cpu_seconds": median(seconds),
        "cpu_seconds_least": min(seconds),
        "modules": len(modules),
        "heavy_packages": [name for name in HEAVY if name in modules],
    }


def _cpu_seconds(arguments: list[str], folder: Path, code: int = 0) -> float:
    """Return the user plus system seconds of `python ARGUMENTS`, which must exit with `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _python(arguments, folder, code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _modules(command: _Command, folder: Path) -> list[str]:
    """Return the modules that a command imports, including the few that this check needs."""
    printed = _python(["-c", _MODULES, *command.arguments], folder, 0)
    modules: list[str] = json.loads(printed.splitlines()[-1])
    return modules


def _python(arguments: list[str], folder: Path, code: int) -> str:
    """Run Python in a checkout; return its standard output. Raises RuntimeError if it does not exit with `code`."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    if done.returncode != code:
        raise RuntimeError(f"python {' '.join(arguments)} exited with {done.returncode}, not {code}: {done.stderr}")
    return done.stdout
