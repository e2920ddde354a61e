"""A converted teacher in a folder: converted once, found by later trainings of the same teacher."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import openvino

from ..errors import UserError
from ..files import atomic_folder

logger = logging.getLogger(__name__)

_FILE = "model.xml"


def stored_model(
    convert: Callable[[], openvino.Model], *, facts: Mapping[str, Any], folders: Sequence[Path]
) -> openvino.Model:
    """Read a model that was converted before, or else convert it and keep it.

    Files are named after the facts, so other facts, such as another teacher's weights, never find them. They may be
    deleted at any time.

    Args:
        convert: Makes the model.
        facts: What the model depends on besides the version of OpenVINO, in values that JSON can hold.
        folders: Where it is looked for; a new one is written to the first that can be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> def convert():
        ...     print("converting")
        ...     image = openvino.opset13.parameter([1, 1, 4, 4, 4])
        ...     return openvino.Model([openvino.opset13.relu(image)], [image])
        >>> with TemporaryDirectory() as folder:
        ...     for _ in range(2):
        ...         model = stored_model(convert, facts={"teacher": "f3a9"}, folders=[Path(folder)])
        converting
    """
    key = json.dumps({**facts, "openvino": openvino.__version__}, sort_keys=True)
    name = f"teacher_openvino_{sha256(key.encode()).hexdigest()[:16]}"
    for folder in folders:
        if (model := _read(folder / name)) is not None:
            return model
    model = convert()
    for folder in folders:
        if _write(model, folder / name) and (read := _read(folder / name)) is not None:
            return read  # as later trainings will, so that all compute the same
    return model


def _read(folder: Path) -> openvino.Model | None:
    if not (folder / _FILE).is_file():
        return None
    try:
        return openvino.Core().read_model(folder / _FILE)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        logger.warning("%s is damaged (%s); the teacher is converted again.", folder, reason)
        return None


def _write(model: openvino.Model, folder: Path) -> bool:
    try:
        with atomic_folder(folder) as temporary:
            openvino.save_model(model, temporary / _FILE, compress_to_fp16=False)
    except (UserError, OSError, RuntimeError) as error:  # OpenVINO's own for a file that it cannot write
        logger.info("The converted teacher cannot be kept in %s (%s).", folder.parent, error)
        return False
    return True
