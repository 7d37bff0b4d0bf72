"""TF-IDF: cosines as scikit-learn's, words or characters by the texts, nothing learnt from order or labels."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from tests.helpers.tiny import topic_pairs
from tune.embed import tfidf
from tune.embed.tfidf import Tfidf


def test_cosines_are_those_of_scikit_learn() -> None:
    train, test = topic_pairs(300, 0), topic_pairs(tfidf._CHUNK + 100, 1)
    fitted = Tfidf.fit([*train.text_a, *train.text_b])
    found = fitted.cosine(test.text_a, test.text_b)
    own = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", sublinear_tf=True).fit({*train.text_a, *train.text_b})
    for row in (*range(50), *range(tfidf._CHUNK - 50, len(test))):
        a, b = own.transform([test.text_a[row]]), own.transform([test.text_b[row]])
        assert found[row] == pytest.approx(cosine_similarity(a, b)[0, 0], abs=1e-6)
    assert found.dtype == np.float64 and found.min() == 0 and 0.5 < found.max() <= 1


def test_rare_words_weigh_more_and_case_and_order_nothing() -> None:
    texts = ["how do I reset it", "how do I print it", "how do I export it", "how do I import a spreadsheet"]
    fitted = Tfidf.fit(texts)
    rare, common, upper, turned = fitted.cosine(
        ["reset spreadsheet", "how spreadsheet", "IMPORT", "reset how"],
        ["spreadsheet export", "how export", "import", "how reset"],
    )
    assert rare == pytest.approx(0.5, abs=0.05) and 0 < common < 0.3 and upper == 1 and turned == 1
    assert fitted.terms == "words"
    assert fitted.note == "cosine of counted words, weighted by 4 train texts, without labels"


def test_neither_order_nor_repeats_of_the_texts_matter() -> None:
    train, test = topic_pairs(200, 0), topic_pairs(100, 1)
    texts = [*train.text_a, *train.text_b]
    first = Tfidf.fit(texts).cosine(test.text_a, test.text_b)
    assert np.array_equal(first, Tfidf.fit([*texts[::-1], *texts[:50]]).cosine(test.text_a, test.text_b))


def test_texts_without_spaces_are_compared_by_characters() -> None:
    pairs = [
        ("如何重置我的密码", "忘记密码了怎么重置"),
        ("怎样导出发票", "发票可以导出成文件吗"),
        ("如何重置我的密码", "发票可以导出成文件吗"),
        ("怎样导出发票", "忘记密码了怎么重置"),
    ]
    fitted = Tfidf.fit([text for pair in pairs for text in pair])
    assert fitted.terms == "characters" and "characters and pairs of characters" in fitted.note
    found = fitted.cosine([a for a, _ in pairs], [b for _, b in pairs])
    assert found[:2].min() > found[2:].max() + 0.1
    # Spaces between phrases, as in Thai, do not make words.
    assert Tfidf.fit(["ฉันจะรีเซ็ตรหัสผ่านได้อย่างไร ขอบคุณมากครับ", "ลืมรหัสผ่านต้องทำอย่างไร"]).terms == "characters"
    assert Tfidf.fit(["Miten voin vaihtaa salasanani palvelussa?", "Unohdin käyttäjätunnukseni"]).terms == "words"


def test_a_text_without_known_terms_has_cosine_0() -> None:
    fitted = Tfidf.fit(["import a file", "export a file"])
    assert fitted.cosine(["???", "unseen words", "a file"], ["???", "unseen words", ""]).tolist() == [0, 0, 0]
    punctuation = Tfidf.fit(["?! ?!", "!! !!"])
    assert punctuation.terms == "characters" and punctuation.cosine(["?!"], ["?!"]).tolist() == [1]
    with pytest.raises(ValueError, match="no texts"):
        Tfidf.fit([])


def test_a_fit_is_bounded_by_a_seeded_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = topic_pairs(300, 0), topic_pairs(200, 1)
    texts = [*train.text_a, *train.text_b]
    monkeypatch.setattr(tfidf, "MOST_TEXTS", 40)
    fits = [Tfidf.fit(texts, seed) for seed in (0, 0, 1)]
    assert [fit.texts for fit in fits] == [40, 40, 40]
    one, again, other = (fit.cosine(test.text_a, test.text_b) for fit in fits)
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    monkeypatch.setitem(tfidf.MOST_CHARACTERS, "words", 3 * max(map(len, texts)))
    assert 3 <= Tfidf.fit(texts).texts < 40
