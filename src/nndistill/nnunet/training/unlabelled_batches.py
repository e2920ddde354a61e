"""Batches of images without labels: which of them come in which step, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil, floor
from typing import Any

from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from numpy.random import SeedSequence
from torch import Tensor

from ..models.checkpoints import own_random_numbers
from .unlabelled_images import UnlabelledImages


def batches_at(step: int, share: float) -> range:
    r"""Numbers of the unlabelled batches that come in a step, each as large as the labelled one.

    With a share s, there are $s/(1-s)$ of them per step, evenly spaced: one in each step for 0.5, one in every third
    step for 0.25, three in each step for 0.75.

    Args:
        step: Counted from 0 over the whole training.
        share: Share of unlabelled batches among all, in [0, 1).

    Example:
        >>> [list(batches_at(step, 0.25)) for step in range(4)]
        [[], [], [0], []]
        >>> list(batches_at(1, 0.75))
        [3, 4, 5]
    """
    exact = Fraction(str(share))
    per_step = exact / (1 - exact)
    return range(floor(step * per_step), floor((step + 1) * per_step))


class UnlabelledBatches:
    """Patches of images without labels, augmented as the labelled ones are, from random places.

    Each batch depends on its number, the seed and the process alone, so drawing one changes no other random number, and
    a resumed training has the batches of one that was not. With augmentation in processes of its own, batches come in
    the order in which they are finished, as nnU-Net's labelled ones do.

    Args:
        trainer: Its plans say how large a batch and a patch are, and its recipe how they are augmented.
        images: What they are drawn from.
        share: Share of unlabelled batches among all, in [0, 1).
        seed: Of the training.
    """

    def __init__(self, trainer: nnUNetTrainer, images: UnlabelledImages, *, share: float, seed: int) -> None:
        self._share = share
        self._rank = trainer.local_rank
        self._seed = seed
        loader = _loader(trainer, images)
        of_labelled = get_allowed_n_proc_DA()
        processes = min(of_labelled, ceil(of_labelled * share / (1 - share)))
        self._in_processes = (
            NonDetMultiThreadedAugmenter(
                loader,
                None,
                processes,
                num_cached=max(6, processes // 2),
                pin_memory=trainer.device.type == "cuda",
                wait_time=0.002,
            )
            if processes
            else None
        )
        self._batches: Iterator[dict[str, Any]] = self._in_processes or loader
        if self._in_processes:
            next(self._batches)  # so that the processes start before there are more threads

    def at(self, step: int) -> Iterator[Tensor]:
        """Return the batches `(B, C, D, H, W)` of a step, counted from 0 over the whole training."""
        for number in batches_at(step, self._share):
            if self._in_processes:
                yield next(self._batches)["data"]
            else:
                with own_random_numbers(self._seed_of(number)):
                    batch = next(self._batches)
                yield batch["data"]

    def _seed_of(self, number: int) -> int:
        return int(SeedSequence(self._seed, spawn_key=(self._rank, number)).generate_state(1)[0])

    def close(self) -> None:
        """End the processes, if there are any."""
        if self._in_processes:
            self._in_processes._finish()


class _WithoutForeground(nnUNetDatasetBlosc2):  # type: ignore[misc]
    """Cases of which it is not known where anything is."""

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        data, mask, previous, properties = super().load_case(identifier)
        return data, mask, previous, {**properties, "class_locations": {}}


def _loader(trainer: nnUNetTrainer, images: UnlabelledImages) -> nnUNetDataLoader:
    """nnU-Net's loader of training batches, on images of which no foreground is known."""
    patch_size = trainer.configuration_manager.patch_size
    labels = trainer.label_manager
    rotation, dummy_2d, initial_patch_size, mirror_axes = (
        trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    )
    transforms = trainer.get_training_transforms(
        patch_size,
        rotation,
        None,  # no targets for deep supervision
        mirror_axes,
        dummy_2d,
        use_mask_for_norm=trainer.configuration_manager.use_mask_for_norm,
        is_cascaded=trainer.is_cascaded,
        foreground_labels=labels.foreground_labels,
        regions=None,
        ignore_label=None,
    )
    loader = nnUNetDataLoader(
        _WithoutForeground(str(images.folder), sorted(images.names)),
        trainer.batch_size,
        initial_patch_size,
        patch_size,
        labels,
        oversample_foreground_percent=0.0,
        transforms=transforms,
    )
    loader.has_ignore = False  # else it would look for voxels that are labelled
    return loader
