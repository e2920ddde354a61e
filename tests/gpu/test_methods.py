"""Every method, and every option that changes what is computed, on CUDA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from activations import labels
from brats_on_meta import BATCH, CLASSES, REDUCTION, STAGES, VARIANTS, built
from brats_on_meta import activations as on_meta
from brats_on_meta import target as target_on_meta
from nndistill.analysis.operation_counts import count_operations
from nndistill.methods import Activations, Method, build_method

SIZES = [(24, 20, 28), (12, 10, 14), (6, 5, 7)]
STUDENT, TEACHER = [4, 8, 8], [8, 16, 16]
WITH_LOSS = [variant for variant in VARIANTS if variant != "none"]
NETWORK_PRECISION = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def small(variant: str, *, ignores: bool = False) -> Method:
    name, options = VARIANTS[variant]
    torch.manual_seed(0)
    return build_method(
        name, student_channels=STUDENT, teacher_channels=TEACHER, classes=CLASSES, ignores=ignores, **options
    )


def of_network(channels: list[int], device: torch.device, dtype: torch.dtype, *, seed: int) -> Activations:
    """The same numbers on every device and in every precision, rounded to it."""
    random = torch.Generator().manual_seed(seed)

    def made(*shape: int) -> Tensor:
        numbers = torch.randn(BATCH, *shape, generator=random)
        return numbers.to(device, dtype).requires_grad_(channels is STUDENT)

    return Activations(
        [made(c, *size) for c, size in zip(channels, SIZES, strict=True)],
        [made(c, *size) for c, size in zip(channels[:-1], SIZES[:-1], strict=True)],
        made(CLASSES, *SIZES[0]),
    )


def loss_and_gradients(
    method: Method, device: torch.device, dtype: torch.dtype, autocast: torch.dtype | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Of the student's activations and of φ, by name."""
    student, teacher = (of_network(c, device, dtype, seed=s) for s, c in enumerate((STUDENT, TEACHER)))
    target = labels(CLASSES, batch=BATCH, space=SIZES[0]).to(device)
    with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        loss = method(student, teacher, target)
    loss.backward()
    read = {"logits": student.logits}
    read |= {f"encoder {i}": x for i, x in enumerate(student.encoder)}
    read |= {f"decoder {i}": x for i, x in enumerate(student.decoder)} | dict(method.named_parameters())
    return loss.detach(), {name: x.grad for name, x in read.items() if x is not None and x.grad is not None}


@pytest.mark.usefixtures("without_tf32")
@pytest.mark.parametrize("variant", WITH_LOSS)
def test_loss_and_gradients_are_those_of_a_processor_in_double_precision(variant, device):
    reference, expected = loss_and_gradients(small(variant).double(), torch.device("cpu"), torch.float64)
    loss, found = loss_and_gradients(small(variant).to(device), device, torch.float32)
    assert loss.device.type == device.type
    torch.testing.assert_close(loss.cpu().double(), reference.double(), rtol=2e-5, atol=1e-8)
    assert found.keys() == expected.keys()
    assert found
    largest = max(gradient.norm() for gradient in expected.values())
    for name, gradient in found.items():
        error = (gradient.cpu().double() - expected[name]).norm()
        assert error <= 2e-4 * expected[name].norm() + 2e-5 * largest, name  # some are zero but for rounding


@pytest.mark.parametrize("precision", NETWORK_PRECISION)
@pytest.mark.parametrize("variant", WITH_LOSS)
def test_under_autocast_the_loss_is_finite_and_gradients_arrive(variant, precision, device):
    dtype = NETWORK_PRECISION[precision]
    loss, gradients = loss_and_gradients(small(variant).to(device), device, dtype, autocast=dtype)
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert any(gradient.count_nonzero() for gradient in gradients.values())


@contextmanager
def syncs_raise() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("variant", WITH_LOSS)
def test_a_step_never_waits_for_the_gpu(variant, cuda):
    method = small(variant).to(cuda)
    student, teacher = (of_network(c, cuda, torch.float16, seed=s) for s, c in enumerate((STUDENT, TEACHER)))
    target = labels(CLASSES, batch=BATCH, space=SIZES[0]).to(cuda)

    def step() -> None:
        with torch.autocast("cuda"):
            loss = method(student, teacher, target)
        loss.backward()

    step()  # the first one makes matrices on the processor
    with syncs_raise():
        step()


def test_a_wait_for_the_gpu_would_be_seen(cuda):
    number = torch.ones((), device=cuda)
    with pytest.raises(RuntimeError, match="synchroniz"), syncs_raise():
        bool(number > 0)


def at_size_of_brats(variant: str, device: torch.device) -> tuple[Method, Activations, Activations, Tensor]:
    """A method and what it compares, in float32 as it is counted."""
    name, options = VARIANTS[variant]
    channels = [stage[0] for stage in STAGES]
    student = [c // REDUCTION for c in channels]
    method = build_method(
        name, student_channels=student, teacher_channels=channels, classes=CLASSES, ignores=False, **options
    )
    target = torch.randint(CLASSES, (BATCH, 1, *STAGES[0][1:]), device=device)
    return method.to(device), random_stages(REDUCTION, device), random_stages(1, device), target


def random_stages(reduction: int, device: torch.device) -> Activations:
    def made(channels: int, *size: int) -> Tensor:
        return torch.randn(BATCH, channels, *size, device=device, requires_grad=reduction > 1)

    stages = [made(channels // reduction, *size) for channels, *size in STAGES]
    decoder = [x.detach().requires_grad_(reduction > 1) for x in stages[:-1]]
    return Activations(stages, decoder, made(CLASSES, *STAGES[0][1:]))


def forget_gradients(method: Method, student: Activations) -> None:
    for x in [*method.parameters(), *student.encoder, *student.decoder, student.logits]:
        x.grad = None


def counted_peak(variant: str) -> int:
    """Bytes of what is made on the way, counted on the meta device."""
    method = built(variant)
    student, teacher, target = on_meta(REDUCTION, gradient=True), on_meta(1), target_on_meta()
    for _ in range(2):  # the first step makes the matrices
        forget_gradients(method, student)
        with count_operations() as counts:
            method(student, teacher, target).backward()
    return counts.peak_bytes


LIBRARIES = 900e6
"""Bytes of work space, at the most: for the finest φ cuDNN may hold both of its tensors, 0.73 GB, in another layout."""


@pytest.mark.parametrize("variant", WITH_LOSS)
def test_memory_at_the_size_of_brats_is_what_was_counted(variant, cuda):
    method, student, teacher, target = at_size_of_brats(variant, cuda)
    for _ in range(2):
        forget_gradients(method, student)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats(cuda)
        before = torch.cuda.memory_allocated(cuda)
        method(student, teacher, target).backward()
        torch.cuda.synchronize()
    measured, counted = torch.cuda.max_memory_allocated(cuda) - before, counted_peak(variant)
    print(f"{variant}: {measured / 1e9:.2f} GB measured, {counted / 1e9:.2f} GB counted")
    assert measured <= 1.1 * counted + LIBRARIES
