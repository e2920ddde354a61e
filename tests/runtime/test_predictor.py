"""A batch of cases: its three stages overlap within bounds, a bad case costs itself only, and nothing is done twice."""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from nndistill.errors import UserError
from nndistill.files import read_json
from nndistill.runtime import batch, loading
from nndistill.runtime.batch import FAULTS
from nndistill.runtime.cases import find_cases
from nndistill.runtime.loading import LoadedModel
from nndistill.runtime.predictor import predict_cases
from nndistill.runtime.record import LOCK, RECORD, alone_in
from small_exports import PATCH, small_description

PATIENCE = 20
"""Seconds after which a stage that should run beside another one is said not to."""


class Thresholds:
    """A network of three labels without any weights; `before` is called with each window."""

    name = "fake"
    precision = "float32"
    device = "this processor"

    def __init__(self, before=lambda window: None) -> None:
        self._before = before

    def logits(self, window, mirrorings=((),)):
        self._before(window)
        return np.stack([0 * window[0] + 0.5, window[0], 2 * window[1] - 1])


def fake_model(before=lambda window: None, **changes) -> LoadedModel:
    network = Thresholds(before)
    network.precision = changes.get("precision", "float32")
    return LoadedModel(small_description(**changes), network)


@pytest.fixture
def images(tmp_path) -> Path:
    """Four cases, each of one window."""
    folder = tmp_path / "images"
    folder.mkdir()
    for case in "abcd":
        write_case(folder, case)
    return folder


def write_case(folder: Path, case: str, *, channels: int = 2, seed: int = 0) -> None:
    draw = np.random.default_rng([ord(case[0]), seed])
    for channel in range(channels):
        voxels = draw.normal(size=PATCH).astype(np.float32)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(folder / f"{case}_{channel:04d}.nii.gz"))


def predict(model, images, output, **options):
    return predict_cases(model, find_cases(images, model.description), output, **options)


def label_maps(output: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(output.glob("*.nii.gz"))}


def temporary_files(output: Path) -> list[Path]:
    """Whatever is hidden, but for the lock, which stays."""
    return [file for file in output.iterdir() if file.name.startswith(".") and file.name != LOCK]


def observed(function, tell):
    """The function, after `tell` was called with the name of the case, which begins its files' names."""

    def call(*arguments, **options):
        files = [a for a in arguments if isinstance(a, Path)] or next(a for a in arguments if isinstance(a, list))
        tell(files[0].name[0])
        return function(*arguments, **options)

    return call


def test_next_case_is_read_while_one_is_computed(images, tmp_path, monkeypatch):
    reading = {case: threading.Event() for case in "abcd"}
    monkeypatch.setattr(batch, "read_image", observed(batch.read_image, lambda case: reading[case].set()))
    following = iter("bcd")
    in_time = []

    def wait_for_next_to_be_read(window):
        if case := next(following, None):
            in_time.append(reading[case].wait(PATIENCE))

    predictions = predict(fake_model(wait_for_next_to_be_read), images, tmp_path / "out")
    assert predictions.done == ["a", "b", "c", "d"]
    assert in_time == [True] * 3


def test_last_case_is_written_while_one_is_computed(images, tmp_path, monkeypatch):
    computing = {case: threading.Event() for case in "abcd"}
    names = iter("abcd")
    following = dict(zip("abc", "bcd", strict=True))
    in_time = []

    def wait_for_next_to_be_computed(case):
        if case in following:
            in_time.append(computing[following[case]].wait(PATIENCE))

    monkeypatch.setattr(batch, "write_labels", observed(batch.write_labels, wait_for_next_to_be_computed))
    predict(fake_model(lambda window: computing[next(names)].set()), images, tmp_path / "out")
    assert in_time == [True] * 3


def test_memory_holds_at_most_three_cases_however_slow_the_writing(images, tmp_path, monkeypatch):
    """Each stage lasts until the one before has finished the next case, so that what may overlap does."""
    for case in "efgh":
        write_case(images, case)
    inputs, outputs, most = [], [], []
    counted = {"inputs": 0, "outputs": 0}

    def remember(what, references, function):
        def call(*arguments, **options):
            result = function(*arguments, **options)
            references.append(weakref.ref(result.array if references is inputs else result))
            gc.collect()
            most.append((alive(inputs), alive(outputs)))
            counted[what] += 1
            return result

        return call

    def alive(references):
        return sum(reference() is not None for reference in references)

    def slow(function, after):
        numbers = iter(range(8))

        def call(*arguments, **options):
            next_case, end = min(next(numbers) + 2, 8), time.monotonic() + PATIENCE
            while counted[after] < next_case and time.monotonic() < end:
                time.sleep(0.002)
            time.sleep(0.05)  # time enough for a stage that runs too far ahead
            return function(*arguments, **options)

        return call

    computed = remember("outputs", outputs, slow(batch.predict_logits, "inputs"))
    monkeypatch.setattr(batch, "preprocess", remember("inputs", inputs, batch.preprocess))
    monkeypatch.setattr(batch, "predict_logits", computed)
    monkeypatch.setattr(batch, "write_labels", slow(batch.write_labels, "outputs"))
    assert len(predict(fake_model(), images, tmp_path / "out").done) == len(inputs) == len(outputs) == 8
    assert max(waiting_or_computed for waiting_or_computed, _ in most) == 2
    assert max(computed_or_written for _, computed_or_written in most) == 2


def test_label_maps_are_those_of_one_case_at_a_time(images, tmp_path):
    predict(fake_model(), images, tmp_path / "together")
    for case in "abcd":
        predict(fake_model(), images / f"{case}_0000.nii.gz", tmp_path / "alone")
    assert label_maps(tmp_path / "together") == label_maps(tmp_path / "alone")
    assert len({*label_maps(tmp_path / "together").values()}) == 4


@pytest.mark.parametrize("stage", ["read_image", "preprocess", "predict_logits", "labels_of", "write_labels"])
@pytest.mark.parametrize("error", [UserError("b is bad."), ZeroDivisionError("ours"), MemoryError()], ids=repr)
def test_case_that_fails_in_any_stage_costs_itself_only(images, tmp_path, monkeypatch, stage, error):
    calls = iter("abcd")
    function = getattr(batch, stage)

    def fail_at_b(*arguments, **options):
        if next(calls) == "b":
            raise error
        return function(*arguments, **options)

    monkeypatch.setattr(batch, stage, fail_at_b)
    out = tmp_path / "out"
    predictions = predict(fake_model(), images, out)
    assert predictions.done == ["a", "c", "d"]
    assert [*label_maps(out)] == ["a.nii.gz", "c.nii.gz", "d.nii.gz"]
    assert [*predictions.failed] == ["b"]
    assert read_json(out / RECORD)["cases"]["b"] == {"failed": predictions.failed["b"]}
    if isinstance(error, ZeroDivisionError):
        assert predictions.faults == ["b"]
        assert "fault of nnDistill" in predictions.failed["b"]
        assert "Traceback" in (out / FAULTS).read_text()
    else:
        assert predictions.faults == []
        assert "b" in predictions.failed["b"].split()

    monkeypatch.undo()
    again = predict(fake_model(), images, out)
    assert (again.done, again.kept, again.failed) == (["b"], ["a", "c", "d"], {})


def test_finished_cases_are_not_touched_by_a_restart(images, tmp_path):
    out = tmp_path / "out"
    predict(fake_model(), images, out)
    before = {file: file.stat().st_mtime_ns for file in sorted(out.glob("*.nii.gz"))}
    (out / "c.nii.gz").unlink()
    predictions = predict(fake_model(), images, out)
    assert (predictions.done, predictions.kept) == (["c"], ["a", "b", "d"])
    after = {file: file.stat().st_mtime_ns for file in out.glob("*.nii.gz")}
    assert [file.name for file in before] == ["a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii.gz"]
    assert [file.name for file in before if before[file] != after[file]] == ["c.nii.gz"]


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        ({"files": {"model.onnx": "another"}}, {}, "another model"),
        ({"name": "another"}, {}, "another model"),
        ({"precision": "bfloat16"}, {}, "precision float32, now bfloat16"),
        ({}, {"overlap": 0.25}, "overlap 0.5, now 0.25"),
        ({}, {"mirror": False}, r"mirroring axes \[0, 1, 2\], now \[\]"),
        ({}, {"skip_air": False}, "all windows False, now True"),
        ({}, {"any_orientation": True}, "any orientation False, now True"),
    ],
)
def test_label_maps_of_two_models_or_settings_are_not_mixed(images, tmp_path, changes, options, sentence):
    out = tmp_path / "out"
    predict(fake_model(), images, out)
    (out / "c.nii.gz").unlink()
    before = label_maps(out)
    with pytest.raises(UserError, match=f"{sentence}.*another folder, or overwrite"):
        predict(fake_model(**changes), images, out, **options)
    assert label_maps(out) == before
    assert predict(fake_model(**changes), images, out, **options, overwrite=True).done == ["a", "b", "c", "d"]
    assert predict(fake_model(**changes), images, out, **options).kept == ["a", "b", "c", "d"]


def test_another_runtime_is_another_setting(images, tmp_path):
    predict(fake_model(), images, tmp_path / "out")
    other = fake_model()
    other.backend.name = "onnxruntime"
    with pytest.raises(UserError, match="backend fake, now onnxruntime"):
        predict(other, images, tmp_path / "out")


def test_overwriting_some_cases_does_not_mix_them_with_the_others(images, tmp_path):
    out = tmp_path / "out"
    predict(fake_model(), images, out)
    with pytest.raises(UserError, match="label maps of other cases that were made otherwise"):
        predict(fake_model(name="another"), images / "a_0000.nii.gz", out, overwrite=True)
    assert len(label_maps(out)) == 4
    predict(fake_model(), images / "a_0000.nii.gz", out, overwrite=True)
    assert predict(fake_model(), images, out).kept == ["a", "b", "c", "d"]


def test_label_map_of_other_images_of_the_same_name_is_not_taken_for_done(images, tmp_path):
    out = tmp_path / "out"
    predict(fake_model(), images, out)
    write_case(images, "b", seed=1)
    before = label_maps(out)
    for _ in range(2):
        predictions = predict(fake_model(), images, out)
        assert predictions.kept == ["a", "c", "d"]
        assert "made from other images" in predictions.failed["b"]
        assert label_maps(out) == before
        how = read_json(out / RECORD)["cases"]["b"]
        assert how["failed"] == predictions.failed["b"]
        assert how["images"]
    assert predict(fake_model(), images, out, overwrite=True).done == ["a", "b", "c", "d"]
    assert label_maps(out)["b.nii.gz"] != before["b.nii.gz"]


def test_case_that_keeps_its_label_map_is_told_as_not_predicted_and_the_record_says_why(
    images, tmp_path, nndistill, monkeypatch
):
    monkeypatch.setattr(loading, "load_model", lambda *arguments, **options: fake_model())
    out = tmp_path / "out"
    assert nndistill("predict", "MODEL", images, out).status == 0
    write_case(images, "b", seed=1)
    result = nndistill("predict", "MODEL", images, out)
    assert result.status == 2
    reason = read_json(out / RECORD)["cases"]["b"]["failed"]
    assert f"1 of 4 cases were not predicted, see {out / RECORD}: - b: {reason}" in result.err
    assert (out / "b.nii.gz").exists()


def test_label_map_that_somebody_else_made_is_kept(images, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "b.nii.gz").write_text("by hand")
    with pytest.raises(UserError, match=rf"b.nii.gz exists already, and no {RECORD}"):
        predict(fake_model(), images, out)
    assert (out / "b.nii.gz").read_text() == "by hand"
    assert len(predict(fake_model(), images, out, overwrite=True).done) == 4


def test_case_that_fails_while_it_is_overwritten_keeps_its_label_map_and_the_record_says_so(images, tmp_path):
    out = tmp_path / "out"
    predict(fake_model(), images, out)
    before = label_maps(out)
    channel = images / "b_0001.nii.gz"
    channel = channel.rename(tmp_path / channel.name)
    failed = predict(fake_model(name="another"), images, out, overwrite=True).failed
    assert [*failed] == ["b"]
    assert label_maps(out)["b.nii.gz"] == before["b.nii.gz"]
    assert read_json(out / RECORD)["cases"]["b"] == {"outdated": ["b.nii.gz"], "failed": failed["b"]}
    channel.rename(images / channel.name)
    assert predict(fake_model(name="another"), images, out).done == ["b"]
    assert predict(fake_model(name="another"), images, out).kept == ["a", "b", "c", "d"]


def test_overwriting_that_is_refused_changes_nothing(images, tmp_path):
    out = tmp_path / "out"
    predict(fake_model(), images, out)
    before = {file: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(UserError, match="overlap of windows"):
        predict(fake_model(), images, out, overlap=1, overwrite=True)
    assert {file: file.read_bytes() for file in out.iterdir()} == before


@pytest.mark.parametrize("stage", ["read_image", "write_labels"])
def test_overwriting_that_is_stopped_keeps_old_label_maps_and_goes_on(images, tmp_path, monkeypatch, stage):
    """Also where a new label map has a record already, but is not there."""
    out, calls, function = tmp_path / "out", iter("abcd"), getattr(batch, stage)
    predict(fake_model(), images, out, overlap=0.25)
    before = label_maps(out)

    def stop_at_c(*arguments, **options):
        if next(calls) == "c":
            raise KeyboardInterrupt
        return function(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(batch, stage, stop_at_c)
        with pytest.raises(KeyboardInterrupt):
            predict(fake_model(name="another"), images, out, overwrite=True)
    assert [*label_maps(out)] == [*before]
    assert {case for case, how in read_json(out / RECORD)["cases"].items() if "outdated" in how} >= {"c", "d"}
    again = predict(fake_model(name="another"), images, out)
    assert {*again.kept} <= {"a", "b"}
    assert {*again.done} >= {"c", "d"}
    assert len(predict(fake_model(name="another"), images, out).kept) == 4


def test_stopped_batch_keeps_what_is_finished_and_no_temporary_files(images, tmp_path):
    calls = iter(range(4))

    def stop_at_third(window):
        if next(calls) == 2:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict(fake_model(stop_at_third), images, out)
    assert [*label_maps(out)] == ["a.nii.gz", "b.nii.gz"]
    assert temporary_files(out) == []
    assert [*read_json(out / RECORD)["cases"]] == ["a", "b"]
    predictions = predict(fake_model(), images, out)
    assert (predictions.kept, predictions.done) == (["a", "b"], ["c", "d"])


def test_full_disk_ends_the_batch_with_a_sentence(images, tmp_path, monkeypatch):
    from nndistill.runtime import record as prediction_record

    write = prediction_record.write_json

    def full(path, content):
        if len(content["cases"]) > 1:
            raise UserError(f"the disk is full: {path} could not be written.")
        write(path, content)

    monkeypatch.setattr(prediction_record, "write_json", full)
    with pytest.raises(UserError, match="disk is full"):
        predict(fake_model(), images, tmp_path / "out")
    assert [*label_maps(tmp_path / "out")] == ["a.nii.gz"]


def test_folder_is_refused_while_another_process_writes_into_it(images, tmp_path):
    with alone_in(tmp_path / "out"), pytest.raises(UserError, match="another nndistill predict is writing into"):
        predict(fake_model(), images, tmp_path / "out")
    assert len(predict(fake_model(), images, tmp_path / "out").done) == 4


def test_leftovers_of_a_killed_process_are_cleared(images, tmp_path):
    out = tmp_path / "out"
    (out / ".a.nii.gz.x1.tmp").mkdir(parents=True)
    (out / ".a.nii.gz.x1.tmp" / "a.nii.gz").touch()
    (out / f".{RECORD}.1.tmp").touch()
    predict(fake_model(), images, out)
    assert temporary_files(out) == []


def test_hidden_files_of_others_are_left_alone(images, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".notes.tmp").write_text("years of work")
    (out / ".metrics.csv.17.tmp").write_text("being written")
    predict(fake_model(), images, out)
    assert {file.name for file in temporary_files(out)} == {".metrics.csv.17.tmp", ".notes.tmp"}


def test_a_record_of_an_earlier_version_is_continued(images, tmp_path):
    out = tmp_path / "out"
    predict(fake_model(), images, out)
    record = json.loads((out / RECORD).read_text())
    record["made_with"]["model"]["orientations"] = ["LPS"]
    (out / RECORD).write_text(json.dumps(record))
    assert predict(fake_model(), images, out).kept == ["a", "b", "c", "d"]


def test_place_that_is_none_for_label_maps_is_told(images, tmp_path):
    with pytest.raises(UserError, match="holds the images: choose another folder"):
        predict(fake_model(), images, images)
    with pytest.raises(UserError, match="holds the images: choose another folder"):
        predict(fake_model(), images / "a_0000.nii.gz", images / ".." / "images")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file cannot hold the label maps"):
        predict(fake_model(), images, tmp_path / "file")
    model = tmp_path / "model"
    model.mkdir()
    small_description().write(model)
    with pytest.raises(UserError, match="is an exported model"):
        predict(fake_model(), images, model)
    dataset = tmp_path / "Dataset001_A"
    dataset.mkdir()
    (dataset / "dataset.json").write_text('{"numTraining": 3}')
    with pytest.raises(UserError, match=r"dataset\.json belongs to something else"):
        predict(fake_model(), images, dataset, overwrite=True)
    assert (dataset / "dataset.json").read_text() == '{"numTraining": 3}'
    assert len(label_maps(images)) == 8


def test_file_that_is_gone_by_its_turn_is_named(images, tmp_path):
    cases = find_cases(images, fake_model().description)
    (images / "b_0001.nii.gz").unlink()
    predictions = predict_cases(fake_model(), cases, tmp_path / "out")
    assert "b_0001.nii.gz cannot be read" in predictions.failed["b"]
    assert predictions.done == ["a", "c", "d"]


def test_windows_of_air_are_counted(images, tmp_path):
    voxels = np.zeros((PATCH[0] * 4, *PATCH[1:]), np.float32)
    voxels[: PATCH[0] // 2] = 1 + np.random.default_rng(0).random((PATCH[0] // 2, *PATCH[1:]))
    voxels[-1, 0, 0] = 1
    for channel in range(2):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(images / f"air_{channel:04d}.nii.gz"))
    calls = []
    predict(fake_model(calls.append), images / "air_0000.nii.gz", tmp_path / "out")
    how = read_json(tmp_path / "out" / RECORD)["cases"]["air"]
    assert (how["windows"], how["windows_of_air"]) == (len(calls), 7 - len(calls))
    assert how["windows_of_air"] > 0
