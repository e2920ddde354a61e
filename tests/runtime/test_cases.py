"""Which file is which channel of which case; what does not fit is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from described import describe
from nndistill.errors import UserError
from nndistill.runtime.cases import InputCase, channel_files, find_cases

FOUR = describe("T1", "T1CE", "T2", "FLAIR")


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def case_of(folder: Path, *names: str) -> InputCase:
    """The case of files whose numbers are those of the channels."""
    touch(folder, *names)
    return InputCase("case", {int(name.removesuffix(".nii.gz")[-4:]): folder / name for name in names})


def test_cases_are_found_by_name_with_their_channels(tmp_path):
    touch(tmp_path, "b_0000.nii.gz", "b_0001.nii.gz", "a_1_0000.nii.gz", "._b_0000.nii.gz", "b.nii.gz", "notes.txt")
    found = find_cases(tmp_path, describe())
    assert [case.name for case in found] == ["a_1", "b"]
    assert found[1].files == {0: tmp_path / "b_0000.nii.gz", 1: tmp_path / "b_0001.nii.gz"}


def test_one_file_names_its_case_with_all_channels(tmp_path):
    touch(tmp_path, "a_0000.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz")
    (case,) = find_cases(tmp_path / "b_0000.nii.gz", describe())
    assert (case.name, sorted(case.files)) == ("b", [0, 1])


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "holds no images; the model reads files named CASE_0000.nii.gz"),
        (["a.nii.gz"], "a.nii.gz is not named CASE_0000.nii.gz.*rename"),
        (["a_0000.nii"], "a_0000.nii has another ending .*convert"),
        (["a_0000.mha"], "a_0000.mha has another ending .*convert"),
    ],
)
def test_a_folder_without_cases_is_a_sentence(tmp_path, names, sentence):
    with pytest.raises(UserError, match=sentence):
        find_cases(touch(tmp_path, *names), describe())


def test_a_missing_input_and_a_misnamed_file_are_a_sentence(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        find_cases(tmp_path / "nowhere", describe())
    with pytest.raises(UserError, match=r"a\.nii\.gz is not named CASE_0000\.nii\.gz"):
        find_cases(touch(tmp_path, "a.nii.gz") / "a.nii.gz", describe())


def test_files_come_in_the_order_of_the_channels(tmp_path):
    names = [f"a_{number:04d}.nii.gz" for number in range(4)]
    assert channel_files(case_of(tmp_path, *reversed(names)), FOUR) == [tmp_path / name for name in names]


def test_a_missing_channel_is_a_sentence_that_names_it(tmp_path):
    case = case_of(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz", "a_0003.nii.gz")
    with pytest.raises(UserError, match=r"case case in .* has no T2 \(_0002\); the model wants T1 \(_0000\), T1CE"):
        channel_files(case, FOUR)


def test_a_channel_too_many_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"a_0001\.nii\.gz is a channel too many"):
        channel_files(case_of(tmp_path, "a_0000.nii.gz", "a_0001.nii.gz"), describe())


def test_a_name_that_says_another_channel_is_a_sentence(tmp_path):
    with pytest.raises(
        UserError, match=r"has no T1CE.*sub1_flair_0000\.nii\.gz says flair, which is _0003 and not _0000"
    ):
        channel_files(case_of(tmp_path, "sub1_flair_0000.nii.gz"), FOUR)
    names = ["s-T2_0000.nii.gz", "s-T1CE_0001.nii.gz", "s-T1_0002.nii.gz", "s-FLAIR_0003.nii.gz"]
    with pytest.raises(UserError, match=r"another order than T1 \(_0000\).*s-T2_0000\.nii\.gz says t2, which is _0002"):
        channel_files(case_of(tmp_path, *names), FOUR)


def test_a_link_to_a_file_that_says_another_channel_is_a_sentence(tmp_path):
    originals = touch(tmp_path, "brain_t1.nii.gz", "brain_flair.nii.gz")
    links = {0: tmp_path / "a_0000.nii.gz", 1: tmp_path / "a_0001.nii.gz"}
    for link, target in zip(links.values(), ("brain_flair.nii.gz", "brain_t1.nii.gz"), strict=True):
        link.symlink_to(originals / target)
    with pytest.raises(UserError, match=r"brain_flair\.nii\.gz says flair, which is _0001 and not _0000"):
        channel_files(InputCase("a", links), describe("T1", "FLAIR"))
    swapped = InputCase("a", {0: links[1], 1: links[0]})
    assert channel_files(swapped, describe("T1", "FLAIR")) == [links[1], links[0]]


@pytest.mark.parametrize("channel", ["T1-Gd", "T1Gd", "t1 gd"])
@pytest.mark.parametrize("ending", ["t1-gd", "T1Gd", "t1_gd"])
def test_a_channel_of_several_words_is_not_the_one_of_its_first_word(tmp_path, channel, ending):
    originals = touch(tmp_path, "s_t1.nii.gz", f"s_{ending}.nii.gz", "s_flair.nii.gz")
    files = [originals / "s_t1.nii.gz", originals / f"s_{ending}.nii.gz", originals / "s_flair.nii.gz"]
    links = {number: tmp_path / f"a_{number:04d}.nii.gz" for number in range(3)}
    for link, file in zip(links.values(), files, strict=True):
        link.symlink_to(file)
    described = describe("T1", channel, "FLAIR")
    assert channel_files(InputCase("a", links), described) == list(links.values())
    swapped = InputCase("a", {0: links[1], 1: links[0], 2: links[2]})
    with pytest.raises(UserError, match="says t1gd, which is _0001 and not _0000"):
        channel_files(swapped, described)


def test_the_image_on_whose_grid_a_file_is_says_nothing(tmp_path):
    names = ["s_space-FLAIR_trace_0000.nii.gz", "s_flair_0001.nii.gz"]
    assert len(channel_files(case_of(tmp_path, *names), describe("DWI", "FLAIR"))) == 2


def test_a_word_that_all_channels_share_says_nothing(tmp_path):
    names = [f"study_T2_{number:04d}.nii.gz" for number in range(4)]
    assert len(channel_files(case_of(tmp_path, *names), FOUR)) == 4
