"""Images without labels: preprocessed as nnU-Net does it, once for all runs; every mistake is a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nndistill.errors import UserError
from nndistill.nnunet.data.preprocessed_case import PreprocessedCase
from nndistill.nnunet.models.model_folder import ModelFolder
from nndistill.nnunet.models.stock_model import portable_plans
from nndistill.nnunet.run_setup import Distillation, Unlabelled
from nndistill.nnunet.training import unlabelled_images
from nndistill.nnunet.training.unlabelled_images import UnlabelledImages, preprocess_unlabelled
from nndistill.nnunet.training.unlabelled_leak import leaks_of_unlabelled
from tiny import TINY


@pytest.fixture(autouse=True)
def workspace(world, monkeypatch):
    for folder in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(folder, str(world.workspace / folder))


@pytest.fixture
def preprocess(world):
    """Preprocess a folder; return what the setup says and the progress that was reported."""
    teacher = ModelFolder.read(world.teacher)

    def call(folder: Path) -> tuple[Unlabelled, list[tuple[int, int]]]:
        reported: list[tuple[int, int]] = []
        setup = preprocess_unlabelled(
            folder,
            teacher,
            teacher.checkpoint_file("0"),
            dataset=world.preprocessed,
            share=0.5,
            report=lambda done, total: reported.append((done, total)),
        )
        return setup, reported

    return call


@pytest.fixture
def distill(nndistill, world):
    """Call `nndistill distill` with unlabelled images."""

    def call(folder: Path, *arguments: object):
        return nndistill(
            *["distill", world.teacher, "--workspace", world.workspace, *TINY, "--name", "wrong"],
            *["--unlabelled", folder, *arguments],
        )

    return call


def _cases(world) -> list[str]:
    return sorted(file.name.removesuffix(".nii.gz") for file in (world.dataset / "labelsTr").iterdir())


def _copied(world, folder: Path, cases: dict[str, str]) -> Path:
    """Copy training images, without their labels, under other names."""
    folder.mkdir()
    for case, name in cases.items():
        for file in (world.dataset / "imagesTr").glob(f"{case}_*"):
            shutil.copy(file, folder / file.name.replace(case, name))
    return folder


def test_an_image_is_preprocessed_as_stock_nnunet_preprocesses_it_with_its_labels(world, preprocess, tmp_path):
    case, *_ = _cases(world)
    setup, _ = preprocess(_copied(world, tmp_path / "images", {case: "scan"}))

    images = UnlabelledImages.read(world.preprocessed, setup)
    [(identifier, name)] = images.names.items()
    ours = PreprocessedCase.read(images.folder, identifier)
    stock = PreprocessedCase.read(world.preprocessed / "nnUNetPlans_3d_fullres", case)
    assert name == "scan"
    np.testing.assert_array_equal(ours.image, stock.image)
    np.testing.assert_array_equal(ours.segmentation, np.where(stock.segmentation < 0, -1, 0))


def test_images_are_known_by_their_content_and_preprocessed_once(world, preprocess, tmp_path):
    first, second, third, *_ = _cases(world)
    before, reported = preprocess(_copied(world, tmp_path / "a", {first: "x", second: "y"}))
    assert reported == [(0, 2), (1, 2), (2, 2)]
    files = {file: file.stat().st_mtime_ns for file in (world.preprocessed / before.preprocessed / "cases").iterdir()}

    again, reported = preprocess(_copied(world, tmp_path / "b", {second: "p", first: "q"}))
    assert reported == []
    assert (again.digest, again.images) == (before.digest, 2)

    more, reported = preprocess(_copied(world, tmp_path / "c", {first: "x", second: "y", third: "z"}))
    assert reported == [(2, 3), (3, 3)]
    assert more.digest != before.digest
    assert {file: file.stat().st_mtime_ns for file in files} == files


def test_copies_of_an_image_count_once(world, preprocess, tmp_path, caplog):
    case, *_ = _cases(world)
    folder = _copied(world, tmp_path / "images", {case: "x"})
    _copied(world, tmp_path / "more", {case: "y"})
    for file in (tmp_path / "more").iterdir():
        shutil.copy(file, folder)
    setup, _ = preprocess(folder)
    assert setup.images == 1
    assert "1 of the 2 unlabelled images are copies of others" in caplog.text


def test_interrupted_preprocessing_continues(world, preprocess, tmp_path, monkeypatch):
    folder = _copied(world, tmp_path / "images", {case: case for case in _cases(world)[:3]})
    read, calls = unlabelled_images.read_image, []

    def interrupted(files, description):
        calls.append(files)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return read(files, description)

    monkeypatch.setattr(unlabelled_images, "read_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        preprocess(folder)
    setup, reported = preprocess(folder)
    assert reported == [(1, 3), (2, 3), (3, 3)]
    place = world.preprocessed / setup.preprocessed
    assert sorted(each.name for each in place.iterdir() if not each.name.startswith(".")) == ["cases", "sets"]

    next((place / "cases").glob("*.pkl")).unlink()  # killed before an image was complete
    with pytest.raises(UserError, match="no longer complete"):
        UnlabelledImages.read(world.preprocessed, setup)
    assert preprocess(folder)[1] == [(2, 3), (3, 3)]
    assert len(UnlabelledImages.read(world.preprocessed, setup).names) == 3


@pytest.mark.slow
def test_many_images_are_preprocessed_in_processes(world, preprocess, tmp_path, monkeypatch):
    monkeypatch.setattr(unlabelled_images, "default_num_processes", 2)
    setup, reported = preprocess(_copied(world, tmp_path / "images", {case: case for case in _cases(world)}))
    assert reported[-1] == (5, 5)
    assert len(UnlabelledImages.read(world.preprocessed, setup).names) == 5


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_kept(world, preprocess, tmp_path):
    folder = _copied(world, tmp_path / "images", {case: case for case in _cases(world)[:2]})
    damaged = sorted(folder.iterdir())[0]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cut short") as refused:
        preprocess(folder)
    assert str(damaged) in str(refused.value)
    damaged.write_bytes(whole)
    assert preprocess(folder)[1] == [(1, 2), (2, 2)]


def test_the_setup_has_a_name_instead_of_a_path_where_it_is_given_away(world, preprocess, tmp_path):
    setup, _ = preprocess(_copied(world, tmp_path / "images", {_cases(world)[0]: "x"}))
    plans = {"nndistill": {"distillation": {"unlabelled": setup.model_dump()}}}
    assert portable_plans(plans)["nndistill"]["distillation"]["unlabelled"]["folder"] == "images"


@pytest.mark.parametrize("share", [-0.1, 1, "nan"])
def test_a_share_outside_its_bounds_is_a_sentence(distill, world, share):
    result = distill(world.dataset / "imagesTs", "--unlabelled-share", share)
    assert result.status == 2
    assert "it is at least 0 and below 1" in result.err
    assert "--unlabelled-share" in result.err
    assert not (world.preprocessed / "unlabelled").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "none"], "join the distillation alone, which does not count here"),
        (["--weight", 0], "join the distillation alone, which does not count here"),
        (["--method", "dcd+emkd"], "compares class by class where the labels are"),
    ],
)
def test_methods_for_which_images_without_labels_are_nothing_are_refused(distill, world, arguments, words):
    result = distill(world.dataset / "imagesTs", *arguments)
    assert result.status == 2
    assert words in result.err
    assert not (world.preprocessed / "unlabelled").exists()


def test_a_share_without_images_is_a_sentence(nndistill, world):
    result = nndistill("distill", world.teacher, "--workspace", world.workspace, "--unlabelled-share", 0.5)
    assert result.status == 2
    assert "has no effect without images" in result.err


def _nothing(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _one_channel_less(folder: Path) -> None:
    sorted(folder.iterdir())[-1].unlink()


def _one_channel_more(folder: Path) -> None:
    last = sorted(folder.iterdir())[-1]
    shutil.copy(last, last.with_name("scan_0009.nii.gz"))


def _other_names(folder: Path) -> None:
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(folder / f"scan{number}.nii.gz")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_nothing, "holds no images"),
        (_one_channel_less, "has no "),
        (_one_channel_more, "is a channel too many"),
        (_other_names, "is not named CASE_0000.nii.gz"),
        (shutil.rmtree, "does not exist"),
    ],
)
def test_wrong_images_are_a_sentence_before_anything_is_computed(distill, world, tmp_path, spoil, words):
    folder = _copied(world, tmp_path / "images", {_cases(world)[0]: "scan"})
    spoil(folder)
    result = distill(folder)
    assert result.status == 2
    assert words in result.err
    assert "--unlabelled" in result.err
    assert not (world.preprocessed / "unlabelled").exists()
    assert not (world.preprocessed / "wrong.json").exists()


def test_images_that_are_validation_or_test_cases_are_a_warning(world, preprocess, tmp_path):
    case, other, *_ = _cases(world)
    test_case = (world.dataset / "imagesTs").glob("*_0000.nii.gz")
    folder = _copied(world, tmp_path / "images", {case: "renamed", other: other})
    for file in (world.dataset / "imagesTs").iterdir():
        shutil.copy(file, folder)
    images = UnlabelledImages.read(world.preprocessed, preprocess(folder)[0])

    def leaks(fold: str, *validation: str) -> list[str]:
        return list(leaks_of_unlabelled(images, dataset=world.dataset.name, fold=fold, validation=validation))

    test_name = next(test_case).name.removesuffix("_0000.nii.gz")
    by_content, of_test = leaks("0", case)
    assert by_content.startswith("1 of the 3 unlabelled images are validation cases of fold 0 (renamed)")
    assert f"are test cases ({test_name})" in of_test
    assert "transductive" in of_test
    assert f"({other}, renamed)" in leaks("1", case, other)[0]
    assert len(leaks("2", "another")) == len(leaks("all", case)) == 1  # the test case alone

    shutil.rmtree(world.dataset)  # a machine that trains may have the preprocessed data alone
    assert [leak.split(":")[0] for leak in leaks("1", case, other)] == [
        f"1 of the 3 unlabelled images are validation cases of fold 1 ({other})"
    ]


def test_an_image_of_another_orientation_is_a_sentence(world, preprocess, tmp_path):
    folder = _copied(world, tmp_path / "images", {_cases(world)[0]: "scan"})
    for file in folder.iterdir():
        image = nib.load(file)
        turned = image.as_reoriented(np.array([[1, 1], [0, 1], [2, 1]]))
        nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), turned.affine), file)
    with pytest.raises(UserError, match=r"scan_0000\.nii\.gz is not oriented as the training images are") as refused:
        preprocess(folder)
    assert "allow" not in str(refused.value)


def test_setups_of_before_there_were_unlabelled_images_are_the_same(world):
    setup = json.loads((world.preprocessed / "student.json").read_text())["nndistill"]["distillation"]
    setup.pop("unlabelled", None)
    assert Distillation.model_validate(setup).unlabelled is None
