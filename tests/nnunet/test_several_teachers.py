"""Several folds or models teach one student: what they say together, what is stored, and what is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor

from nndistill import load_recipe, prepare_student, train
from nndistill.errors import UserError
from nndistill.files import read_json, write_json
from nndistill.nnunet.models.checkpoints import read_checkpoint, write_checkpoint
from nndistill.nnunet.models.history import read_history
from nndistill.nnunet.models.model_folder import ModelFolder
from nndistill.nnunet.models.stock_model import portable_plans
from nndistill.nnunet.plans import resolved_configuration
from nndistill.nnunet.run_setup import KEY, RunSetup, Teacher, TeacherModel
from nndistill.nnunet.training.distillation_trainer import nnUNetTrainerDistill
from nndistill.nnunet.training.teacher_engine import ensemble_of
from nndistill.nnunet.workspace import use_workspace
from nndistill.teacher_engines import TorchEngine
from several_folds import FINAL, add_folds, copy_of_model
from tiny import TINY

ALL = tuple(range(5))


@pytest.fixture
def image(world) -> Tensor:
    """One patch of noise, `(C, D, H, W)`."""
    plans = read_json(world.teacher / "plans.json")
    return torch.randn(4, *resolved_configuration(plans, "3d_fullres")["patch_size"])


def _stock_logits(teacher: Path, folds: tuple[int, ...], image: Tensor) -> Tensor:
    """What `nnUNetv2_predict -f FOLDS` computes for a preprocessed image, without mirroring."""
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(teacher), folds, FINAL)
    return predictor.predict_logits_from_preprocessed_data(image).float()[None]


def _ours(teacher: Path, together: str, image: Tensor) -> Tensor:
    folder = ModelFolder.read(teacher)
    networks = [folder.network(folder.checkpoint_file(str(fold))).eval() for fold in ALL]
    engines = [TorchEngine.reading(network, {"logits"}) for network in networks]
    with torch.no_grad():
        logits = ensemble_of(engines, together, regions=False)(image[None]).logits
    assert logits is not None
    return logits


def test_several_teachers_predict_what_stock_nnunet_predicts_with_several_folds(world, image, monkeypatch):
    """Stock averages the logits of its folds (`nnUNetv2_predict`), or probabilities (`nnUNetv2_ensemble`).

    It weights and adds windows in half precision, whose rounding is far larger, so it adds in single precision here.
    """
    add_folds(world.teacher, ALL[1:])
    of_logits, of_probabilities = (_ours(world.teacher, way, image).softmax(1) for way in ("mean-logits", "mean"))
    monkeypatch.setattr(predict_from_raw_data.torch, "half", torch.float32)
    stock = _stock_logits(world.teacher, ALL, image).softmax(1)
    torch.testing.assert_close(of_logits, stock, rtol=0, atol=1e-5)
    each = [_stock_logits(world.teacher, (fold,), image).softmax(1) for fold in ALL]
    torch.testing.assert_close(of_probabilities, torch.stack(each).mean(0), rtol=0, atol=1e-5)
    assert (of_logits - of_probabilities).abs().max() > 1e-4  # the two are not the same
    assert max((one - stock).abs().max() for one in each) > 1e-2


@pytest.fixture
def prepare(world):
    """Make the plans of a student without training it."""
    use_workspace(world.workspace)

    def call(*, fold="0", method="dcd+logits", changes=MappingProxyType({}), **options):
        recipe = load_recipe("quick").adjusted(method=method, **changes)
        return prepare_student(world.teacher, fold=fold, recipe=recipe, **options)

    return call


def _teacher(run) -> dict:
    return read_json(run.plans_file)[KEY]["distillation"]["teacher"]


def test_setup_names_all_teachers_and_the_log_says_what_they_cost(prepare, world, caplog):
    add_folds(world.teacher, [1, 2])
    other = copy_of_model(world.teacher, "other")
    with caplog.at_level(logging.INFO, logger="nndistill"):
        run = prepare(teacher_fold=["0", "1", "2"], also_teachers=[other], teachers="rotate")
    teacher = _teacher(run)
    assert teacher["folds"] == {"0": ["0", "1", "2"]}
    assert teacher["also"] == [{"folder": str(other), "checkpoint": FINAL, "channels": [8, 16, 32]}]
    assert teacher["together"] == "rotate"
    assert run.plans_name.endswith("teachers-rotate")
    parameters = _parameters(world.teacher)
    mebibytes = -(-4 * 6 * parameters // 2**20)
    assert f"6 teachers take {mebibytes} MiB for their weights ({6 * parameters / 1e6:.1f} M parameters" in caplog.text
    assert "one of them computes each patch" in caplog.text


def _parameters(model: Path) -> int:
    weights = read_checkpoint(model / "fold_0" / FINAL)["network_weights"]
    return sum({value.data_ptr(): value.numel() for value in weights.values()}.values())


def test_a_student_trained_fold_by_fold_keeps_the_teachers_of_each_fold(prepare, world):
    add_folds(world.teacher, [1, 2])
    prepare(name="mine", teacher_fold=["0", "1"])
    run = prepare(name="mine", fold="1", teacher_fold=["1", "2"])
    assert _teacher(run)["folds"] == {"0": ["0", "1"], "1": ["1", "2"]}
    with pytest.raises(UserError, match="fold 0 taught by the teacher's fold 0, 1, now by 0, 2"):
        prepare(name="mine", teacher_fold=["0", "2"])
    with pytest.raises(UserError, match="together mean, now rotate"):
        prepare(name="mine", fold="2", teacher_fold=["0", "2"], teachers="rotate")


def test_folds_that_train_at_the_same_time_keep_the_teachers_of_each(prepare, world):
    add_folds(world.teacher, [1, 2])
    recipe = {"epochs": 1, "iterations": 1, "validation_iterations": 1}
    one = prepare(name="both", teacher_fold=["0", "1"], changes=recipe)

    def meanwhile(batches: int) -> None:  # the first has read its plans, and trains after the second is done
        other = prepare(name="both", fold="1", teacher_fold=["1", "2"], changes=recipe)
        train(other, device="cpu", validate=False)

    train(one, device="cpu", validate=False, on_start=meanwhile)
    in_model = read_json(one.model_folder / "plans.json")[KEY]["distillation"]["teacher"]
    assert in_model["folds"] == {"0": ["0", "1"], "1": ["1", "2"]}


def test_a_fold_that_nothing_is_said_of_is_refused_if_others_have_several_teachers():
    teacher = Teacher(folder="x", checkpoint=FINAL, channels=[8], folds={"0": ["0", "1"]})
    assert teacher.folds_for(0) == ["0", "1"]
    with pytest.raises(UserError, match="do not say which folds of the teacher teach fold 1"):
        teacher.folds_for("1")


def test_networks_are_numbered_model_by_model():
    other = TeacherModel(folder="y", checkpoint=FINAL, channels=[4])
    teacher = Teacher(folder="x", checkpoint=FINAL, channels=[8], folds={"0": ["0", "1"]}, also=[other])
    assert [(n.model.folder, n.fold) for n in teacher.networks_for("0")] == [
        ("x", "0"),
        ("x", "1"),
        ("y", "0"),
        ("y", "1"),
    ]


def test_exports_keep_no_path_of_any_teacher(prepare, world):
    run = prepare(also_teachers=[copy_of_model(world.teacher, "other")])
    assert str(world.workspace) not in json.dumps(portable_plans(read_json(run.plans_file)))


def test_setup_of_an_older_version_has_one_teacher(world):
    plans = json.loads((world.results / "nnUNetTrainerDistill__student__3d_fullres" / "plans.json").read_text())
    for key in ("also", "together"):
        plans[KEY]["distillation"]["teacher"].pop(key, None)
    teacher = RunSetup.of(plans).distillation.teacher
    assert [network.fold for network in teacher.networks_for("0")] == ["0"]


@pytest.fixture
def distill(nndistill, world):
    def call(*arguments: object, epochs: int = 1):
        return nndistill(
            *("distill", world.teacher, "--workspace", world.workspace, *TINY, "--epochs", epochs, "--no-validate"),
            *arguments,
        )

    return call


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--teacher-fold", 0, 3], "there is no checkpoint_final.pth for fold 3"),
        (["--teacher-fold", 0, 0], "name each fold of the teacher once, not 0, 0"),
        (["--teacher-fold", 0, "out-of-fold"], "out-of-fold chooses the folds by itself"),
        (["--teacher-fold", 0, "all"], "for fold all"),
        (["--teachers", "rotate"], "there is one teacher, so rotate would have no effect"),
        (["--teacher-fold", "out-of-fold", "--teachers", "rotate"], "so rotate would have no effect"),
    ],
)
def test_folds_that_cannot_teach_together_are_a_sentence(distill, world, arguments, sentence):
    add_folds(world.teacher, [1, 2, 4])
    if "out-of-fold" in arguments:
        add_folds(world.teacher, [3])
    result = distill(*arguments)
    assert result.status == 2
    assert sentence in result.err
    assert "--teacher-fold" in result.err


def _edit(file: Path, change) -> None:
    content = read_json(file)
    change(content)
    write_json(file, content)


def _other_configuration(model: Path) -> None:
    _edit(model / "plans.json", lambda p: p["configurations"].update({"3d_lowres": p["configurations"]["3d_fullres"]}))
    checkpoint = read_checkpoint(model / "fold_0" / FINAL)
    checkpoint["init_args"]["configuration"] = "3d_lowres"
    write_checkpoint(model / "fold_0" / FINAL, checkpoint)


def _swapped_labels(dataset: dict) -> None:
    labels = dataset["labels"]
    labels["NETC"], labels["ET"] = labels["ET"], labels["NETC"]


UNLIKE = {
    "data sets (Dataset900_Phantom and Dataset901_Other)": lambda model: _edit(
        model / "plans.json", lambda p: p.update(dataset_name="Dataset901_Other")
    ),
    "labels": lambda model: _edit(model / "dataset.json", _swapped_labels),
    "channels": lambda model: _edit(
        model / "dataset.json", lambda d: d["channel_names"].update({"0": "T1C", "1": "T1N"})
    ),
    "spacings ([4.0, 4.0, 4.0] and [1.0, 1.0, 1.0])": lambda model: _edit(
        model / "plans.json", lambda p: p["configurations"]["3d_fullres"].update(spacing=[1.0, 1.0, 1.0])
    ),
    "configurations (3d_fullres and 3d_lowres)": _other_configuration,
}


@pytest.mark.parametrize("what", UNLIKE)
def test_teachers_of_another_kind_are_a_sentence_with_both_values(distill, world, what):
    other = copy_of_model(world.teacher, "other")
    UNLIKE[what](other)
    result = distill("--also-teacher", other)
    assert result.status == 2
    assert f"were trained with different {what}" in result.err
    assert "See the options --also-teacher, --teacher-fold." in result.err


def test_a_model_that_is_named_twice_is_a_sentence(distill, world):
    result = distill("--also-teacher", world.teacher)
    assert result.status == 2
    assert "is named twice" in result.err


def test_a_further_model_without_the_fold_is_a_sentence(distill, world):
    other = copy_of_model(world.teacher, "other")
    add_folds(world.teacher, [1])
    result = distill("--teacher-fold", 0, 1, "--also-teacher", other)
    assert result.status == 2
    assert f"for fold 1 in {other}" in result.err


def _folder(world, name: str) -> Path:
    return world.results / f"nnUNetTrainerDistill__{name}__3d_fullres" / "fold_0"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["mean", "mean-logits", "rotate"])
def test_a_resumed_training_with_several_teachers_equals_an_uninterrupted_one(distill, world, monkeypatch, way):
    """`rotate` continues with the teacher whose turn it is: five teachers, two batches per epoch."""
    add_folds(world.teacher, ALL[1:])
    options = ["--teacher-fold", *ALL, "--teachers", way, "--method", "dcd+logits"]
    begin = nnUNetTrainerDistill.on_train_epoch_start

    def begin_the_first_two_epochs_only(trainer: nnUNetTrainerDistill) -> None:
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt
        begin(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(nnUNetTrainerDistill, "on_train_epoch_start", begin_the_first_two_epochs_only)
        assert distill(*options, "--name", "stopped", epochs=4).status == 130
    resumed = distill(*options, "--name", "stopped", "--resume", epochs=4)
    assert resumed.status == 0, resumed.err
    assert "Of the 5 teachers, those of folds 1, 2, 3, 4 were trained on the only validation case" in resumed.err
    assert distill(*options, "--name", "whole", epochs=4).status == 0
    stopped, whole = (read_checkpoint(_folder(world, name) / FINAL) for name in ("stopped", "whole"))
    for part in (lambda c: c["network_weights"], lambda c: c[KEY]["method"]):
        assert part(stopped).keys() == part(whole).keys()
        assert all(torch.equal(part(stopped)[key], value) for key, value in part(whole).items())
    assert {key.split(".")[3] for key in whole[KEY]["method"] if "phi" in key} == {"0", "1", "2", "3", "4"}
    facts = read_history(_folder(world, "whole").parent, "0").facts
    assert facts["Teachers"].count("fold_") == 5
    assert facts["Teachers together"] == way
