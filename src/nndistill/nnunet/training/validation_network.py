"""The network that predicts the validation cases: PyTorch's in float32, or a faster equal on this processor.

nnU-Net's validation stays what it is, from its sliding window to its `summary.json`; only what computes a window may
be exchanged. The exchange has to pay and to be checked: on the first cases, without mirroring, which evens out what a
precision costs, the label maps may differ from those of PyTorch in float32 in at most one voxel of a thousand, and each
label's Dice with them must be 0.98 or more, so that a small structure is not lost among the voxels of the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from numpy.typing import NDArray
from scipy.spatial.distance import dice as dice_distance
from torch import Tensor, autocast, nn

from ...runtime.sliding_window import windows
from .precision import PAYS, may_be_faster_in_bfloat16

if TYPE_CHECKING:
    from ...teacher_engines.openvino_graph import Precision

LARGEST_DIFFERENCE = 1e-3
"""Share of voxels whose label may be another one."""

SMALLEST_DICE = 0.98
"""Of each label, with PyTorch's label maps."""

CHECKED_CASES = 2

STEP = 0.5
"""How far apart windows are in nnU-Net's validation, as a share of their size."""

WORTH_S = 60.0
"""A validation that PyTorch finishes in less is left to it: building and checking another network takes a while."""


@dataclass(frozen=True)
class ValidationWork:
    """What there is to predict.

    Args:
        windows: How often the network will compute a window, roughly.
        checked_windows: The same for the images of `checked`, once and without mirroring.
        patch: Any patch, `(1, C, D, H, W)`; of a network of two dimensions `(1, C, H, W)`.
        checked: The first cases' images, preprocessed, each `(C, D, H, W)`.
        labels: Predicts an image with a network, without mirroring, and returns its label map.
    """

    windows: int
    checked_windows: int
    patch: Tensor
    checked: Sequence[Tensor]
    labels: Callable[[nn.Module, Tensor], NDArray[Any]]


def validation_work(trainer: nnUNetTrainer) -> ValidationWork:
    """What a trainer's validation is about to predict; there is at least one case."""
    _, cases = trainer.do_split()
    dataset = trainer.dataset_class(trainer.preprocessed_dataset_folder, cases)
    images = [torch.from_numpy(np.asarray(dataset.load_case(case)[0][:])) for case in cases[:CHECKED_CASES]]
    patch_size = trainer.configuration_manager.patch_size
    counts = [len(windows(image.shape[1:], patch_size, STEP)) for image in images]
    return ValidationWork(
        windows=counts[0] * len(cases) * 2 ** len(trainer.inference_allowed_mirroring_axes or ()),
        checked_windows=sum(counts),
        patch=torch.zeros(1, trainer.num_input_channels, *patch_size),
        checked=images,
        labels=partial(_labels, trainer),
    )


def _labels(trainer: nnUNetTrainer, network: nn.Module, image: Tensor) -> NDArray[Any]:
    predictor = nnUNetPredictor(tile_step_size=STEP, use_mirroring=False, device=trainer.device, allow_tqdm=False)
    predictor.manual_initialization(
        network,
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        trainer.dataset_json,
        type(trainer).__name__,
        None,
    )
    logits = predictor.predict_sliding_window_return_logits(image).float()
    return np.asarray(trainer.label_manager.convert_logits_to_segmentation(logits))


class ValidationNetwork(NamedTuple):
    """A network, and the sentence that says why it was chosen."""

    network: nn.Module
    reason: str


Builders = dict[str, Callable[[], nn.Module]]
"""What could take the network's place: functions that build it, by name."""


def choose_validation_network(network: nn.Module, others: Builders, work: ValidationWork) -> ValidationNetwork:
    """Choose the network that predicts the validation cases.

    Args:
        network: The trained one, in eval mode and without deep supervision.
        others: As `faster_networks` returns them.
        work: What it will be used for.
    """
    of_network = _seconds(network, work.patch)
    if not others or of_network * work.windows < WORTH_S:
        return ValidationNetwork(network, "PyTorch, which is soon done")
    start = time.perf_counter()
    built = _built(others)
    if not built:
        return ValidationNetwork(network, f"PyTorch: {' and '.join(others)} cannot compute this network")
    seconds = {name: _seconds(other, work.patch) for name, other in built.items()}
    spent = time.perf_counter() - start
    name = min(seconds, key=lambda other: seconds[other])
    speed = of_network / seconds[name]
    measured = f"{name} computes a window {speed:.2g} times as fast as PyTorch in float32"
    saved = (of_network - seconds[name]) * work.windows
    cost = (of_network + seconds[name]) * work.checked_windows
    if speed < PAYS or saved < spent + cost:
        return ValidationNetwork(network, f"PyTorch: {measured}, which does not pay for these cases")
    agreement = _agreement(work.labels, network, built[name], work.checked)
    compared = (
        f"its label maps of the first cases differ from PyTorch's in {agreement.difference:.2g} of the voxels, with a "
        f"Dice of at least {agreement.dice:.3f} for every label"
    )
    if agreement.difference > LARGEST_DIFFERENCE or agreement.dice < SMALLEST_DICE:
        return ValidationNetwork(network, f"PyTorch: {measured}, but {compared}")
    return ValidationNetwork(built[name], f"{name}: it computes a window {speed:.2g} times as fast, and {compared}")


def faster_networks(network: nn.Module, patch: Tensor) -> Builders:
    """What may compute a network faster than PyTorch in float32 on this processor.

    Args:
        network: In eval mode and without deep supervision.
        patch: As in `ValidationWork`.
    """
    builders: Builders = {}
    if may_be_faster_in_bfloat16():
        builders["PyTorch in bfloat16"] = lambda: _InBfloat16(network)
    if find_spec("openvino") is not None:
        builders["OpenVINO"] = lambda: _InOpenVino(network, patch)
    return builders


def _built(others: Builders) -> dict[str, nn.Module]:
    built = {}
    for name, build in others.items():
        with suppress(Exception):  # whatever a converter stumbles over, PyTorch predicts
            built[name] = build()
    return built


def _seconds(network: nn.Module, patch: Tensor) -> float:
    """Of one patch, after one that does not count."""
    with torch.inference_mode():
        network(patch)
        start = time.perf_counter()
        network(patch)
        return time.perf_counter() - start


class _Agreement(NamedTuple):
    """Of two networks' label maps: the share of voxels that differ, and the smallest Dice of a label in an image."""

    difference: float
    dice: float


def _agreement(
    labels: Callable[[nn.Module, Tensor], NDArray[Any]], network: nn.Module, other: nn.Module, images: Sequence[Tensor]
) -> _Agreement:
    unequal = voxels = 0
    dice = [1.0]
    for image in images:
        expected, found = labels(network, image), labels(other, image)
        unequal += int(np.count_nonzero(found != expected))
        voxels += expected.size
        present = np.union1d(expected, found)
        dice += [1 - dice_distance((expected == k).ravel(), (found == k).ravel()) for k in present[present > 0]]
    return _Agreement(unequal / max(1, voxels), min(dice))


class _Replacement(nn.Module):
    """Takes a network's place in nnU-Net's validation, which also switches the decoder's deep supervision."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.decoder = network.decoder


class _InBfloat16(_Replacement):
    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with autocast(x.device.type, dtype=torch.bfloat16):
            logits: Tensor = self.network(x)
        return logits.float()


class _InOpenVino(_Replacement):
    """In bfloat16 if the processor has it, with as many threads as PyTorch."""

    def __init__(self, network: nn.Module, patch: Tensor) -> None:
        from ...teacher_engines.openvino_graph import computes_bfloat16, convert, make_ready

        super().__init__(network)
        precision: Precision = "bfloat16" if computes_bfloat16() else "float32"
        self._request = make_ready(convert(network, patch), patch.shape, precision=precision)

    def forward(self, x: Tensor) -> Tensor:
        outputs = self._request.infer([x.contiguous().numpy()])
        return torch.from_numpy(np.array(outputs[0], np.float32))
