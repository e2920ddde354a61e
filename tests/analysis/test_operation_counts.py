"""Operations are counted from what is dispatched; each count is checked against one made by hand."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nndistill.analysis.operation_counts import count_operations


def meta(*size: int, dtype: torch.dtype = torch.float32, gradient: bool = False) -> torch.Tensor:
    return torch.empty(*size, device="meta", dtype=dtype, requires_grad=gradient)


def test_a_view_is_no_kernel_and_moves_nothing():
    x = meta(4, 6, 8)
    with count_operations() as counts:
        x.transpose(0, 1)[2:].unsqueeze(0)
        torch.empty_like(x)
    assert (counts.kernels, counts.views, counts.operations) == (0, 4, 4)
    assert counts.bytes == counts.flops == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_bytes_are_what_is_read_and_written(dtype):
    a, b = meta(100, dtype=dtype), meta(100, dtype=dtype)
    with count_operations() as counts:
        a + b
    assert counts.bytes == 3 * 100 * dtype.itemsize


@pytest.mark.parametrize(
    ("call", "tensors"),
    [
        (lambda a, b: torch.mul(a, b, out=b), 3),  # b is read as a factor, and written
        (lambda a, b: torch.neg(a, out=b), 2),
        (lambda a, b: a.add_(b), 3),
        (lambda a, b: a.copy_(b), 2),
        (lambda a, b: a.zero_(), 1),
        (lambda a, b: a.fill_(1), 1),
    ],
)
def test_a_written_tensor_is_read_only_if_the_operation_reads_it(call, tensors):
    a, b = meta(100), meta(100)
    with count_operations() as counts:
        call(a, b)
    assert counts.bytes == tensors * 400


def test_an_expanded_tensor_is_read_once():
    row, x = meta(1, 10).expand(1000, 10), meta(1000, 10)
    with count_operations() as counts:
        x * row
    assert counts.bytes == 4 * (10_000 + 10 + 10_000)


def test_flops_of_a_network_equal_pytorchs_own_count_forward_and_backward():
    network = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 3, 1)).to("meta")
    x = meta(2, 2, 8, 8, 8)
    with FlopCounterMode(display=False) as theirs:
        network(x).sum().backward()
    with count_operations() as ours:
        network(x).sum().backward()
    assert ours.flops == theirs.get_total_flops() > 0


def test_products_in_place_count_as_products():
    total, a, b = meta(5, 7), meta(5, 3), meta(3, 7)
    with count_operations() as counts:
        total.addmm_(a, b)
        torch.mm(a, b, out=total)
    assert counts.flops == 2 * (2 * 5 * 3 * 7)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: int(x.max()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x + 1),
    ],
)
def test_what_the_host_waits_for_is_counted(wait):
    with count_operations() as counts, suppress(RuntimeError):  # there is nothing to wait for on meta
        wait(meta(8))
    assert counts.syncs == 1
    with count_operations() as counts:
        wait(torch.rand(8))
    assert counts.syncs == 0


def test_a_step_on_the_device_alone_has_no_sync():
    x = meta(8, gradient=True)
    with count_operations() as counts:
        torch.where(x > 0.5, x, 0).sum().backward()
    assert counts.syncs == 0


def test_a_number_of_a_meta_tensor_is_what_the_caller_says():
    with count_operations(read=lambda x: False if x.dtype == torch.bool else 4) as counts:
        assert int(meta(8).max()) == 4
        assert not (meta(8) > 0).any()
    assert counts.syncs == 2
    with count_operations(), pytest.raises(RuntimeError):
        meta(8).max().item()


def test_memory_is_what_is_held_at_the_same_time_and_made_inside():
    outside = meta(1000)
    with count_operations() as counts:
        one = outside * 2
        del one
        two, three = outside + 1, outside[:500].clone()
        two.add_(three[:1])
    assert counts.peak_bytes == 4 * (1000 + 500)
