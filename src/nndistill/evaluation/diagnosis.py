"""What the bands of a teacher's features hold, and how far a student is from them: on validation cases of a fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..errors import StageMismatch, UserError
from ..nnunet.checkpoints import read_checkpoint
from ..nnunet.distillation import refuse_other_data
from ..nnunet.model_folder import ModelFolder
from ..nnunet.plans import features_per_stage, resolved_configuration
from ..nnunet.preprocessed_case import Patch, PreprocessedCase, split_of_fold
from ..nnunet.run import find_device
from ..nnunet.trained_phi import trained_phi
from ..nnunet.workspace import dataset_folder, preprocessed_folder
from ..taps import TappedNetwork, nnunet_taps
from ..wavelets.operators import check_level, check_mode, check_wavelet
from .mismatch import LeastSquaresPhi, mismatch
from .spectrum import pooled_spectrum, stage_spectrum

RUN, LEAST_SQUARES = "run", "least squares"
"""Where a φ comes from."""


@dataclass(frozen=True)
class Diagnosis:
    """What was measured.

    Args:
        teacher: Its model folder.
        student: Its model folder, if there is one.
        settings: Wavelet, level, mode and fold.
        sizes: D, H, W of each stage's features, fine to coarse.
        cases: Names of the validation cases.
        fitted_on: Names of the training cases that the least-squares φ was fitted on.
        spectrum: As `pooled_spectrum`; stages count from 1, as in the paper.
        mismatch: Columns `stage`, `phi` (`run` or `least squares`), `case`, `high`, `low`; `None` without a student.
        example: The first case.
        spacing: Voxel size of its image in mm.
    """

    teacher: Path
    student: Path | None
    settings: dict[str, Any]
    sizes: list[tuple[int, ...]]
    cases: list[str]
    fitted_on: list[str]
    spectrum: pd.DataFrame
    mismatch: pd.DataFrame | None
    example: PreprocessedCase
    spacing: tuple[float, ...]


def diagnose(
    teacher_folder: Path,
    *,
    student_folder: Path | None = None,
    fold: str = "0",
    cases: int = 4,
    wavelet: str = "db4",
    level: int = 3,
    mode: str = "symmetric",
    device: str = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Diagnosis:
    """Measure a teacher's spectrum, and a student's mismatch, on validation cases of the teacher's fold.

    Of each case one patch is used, around its foreground, as the network sees it. The least-squares φ is fitted on as
    many training cases, so that it is judged on cases it has not seen.

    Args:
        teacher_folder: A model folder of nnU-Net.
        student_folder: Another, with the same stages and strides.
        fold: Fold of both.
        cases: Number of validation cases.
        wavelet: Any discrete wavelet PyWavelets knows.
        level: Number of levels, fewer where a stage is small.
        mode: Boundary mode.
        device: As in `nndistill.nnunet.run.train`.
        progress: Called with the number of cases done and to do.

    Raises:
        UserError: Teacher, student and data do not fit together, or there are fewer cases.
        StageMismatch: The student has other stages than the teacher.
    """
    settings = {
        "wavelet": check_wavelet(wavelet),
        "level": check_level(level, lowest=1),
        "mode": check_mode(mode),
    }
    torch_device = find_device(device)
    folder = ModelFolder.read(teacher_folder.resolve())
    checkpoint_file = folder.checkpoint_file(fold)
    configuration = folder.configuration(read_checkpoint(checkpoint_file))
    plans = resolved_configuration(folder.plans, configuration)
    data = dataset_folder(preprocessed_folder(), folder.plans["dataset_name"])
    refuse_other_data(folder, configuration, data)
    channels = features_per_stage(folder.plans, configuration)
    student = None
    if student_folder is not None:
        student = _Student.read(student_folder, fold, folder, channels, data, plans["data_identifier"], torch_device)

    split = split_of_fold(data, plans["data_identifier"], fold)
    if cases > len(split.validation):
        raise UserError(f"--cases {cases} is too many: fold {fold} has {len(split.validation)} validation cases.")
    chosen = split.validation[:cases]
    others = list(islice((name for name in split.train if name not in chosen), cases)) if student else []

    teacher = _Encoder(folder.network(checkpoint_file), torch_device)

    def read(name: str) -> PreprocessedCase:
        return PreprocessedCase.read(data / plans["data_identifier"], name)

    total = len(others) + len(chosen)
    phis: dict[str, Sequence[nn.Module]] = {}
    if student:
        if not others:
            raise UserError(f"fold {fold} has no training case left to fit φ on; ask for fewer --cases.")
        fits = [LeastSquaresPhi(s, t) for s, t in zip(student.channels, channels, strict=True)]
        for done, name in enumerate(others):
            image = read(name).patch(plans["patch_size"]).image
            for fit, s, t in zip(fits, *_features_of_both(student.encoder, teacher, image), strict=True):
                fit.add(s, t)
            progress(done + 1, total)
        if student.phi:
            phis[RUN] = student.phi
        phis[LEAST_SQUARES] = [fit.solve().float() for fit in fits]

    spectra: list[pd.DataFrame] = []
    mismatches: list[dict[str, Any]] = []
    for done, name in enumerate(chosen, start=len(others)):
        patch = read(name).patch(plans["patch_size"])
        features = teacher(patch.image)
        spectra += _spectra(features, patch, settings)
        if student:
            ours = student.encoder(patch.image)
            for origin, stages in phis.items():
                for stage, (s, t, phi) in enumerate(zip(ours, features, stages, strict=True), start=1):
                    values = mismatch(t, s, phi.to(t.device), **settings)
                    mismatches.append({"stage": stage, "phi": origin, "case": name, **values._asdict()})
        progress(done + 1, total)
    return Diagnosis(
        teacher=teacher_folder,
        student=student_folder,
        settings={**settings, "fold": fold},
        sizes=[tuple(feature.shape[2:]) for feature in features],
        cases=chosen,
        fitted_on=others,
        spectrum=pooled_spectrum(spectra),
        mismatch=pd.DataFrame(mismatches) if student else None,
        example=read(chosen[0]),
        spacing=tuple(plans["spacing"]),
    )


class _Encoder:
    """A network run as far as its encoder goes: image in, features of every stage out."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        network = network.to(device).eval()
        self._network = TappedNetwork(network, nnunet_taps(network).only({"encoder"}))
        self._device = device

    def __call__(self, image: Tensor) -> list[Tensor]:
        with torch.inference_mode():
            features = self._network.run_for_taps(image.to(self._device)).encoder
        # Apple's GPUs have no double precision, which the sums need
        return [feature.cpu() if feature.device.type == "mps" else feature for feature in features]


@dataclass(frozen=True)
class _Student:
    encoder: _Encoder
    channels: list[int]
    phi: list[nn.Conv3d] | None

    @classmethod
    def read(
        cls,
        path: Path,
        fold: str,
        teacher: ModelFolder,
        teacher_channels: Sequence[int],
        data: Path,
        identifier: str,
        device: torch.device,
    ) -> _Student:
        folder = ModelFolder.read(path.resolve())
        file = folder.checkpoint_file(fold)
        checkpoint = read_checkpoint(file)
        configuration = folder.configuration(checkpoint)
        refuse_other_data(folder, configuration, data, identifier=identifier, role="student")
        channels = features_per_stage(folder.plans, configuration)
        if len(channels) != len(teacher_channels):
            raise StageMismatch(
                f"the student has {len(channels)} stages and the teacher {len(teacher_channels)}; stages are compared "
                "one by one, so give a student made from this teacher."
            )
        phi = trained_phi(folder, checkpoint, teacher, teacher_channels)
        return cls(_Encoder(folder.network(file), device), channels, phi)


def _features_of_both(student: _Encoder, teacher: _Encoder, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    return student(image), teacher(image)


def _spectra(features: Sequence[Tensor], patch: Patch, settings: dict[str, Any]) -> list[pd.DataFrame]:
    return [
        stage_spectrum(feature, inside=patch.inside, **settings).assign(stage=stage)
        for stage, feature in enumerate(features, start=1)
    ]
