"""What label values mean: by themselves, by the names of their classes, or as the user says."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from tests.data.pair_files import parquet, put, read, refusal, table
from tune.config.data import DataConfig
from tune.data._label_values import positive_name
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
    assert "does not contain same (--positive-label), only 'dup', 'new'" in line


def test_two_ways_to_say_it_are_refused() -> None:
    from tune.config.search import search_config

    with pytest.raises(ConfigError, match="positive_label"):
        search_config(data={"data": "x.csv", "positive_label": "0", "positive_from": 3})
    assert DataConfig(positive_label=0).positive_label == "0"  # type: ignore[arg-type]
    assert DataConfig(positive_label=["a", 1]).positive_label == "a,1"  # type: ignore[arg-type]


ENTAILMENT = ["entailment", "not_entailment"]
Named = tuple[str, list[Any], list[str] | None]


def folder(tmp_path: Path, *tables: Named) -> Path:
    """Write tables of other texts, as parquet with the names of the classes if there are some."""
    path = tmp_path / "pairs"
    path.mkdir()
    for name, labels, names in tables:
        if names is not None:
            put_classes(path / f"{name}.parquet", labels, names)
        else:
            rows = [(f"{name} {i}", "b", label) for i, label in enumerate(labels)]
            parquet(path / f"{name}.parquet", rows)
    return path


def test_a_name_of_a_class_is_not_also_a_number(tmp_path: Path) -> None:
    stars = put_classes(tmp_path / "stars.parquet", [0, 1, 2], ["1", "2", "3"])
    pairs = read(stars, positive_label="1")
    assert pairs.label.tolist() == [1, 0, 0] and "1 (the name of class 0)" in pairs.meaning.text
    assert read(stars, positive_label="0").label.tolist() == [1, 0, 0], "no class has that name"
    assert "does not contain 4" in refusal(stars, positive_label="1,4")
    turned = put_classes(tmp_path / "turned.parquet", [0, 1], ["1", "0"])
    assert read(turned, positive_label="1").label.tolist() == [1, 0]
    mixed = folder(tmp_path, ("train", [0, 1, 2], ["1", "2", "3"]), ("test", [1, 2], None))
    assert "the number or the name of a class" in refusal(mixed, positive_label="1")


def test_tables_without_names_take_those_of_the_others(tmp_path: Path) -> None:
    pairs = read(folder(tmp_path, ("train", [0, 1], ENTAILMENT), ("test", [0, 1, -1], None)))
    assert pairs.label.tolist() == [1, 0, 1, 0, -1]
    assert pairs.meaning.text == "0 (entailment) is positive, 1 (not_entailment) negative"


def test_each_table_by_its_own_names(tmp_path: Path) -> None:
    path = folder(tmp_path, ("train", [0, 1], ENTAILMENT), ("val", [0, 1], ENTAILMENT[::-1]))
    pairs = read(path)
    assert pairs.label.tolist() == [1, 0, 0, 1]
    assert (pairs.meaning.positive, pairs.meaning.negative) == ("entailment", "not_entailment")
    assert read(path, positive_label="not_entailment").label.tolist() == [0, 1, 1, 0]
    assert "at number 0, by table" in refusal(path, positive_label="0")
    parquet(path / "test.parquet", [("c", "d", 0)])
    assert refusal(path).startswith("test.parquet: label column 'label' contains 0 without class names")


@pytest.mark.parametrize("test", [["0", "1", "yes"], ["0", "no"]])
def test_one_value_never_means_both(tmp_path: Path, test: list[str]) -> None:
    line = refusal(folder(tmp_path, ("train", [0, 1], ENTAILMENT), ("test", test, None)))
    assert "contains '0' without class names as label 0" in line


def test_classes_that_disagree_between_tables_need_a_choice(tmp_path: Path) -> None:
    path = folder(tmp_path, ("train", [0, 1], ["a", "b"]), ("test", [0, 1], ["b", "a"]))
    assert "1 in one table and 0 in another" in refusal(path)
    assert read(path, positive_label="a").label.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("train", "test", "options", "labels"),
    [
        (["0"], ["1"], {}, [0, 1]),
        (["same", "same"], ["different"], {}, [1, 1, 0]),
        (["0", "1"], ["-1"], {}, [0, 1, -1]),
        (["0", "1"], ["-1"], {"positive_label": "0"}, [1, 0, -1]),
        (["1", "1"], ["-1"], {"positive_label": "1"}, [1, 1, 0]),
        (["1.0", "0"], ["1", "0.0"], {}, [1, 0, 1, 0]),
    ],
)
def test_all_tables_are_read_before_values_have_a_meaning(
    tmp_path: Path, train: list[str], test: list[str], options: dict[str, Any], labels: list[int]
) -> None:
    pairs = read(folder(tmp_path, ("train", train, None), ("test", test, None)), **options)
    assert pairs.label.tolist() == labels
    assert pairs.meaning.positive and pairs.meaning.negative and ";" not in pairs.meaning.text


def test_minus_one_is_refused_if_only_all_tables_show_that_it_is_unclear(tmp_path: Path) -> None:
    line = refusal(folder(tmp_path, ("train", ["1"], None), ("test", ["-1"], None)))
    assert "contains 1 and -1 but no 0" in line


def test_a_value_to_choose_must_occur(tmp_path: Path) -> None:
    line = refused(tmp_path, ["dup", "near", "new"], positive_label="dup,naer")
    assert "does not contain naer (--positive-label), only 'dup', 'near', 'new'" in line
    assert "does not contain , (" in refused(tmp_path, ["dup", "new"], positive_label=",")
    assert labels_in(tmp_path, ["a, b", "a", "b"], positive_label="a, b") == [1, 0, 0]


@pytest.mark.parametrize("odd", [2, 0.5, float("inf"), "true", -2])
def test_what_is_not_a_class_is_refused(tmp_path: Path, odd: Any) -> None:
    line = refusal(under_names(tmp_path, [type(odd)(0), odd]))
    assert f"contains {odd!r}, but its classes are 'entailment', 'not_entailment'" in line


def under_names(tmp_path: Path, labels: list[Any], **more: Any) -> Path:
    """Write values of any type under a schema that names two classes; more: other features of the schema."""
    path = put_classes(tmp_path / "p.parquet", [0], ENTAILMENT)
    info = json.loads(pq.read_schema(path).metadata[b"huggingface"])
    info["info"]["features"].update(more)
    texts = [str(i) for i in range(len(labels))]
    made = pa.table({"text1": texts, "text2": texts, "label": labels, **dict.fromkeys(more, texts)})
    pq.write_table(made.replace_schema_metadata({b"huggingface": json.dumps(info).encode()}), path)
    return path


def test_classes_may_be_written_as_their_names(tmp_path: Path) -> None:
    assert read(under_names(tmp_path, ["entailment", "1", "0", "", "-1"])).label.tolist() == [1, 0, 1, -1, -1]
    assert read(under_names(tmp_path, [0.0, 1.0, float("nan")])).label.tolist() == [1, 0, -1]


def test_a_list_among_the_features_hides_no_names(tmp_path: Path) -> None:
    path = under_names(tmp_path, [0, 1], tags=[{"dtype": "string", "_type": "Value"}])
    assert read(path).label.tolist() == [1, 0]
