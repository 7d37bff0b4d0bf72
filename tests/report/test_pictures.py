"""Pictures from processes of their own: as vl_convert draws them here, in order, and nothing is left of a failure."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from tests.report.folders import made_up_folder
from tests.report.scored_folders import with_scores
from tune.report import pictures
from tune.report.page import Report
from tune.report.pictures import Pictures, bundle, drawing, drawing_ahead, wait_for_drawing
from tune.report.story import read_story
from tune.results.layout import ResultsFolder

Started = subprocess.Popen[bytes]


def bars(count: int) -> dict[str, Any]:
    return {
        "data": {"values": [{"place": place, "value": place / 3} for place in range(count)]},
        "mark": "bar",
        "encoding": {
            "x": {"field": "place", "type": "ordinal"},
            "y": {"field": "value", "type": "quantitative"},
        },
    }


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_pictures_are_those_of_vl_convert_in_order(processes: int) -> None:
    specs = [bars(count) for count in (1, 2, 3, 4)]
    made = Pictures(specs, processes).drawn()
    for spec, (svg, png) in zip(specs, made, strict=True):
        assert svg == vl_convert.vegalite_to_svg(spec)
        assert png == vl_convert.svg_to_png(svg, scale=2)


def test_without_figures_nothing_is_drawn() -> None:
    with drawing([]) as none:
        assert none.drawn() == []


def test_a_specification_that_cannot_be_drawn_is_an_error_with_its_reason() -> None:
    with drawing([{"mark": "no such mark"}]) as broken, pytest.raises(RuntimeError, match="could not be drawn: "):
        broken.drawn()


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Started]:
    """The processes that are started from now on."""
    noted: list[Started] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> Started:
        noted.append(popen(*arguments, **options))
        return noted[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return noted


def test_processes_end_with_their_context(begun: list[Started]) -> None:
    with pytest.raises(OSError, match="disk"), drawing([bars(2)] * 20):
        raise OSError("disk")
    assert begun and all(process.poll() is not None for process in begun)


def test_the_bundle_made_ahead_is_the_bundle() -> None:
    bundle.cache_clear()
    with drawing_ahead():
        ahead = bundle()
    bundle.cache_clear()
    assert ahead == bundle() and "vegaEmbed" in ahead and "</script" not in ahead


def test_processes_started_ahead_draw_several_times_and_end_with_their_context(begun: list[Started]) -> None:
    bundle.cache_clear()
    with drawing_ahead():
        ahead = len(begun)
        assert ahead >= 2, "one for the bundle, and as many as there are cores"
        wait_for_drawing()
        for count in (2, 3):
            with drawing([bars(count)]) as pictures:
                assert pictures.drawn()[0][0] == vl_convert.vegalite_to_svg(bars(count))
        with drawing([{"mark": "no such mark"}]) as broken, pytest.raises(RuntimeError, match="could not be drawn: "):
            broken.drawn()
        with drawing_ahead(), drawing([bars(4)]) as pictures:
            assert pictures.drawn()[0][0] == vl_convert.vegalite_to_svg(bars(4)), "another in place of the broken"
        bundle()
        assert len(begun) <= ahead + 1
    assert all(process.poll() is not None for process in begun)
    with drawing([bars(1)]) as pictures:
        assert pictures.drawn()[0][0] == vl_convert.vegalite_to_svg(bars(1)), "nothing is left of those that ended"


def test_a_drawing_process_imports_none_of_our_modules() -> None:
    program = Path(pictures.__file__).with_name("draw.py")
    code = f"import sys, runpy; runpy.run_path({str(program)!r}); print([m for m in sys.modules if m[:4] == 'tune'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_every_chart_follows_altairs_schema(tmp_path: Path) -> None:
    """A report itself does not check them: that takes as long as all else together."""
    folder = with_scores(made_up_folder(tmp_path, 0, grid=True), 100, others=("tf-idf",))
    figures = Report.of([read_story(ResultsFolder(folder))]).pages[0].figures
    assert len(figures) > 8
    for figure in figures:
        checked = figure.chart.to_dict()
        assert checked.keys() == figure.spec().keys()
