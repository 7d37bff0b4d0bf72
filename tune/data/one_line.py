"""A user's text as people are shown it: on one line, cut, without anything that a terminal or a page would obey."""

_JOINERS = "\u200c\u200d"
"""Parts of words in Persian and Indic scripts, and of emoji."""


def one_line(text: str, longest: int) -> str:
    """Return a text on one line without control characters, cut to at most `longest` characters."""
    plain = " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in text).split())
    return plain if len(plain) <= longest else f"{plain[: longest - 1].rstrip()}…"
