"""A step of every method at BraTS size on the meta device: nothing is read back, and operations are few.

On a GPU each operation is at least one launch, some microseconds whatever its size, and reading a number back waits for
all that was launched before. On the meta device the same operations are dispatched, and reading raises.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import nndistill
from brats_on_meta import REDUCTION, VARIANTS, activations, built, target
from nndistill.analysis.operation_counts import count_operations
from nndistill.methods import build_method
from nndistill.wavelets.chunking import chunked

MOST_KERNELS = {
    "at": 250,
    "at, mean": 250,
    "cirkd": 100,
    "cirkd, encoder": 400,
    "cwd": 60,
    "cwd, encoder": 350,
    "dcd-release": 3000,
    "dcd-release, coefficients": 3000,
    "dcd, coefficients": 2000,
    "dist": 100,
    "dist, regions": 100,
    "emkd": 300,
    "emkd, regions": 300,
    "feature": 60,
    "freekd": 3500,
    "ifvd": 100,
    "logits": 50,
    "logits, regions": 50,
    "none": 5,
    "reco-kd": 650,
    "reco-kd, trained φ": 1000,
}
"""Kernels of one forward and backward pass, all stages together, and of the wavelets' matrices, which a first step
makes. The projection of `dcd` has a test of its own."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_launches_few_kernels_and_reads_nothing_back(variant):
    method = built(variant)
    student, teacher = activations(REDUCTION, gradient=True), activations(1)
    with count_operations() as counts:
        loss = method(student, teacher, target())
        if method.needs:
            loss.backward()
    assert loss.is_meta or not method.needs
    assert counts.syncs == 0
    assert counts.kernels <= MOST_KERNELS.get(variant, counts.kernels)


@pytest.mark.parametrize("variant", ["cirkd", "dist", "emkd", "ifvd", "logits", "reco-kd"])
def test_voxels_that_are_left_out_are_not_read_back_either(variant):
    method = built(variant, ignores=True)
    for channels in (1, 3):
        assert method(activations(REDUCTION), activations(1), target(channels)).is_meta


@pytest.mark.parametrize("name", ["ifvd", "reco-kd", "emkd"])
def test_a_method_that_is_not_told_the_classes_looks_into_the_target(name):
    method = build_method(name, student_channels=[4], teacher_channels=[4]).to("meta")
    with pytest.raises(RuntimeError, match="meta"):
        method(activations(REDUCTION), activations(REDUCTION), target())


def test_only_a_cpu_works_in_chunks_of_its_cache():
    on_cpu, on_gpu = (chunked(64, 1 << 20, torch.device(kind), in_cache=1 << 19) for kind in ("cpu", "cuda"))
    assert len(on_cpu) == 64
    assert len(on_gpu) == 1
    assert chunked(0, 5, torch.device("cpu"), in_cache=4) == []
    covered = chunked(10, 3, torch.device("cpu"), in_cache=7)
    assert [row for rows in covered for row in range(10)[rows]] == list(range(10))


def test_one_place_asks_whether_there_is_a_cache():
    package = Path(nndistill.__file__).parent
    files = [*(package / "methods").rglob("*.py"), *(package / "wavelets").rglob("*.py")]
    assert len(files) > 20
    asking = {file.name for file in files if re.search(r"""type [!=]= .cpu|is_cuda""", file.read_text())}
    assert asking == {"chunking.py"}
