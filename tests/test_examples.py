"""The examples run as they are written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_monai_network_is_distilled_without_nnunet():
    command = [sys.executable, EXAMPLES / "monai_dynunet.py", "--iterations", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "student with DCD: mean Dice on 4 held-out phantoms" in ended.stdout
    assert "nnunetv2" not in ended.stderr
