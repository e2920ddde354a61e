"""φ, the learnable map from the student's to the teacher's channels of a stage."""

from __future__ import annotations

from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Of as many dimensions as their place, counted from 1."""


Phi = nn.Conv1d | nn.Conv2d | nn.Conv3d


def new_phi(student_channels: int, teacher_channels: int, *, ndim: int) -> Phi:
    r"""Make a convolution with a kernel of one voxel, weight and bias uniform in $\pm1/\sqrt{C^{(s)}}$.

    Args:
        student_channels: $C^{(s)}$.
        teacher_channels: $C^{(t)}$.
        ndim: Number of dimensions of the networks, 1 to 3.

    Example:
        >>> new_phi(8, 32, ndim=2)
        Conv2d(8, 32, kernel_size=(1, 1), stride=(1, 1))
    """
    return CONVOLUTIONS[ndim - 1](student_channels, teacher_channels, kernel_size=1)
