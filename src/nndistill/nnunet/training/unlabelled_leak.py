"""Whether unlabelled images are validation or test cases, from which the student then learns too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ...errors import UserError
from ...files import digest, read_json
from ..data.named_cases import named_cases
from ..data.raw_cases import raw_cases
from ..workspace import raw_folder
from .unlabelled_images import UnlabelledImages


def leaks_of_unlabelled(
    images: UnlabelledImages, *, dataset: str, fold: str, validation: Sequence[str]
) -> Iterator[str]:
    """Yield a warning if unlabelled images are validation cases of the student's fold, and one if they are test cases.

    They are if they have a case's name or, where the raw data set is there, the content of its files.

    Args:
        images: What the student learns from without labels.
        dataset: The data set's full name.
        fold: Fold of the student. In the fold `all`, there are no validation cases.
        validation: Names of the fold's validation cases.
    """
    names = [] if fold == "all" else validation
    training, test = _files_of_training_cases(dataset), _files_of_test_cases(dataset)
    for kind, figures, cases in (
        (f"validation cases of fold {fold}", "validation figures", {name: training.get(name, ()) for name in names}),
        ("test cases", "figures on them", test),
    ):
        contents = {tuple(map(digest, files)) for files in cases.values() if files}
        known = sorted(
            name for each, name in images.names.items() if name in cases or tuple(images.files[each]) in contents
        )
        if known:
            yield (
                f"{len(known)} of the {len(images.names)} unlabelled images are {kind} ({named_cases(known)}): the "
                f"student learns from them, though without their labels (transductive learning), so its {figures} may "
                "be better than those of new images. Leave them out to judge it."
            )


def _files_of_training_cases(dataset: str) -> Mapping[str, Sequence[Path]]:
    try:
        cases = raw_cases(raw_folder() / dataset)
    except UserError:  # a machine that trains may have the preprocessed data alone
        return {}
    return {case.name: case.images for case in cases if all(file.is_file() for file in case.images)}


def _files_of_test_cases(dataset: str) -> Mapping[str, Sequence[Path]]:
    try:
        folder = raw_folder() / dataset
        ending = read_json(folder / "dataset.json")["file_ending"]
    except UserError:
        return {}
    cases: dict[str, list[Path]] = {}
    for file in sorted((folder / "imagesTs").glob(f"*_????{ending}")):
        cases.setdefault(file.name.removesuffix(ending)[:-5], []).append(file)
    return cases
