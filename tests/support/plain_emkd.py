"""EMKD's three terms as its source has them, sample by sample and pair by pair of classes."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, kl_div, log_softmax, logsigmoid, softmax


def plain_prediction(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Of logits `(B, K, …)`: summed over classes, mean over samples and voxels."""
    p, q = log_softmax(student / temperature, dim=1), softmax(teacher / temperature, dim=1)
    return temperature**2 * kl_div(p, q, reduction="sum") * student.shape[1] / student.numel()


def plain_prediction_of_regions(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Every region is a problem of two classes; their terms are added up."""
    s, t = student / temperature, teacher / temperature
    total = 0
    for yes_s, yes_t in ((s, t), (-s, -t)):
        total = total + yes_t.sigmoid() * (logsigmoid(yes_t) - logsigmoid(yes_s))
    return temperature**2 * total.sum(1).mean()


def plain_importance(student: Tensor, teacher: Tensor) -> Tensor:
    maps = []
    for features in (student, teacher):
        energy = (features**4).mean(1).flatten(1)
        maps.append(energy / (energy**2).sum(1, keepdim=True).sqrt())
    return ((maps[0] - maps[1]) ** 2).sum(1).mean()


def plain_affinity(student: Tensor, teacher: Tensor, sets: list[list[Tensor]]) -> Tensor:
    """`sets` has, per sample, one mask `(D, H, W)` per class, the background's included."""
    samples = []
    for s, t, classes in zip(student, teacher, sets, strict=True):
        present = [mask for mask in classes if mask.any()]
        squares = [
            (cosine_similarity(mean(s, a), mean(s, b), dim=0) - cosine_similarity(mean(t, a), mean(t, b), dim=0)) ** 2
            for a, b in combinations(present, 2)
        ]
        samples.append(sum(squares) / len(squares) if squares else 0 * s.sum())
    return sum(samples) / len(samples)


def mean(features: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([channel[mask].mean() for channel in features])
