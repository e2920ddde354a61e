"""A student that starts from its teacher's most important channels."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.residual import BottleneckD
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import nn

from nndistill import load_recipe, prepare_student, train
from nndistill.errors import UnknownName, UserError
from nndistill.files import read_json, write_json
from nndistill.nnunet.models.checkpoints import read_checkpoint
from nndistill.nnunet.models.model_folder import ModelFolder
from nndistill.nnunet.training import distillation_trainer
from nndistill.nnunet.training.initialization import initialize_from_teacher
from nndistill.nnunet.workspace import use_workspace
from nndistill.recipes import recipe_text
from tiny import TINY

WIDTHS = [6, 10, 16, 16]
"""The last two stages have equal channels, so that the residual connection between them has no projection."""


def network(kind: str, features: list[int], **changes: object) -> nn.Module:
    """An untrained nnU-Net in which no two values are equal."""
    depth = {"n_conv_per_stage": 2} if kind == "plain" else {"n_blocks_per_stage": [1, 2, 1, 2][: len(features)]}
    if kind == "bottleneck":
        depth |= {"block": BottleneckD, "bottleneck_channels": [max(2, width // 2) for width in features]}
    arguments = {
        "input_channels": 2,
        "n_stages": len(features),
        "features_per_stage": features,
        "conv_op": nn.Conv3d,
        "kernel_sizes": 3,
        "strides": [1, 2, 2, 1][: len(features)],
        "num_classes": 3,
        "n_conv_per_stage_decoder": 2,
        "conv_bias": True,
        "norm_op": nn.InstanceNorm3d,
        "norm_op_kwargs": {"affine": True},
        "nonlin": nn.LeakyReLU,
        "deep_supervision": True,
    }
    made = (PlainConvUNet if kind == "plain" else ResidualEncoderUNet)(**{**arguments, **depth, **changes})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made.eval()


def outputs(of: nn.Module) -> list[torch.Tensor]:
    x = torch.randn(2, 2, 8, 12, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return of.double()(x.double())


@pytest.mark.parametrize("kind", ["residual", "bottleneck", "plain"])
def test_a_student_of_the_teachers_size_is_the_teacher_bit_for_bit(kind):
    teacher, student = network(kind, WIDTHS), network(kind, WIDTHS)
    initialize_from_teacher(student, teacher)
    for name, value in teacher.state_dict().items():
        assert torch.equal(student.state_dict()[name], value), name
    assert all(torch.equal(a, b) for a, b in zip(outputs(student), outputs(teacher), strict=True))


@pytest.mark.parametrize("kind", ["residual", "bottleneck", "plain"])
@pytest.mark.parametrize("features", [[3, 5, 8, 8], [6, 5, 8, 8], [2, 3, 4, 4]])
def test_a_teacher_whose_other_channels_are_silent_computes_what_the_student_computes(kind, features):
    teacher, student = network(kind, WIDTHS), network(kind, features)
    initialize_from_teacher(student, teacher)
    silenced = deepcopy(teacher)
    small = dict(student.named_modules())
    with torch.no_grad():
        for path, layer in silenced.named_modules():
            if isinstance(layer, ConvDropoutNormReLU):
                kept = torch.isin(layer.norm.bias, small[path].norm.bias)
                values = [layer.conv.weight, layer.norm.weight, layer.norm.bias]
                values += [] if layer.conv.bias is None else [layer.conv.bias]
            elif isinstance(layer, nn.ConvTranspose3d):
                kept = torch.isin(layer.bias, small[path].bias)
                values = [layer.weight.transpose(0, 1), layer.bias]
            else:
                continue
            for value in values:
                value[~kept] = 0
    for ours, theirs in zip(outputs(student), outputs(silenced), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["residual", "bottleneck", "plain"])
def test_every_parameter_is_the_teachers(kind):
    teacher, student = network(kind, WIDTHS), network(kind, [3, 5, 8, 8])
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.fill_(float("nan"))
    initialize_from_teacher(student, teacher)
    theirs = dict(teacher.named_parameters())
    for name, value in student.named_parameters():
        assert torch.isin(value, theirs[name]).all(), name


def test_the_filters_with_the_largest_l1_norm_are_kept_in_the_teachers_order():
    teacher, student = network("plain", WIDTHS), network("plain", [3, 5, 8, 8])
    initialize_from_teacher(student, teacher)
    first = teacher.encoder.stages[0][0].convs[0].conv
    norms = np.abs(first.weight.detach().double().numpy()).sum(axis=(1, 2, 3, 4))
    largest = np.sort(np.argsort(-norms)[:3])
    assert torch.equal(student.encoder.stages[0][0].convs[0].conv.weight, first.weight[largest])
    up = teacher.decoder.transpconvs[0]
    norms = np.abs(up.weight.detach().double().numpy()).sum(axis=(0, 2, 3, 4))
    assert torch.equal(student.decoder.transpconvs[0].bias, up.bias[np.sort(np.argsort(-norms)[:8])])


def test_all_that_is_added_in_a_stage_votes_with_its_norms_relative_to_the_mean():
    teacher, student = network("residual", WIDTHS), network("residual", [3, 5, 8, 8])
    initialize_from_teacher(student, teacher)
    votes = np.zeros(10)
    blocks = teacher.encoder.stages[1].blocks
    for layer in (blocks[0].skip[1], blocks[0].conv2, blocks[1].conv2):
        norms = np.abs(layer.conv.weight.detach().double().numpy()).sum(axis=(1, 2, 3, 4))
        votes += norms / norms.mean()
    kept = np.sort(np.argsort(-votes)[:5])
    assert torch.equal(student.encoder.stages[1].blocks[1].conv2.norm.bias, blocks[1].conv2.norm.bias[kept])


def test_stages_that_are_equal_in_the_student_alone_are_the_teachers_too():
    """A student as narrow as allowed has no projection where the teacher has one."""
    teacher, student = network("residual", WIDTHS), network("residual", [6, 6, 6, 6])
    lacking = initialize_from_teacher(student, teacher)
    assert lacking == ["encoder.stages.1.blocks.0.skip.1", "encoder.stages.2.blocks.0.skip.1"]
    theirs = dict(teacher.named_parameters())
    assert all(torch.isin(value, theirs[name]).all() for name, value in student.named_parameters())


def test_a_projection_that_only_the_student_has_keeps_its_random_start():
    teacher, student = network("residual", WIDTHS), network("residual", [3, 5, 8, 4])
    before = deepcopy(student.state_dict())
    initialize_from_teacher(student, teacher)
    changed = {name for name, value in student.named_parameters() if not torch.equal(value, before[name])}
    kept = {name for name, _ in student.named_parameters()} - changed
    assert {name.partition(".skip.")[0] for name in kept} == {"encoder.stages.3.blocks.0"}


def test_nothing_is_random_and_no_random_number_is_drawn():
    teacher, first = network("residual", WIDTHS), network("residual", [3, 5, 8, 8])
    second = network("residual", [3, 5, 8, 8])
    state = torch.get_rng_state()
    for student in (first, second):
        initialize_from_teacher(student, teacher)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(
    ("student", "sentence"),
    [
        (network("plain", [3, 5, 8, 8]), "it is a PlainConvUNet and the teacher a ResidualEncoderUNet"),
        (network("residual", [3, 5, 8]), "a student of 3 stages cannot start from a teacher of 4"),
        (network("residual", [3, 5, 8, 20]), "they differ at encoder.stages.3"),
        (network("residual", [3, 5, 8, 8], kernel_sizes=1), "they differ at encoder.stem.convs.0"),
        (network("residual", [3, 5, 8, 8], input_channels=1), "they differ at encoder.stem.convs.0"),
        (network("residual", [3, 5, 8, 8], num_classes=2), "they differ at decoder.seg_layers.0"),
        (network("residual", [3, 5, 8, 8], n_conv_per_stage_decoder=1), "they differ at decoder.stages.0.convs.1"),
        (nn.Conv3d(1, 1, 1), "it is a Conv3d"),
    ],
)
def test_networks_that_differ_otherwise_are_refused_in_a_sentence(student, sentence):
    with pytest.raises(UserError) as refused:
        initialize_from_teacher(student, network("residual", WIDTHS))
    assert sentence in str(refused.value)
    assert "--init" in refused.value.flags


def test_an_unknown_start_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(UnknownName, match="Known: random, teacher"):
        prepare_student(tmp_path, fold="0", recipe="quick", init="student")


def test_a_recipe_says_what_a_student_starts_from_unless_the_command_does(world, tmp_path):
    use_workspace(world.workspace)
    file = tmp_path / "from-teacher.yaml"
    file.write_text(recipe_text("quick") + "init: teacher\n")
    starts = {}
    for init in (None, "random", "teacher"):
        student = prepare_student(world.teacher, fold="0", recipe=file, init=init, resume=True)
        setup = read_json(student.plans_file)["nndistill"]
        assert setup["recipe"]["init"] == setup["distillation"]["init"]
        starts[init] = (setup["distillation"]["init"], "init-teacher" in student.plans_name)
    assert starts == {None: ("teacher", True), "random": ("random", False), "teacher": ("teacher", True)}


def test_a_run_that_an_older_version_began_continues(world):
    """Recipes had no `init` then."""
    use_workspace(world.workspace)

    def prepared(init: str, *, resume: bool):
        return prepare_student(world.teacher, fold="0", recipe="quick", init=init, name="older", resume=resume)

    begun = prepared("teacher", resume=False)
    plans = read_json(begun.plans_file)
    del plans["nndistill"]["recipe"]["init"]
    write_json(begun.plans_file, plans)

    assert prepared("teacher", resume=True).plans_file == begun.plans_file
    with pytest.raises(UserError, match="init teacher, now random"):
        prepared("random", resume=True)


@pytest.fixture
def recipe(world, monkeypatch):
    """A short training in the tiny workspace that is repeatable: nothing is augmented in other processes."""
    use_workspace(world.workspace)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    return load_recipe("quick").adjusted(epochs=2, iterations=2, validation_iterations=1, save_every=1)


def test_through_the_command_line(nndistill, world):
    result = nndistill(
        *("distill", world.teacher, "--workspace", world.workspace, *TINY, "--epochs", 1, "--no-validate"),
        *("--init", "teacher", "--learning-rate", 1e-12, "--features", 4, 8, 16, "--method", "none"),
    )
    assert result.status == 0, result.err
    (folder,) = world.results.glob("nnUNetTrainerDistill__*_none_f4-8-16_init-teacher_*__3d_fullres")
    student, teacher = ModelFolder.read(folder), ModelFolder.read(world.teacher)
    assert student.plans["nndistill"]["distillation"]["init"] == "teacher"
    trained, source = (model.network(model.checkpoint_file("0")) for model in (student, teacher))
    expected = student.network(student.checkpoint_file("0"))
    initialize_from_teacher(expected, source)
    for ours, theirs in zip(trained.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    log = next((folder / "fold_0").glob("training_log*.txt")).read_text()
    assert "starts from the teacher's most important channels" in log


@pytest.mark.slow
def test_batches_are_the_same_as_without(world, recipe, monkeypatch):
    seen: dict[str, list[float]] = {"random": [], "teacher": []}
    step = distillation_trainer.nnUNetTrainerDistill.train_step
    for init, batches in seen.items():

        def remember(trainer, batch, batches=batches):
            batches.append(float(batch["data"].double().sum()))
            return step(trainer, batch)

        monkeypatch.setattr(distillation_trainer.nnUNetTrainerDistill, "train_step", remember)
        train(prepare_student(world.teacher, fold="0", recipe=recipe, init=init), device="cpu", validate=False)
    assert len(seen["random"]) == 4
    assert seen["random"] == seen["teacher"]


@pytest.mark.slow
def test_a_resumed_run_does_not_start_from_the_teacher_again(world, recipe, monkeypatch):
    starts = []

    def remember(student, teacher):
        starts.append(student)
        return initialize_from_teacher(student, teacher)

    monkeypatch.setattr(distillation_trainer, "initialize_from_teacher", remember)

    def prepared(name: str, *, resume: bool = False):
        return prepare_student(world.teacher, fold="0", recipe=recipe, init="teacher", name=name, resume=resume)

    def stop_in_the_second_epoch(trainer):
        if trainer.current_epoch == 1:
            raise RuntimeError

    whole = prepared("whole")
    train(whole, device="cpu", validate=False)
    with pytest.raises(RuntimeError):
        train(prepared("stopped"), device="cpu", validate=False, on_iteration=stop_in_the_second_epoch)
    assert len(starts) == 2
    resumed = prepared("stopped", resume=True)
    train(resumed, device="cpu", validate=False)
    assert len(starts) == 2
    first, second = (
        read_checkpoint(run.fold_folder / "checkpoint_final.pth")["network_weights"] for run in (whole, resumed)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_more_stages_or_channels_are_refused_before_anything_is_written(nndistill, world):
    arguments = ("distill", world.teacher, "--workspace", world.workspace, *TINY, "--init", "teacher", "--name", "wide")
    result = nndistill(*arguments, "--features", 8, 16, 64)
    assert result.status == 2
    assert "a student cannot start from this teacher" in result.err
    assert "--features" in result.err
    assert not (world.preprocessed / "wide.json").exists()
