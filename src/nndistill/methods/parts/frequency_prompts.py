r"""Frequency prompts: what a frozen teacher learns about which positions of its subbands matter.

A stage's features are decomposed into bands $R_b$. Each band has $T$ prompts $p_{b,t}$, vectors over the channels, and
each prompt attends to every position by itself:

$$m_{b,t} = \sigma\big(p_{b,t}^\top R_b\big)$$

While the prompts are learned, the teacher runs on $\xi^{-1}\big(\sum_t m_{b,t} R_b\big)$ instead of its own features.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn

from ...errors import UserError
from ...wavelets import wavedecn, waverecn
from ...wavelets.operators import check_level, check_mode, check_wavelet
from ...wavelets.transform import KEYS, Coefficients
from ...wavelets.without_autocast import without_autocast
from ..teacher_task import TeacherTask

_FIRST_DEVIATION = 0.01
_WEIGHT_DECAY = 1e-3
_LAST_LEARNING_RATE = 1e-6


class FrequencyPrompts(nn.Module):
    """The prompts of one stage. They are buffers, not parameters: only `train_prompts` changes them.

    Before that they are zero, and every mask is one half everywhere.

    Args:
        channels: Channels of the teacher's stage.
        number: Prompts per band, T.
        wavelet: Any discrete wavelet that PyWavelets knows.
        level: Number of levels of the pyramid.
        mode: One of PyWavelets' nine boundary modes.
        ndim: Number of dimensions.

    Shape:
        `(B, channels, *space)` → the same, filtered, and the overlap of the masks, a scalar.
    """

    prompts: Tensor

    def __init__(self, channels: int, *, number: int, wavelet: str, level: int, mode: str, ndim: int = 3) -> None:
        super().__init__()
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise UserError(f"prompts must be a whole number of at least 1, not {number!r}.", option="option")
        self.wavelet, self.level, self.mode = check_wavelet(wavelet), check_level(level, lowest=1), check_mode(mode)
        self.ndim = ndim
        self._details = KEYS[ndim][1:]
        bands = 1 + len(self._details) * self.level
        self.register_buffer("prompts", torch.zeros(bands, number, channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with without_autocast(x.device):
            approximation, *details = self._decompose(x)
            prompt, *prompts = self._by_level()
            masks = _attend(prompt, approximation)
            overlap, kept = _overlap(masks), [approximation * masks.sum(1, keepdim=True)]
            for bands, of_bands in zip(details, prompts, strict=True):
                of_level = {key: _attend(p, bands[key]) for key, p in zip(self._details, of_bands, strict=True)}
                overlap = overlap + torch.stack([_overlap(masks) for masks in of_level.values()]).mean()
                kept.append({key: bands[key] * masks.sum(1, keepdim=True) for key, masks in of_level.items()})
            filtered = waverecn(kept, self.wavelet, ndim=self.ndim, mode=self.mode, shape=x.shape[2:])
        return filtered.to(x.dtype), overlap

    def weights(self, x: Tensor) -> list[dict[str, Tensor]]:
        """How much each position of each detail counts: the mean of its masks.

        Shape:
            `(B, channels, *space)` → per level, coarsest first, its bands by PyWavelets' keys, `(B, 1, …)` each.
        """
        _, *details = self._decompose(x)
        _, *prompts = self._by_level()
        with without_autocast(x.device):
            return [
                {
                    key: _attend(p, bands[key]).mean(1, keepdim=True)
                    for key, p in zip(self._details, of_bands, strict=True)
                }
                for bands, of_bands in zip(details, prompts, strict=True)
            ]

    def _decompose(self, x: Tensor) -> Coefficients:
        return wavedecn(x, self.wavelet, ndim=self.ndim, mode=self.mode, level=self.level)

    def _by_level(self) -> list[Tensor]:
        """The approximation's prompts, then each level's for its bands, coarsest first, in the order of `wavedecn`."""
        return [self.prompts[0], *self.prompts[1:].unflatten(0, (self.level, -1))]  # type: ignore[no-untyped-call]


def train_prompts(
    stages: Iterable[FrequencyPrompts], task: TeacherTask, *, iterations: int, learning_rate: float
) -> None:
    r"""Learn the prompts of all stages: $\mathcal L_{task} + \sum_{i,b}\mathrm{overlap}(m_{i,b})$, teacher frozen.

    Adam with a cosine schedule. Within a level of the pyramid the bands' overlaps are averaged, so that the seven bands
    of a volume weigh as much as the three of an image.

    Args:
        stages: Prompts per stage, in the order in which `task.run_teacher` takes its functions.
        task: The teacher, at least `iterations` batches and the loss.
        iterations: Batches to learn from.
        learning_rate: At the start.

    Raises:
        UserError: There are fewer batches than `iterations`, the prompts have diverged, or no batch had finite
            gradients.
    """
    stages = list(stages)
    learned = [stage.prompts.normal_(0, _FIRST_DEVIATION).requires_grad_() for stage in stages]
    optimizer = torch.optim.Adam(learned, lr=learning_rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations, eta_min=_LAST_LEARNING_RATE)
    device = learned[0].device
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")  # float16 needs it, no other is harmed
    done = 0
    try:
        for done, (x, target) in zip(range(1, iterations + 1), task.batches, strict=False):
            overlaps: list[Tensor] = []
            filters = [partial(_filter, stage, overlaps) for stage in stages]
            with torch.enable_grad(), task.computing():
                loss = task.loss(task.run_teacher(x, filters), target) + torch.stack(overlaps).sum()
            optimizer.zero_grad()
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            task.report(done, iterations)
    finally:
        for prompts in learned:
            prompts.requires_grad_(False).grad = None
    if done < iterations:
        _forget(learned)
        raise UserError(
            f"only {done} of {iterations} batches were there to learn the frequency prompts from: give an endless "
            "iterable of batches, or lower prompt_iterations.",
            option="option",
        )
    if not optimizer.state:
        _forget(learned)
        raise UserError(
            f"none of {iterations} batches gave the frequency prompts a finite gradient, so they have learned nothing: "
            "train in float32 or bfloat16, or raise prompt_iterations.",
            option=("precision", "option"),
        )
    if not all(torch.isfinite(prompts).all() for prompts in learned):
        _forget(learned)
        raise UserError(
            "the frequency prompts are no longer finite numbers; lower prompt_learning_rate.", option="option"
        )


def _forget(learned: Iterable[Tensor]) -> None:
    for prompts in learned:
        prompts.zero_()


def _filter(stage: FrequencyPrompts, overlaps: list[Tensor], x: Tensor) -> Tensor:
    filtered, overlap = stage.forward(x)
    overlaps.append(overlap)
    return filtered


def _attend(prompts: Tensor, band: Tensor) -> Tensor:
    """`(T, C)` and `(B, C, …)` → masks `(B, T, …)`."""
    masks: Tensor = torch.einsum("tc,bc...->bt...", prompts.to(band.dtype), band).sigmoid()
    return masks


def _overlap(masks: Tensor) -> Tensor:
    """Mean Dice between the masks of each sample, `(B, T, …)` → scalar."""
    flat = masks.flatten(2)
    products = flat @ flat.mT
    squares = products.diagonal(dim1=1, dim2=2)
    dice = 2 * products / (squares[:, :, None] + squares[:, None] + 2e-12)
    number = masks.shape[1]
    others = dice.sum() - dice.diagonal(dim1=1, dim2=2).sum()
    overlap: Tensor = others / max(1, len(masks) * number * (number - 1))
    return overlap
