"""From logits to a label map on the image's grid, as nnU-Net does it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .description import ModelDescription
from .preprocessing import Preprocessed
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
    values = description.regions_class_order or range(description.heads)
    whole = np.zeros(preprocessed.shape_before_cropping, np.uint8 if max(values) < 255 else np.uint16)
    cropped = whole[preprocessed.bbox]
    largest = None
    for head, value in enumerate(values):
        resampled = resample(
            logits[head : head + 1],
            preprocessed.shape_before_resampling,
            current_spacing=description.spacing_of(preprocessed.spacing_before),
            new_spacing=preprocessed.spacing_before,
            resampling=description.resample_probabilities,
        )[0]
        if description.regions_class_order is not None:
            cropped[resampled > 0] = value
        elif largest is None:
            largest = resampled.copy()
        else:
            cropped[resampled > largest] = value
            np.maximum(largest, resampled, out=largest)
    return np.ascontiguousarray(whole.transpose(description.transpose_backward))
