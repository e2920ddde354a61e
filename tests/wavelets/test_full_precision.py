"""The transform's matrix products are in full float32, whatever the user allows elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nndistill.analysis.spectrum import stage_spectrum
from nndistill.methods import DCD, Activations
from nndistill.wavelets import SubbandProjection, wavedec3, waverec3
from nndistill.wavelets.full_precision import full_precision

aten = torch.ops.aten
CUDA, CPU = torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)
HAS_NEWER_FORM = hasattr(CUDA, "fp32_precision")

LOWERED: dict[str, Callable[[], None]] = {
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "TF32 of CUDA": lambda: setattr(CUDA, "allow_tf32", True),
}
if HAS_NEWER_FORM:
    LOWERED |= {
        "newer form, CUDA": lambda: setattr(CUDA, "fp32_precision", "tf32"),
        "newer form, CPU": lambda: setattr(CPU, "fp32_precision", "bf16"),
        "newer form, all": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
    }

USES: dict[str, Callable[[], object]] = {
    "projection": lambda: SubbandProjection().filter(torch.rand(2, 12, 9, 8)),
    "projection of a small volume": lambda: SubbandProjection().filter(torch.rand(2, 3, 4, 5)),
    "pyramid": lambda: wavedec3(torch.rand(2, 8, 8, 8)),
    "inverse": lambda: waverec3(wavedec3(torch.rand(2, 8, 8, 8))),
    "DCD": lambda: dcd(),
    "DCD of some channels": lambda: dcd(loss_every=2),
    "spectrum": lambda: stage_spectrum(torch.rand(1, 2, 8, 8, 8)),
}


def dcd(**options: int) -> None:
    student, teacher = torch.rand(1, 2, 8, 8, 8, requires_grad=True), torch.rand(1, 4, 8, 8, 8)
    DCD([2], [4], **options)(Activations([student]), Activations([teacher]))


def settings() -> tuple[object, ...]:
    if HAS_NEWER_FORM:
        return torch.backends.fp32_precision, CUDA.fp32_precision, CPU.fp32_precision
    return (torch.get_float32_matmul_precision(),)


def is_exact(found: tuple[object, ...]) -> bool:
    return {"none", "ieee"}.issuperset(found[1:]) if HAS_NEWER_FORM else found == ("highest",)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")
    if HAS_NEWER_FORM:
        torch.backends.fp32_precision = CUDA.fp32_precision = CPU.fp32_precision = "none"


class Watch(TorchDispatchMode):
    """Notes the settings at each matrix product of float32."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[object, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        product = func._overloadpacket in {aten.mm, aten.addmm, aten.addmm_, aten.bmm, aten.baddbmm, aten.baddbmm_}
        if product and args[0].dtype == torch.float32:
            self.found.append(settings())
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("lowered", LOWERED)
def test_products_are_exact_and_the_users_setting_comes_back(lowered: str, use: str) -> None:
    LOWERED[lowered]()
    before = settings()
    assert not is_exact(before)
    with Watch() as watch:
        USES[use]()
    assert watch.found
    assert all(map(is_exact, watch.found))
    assert settings() == before


@pytest.mark.parametrize("lowered", LOWERED)
def test_the_setting_comes_back_after_an_error(lowered: str) -> None:
    LOWERED[lowered]()
    before = settings()
    with pytest.raises(IndexError), full_precision():
        torch.rand(2)[2]
    assert settings() == before


def test_nothing_is_set_where_nothing_was_lowered() -> None:
    before = settings()
    with full_precision():
        assert settings() == before
    assert settings() == before
