"""--split queries: the texts of one column are on one side each, those of the other are a catalogue for all sides."""

from typing import Any

import numpy as np
import pytest

from tests.data.pair_files import pairs_of, put, table
from tests.data.test_split import SPARSE
from tune.config.search import search_config
from tune.data.clean import normalise
from tune.data.folds import fold_of
from tune.data.sides import SIDES
from tune.data.split import Split, labelled_sides, split_pairs, text_overlaps
from tune.errors import DataError
from tune.events import Message
from tune.pipeline.pairs import read_split

ARTICLES = 60


def tickets(count: int = 2000, first: int = 0) -> list[tuple[str, str, int]]:
    """Two pairs per ticket, with its article and with another; every third ticket is spelled in two ways."""
    rng = np.random.default_rng(first)
    rows = []
    for ticket in range(first, first + count):
        right, wrong = rng.choice(ARTICLES, 2, replace=False).tolist()
        again = f"Ticket  number-{ticket}!" if ticket % 3 == 0 else f"ticket number {ticket}"
        rows += [(f"ticket number {ticket}", f"article {right}", 1), (again, f"article {wrong}", 0)]
    return rows


TICKETS = tickets()


def turned(rows: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    return [(b, a, label) for a, b, label in rows]


def sides_of(split: Split, column: str) -> dict[str, set[str]]:
    sides: dict[str, set[str]] = {}
    for text, side in zip(getattr(split.pairs, column), split.side.tolist(), strict=True):
        sides.setdefault(normalise(text), set()).add(side)
    return sides


@pytest.mark.parametrize(
    ("rows", "mode", "apart", "shared"),
    [
        (TICKETS, "queries", "text_a", "text_b"),
        (turned(TICKETS), "queries", "text_b", "text_a"),
        (TICKETS, "queries-a", "text_a", "text_b"),
        (turned(TICKETS), "queries-b", "text_b", "text_a"),
    ],
)
def test_one_column_is_kept_apart_and_the_other_shared(
    rows: list[tuple[str, str, int]], mode: Any, apart: str, shared: str
) -> None:
    with pytest.raises(DataError):
        split_pairs(pairs_of(rows))
    split = split_pairs(pairs_of(rows), mode=mode)
    assert len(split.pairs) == len(rows), "no pair is dropped"
    assert all(len(sides) == 1 for sides in sides_of(split, apart).values())
    assert sum(sides == set(SIDES) for sides in sides_of(split, shared).values()) > 50
    assert split.counts["shares"]["train"] == pytest.approx(0.8, abs=0.03)
    assert split.counts["shares"]["test"] == pytest.approx(0.1, abs=0.02)
    assert split.counts["mode"] == mode and split.counts["large_rows"] == 0
    # A component is what stays together: the pairs of one ticket.
    assert (np.bincount(split.component) == 2).all()


def test_counts_name_the_columns_and_what_they_share() -> None:
    split = split_pairs(pairs_of(TICKETS), mode="queries")
    counts = split.counts["queries"]
    assert (counts["apart"], counts["shared"]) == ("a", "b")
    assert (counts["apart_texts"], counts["shared_texts"]) == (2000, ARTICLES)
    on = {side: set(np.array(split.pairs.text_b)[split.side == side]) for side in SIDES}
    for side in ("val", "test"):
        assert counts["in_train"][side] == {"seen": len(on[side] & on["train"]), "of": len(on[side])}
    assert text_overlaps(split) == {"val": 0, "test": 0}, "the catalogue is no leak"
    assert split_pairs(pairs_of(SPARSE)).counts["queries"] is None


def test_the_sides_of_tickets_depend_on_their_own_text_and_the_seed() -> None:
    split = split_pairs(pairs_of(TICKETS), mode="queries")
    order = np.random.default_rng(0).permutation(len(TICKETS))
    shuffled = split_pairs(pairs_of([TICKETS[i] for i in order]), mode="queries")
    assert split.digest == shuffled.digest and (split.side[order] == shuffled.side).all()
    grown = split_pairs(pairs_of(TICKETS + tickets(500, first=9000)), mode="queries")
    assert (grown.side[: len(TICKETS)] == split.side).all(), "new tickets on old articles move nothing"
    assert np.mean(split_pairs(pairs_of(TICKETS), 1, "queries").side != split.side) > 0.2


def test_a_ticket_with_too_many_pairs_goes_to_train() -> None:
    one = [("the same ticket", f"article {i % ARTICLES} of {i}", i % 2) for i in range(60)]
    for seed in range(8):
        split = split_pairs(pairs_of(TICKETS + one), seed, "queries-a")
        assert set(split.side[len(TICKETS) :].tolist()) == {"train"}
        assert split.counts["large_components"] == 1 and split.counts["large_rows"] == 60


def test_a_text_of_both_columns_links_unless_it_is_a_popular_article() -> None:
    # Article 0 is in about 67 pairs and is also worded as a ticket: that ticket does not tie them together.
    popular = [*TICKETS, ("article 0", "article 1", 0)]
    split = split_pairs(pairs_of(popular), mode="queries")
    assert np.bincount(split.component).max() == 2 and text_overlaps(split) == {"val": 0, "test": 0}
    # A ticket that is another ticket's article, once: the two are on one side.
    for seed in range(12):
        chained = [*TICKETS, ("ticket number 1", "ticket number 2", 0)]
        split = split_pairs(pairs_of(chained), seed, "queries")
        assert split.component[2] == split.component[4] == split.component[-1]
        assert text_overlaps(split) == {"val": 0, "test": 0}


def test_a_missing_side_of_a_given_split_is_cut_by_queries() -> None:
    side = ["test" if i < 600 else "train" for i in range(len(TICKETS))]
    with pytest.raises(DataError):
        split_pairs(pairs_of(TICKETS, side))
    split = split_pairs(pairs_of(TICKETS, side), mode="queries")
    assert set(split.side[:600].tolist()) == {"test"} and split.counts["cut_from_train"] == ["val"]
    assert split.counts["mode"] == "given" and split.counts["queries"]["apart"] == "a"
    assert all(len(sides) == 1 for sides in sides_of(split, "text_a").values())
    # A ticket that the user put on both sides counts as a leak; their articles do not.
    shared = [*TICKETS, (TICKETS[0][0], "article 5", 0), (TICKETS[2][0], "article 6", 1)]
    split = split_pairs(pairs_of(shared, [*side, "train", "train"]), mode="queries")
    assert text_overlaps(split) == split.counts["overlaps"] == {"val": 0, "test": 2}
    with pytest.raises(DataError, match="so --split queries-a has no effect: leave out --split queries-a"):
        split_pairs(pairs_of(TICKETS, [SIDES[i % 3] for i in range(len(TICKETS))]), mode="queries-a")


def test_folds_keep_tickets_together_and_share_articles() -> None:
    sides = labelled_sides(split_pairs(pairs_of(TICKETS), mode="queries"), 0)
    train, val = sides["train"], sides["val"]
    assert train.shared == val.shared == sides["test"].shared == "b"
    assert train.component is not None and val.component is not None
    fold = fold_of(np.concatenate([train.component, val.component]), 5, 0, np.concatenate([train.label, val.label]))
    seen: dict[str, set[int]] = {}
    for a, b, own in zip(train.text_a + val.text_a, train.text_b + val.text_b, fold.tolist(), strict=True):
        seen.setdefault(normalise(a), set()).add(own)
        seen.setdefault(b, set()).add(own)
    assert {len(folds) for text, folds in seen.items() if text.startswith("ticket")} == {1}
    assert {len(folds) for text, folds in seen.items() if text.startswith("article")} == {5}


@pytest.mark.parametrize("mode", ["queries", "queries-a"])
def test_the_choice_and_what_is_shared_are_printed(tmp_path: Any, mode: str) -> None:
    path = put(tmp_path / "tickets.csv", table(TICKETS, header="ticket article label"))
    lines: list[str] = []
    config = search_config(data={"data": str(path), "split": mode})
    split, facts = read_split(config, lambda event: lines.append(event.text) if isinstance(event, Message) else None)
    [line] = [line for line in lines if line.startswith(f"split {mode}: ")]
    chosen = ", which repeat less" if mode == "queries" else ""
    assert f"the texts of 'ticket' (2000{chosen}) are on one side each" in line
    assert "those of 'article' (60) are shared by design" in line
    seen = split.counts["queries"]["in_train"]["val"]
    assert f"val {seen['seen']} of {seen['of']}" in line
    assert facts["leaks"]["texts_seen_in_train"] == {"val": 0, "test": 0} and facts["split"]["mode"] == mode
