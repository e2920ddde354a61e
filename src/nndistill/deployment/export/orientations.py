"""How the images lie that a model was trained on, read from their headers."""

from __future__ import annotations

import SimpleITK

from ...datasets.raw_cases import raw_cases
from ...errors import UserError
from ...nnunet.workspace import raw_folder


def training_orientations(dataset: str) -> tuple[str, ...]:
    """Orientations of a data set's training images, such as `("LPS", "RAS")`, the most frequent first.

    Args:
        dataset: Full name of a data set, looked for in `nnUNet_raw`.

    Returns:
        Codes as ITK writes them; none where the data set is not there or its headers cannot be read.
    """
    try:
        codes = [_orientation(str(case.images[0])) for case in raw_cases(raw_folder() / dataset)]
    except (UserError, RuntimeError):
        return ()
    return tuple(sorted(set(codes), key=lambda code: (-codes.count(code), code)))


def _orientation(file: str) -> str:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return str(SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(reader.GetDirection()))
