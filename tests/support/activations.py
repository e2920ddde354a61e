"""Random activations of a small network, in double precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nndistill.methods import Activations

SPACE = (4, 6, 5)


def volume(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def labels(classes: int, *, batch: int = 2, space: Sequence[int] = SPACE) -> torch.Tensor:
    return torch.randint(0, classes, (batch, 1, *space), generator=torch.Generator().manual_seed(7))


def of_logits(logits: torch.Tensor) -> Activations:
    return Activations(encoder=[], logits=logits)


def of_network(channels: Sequence[int], *, classes: int = 3, seed: int = 0, gradient: bool = False) -> Activations:
    """Two samples; encoder stage `i` has `channels[i]`, the decoder's stages mirror it, all are 8³ halved `i` times."""
    sizes = [(2, c, 8 >> i, 8 >> i, 8 >> i) for i, c in enumerate(channels)]
    whole = Activations(
        encoder=[volume(*size, seed=seed + i) for i, size in enumerate(sizes)],
        decoder=[volume(*size, seed=seed + 10 + i) for i, size in enumerate(sizes[:-1])],
        logits=volume(2, classes, 8, 8, 8, seed=seed + 20),
    )
    if gradient:
        for x in [*whole.encoder, *whole.decoder, whole.logits]:
            x.requires_grad_()
    return whole
