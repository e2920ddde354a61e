"""Networks that are compiled for CUDA."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from networks import residual_unet
from nndistill import Distiller
from nndistill.methods import build_method
from nndistill.teacher_engines import CompiledEncoderEngine

STUDENT, TEACHER = [8, 8], [16, 16]


@pytest.fixture
def compiler(device: torch.device) -> str:
    """What compiles where the tests run; on a processor the graphs alone are tested."""
    return "inductor" if device.type == "cuda" else "aot_eager"


def distiller(device: torch.device, wrap: Callable[[nn.Module], nn.Module], *, compiled_teacher: str | None = None):
    torch.manual_seed(0)
    student, teacher = residual_unet(STUDENT), residual_unet(TEACHER).eval()
    method = build_method("dcd", student_channels=STUDENT, teacher_channels=TEACHER)
    engine = CompiledEncoderEngine(teacher, backend=compiled_teacher) if compiled_teacher else None
    return Distiller(wrap(student), teacher, method, teacher_engine=engine).to(device)


def losses(whole: Distiller, device: torch.device) -> list[float]:
    """Of four steps under autocast, as nnU-Net takes them."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(2, 1, 16, 16, 16, generator=random).to(device)
    target = torch.randint(2, (2, 16, 16, 16), generator=random).to(device)
    optimizer = torch.optim.SGD(whole.parameters(), 0.01, momentum=0.9, nesterov=True)
    half = torch.float16 if device.type == "cuda" else torch.bfloat16
    scaler = torch.amp.GradScaler(device.type, enabled=half == torch.float16)
    seen = []
    for _ in range(4):
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=half):
            output, loss = whole(x, target)
            objective = cross_entropy(output.float(), target) + 0.05 * loss
        scaler.scale(objective).backward()
        scaler.step(optimizer)
        scaler.update()
        seen.append(objective.item())
    return seen


@pytest.mark.parametrize("compiled", ["student", "teacher"])
def test_compiled_networks_train_as_they_do_without(compiled, compiler, device):
    expected = losses(distiller(device, lambda network: network), device)
    if compiled == "student":
        whole = distiller(device, lambda network: torch.compile(network, backend=compiler))
    else:
        whole = distiller(device, lambda network: network, compiled_teacher=compiler)
    found = losses(whole, device)
    assert np.isfinite(found).all()
    assert found[-1] != found[0]
    np.testing.assert_allclose(found, expected, rtol=2e-2)
