"""Which cases there are to predict, and which file is which channel."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .description import ModelDescription

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".gipl", ".mhd", ".dcm")
"""Of images, for the message about a folder that holds others than the model's."""

_ON_A_GRID_OF = re.compile(r"space-[a-z0-9]+", re.IGNORECASE)
"""BIDS's name for the image on whose grid a file is, which is another channel often."""


@dataclass(frozen=True)
class InputCase:
    """A case: its name, and its files by the number of the channel."""

    name: str
    files: Mapping[int, Path]


def find_cases(input: Path, description: ModelDescription) -> list[InputCase]:
    """Find the cases of a folder in nnU-Net's layout (`CASE_0000.nii.gz`, `CASE_0001.nii.gz`, …), sorted by name.

    Args:
        input: The folder, or one file of a case in it, for that case only.
        description: The model's, which knows the ending of file names.

    Raises:
        UserError: It does not exist, or holds no case.

    Example:
        >>> from nndistill import load_model
        >>> [case.name for case in find_cases(images, load_model(export).description)]
        ['large', 'small']
    """
    if not input.exists():
        raise UserError(f"{input} does not exist.")
    folder = input if input.is_dir() else input.parent
    named = re.compile(rf"(?P<case>[^.].*)_(?P<channel>\d{{4}}){re.escape(description.file_ending)}")
    cases: dict[str, dict[int, Path]] = {}
    for file in sorted(folder.iterdir()):
        if (match := named.fullmatch(file.name)) and file.is_file():
            cases.setdefault(match["case"], {})[int(match["channel"])] = file
    if input.is_file():
        match = named.fullmatch(input.name)
        cases = {match["case"]: cases[match["case"]]} if match else {}
    if not cases:
        raise UserError(_nothing_found(input, description))
    return [InputCase(name, files) for name, files in sorted(cases.items())]


def unused_files(folder: Path, description: ModelDescription) -> dict[str, str]:
    """Files of a folder that look like images and belong to no case, each with the reason.

    Args:
        folder: The folder; a file, which names its case, leaves nothing unused.
        description: The model's, which knows the ending of file names.

    Example:
        >>> from nndistill import load_model
        >>> _ = (images / "small.nii.gz").write_bytes(b"")
        >>> unused_files(images, load_model(export).description)
        {'small.nii.gz': 'is not named CASE_0000.nii.gz, with the number of a channel'}
    """
    if not folder.is_dir():
        return {}
    ending = description.file_ending
    named = re.compile(rf"[^.].*_\d{{4}}{re.escape(ending)}")
    unused = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or not file.name.lower().endswith(ENDINGS):
            continue
        if named.fullmatch(file.name) and file.is_file():
            continue
        if not file.is_file():
            reason = "is a folder" if file.is_dir() else "is a link to nothing"
        elif file.name.endswith(ending):
            reason = f"is not named CASE_0000{ending}, with the number of a channel"
        elif file.name.lower().endswith(ending):
            reason = f"ends in capital letters, not in {ending}"
        else:
            reason = f"has another ending than the images that the model reads ({ending})"
        unused[file.name] = reason
    return unused


def channel_files(case: InputCase, description: ModelDescription) -> list[Path]:
    """The files of a case in the order of the model's channels.

    Raises:
        UserError: A channel is missing, there is one too many, or a file's name says that it is another channel.
    """
    names = [channel.name for channel in description.channels]
    listed = ", ".join(f"{name} (_{number:04d})" for number, name in enumerate(names))
    if missing := [number for number in range(len(names)) if number not in case.files]:
        lacking = ", ".join(f"{names[number]} (_{number:04d})" for number in missing)
        raise UserError(
            f"case {case.name} in {_folder(case)} has no {lacking}; the model wants {listed}." + _hints(case, names)
        )
    if surplus := sorted(set(case.files) - set(range(len(names)))):
        raise UserError(
            f"{case.files[surplus[0]]} is a channel too many; the model wants {listed}. "
            "Is this the right model? If so, move the file elsewhere."
        )
    if hints := _hints(case, names):
        raise UserError(f"the channels of case {case.name} seem to be in another order than {listed}." + hints)
    return [case.files[number] for number in range(len(names))]


def _nothing_found(input: Path, description: ModelDescription) -> str:
    wanted = f"CASE_0000{description.file_ending}"
    if input.is_file():
        return f"{input} is not named {wanted}, as the first channel of a case is: rename it."
    files = [file for file in sorted(input.iterdir()) if file.is_file() and not file.name.startswith(".")]
    images = [file for file in files if file.name.lower().endswith(ENDINGS)]
    if not images:
        return f"{input} holds no images; the model reads files named {wanted}."
    if images[0].name.endswith(description.file_ending):
        return (
            f"{images[0]} is not named {wanted}, as the first channel of a case is, nor is any other file: rename them."
        )
    return f"{images[0]} has another ending than the images that the model reads ({wanted}): convert them."


def _hints(case: InputCase, names: list[str]) -> str:
    """What contradicts the files' numbers in their names, and in the names of what they link to.

    What the names of all channels have, such as the case's own name, says nothing.
    """
    channels = {_joined(name): number for number, name in enumerate(names) if _joined(name) and not name.isdigit()}
    said = {number: _channels_said(file, channels) for number, file in case.files.items()}
    if len(said) > 1 and len(said) >= len(names):
        shared = set.intersection(*said.values())
        said = {number: found - shared for number, found in said.items()}
    for number, found in said.items():
        if found and number not in {channels[channel] for channel in found}:
            first = min(found)
            return (
                f" The name of {case.files[number].resolve().name} says {first}, "
                f"which is _{channels[first]:04d} and not _{number:04d}: check the order, and rename the files."
            )
    return ""


def _channels_said(file: Path, channels: Collection[str]) -> set[str]:
    """The channels in the name of a file, or of what it links to; of two in one place the longer: `t1-gd` is not T1."""
    said = set()
    for name in {file.name, file.resolve().name}:
        words = _words(_ON_A_GRID_OF.sub("", name))
        places = {
            (first, last): joined
            for first in range(len(words))
            for last in range(first + 1, len(words) + 1)
            if (joined := "".join(words[first:last])) in channels
        }
        for (first, last), channel in places.items():
            if not any(a <= first and last <= b and (a, b) != (first, last) for a, b in places):
                said.add(channel)
    return said


def _joined(name: str) -> str:
    return "".join(_words(name))


def _words(name: str) -> list[str]:
    return re.findall("[a-z0-9]+", name.casefold())


def _folder(case: InputCase) -> Path | str:
    return next(iter(case.files.values())).parent if case.files else "the input"
