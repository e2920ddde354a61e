"""Each command's line for the next step survives a shell and is complete, whatever the names of the folders are."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documented import parse_nnunet
from nndistill import datasets
from nndistill.cli.output import print_next
from nndistill.datasets import generate_phantom
from pasted import next_line, paste
from tiny import TINY

VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder whose name holds what a shell would take for something else; nnU-Net's variables are not set."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "My Drive" / "it's $HOME; Künstlich & 100 %"
    folder.mkdir(parents=True)
    return folder


@settings(max_examples=25, deadline=None)
@given(word=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))))
def test_any_word_comes_out_of_a_shell_as_it_went_in(word):
    with redirect_stdout(io.StringIO()) as printed:
        print_next(word)
    line = printed.getvalue().removeprefix("Next: ").removesuffix("\n")
    done = subprocess.run(["bash", "-c", f"printf %s {line}"], capture_output=True, check=True)
    assert done.stdout.decode() == word


@pytest.fixture
def _small_phantom(monkeypatch):
    small = partial(generate_phantom, shape=(32, 40, 32), spacing=(4.0, 4.0, 4.0), jobs=1)
    monkeypatch.setattr(datasets, "generate_phantom", small)


@pytest.mark.usefixtures("_small_phantom")
def test_from_phantom_to_teach(nndistill, place, tmp_path):
    out = place / "raw data"
    result = nndistill("phantom", out, "--cases", 1)
    assert result.status == 0, result.err
    pasted = paste(next_line(result.out), tmp_path)
    assert pasted.words == ["nndistill", "teach", "900", "--recipe", "quick"]
    assert pasted.folders == {
        "nnUNet_raw": str(out),
        "nnUNet_preprocessed": str(place / "nnUNet_preprocessed"),
        "nnUNet_results": str(place / "nnUNet_results"),
    }


@pytest.mark.usefixtures("_small_phantom")
def test_from_a_challenge_s_phantom_to_teach(nndistill, place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    result = nndistill("phantom", place, "--layout", "isles2022", "--cases", 2)
    assert result.status == 0, result.err
    prepared = nndistill(*paste(next_line(result.out), tmp_path).words[1:], "--split", "nnunet")
    assert prepared.status == 0, prepared.err
    words = paste(next_line(prepared.out), tmp_path).words
    assert words == ["nndistill", "teach", "229", "--fold", "all", "--workspace", "nndistill-workspace"]
    assert list(Path("nndistill-workspace/nnUNet_raw").glob("Dataset229_*"))


def test_from_teach_to_distill_to_stock_prediction(nndistill, world, place, tmp_path, monkeypatch):
    workspace = place / "work space"
    shutil.move(world.workspace, workspace)
    taught = nndistill(
        *("teach", 900, "--workspace", workspace, "--features", 8, 16, 32, "--batch-size", 2, *TINY, "--epochs", 1),
        *("--no-validate", "--resume"),
    )
    assert taught.status == 0, taught.err
    words = paste(next_line(taught.out), tmp_path).words
    model = workspace / "nnUNet_results" / "Dataset900_Phantom" / world.teacher.name
    assert words[:5] == ["nndistill", "distill", str(model), "--fold", "0"]
    distilled = nndistill(*words[1:], "--iterations", 1, "--epochs", 1, "--no-validate")
    assert distilled.status == 0, distilled.err
    words = paste(next_line(distilled.out), tmp_path).words
    arguments = parse_nnunet(words, monkeypatch)
    assert (Path(arguments.m) / "fold_0" / "checkpoint_final.pth").is_file()
    assert (arguments.f, arguments.device) == (["0"], "cpu")


def test_from_export_to_prediction_to_evaluation(nndistill, world, place, tmp_path):
    student = place / "Schüler"
    shutil.move(world.results / "nnUNetTrainerDistill__student__3d_fullres", student)
    exported = nndistill("export", student, "--format", "onnx")
    assert exported.status == 0, exported.err
    words = paste(next_line(exported.out), tmp_path).words
    assert words[-2:] == ["IMAGES", "OUTPUT"]
    predicted = nndistill(*words[1:-2], world.dataset / "imagesTs", place / "Aus gabe")
    assert predicted.status == 0, predicted.err
    words = paste(next_line(predicted.out), tmp_path).words
    assert words[-1] == "LABELS"
    metrics = place / "m.csv"
    evaluated = nndistill(*words[1:-1], world.dataset / "labelsTs", "--out", metrics, "--jobs", 1)
    assert evaluated.status == 0, evaluated.err


def test_from_a_stock_export_to_its_installation(nndistill, world, place, tmp_path, monkeypatch):
    student = world.results / "nnUNetTrainerDistill__student__3d_fullres"
    for number, (option, folder) in enumerate(
        [([], "nnUNet_results"), (["--workspace", place], place / "nnUNet_results")]
    ):
        out = place / f"stock {number}"
        exported = nndistill("export", student, "--format", "nnunet", "--out", out, *option)
        assert exported.status == 0, exported.err
        assert next_line(exported.out).startswith("env ")
        pasted = paste(next_line(exported.out), tmp_path)
        assert pasted.folders["nnUNet_results"] == str(folder)
        assert Path(parse_nnunet(pasted.words, monkeypatch).zip).parent == out


def test_from_prepare_to_teach(nndistill, place, tmp_path):
    task = place / "Task 50"
    pairs = []
    for number in range(5):
        pair = {"image": f"./imagesTr/Fall {number}.nii.gz", "label": f"./labelsTr/Fall {number}.nii.gz"}
        for what, file in pair.items():
            (task / file).parent.mkdir(parents=True, exist_ok=True)
            values = np.zeros((8, 8, 8), np.float32 if what == "image" else np.uint8)
            values[number : number + 2, 2:4, 2:4] = 1
            if what == "image":
                values += np.random.default_rng(number).normal(100, 10, values.shape).astype(values.dtype)
            nib.save(nib.Nifti1Image(values, np.eye(4)), task / file)
        pairs.append(pair)
    description = {"name": "P Q", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "a"}, "training": pairs}
    (task / "dataset.json").write_text(json.dumps(description))
    workspace = place / "work space"
    result = nndistill("prepare", "decathlon", task, "--dataset-id", 50, "--workspace", workspace)
    assert result.status == 0, result.err
    assert paste(next_line(result.out), tmp_path).words == ["nndistill", "teach", "50", "--workspace", str(workspace)]


@pytest.mark.usefixtures("_small_phantom")
def test_line_of_phantom_is_short_where_nnunet_looks_anyway(nndistill, place, tmp_path, monkeypatch):
    for variable in VARIABLES:
        monkeypatch.setenv(variable, str(place / variable))
    result = nndistill("phantom", place / "nnUNet_raw", "--cases", 1)
    assert next_line(result.out) == "nndistill teach 900 --recipe quick"


@pytest.mark.parametrize("value", ['"/data/raw"', "'/data/raw'", "~/raw"])
def test_folder_of_nnunet_with_marks_that_no_shell_removed_is_a_sentence(nndistill, monkeypatch, value):
    for variable in VARIABLES:
        monkeypatch.setenv(variable, value)
    result = nndistill("teach", "50")
    assert result.status == 2
    assert f"the environment variable nnUNet_raw is {value}: a {value[0]} at its start is part" in result.err
