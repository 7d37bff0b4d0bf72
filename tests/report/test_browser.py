"""The page in a real browser: every figure is drawn, nothing is reported as an error, no request leaves the page."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.report.folders import made_up_folder
from tests.report.scored_folders import with_scores
from tests.report.stored_folders import stored_folder
from tests.report.test_odd_results import changed, rewritten
from tests.report.test_page import report_of

PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium (Debian: apt install chromium)")


@dataclass(frozen=True)
class Seen:
    """What the browser made of a page: the document after scripts ran, what was written to the console, a picture.

    The page forbids itself to load anything, so a request would be an error in the console.
    """

    document: str
    console: list[str]
    picture: Path


def opened(page: Path, *, dark: bool = False, width: int = 1100, name: str = "") -> Seen:
    """Open a page, and take its picture; kept under build/screenshots if it has a name."""
    picture = page.with_name(f"page-{width}-{'dark' if dark else 'light'}.png")
    shown = subprocess.run(
        [*_command(page, dark, width), "--dump-dom", f"--screenshot={picture}", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    if name:
        PICTURES.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, PICTURES / f"{name}-{picture.name}")
    return Seen(shown.stdout, re.findall(r"CONSOLE.*", shown.stderr), picture)


def _command(page: Path, dark: bool, width: int) -> list[str]:
    return [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
        f"--user-data-dir={page.parent / 'profile'}", "--enable-logging=stderr",
        "--virtual-time-budget=20000", f"--window-size={width},1400",
        *(["--blink-settings=preferredColorScheme=0"] if dark else []),
    ]  # fmt: skip


def marks(document: str, figure: str) -> int:
    """Count the shapes in a figure that was drawn."""
    found = re.search(rf'data-figure="{figure}".*?<svg.*?</svg>', document, re.DOTALL)
    return len(re.findall(r"<(?:path|rect|line)\b", found[0])) if found else 0


def scored(root: Path, trials: int) -> Path:
    """Return the folder of a made-up search whose pairs were scored."""
    return with_scores(made_up_folder(root, trials), 100 * trials, others=("minilm", "tf-idf"))


@pytest.mark.parametrize("trials", [5, 60, 500])
def test_the_page_opens_offline_with_every_figure_drawn(tmp_path: Path, trials: int) -> None:
    page = tmp_path / "report.html"
    report = report_of(scored(tmp_path, trials))
    page.write_text(report.html())
    seen = opened(page, name=f"{trials}-trials")
    figures = [f"s0-{figure.name}" for figure in report.pages[0].figures]
    assert {"s0-scores", "s0-roc", "s0-precision-recall", "s0-reliability"} <= set(figures)
    assert 'data-drawn="light"' in seen.document
    assert {name: marks(seen.document, name) > 3 for name in figures} == dict.fromkeys(figures, True)
    assert seen.console == []
    others = [
        opened(page, dark=dark, width=width, name=f"{trials}-trials") for dark, width in ((True, 1100), (False, 390))
    ]
    for one in (seen, *others):
        assert one.picture.stat().st_size > 20_000, "an empty page takes a few kilobytes"


def test_the_page_can_load_nothing(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    html = report_of(made_up_folder(tmp_path, 5)).html()
    page.write_text(html.replace("</main>", '<img src="https://example.invalid/x.png"></main>'))
    assert any("Content Security Policy" in line for line in opened(page).console)


def test_dark_on_a_phone(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(report_of(with_scores(made_up_folder(tmp_path, 0, grid=True), 100)).html())
    seen = opened(page, dark=True, width=500)
    assert 'data-drawn="dark"' in seen.document
    assert all(marks(seen.document, f"s0-{name}") > 3 for name in ("training-pairs", "scores", "roc", "reliability"))
    # Panels, which do not shrink by themselves, fit a phone.
    found = re.search(r'data-figure="s0-scores".*?<svg[^>]* width="(\d+)', seen.document, re.DOTALL)
    assert found is not None and int(found[1]) <= 500 - 40
    assert "#0d1117" in seen.document.partition("</script>")[0]
    assert seen.console == []


def test_the_front_of_dims_and_precisions_is_drawn(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(report_of(stored_folder(tmp_path)).html())
    seen = opened(page)
    # 17 points of the front have an interval each, and 72 vectors a point.
    assert marks(seen.document, "s0-dims") > 60
    assert "128 int8" in seen.document and seen.console == []


def test_the_table_of_models_fits_a_page_of_1040_pixels(tmp_path: Path) -> None:
    folder = made_up_folder(tmp_path, 0, grid=True)
    latency = {"machine": "a CPU", "texts": 9, "models": {"baseline:wordllama": {"ms_1": 123.4, "ms_64": 0.0123}}}
    changed(folder, lambda summary: summary.update(latency=latency))
    closed = {"base_model": "openai:text-embedding-3-small", "usd_per_million_texts": "0.31"}
    rewritten(folder, lambda row: row["train_size"] == "250" and row.update(closed))
    measure = "document.body.dataset.models = [...document.querySelectorAll('#s0-models .scroll')].map(e => "
    measure += "`${e.querySelectorAll('th').length} ${e.scrollWidth <= e.clientWidth}`)"
    page = tmp_path / "report.html"
    page.write_text(report_of(folder).html().replace("</body>", f"<script>{measure}</script></body>"))
    assert 'data-models="12 true"' in opened(page, width=1040).document


def test_the_data_of_the_page_are_json(tmp_path: Path) -> None:
    page = report_of(made_up_folder(tmp_path, 5)).html()
    found = re.search(r'<script id="report-data"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert set(data) == {"figures", "room", "config", "trials"} and set(data["config"]) == {"light", "dark"}
