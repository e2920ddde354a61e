"""The studies that `nndistill study init` writes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ..errors import UnknownName, UserError
from ..files import write_file


def study_names() -> list[str]:
    """The names of the studies that can be written.

    Example:
        >>> study_names()
        ['brats2024', 'decathlon', 'isles2022', 'phantom']
    """
    return sorted(file.name.removesuffix(".yaml") for file in _shipped().iterdir() if file.name.endswith(".yaml"))


def write_study(name: str, out: Path, *, dataset: str | None = None) -> None:
    """Write the file of a study, to be read and changed before it is run.

    Args:
        name: One of `study_names`.
        out: The file.
        dataset: Name or number of the data set, for a study that does not name one.

    Raises:
        UserError: The file is there already, or the study needs a data set that is not given.
    """
    if name not in study_names():
        raise UnknownName("study", name, study_names())
    if out.exists():
        raise UserError(f"{out} is there already; choose another file.", option="out")
    text = (_shipped() / f"{name}.yaml").read_text(encoding="utf-8")
    if "DATASET" in text:
        if dataset is None:
            raise UserError(f"the study {name} needs a data set: its name or number in nnU-Net.", option="dataset")
        text = text.replace("DATASET", str(int(dataset)) if dataset.isdecimal() else dataset)  # 010 is 8 in YAML
    elif dataset is not None:
        raise UserError(f"the study {name} names its data set already.", option="dataset")
    write_file(out, text.encode())


def _shipped() -> Path:
    return Path(str(files(__package__))) / "templates"
