"""`make faults`, or python -m tests.faults [ROUNDS] [FIRST]: play rounds, and write results/faults.md."""

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.rounds import TARGETS, Campaign, Outcome
from tune.files import write_atomic

TABLE = Path(__file__).parents[2] / "results" / "faults.md"


def main(rounds: int = 200, first: int = 0) -> int:
    """Play rounds from seed `first` on; return 1 if one of them is wrong."""
    outcomes: list[Outcome] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as root:
        campaign = Campaign(Path(root))
        for seed in range(first, first + rounds):
            outcomes.append(campaign.play(seed))
            print(_line(outcomes[-1]), flush=True)
            write_atomic(TABLE, _page(outcomes, time.monotonic() - began))
    return int(any(outcome.wrong for outcome in outcomes))


def _line(outcome: Outcome) -> str:
    said = "; ".join(outcome.wrong) or "right"
    return f"{outcome.seed}: {outcome.kind}, {outcome.target} after {outcome.seconds} s, {outcome.codes}: {said}"


def _page(outcomes: list[Outcome], seconds: float) -> str:
    wrong = [outcome for outcome in outcomes if outcome.wrong]
    kinds = list(dict.fromkeys(outcome.kind for outcome in outcomes))
    counts = Counter((outcome.target, outcome.kind) for outcome in outcomes)
    rows = [
        f"| {target} | {' | '.join(str(counts[target, kind]) for kind in kinds)} |"
        for target in TARGETS
        if any(counts[target, kind] for kind in kinds)
    ]
    return "\n".join(
        [
            "# Faults",
            "",
            "Each round disturbs a search at a random moment, resumes it until it ends, and compares trials, AUCs,",
            "statuses, winner and test scores with those of the same search left alone; no process and no temporary",
            f"file may be left. `python -m tests.faults {len(outcomes)} {outcomes[0].seed}`: {len(outcomes)} rounds,"
            f" {len(wrong)} wrong, {seconds / 60:.0f} minutes.",
            "",
            f"| what was hit | {' | '.join(kinds)} |",
            f"|---|{'---|' * len(kinds)}",
            *rows,
            *(["", "Wrong:", ""] if wrong else []),
            *(f"- {' '.join(_line(outcome).split())[:300]}" for outcome in wrong),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
