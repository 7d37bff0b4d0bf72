"""Every way of quoting a csv or tsv: rows come back as the writer meant them, or the file is refused."""

import contextlib
import csv
import gzip
import io
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from tests.data.pair_files import put, read, refusal, triples
from tune.config.data import DataConfig
from tune.data._formats import read_columns
from tune.data._sources import known
from tune.data.pairs import read_pairs
from tune.errors import DataError

Row = tuple[str, str, int]
HEADER = ("text1", "text2", "label")
NASTY = [
    '"', '""', '"open', 'close"', 'say "hi" now', '"quoted"', 'ends in "', "\\", 'C:\\new "x"', 'a\\"b', "back\\",
    "two\\\\", "a,b", ",", ",,", "tab\there", "line\nbreak", "\nline", "line\n", "win\r\nbreak", "old\rmac", "a;b",
    "a,b,1\nc", 'x,"\n"y', "sep\u2028para\u2029", "next\x85line", "\x0bvertical", "  spaces  ", "'single'", "#no",
    "naïve 漢字 🙂", "NULL", "0", "1,0\n1", '","', '\\",', '",0\n"', "-", "a\\nb", "1", '""a""',
]  # fmt: skip
"""Texts that some way of quoting gets wrong; random ones join several."""


def texts(rng: random.Random, among: list[str]) -> str:
    plain = rng.choice(["how do I pay", "opening hours", "where are you", "it is late"])
    parts = rng.choices(among, k=rng.randint(1, 3))
    return rng.choice([parts[0], f"{parts[0]}{plain}", f"{plain} {parts[0]}", plain, "".join(parts), " ".join(parts)])


def rows_of(seed: int, avoid: str = "") -> list[Row]:
    """Rows with nasty texts that hold none of some characters."""
    rng = random.Random(seed)
    among = [text for text in NASTY if not set(avoid) & set(text)]
    count = rng.choice([3, 12, 40])
    rows = [(texts(rng, among), texts(rng, among), rng.randint(0, 1)) for _ in range(count)]
    return [("pay", "paying", 1), *rows, ("pay", "hours", 0)]


def by_csv(**options: Any) -> Callable[[list[Row], str], str]:
    def write(rows: list[Row], delimiter: str) -> str:
        out = io.StringIO()
        writer = csv.writer(out, delimiter=delimiter, **options)
        writer.writerow(HEADER)
        writer.writerows(rows)
        return out.getvalue()

    return write


def by_pandas(**options: Any) -> Callable[[list[Row], str], str]:
    def write(rows: list[Row], delimiter: str) -> str:
        return str(pd.DataFrame(rows, columns=list(HEADER)).to_csv(index=False, sep=delimiter, **options))

    return write


def by_arrow(rows: list[Row], delimiter: str) -> str:
    out = io.BytesIO()
    columns = dict(zip(HEADER, map(list, zip(*rows, strict=True)), strict=True))
    pa_csv.write_csv(pa.table(columns), out, pa_csv.WriteOptions(delimiter=delimiter))
    return out.getvalue().decode()


def by_spark(rows: list[Row], delimiter: str) -> str:
    """As Spark writes by default: quotes if needed, a backslash before quotes and backslashes within them."""

    def field(value: object) -> str:
        text = str(value)
        if not text:
            return '""'
        if not any(c in text for c in (delimiter, '"', "\n", "\r")):
            return text
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return "".join(delimiter.join(map(field, row)) + "\n" for row in (HEADER, *rows))


def by_hand(rows: list[Row], delimiter: str) -> str:
    """Joined, without any quoting."""
    return "".join(delimiter.join(map(str, row)) + "\n" for row in (HEADER, *rows))


RFC = {
    **{
        f"csv {name}{' lf' * (end == chr(10))}": by_csv(quoting=getattr(csv, name), lineterminator=end)
        for name in ("QUOTE_MINIMAL", "QUOTE_ALL", "QUOTE_NONNUMERIC")
        for end in ("\r\n", "\n")
    },
    "pandas": by_pandas(),
    "pandas all": by_pandas(quoting=csv.QUOTE_ALL),
    "arrow": by_arrow,
}
ESCAPED = {
    **{
        f"csv {name} escaped": by_csv(quoting=getattr(csv, name), doublequote=False, escapechar="\\")
        for name in ("QUOTE_MINIMAL", "QUOTE_ALL", "QUOTE_NONNUMERIC", "QUOTE_NONE")
    },
    "pandas escaped": by_pandas(doublequote=False, escapechar="\\"),
    "pandas none": by_pandas(quoting=csv.QUOTE_NONE, escapechar="\\"),
    "spark": by_spark,
}
BOTH = {"csv both": by_csv(doublequote=True, escapechar="\\"), "pandas both": by_pandas(escapechar="\\")}


def outcome(path: Path, rows: list[Row], alike: Callable[[Row], object] = lambda row: row) -> str:
    """read, refused or wrong; `alike` maps a row to what must be equal."""
    try:
        found = triples(read_pairs(DataConfig(data=str(path))))
    except DataError as error:
        assert "\n" not in str(error) and path.name in str(error), error
        return "refused"
    return "read" if list(map(alike, found)) == list(map(alike, rows)) else f"wrong: {path}"


def outcomes(
    tmp_path: Path, write: Callable[[list[Row], str], str], avoid: str = "", alike: Any = lambda row: row
) -> Counter[str]:
    """How 24 generated files fare, with commas, tabs and semicolons, some of them gzipped."""
    seen: Counter[str] = Counter()
    for seed in range(24):
        delimiter, suffix = [(",", ".csv"), ("\t", ".tsv"), (";", ".csv"), (",", ".csv.gz")][seed % 4]
        rows = rows_of(seed, avoid.replace("D", delimiter))
        content = write(rows, delimiter).encode()
        path = tmp_path / f"{seed}{suffix}"
        path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
        seen[outcome(path, rows, alike)] += 1
    return seen


def once(row: Row) -> Row:
    """The row with runs of backslashes as one: if no quote is escaped, a file does not say whether they are doubled."""
    return re.sub(r"\\+", r"\\", row[0]), re.sub(r"\\+", r"\\", row[1]), row[2]


def bare(row: Row) -> Row:
    """The row without quotes and backslashes: unquoted texts that look quoted may be read either way."""
    return re.sub(r'[\\"]', "", row[0]), re.sub(r'[\\"]', "", row[1]), row[2]


@pytest.mark.parametrize("name", RFC)
def test_rfc_quoting_is_always_read(tmp_path: Path, name: str) -> None:
    assert outcomes(tmp_path, RFC[name]) == {"read": 24}


@pytest.mark.parametrize("name", ESCAPED)
def test_escaped_quotes_are_read(tmp_path: Path, name: str) -> None:
    seen = outcomes(tmp_path, ESCAPED[name], alike=once)
    assert set(seen) <= {"read", "refused"} and seen["read"] >= 22, seen


@pytest.mark.parametrize("name", BOTH)
def test_doubled_quotes_with_an_escape_character_are_read(tmp_path: Path, name: str) -> None:
    assert outcomes(tmp_path, BOTH[name], alike=once) == {"read": 24}


def test_unquoted_texts_are_read(tmp_path: Path) -> None:
    """Without delimiters and line breaks in texts, which would need quoting."""
    seen = outcomes(tmp_path, by_hand, avoid="D\r\n", alike=bare)
    assert set(seen) <= {"read", "refused"} and seen["read"] >= 20, seen


def test_other_readers_count_as_many_rows(tmp_path: Path) -> None:
    """If pyarrow and Python's own reader agree on a file; both take a backslash outside quotes for an escape."""
    agreed, escaping = 0, {"escapechar": "\\", "doublequote": False}
    for seed in range(12):
        for write, options in ((by_arrow, {}), (by_spark, {"escape_char": "\\", "double_quote": False})):
            path = put(tmp_path / "p.csv", write(rows_of(seed), ","))
            with path.open(newline="") as lines:
                counted = sum(1 for _ in csv.reader(lines, **(escaping if options else {})))
            with contextlib.suppress(pa.ArrowInvalid):
                arrow = pa_csv.read_csv(path, parse_options=pa_csv.ParseOptions(newlines_in_values=True, **options))
                if arrow.num_rows == counted - 1:
                    agreed += 1
                    assert len(read(path)) == arrow.num_rows
    assert agreed >= 12


PLAIN = [(f"how do I pay invoice {i}", f"ways of paying, part {i}", i % 2) for i in range(8000)]


def lone_quotes(rows: list[Row]) -> list[Row]:
    """Every 50th text begins with a quote, every 70th ends with one."""
    return [
        ('"' * (i % 50 == 7) + a.replace(",", ""), b.replace(",", "") + '"' * (i % 70 == 3), label)
        for i, (a, b, label) in enumerate(rows)
    ]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv"])
def test_lone_quotes_swallow_no_rows(tmp_path: Path, suffix: str) -> None:
    rows = lone_quotes(PLAIN)
    path = put(tmp_path / f"p{suffix}", by_hand(rows, "\t" if suffix == ".tsv" else ","))
    assert triples(read(path)) == rows


def test_spark_swallows_no_rows(tmp_path: Path) -> None:
    rows = [(f'he said "{a}"' if i % 40 == 5 else a, b, label) for i, (a, b, label) in enumerate(PLAIN)]
    assert triples(read(put(tmp_path / "p.csv", by_spark(rows, ",")))) == rows


def test_two_ways_in_one_file_are_refused_at_the_first_line(tmp_path: Path) -> None:
    unquoted, quoted = by_hand(lone_quotes(PLAIN[:100]), ","), RFC["csv QUOTE_MINIMAL lf"](PLAIN[:100], ",")
    line = refusal(put(tmp_path / "p.csv", unquoted + quoted.partition("\n")[2]))
    assert "line 9 has a double quote that does not enclose" in line and "jsonl or parquet" in line


def test_a_text_that_spans_rows_is_refused(tmp_path: Path) -> None:
    """Both readings are sound: a text of two lines, or two rows with a lone quote each."""
    line = refusal(put(tmp_path / "p.csv", 'text1,text2,label\na,b,0\n"open,b,1\nsize 5",c,0\nd,e,1\n'))
    assert "line 3 has a text that spans what look like rows" in line


def test_texts_with_line_breaks_are_read(tmp_path: Path) -> None:
    rows = [
        ("Dear all,\nthe figures: 1,2,3\n\nbye, Ann", "first\r\nsecond", 1),
        ("id,name\n7,x\n8,y", "what is wrong with my csv, please?", 0),
        ("one\n" * 2000, "short", 1),
    ]
    for name in ("csv QUOTE_ALL", "csv QUOTE_MINIMAL lf", "arrow"):
        assert triples(read(put(tmp_path / "p.csv", RFC[name](rows, ",")))) == rows


def test_a_line_break_without_quotes_is_refused(tmp_path: Path) -> None:
    head = "text1,text2,label\na,b,1\nc,d,0\n"
    for torn in ("e\nf,g,1\n", "e,f\ng,1\n", "e,f\n\ng,0\n"):
        line = refusal(put(tmp_path / "p.csv", head + torn))
        assert "line 4 has" in line and "a line break in double quotes" in line


def test_rows_that_end_early_have_no_label(tmp_path: Path) -> None:
    short = "text1,text2,label\na,b,1\nc,d,0\ne,f\ng,h\n"
    assert triples(read(put(tmp_path / "short.csv", short)))[2:] == [("e", "f", -1), ("g", "h", -1)]


def test_null_of_postgres_is_missing(tmp_path: Path) -> None:
    content = "text1,text2,label\n\\N,b,1\nc,\\N,0\nd,e,\\N\nf,\\No,1\n"
    expected = [("", "b", 1), ("c", "", 0), ("d", "e", -1), ("f", "\\No", 1)]
    assert triples(read(put(tmp_path / "p.csv", content))) == expected
    assert triples(read(put(tmp_path / "p.tsv", content.replace(",", "\t")))) == expected


def test_null_beside_escapes(tmp_path: Path) -> None:
    """As MySQL writes INTO OUTFILE."""
    content = "text1,text2,label\na\\, b,c\\\nd,1\n\\N,e,0\nf \\\\ g,h,\\N\ni,\\N,1\n"
    expected = [("a, b", "c\nd", 1), ("", "e", 0), ("f \\ g", "h", -1), ("i", "", 1)]
    assert triples(read(put(tmp_path / "p.csv", content))) == expected


def prose(rng: random.Random) -> str:
    """Sentences with commas, a few of them in several lines."""
    lines = 1 + (rng.random() < 0.2) + (rng.random() < 0.05)
    words = ["please", "pay", "my card", "hours", "it is late", "invoice", "thanks"]
    return "\n".join(", ".join(rng.choices(words, k=rng.randint(1, 4))) for _ in range(lines))


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_prose_in_several_lines_is_read(tmp_path: Path, quoting: Any) -> None:
    """Whether or not a label column tells rows from lines of text."""
    for seed in range(60):
        rng = random.Random(seed)
        rows = [(prose(rng), prose(rng), prose(rng) if seed % 2 else str(rng.randint(0, 1))) for _ in range(50)]
        out = io.StringIO()
        csv.writer(out, quoting=quoting).writerows([("query", "document", "label"), *rows])
        file = known(put(tmp_path / "p.csv", out.getvalue()))
        assert file is not None
        found = read_columns(file, ["query", "document", "label"])
        assert list(zip(*found.values(), strict=True)) == rows, seed


def test_one_text_of_two_lines_is_read(tmp_path: Path) -> None:
    plain = [(f"how to pay {i}", f"ways of paying {i}", f"hours {i}") for i in range(20)]
    out = io.StringIO()
    csv.writer(out).writerows([("anchor", "positive", "negative"), *plain, ("q", "Hello, world\nfoo, bar", "n")])
    assert read(put(tmp_path / "p.csv", out.getvalue())).text_b[-2:] == ["Hello, world\nfoo, bar", "n"]
    labelled = [(a, b, i % 2) for i, (a, b, _) in enumerate(plain)]
    rows = [*labelled, ("q", "list: a,0\nb, c", 1)]
    assert triples(read(put(tmp_path / "p.csv", by_csv()(rows, ",")))) == rows
    rows = [*labelled, ("q", "a,0\nb,c", 1)]
    assert triples(read(put(tmp_path / "p.csv", by_csv(quoting=csv.QUOTE_NONNUMERIC)(rows, ",")))) == rows
    assert "line 22 has a text that spans" in refusal(put(tmp_path / "p.csv", by_csv()(rows, ",")))


def test_lone_quotes_in_free_text_are_never_read_wrongly(tmp_path: Path) -> None:
    """No column tells rows from lines of text; some texts begin with a space."""
    for seed in range(60):
        rng = random.Random(seed)
        rows = [tuple(prose(rng).replace(", ", " ").replace("\n", " ") for _ in range(3)) for _ in range(50)]
        rows[7] = ('"' + rows[7][0], *rows[7][1:])
        rows[9] = (rows[9][0] + '"', *rows[9][1:])
        rows[seed % 7] = (rows[seed % 7][0], " " + rows[seed % 7][1], rows[seed % 7][2])
        path = put(tmp_path / "p.csv", "".join(",".join(row) + "\n" for row in [("a", "b", "c"), *rows]))
        file = known(path)
        assert file is not None
        with contextlib.suppress(DataError):
            assert list(zip(*read_columns(file, ["a", "b", "c"]).values(), strict=True)) == rows
