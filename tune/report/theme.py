"""How figures look: one hand for all of them, in a light and a dark mode, safe for colour-blind readers and in print.

A figure's specification names roles ("soft", "ink") and leaves colours to the mode, so page and pictures draw the same
specification. Lines are labelled where they end, baselines are thin and grey, intervals are bands.
"""

from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

Mode = Literal["light", "dark"]
MODES: tuple[Mode, ...] = ("light", "dark")
WIDTH, HEIGHT = 680, 380
SERIES = 8
"""Series that can be told apart by colour; dash and shape differ too."""

_FONT = "Inter, 'Helvetica Neue', Arial, sans-serif"
_ROLES = {
    "light": {"ink": "#1f2328", "soft": "#6e7781", "grid": "#eaeef2", "paper": "#ffffff", "warn": "#bc4c00"},
    "dark": {"ink": "#e6edf3", "soft": "#9198a1", "grid": "#21262d", "paper": "#0d1117", "warn": "#f0883e"},
}
_SERIES = {
    "light": ["#0969da", "#bc4c00", "#8250df", "#1a7f37", "#bf3989", "#0a7f83", "#7d4e00", "#57606a"],
    "dark": ["#58a6ff", "#f0883e", "#bc8cff", "#56d364", "#f778ba", "#39c5cf", "#d4a72c", "#8b949e"],
}


@dataclass(frozen=True)
class Figure:
    """A figure: its name (of a file, and in the page), a title that states the finding, a subtitle, and the chart."""

    name: str
    title: str
    subtitle: str
    chart: Any
    """An Altair chart without title and configuration."""
    room: int = 0
    """Pixels at the right for labels where lines end."""

    def spec(self, mode: Mode | None = None) -> dict[str, Any]:
        """Return the Vega-Lite specification, with title and colours of a mode; without both for the page (None)."""
        # Altair's limit of 5,000 rows is for notebooks; 500 trials have 8,000 reports.
        with alt.data_transformers.enable("default", max_rows=None):
            if mode is None:
                return dict(self.chart.to_dict())
            title = alt.Title(self.title, subtitle=self.subtitle)
            return dict(self.chart.properties(title=title).to_dict()) | {"config": config(mode, self.room)}


def config(mode: Mode, room: int = 0) -> dict[str, Any]:
    """Return the Vega-Lite configuration of a mode. room: as in `Figure`."""
    role = _ROLES[mode]
    text = {"labelColor": role["soft"], "titleColor": role["soft"], "labelFontSize": 12, "titleFontSize": 12}
    axis = {"domain": False, "ticks": False, "gridColor": role["grid"], "titleFontWeight": 400}
    colours = {**role, "accent": _SERIES[mode][0]}
    return {
        "background": role["paper"],
        "font": _FONT,
        "padding": {"left": 20, "top": 20, "bottom": 20, "right": 20 + room},
        "view": {"stroke": None},
        "axis": {**axis, **text, "labelPadding": 8, "titlePadding": 12},
        "header": text,
        "legend": text,
        "range": {"category": _SERIES[mode]},
        "style": {name: {"color": colours[name]} for name in ("ink", "soft", "warn", "accent")},
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
