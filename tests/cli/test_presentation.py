"""--json: one JSON object on stdout, and nothing else."""

import json

import pytest

from tune.cli.presentation import Presentation


def test_numbers_that_json_lacks_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    Presentation(json=True).finish({"auc": float("nan"), "more": [1.5, float("inf")], "name": "\u00e9"})

    def refuse(number: str) -> float:
        raise AssertionError(f"{number} is not JSON")

    said = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert said == {"auc": None, "more": [1.5, None], "name": "\u00e9"}


def test_what_libraries_print_goes_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    for presentation, where in ((Presentation(json=True), "err"), (Presentation(), "out")):
        with presentation.apart():
            print("a model's own code")
        printed = capsys.readouterr()
        assert getattr(printed, where) == "a model's own code\n" and printed.out + printed.err == "a model's own code\n"
