"""What label values mean: by themselves, by the names of their classes, or as the user says."""

from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from tests.data.pair_files import put, read, refusal, table
from tune.config.data import DataConfig
from tune.data._labels import positive_name
from tune.errors import ConfigError

_TEXTS = [(f"first {i}", f"second {i}") for i in range(4)]


def classes(labels: list[int | None], names: list[str]) -> Dataset:
    features = Features({"text1": Value("string"), "text2": Value("string"), "label": ClassLabel(names=names)})
    columns: dict[str, list[Any]] = {
        "text1": [a for a, _ in _TEXTS[: len(labels)]],
        "text2": [b for _, b in _TEXTS[: len(labels)]],
        "label": labels,
    }
    return Dataset.from_dict(columns, features)


def put_classes(path: Path, labels: list[int | None], names: list[str]) -> Path:
    """Write rows as `datasets` does: parquet with the names in its metadata, or a folder of save_to_disk."""
    rows = classes(labels, names)
    if path.suffix == ".parquet":
        rows.to_parquet(str(path))
    else:
        rows.save_to_disk(str(path))
    return path


@pytest.mark.parametrize("name", ["pairs.parquet", "saved"])
def test_class_names_decide_which_value_is_positive(tmp_path: Path, name: str) -> None:
    pairs = read(put_classes(tmp_path / name, [0, 1, -1, None], ["entailment", "not_entailment"]))
    assert pairs.label.tolist() == [1, 0, -1, -1]
    assert pairs.meaning.notable
    assert pairs.meaning.text == "0 (entailment) is positive, 1 (not_entailment) negative"


def test_class_names_that_agree_with_the_numbers_change_nothing(tmp_path: Path) -> None:
    for number, names in enumerate((["not_duplicate", "duplicate"], ["a", "b"], ["0", "1"])):
        pairs = read(put_classes(tmp_path / f"{number}.parquet", [0, 1, 1], names))
        assert pairs.label.tolist() == [0, 1, 1] and not pairs.meaning.notable
        assert names[1] in pairs.meaning.text


def test_three_classes_need_a_choice_unless_two_occur(tmp_path: Path) -> None:
    names = ["entailment", "neutral", "contradiction"]
    three = put_classes(tmp_path / "three.parquet", [0, 1, 2, -1], names)
    line = refusal(three)
    assert "'entailment', 'neutral', 'contradiction'" in line and "--positive-label" in line
    assert read(three, positive_label="Entailment").label.tolist() == [1, 0, 0, -1]
    assert read(three, positive_label="0,1").label.tolist() == [1, 1, 0, -1]
    # 1 is "neutral" here, so 0 and 1 are not what they look like.
    assert read(put_classes(tmp_path / "two.parquet", [0, 1], names)).label.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("names", "positive"),
    [
        (("not_entailment", "entailment"), 1),
        (("duplicate", "not duplicate"), 0),
        (("Non-Duplicate", "Duplicate"), 1),
        (("is_not_duplicate", "is_duplicate"), 1),
        (("no match", "match"), 1),
        (("mismatch", "match"), 1),
        (("relevant", "irrelevant"), 0),
        (("unrelated", "related"), 1),
        (("dissimilar", "similar"), 1),
        (("same", "different"), 0),
        (("equivalent", "not_equivalent"), 0),
        (("negative", "positive"), 1),
        (("contradiction", "entailment"), 1),
        (("a", "b"), None),
        (("on", "noon"), None),
        (("information", "formation"), None),
        (("duplicate", "match"), None),
        (("not", "no"), None),
        (("", "not"), None),
    ],
)
def test_names_are_clear_or_not(names: tuple[str, str], positive: int | None) -> None:
    assert positive_name(names) == positive
    assert positive_name(names[::-1]) == (None if positive is None else 1 - positive)


def labels_in(tmp_path: Path, values: list[str], **options: Any) -> list[int]:
    rows = [(a, b, value) for (a, b), value in zip(_TEXTS, values, strict=False)]
    return read(put(tmp_path / "p.csv", table(rows)), **options).label.tolist()


def refused(tmp_path: Path, values: list[str], **options: Any) -> str:
    rows = [(a, b, value) for (a, b), value in zip(_TEXTS, values, strict=False)]
    return refusal(put(tmp_path / "p.csv", table(rows)), **options)


def test_words_in_a_csv(tmp_path: Path) -> None:
    assert labels_in(tmp_path, ["t", "f", r"\N"]) == [1, 0, -1]
    assert labels_in(tmp_path, ["Y", "n", "-"]) == [1, 0, -1]
    assert labels_in(tmp_path, ["match", "no match", "", "match"]) == [1, 0, -1, 1]
    assert "--positive-label" in refused(tmp_path, ["apples", "pears"])
    assert "--positive-label" in refused(tmp_path, ["match", "no match", "perhaps"])


def test_minus_one_is_none_or_negative_but_never_guessed(tmp_path: Path) -> None:
    assert labels_in(tmp_path, ["0", "1", "-1"]) == [0, 1, -1]
    assert "--positive-label 1" in refused(tmp_path, ["1", "-1", "1"])
    assert labels_in(tmp_path, ["1", "-1", "1"], positive_label="1") == [1, 0, 1]
    assert labels_in(tmp_path, ["0", "1", "-1"], positive_label="0") == [1, 0, -1]
    assert "-1" in refused(tmp_path, ["0", "1", "-1", "2"])


def test_the_user_says_which_value_is_positive(tmp_path: Path) -> None:
    assert labels_in(tmp_path, ["0", "1", "0.0", ""], positive_label="0") == [1, 0, 1, -1]
    assert labels_in(tmp_path, ["dup", "near", "new", "NA"], positive_label="dup,near") == [1, 1, 0, -1]
    assert labels_in(tmp_path, ["true", "false"], positive_label=False) == [0, 1]  # as TOML has it
    line = refused(tmp_path, ["dup", "new"], positive_label="same")
    assert "no value same" in line and "'dup', 'new'" in line


def test_two_ways_to_say_it_are_refused() -> None:
    from tune.config.search import search_config

    with pytest.raises(ConfigError, match="positive_label"):
        search_config(data={"data": "x.csv", "positive_label": "0", "positive_from": 3})
    assert DataConfig(positive_label=0).positive_label == "0"  # type: ignore[arg-type]
    assert DataConfig(positive_label=["a", 1]).positive_label == "a,1"  # type: ignore[arg-type]
