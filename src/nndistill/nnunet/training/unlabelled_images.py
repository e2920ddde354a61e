"""Images without labels: found, checked, preprocessed with the teacher's plans, and kept for every run with them."""

from __future__ import annotations

import json
import logging
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from nnunetv2.configuration import default_num_processes

from ...errors import UserError
from ...files import digest, locked, read_json, write_json
from ...runtime.cases import channel_files, find_cases, unused_files
from ...runtime.description import ModelDescription
from ...runtime.image import read_image
from ..configuration import managers
from ..models.describe import NotDescribable, describe
from ..models.model_folder import ModelFolder
from ..plans import intensity_statistics, resolved_configuration
from ..run_setup import Unlabelled

logger = logging.getLogger(__name__)

_FOLDER = "unlabelled"
_CASES, _SETS, _UNFINISHED = "cases", "sets", "unfinished"
_FEW = 4
"""Images that are preprocessed in this process: a new one takes ten seconds to import nnU-Net."""
_LONGEST_WAIT = 12 * 3600.0
"""Seconds to wait for another run that preprocesses."""
_DECIDING = (
    *("preprocessor_name", "spacing", "normalization_schemes", "use_mask_for_norm"),
    *("resampling_fn_data", "resampling_fn_data_kwargs", "resampling_fn_seg", "resampling_fn_seg_kwargs"),
)
"""Keys of a configuration that decide what preprocessing makes of an image."""

_WITHOUT_CHOICE = {
    "any_orientation": "is not oriented as the training images are: reorient it.",
    "allow_empty_channel": "or another channel of its case is empty, with all voxels 0.",
}
"""What is wrong with images that a prediction could be told to accept."""


@dataclass(frozen=True)
class UnlabelledImages:
    """Preprocessed images without labels.

    Args:
        folder: Where nnU-Net's loader finds them.
        names: Name of each image's case, by the identifier under which it is stored.
        files: SHA-256 of its files, channel by channel, by the same.
    """

    folder: Path
    names: Mapping[str, str]
    files: Mapping[str, Sequence[str]]

    @property
    def digest(self) -> str:
        """SHA-256 of all images, wherever they are and whatever they are called."""
        return _digest(sorted(self.names))

    @classmethod
    def read(cls, dataset: Path, setup: Unlabelled) -> UnlabelledImages:
        """Read which images a run uses.

        Args:
            dataset: The preprocessed data set.
            setup: What the run's setup says of them.

        Raises:
            UserError: They are not there, or no longer complete.
        """
        place = dataset / setup.preprocessed
        file = _set_file(place, setup.digest)
        if not file.is_file():
            raise UserError(_gone(place))
        cases = read_json(file)["cases"]
        images = cls(
            place / _CASES,
            names={identifier: case["name"] for identifier, case in cases.items()},
            files={identifier: case["files"] for identifier, case in cases.items()},
        )
        if not all(_is_complete(images.folder, identifier) for identifier in images.names):
            raise UserError(_gone(place))
        return images


def preprocess_unlabelled(
    folder: Path,
    teacher: ModelFolder,
    checkpoint_file: Path,
    *,
    dataset: Path,
    share: float,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Unlabelled:
    """Preprocess the images of a folder as the teacher's training images were, by stock nnU-Net, each content once.

    What is there already is kept, whichever run or folder it came from, and also if this call ends early.

    Args:
        folder: The images in nnU-Net's layout: `CASE_0000.nii.gz`, `CASE_0001.nii.gz`, …
        teacher: The model whose plans say how.
        checkpoint_file: Of one of its folds.
        dataset: The preprocessed data set, in whose folder they are kept.
        share: Share of their patches among all patches.
        report: Called with the number of images that are done and of all images.

    Returns:
        What the setup of a run says of them.

    Raises:
        UserError: There are none, one has other channels than the teacher or cannot be read, or the teacher's images
            are of a kind that only nnU-Net itself reads.
    """
    try:
        description = describe(teacher, checkpoint_file)
        found = find_cases(folder, description)
        files = {case.name: channel_files(case, description) for case in found}
    except NotDescribable as error:
        raise UserError(
            f"unlabelled images are read as `nndistill predict` reads them, which is not possible here: {error}",
            option="unlabelled",
        ) from error
    except UserError as error:
        raise UserError(str(error), option="unlabelled") from error
    for name, reason in unused_files(folder, description).items():
        logger.warning("%s is not used: it %s.", folder / name, reason)
    configuration = teacher.configuration()
    place = dataset / _FOLDER / _plans_digest(teacher.plans, configuration)[:16]
    contents = {name: [_digest_of_file(file) for file in channels] for name, channels in files.items()}
    identified = {_digest(content)[:32]: name for name, content in reversed(contents.items())}
    images = UnlabelledImages(
        place / _CASES,
        names=dict(sorted(identified.items())),
        files={identifier: contents[name] for identifier, name in sorted(identified.items())},
    )
    if copies := len(files) - len(identified):
        logger.warning("%s of the %s unlabelled images are copies of others, and count once.", copies, len(files))
    preprocess = _Preprocessing(
        description, teacher.plans, configuration, teacher.dataset_json, images.folder, place / _UNFINISHED
    )
    wanted = {identifier: files[name] for identifier, name in images.names.items()}
    if not all(_is_complete(images.folder, identifier) for identifier in wanted):
        busy = f"another process is preprocessing unlabelled images in {place}; wait until it ends."
        with locked(place / ".lock", busy, wait=_LONGEST_WAIT):
            _preprocess(wanted, preprocess, report)
    cases = {name: {"name": images.names[name], "files": list(images.files[name])} for name in images.names}
    write_json(_set_file(place, images.digest), {"cases": cases})
    return Unlabelled(
        folder=str(folder.resolve()),
        images=len(images.names),
        digest=images.digest,
        preprocessed=place.relative_to(dataset).as_posix(),
        share=share,
    )


@dataclass(frozen=True)
class _Preprocessing:
    """What makes one image into a case of nnU-Net's; it can be sent to another process."""

    description: ModelDescription
    plans: dict[str, Any]
    configuration: str
    dataset_json: dict[str, Any]
    folder: Path
    unfinished: Path

    def __call__(self, identifier: str, files: Sequence[Path]) -> str | None:
        """Preprocess an image; return a sentence if that is not possible."""
        try:
            read_image(files, self.description)  # says in a sentence what is wrong with a file
            plans, configuration = managers(self.plans, self.configuration)
            configuration.preprocessor_class(verbose=False).run_case_save(
                str(self.unfinished / identifier),
                [str(file) for file in files],
                None,
                plans,
                configuration,
                self.dataset_json,
            )
        except UserError as error:
            reason = _WITHOUT_CHOICE.get(str(error.option))
            return f"{files[0]} {reason}" if reason else str(error)
        except (OSError, RuntimeError, MemoryError) as error:  # also of the library that compresses it
            return f"{files[0]} cannot be preprocessed ({error or type(error).__name__})."
        for part in _parts(identifier):
            (self.unfinished / part).replace(self.folder / part)
        return None


def _preprocess(
    wanted: Mapping[str, Sequence[Path]], preprocess: _Preprocessing, report: Callable[[int, int], None]
) -> None:
    shutil.rmtree(preprocess.unfinished, ignore_errors=True)
    for folder in (preprocess.folder, preprocess.unfinished):
        folder.mkdir(parents=True, exist_ok=True)
    missing = {name: files for name, files in wanted.items() if not _is_complete(preprocess.folder, name)}
    done = len(wanted) - len(missing)
    report(done, len(wanted))
    failures = []
    for failure in _outcomes(missing, preprocess):
        done += 1
        failures += [failure] if failure else []
        report(done, len(wanted))
    shutil.rmtree(preprocess.unfinished, ignore_errors=True)
    if failures:
        what = "An unlabelled image" if len(failures) == 1 else f"{len(failures)} of {len(wanted)} unlabelled images"
        raise UserError(
            f"{what} cannot be used: {' '.join(failures[:3])}{' …' if len(failures) > 3 else ''} Repair or remove them "
            "and start again; those that are preprocessed are kept.",
            option="unlabelled",
        )


def _outcomes(missing: Mapping[str, Sequence[Path]], preprocess: _Preprocessing) -> Iterator[str | None]:
    """A sentence for each image that cannot be preprocessed, and `None` for each other."""
    processes = min(default_num_processes, len(missing))
    if processes == 1 or len(missing) <= _FEW:
        for identifier, files in missing.items():
            yield preprocess(identifier, files)
        return
    # Spawned, because a fork copies locks that threads of the parent may hold, such as those of a progress bar.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {name: pool.submit(preprocess, name, list(files)) for name, files in missing.items()}
        for name, future in futures.items():
            try:
                yield future.result()
            except BrokenProcessPool:
                yield f"{missing[name][0]}: its process was killed, probably for lack of memory."


def _parts(identifier: str) -> tuple[str, str, str]:
    """The files of a case, the last of which says that all are there."""
    return f"{identifier}.b2nd", f"{identifier}_seg.b2nd", f"{identifier}.pkl"


def _is_complete(folder: Path, identifier: str) -> bool:
    return all((folder / part).is_file() for part in _parts(identifier))


def _set_file(place: Path, digest: str) -> Path:
    return place / _SETS / f"{digest}.json"


def _plans_digest(plans: dict[str, Any], configuration: str) -> str:
    """Of what decides how an image is preprocessed."""
    resolved = resolved_configuration(plans, configuration)
    return _digest(
        {
            **{key: resolved.get(key) for key in _DECIDING},
            "reader": plans["image_reader_writer"],
            "axes": plans["transpose_forward"],
            "intensities": intensity_statistics(plans),
        }
    )


def _digest(content: Any) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _digest_of_file(file: Path) -> str:
    try:
        return digest(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.", option="unlabelled") from error


def _gone(place: Path) -> str:
    return (
        f"the preprocessed unlabelled images of this run are no longer complete in {place}: give the folder of images "
        "again and resume, and those that are missing are preprocessed again."
    )
