"""What the bands of a teacher's features contain and how far a student is from them, on validation cases of a fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..errors import StageMismatch, UserError
from ..nnunet.data.preprocessed_case import Patch, PreprocessedCase, split_of_fold
from ..nnunet.models.checkpoints import read_checkpoint
from ..nnunet.models.data_compatibility import refuse_incompatible_data
from ..nnunet.models.model_folder import ModelFolder
from ..nnunet.models.stages import stage_taps
from ..nnunet.models.trained_phi import trained_phi
from ..nnunet.plans import dimensions, features_per_stage, resolved_configuration, stage_factors
from ..nnunet.stage_pairs import stage_pairs
from ..nnunet.workspace import dataset_folder, preprocessed_folder
from ..runtime.backends.torch import find_device
from ..taps import TappedNetwork
from ..wavelets.operators import check_level, check_mode, check_wavelet
from .bands import StageBands, stage_bands
from .mismatch import LeastSquaresPhi, mismatch_norms
from .spectrum import pooled_spectrum, stage_spectrum

RUN, LEAST_SQUARES = "run", "least squares"
"""Origins of a φ."""


@dataclass(frozen=True)
class Diagnosis:
    """What was measured.

    Args:
        teacher: Model folder of the teacher.
        student: Model folder of the student, if there is one.
        settings: Wavelet, level, mode and fold.
        sizes: D, H, W of each stage's features, fine to coarse; without D in two dimensions.
        cases: Names of the validation cases.
        fitted_on: Names of the training cases that the least-squares φ was fitted on.
        spectrum: As from `pooled_spectrum`; stages are counted from 1, as in the paper.
        mismatch: Columns `stage`, `phi` (`run` or `least squares`), `case`; `high_norm` and `low_norm`, the two sides
            of Eq. 1; `high` and `low`, their squares relative to the teacher's. `None` without a student.
        example: The first case.
        spacing: Voxel size of its image in mm; in two dimensions, of a slice.
        shown_stage: Stage of the first case whose bands are kept.
        bands: These bands, the student's through `shown_phi`; `None` if the stage is too small to be split.
        shown_phi: `run` if there is one, or else `least squares`; `None` without a student.
        patch: Size of the patch that the networks saw.
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
    shown_stage: int
    bands: StageBands | None
    shown_phi: str | None
    patch: tuple[int, ...]


def diagnose(
    teacher_folder: Path,
    *,
    student_folder: Path | None = None,
    fold: str = "0",
    cases: int = 4,
    wavelet: str = "db4",
    level: int = 3,
    mode: str = "symmetric",
    stage: int = 1,
    device: str = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Diagnosis:
    """Measure a teacher's spectrum, and a student's mismatch, on validation cases of the teacher's fold.

    One patch per case is used, around its foreground, as the network sees it: in two dimensions a slice. The
    least-squares φ is fitted on the same number of training cases, so that it is judged on cases it has not seen.

    Args:
        teacher_folder: A model folder of nnU-Net.
        student_folder: Another model folder; each of its stages has to have the resolution of one of the teacher's.
        fold: Fold of both models.
        cases: Number of validation cases.
        wavelet: Any discrete wavelet of PyWavelets.
        level: Number of levels; fewer if a stage is small.
        mode: Boundary mode.
        stage: Stage whose bands are kept for a picture, counted from 1.
        device: As in `nndistill.nnunet.training.run.train`.
        progress: Called with the number of finished cases and of all cases.

    Raises:
        UserError: Teacher, student and data do not fit together, or there are not enough cases.
        StageMismatch: The student has stages that the teacher has not.

    Example:
        >>> diagnosis = diagnose(teacher_folder, cases=1, level=1, device="cpu")
        >>> sorted(set(diagnosis.spectrum["stage"]))
        [1, 2, 3]
    """
    settings = {"wavelet": check_wavelet(wavelet), "level": check_level(level, lowest=1), "mode": check_mode(mode)}
    torch_device = find_device(device)
    teacher = _Model.read(teacher_folder, fold, torch_device)
    plans = resolved_configuration(teacher.folder.plans, teacher.configuration)
    data = dataset_folder(preprocessed_folder(), teacher.folder.plans["dataset_name"])
    identifier = plans["data_identifier"]
    refuse_incompatible_data(teacher.folder, teacher.configuration, data)
    student = None
    if student_folder is not None:
        student = _Model.read(student_folder, fold, torch_device)
        _refuse_other_dimensions(student, teacher)
        refuse_incompatible_data(student.folder, student.configuration, data, identifier=identifier, role="student")
    common = _common_stages(student, teacher) if student else []
    if not 1 <= stage <= len(teacher.channels):
        raise UserError(f"there is no stage {stage}: the teacher has {len(teacher.channels)}.", option="stage")
    if student and stage - 1 not in common:
        raise UserError(f"stage {stage} is the teacher's alone: the student has {len(common)}.", option="stage")
    split = split_of_fold(data, identifier, fold)
    if cases > len(split.validation):
        raise UserError(
            f"{cases} cases are too many: fold {fold} has {len(split.validation)} validation cases.", option="cases"
        )
    chosen = split.validation[:cases]
    others = [name for name in split.train if name not in chosen][:cases] if student else []

    def read(name: str) -> PreprocessedCase:
        return PreprocessedCase.read(data / identifier, name)

    def patches(names: Sequence[str], done: int) -> Iterator[tuple[str, Patch]]:
        for name in names:
            yield name, read(name).patch(plans["patch_size"])
            done += 1
            progress(done, len(others) + len(chosen))

    phis = _phis(student, teacher, common, patches(others, 0), fold=fold) if student else {}
    shown_phi = next((origin for origin in (RUN, LEAST_SQUARES) if origin in phis), None)
    bands: StageBands | None = None
    spectra: list[pd.DataFrame] = []
    mismatches: list[dict[str, Any]] = []
    for name, patch in patches(chosen, len(others)):
        theirs = teacher(patch.image)
        for number, features in enumerate(theirs, start=1):
            spectra.append(stage_spectrum(features, inside=patch.inside, **settings).assign(stage=number))
        ours = student(patch.image) if student else []
        if name == chosen[0]:
            mapped = None
            if shown_phi:
                pair = common.index(stage - 1)
                mapped = phis[shown_phi][pair].to(theirs[0].device)(ours[pair])
            bands = stage_bands(theirs[stage - 1], mapped, **settings)
        for origin, stages in phis.items():
            for index, s, phi in zip(common, ours, stages, strict=True):
                norms = mismatch_norms(theirs[index], s, phi.to(s.device), **settings)
                sides = {"high_norm": norms.high, "low_norm": norms.low, **norms.relative._asdict()}
                mismatches.append({"stage": index + 1, "phi": origin, "case": name, **sides})
    return Diagnosis(
        teacher=teacher_folder,
        student=student_folder,
        settings={**settings, "fold": fold},
        sizes=[tuple(features.shape[2:]) for features in theirs],
        cases=chosen,
        fitted_on=others,
        spectrum=pooled_spectrum(spectra),
        mismatch=pd.DataFrame(mismatches) if student else None,
        example=read(chosen[0]),
        spacing=tuple(plans["spacing"]),
        shown_stage=stage,
        bands=bands,
        shown_phi=shown_phi,
        patch=tuple(plans["patch_size"]),
    )


@dataclass(frozen=True)
class _Model:
    """A trained network up to the end of its encoder: image in, features of every stage out."""

    folder: ModelFolder
    checkpoint_file: Path
    configuration: str
    network: TappedNetwork
    device: torch.device

    @classmethod
    def read(cls, path: Path, fold: str, device: torch.device) -> _Model:
        folder = ModelFolder.read(path.resolve())
        file = folder.checkpoint_file(fold)
        network = folder.network(file).to(device).eval()
        tapped = TappedNetwork(network, stage_taps(network).only({"encoder"}))
        return cls(folder, file, folder.configuration(read_checkpoint(file)), tapped, device)

    @property
    def channels(self) -> list[int]:
        return features_per_stage(self.folder.plans, self.configuration)

    @property
    def ndim(self) -> int:
        return dimensions(self.folder.plans, self.configuration)

    def __call__(self, image: Tensor) -> list[Tensor]:
        with torch.inference_mode():
            features = self.network.run_for_taps(image.to(self.device)).encoder
        # Apple's GPUs have no double precision, which the sums need
        return [feature.cpu() if feature.device.type == "mps" else feature for feature in features]


def _refuse_other_dimensions(student: _Model, teacher: _Model) -> None:
    if student.ndim != teacher.ndim:
        raise StageMismatch(
            f"the student has {student.ndim} dimensions ({student.configuration}) and the teacher {teacher.ndim} "
            f"({teacher.configuration}); give a student that was made from this teacher.",
            option="student",
        )


def _common_stages(student: _Model, teacher: _Model) -> list[int]:
    """The teacher's stage, counted from 0, that each of the student's has the resolution of."""
    pairs = stage_pairs(*(stage_factors(each.folder.plans, each.configuration) for each in (student, teacher)))
    if len(pairs) < len(student.channels):
        raise StageMismatch(
            f"the student has {len(student.channels)} stages and the teacher {len(teacher.channels)}, of which "
            f"{len(pairs)} have equal resolution; each of the student's is compared with one of the teacher's, so give "
            "a student that was made from this teacher.",
            option="student",
        )
    return [theirs for _, theirs in pairs]


def _phis(
    student: _Model, teacher: _Model, common: Sequence[int], fitting: Iterable[tuple[str, Patch]], *, fold: str
) -> dict[str, Sequence[nn.Module]]:
    """φ of every common stage by origin: the best one for the patches to fit on, and the run's own if there is one."""
    ndim = teacher.ndim
    fits = [
        LeastSquaresPhi(s, teacher.channels[index], ndim=ndim)
        for s, index in zip(student.channels, common, strict=True)
    ]
    fitted = 0
    for _, patch in fitting:
        theirs = teacher(patch.image)
        for fit, s, index in zip(fits, student(patch.image), common, strict=True):
            fit.add(s, theirs[index])
        fitted += 1
    if not fitted:
        raise UserError("there is no training case left to fit φ on; ask for fewer cases.", option="cases")
    phis: dict[str, Sequence[nn.Module]] = {LEAST_SQUARES: [fit.solve().float() for fit in fits]}
    checkpoint = read_checkpoint(student.checkpoint_file)
    own = trained_phi(student.folder, checkpoint, teacher.folder, teacher.channels, fold=fold, ndim=ndim)
    if own:
        phis[RUN] = own
    return phis
