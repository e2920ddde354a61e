"""Every method under nnU-Net's float16: losses of large features are finite, and gradients do not vanish.

A sum over a fine stage overflows float16, which ends at 65,504, and what is divided by the number of its elements falls
below 6e-8, where float16 ends at the other side; nnU-Net's gradient scaler multiplies by 65,536 against that.
"""

from __future__ import annotations

import pytest
import torch

from activations import labels
from brats_on_meta import VARIANTS
from nndistill.methods import Activations, build_method
from nndistill.methods.parts.reductions import sum_over_channels
from nndistill.wavelets import wavedec3

SPACE, STUDENT, TEACHER, CLASSES = (64, 80, 56), 2, 4, 3

SCALE = 2**16 / 512
"""The finest BraTS stage has 8 times these voxels, 4 or 8 times these channels, and 2 samples. What is divided twice by
the number of voxels (`at` with `reduction=mean`) is 8 · 8 · 4 · 2 times smaller there, everything else at most 128
times; nnU-Net's scale divided by the former makes this test as hard as a step, or harder."""


def of_network(channels: int, *, seed: int) -> Activations:
    """One stage of each kind, of unit variance."""
    random = torch.Generator().manual_seed(seed)
    stage, logits = (torch.randn(1, c, *SPACE, generator=random).half() for c in (channels, CLASSES))
    return Activations([stage], [stage], logits)


@pytest.fixture(scope="module")
def student() -> Activations:
    return of_network(STUDENT, seed=0)


@pytest.fixture(scope="module")
def teacher() -> Activations:
    return of_network(TEACHER, seed=1)


@pytest.fixture(scope="module")
def target() -> torch.Tensor:
    return labels(CLASSES, batch=1, space=SPACE)


def half(variant: str):
    """The method, and what calls it as nnU-Net does."""
    name, options = VARIANTS[variant]
    method = build_method(
        name, student_channels=[STUDENT], teacher_channels=[TEACHER], classes=CLASSES, ignores=False, **options
    )

    def call(student: Activations, teacher: Activations, target: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.float16):
            return method(student, teacher, target)

    return method, call


def scaled(network: Activations, factor: float) -> Activations:
    (stage,), logits = network.encoder, network.logits
    return Activations([stage * factor], [stage * factor], logits * factor)


@pytest.mark.parametrize("variant", VARIANTS)
def test_loss_of_a_million_large_numbers_is_finite_and_single(variant, student, teacher, target):
    method, call = half(variant)
    with torch.no_grad():
        loss = call(scaled(student, 50), scaled(teacher, 50), target)
    assert teacher.encoder[0].numel() > 1_000_000
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert (loss > 0) == bool(method.needs)


@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant != "none"])
def test_few_gradients_vanish_at_the_scale_of_nnunet(variant, student, teacher, target):
    method, call = half(variant)
    (stage,), logits = student.encoder, student.logits
    stage, logits = stage.clone().requires_grad_(), logits.clone().requires_grad_()
    weight = method.source_weight or 1.0
    (SCALE * weight * call(Activations([stage], [stage], logits), teacher, target)).backward()
    gradients = [x.grad for x in (stage, logits) if x.grad is not None]
    assert gradients
    for gradient in gradients:
        assert gradient.dtype == torch.float16
        assert gradient.isfinite().all()
        assert (gradient == 0).float().mean() < 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_chunked_loss_under_autocast_is_that_without_it(dtype):
    """Its gradient is computed in the forward pass, where autocast would round the transforms of the way back."""
    features = torch.randn(1, 4, 12, 10, 8, generator=torch.Generator().manual_seed(0))

    def gradient(*, autocast: bool) -> torch.Tensor:
        x = features.clone().requires_grad_()
        with torch.autocast("cpu", dtype=dtype, enabled=autocast):
            loss = sum_over_channels(x, lambda part: wavedec3(part, "haar", level=2)[1]["add"].square().sum())
        return torch.autograd.grad(loss, x)[0]

    assert torch.equal(gradient(autocast=True), gradient(autocast=False))
