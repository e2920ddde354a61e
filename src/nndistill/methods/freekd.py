"""FreeKD: match the detail bands where the teacher's frequency prompts say that they matter."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..wavelets import wavedecn
from ..wavelets.transform import working_precision
from .base import Activations, StagewiseMethod
from .parts.frequency_prompts import FrequencyPrompts, train_prompts
from .parts.reductions import sum_over_channels
from .registry import register
from .teacher_task import TeacherTask

logger = logging.getLogger(__name__)


@register
class FreeKD(StagewiseMethod):
    r"""Absolute distance of detail bands under the teacher's masks, and squared distance of the features.

    $$\mathcal L = \sum_i\Big[\sum_{k=1}^{l} \frac1{TC_iN_{i,k}}\sum_{b,t}\big\lVert m_{b,t}\odot
    \big(R_b(F_i^{(t)}) - R_b(\phi_i(F_i^{(s)}))\big)\big\rVert_1
    + \frac{w}{N_i}\big\lVert F_i^{(t)} - \phi_i(F_i^{(s)})\big\rVert_2^2\Big]$$

    $b$ runs over the detail bands of level $k$, seven in a volume and three in an image, which have $N_{i,k}$ positions
    together; the masks $m_{b,t} = \sigma(p_{b,t}^\top R_b(F_i^{(t)}))$ come from prompts that `prepare` learns from the
    teacher first.

    Args:
        student_channels: Channels of each student stage, fine to coarse.
        teacher_channels: Channels of each teacher stage, fine to coarse.
        prompts: Prompts per band, T.
        prompt_iterations: Batches on which the prompts are learned.
        prompt_learning_rate: Initial learning rate of their optimiser.
        feature_weight: w, the weight of the distance of the features.
        wavelet: Any discrete wavelet that PyWavelets knows.
        level: Number of levels of the pyramid.
        mode: One of PyWavelets' nine boundary modes.
        train_phi: Whether φ is trained with the student, or stays the random map that it starts as.
        ndim: Number of dimensions of the networks.

    Shape:
        Stage `i` takes `(B, C_i, D_i, H_i, W_i)` from both networks, with equal sizes in space; returns a scalar.

    Raises:
        StageMismatch: The networks have different numbers of stages, or a stage's two features differ in space.
        UnknownName: No such wavelet or mode.
        UserError: An option out of range, or a size that PyWavelets refuses in this mode.

    Source:
        Zhang et al., FreeKD: Knowledge distillation via semantic frequency prompt, CVPR 2024, and its public code
        (wavelet, level, border, weights); prompts are learned like the tokens of Huang et al., Masked distillation with
        receptive tokens, ICLR 2023, from whose public code it descends (iterations, optimiser, overlap).

    Example:
        >>> import torch
        >>> student, teacher = Activations([torch.rand(1, 2, 8, 8, 8)]), Activations([torch.rand(1, 8, 8, 8, 8)])
        >>> method = FreeKD([2], [8], prompts=2)
        >>> method(student, teacher).ndim
        0
        >>> method.prepared  # not before Distiller.prepare
        False
    """

    name = "freekd"
    title = "FreeKD"
    matches = "detail bands where the teacher's prompts attend, and everything"
    source_weight = 1.0

    learnt: Tensor  # its name in checkpoints

    def __init__(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        *,
        prompts: int = 6,
        prompt_iterations: int = 2000,
        prompt_learning_rate: float = 0.01,
        feature_weight: float = 5.0,
        wavelet: str = "haar",
        level: int = 3,
        mode: str = "zero",
        train_phi: bool = True,
        ndim: int = 3,
    ) -> None:
        super().__init__(student_channels, teacher_channels, train_phi=train_phi, ndim=ndim)
        if prompt_iterations < 1 or prompt_learning_rate <= 0 or feature_weight < 0:
            raise UserError(
                "prompt_iterations must be at least 1, prompt_learning_rate above 0 and feature_weight at least 0, "
                f"not {prompt_iterations}, {prompt_learning_rate} and {feature_weight}.",
                option="option",
            )
        self.wavelet, self.level, self.mode, self.ndim = wavelet, level, mode, ndim
        self.prompts = nn.ModuleList(
            FrequencyPrompts(channels, number=prompts, wavelet=wavelet, level=level, mode=mode, ndim=ndim)
            for channels in teacher_channels
        )
        self.register_buffer("learnt", torch.tensor(False))
        self.register_load_state_dict_post_hook(FreeKD._look_whether_learned)  # type: ignore[no-untyped-call]
        self._look_whether_learned()
        self.prompt_options: dict[str, Any] = {"iterations": prompt_iterations, "learning_rate": prompt_learning_rate}
        self.feature_weight = feature_weight

    def forward(self, student: Activations, teacher: Activations, target: Tensor | None = None) -> Tensor:
        self._check(student.encoder, teacher.encoder)
        if not self._has_learned:
            _warn_once()
        return sum(  # type: ignore[return-value]
            self._compare(phi(s), t, prompts)
            for phi, prompts, s, t in zip(self.phi, self.prompts, student.encoder, teacher.encoder, strict=True)
        )

    def _compare(self, student: Tensor, teacher: Tensor, prompts: nn.Module) -> Tensor:
        assert isinstance(prompts, FrequencyPrompts)
        with torch.no_grad():
            weights = prompts.weights(teacher)
        difference = working_precision(teacher) - student
        elements = difference.numel()

        def loss(part: Tensor) -> Tensor:
            total = self.feature_weight / elements * part.square().sum()
            _, *details = wavedecn(part, self.wavelet, ndim=self.ndim, mode=self.mode, level=self.level)
            for bands, of_bands in zip(details, weights, strict=True):
                positions = sum(weight.numel() for weight in of_bands.values())
                for key, weight in of_bands.items():
                    total = total + (weight * bands[key].abs()).sum() / (positions * difference.shape[1])
            return total

        distance: Tensor = sum_over_channels(difference, loss)
        return distance

    @property
    def prepared(self) -> bool:
        return self._has_learned

    def _look_whether_learned(self, *_: object) -> None:
        """Once, so that no step has to wait for the device to tell."""
        self._has_learned = bool(self.learnt)

    def prepare(self, task: TeacherTask) -> None:
        train_prompts(self.prompts, task, **self.prompt_options)  # type: ignore[arg-type]
        self.learnt.fill_(True)
        self._look_whether_learned()

    def learning_key(self) -> Mapping[str, Any]:
        return {
            "wavelet": [self.wavelet, self.level, self.mode],
            "shapes": [list(prompts.shape) for prompts in self.learned_state().values()],
            **self.prompt_options,
        }

    def learned_state(self) -> dict[str, Tensor]:
        """The prompts of each stage, `(1 + 7 · level, prompts, channels)`, for images 3 instead of 7: one for the
        lowest band, then level by level, coarsest first, for the details in the order of `wavedecn`."""
        return {f"stage_{i}": stage.prompts for i, stage in enumerate(self.prompts)}  # type: ignore[misc]

    def load_learned_state(self, state: Mapping[str, Tensor]) -> None:
        own = self.learned_state()
        if {key: value.shape for key, value in state.items()} != {key: value.shape for key, value in own.items()}:
            raise ValueError("prompts of other shapes")
        for key, prompts in own.items():
            prompts.copy_(state[key])
        self.learnt.fill_(True)
        self._look_whether_learned()


@cache
def _warn_once() -> None:
    logger.warning(
        "FreeKD's prompts have not been learned, so every position counts the same. Call Distiller.prepare first."
    )
