"""The distiller: what it runs, what it trains, what it leaves alone."""

from __future__ import annotations

import pickle
from copy import deepcopy

import pytest
import torch
from torch import nn

from networks import residual_unet
from nndistill import Distiller, DistillerOutput
from nndistill.errors import StageMismatch, UnknownName, UserError
from nndistill.methods import Activations, Feature, Logits, Method, NoDistillation, build_method
from nndistill.taps import TappedNetwork, Taps

TEACHER, STUDENT = (8, 16, 32), (4, 4, 8)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 1, 16, 24, 16)


def _distiller(name: str = "feature") -> Distiller:
    method = build_method(name, student_channels=STUDENT, teacher_channels=TEACHER)
    return Distiller(residual_unet(STUDENT), residual_unet(TEACHER), method)


def test_output_is_the_students_own(x):
    distiller = _distiller()
    output, loss = distiller(x)
    assert torch.equal(output, distiller.student(x))
    assert loss.shape == ()


def test_output_and_loss_have_names(x):
    returned = _distiller()(x)
    assert isinstance(returned, DistillerOutput)
    assert returned.output is returned[0]
    assert returned.loss is returned[1]


def test_loss_equals_the_method_on_features_computed_by_hand(x):
    student, teacher = residual_unet(STUDENT), residual_unet(TEACHER).eval()
    method = build_method("feature", student_channels=STUDENT, teacher_channels=TEACHER)
    expected = method(Activations(encoder=student.encoder(x)), Activations(encoder=teacher.encoder(x)))
    torch.testing.assert_close(Distiller(student, teacher, method)(x)[1], expected)


@pytest.mark.parametrize("name", ["feature", "dcd"])
def test_gradient_reaches_student_and_phi_and_not_the_teacher(x, name):
    student, teacher = residual_unet(STUDENT), residual_unet(TEACHER)
    distiller = Distiller(student, teacher, build_method(name, student_channels=STUDENT, teacher_channels=TEACHER))
    distiller(x)[1].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in student.encoder.parameters() if p.ndim > 1)
    assert all(phi.weight.grad.abs().sum() > 0 for phi in distiller.method.phi)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_teacher_is_no_part_of_parameters_or_state():
    distiller = _distiller()
    ours = sum(p.numel() for p in distiller.student.parameters()) + sum(
        p.numel() for p in distiller.method.parameters()
    )
    assert sum(p.numel() for p in distiller.parameters()) == ours
    assert all(key.startswith(("student.", "method.")) for key in distiller.state_dict())


def test_teacher_stays_in_eval_mode_and_moves_with_the_distiller(x):
    teacher = residual_unet(TEACHER)
    distiller = Distiller(
        residual_unet(STUDENT), teacher, build_method("feature", student_channels=STUDENT, teacher_channels=TEACHER)
    )
    distiller.train()
    assert not any(module.training for module in teacher.modules())
    distiller.double()
    assert all(p.dtype == torch.float64 for p in teacher.parameters())
    assert distiller(x.double())[1].dtype == torch.float64


def test_teacher_is_back_in_eval_mode_whatever_its_owner_does(x):
    """A module that holds both, and is put into training mode as a whole."""
    teacher = nn.Sequential(nn.Conv3d(1, 4, 1), nn.BatchNorm3d(4))
    owner = nn.ModuleDict(
        {"teacher": teacher, "distiller": Distiller(_plain(2), teacher, _LearnsFirst(), teacher_taps=["1"])}
    )
    owner.train()
    owner["distiller"].prepare([(x, None)], lambda output, target: output.sum())
    owner.train()
    owner["distiller"](x)
    assert not any(module.training for module in teacher.modules())
    assert not teacher[1].running_mean.any()


class _LearnsFirst(Method):
    needs, prepared = frozenset({"logits"}), False

    def forward(self, student, teacher, target=None):
        return teacher.logits.sum()

    def prepare(self, task):
        for x, _ in task.batches:
            task.run_teacher(x, [])


class _Needs(Method):
    def __init__(self, *needs: str) -> None:
        super().__init__()
        self.needs = frozenset(needs)
        self.seen: Activations | None = None

    def forward(self, student, teacher, target=None):
        self.seen = teacher
        return torch.zeros(())


@pytest.mark.parametrize(
    ("needs", "encoder", "decoder"), [((), 0, 0), (("encoder",), 1, 0), (("decoder",), 1, 1), (("logits",), 1, 1)]
)
def test_teacher_runs_only_as_far_as_the_method_needs(x, needs, encoder, decoder):
    teacher = residual_unet(TEACHER)
    distiller = Distiller(residual_unet(STUDENT), teacher, _Needs(*needs))
    distiller(x)  # learns which tap is the last
    calls = {"encoder": 0, "decoder": 0}
    for part, module in (("encoder", teacher.encoder.stages[-1]), ("decoder", teacher.decoder.stages[-1])):
        module.register_forward_pre_hook(lambda *_, part=part: calls.__setitem__(part, calls[part] + 1))
    distiller(x)
    assert calls == {"encoder": encoder, "decoder": decoder}


@pytest.mark.parametrize(
    ("name", "options", "encoder", "decoder", "classifier"),
    [
        ("none", {}, 0, 0, 0),
        *((name, {}, 1, 0, 0) for name in ("dcd", "dcd-release", "feature", "freekd", "reco-kd", "at", "dcd+at")),
        *((name, {"match": "encoder"}, 1, 0, 0) for name in ("cwd", "cirkd")),
        *((name, {}, 1, 1, 0) for name in ("ifvd", "cirkd", "dcd+ifvd")),
        *((name, {}, 1, 1, 1) for name in ("logits", "cwd", "dist", "emkd", "dcd+logits", "ifvd+logits")),
    ],
)
@pytest.mark.parametrize("deep_supervision", [False, True])
def test_each_method_runs_its_part_of_the_teacher(name, options, encoder, decoder, classifier, deep_supervision):
    """With deep supervision, the classifiers of the coarse stages run before the finest stage, the last after it."""
    student, teacher = residual_unet(STUDENT), residual_unet(TEACHER)
    student.decoder.deep_supervision = teacher.decoder.deep_supervision = deep_supervision
    method = build_method(name, student_channels=STUDENT, teacher_channels=TEACHER, **options)
    distiller = Distiller(student, teacher, method)
    x, target = torch.randn(1, 1, 8, 8, 8), torch.randint(0, 2, (1, 1, 8, 8, 8))
    distiller(x, target)  # learns which tap is the last
    calls = {"encoder": 0, "decoder": 0, "classifier": 0}
    parts = {
        "encoder": teacher.encoder.stages[-1],
        "decoder": teacher.decoder.stages[-1],
        "classifier": teacher.decoder.seg_layers[-1],
    }
    for part, module in parts.items():
        module.register_forward_pre_hook(lambda *_, part=part: calls.__setitem__(part, calls[part] + 1))
    output, loss = distiller(x, target)
    assert calls == {"encoder": encoder, "decoder": decoder, "classifier": classifier}
    assert isinstance(output, list) == deep_supervision
    assert loss.isfinite()


def test_no_distillation_is_a_zero_on_the_device_of_the_networks():
    """A zero elsewhere cannot be stacked with the loss of the task."""
    distiller = Distiller(residual_unet(STUDENT), None, NoDistillation())
    output, loss = distiller.to("meta")(torch.empty(1, 1, 16, 16, 16, device="meta"))
    assert torch.stack([output.mean(), loss]).device.type == "meta"


def test_activations_run_from_fine_to_coarse(x):
    method = _Needs("encoder", "decoder", "logits")
    Distiller(residual_unet(STUDENT), residual_unet(TEACHER), method)(x)
    assert [f.shape[1] for f in method.seen.encoder] == list(TEACHER)
    assert [f.shape[2] for f in method.seen.decoder] == [16, 8]
    assert method.seen.logits.shape == (2, 2, 16, 24, 16)


def test_deep_supervision_gives_the_finest_logits(x):
    method = _Needs("logits")
    teacher = residual_unet(TEACHER)
    teacher.decoder.deep_supervision = True
    Distiller(residual_unet(STUDENT), teacher, method)(x)
    assert method.seen.logits.shape == (2, 2, 16, 24, 16)


def test_features_are_not_kept_after_the_step(x):
    distiller = _distiller()
    distiller(x)
    assert not distiller._student._heard.outputs
    assert not distiller._teachers[0]._heard.outputs


def _plain(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, width, 3, padding=1), nn.ReLU(), nn.Conv3d(width, 2, 3, padding=1))


def test_any_network_can_be_tapped_by_module_paths(x):
    method = Feature([4], [8])
    distiller = Distiller(_plain(4), _plain(8), method, student_taps=["1"], teacher_taps=Taps(encoder=("1",)))
    assert distiller(x)[1] > 0


def test_method_that_reads_logits_alone_needs_no_taps(x):
    assert Distiller(_plain(4), _plain(8), Logits())(x).loss > 0


def _with_inplace_activation() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv3d(4, 2, 1))


@pytest.mark.parametrize("run", [TappedNetwork.__call__, TappedNetwork.run_for_taps])
def test_tap_whose_output_is_changed_in_place_is_a_sentence(x, run):
    """A run that ends in the tap would give the feature before the change, a whole one the feature after it."""
    with pytest.raises(
        UserError, match=r"Sequential changes the output of 0 in place .* tap the module that changes it"
    ):
        run(TappedNetwork(_with_inplace_activation(), Taps(encoder=("0",))), x)
    run(TappedNetwork(_with_inplace_activation(), Taps(encoder=("1",))), x)


def test_features_are_read_in_inference_mode_too(x):
    network = _with_inplace_activation()
    with torch.inference_mode():
        (feature,) = TappedNetwork(network, Taps(encoder=("1",)))(x)[1].encoder
        assert torch.equal(feature, network[1](network[0](x)))


def test_tap_that_a_network_runs_twice_is_a_sentence(x):
    network = _plain(4)
    network.forward = lambda y: network[2](network[1](network[1](network[0](y))))
    with pytest.raises(UserError, match=r"1 \(ReLU\) runs more than once"):
        TappedNetwork(network, Taps(encoder=("1",))).run_for_taps(x)


def test_tap_on_a_module_that_returns_a_list_is_a_sentence(x):
    with pytest.raises(UserError, match="ResidualEncoderUNet gives a list at encoder, not a tensor"):
        Distiller(residual_unet(STUDENT), residual_unet(TEACHER), Feature([4], [8]), student_taps=["encoder"])(x)


@pytest.mark.parametrize("copied", [deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_read_their_own_features(x, copied):
    distiller = Distiller(_plain(4), _plain(8), Feature([4], [8]), student_taps=["1"], teacher_taps=["1"])
    expected = distiller(x).loss
    copy = copied(distiller)
    distiller.student = distiller._teachers = None
    torch.testing.assert_close(copy(x).loss, expected)


def test_tapped_student_alone_is_pickled(x):
    student = _plain(4)
    Distiller(student, _plain(8), Feature([4], [8]), student_taps=["1"], teacher_taps=["1"])
    assert torch.equal(pickle.loads(pickle.dumps(student))(x), student(x))


def test_network_is_run_whole_also_after_runs_that_end_in_the_last_tap(x):
    network = _plain(4)
    tapped = TappedNetwork(network, Taps(encoder=("1",)))
    for _ in range(2):
        tapped.run_for_taps(x)
    assert torch.equal(tapped(x)[0], network(x))


@pytest.mark.parametrize("shape", [(2, 16, 24, 16), (1, 1, 16, 24, 16)])
def test_target_that_does_not_fit_the_input_is_a_sentence(x, shape):
    with pytest.raises(UserError, match=r"channel axis, target\[:, None\]"):
        _distiller()(x, torch.zeros(shape))


def test_targets_of_deep_supervision_are_a_sentence(x):
    with pytest.raises(UserError, match=r"the target is a list instead of a tensor: .* target\[0\]"):
        _distiller()(x, [torch.zeros(2, 1, 16, 24, 16)])


def test_no_distillation_needs_no_teacher(x):
    output, loss = Distiller(residual_unet(STUDENT), None, NoDistillation())(x)
    assert loss == 0
    assert output.shape == (2, 2, 16, 24, 16)


def test_tap_that_a_network_never_runs_is_a_sentence(x):
    student, teacher = (nn.Sequential(nn.Conv3d(1, 2, 1), nn.Identity()) for _ in range(2))
    student.aside = nn.Identity()
    student.forward = lambda y: student[1](student[0](y))
    distiller = Distiller(student, teacher, Feature([2], [2]), student_taps=["aside"], teacher_taps=["1"])
    with pytest.raises(UserError, match="Sequential gave nothing at aside: this forward pass did not run it"):
        distiller(x)


@pytest.mark.parametrize("late", ["student", "teacher"])
def test_network_that_was_compiled_and_run_before_it_is_tapped_is_a_sentence(x, late):
    networks = {name: nn.Sequential(nn.Conv3d(1, 2, 1), nn.Identity()) for name in ("student", "teacher")}
    networks["teacher"].eval().requires_grad_(False)  # as the distiller does, which would be a reason to compile anew
    networks[late] = torch.compile(networks[late], backend="eager")
    with torch.no_grad():
        networks[late](x)
        distiller = Distiller(**networks, method=Feature([2], [2]), student_taps=["0"], teacher_taps=["0"])
        with pytest.raises(UserError, match=r"Sequential gave nothing at 0: .*Make the Distiller before"):
            distiller(x)


@pytest.mark.slow
def test_compiled_student_gives_the_same_loss(x):
    student, teacher = residual_unet(STUDENT), residual_unet(TEACHER)
    method = build_method("feature", student_channels=STUDENT, teacher_channels=TEACHER)
    expected = Distiller(student, teacher, method)(x)[1]
    compiled = Distiller(torch.compile(student, backend="aot_eager"), teacher, method)
    for _ in range(2):
        torch.testing.assert_close(compiled(x)[1], expected)


def test_compiled_distiller_gives_the_same_under_the_same_names(x):
    distiller = Distiller(_plain(4), _plain(8), Feature([4], [8]), student_taps=["1"], teacher_taps=["1"])
    expected = distiller(x)
    compiled = torch.compile(distiller, backend="aot_eager")
    for _ in range(2):
        returned = compiled(x)
        torch.testing.assert_close(returned.output, expected.output)
        torch.testing.assert_close(returned.loss, expected.loss)


def test_unknown_module_path_names_the_nearest():
    with pytest.raises(UnknownName, match=r"encoder\.stages\.1"):
        Distiller(residual_unet(STUDENT), residual_unet(TEACHER), Feature([4], [8]), student_taps=["encoder.stage.1"])


def test_network_without_nnunet_stages_asks_for_taps():
    with pytest.raises(UserError, match="student_taps"):
        Distiller(nn.Conv3d(1, 1, 1), residual_unet(TEACHER), Feature([4], [8]))


def test_method_that_needs_a_teacher_refuses_none():
    with pytest.raises(ValueError, match="teacher"):
        Distiller(residual_unet(STUDENT), None, Feature(STUDENT, TEACHER))


def test_features_of_unequal_size_name_the_stage(x):
    student = residual_unet(STUDENT, strides=[1, 2, 1])
    distiller = Distiller(student, residual_unet(TEACHER), Feature(STUDENT, TEACHER))
    with pytest.raises(StageMismatch, match=r"stage 2: student .*8, 12, 8.* teacher .*4, 6, 4"):
        distiller(x)


@pytest.mark.parametrize(
    ("student", "teacher", "mistake"),
    [([3], [8], "3 and 8 channels, .* have 4 and 8"), ([4], [9], "4 and 9 channels, .* have 4 and 8")],
)
@pytest.mark.parametrize("name", ["feature", "dcd", "dcd-release", "freekd", "cwd"])
def test_channels_other_than_those_of_the_features_name_the_stage(x, name, student, teacher, mistake):
    options = {"match": "encoder"} if name == "cwd" else {}
    method = build_method(name, student_channels=student, teacher_channels=teacher, **options)
    distiller = Distiller(_plain(4), _plain(8), method, student_taps=["1"], teacher_taps=["1"])
    with pytest.raises(StageMismatch, match=f"stage 0: .*{mistake}"):
        distiller(x)


@pytest.mark.parametrize("ndim", [2, 3])
def test_networks_of_another_number_of_dimensions_name_the_stage(ndim):
    features = [Activations([torch.rand(1, channels, *[8] * (5 - ndim))]) for channels in (4, 8)]
    with pytest.raises(StageMismatch, match=rf"stage 0: .*{ndim} dimensions.* have {5 - ndim}"):
        build_method("dcd", student_channels=[4], teacher_channels=[8], ndim=ndim)(*features)
