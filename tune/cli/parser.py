"""The flags of the command line: every option of the configuration, in groups, with a short and a full help page.

`--help` shows the options most people need, `--help-all` all of them.
"""

import argparse
import difflib
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tune.config.search import OPTIONS, flag
from tune.config.space import Range, Space
from tune.errors import ConfigError

GROUPS: dict[str, dict[str, str]] = {
    "data": {
        "data": "FILE|DIR|DATASET", "text_a": "COLUMN", "text_b": "COLUMN", "label": "COLUMN",
        "positive_label": "VALUE,...", "positive_from": "SCORE", "score": "COLUMN", "score_min": "SCORE",
        "score_max": "SCORE", "split_column": "COLUMN", "split": "components|queries|cut", "prompt_a": "TEXT",
        "prompt_b": "TEXT", "max_length": "TOKENS", "guard": "PAIRS,...",
    },
    "search": {
        "search": "grid|random|optuna|asha", "trials": "N", "jobs": "N", "seed": "N", "max_hours": "HOURS",
        "max_usd": "USD", "target_auc": "AUC", "max_failures": "N", "gpu_usd_per_hour": "USD",
        "finalists": "N", "folds": "N", "name": "NAME", "results": "DIR", "report": "true|false", "cache": "DIR",
        "precision": "fp32|bf16|int8", "deterministic": "true|false",
        "trust_remote_code": "true|false",
        "ray_address": "HOST:PORT", "gpus_per_trial": "N",
    },
    "space (lists a,b,c or ranges LOW:HIGH)": {
        "base_model": "MODEL,...", "dims": "N,...", "loss": "LOSS,...", "learning_rate": "LOW:HIGH|RATE,...",
        "batch_size": "N,...", "epochs": "N,...", "train_size": "N,...|LOW:all", "matryoshka": "true,false",
        "side": "both,query",
        "hard_negatives": "true,false",
        "warmup": "LOW:HIGH|N,...", "scheduler": "NAME,...", "dropout": "LOW:HIGH|P,...",
        "weight_decay": "LOW:HIGH|X,...", "activation": "identity,tanh", "bias": "auto|true,false",
    },
    "training the base model": {
        "freeze": "true,false", "train": "full,lora", "lora_rank": "N,...", "lora_alpha": "X,...", "eval_pairs": "N",
        "accumulation": "N", "checkpointing": "true|false", "chunk_size": "N", "guard_loss": "AUC",
        "keep_weights": "finalists|all",
    },
    "closed models": {
        "base_url": "URL", "cohere_base_url": "URL", "input_type": "TYPE", "too_long": "truncate|refuse",
        "texts_per_request": "N", "max_in_flight": "N", "request_timeout": "SECONDS", "request_retries": "N",
        "max_embed_usd": "USD", "price_per_million": "USD|NAME=USD,...",
    },
}  # fmt: skip
"""Group -> option -> what its flag takes."""

DRY_RUN = "print the split and the plan (trials, time, disk, costs), then stop"


class UsageError(ConfigError):
    """The command line itself cannot be read."""


class _HelpAll(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> NoReturn:
        assert isinstance(parser, Parser)
        parser.print_help_all()
        sys.exit(0)


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors, and a help page that starts short.

    operands: what comes before the options. common: options on the first help page; None shows all of them there.
    """

    def __init__(
        self, *, prog: str, description: str, operands: str = "", common: Collection[str] | None = None
    ) -> None:
        super().__init__(
            prog=prog,
            usage=" ".join(["%(prog)s", *operands.split(), "[OPTION ...]"]),
            description=description,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
        )
        self.common = None if common is None else {"help", "help_all", *common}
        if common is not None:
            self.add_argument("--help-all", action=_HelpAll, nargs=0, help="show all options")

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing the usage and exiting."""
        raise UsageError([f"{message}; see {self.prog} --help"])

    def format_help(self) -> str:
        """Return the help page: the common options."""
        if self.common is None:
            return super().format_help()
        hidden = [action for action in self._actions if action.dest not in self.common]
        shown = [action.help for action in hidden]
        for action in hidden:
            action.help = argparse.SUPPRESS
        try:
            return super().format_help() + f"\n{self.prog} --help-all lists {len(hidden)} more options.\n"
        finally:
            for action, text in zip(hidden, shown, strict=True):
                action.help = text

    def print_help_all(self) -> None:
        """Print the help page with every option."""
        print(super().format_help(), end="")


def add_options(parser: Parser, names: Collection[str]) -> None:
    """Add the flags of these options of the configuration, in their groups."""
    for title, metavars in GROUPS.items():
        chosen = {name: metavar for name, metavar in metavars.items() if name in names}
        group = parser.add_argument_group(title) if chosen else None
        for name, metavar in chosen.items():
            assert group is not None
            group.add_argument(flag(name), dest=name, metavar=metavar, help=_help(name))


def _help(name: str) -> str:
    _, model = OPTIONS[name]
    field = model.model_fields[name]
    text = (field.description or "").replace("%", "%%")
    shown = _shown(field.default)
    if shown and "default" not in text:
        text += f" (default: {shown})"
    if model is Space and name == "base_model":
        text += "; minilm,wordllama for the demo pairs"
    return text


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join("all" if type(value) is int and value == 0 else _shown(value) for value in default)
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Range | str | int | float | Path):
        return str(default)
    return ""


def unknown_problems(unknown: Sequence[str], parser: Parser) -> list[str]:
    """Return a line for each argument that the parser does not know."""
    options = [argument.split("=")[0] for argument in unknown if argument.startswith("-")]
    if any("key" in option.lower() or option.lower().endswith("token") for option in options):
        # The next word is most likely a key, and is not repeated.
        return [f"no such option {options[0]}: keys come from the environment alone, such as OPENAI_API_KEY"]
    return [_unknown(option, parser) for option in options] + [
        f"unexpected argument {argument!r}" for argument in unknown if not argument.startswith("-")
    ]


def _unknown(name: str, parser: Parser) -> str:
    close = difflib.get_close_matches(name, parser._option_string_actions, n=1)
    return f"no such option {name}{f'; did you mean {close[0]}?' if close else ''}; see {parser.prog} --help"
