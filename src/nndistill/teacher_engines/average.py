r"""The logits of several networks together.

The mean of $K$ networks' probabilities is written as logits $\bar z$, so that whatever compares logits compares with
it. Networks that agree give their own logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import log

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..methods.parts.reductions import widened


def mean_of_classes(logits: Sequence[Tensor]) -> Tensor:
    r"""Return logits whose softmax is the mean of the networks' softmax.

    $$\bar z = \log\frac1K\sum_k \mathrm{softmax}(z_k) + \frac1K\sum_k \log\sum_c e^{z_{k,c}}$$

    The second term is the same for all classes of a voxel, so that a softmax does not see it.

    Args:
        logits: One tensor per network, `(B, classes, D, H, W)`, in any precision.

    Returns:
        The same shape, in single precision at least.

    Example:
        >>> one, other = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
        >>> mean_of_classes([one, other]).softmax(1)
        tensor([[0.5000, 0.5000]])
        >>> mean_of_classes([one, one])
        tensor([[2., 0.]])
    """
    wide = [widened(each) for each in logits]
    partitions = [each.logsumexp(1, keepdim=True) for each in wide]
    logarithms = [each - partition for each, partition in zip(wide, partitions, strict=True)]
    return _log_of_mean(logarithms) + torch.stack(partitions).mean(0)


def mean_of_regions(logits: Sequence[Tensor]) -> Tensor:
    r"""Return logits whose sigmoid is the mean of the networks' sigmoid.

    $$\bar z = \log\bar p - \log(1 - \bar p),\qquad \bar p = \frac1K\sum_k \sigma(z_k)$$

    Args:
        logits: One tensor per network, `(B, regions, D, H, W)`, in any precision.

    Returns:
        The same shape, in single precision at least.

    Example:
        >>> mean_of_regions([torch.tensor([[3.0]]), torch.tensor([[-3.0]])]).sigmoid()
        tensor([[0.5000]])
    """
    wide = [widened(each) for each in logits]
    return _log_of_mean([logsigmoid(z) for z in wide]) - _log_of_mean([logsigmoid(-z) for z in wide])


def mean_of_logits(logits: Sequence[Tensor]) -> Tensor:
    """Return the mean of the networks' logits: the geometric mean of their probabilities, up to its sum.

    This is what stock nnU-Net averages when it predicts with several folds.

    Args:
        logits: One tensor per network, all of one shape, in any precision.

    Returns:
        The same shape, in single precision at least.

    Example:
        >>> mean_of_logits([torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])])
        tensor([[1., 1.]])
    """
    return reduce(torch.add, (widened(each) for each in logits)) / len(logits)


def _log_of_mean(logarithms: Sequence[Tensor]) -> Tensor:
    return reduce(torch.logaddexp, logarithms) - log(len(logarithms))
