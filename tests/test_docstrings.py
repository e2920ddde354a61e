"""The examples in docstrings run; everything that `import nndistill` shows has one, and an entry in the reference."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import SimpleITK

import nndistill as nnd
from trained_world import DATASET

REFERENCE = Path(__file__).parents[1] / "docs" / "reference" / "api.md"
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(nnd.__path__, "nndistill.")
    if not module.name.endswith(("__main__", "_kernel")) and ">>>" in (inspect.getsource(import_module(module.name)))
)
FINDER = doctest.DocTestFinder(exclude_empty=True)


@pytest.fixture
def export(small) -> Path:
    """A folder that `nndistill export` made."""
    return small.folders["openvino"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two cases of two channels in nnU-Net's layout."""
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for case, shape in {"large": (20, 30, 12), "small": (14, 20, 7)}.items():
        for channel in range(2):
            noise = SimpleITK.GetImageFromArray(random.standard_normal(shape).astype(np.float32))
            SimpleITK.WriteImage(noise, str(folder / f"{case}_{channel:04d}.nii.gz"))
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


@pytest.fixture
def workspace(world, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace that nnU-Net's variables point to."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(world.workspace / name))
    return world.workspace


@pytest.fixture
def teacher_folder(world, workspace: Path) -> Path:
    return world.teacher


@pytest.fixture
def student_folder(world, workspace: Path) -> Path:
    return world.results / "nnUNetTrainerDistill__student__3d_fullres"


@pytest.fixture
def dataset(workspace: Path) -> str:
    return DATASET


@pytest.fixture
def plans_file(world, workspace: Path) -> Path:
    return world.preprocessed / "nnUNetResEncUNetPlans.json"


FIXTURES = ("dataset", "export", "images", "output", "plans_file", "student_folder", "teacher_folder")
"""What an example may use without defining it."""
TRAINED = {"dataset", "plans_file", "student_folder", "teacher_folder"}


def examples_of(module: ModuleType) -> list[doctest.DocTest]:
    return [found for found in FINDER.find(module) if found.examples]


def used_by(example: doctest.DocTest) -> list[str]:
    """The fixtures that an example names."""
    source = "".join(part.source for part in example.examples)
    return [name for name in FIXTURES if re.search(rf"\b{name}\b(?!=)", source)]


def with_marks(module: str) -> object:
    """The module as a parameter, marked if one of its examples needs a trained network."""
    trains = any(TRAINED.intersection(used_by(example)) for example in examples_of(import_module(module)))
    return pytest.param(module, marks=pytest.mark.training) if trains else module


@pytest.mark.parametrize("module", map(with_marks, MODULES))
def test_examples_run(module: str, request: pytest.FixtureRequest) -> None:
    found = examples_of(import_module(module))
    assert found, "the module has `>>>` outside of a docstring"
    for example in found:
        given = {name: request.getfixturevalue(name) for name in used_by(example)}
        example.globs |= {name: getattr(nnd, name) for name in nnd.__all__} | example.globs | given
        said: list[str] = []
        result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=said.append)
        assert result.failed == 0, "".join(said)


@pytest.mark.parametrize("name", nnd.__all__)
def test_what_the_package_shows_is_documented(name: str) -> None:
    shown = getattr(nnd, name)
    reference = re.findall(r"^::: (\S+)", REFERENCE.read_text(), re.MULTILINE)
    if isinstance(shown, ModuleType):
        assert any(entry.startswith(f"{shown.__name__}.") for entry in reference)
        return
    entries = [entry for entry in reference if entry.rpartition(".")[2] == name]
    assert [getattr(import_module(entry.rpartition(".")[0]), name) for entry in entries] == [shown]
    assert ">>>" in (shown.__doc__ or ""), f"the docstring of {name} has no example"


def test_the_package_shows_its_names_before_they_are_imported() -> None:
    assert set(nnd.__all__) <= set(dir(nnd))
    with pytest.raises(AttributeError, match="nndistill"):
        _ = nnd.distil  # type: ignore[attr-defined]
