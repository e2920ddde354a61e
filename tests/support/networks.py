"""Networks of the size of the paper's, and small ones, built as nnU-Net builds them."""

from __future__ import annotations

from collections.abc import Sequence

from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from torch import nn

PAPER_TEACHER = (32, 64, 128, 256, 320, 320)
PAPER_STUDENT = (8, 16, 32, 64, 80, 80)


def residual_unet(
    features: Sequence[int], *, channels: int = 1, classes: int = 2, strides: Sequence[object] | None = None
) -> ResidualEncoderUNet:
    stages = len(features)
    return ResidualEncoderUNet(
        input_channels=channels,
        n_stages=stages,
        features_per_stage=list(features),
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=list(strides or [1] + [2] * (stages - 1)),
        n_blocks_per_stage=[1, 3, 4, 6, 6, 6][:stages],
        num_classes=classes,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=False,
    )
