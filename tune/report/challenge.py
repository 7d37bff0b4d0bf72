"""The challenge in a report: a new base model's winner against that of an earlier search, and who came to challenge."""

from collections.abc import Mapping
from typing import Any

from tune.metrics.verdict import as_sentence, in_brackets
from tune.report.document import Section
from tune.report.story import Story
from tune.report.tables import PLACES, Cell, Row, Table

_ROLES = ("challenger", "incumbent")


def challenge(story: Story) -> Section:
    """Return the section, empty if this search is no challenge and nobody has challenged its winner."""
    lines: list[str] = []
    tables: list[Table] = []
    if found := story.summary.get("challenge"):
        looks = found["looks"]
        sentences = (found["sentence"], looks["sentence"], looks["caution"])
        lines += [as_sentence(one) for one in sentences if one]
        better = found[found["better"]]["results"] if found["better"] else ""
        lines.append(f"The better model is in {better}/best." if better else "Neither is better for sure.")
        tables.append(_models(found))
    if later := story.summary.get("challenged_by"):
        lines += [as_sentence(f"challenged by {one['results']}: {one['sentence']}") for one in later]
    return Section("challenge", "Challenge", tables=tables, lines=lines)


def _models(found: Mapping[str, Any]) -> Table:
    """Return both models with their scores on the test pairs that they share."""
    rows = []
    for role in _ROLES:
        model, scored = found[role], found["aucs"][role]
        auc = f"{scored['auc']:.{PLACES}f}{in_brackets(scored['low'], scored['high'])}"
        cells = [Cell(role), Cell(model["results"]), Cell(model["described"]), Cell(model["trial"][:8])]
        rows.append(Row([*cells, Cell(str(model["dims"]), model["dims"]), Cell(auc, scored["auc"])]))
    columns = ["model", "results", "winner", "trial", "dims", "test AUC\n[95% interval]"]
    return Table(columns, rows, frozenset({4, 5}), [f"On {found['pairs']:,} test pairs that both models have scored."])
