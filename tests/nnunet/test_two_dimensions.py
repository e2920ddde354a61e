"""A network of two dimensions goes the whole way on the command line, from a data set to a report."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nndistill import build_method
from nndistill.errors import UserError
from nndistill.files import read_json
from nndistill.methods import METHODS
from nndistill.nnunet.models.checkpoints import read_checkpoint
from nndistill.nnunet.models.prediction import predict_folder
from nndistill.nnunet.plans import derive_plans, patches_per_case
from nndistill.nnunet.training.teacher import prepare_teacher
from stock_models import configuration, plans
from tiny import TINY

EPOCH = [*TINY, "--epochs", 1]


def done(result) -> str:
    assert result.status == 0, result.err
    return result.out


@pytest.mark.slow
def test_two_dimensions_go_the_whole_way_from_a_data_set_to_a_report(nndistill, world, tmp_path):
    where = ["--workspace", world.workspace]
    small = ["--features", 8, 16, 32, "--batch-size", 4, "--patch-size", 32, 48]
    done(nndistill("teach", 900, "-c", "2d", *small, *EPOCH, *where))
    teacher = world.results / "nnUNetTrainerRecipe__nnUNetResEncUNetPlans_2d_teacher__2d"
    assert (teacher / "fold_0" / "validation" / "summary.json").is_file()
    assert json.loads(done(nndistill("complexity", teacher, "--json")))["network"]["patch"] == [32, 48]

    done(nndistill("distill", teacher, "--method", "none", *EPOCH, *where))
    done(
        nndistill(
            "distill", teacher, "-c", "2d", "--method", "dcd", "--init", "teacher", "--name", "flat", *EPOCH, *where
        )
    )
    student = world.results / "nnUNetTrainerDistill__flat__2d"
    kept = read_checkpoint(student / "fold_0" / "checkpoint_final.pth")["nndistill"]["method"]
    assert {value.ndim for name, value in kept.items() if name.endswith("weight")} == {4}
    resumed = nndistill(
        "distill", teacher, "--method", "dcd", "--init", "teacher", "--name", "flat", *EPOCH, *where, "--resume"
    )
    done(resumed)

    diagnosed = ["--student", student, "--cases", 1, "--level", 2, "--out", tmp_path / "diagnosis"]
    said = json.loads(done(nndistill("diagnose", teacher, *diagnosed, *where, "--downsampling", "averaging", "--json")))
    assert {row["band"] for row in said["spectrum"]} == {"LH", "HL", "HH", "LL"}
    assert {row["phi"] for row in said["mismatch"]} == {"run", "least squares"}
    assert said["stages"][0] == [32, 48]
    assert "HHH" not in json.dumps(said)
    assert all(Path(file).is_file() for file in said["files"])
    other = nndistill(
        "diagnose", teacher, "--student", world.results / "nnUNetTrainerDistill__student__3d_fullres", *where
    )
    assert "the student has 3 dimensions (3d_fullres) and the teacher 2 (2d)" in other.err

    every = "+".join(name for name in METHODS if name not in ("none", "dcd"))
    once = ["--option", "freekd.prompt_iterations=1", "--name", "every", "--no-validate"]
    done(nndistill("distill", teacher, "--method", every, *once, *EPOCH, *where))

    images, labels = world.dataset / "imagesTr", world.dataset / "labelsTr"
    [stock, *_] = predict_folder(student, images, tmp_path / "stock", fold="0", device="cpu")
    expected = np.asarray(nib.load(stock).dataobj)
    for format, precision in (("onnx", "float32"), ("openvino", "float32"), ("openvino", "int8")):
        export, output = tmp_path / f"{format}-{precision}", tmp_path / f"by {format} in {precision}"
        cases = ["--calibration", images, "--labels", labels, "--tolerance", 1] if precision == "int8" else []
        done(nndistill("export", student, "--format", format, "--precision", precision, "--out", export, *cases))
        done(nndistill("predict", export, images, output))
        if precision == "float32":
            found = np.asarray(nib.load(output / stock.name).dataobj)
            assert (found != expected).mean() <= 1e-3
    done(nndistill("evaluate", tmp_path / "by onnx in float32", labels, "--out", tmp_path / "metrics.csv"))
    image = sorted(images.glob("*_0000.nii.gz"))[0]
    done(
        nndistill(
            "benchmark",
            student,
            tmp_path / "onnx-float32",
            "--input",
            image,
            "--rounds",
            1,
            "--out",
            tmp_path / "speed",
        )
    )

    alone = next(world.results.glob("nnUNetTrainerDistill__nnUNetResEncUNetPlans_2d_none_r4*__2d"))
    models = [teacher, alone, student, "--names", "Teacher", "Alone", "DCD"]
    done(nndistill("report", *models, *where, "--out", tmp_path / "report"))
    assert list((tmp_path / "report").glob("*.html"))


def test_configuration_that_the_teacher_is_not_of_is_refused(nndistill, world):
    result = nndistill("distill", world.teacher, "--workspace", world.workspace, "-c", "2d", *TINY)
    assert result.status == 2
    assert "was trained with the configuration 3d_fullres, and its students are of that too, not of 2d" in result.err
    assert "--configuration" in result.err


def test_configuration_that_is_not_planned_is_refused_before_anything_is_preprocessed(nndistill, world):
    before = sorted(world.preprocessed.iterdir())
    result = nndistill("teach", 900, "-c", "2D", "--workspace", world.workspace, *TINY)
    assert result.status == 2
    assert "Did you mean '2d'" in result.err
    assert sorted(world.preprocessed.iterdir()) == before


def test_teachers_of_several_configurations_have_names_of_their_own(world, monkeypatch):
    for folder in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(folder, str(world.workspace / folder))
    file = world.preprocessed / "nnUNetResEncUNetPlans.json"
    planned = read_json(file)
    planned["configurations"]["3d_lowres"] = planned["configurations"]["3d_fullres"]
    file.write_text(json.dumps(planned))
    low = prepare_teacher(world.dataset.name, file, fold="0", recipe="quick", configuration="3d_lowres")
    assert low.model_folder.name == "nnUNetTrainerRecipe__nnUNetResEncUNetPlans_3d_lowres_teacher__3d_lowres"
    assert list(read_json(low.plans_file)["configurations"]) == ["3d_lowres"]
    full = prepare_teacher(world.dataset.name, file, fold="0", recipe="quick", name="full")
    assert full.configuration == "3d_fullres"


@pytest.mark.parametrize(("given", "axes"), [([32, 32], 3), ([32, 32, 32, 32], 3), ([32, 32, 32], 2)])
def test_patch_size_of_another_number_of_axes_is_refused(given, axes):
    described = plans({"chosen": configuration(patch=(16, 16, 16)[:axes])})
    with pytest.raises(UserError, match=rf"has {len(given)} numbers, and the network sees patches of {axes} axes"):
        derive_plans(described, "chosen", patch_size=given, name="derived")


def test_windows_of_a_case_need_the_number_of_its_slices():
    described = plans({"2d": configuration(patch=(16, 16))})
    assert patches_per_case(described, "2d") == 24 * 2 * 2
    with pytest.raises(UserError, match="original_median_shape_after_transp"):
        patches_per_case({**described, "original_median_shape_after_transp": None}, "2d")


def test_phi_of_three_dimensions_is_what_older_setups_meant():
    older = build_method("feature", student_channels=[2], teacher_channels=[4]).state_dict()
    assert older["phi.0.weight"].shape == (4, 2, 1, 1, 1)
