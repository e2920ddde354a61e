"""The layers: an import against their order is found, and the table in the documentation is the one that is checked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib")  # Python 3.11
pytest.importorskip("importlinter")

REPOSITORY = Path(__file__).parents[1]
CONTRACT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
LAYERS = [name for layer in CONTRACT["layers"] for name in layer.split(" : ")]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; from importlinter.cli import lint_imports_command as lint; sys.exit(lint(['--no-cache']))"
    command = [sys.executable, "-c", program]
    environment = {"PYTHONPATH": str(folder / "src"), "PATH": ""}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_every_layer_is_in_the_documentation_in_its_order() -> None:
    page = (REPOSITORY / "docs" / "explanation" / "architecture.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert documented == [name for name in LAYERS if name != "__main__"]


def test_every_module_belongs_to_a_layer() -> None:
    package = REPOSITORY / "src" / "nndistill"
    modules = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert modules - {"__init__", "moved"} == set(LAYERS)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("wavelets/subbands.py", "from ..methods import DCD"),
        ("reporting/report.py", "from ..gather import gather"),
        ("runtime/loading.py", "from ..nnunet.plans import build_network"),
    ],
)
def test_a_line_against_the_order_is_found(tmp_path: Path, module: str, line: str) -> None:
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    kept = lint(tmp_path)
    assert kept.returncode == 0, kept.stdout
    with (tmp_path / "src" / "nndistill" / module).open("a") as file:
        file.write(f"\n{line}\n")
    broken = lint(tmp_path)
    assert broken.returncode != 0
    assert module.removesuffix(".py").replace("/", ".") in broken.stdout
