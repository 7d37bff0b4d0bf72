"""Base models with a Router: queries and documents take their routes while embedding, training, and in the export."""

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.bases import routed_pairs, save_router
from tests.helpers.exported_trials import FROZEN, WHOLE, embedded, exported_trial, st_auc
from tune.config.search import search_config
from tune.embed.base_models import check_source, is_static
from tune.embed.sources import load_source
from tune.errors import ModelError
from tune.evaluate.rows import base_notes
from tune.events import Event, Message, ignore
from tune.pipeline.score import score_command

SIDES = {"train": routed_pairs(300, 0), "val": routed_pairs(200, 1), "test": routed_pairs(200, 2)}


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_router(tmp_path_factory.mktemp("bases") / "router"))


@pytest.mark.parametrize(
    ("axes", "query_document", "routes"),
    [
        (FROZEN, True, ("query", "document")),
        (WHOLE, True, ("query", "document")),
        (WHOLE, False, ("default", "default")),
    ],
    ids=["frozen", "whole", "alike"],
)
def test_scores_are_those_of_the_routes_from_the_untouched_base_to_the_export(
    router: str, tmp_path: Path, axes: dict[str, Any], query_document: bool, routes: tuple[str, str]
) -> None:
    done = exported_trial(router, SIDES, tmp_path, axes, query_document)
    right = st_auc(router, SIDES["val"], routes), st_auc(router, SIDES["test"], routes)
    assert (done.untouched["val_auc"], done.untouched["test"]["auc"]) == pytest.approx(right, abs=1e-6)
    assert (right[0] > 0.85) == query_document
    assert done.final["val_auc"] == pytest.approx(done.reports[-1].best_auc, abs=1e-6)
    assert st_auc(done.model, SIDES["test"], routes) == pytest.approx(done.final["test"]["auc"], abs=1e-4)
    card = (done.model / "README.md").read_text()
    assert ("encode_query" in card) == query_document and "[query]" not in card and "[document]" not in card


def test_columns_that_say_nothing_take_the_default_route_and_a_line_says_so(router: str, tmp_path: Path) -> None:
    remarks: list[Event] = []
    base = embedded(router, SIDES, tmp_path, remarks, query_document=False)
    assert base.note == "both sides encoded by its document route"
    assert any(
        "both sides take its document route, because the columns" in event.text
        for event in remarks
        if isinstance(event, Message)
    )
    remarks.clear()
    routed = embedded(router, SIDES, tmp_path, remarks, False, prompt_a="[query] ", prompt_b="[document] t0w0: ")
    assert (routed.prompt_a, routed.prompt_b, routed.note) == ("[query] ", "[document] t0w0: ", "")
    assert not any("both sides" in event.text for event in remarks if isinstance(event, Message))
    remarks.clear()
    embedded(router, SIDES, tmp_path, remarks, False, prompt_a="[document] ", prompt_b="[document] ")
    [chosen] = [event.text for event in remarks if isinstance(event, Message) and "both sides" in event.text]
    assert chosen.endswith("encodes queries and documents differently; both sides take its document route")
    assert embedded(router, SIDES, tmp_path, [], True, prompt_b="t0w0: ").digest == routed.digest != base.digest


def test_both_routes_obey_the_limit_and_are_part_of_the_fingerprint(router: str, tmp_path: Path) -> None:
    short = load_source(router, max_length=1)
    for route in ("[query] ", "[document] "):
        first, same = short.embed(["t0w0 t1w1", "t0w0 t2w2"], route)
        assert (first == same).all()
    other = load_source(str(save_router(tmp_path / "other", default="query")))
    assert other.weights == load_source(router).weights and other.fingerprint != load_source(router).fingerprint


def test_routes_that_cannot_be_used_are_one_line(tmp_path: Path) -> None:
    load_source(str(save_router(tmp_path / "bare", default=None))).prompts(True)
    with pytest.raises(ModelError, match="has no default route; name the text columns query and document, or give"):
        load_source(str(tmp_path / "bare")).prompts(False)
    with pytest.raises(ModelError, match="has routes for question, answer, but not for query and document"):
        check_source(str(save_router(tmp_path / "named", routes=("question", "answer"), default="answer")))


def test_a_router_of_static_vectors_is_static(router: str) -> None:
    assert is_static(router)


def test_score_takes_the_routes_of_the_columns_and_the_note_is_in_the_table(router: str, tmp_path: Path) -> None:
    pairs, scored = SIDES["test"], {}
    for names in (("query", "document"), ("text1", "text2")):
        rows = zip(pairs.text_a, pairs.text_b, pairs.label.tolist(), strict=True)
        with open(tmp_path / "pairs.csv", "w", newline="") as handle:
            csv.writer(handle).writerows([(*names, "label"), *dict.fromkeys(rows)])
        config = search_config(data={"data": str(tmp_path / "pairs.csv")}, space={"base_model": router})
        scored[names] = score_command(router, config, None, None, ignore)["auc"]
    assert scored["query", "document"] > 0.85 > 0.65 > scored["text1", "text2"]
    base = embedded(router, SIDES, tmp_path / "cache", [], query_document=False)
    notes = base_notes(config, {"columns": {}, "synthetic": True}, {router: base})
    assert notes == {router: "synthetic data; both sides encoded by its document route"}
