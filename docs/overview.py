"""Draws docs/overview.svg, the picture in the README: pairs, vectors, trials, verdict.

`python docs/overview.py` rewrites the file beside this one. Standard library only, and the same bytes every time.
Light colours are attributes on an opaque panel, so the picture is legible on any page even if its style is dropped;
the style switches to dark colours if the reader prefers them.
"""

from html import escape
from pathlib import Path

TITLE = "From labelled pairs to a verdict"
DESCRIPTION = (
    "Four steps from left to right. Pairs: labelled text pairs are split into train, validation and test so that no "
    "text is on two sides. Vectors: each base model embeds every text once. Trials: Ray Tune trains many "
    "configurations, and ASHA stops the weak ones early on validation AUC. Verdict: the winner is fixed on validation "
    "and compared with the untouched base model on the test side, with a 95% interval. Example: MiniLM on Quora goes "
    "from a test AUC of 0.8812 to 0.9082, a gain of 2.7 points, interval 2.0 to 3.4."
)

WIDTH, HEIGHT = 800, 318
CARD_WIDTH, CARD_HEIGHT, CARD_TOP, GAP, MARGIN, PADDING = 172, 286, 16, 28, 14, 14
SANS = "-apple-system, 'Segoe UI', 'Helvetica Neue', Helvetica, Arial, sans-serif"

COLOURS: dict[str, tuple[str, str, str]] = {
    # class: (property, light, dark)
    "panel": ("fill", "#ffffff", "#0d1117"),
    "card": ("fill", "#f6f8fa", "#161b22"),
    "ink": ("fill", "#1f2328", "#f0f6fc"),
    "muted": ("fill", "#59636e", "#9da7b3"),
    "faint": ("fill", "#d1d9e0", "#3d444d"),
    "blue": ("fill", "#0969da", "#58a6ff"),
    "green": ("fill", "#1a7f37", "#3fb950"),
    "on": ("fill", "#ffffff", "#0d1117"),
    "edge": ("stroke", "#d1d9e0", "#3d444d"),
    "arrow": ("stroke", "#59636e", "#9da7b3"),
    "weak": ("stroke", "#8c959f", "#6e7681"),
    "win": ("stroke", "#1a7f37", "#3fb950"),
}

Parts = list[str]


def paint(name: str) -> str:
    """Return the class attribute and, as the fallback, the light colour."""
    kind, light, _ = COLOURS[name]
    return f'class="{name}" {kind}="{light}"' + (' fill="none"' if kind == "stroke" else "")


def text(x: float, y: float, words: str, name: str, size: float = 12.5, extra: str = "") -> str:
    """Return one line of text; `extra` holds further attributes."""
    space = " " if extra else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" {paint(name)}{space}{extra}>{escape(words)}</text>'


def bar(x: float, y: float, width: float, height: float, name: str, extra: str = 'rx="3"') -> str:
    """Return a filled rectangle."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" {extra} {paint(name)}/>'


def line(points: str, name: str, width: float = 2) -> str:
    """Return a polyline through `points`."""
    return (
        f'<polyline points="{points}" {paint(name)} stroke-width="{width:g}" '
        'stroke-linecap="round" stroke-linejoin="round"/>'
    )


def dot(x: float, y: float, radius: float, name: str) -> str:
    """Return a filled circle."""
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" {paint(name)}/>'


def card(number: int, title: str, caption: tuple[str, str, str]) -> Parts:
    """Return the card of one step: frame, title, and three caption lines."""
    left = left_of(number)
    inner = left + PADDING
    frame = f'<rect x="{left}" y="{CARD_TOP}" width="{CARD_WIDTH}" height="{CARD_HEIGHT}" rx="10" {paint("card")}/>'
    edge = (
        f'<rect x="{left + 0.5}" y="{CARD_TOP + 0.5}" width="{CARD_WIDTH - 1}" height="{CARD_HEIGHT - 1}" rx="10" '
        f"{paint('edge')}/>"
    )
    heading = [
        dot(inner + 10, CARD_TOP + 26, 10, "blue"),
        text(inner + 10, CARD_TOP + 30.5, str(number + 1), "on", 12.5, 'text-anchor="middle" font-weight="700"'),
        text(inner + 28, CARD_TOP + 32, title, "ink", 17, 'font-weight="600"'),
    ]
    lines = [text(inner, CARD_TOP + 234 + 18 * place, words, "muted") for place, words in enumerate(caption)]
    return [frame, edge, *heading, *lines]


def left_of(number: int) -> int:
    """Return the left edge of a card."""
    return MARGIN + number * (CARD_WIDTH + GAP)


def arrow(number: int) -> Parts:
    """Return the arrow from a card to the next."""
    start = left_of(number) + CARD_WIDTH + 6
    end, middle = start + GAP - 12, CARD_TOP + 124
    return [
        line(f"{start},{middle} {end},{middle}", "arrow"),
        line(f"{end - 5},{middle - 5} {end},{middle} {end - 5},{middle + 5}", "arrow"),
    ]


def pairs() -> Parts:
    """Return step 1: rows of two texts and a label, and the three sides of the split."""
    left, top = left_of(0) + PADDING, CARD_TOP + 76
    parts = [text(left + x, top - 10, words, "muted", 11.5) for x, words in ((0, "text"), (62, "text"))]
    parts.append(text(left + 144, top - 10, "label", "muted", 11.5, 'text-anchor="end"'))
    for row, (first, second, label) in enumerate(((52, 44, 1), (38, 54, 0), (56, 36, 1), (46, 50, 0))):
        y = top + 6 + 22 * row
        parts += [bar(left, y, first, 10, "faint"), bar(left + 62, y, second, 10, "faint")]
        parts += [
            bar(left + 126, y - 4, 18, 18, "green" if label else "muted", 'rx="9"'),
            text(left + 135, y + 9, str(label), "on", 11.5, 'text-anchor="middle" font-weight="700"'),
        ]
    y = top + 100
    for x, width, name in ((0, 84, "blue"), (87, 26, "muted"), (116, 28, "green")):
        parts.append(bar(left + x, y, width, 12, name))
    for x, side in ((42, "train"), (100, "val"), (130, "test")):
        parts.append(text(left + x, y + 27, side, "muted", 11.5, 'text-anchor="middle"'))
    return parts


def vectors() -> Parts:
    """Return step 2: a row of numbers per text, for each of two base models."""
    left, top = left_of(1) + PADDING, CARD_TOP + 70
    parts = []
    for model, name in enumerate(("minilm", "wordllama")):
        y = top + 76 * model
        parts.append(text(left, y, name, "ink", 12.5))
        for row in range(3):
            for column in range(12):
                strength = 0.16 + 0.12 * ((5 * column + 7 * row + 3 * model + column * row) % 8)
                place = f'rx="2" fill-opacity="{strength:.2f}"'
                parts.append(bar(left + 12 * column, y + 9 + 14 * row, 10.5, 10.5, "blue", place))
    return parts


CURVES = (
    # (share of the trial seen, validation AUC), both in percent of the plot; the last one wins
    (((0, 2), (6, 11)), "weak"),
    (((0, 6), (6, 23)), "weak"),
    (((0, 14), (6, 30), (14, 37), (25, 41)), "weak"),
    (((0, 18), (6, 38), (14, 47), (25, 52)), "weak"),
    (((0, 20), (6, 44), (14, 58), (25, 66), (45, 72), (70, 75), (100, 77)), "weak"),
    (((0, 16), (6, 46), (14, 63), (25, 74), (45, 84), (70, 90), (100, 93)), "win"),
)


def trials() -> Parts:
    """Return step 3: validation AUC of several trials over the share of their training that they have seen."""
    left, top, width, height = left_of(2) + PADDING, CARD_TOP + 70, 144, 110
    bottom = top + height
    parts = [
        text(left, top - 2, "validation AUC", "muted", 11.5),
        line(f"{left},{bottom} {left + width},{bottom}", "edge"),
    ]
    for share, words, anchor in ((6, "1/16", "middle"), (25, "1/4", "middle"), (100, "full training", "end")):
        x = left + width * share / 100
        parts.append(line(f"{x:g},{bottom} {x:g},{top + 8}", "edge", 1))
        parts.append(text(x, bottom + 16, words, "muted", 11.5, f'text-anchor="{anchor}"'))
    for curve, name in CURVES:
        places = [(left + width * x / 100, bottom - (height - 8) * y / 100) for x, y in curve]
        parts.append(line(" ".join(f"{x:.1f},{y:.1f}" for x, y in places), name, 3 if name == "win" else 2))
        x, y = places[-1]
        parts.append(dot(round(x, 1), round(y, 1), 5 if name == "win" else 3.5, "green" if name == "win" else "muted"))
    return parts


def verdict() -> Parts:
    """Return step 4: test AUC with intervals, and the difference. Figures: results/quora/minilm-asha."""
    left, top = left_of(3) + PADDING, CARD_TOP + 68

    def x_of(auc: float) -> float:
        return round(left + (auc - 0.868) / (0.918 - 0.868) * 144, 1)

    parts = [text(left, top, "MiniLM on Quora, test", "muted", 11.5)]
    rows = (("untouched", "0.8812", 0.8812, 0.8708, 0.8911), ("winner", "0.9082", 0.9082, 0.8995, 0.9165))
    for row, (name, shown, auc, low, high) in enumerate(rows):
        y = top + 24 + 39 * row
        fill, stroke = ("green", "win") if row else ("muted", "weak")
        parts += [
            text(left, y, name, "ink"),
            text(left + 144, y, shown, "ink", 12.5, 'text-anchor="end" font-weight="600"'),
            line(f"{x_of(low)},{y + 14} {x_of(high)},{y + 14}", stroke, 3),
            dot(x_of(auc), y + 14, 5, fill),
        ]
    parts += [
        text(left, top + 112, "+2.7 points", "green", 21, 'font-weight="700"'),
        text(left, top + 130, "95% interval [2.0, 3.4]", "muted"),
    ]
    return parts


CARDS = (
    ("Pairs", ("labelled 1 or 0, split", "so that no text is", "on two sides"), pairs),
    ("Vectors", ("each text embedded", "once per base model,", "then kept"), vectors),
    ("Trials", ("Ray Tune trains a layer", "or the whole model;", "ASHA stops weak ones"), trials),
    ("Verdict", ("winner fixed on val,", "test opened once,", "model saved"), verdict),
)


def draw() -> str:
    """Return the whole picture as SVG text."""
    dark = "".join(f".{name}{{{kind}:{colour}}}" for name, (kind, _, colour) in COLOURS.items())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-labelledby="title description" font-family="{SANS}">',
        f'<title id="title">{escape(TITLE)}</title>',
        f'<desc id="description">{escape(DESCRIPTION)}</desc>',
        f"<style>@media (prefers-color-scheme: dark){{{dark}}}</style>",
        bar(0, 0, WIDTH, HEIGHT, "panel", 'rx="12"'),
    ]
    for number, (title, caption, picture) in enumerate(CARDS):
        parts += [*card(number, title, caption), *picture()]
        if number < len(CARDS) - 1:
            parts += arrow(number)
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("overview.svg").write_text(draw(), encoding="utf-8")
