"""Texts that a server refuses whole: each finds its own cut, in any order of texts, and the cut stays on record."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.embed.closed.shared import TEXTS, snapshot_of, source_of
from tests.helpers.embed_server import OWN_MODEL, EmbedServer
from tune.config.closed import ClosedConfig
from tune.data.sides import LabelledPairs
from tune.embed.closed import ClosedSource
from tune.embed.prepare import PreparedBase, prepare_base
from tune.embed.purchase import texts_to_buy
from tune.errors import ModelError

OWN = f"openai:{OWN_MODEL}"
MOST = 1000
FITS = ("where is the swift purse " * 40)[:900]
LONG = "the purse that is swift " * 60


@pytest.fixture
def limited(server: EmbedServer) -> EmbedServer:
    """A server that refuses texts above 1,000 characters, without a word."""
    server.refuse = lambda body: (413, "") if max(map(len, body["input"])) > MOST else None
    return server


def own_source(server: EmbedServer, **options: Any) -> ClosedSource:
    return source_of(server, OWN, **{"texts_per_request": 2, "max_in_flight": 1, **options})


@pytest.mark.parametrize(
    "texts", [[LONG, FITS, *TEXTS[:6]], [FITS, *TEXTS[:6], LONG], [*TEXTS[:6], FITS, LONG, FITS[1:]]]
)
def test_a_text_that_the_server_takes_whole_is_never_cut(limited: EmbedServer, texts: list[str]) -> None:
    source = own_source(limited)
    source.embed(texts)
    sold = set(limited.book.texts())
    [cut] = sold - set(texts)
    assert sold >= set(texts) - {LONG} and LONG.startswith(cut) and MOST / 2 < len(cut) <= MOST
    assert source.cut_positions == {texts.index(LONG)}


def prepared(source: ClosedSource, cache: Path, text: str = LONG) -> PreparedBase:
    """Three sides with four texts each, of which a text of val is `text`."""
    texts = [TEXTS[0:4], [text, *TEXTS[5:8]], TEXTS[8:12]]
    label = np.array([0, 1], np.int8)
    sides = {
        side: LabelledPairs(found[:2], found[2:], label)
        for side, found in zip(("train", "val", "test"), texts, strict=True)
    }
    return prepare_base(source, sides, cache, ("", ""))


def test_cut_texts_stay_on_record(limited: EmbedServer, tmp_path: Path) -> None:
    first, again = (prepared(own_source(limited), tmp_path) for _ in range(2))
    assert (first.embedded, first.cut_by_server) == (12, 1) and (again.embedded, again.cut_by_server) == (0, 1)
    assert PreparedBase.from_json(first.to_json()).cut_by_server == 1
    assert prepared(own_source(limited), tmp_path, FITS).cut_by_server == 0, "only the texts of this search count"
    source = own_source(limited)
    [record] = (tmp_path / "snapshots" / source.fingerprint).glob("cut_by_server.txt")
    assert len(record.read_text().split()) == 1


def test_cut_texts_are_refused_by_a_later_run_that_refuses(limited: EmbedServer, tmp_path: Path) -> None:
    prepared(own_source(limited), tmp_path)
    refuse, config = own_source(limited, too_long="refuse"), ClosedConfig()
    with pytest.raises(ModelError, match=r"an earlier run cut 1 text .*begins 'the purse that is swift .*shorten them"):
        texts_to_buy(refuse, {"": [TEXTS[0], LONG]}, tmp_path, config)
    assert texts_to_buy(refuse, {"": TEXTS[:4]}, tmp_path, config).texts == 0
    assert texts_to_buy(own_source(limited), {"": [LONG]}, tmp_path, config).texts == 0


def test_a_text_that_is_bought_whole_later_is_no_longer_on_record(limited: EmbedServer, tmp_path: Path) -> None:
    source = own_source(limited)
    snapshot = snapshot_of(source, tmp_path)
    assert snapshot.embed(source, "", [LONG, TEXTS[0]]) == 2 and snapshot.cut_by_server("", [LONG, TEXTS[0]]) == [LONG]
    for shard in snapshot.directory.glob("*.npy"):
        shard.unlink()
    fresh = snapshot_of(source, tmp_path)
    assert fresh.cut_by_server("", [LONG]) == [], "without its vector, a text can still be bought whole"
    limited.refuse = lambda body: None
    assert fresh.embed(own_source(limited), "", [LONG, TEXTS[0]]) == 2
    assert snapshot_of(source, tmp_path).cut_by_server("", [LONG]) == []
