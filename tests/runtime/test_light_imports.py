"""What runs on a workstation imports neither PyTorch nor nnU-Net, nor what only training and reports need."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"torch", "nnunetv2", "acvl_utils", "batchgenerators", "pandas", "nibabel", "matplotlib", "skimage"}


def test_the_runtime_imports_nothing_heavy():
    modules = "cases, image, preprocessing, sliding_window, postprocessing, memory"
    code = f"import sys; from nndistill.runtime import {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"scipy", "SimpleITK"} <= loaded
    assert not loaded & HEAVY
