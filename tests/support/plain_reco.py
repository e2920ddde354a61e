"""ReCo-KD written out: every mask, attention and context as a tensor of its own, sample by sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv3d, group_norm, relu


def plain_stage_loss(
    student: Tensor, teacher: Tensor, sets: list[list[Tensor]], background: list[Tensor], temperature: float
) -> Tensor:
    """Of one stage after φ, `(B, C, D, H, W)`, with contexts that are zero.

    Args:
        sets: Per sample, one mask `(D, H, W)` per class or region.
        background: Per sample, the mask of the background.
    """
    foreground_masks, background_masks = [], []
    for classes, outside in zip(sets, background, strict=True):
        mask = torch.zeros(outside.shape, dtype=student.dtype)
        for voxels in classes:
            if voxels.any():
                mask = torch.maximum(mask, voxels.to(mask.dtype) / voxels.sum())
        foreground_masks.append(mask)
        background_masks.append(outside.to(mask.dtype) / max(1, int(outside.sum())))

    channels = student.shape[1]
    loss = torch.zeros((), dtype=student.dtype)
    for masks in (foreground_masks, background_masks):
        total = torch.zeros_like(loss)
        for s, t, mask in zip(student, teacher, masks, strict=True):
            of_space, of_channels = plain_attention(t, temperature)
            for c in range(channels):
                total = total + (mask * of_space * of_channels[c] * (s[c] - t[c]) ** 2).sum()
        weight = sum(mask.sum() for mask in masks)
        if weight > 0:
            loss = loss + total / (channels * weight)
    pairs = list(zip(student, teacher, strict=True))
    samples = [(plain_attention(s, temperature), plain_attention(t, temperature)) for s, t in pairs]
    for s, t in samples:
        loss = loss + ((s[0] - t[0]).abs().mean() + (s[1] - t[1]).abs().mean()) / len(samples)
    return loss + ((student - teacher) ** 2).mean()


def plain_attention(features: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Of one sample `(C, D, H, W)`: to positions, `(D, H, W)`, and to channels, `(C,)`."""
    of_space = (features.abs().mean(0) / temperature).exp()
    of_channels = (features.abs().mean((1, 2, 3)) / temperature).exp()
    return of_space / of_space.mean(), of_channels / of_channels.mean()


def plain_relation(features: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """R of `(B, C, D, H, W)` in convolutions, as the source has it; `parameters` are those of a `Context`."""
    weights = {key: value[..., None, None, None] for key, value in parameters.items() if value.ndim == 2}
    alpha = conv3d(features, weights["where.weight"]).flatten(2).softmax(2)
    pooled = torch.einsum("bcn,bon->bc", features.flatten(2), alpha)[..., None, None, None]
    inner = conv3d(pooled, weights["what.0.weight"], parameters["what.0.bias"])
    inner = relu(group_norm(inner, 1, parameters["what.1.weight"], parameters["what.1.bias"]))
    return features + conv3d(inner, weights["what.3.weight"], parameters["what.3.bias"])
