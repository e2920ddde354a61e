"""From logits to a label map and probabilities on the image's grid, as nnU-Net does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from .description import ModelDescription, Resampling
from .preprocessing import Mask, Preprocessed
from .resampling import resample

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8 | np.uint16]


def labels_of(logits: Array, preprocessed: Preprocessed, description: ModelDescription) -> Labels:
    """The label map of an image: its logits resampled, decided, put back where they were cropped from, transposed back.

    Without regions a voxel gets the label of the largest logit, the first of equal ones. With regions, the last one in
    order whose logit is above 0 (whose probability is above 1/2).

    Args:
        logits: `(heads, D, H, W)` at the network's spacing.
        preprocessed: What the logits were computed from.
        description: The model's.

    Returns:
        `(z, y, x)`; 8 bits per voxel, or 16 if there are more than 254 labels. Besides it and the logits, a resampled
        image needs one head at a time and the largest logit so far: 8 bytes per voxel of the cropped image.

    Source:
        nnU-Net 2.8.1, `convert_predicted_logits_to_segmentation_with_correct_shape`.
    """
    return _decided(_resampled(logits, preprocessed, description), preprocessed, description)


def labels_and_probabilities_of(
    logits: Array, preprocessed: Preprocessed, description: ModelDescription, *, covered: Mask | None = None
) -> tuple[Labels, Array]:
    """The label map of an image as `labels_of` makes it, and the probabilities of labels or regions.

    What was cropped away or not computed is background with a probability of 1, and in no region. A voxel of the image
    between computed ones and others gets the probabilities of the computed ones.

    Args:
        logits: `(heads, D, H, W)` at the network's spacing.
        preprocessed: What the logits were computed from.
        description: The model's.
        covered: From `covered_voxels`: where logits were computed; default: everywhere.

    Returns:
        The label map, `(z, y, x)`, and the probabilities, `(heads, z, y, x)` in float32.

    Source:
        nnU-Net 2.8.1, `convert_predicted_logits_to_segmentation_with_correct_shape` with `return_probabilities`.
    """
    whole = np.zeros((description.heads, *preprocessed.shape_before_cropping), np.float32)
    if description.regions_class_order is None:
        whole[0] = 1
    cropped = whole[(slice(None), *preprocessed.bbox)]
    for head, resampled in zip(cropped, _resampled(logits, preprocessed, description), strict=True):
        head[:] = resampled
    labels = _decided(cropped, preprocessed, description)
    share = None if covered is None else _covered_share(covered, preprocessed, description)
    for layer in range(cropped.shape[1]):  # of which temporary arrays are small
        values = cropped[:, layer]
        if share is not None:
            values /= np.where(share[layer] == 0, 1, share[layer])
        if description.regions_class_order is None:
            _apply_softmax(values)
        else:
            expit(values, out=values)
        if share is not None:
            values[:, share[layer] == 0] = 0
            if description.regions_class_order is None:
                values[0, share[layer] == 0] = 1
    return labels, whole.transpose(0, *(axis + 1 for axis in description.transpose_backward))


def _resampled(logits: Array, preprocessed: Preprocessed, description: ModelDescription) -> Iterator[Array]:
    """The logits of one head after the other, `(D, H, W)`, on the grid of the cropped image."""
    for head in logits:
        yield _resampled_head(head, preprocessed, description, description.resample_probabilities)


def _covered_share(covered: Mask, preprocessed: Preprocessed, description: ModelDescription) -> Array:
    """Which share of the logits of each voxel of the cropped image is computed; linear, since splines oscillate."""
    splines = description.resample_probabilities
    linear = splines.model_copy(update={"order": min(splines.order, 1), "order_z": min(splines.order_z, 1)})
    return _resampled_head(covered.astype(np.float32), preprocessed, description, linear)


def _resampled_head(
    head: Array, preprocessed: Preprocessed, description: ModelDescription, resampling: Resampling
) -> Array:
    resampled: Array
    [resampled] = resample(
        head[None],
        preprocessed.shape_before_resampling,
        current_spacing=description.spacing_of(preprocessed.spacing_before),
        new_spacing=preprocessed.spacing_before,
        resampling=resampling,
    )
    return resampled


def _decided(heads: Iterable[Array], preprocessed: Preprocessed, description: ModelDescription) -> Labels:
    """The label map of the whole image from the logits of the cropped one."""
    values = description.regions_class_order or range(description.heads)
    whole = np.zeros(preprocessed.shape_before_cropping, np.uint8 if max(values) < 255 else np.uint16)
    cropped = whole[preprocessed.bbox]
    largest = None
    for value, resampled in zip(values, heads, strict=True):
        if description.regions_class_order is not None:
            cropped[resampled > 0] = value
        elif largest is None:
            largest = resampled.copy()
        else:
            cropped[resampled > largest] = value
            np.maximum(largest, resampled, out=largest)
    return np.ascontiguousarray(whole.transpose(description.transpose_backward))


def _apply_softmax(logits: Array) -> None:
    """Over the first axis, in place."""
    logits -= logits.max(0)
    np.exp(logits, out=logits)
    logits /= logits.sum(0)
