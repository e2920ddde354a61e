"""Several processes: student and φ get the mean of all processes' gradients, as one process with all data would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from networks import residual_unet
from nndistill import Distiller
from nndistill.methods import build_method

TEACHER, STUDENT = (8, 16), (4, 8)


def _distiller(wrapped: Callable[[nn.Module], nn.Module]) -> Distiller:
    """As nnUNetTrainerDistill puts it together."""
    torch.manual_seed(7)
    student, teacher = residual_unet(STUDENT), residual_unet(TEACHER)
    method = build_method("dcd", student_channels=STUDENT, teacher_channels=TEACHER, bands="A+D", level=1)
    distiller = Distiller(wrapped(student), teacher, method)
    distiller.method = wrapped(method)
    return distiller


def _gradients(distiller: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    output, distillation = distiller(x)
    (output.square().mean() + distillation).backward()
    return {
        name.replace("module.", ""): parameter.grad
        for name, parameter in distiller.named_parameters()
        if parameter.grad is not None
    }


def _across_processes(module: nn.Module) -> nn.Module:
    return DistributedDataParallel(module, find_unused_parameters=True)  # deep supervision is off: idle heads


def _work(rank: int, folder: str, x: torch.Tensor) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    gradients = _gradients(_distiller(_across_processes), x[rank : rank + 1])
    torch.save(gradients, f"{folder}/{rank}.pth")
    distributed.destroy_process_group()


def test_gradients_of_two_processes_are_those_of_one_with_all_data(tmp_path):
    x = torch.randn(2, 1, 16, 16, 16)
    torch.multiprocessing.spawn(_work, (str(tmp_path), x), nprocs=2)
    expected = _gradients(_distiller(lambda module: module), x)
    for rank in range(2):
        got = torch.load(Path(tmp_path) / f"{rank}.pth")
        assert got.keys() == expected.keys()
        assert any(name.startswith("method.phi") for name in got)
        for name, gradient in expected.items():
            torch.testing.assert_close(got[name], gradient, rtol=1e-3, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
