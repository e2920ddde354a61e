"""A data set is one file: command, help, Python name and the documentation's list derive from it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import nndistill.datasets
from nndistill.datasets import registry
from nndistill.datasets.phantom.layouts import LAYOUTS
from nndistill.datasets.registry import Option, public_datasets, register
from nndistill.files import read_json

ROOT = Path(__file__).parents[2]

TOY = '''
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from .registry import Option, register
from .source import Case, Source


@register(
    "toy2030",
    title="Toy 2030",
    summary="Toy 2030: bright dots in noise.",
    source="Folders of pairs of files.",
    options={
        "contrast": Option("Which image to take."),
        "first_only": Option("Take one case.", flag="--only-one"),
    },
    usual_id=555,
)
def find_toy2030(
    roots: Sequence[Path], *, contrast: Literal["hard", "soft"] = "hard", first_only: bool = False
) -> Source:
    """Find the dots."""
    found = sorted(path for root in roots for path in root.glob(f"*-{contrast}.nii.gz"))
    names = [path.name.removesuffix(f"-{contrast}.nii.gz") for path in found]
    cases = [Case(name, name, (path,), path.with_name(f"{name}-dots.nii.gz")) for name, path in zip(names, found)]
    return Source(
        found_by="toy2030",
        name="Toy2030",
        channels=(contrast,),
        labels={"background": 0, "dot": 1},
        cases=tuple(cases[:1] if first_only else cases),
    )
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A file that is not in the package's folder, found as if it were."""
    monkeypatch.setattr(registry, "_registered", public_datasets())
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "toy2030.py").write_text(TOY)
    monkeypatch.setattr(nndistill.datasets, "__path__", [*nndistill.datasets.__path__, str(tmp_path / "more")])
    yield "toy2030"
    sys.modules.pop("nndistill.datasets.toy2030", None)
    vars(nndistill.datasets).pop("toy2030", None)


@pytest.fixture
def dots(tmp_path, save):
    """Two downloads of the toy data set, with two cases and one."""
    rng = np.random.default_rng(0)
    for folder, name in (("first", "a"), ("first", "b"), ("second", "c")):
        for contrast in ("hard", "soft"):
            save(tmp_path / folder / f"{name}-{contrast}.nii.gz", rng.normal(size=(6, 7, 5)).astype(np.float32))
        save(tmp_path / folder / f"{name}-dots.nii.gz", np.eye(7, 5, dtype=np.uint8)[None].repeat(6, axis=0))
    return tmp_path / "first", tmp_path / "second"


def test_a_data_set_of_one_file_is_a_command_with_help(nndistill, toy, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert "toy2030 Toy 2030: bright dots in noise." in " ".join(nndistill("prepare", "--help").out.split())
    shown = " ".join(nndistill("prepare", toy, "--help").out.split())
    own = ("Folders of pairs of files.", "--contrast <hard|soft> Which image to take. [default: hard]", "--only-one")
    common = ("--dataset-id", "--split", "--on-error", "--copy", "--jobs", "--workspace", "--json")
    for expected in (*own, *common):
        assert expected in shown
    assert "--no-only-one" not in shown
    assert "--first-only" not in shown


@pytest.mark.parametrize(
    ("options", "cases", "channel"),
    [([], ["a", "b", "c"], "hard"), (["--only-one"], ["a"], "hard"), (["--contrast", "soft"], ["a", "b", "c"], "soft")],
)
def test_a_data_set_of_one_file_is_prepared(nndistill, toy, dots, tmp_path, options, cases, channel):
    result = nndistill("prepare", toy, *dots, "--dataset-id", 555, "--workspace", tmp_path / "work", *options)
    assert result.status == 0, result.err
    folder = tmp_path / "work" / "nnUNet_raw" / "Dataset555_Toy2030"
    described = read_json(folder / "dataset.json")
    assert list(described["dataset"]) == cases
    assert described["channel_names"] == {"0": channel}
    assert read_json(folder / "provenance.json")["made_from"] == {"maker": "toy2030"}


def test_a_data_set_of_one_file_has_its_python_name(toy, dots):
    assert "find_toy2030" in dir(nndistill.datasets)
    assert len(nndistill.datasets.find_toy2030(dots).cases) == 3


def test_a_data_set_of_one_file_is_in_the_documentation(toy):
    page = docs().on_page_markdown((ROOT / "docs" / "how-to" / "datasets.md").read_text())
    link = "[Toy 2030: bright dots in noise](datasets/toy2030.md)"
    assert f"| {link} | `nndistill prepare toy2030 SOURCE… --dataset-id 555` |" in page.splitlines()
    nav = [{"How-to": ["how-to/install.md", {"Data sets": ["how-to/datasets.md"]}]}, "index.md"]
    docs().on_config({"nav": nav})
    assert {"Toy 2030": "how-to/datasets/toy2030.md"} in nav[0]["How-to"][1]["Data sets"]


def test_every_data_set_has_a_page_and_a_test():
    assert list(public_datasets()) == ["brats2024", "decathlon", "isles2022"]
    for name in public_datasets():
        assert f"prepare {name}" in (ROOT / "docs" / "how-to" / "datasets" / f"{name}.md").read_text()
        assert (ROOT / "tests" / "datasets" / f"test_{name}.py").is_file()


def test_every_public_name_is_there():
    for name in nndistill.datasets.__all__:
        assert callable(getattr(nndistill.datasets, name))
        assert name in dir(nndistill.datasets)
    with pytest.raises(AttributeError, match="has no attribute 'find_nothing'"):
        _ = nndistill.datasets.find_nothing


def test_a_misspelt_data_set_is_corrected(nndistill):
    assert "Did you mean 'brats2024'" in nndistill("prepare", "brats2042", "here", "--dataset-id", 1).err


def test_help_of_phantom_names_every_layout(nndistill, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert f"<{'|'.join(LAYOUTS)}>" in nndistill("phantom", "--help").out


def test_help_reads_no_library_of_images():
    heavy = ["torch", "nibabel", "numpy", "pandas", "scipy", "SimpleITK", "nnunetv2"]
    code = f"""
import sys
from nndistill.cli import main
try:
    main(["prepare", "brats2024", "--help"])
finally:
    print([name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]"


def test_two_data_sets_of_one_name_are_refused(monkeypatch):
    monkeypatch.setattr(registry, "_registered", public_datasets())
    with pytest.raises(ValueError, match="brats2024 is registered already"):
        register("brats2024", title="", summary="", source="")(lambda root: None)


@pytest.mark.parametrize("options", [{}, {"grid": Option("…"), "other": Option("…")}])
def test_each_keyword_is_described_once(monkeypatch, options):
    def find(root: Path, *, grid: str = "flair") -> SimpleNamespace: ...

    monkeypatch.setattr(registry, "_registered", {})
    with pytest.raises(TypeError, match="keywords are"):
        register("x", title="", summary="", source="", options=options)(find)


def docs():
    spec = importlib.util.spec_from_file_location("dataset_list", ROOT / "docs" / "dataset_list.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
