"""The documentation holds: every command in README.md and docs/*.md runs, or is marked why not.

- A fenced `sh`, `bash`, `python` or `toml` block runs, unless the line above it is `<!-- not run: REASON -->`. Other
  allowed blocks (`text`, `csv`, `json`, `mermaid`) are output or pictures.
- The blocks of a page run in order, in a folder that holds `pairs.csv` (columns text1, text2, label, side),
  `new-pairs.csv`, and `results/tickets`: the search of the README, run once for all pages, with BUDGET appended: fewer
  trials, short, one at a time, on the base model that embeds fastest.
- Every other `search`, and `baselines`, gets `--dry-run`: it checks options and reads the pairs, but trains nothing.
- A `toml` block is a whole search. It is kept under the name in its first line (`# search.toml`), for later commands.

Nothing is downloaded: base models are `minilm` and `wordllama`, which come as packages.
"""

import csv
import json
import os
import re
import runpy
import shlex
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.launch import make_parser
from tests.helpers.command import tune_inside
from tests.helpers.tiny import write_some_pairs
from tune.machine import cpu_name

pytestmark = pytest.mark.usefixtures("warm_ray")

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "results" / "README.md"]
RUN, SHOWN = {"sh", "bash", "python", "toml"}, {"text", "csv", "json", "mermaid"}
BUDGET = ("--trials", "4", "--epochs", "1", "--jobs", "1", "--base-model", "wordllama")
PAIRS = {"train": 700, "val": 260, "test": 260}

_FENCE = re.compile(r"^( *)```(\w*)\s*$")
_NOT_RUN = re.compile(r"<!-- not run: (\S.*?) *-->")
_TUNE = (["python", "-m", "tune"], ["embedtune"])


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. reason: why it is not run, or ""."""

    page: Path
    line: int
    language: str
    text: str
    reason: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.language in RUN and not self.reason

    def commands(self) -> list[list[str]]:
        """Return the words of every command, without comments; a backslash continues a line."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def blocks_of(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    start, indent = None, ""
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if start is None and fence:
            start, indent = number, fence[1]
        elif start is not None and line.strip() == "```":
            above = _NOT_RUN.fullmatch(lines[start - 1].strip()) if start else None
            text = textwrap.dedent("\n".join(lines[start + 1 : number])) + "\n"
            language = lines[start].removeprefix(indent).strip("` ")
            yield Block(page, start + 1, language, text, above[1] if above else "")
            start = None
    assert start is None, f"{page.name}:{(start or 0) + 1}: the block is not closed"


BLOCKS = {page: list(blocks_of(page)) for page in PAGES}


def tune_arguments(words: list[str]) -> list[str] | None:
    """Return the arguments of an embedtune command; None if it is another command."""
    return next((words[len(head) :] for head in _TUNE if words[: len(head)] == head), None)


def readme_search() -> list[str]:
    """Return the arguments of the first search in the README that runs."""
    commands = (words for block in BLOCKS[ROOT / "README.md"] if block.runs for words in block.commands())
    return next(arguments for words in commands if (arguments := tune_arguments(words)) and arguments[0] == "search")


def environment(home: Path) -> dict[str, str]:
    """Return an environment without network or keys, with its own home for the cache of embedded texts."""
    keys = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "COHERE_API_KEY", "CO_API_KEY", "CO_API_URL")
    kept = {name: value for name, value in os.environ.items() if name not in keys}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "HOME": str(home), "HF_HUB_OFFLINE": "1", "COLUMNS": "200", "PYTHONPATH": os.pathsep.join(paths)}


def enter(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Work in that folder with this process, without network or keys."""
    patch.chdir(home)
    new = environment(home)
    for name in os.environ.keys() - new.keys():
        patch.delenv(name)
    for name, value in new.items():
        patch.setenv(name, value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a user's folder: pairs, new pairs, and the README's search in results/tickets."""
    home = tmp_path_factory.mktemp("docs")
    write_some_pairs(home / "pairs.csv", PAIRS)
    write_some_pairs(home / "new-pairs.csv", {"test": 200})
    with pytest.MonkeyPatch.context() as patch:
        enter(home, patch)
        ran = tune_inside(*readme_search(), *BUDGET, "--report", "true")
    assert ran.code == 0, ran.err
    assert (home / "results" / "tickets" / "best").is_dir(), ran.out
    return home


def test_a_search_with_a_report_has_milliseconds_per_text(folder: Path) -> None:
    facts = json.loads((folder / "results" / "tickets" / "summary.json").read_text())
    latency = facts["latency"]
    assert list(latency["models"]) == ["baseline:wordllama", facts["winner"]["trial"]]
    assert all(0 < value < 1_000 for times in latency["models"].values() for value in times.values())
    assert latency["texts"] == 256 and cpu_name() in latency["machine"] and facts["seconds"]["latency"] > 0


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter that folder with this process."""
    enter(folder, monkeypatch)
    return folder


def run_tune(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the exit code of `python -m tune ARGUMENTS`, run in this process to save the imports."""
    monkeypatch.setattr(sys, "argv", ["tune", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("tune", run_name="__main__", alter_sys=True)
    return int(ended.value.code or 0)


def shortened(arguments: list[str]) -> list[str]:
    """Return the arguments, with --dry-run if the command would search or embed."""
    long = arguments[0] in ("baselines", "challenge") or (arguments[0] == "search" and "--resume" not in arguments)
    return [*arguments, "--dry-run"] if long and "--dry-run" not in arguments else arguments


def run_block(block: Block, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if block.language == "python":
        exec(compile(block.text, block.place, "exec"), {"__name__": "docs"})
        return
    commands = block.commands()
    if block.language == "toml":
        name = block.text.splitlines()[0].removeprefix("# ")
        assert re.fullmatch(r"[\w-]+\.toml", name), f"{block.place}: begin with a line such as '# search.toml'"
        Path(name).write_text(block.text, encoding="utf-8")
        commands = [["python", "-m", "tune", "search", name]]
    for words in commands:
        arguments = tune_arguments(words)
        assert arguments, f"{block.place}: only embedtune commands run here; mark the block as not run: {words}"
        if arguments == readme_search():
            continue
        code = run_tune(shortened(arguments), monkeypatch)
        captured = capsys.readouterr()
        assert code == 0, f"{block.place}: {shlex.join(words)}: exit code {code}: {captured.err}"
        assert "Traceback" not in captured.out + captured.err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_run(
    page: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for block in BLOCKS[page]:
        if block.runs:
            run_block(block, monkeypatch, capsys)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_or_marked(page: Path) -> None:
    for block in BLOCKS[page]:
        assert block.language in RUN | SHOWN, f"{block.place}: name the language of the block ({block.language!r})"
        assert block.language in RUN or not block.reason, f"{block.place}: output needs no mark"
    marks = re.findall(r"<!-- *not run.*", page.read_text(encoding="utf-8"))
    reasons = [block.reason for block in BLOCKS[page] if block.reason]
    assert len(marks) == len(reasons), f"{page.name}: a mark has no reason, or is not the line above a block: {marks}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def prose_of(page: Path) -> str:
    """Return the text of a page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*)$", prose_of(page), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose_of(page))
    broken = []
    for link in links:
        if re.match(r"https?://|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_the_picture_is_what_its_script_draws() -> None:
    drawn = runpy.run_path(str(ROOT / "docs" / "overview.py"))["draw"]()
    assert (ROOT / "docs" / "overview.svg").read_text(encoding="utf-8") == drawn, "run python docs/overview.py"


def test_every_option_is_documented(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    documented = " ".join(page.read_text(encoding="utf-8") for page in PAGES)
    pages = {}
    long = ("search", "baselines", "challenge", "explore", "score", "serve", "apply")
    for command in (*long, "check-data", "report", "export", "push", "doctor"):
        assert run_tune([command, "--help-all" if command in long else "--help"], monkeypatch) == 0
        pages[command] = capsys.readouterr().out
    make_parser().print_help_all()
    pages["modal run cluster/launch.py"] = capsys.readouterr().out
    for command, page in pages.items():
        options = set(re.findall(r"--[a-z][a-z-]+", page)) - {"--help", "--help-all"}
        missing = {option for option in options if not re.search(rf"{option}(?![\w-])", documented)}
        assert options and not missing, f"{command}: not in README.md or docs: {sorted(missing)}"


def test_the_page_on_results_names_all_that_a_search_leaves(folder: Path) -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    results = folder / "results" / "tickets"
    left = {entry.name for entry in results.iterdir() if not entry.name.startswith(".")}
    files = page.partition("## Files")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+`) \|", files, flags=re.M)
    listed = [name for cell in cells for name in re.findall(r"`([\w.-]+)/?`", cell)]
    assert set(listed) == left
    with open(results / "leaderboard.csv", newline="") as handle:
        columns = next(csv.reader(handle))
    assert [column for column in columns if f"`{column}`" not in page] == []


def test_every_benchmark_is_quoted() -> None:
    page = (ROOT / "docs" / "measurements.md").read_text(encoding="utf-8")
    names = [path.name for path in (ROOT / "results" / "benchmarks").glob("*.json")]
    assert names and [name for name in names if f"results/benchmarks/{name}" not in page] == []
