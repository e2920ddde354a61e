"""A student of another shape than its teacher: stages, blocks, architecture, and the stages that both have."""

from __future__ import annotations

import json
import subprocess
from copy import deepcopy
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

from deep_teachers import FEATURES, write_deep_teacher
from nndistill import Distiller, build_method, prepare_student
from nndistill.errors import UnknownName, UserError
from nndistill.files import read_json
from nndistill.nnunet.models.checkpoints import read_checkpoint
from nndistill.nnunet.models.history import read_history
from nndistill.nnunet.models.model_folder import ModelFolder
from nndistill.nnunet.models.prediction import predict_folder
from nndistill.nnunet.models.trained_phi import trained_phi
from nndistill.nnunet.plans import build_network, features_per_stage, stage_factors
from nndistill.nnunet.run_setup import RunSetup
from nndistill.nnunet.stage_pairs import stage_pairs
from nndistill.nnunet.student_shape import StudentShape
from nndistill.nnunet.training.same_setup import differences
from nndistill.nnunet.workspace import use_workspace
from nndistill.taps import nnunet_taps, paired_taps
from stock_models import NETWORKS, configuration, dataset, network_of, plans
from tiny import TINY

NAME = "3d_fullres"
SIDE = 16
STRIDES = st.lists(st.tuples(*[st.sampled_from([1, 2])] * 3), min_size=2, max_size=3)
"""Of the stages after the first: anisotropic, and with stages that are no coarser than the one before."""


def taught(strides: list[tuple[int, ...]], *, network: str = "ResidualEncoderUNet", blocks: int = 2) -> dict[str, Any]:
    """Plans of a teacher whose stages have 8, 12, 16, … channels."""
    stages = len(strides) + 1
    described = configuration(
        features=[8 + 4 * stage for stage in range(stages)],
        strides=[[1, 1, 1], *map(list, strides)],
        patch=(SIDE, SIDE, SIDE),
        network=network,
    )
    arguments = described["architecture"]["arch_kwargs"]
    key = "n_conv_per_stage" if network == "PlainConvUNet" else "n_blocks_per_stage"
    arguments[key] = [blocks] * stages
    return plans({NAME: described})


def parameters_by_hand(plans: dict[str, Any], *, plain: bool) -> int:
    """Convolutions have a bias and two numbers per channel of their normalisation; projections have no bias."""
    arguments = plans["configurations"][NAME]["architecture"]["arch_kwargs"]
    features, strides = arguments["features_per_stage"], arguments["strides"]
    blocks = arguments["n_conv_per_stage" if plain else "n_blocks_per_stage"]

    def convolution(inputs: int, outputs: int) -> int:
        return 27 * inputs * outputs + outputs + 2 * outputs

    count, before = 0, 1
    if not plain:
        count, before = convolution(1, features[0]), features[0]
    for width, depth in zip(features, blocks, strict=True):
        for block in range(depth):
            inputs = before if block == 0 else width
            count += convolution(inputs, width)
            if not plain:
                count += convolution(width, width)
                count += inputs * width + 2 * width if inputs != width else 0
        before = width
    for stage, convolutions in enumerate(reversed(arguments["n_conv_per_stage_decoder"])):
        below, width = features[stage + 1], features[stage]
        count += below * width * prod(strides[stage + 1]) + width
        count += convolution(2 * width, width) + (convolutions - 1) * convolution(width, width)
        count += 2 * width + 2  # two classes
    return count


@st.composite
def shapes(draw: st.DrawFn, stages: int) -> StudentShape:
    kept = draw(st.one_of(st.none(), st.integers(3, stages)))
    one_for_all = st.lists(st.integers(1, 3), min_size=1, max_size=1)
    per_stage = st.lists(st.integers(1, 3), min_size=kept or stages, max_size=kept or stages)
    return StudentShape(
        reduction=draw(st.sampled_from([1, 2, 4])),
        stages=kept,
        blocks=draw(st.one_of(st.none(), one_for_all, per_stage)),
        architecture=draw(st.sampled_from(["teacher", "plain"])),
    )


@settings(max_examples=10)
@given(data=st.data(), strides=STRIDES, network=st.sampled_from(["PlainConvUNet", "ResidualEncoderUNet"]))
def test_a_student_of_any_shape_is_built_by_nnunet_and_shares_the_stages_of_equal_resolution(data, strides, network):
    teacher_plans = taught(strides, network=network)
    shape = data.draw(shapes(len(strides) + 1))
    student_plans = shape.derived_plans(teacher_plans, NAME, name="student")
    student, teacher = (build_network(each, NAME, dataset()) for each in (student_plans, teacher_plans))
    plain = "plain" in (shape.architecture, network.removesuffix("ConvUNet").lower())
    assert type(student) is (PlainConvUNet if plain else ResidualEncoderUNet)
    assert sum(p.numel() for p in student.parameters()) == parameters_by_hand(student_plans, plain=plain)
    pairs = stage_pairs(stage_factors(student_plans, NAME), stage_factors(teacher_plans, NAME))
    assert [ours for ours, _ in pairs] == list(range(shape.stages or len(strides) + 1))
    with torch.no_grad():
        ours, theirs = (network.encoder(torch.rand(1, 1, SIDE, SIDE, SIDE)) for network in (student, teacher))
    assert [ours[s].shape[2:] for s, _ in pairs] == [theirs[t].shape[2:] for _, t in pairs]
    assert [feature.shape[1] for feature in ours] == features_per_stage(student_plans, NAME)


@given(ours=STRIDES, theirs=STRIDES)
def test_stages_of_equal_resolution_are_paired_in_order_wherever_they_are(ours, theirs):
    student, teacher = (stage_factors(taught(strides), NAME) for strides in (ours, theirs))
    pairs = stage_pairs(student, teacher)
    assert pairs[0] == (0, 0)
    assert all(student[s] == teacher[t] for s, t in pairs)
    for side in zip(*pairs, strict=True):
        assert list(side) == sorted(set(side))
    assert {student[s] for s, _ in pairs} == set(student) & set(teacher)


def test_nothing_but_the_network_differs_from_the_teachers_plans():
    teacher = taught([(2, 2, 2)] * 3)
    before = deepcopy(teacher)
    student = StudentShape(stages=3, blocks=[1], architecture="plain").derived_plans(teacher, NAME, name="student")
    assert teacher == before
    kept, whole = student["configurations"][NAME], teacher["configurations"][NAME]
    assert {key for key in whole if kept[key] != whole[key]} == {"architecture"}
    ours, theirs = (each["architecture"]["arch_kwargs"] for each in (kept, whole))
    for key in ("conv_op", "norm_op", "norm_op_kwargs", "nonlin", "nonlin_kwargs", "conv_bias", "dropout_op"):
        assert ours[key] == theirs[key]


@pytest.mark.parametrize(
    ("channels", "labels", "last", "parameters"),
    [(4, 5, [2, 2, 1], 1_928_169), (3, 2, [2, 2, 2], 1_952_938)],  # see `test_complexity.py`
)
def test_plain_quarter_of_the_papers_teacher_is_what_the_default_planner_would_have_planned(
    channels, labels, last, parameters
):
    described = configuration(
        features=(32, 64, 128, 256, 320, 320),
        strides=[[1, 1, 1], *[[2, 2, 2]] * 4, last],
        patch=(128, 160, 112) if channels == 4 else (128, 128, 128),
        channels=channels,
        network="ResidualEncoderUNet",
    )
    described["architecture"]["arch_kwargs"]["n_blocks_per_stage"] = [1, 3, 4, 6, 6, 6]
    student = StudentShape(architecture="plain").derived_plans(plans({NAME: described}), NAME, name="student")
    with torch.device("meta"):
        network = build_network(
            student, NAME, dataset(channels, {"background": 0, **{f"L{label}": label for label in range(1, labels)}})
        )
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_plain_architecture_is_written_as_the_default_planner_writes_it(world, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # a training in this process has set 0, which the planner cannot use
    use_workspace(world.workspace)
    planned = ExperimentPlanner(world.dataset.name, suppress_transpose=True).plan_experiment()
    stock = planned["configurations"][NAME]["architecture"]
    teacher = read_json(world.preprocessed / "nnUNetResEncUNetPlans.json")
    student = StudentShape(1, architecture="plain").derived_plans(teacher, NAME, name="student")
    ours = student["configurations"][NAME]["architecture"]
    assert ours["network_class_name"] == stock["network_class_name"]
    assert ours["arch_kwargs"].keys() == stock["arch_kwargs"].keys()
    for key in ("n_conv_per_stage", "n_conv_per_stage_decoder"):
        assert set(ours["arch_kwargs"][key]) == set(stock["arch_kwargs"][key])


def test_a_plain_teacher_keeps_its_convolutions():
    teacher = taught([(2, 2, 2)] * 2, network="PlainConvUNet", blocks=3)
    student = StudentShape(1, architecture="plain").derived_plans(teacher, NAME, name="student")
    assert student["configurations"] == teacher["configurations"]


@pytest.mark.parametrize("method", ["feature", "at", "ifvd", "cirkd"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_methods_compare_the_stages_that_both_have(kind, method):
    """The student lacks the teacher's second stage and its last one."""
    teacher = network_of(configuration(features=(4, 6, 8, 8), network=kind)).eval()
    student = network_of(configuration(features=(2, 3, 4), strides=[[1] * 3, [4] * 3, [1] * 3]))
    pairs = stage_pairs([(1,) * 3, (4,) * 3, (4,) * 3], [(1,) * 3, (2,) * 3, (4,) * 3, (8,) * 3])
    assert pairs == [(0, 0), (1, 2)]
    ours, theirs = paired_taps(nnunet_taps(student), nnunet_taps(teacher), pairs)
    assert theirs.decoder == ("decoder.stages.2", "decoder.stages.0")
    channels = {"student_channels": [2, 3], "teacher_channels": [4, 8]}
    distiller = Distiller(student, teacher, build_method(method, **channels), student_taps=ours, teacher_taps=theirs)
    image, target = torch.rand(1, 1, 16, 16, 16), torch.randint(2, (1, 1, 16, 16, 16))
    output, loss = distiller(image, target)
    assert output.shape == (1, 2, 16, 16, 16)
    loss.backward()
    assert student.encoder.stages[0][0].convs[0].conv.weight.grad.abs().sum() > 0
    if method == "feature":
        with torch.no_grad():
            features = [network.encoder(image) for network in (student, teacher)]
            phi = distiller.method.phi
            by_hand = (phi[0](features[0][0]) - features[1][0]).square().mean()
            by_hand += (phi[1](features[0][1]) - features[1][2]).square().mean()
        torch.testing.assert_close(loss.detach(), by_hand)


def test_names_tell_shapes_apart():
    shapes = [
        StudentShape(),
        StudentShape(2),
        StudentShape(stages=4),
        StudentShape(blocks=[1]),
        StudentShape(blocks=[1, 1, 1]),
        StudentShape(stages=3, blocks=[1], architecture="plain"),
        StudentShape(architecture="plain"),
        StudentShape(features=[8, 16, 32]),
        StudentShape(features=[8, 16, 32], architecture="plain"),
    ]
    names = [shape.name for shape in shapes]
    assert len(set(names)) == len(names)
    assert names[0] == "r4"  # as in version 0.1
    assert names[5] == "r4_stages3_blocks1_plain"


@pytest.mark.parametrize(
    ("shape", "options", "sentence"),
    [
        ({"stages": 2}, "stages", "a student of 2 stages is not possible: the teacher has 4, and .* at least 3"),
        ({"stages": 5}, "stages", "a student of 5 stages is not possible: the teacher has 4"),
        ({"stages": 3, "features": [2, 2, 2, 2]}, ("features", "stages"), "those of 4 stages, .* is to have 3"),
        ({"features": [2] * 5}, "features", "the student has 5 stages and the teacher 4"),
        ({"features": [2] * 4, "reduction": 2}, ("features", "reduction"), "2 2 2 2 and as a reduction of 2; leave"),
        ({"blocks": [1, 2]}, "blocks", "the blocks 1 2 do not fit a student of 4 stages"),
        ({"blocks": [1] * 4, "stages": 3}, "blocks", "the blocks 1 1 1 1 do not fit a student of 3 stages"),
        ({"blocks": [1, 0, 1, 1]}, "blocks", "give a positive number"),
        ({"blocks": [0]}, "blocks", "give a positive number"),
        ({"architecture": "plane"}, "architecture", "Did you mean 'plain'.* Known: plain, teacher"),
    ],
)
def test_a_shape_that_is_not_possible_is_a_sentence(shape, options, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        StudentShape(**shape).derived_plans(taught([(2, 2, 2)] * 3), NAME, name="student")
    assert refused.value.option == options
    assert ("architecture" in shape) == isinstance(refused.value, UnknownName)


def test_a_network_of_the_users_own_that_has_no_blocks_is_named():
    teacher = taught([(2, 2, 2)] * 3)
    del teacher["configurations"][NAME]["architecture"]["arch_kwargs"]["n_blocks_per_stage"]
    with pytest.raises(UserError, match="neither n_blocks_per_stage nor n_conv_per_stage"):
        StudentShape(blocks=[1]).derived_plans(teacher, NAME, name="student")
    StudentShape(blocks=[1], architecture="plain").derived_plans(teacher, NAME, name="student")


def test_setup_of_an_older_version_compares_all_stages(world):
    stored = read_json(world.preprocessed / "student.json")
    older = deepcopy(stored)
    older["nndistill"]["distillation"].pop("stages", None)
    setup = RunSetup.of(older)
    assert setup.distillation is not None
    assert setup.distillation.stages == [(0, 0), (1, 1), (2, 2)]
    newer = setup.into(older)
    assert newer["nndistill"]["distillation"]["stages"] == [[0, 0], [1, 1], [2, 2]]
    assert differences(older, newer, fold="0", begun=True) == []


@pytest.fixture
def deep(world) -> Path:
    return write_deep_teacher(world)


SHAPE = ("--stages", 3, "--blocks", 1, 1, 2, "--architecture", "plain", "--reduction", 2)


def test_a_student_of_another_shape_is_distilled_through_the_command_line(nndistill, world, deep):
    result = nndistill(
        *("distill", deep, "--workspace", world.workspace, *TINY, "--epochs", 1, "--no-validate"),
        *("--method", "dcd+ifvd+logits", *SHAPE),
    )
    assert result.status == 0, result.err
    (folder,) = world.results.glob("nnUNetTrainerDistill__deep_dcd+ifvd+logits_r2_stages3_blocks1-1-2_plain_*")
    student = ModelFolder.read(folder)
    setup = RunSetup.of(student.plans).distillation
    assert setup is not None
    assert (setup.student_channels, setup.teacher.channels) == ([8, 8, 8], FEATURES)
    assert setup.stages == [(0, 0), (1, 1), (2, 2)]
    network = student.network(student.checkpoint_file("0"))
    assert isinstance(network, PlainConvUNet)
    assert [len(stage[0].convs) for stage in network.encoder.stages] == [1, 1, 2]
    assert read_history(folder, "0").facts["Network"] == "PlainConvUNet, blocks 1, 1, 2"
    checkpoint = read_checkpoint(student.checkpoint_file("0"))
    assert all(loss > 0 for loss in checkpoint["logging"]["distillation_losses"])
    phis = {key: tuple(value.shape[:2]) for key, value in checkpoint["nndistill"]["method"].items() if "weight" in key}
    assert sorted(phis.values()) == [(8, 8), (16, 8), (16, 8)]


@pytest.mark.slow
def test_stock_nnunet_predicts_with_a_student_of_another_shape(
    nndistill, world, deep, python_without_nndistill, environment, tmp_path
):
    result = nndistill(
        *("distill", deep, "--workspace", world.workspace, *TINY, "--epochs", 1, "--name", "other", *SHAPE)
    )
    assert result.status == 0, result.err
    student = world.results / "nnUNetTrainerDistill__other__3d_fullres"
    assert (student / "fold_0" / "validation" / "summary.json").is_file()
    model = ModelFolder.read(student)
    checkpoint = read_checkpoint(model.checkpoint_file("0"))
    phi = trained_phi(model, checkpoint, ModelFolder.read(deep), FEATURES, fold="0")
    assert phi is not None
    assert [tuple(convolution.weight.shape[:2]) for convolution in phi] == [(8, 8), (16, 8), (16, 8)]
    images = world.dataset / "imagesTs"
    (ours,) = predict_folder(student, images, tmp_path / "ours", fold="0", device="cpu")
    entry = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as predict"
    subprocess.run(
        [python_without_nndistill, "-c", f"{entry}\nif __name__ == '__main__': predict()", "-i", images]
        + ["-o", tmp_path / "stock", "-m", student, "-f", "0", "-device", "cpu", "-npp", "1", "-nps", "1"],
        check=True,
        env={key: value for key, value in environment.items() if key not in {"nnUNet_extTrainer", "PYTHONPATH"}},
        capture_output=True,
    )
    maps = [np.asarray(nib.load(file).dataobj) for file in (ours, tmp_path / "stock" / ours.name)]
    np.testing.assert_array_equal(*maps)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--stages", 2], "a student of 2 stages is not possible: the teacher has 4"),
        (["--blocks", 1, 2], "the blocks 1 2 do not fit a student of 4 stages"),
        (["--architecture", "plane"], "--architecture"),
        (["--init", "teacher", "--stages", 3], "a student of 3 stages cannot start from a teacher of 4"),
        (["--init", "teacher", "--blocks", 1], "they differ at encoder.stages.1.blocks.1"),
        (["--init", "teacher", "--architecture", "plain"], "it is a PlainConvUNet and the teacher a Residual"),
        (["--reduction", 2, 4], "unexpected extra argument"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(nndistill, world, deep, arguments, sentence):
    before = set(world.preprocessed.iterdir())
    result = nndistill("distill", deep, "--workspace", world.workspace, *TINY, *arguments)
    assert result.status == 2
    assert sentence in result.err
    assert set(world.preprocessed.iterdir()) == before


def test_an_unknown_architecture_is_answered_with_the_known_ones(world, deep):
    use_workspace(world.workspace)
    with pytest.raises(UnknownName, match="Did you mean 'plain'"):
        prepare_student(deep, fold="0", recipe="quick", architecture="plane")


def test_costs_of_candidates_are_those_of_each(nndistill, tmp_path):
    teacher = taught([(2, 2, 2)] * 3, blocks=1)
    (tmp_path / "plans.json").write_text(json.dumps(teacher))
    (tmp_path / "dataset.json").write_text(json.dumps(dataset()))
    asked = ("complexity", tmp_path / "plans.json", "--stages", 3, "--architecture", "plain", "--reduction")
    rows = json.loads(nndistill(*asked, 1, 2, "--json").out)
    shapes = [StudentShape(reduction, stages=3, architecture="plain") for reduction in (1, 2)]
    assert list(rows) == ["network", "r1_stages3_plain", "r2_stages3_plain"]
    for shape in shapes:
        student, row = shape.derived_plans(teacher, NAME, name="student"), rows[shape.name]
        assert row["parameters"] == parameters_by_hand(student, plain=True)
        for what, column in (("parameters", "parameters"), ("flops", "flops_patch")):
            assert row[f"{what}_ratio"] == pytest.approx(rows["network"][column] / row[column])
    table = nndistill(*asked, 1, 2).out.splitlines()
    assert all(any(shape.name in line for line in table) for shape in shapes)
    alone = json.loads(nndistill(*asked, 2, "--json").out)
    assert alone["student"] == rows[shapes[1].name]
    refused = nndistill(*asked[:2], "--architecture", "plane")
    assert (refused.status, "Did you mean 'plain'" in refused.err, "--architecture" in refused.err) == (2, True, True)
