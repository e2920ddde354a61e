"""The real data of these tests, if it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def hippocampus():
    source = Path(os.environ.get("NNDISTILL_DATA", "")) / "Task04_Hippocampus"
    if not (source / "dataset.json").exists():
        pytest.skip("the environment variable NNDISTILL_DATA names no folder with Task04_Hippocampus in it")
    return source
