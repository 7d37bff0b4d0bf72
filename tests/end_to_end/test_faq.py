"""Pages that quote the code stay true to it: messages in docs/faq.md, files and names in docs/architecture.md.

A static check, without imports of ours: a quoted message must be part of a string literal under tune/ or cluster/.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tune", "cluster")
PLACEHOLDERS = ("NAME", "N", "FILE", "FOLDER", "VALUE", "SERVER", "WORD", "REASON")
"""Words in a quoted message that stand for anything; the page explains them."""
_PLACEHOLDER = re.compile(rf"\b(?:{'|'.join(PLACEHOLDERS)})\b")
_ANYTHING = "\0"


def quoted_messages() -> list[str]:
    """Return the code spans in the first column of the FAQ's tables."""
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "faq.md").read_text(encoding="utf-8"), flags=re.M)
    return [message for cell in rows for message in re.findall(r"`([^`]+)`", cell)]


@cache
def literals() -> tuple[str, ...]:
    """Return every string literal that is not a docstring, with a NUL for each value filled in at run time."""
    found: list[str] = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
            docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            texts = (text_of(node) for node in ast.walk(tree) if id(node) not in parts | docstrings)
            found += [text for text in texts if text]
    return tuple(dict.fromkeys(found))


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        # Messages that are filled in later, by str.format or logging.
        return re.sub(r"\{\w*\}|%[sdr]", _ANYTHING, node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else _ANYTHING for part in node.values)
    return ""


def pattern(message: str) -> re.Pattern[str]:
    """Return what matches the message in a literal."""
    return re.compile(".*?".join(map(re.escape, _PLACEHOLDER.split(message))), flags=re.S)


def test_every_quoted_message_is_in_the_source() -> None:
    messages = quoted_messages()
    assert len(messages) >= 50
    gone = [message for message in messages if not any(pattern(message).search(text) for text in literals())]
    assert gone == [], "docs/faq.md quotes messages that no longer exist"


def test_a_quoted_message_says_enough_to_be_found() -> None:
    messages = quoted_messages()
    assert [message for message in messages if len(_PLACEHOLDER.sub("", message).split()) < 2] == []
    assert len(set(messages)) == len(messages), "a message is listed twice"


@pytest.mark.parametrize(
    ("message", "there"),
    [("only N pairs in NAME", True), ("NAME is not installed", True), ("this was never a message", False)],
)
def test_placeholders_match_what_is_filled_in(message: str, there: bool) -> None:
    made = ("only \0 \0 pairs in \0, but", "base model \0 is not installed; run pip")
    assert any(pattern(message).search(text) for text in made) is there


def test_the_architecture_page_names_what_exists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/.]+\.py)`(?::?\s+`([A-Za-z_]+)`)?", page)
    assert named
    missing = []
    for path, name in named:
        file = ROOT / path if path.startswith(("cluster/", "tests/")) else ROOT / "tune" / path
        if not file.is_file() or (name and not re.search(rf"\b{name}\b", file.read_text(encoding="utf-8"))):
            missing.append(f"{path} {name}".strip())
    assert missing == []
