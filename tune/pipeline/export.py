"""Exports a trial with a picture on its card. The report draws it and the export writes it: neither knows the other."""

import logging
from pathlib import Path

from tune.export.card import Picture
from tune.export.trial import export
from tune.results.layout import ResultsFolder

PICTURE = "scores.png"
_TEXT = "Test ROC AUC of this model and of the untouched ones, with 95% intervals"


def export_model(
    folder: ResultsFolder, trial: str | None, to: Path, *, trust_remote_code: bool = False, pictured: bool = True
) -> Path:
    """Export a trial as `export` does. pictured: draw its test score beside the untouched models' for the card."""
    drawn = (lambda name: picture_of(folder, name)) if pictured else None
    return export(folder, trial, to, trust_remote_code=trust_remote_code, picture=drawn)


def picture_of(folder: ResultsFolder, trial: str) -> Picture | None:
    """Draw a trial's card; None if test has not scored it, or if it cannot be drawn: the model is whole without it."""
    # Late: Altair takes a second to import.
    from tune.report.drawing import check_drawing
    from tune.report.figures.card import beside
    from tune.report.pictures import drawing
    from tune.report.story import read_story

    try:
        check_drawing()
        figure = beside(read_story(folder), trial)
        if figure is None:
            return None
        with drawing([figure.spec("light")]) as pictures:
            [(_, png)] = pictures.drawn()
        return Picture(PICTURE, _TEXT, png)
    except Exception as error:
        logging.getLogger(__name__).warning("no picture on the card: %s", " ".join(str(error).split())[:200])
        return None
