"""Values as Markdown: names and texts that others chose are data, never markup."""

import html
import re
from collections.abc import Sequence


def plain(text: object) -> str:
    """Return a text on one line, shown as it is: no HTML, no cell's end."""
    escaped = html.escape(" ".join(str(text).split()), quote=False)
    return escaped.replace("|", "\\|")


def code(text: str) -> str:
    """Return a text as a code span, whatever backticks it contains."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return a table of texts, not yet escaped. right: columns to align at the right."""
    rule = ["---:" if column in right else "---" for column in range(len(headings))]
    lines = [list(map(plain, headings)), rule, *(list(map(plain, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
