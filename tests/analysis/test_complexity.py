"""Parameters and FLOPs: the paper's networks, and the definition on one layer."""

from __future__ import annotations

import pytest
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

from networks import PAPER_STUDENT, PAPER_TEACHER, residual_unet
from nndistill.analysis.complexity import PAPER_FACTOR, network_complexity

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


@pytest.mark.parametrize(
    ("dataset", "patch", "paper"),  # teacher's and student's FLOPs in Table 3, in tera
    [(BRATS, (128, 160, 112), (19.505, 1.277)), (ISLES, (128, 128, 128), (17.707, 1.149))],
)
def test_papers_flops_are_ours_times_one_factor(dataset, patch, paper):
    ours = [
        network_complexity(residual_unet(features, **dataset), (1, dataset["channels"], *patch)).flops / 1e12
        for features in (PAPER_TEACHER, PAPER_STUDENT)
    ]
    for theirs, own in zip(paper, ours, strict=True):
        assert PAPER_FACTOR[0] - 0.05 < theirs / own < PAPER_FACTOR[1]
    assert ours[0] / ours[1] == pytest.approx(paper[0] / paper[1], rel=0.02)


@pytest.mark.parametrize(("dataset", "parameters"), [(BRATS, 1_928_169), (ISLES, 1_952_938)])
def test_students_of_the_default_planner_have_another_size_than_the_papers(dataset, parameters):
    """The release reads the student's plans from `nnUNetPlans.json`, which are a PlainConvUNet's."""
    student = PlainConvUNet(
        input_channels=dataset["channels"],
        n_stages=6,
        features_per_stage=list(PAPER_STUDENT),
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=dataset["strides"],
        n_conv_per_stage=2,
        num_classes=dataset["classes"],
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
    )
    assert network_complexity(student, (1, dataset["channels"], 64, 64, 64)).parameters == parameters


def test_convolution_counts_two_a_multiply_add():
    cost = network_complexity(nn.Conv3d(2, 3, 3, padding=1), (1, 2, 4, 5, 6))
    assert cost.flops == 2 * (2 * 27) * 3 * (4 * 5 * 6)
    assert cost.parameters == 2 * 27 * 3 + 3


def test_network_is_left_where_it_was():
    network = nn.Conv3d(1, 1, 1)
    network_complexity(network, (1, 1, 2, 2, 2))
    assert network.weight.device.type == "cpu"
