"""The pinned versions: one per package on every Python, and a torchvision that was compiled for the torch beside it."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
PINS = [
    Requirement(line)
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def pinned(python: str) -> list[Requirement]:
    return [pin for pin in PINS if pin.marker is None or pin.marker.evaluate({"python_version": python})]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_every_python_has_one_version_of_each_package(python):
    names = [pin.name.lower() for pin in pinned(python)]
    assert len(names) > 100
    assert len(names) == len(set(names))
    assert all([spec.operator for spec in pin.specifier] == ["=="] for pin in pinned(python))


def test_a_package_of_two_versions_has_one_for_every_python():
    """A pin with a marker alone leaves the other Pythons to chance, unless the package is not for them."""
    twice = {pin.name for pin in PINS if pin.marker and 'python_version < "3.11"' in str(pin.marker)}
    once = {pin.name for pin in PINS if pin.marker} - twice
    assert len(twice) > 20
    assert once == {"snakemake"}  # which needs Python 3.11, as the extra `study` says


def test_torchvision_was_compiled_for_the_torch_beside_it():
    """Stock nnU-Net's training imports torchvision, which works beside one version of torch only."""
    [torch, torchvision] = (next(pin for pin in PINS if pin.name == name) for name in ("torch", "torchvision"))
    try:
        installed = metadata.version("torchvision")
    except metadata.PackageNotFoundError:
        pytest.skip("torchvision is not installed")
    if not torchvision.specifier.contains(installed):
        pytest.skip(f"torchvision {installed} is not the pinned one")
    [needed] = (each for each in map(Requirement, metadata.requires("torchvision") or []) if each.name == "torch")
    assert str(needed.specifier) == str(torch.specifier)
