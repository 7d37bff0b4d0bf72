"""Paths of this machine in what others will read."""

import html
import json
import shlex

import pytest

from tune.config.paths import without_these

PATH = '/home/o\'neill/d\u00e9j\u00e0 "vu"/pairs.csv'


@pytest.mark.parametrize(
    "text",
    [
        PATH,
        json.dumps({"data": PATH}),
        json.dumps({"data": PATH}, ensure_ascii=False),
        html.escape(PATH, quote=False),
        html.escape(PATH, quote=False).replace("'", "&#39;").replace('"', "&#34;"),
        shlex.join(["search", f"--data={PATH}"]),
        f"cannot read {PATH}: no space left",
        f"file://{PATH}",
    ],
)
def test_a_path_is_found_however_it_is_written(text: str) -> None:
    left = without_these(text, {PATH: "pairs.csv"})
    assert "pairs.csv" in left and "neill" not in left and "vu" not in left


def test_what_is_no_path_stays() -> None:
    tokens = '{"/data": 5, "/": 6, "x/y": 7}'
    assert without_these(tokens, {"/data": "data", "/": "", "~": "~", "..": ".."}) == tokens
    near = "/home/ann/databases https://example.com/home/ann/data"
    assert without_these(near, {"/home/ann/data": "data"}) == near


def test_the_longest_path_goes_first() -> None:
    names = {"/home/ann": "~", "/home/ann/models/own": "own"}
    assert without_these("/home/ann/models/own and /home/ann/venv", names) == "own and ~/venv"
