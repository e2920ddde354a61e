"""Protocol brats2026 against the challenge's program, which runs in an environment of its own.

The program is `brats-evaluation` (AGPL): it is started as a command and never imported. Set NNDISTILL_BRATS_ENV to a
virtual environment that has it, to save the minutes that its installation takes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from lesion_cases import CASES, label_map
from nndistill.evaluation.protocols import protocol
from nndistill.volumes.bounding_box import bounding_box

REQUIREMENTS = ("brats-evaluation==0.0.10", "panoptica==2.1.7")


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """The folder of programs of an environment that has the package."""
    if given := os.environ.get("NNDISTILL_BRATS_ENV"):
        return Path(given) / "bin"
    folder = tmp_path_factory.mktemp("brats")
    venv.create(folder, with_pip=True)
    # without this package's own path, so that the environment is the program's alone
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    installed = subprocess.run(
        [folder / "bin" / "pip", "install", "--quiet", *REQUIREMENTS], env=clean, capture_output=True, text=True
    )
    if installed.returncode:
        pytest.skip(f"brats-evaluation cannot be installed here: {installed.stderr.strip().splitlines()[-1]}")
    return folder / "bin"


def real_cases(real_data):
    """Real lesions as enhancing tumour: shifted by one to three voxels, cut by a plane, and joined."""
    for patient in ("patient07", "patient19"):
        image = nib.load(real_data / "open_ms" / patient / "lesions.nii.gz")
        mask = np.asarray(image.dataobj) > 0
        mask = np.pad(mask[bounding_box(mask)], 8)
        for shift in (1, 2, 3):
            yield mask, np.roll(mask, shift, axis=shift - 1)
        components, _ = ndimage.label(mask, np.ones((3, 3, 3)))
        largest = components == np.argmax(np.bincount(components[mask]))
        middle = int(np.mean(np.nonzero(largest)[2]))
        cut = mask.copy()
        cut[:, :, middle : middle + 2] &= ~largest[:, :, middle : middle + 2]
        yield mask, cut
        yield cut, mask
        yield mask, ndimage.binary_closing(mask, iterations=3)


@pytest.mark.slow
def test_matched_lesions_are_those_of_the_program(environment, real_data, tmp_path):
    pairs = [tuple(label_map(*boxes) for boxes in case[:2]) for case in CASES.values()]
    pairs += [tuple(3 * mask.astype(np.uint8) for mask in maps) for maps in real_cases(real_data)]
    for number, maps in enumerate(pairs):
        for role, array, ending in zip(("ref", "pred"), maps, ("-seg", ""), strict=True):
            (tmp_path / role).mkdir(exist_ok=True)
            path = tmp_path / role / f"BraTS-GLI-{number:05d}-100{ending}.nii.gz"
            nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(
        [
            *(environment / "brats-evaluate", "--config", "gli", "--ref_path", tmp_path / "ref"),
            *("--pred_path", tmp_path / "pred", "--summary_json", tmp_path / "theirs.json"),
        ],
        env=clean,
        stdout=sys.stderr,
        check=True,
    )
    theirs = json.loads((tmp_path / "theirs.json").read_text())
    assert not theirs["missings"]
    assert len(theirs["metrics"]) == len(pairs)
    rules = protocol("brats2026").lesion_rules
    for case in theirs["metrics"]:
        assert "error" not in case
        number = int(case["subject_name"].split("-")[2])
        ours = rules.measure(*pairs[number], (1.0, 1.0, 1.0), tolerance=1.0)
        for region in ("ET", "TC", "WT", "RC"):
            expected, found = case[region.lower()], ours[region]
            counts = [expected[key] for key in ("tp", "fn", "fp")]
            assert [found[f"lesions_{what}"] for what in ("found", "missed", "false")] == counts, case["subject_name"]
            hd95 = rules.penalty if expected["sq_hd95"] == np.inf else expected["sq_hd95"]
            values = [expected["sq_dsc"], expected["sq_nsd"], hd95]
            assert [found["dice"], found["nsd"], found["hd95_mm"]] == pytest.approx(values, rel=1e-9, nan_ok=True)
