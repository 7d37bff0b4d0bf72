"""How figures look: one hand for all of them, in a light and a dark mode, safe for colour-blind readers and in print.

A figure's specification names roles ("soft", "ink") and leaves colours to the mode, so page and pictures draw the same
specification. Lines are labelled where they end, baselines are thin and grey, intervals are bands.
"""

import textwrap
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import altair as alt

Mode = Literal["light", "dark"]
MODES: tuple[Mode, ...] = ("light", "dark")
WIDTH, HEIGHT = 680, 380
NARROW = 340
"""Pixels of a figure on a phone, if it is legible there."""
SERIES = 8
"""Series that can be told apart by colour; dash and shape differ too."""

_LETTER = 6.2
"""Mean width of a subtitle's letter in pixels."""
_FONT = "Inter, 'Helvetica Neue', Arial, sans-serif"
_ROLES = {
    "light": {"ink": "#1f2328", "soft": "#6e7781", "grid": "#eaeef2", "paper": "#ffffff", "warn": "#bc4c00"},
    "dark": {"ink": "#e6edf3", "soft": "#9198a1", "grid": "#21262d", "paper": "#0d1117", "warn": "#f0883e"},
}
_SERIES = {
    "light": ["#0969da", "#bc4c00", "#8250df", "#1a7f37", "#bf3989", "#0a7f83", "#7d4e00", "#57606a"],
    "dark": ["#58a6ff", "#f0883e", "#bc8cff", "#56d364", "#f778ba", "#39c5cf", "#d4a72c", "#8b949e"],
}
_RAMP = {"light": ["#d8dee4", "#8fc1ee", "#0969da"], "dark": ["#2d333b", "#2b5a8f", "#58a6ff"]}
"""From the weakest to the best."""


@dataclass(frozen=True)
class Figure:
    """A figure: its name (of a file, and in the page), a title that states the finding, a subtitle, and the chart."""

    name: str
    title: str
    subtitle: str
    chart: Any
    """An Altair chart without title and configuration."""
    room: int = 0
    """Pixels at the right for labels where lines end; a page's figures, which fit its width, need to know."""
    half: bool = False
    """Whether it is square, so that two of them stand side by side on a wide page."""
    least: int = 520
    """Pixels below which it does not shrink on a narrow page, but scrolls."""

    def spec(self, mode: Mode | None = None) -> dict[str, Any]:
        """Return the Vega-Lite specification, with title and colours of a mode; without both for the page (None)."""
        drawn = dict(self._drawn)
        if mode is None:
            return drawn
        wide = drawn["width"] if isinstance(drawn.get("width"), int) else WIDTH
        # A subtitle on one line could make the picture far wider than the plot.
        title = alt.Title(self.title, subtitle=textwrap.wrap(self.subtitle, round((wide + self.room) / _LETTER)))
        return {**drawn, "title": title.to_dict(), "config": config(mode)}

    @cached_property
    def _drawn(self) -> dict[str, Any]:
        # Altair's limit of 5,000 rows is for notebooks; 500 trials have 8,000 reports. Its check of every chart against
        # the schema takes as long as all else together, and the tests do the same.
        with alt.data_transformers.enable("default", max_rows=None):
            return dict(self.chart.to_dict(validate=False))


def config(mode: Mode) -> dict[str, Any]:
    """Return the Vega-Lite configuration of a mode."""
    role = _ROLES[mode]
    text = {"labelColor": role["soft"], "titleColor": role["soft"], "labelFontSize": 12, "titleFontSize": 12}
    axis = {"domain": False, "ticks": False, "gridColor": role["grid"], "titleFontWeight": 400}
    colours = {**role, "accent": _SERIES[mode][0]}
    return {
        "background": role["paper"],
        "font": _FONT,
        "padding": 20,
        "view": {"stroke": None},
        "axis": {**axis, **text, "labelPadding": 8, "titlePadding": 12},
        "header": text,
        "legend": {**text, "symbolBaseFillColor": role["soft"], "symbolBaseStrokeColor": role["soft"]},
        "range": {"category": _SERIES[mode], "ramp": _RAMP[mode]},
        "style": {
            **{name: {"color": colours[name]} for name in ("ink", "soft", "warn", "accent")},
            "on": {"color": role["paper"]},
            "halo": {"color": role["paper"], "stroke": role["paper"], "strokeWidth": 4, "strokeJoin": "round"},
        },
        "title": {
            "anchor": "start",
            "color": role["ink"],
            "fontSize": 18,
            "fontWeight": 600,
            "subtitleColor": role["soft"],
            "subtitleFontSize": 13,
            "offset": 18,
            "subtitlePadding": 6,
        },
    }
