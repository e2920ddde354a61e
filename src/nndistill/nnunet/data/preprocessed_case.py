"""A preprocessed case as nnU-Net stores it, the patch of it that a network sees, and the cases of a fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from numpy.typing import NDArray
from torch import Tensor

from ...errors import UserError
from ...volumes.bounding_box import bounding_box, whole_box
from .splits import stock_split
from .stored_folds import SPLIT, STOCK_FOLDS, stored_folds

_OUTSIDE = -1  # nnU-Net's label of voxels outside the nonzero mask, and of padding


class Split(NamedTuple):
    """The training and validation cases of a fold."""

    train: list[str]
    validation: list[str]


class Patch(NamedTuple):
    """The part of a case that a network sees, as a batch of one."""

    image: Tensor
    """`(1, C, *size)`."""
    inside: Tensor
    """True in the image, false in padding and masked background; `(1, *size)`."""


@dataclass(frozen=True)
class PreprocessedCase:
    """One case of a preprocessed data set.

    Args:
        name: Its identifier.
        image: `(C, D, H, W)`, normalised, at the plans' spacing, in nnU-Net's order of axes.
        segmentation: `(D, H, W)`; 0 is background, -1 is outside nnU-Net's nonzero mask.
    """

    name: str
    image: NDArray[Any]
    segmentation: NDArray[Any]

    @classmethod
    def read(cls, folder: Path, name: str) -> PreprocessedCase:
        """Read a case from a folder such as `nnUNetPlans_3d_fullres`.

        Raises:
            UserError: The case is missing, or cannot be read.
        """
        try:
            image, segmentation, _, _ = infer_dataset_class(str(folder))(str(folder), [name]).load_case(name)
            return cls(name, np.asarray(image[:]), np.asarray(segmentation[:])[0])
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise UserError(f"case {name} in {folder} cannot be read ({error}); preprocess the data again.") from error

    @cached_property
    def centre(self) -> tuple[int, int, int]:
        """The centre of the foreground's bounding box, or of the image if there is no foreground."""
        box = bounding_box(self.segmentation > 0) or whole_box(self.segmentation.shape)
        d, h, w = ((span.start + span.stop) // 2 for span in box)
        return d, h, w

    def patch(self, size: Sequence[int]) -> Patch:
        """Cut a patch around the centre. It is moved to stay within the image, and padded with 0 if it is larger.

        Args:
            size: D, H, W of the patch; H, W for one of the slice in the centre.
        """
        place = self.centre[: len(self.centre) - len(size)]
        in_every_channel: tuple[Any, ...] = (slice(None), *place)
        image, segmentation = self.image[in_every_channel], self.segmentation[place]
        box = []
        for middle, wanted, given in zip(self.centre[len(place) :], size, segmentation.shape, strict=True):
            start = (given - wanted) // 2 if given <= wanted else min(max(middle - wanted // 2, 0), given - wanted)
            box.append([start, start + wanted])
        image = crop_and_pad_nd(image, box, 0)
        segmentation = crop_and_pad_nd(segmentation, box, _OUTSIDE)
        return Patch(torch.from_numpy(image.astype(np.float32))[None], torch.from_numpy(segmentation != _OUTSIDE)[None])


def split_of_fold(folder: Path, data_identifier: str, fold: str) -> Split:
    """Return the cases of a fold, as nnU-Net's trainer splits them; in the fold `all`, every case is in both parts.

    Args:
        folder: A preprocessed data set.
        data_identifier: Name of its folder of cases.
        fold: A number, or `all`.

    Raises:
        UserError: There is no such fold, a part of it has no case or one that is not there, or nothing is preprocessed.
    """
    names = _case_names(folder, data_identifier)
    if fold == "all":
        return Split(names, names)
    splits = stored_folds(folder) or stock_split(names)
    if fold not in map(str, range(len(splits))):  # 01 would be the fold 1, in another folder
        raise UserError(f"there is no fold {fold}: {folder / SPLIT} has folds 0 to {len(splits) - 1}.", option="fold")
    chosen = splits[int(fold)]
    for part in ("train", "val"):
        if not chosen[part]:
            raise UserError(f"fold {fold} in {folder / SPLIT} has no cases in `{part}`; give it some.", option="fold")
        if unknown := sorted(set(chosen[part]) - set(names)):
            raise UserError(
                f"fold {fold} in {folder / SPLIT} has {len(unknown)} of {len(chosen[part])} cases in `{part}`, such as "
                f"{unknown[0]}, that {folder / data_identifier} does not hold: correct the names, or preprocess these.",
                option="fold",
            )
    return Split(list(chosen["train"]), list(chosen["val"]))


def splits_by_fold(folder: Path, data_identifier: str) -> dict[str, Split]:
    """Return the cases of every fold that there is, `all` among them; without the others if they are too few for folds.

    Args:
        folder: A preprocessed data set.
        data_identifier: Name of its folder of cases.

    Raises:
        UserError: There are no preprocessed cases.
    """
    names = _case_names(folder, data_identifier)
    folds = stored_folds(folder)
    if folds is None:
        folds = stock_split(names) if len(names) >= STOCK_FOLDS else []
    numbered = {str(number): Split(list(each["train"]), list(each["val"])) for number, each in enumerate(folds)}
    return {**numbered, "all": Split(names, names)}


def _case_names(folder: Path, data_identifier: str) -> list[str]:
    cases = folder / data_identifier
    names = sorted(infer_dataset_class(str(cases)).get_identifiers(str(cases))) if any(cases.glob("*.pkl")) else []
    if not names:
        raise UserError(f"{cases} holds no preprocessed cases; preprocess the data with the teacher's plans.")
    return names
