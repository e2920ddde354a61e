"""Methods from elsewhere: a package as `pip install` leaves it, and a file in nnDistill's own folder of methods."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import nndistill.methods
from nndistill.methods.names import REGISTERED, installed_methods, shipped_methods

METHOD = '''
from torch.nn.functional import cosine_similarity

from nndistill.methods import StagewiseMethod, register


@register
class Direction(StagewiseMethod):
    """Match the direction of every voxel's feature vector, whatever its length."""

    name = "direction"
    title = "Direction of features"
    matches = "where feature vectors point"
    source_weight = 0.25

    def __init__(self, student_channels, teacher_channels, *, power: float = 1.0) -> None:
        super().__init__(student_channels, teacher_channels)
        self.power = power

    def stage_loss(self, student, teacher):
        return (1 - cosine_similarity(student, teacher, dim=1)).pow(self.power).mean()
'''


@pytest.fixture
def clean_registry() -> Iterator[list[str]]:
    """What a test registers is gone after it, and so are the modules that it adds to the list."""
    registered, modules = dict(REGISTERED), []
    yield modules
    for name in modules:
        sys.modules.pop(name, None)
    REGISTERED.clear()
    REGISTERED.update(registered)
    _look_again()


def _look_again() -> None:
    shipped_methods.cache_clear()
    installed_methods.cache_clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_registry: list[str]) -> Callable[..., Path]:
    """Install a package of one module: `install("my-methods", METHOD, {"direction": "Direction"})`."""

    def call(package: str, code: str, classes: Mapping[str, str]) -> Path:
        folder = tmp_path / "site-packages" / package
        module = package.replace("-", "_")
        metadata = folder / f"{module}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (folder / f"{module}.py").write_text(code)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {module}:{class_name}" for name, class_name in classes.items()]
        (metadata / "entry_points.txt").write_text("\n".join(["[nndistill.methods]", *lines, ""]))
        monkeypatch.syspath_prepend(folder)
        clean_registry.append(module)
        _look_again()
        return folder

    return call


@pytest.fixture
def add_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_registry: list[str]) -> Callable[[str, str], None]:
    """Put a file into `nndistill/methods`."""

    def call(name: str, code: str) -> None:
        folder = tmp_path / "methods"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(code)
        monkeypatch.setattr(nndistill.methods, "__path__", [*nndistill.methods.__path__, str(folder)])
        clean_registry.append(f"nndistill.methods.{Path(name).stem}")
        _look_again()

    return call
