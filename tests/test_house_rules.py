"""The rules of the house: who may import whom, and how large files and functions may grow."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES, MOST_TEST_LINES = 350, 450
MOST_FUNCTION_LINES, MOST_PARAMETERS = 50, 6


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """The check of `make check`, on the packages in `folder`."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the packages and of the contracts, to break them in."""
    for package in ("tune", "cluster"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(copy: Path) -> None:
    checked = lint_imports(copy)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("tune/search/points.py", "from tune.export.about import about", "rooms import downwards only"),
        ("tune/embed/view.py", "from tune.train.stream import Report", "rooms import downwards only"),
        ("tune/metrics/score.py", "from tune.files import write_atomic", "rooms import downwards only"),
        ("tune/pipeline/local.py", "import cluster.settings", "tune does not know cluster or Modal"),
        ("tune/results/layout.py", "import torch", "the light rooms import no framework"),
        ("tune/train/local.py", "from ray import tune as ray_tune", "only search knows Ray"),
    ],
)
def test_a_broken_contract_is_refused(copy: Path, module: str, line: str, contract: str) -> None:
    path = copy / module
    path.write_text(f"{path.read_text()}\n{line}\n")
    checked = lint_imports(copy)
    assert checked.returncode == 1 and f"{contract} BROKEN" in checked.stdout, checked.stdout


def test_a_new_room_must_be_given_its_place(copy: Path) -> None:
    (copy / "tune" / "attic.py").write_text("import json\n")
    checked = lint_imports(copy)
    assert checked.returncode == 1 and "attic" in checked.stdout, checked.stdout


def sources() -> Iterator[Path]:
    for folder in ("tune", "cluster", "tests", "docs"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def test_files_and_functions_stay_small() -> None:
    too_large = []
    for path in sources():
        text, name = path.read_text(), path.relative_to(ROOT)
        if text.count("\n") > (MOST_TEST_LINES if name.parts[0] == "tests" else MOST_LINES):
            too_large.append(f"{name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines, parameters = (node.end_lineno or 0) - node.lineno + 1, parameters_of(node)
                if lines > MOST_FUNCTION_LINES or parameters > MOST_PARAMETERS:
                    too_large.append(f"{name}: {node.name} has {lines} lines and {parameters} parameters")
    assert not too_large, "\n".join(too_large)


def parameters_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The parameters of a function, `self` and `cls` aside."""
    names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_help_loads_no_framework() -> None:
    heavy = ("torch", "ray", "sentence_transformers", "transformers", "pandas", "datasets", "scipy", "sklearn", "numpy")
    misspelt = ["search", "--base-modle", "x"]
    for arguments in ([], ["search", "--help"], misspelt, [*misspelt, "--freeze", "false"]):
        code = (
            "import sys\nfrom tune.cli import main\n"
            f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
            f"print([name for name in {heavy!r} if name in sys.modules])"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
        assert ran.stdout.splitlines()[-1] == "[]", (arguments, ran.stdout, ran.stderr)
