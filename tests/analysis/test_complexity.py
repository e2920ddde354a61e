"""Parameters and FLOPs: the paper's networks, and the definition on one layer."""

from __future__ import annotations

import pytest
from torch import nn

from networks import PAPER_STUDENT, PAPER_TEACHER, residual_unet
from nndistill.analysis.complexity import network_complexity

BRATS = {"channels": 4, "classes": 5, "strides": [1, 2, 2, 2, 2, (2, 2, 1)]}
ISLES = {"channels": 3, "classes": 2, "strides": [1, 2, 2, 2, 2, 2]}


@pytest.mark.parametrize(
    ("features", "dataset", "patch", "parameters", "teraflops"),
    [
        (PAPER_TEACHER, BRATS, (128, 160, 112), 101_945_177, 1.587),
        (PAPER_STUDENT, BRATS, (128, 160, 112), 6_380_777, 0.102),
        (PAPER_TEACHER, ISLES, (128, 128, 128), 102_351_498, 1.442),
        (PAPER_STUDENT, ISLES, (128, 128, 128), 6_405_546, 0.092),
    ],
)
def test_networks_of_the_paper(features, dataset, patch, parameters, teraflops):
    cost = network_complexity(residual_unet(features, **dataset), (1, dataset["channels"], *patch))
    assert cost.parameters == parameters
    assert cost.flops / 1e12 == pytest.approx(teraflops, abs=1e-3)


def test_convolution_counts_two_a_multiply_add():
    cost = network_complexity(nn.Conv3d(2, 3, 3, padding=1), (1, 2, 4, 5, 6))
    assert cost.flops == 2 * (2 * 27) * 3 * (4 * 5 * 6)
    assert cost.parameters == 2 * 27 * 3 + 3


def test_network_is_left_where_it_was():
    network = nn.Conv3d(1, 1, 1)
    network_complexity(network, (1, 1, 2, 2, 2))
    assert network.weight.device.type == "cpu"
