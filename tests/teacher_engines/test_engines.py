"""Every teacher engine gives what PyTorch gives, and the student learns the same from it."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from networks import residual_unet
from nndistill import Distiller
from nndistill.errors import UserError
from nndistill.methods import Activations, Feature, build_method
from nndistill.taps import Taps
from nndistill.teacher_engines import ChannelsLastEngine, CompiledEncoderEngine, TeacherEngine, TorchEngine
from nndistill.teacher_engines.agreement import relative_differences
from nndistill.teacher_engines.base import outputs_of
from nndistill.teacher_engines.compiled import returns_its_stages
from nndistill.teacher_engines.openvino import OpenVinoEngine, computes_bfloat16, convert_teacher

TEACHER, STUDENT = (8, 16), (4, 4)
EVERYTHING = frozenset({"encoder", "decoder", "logits"})


@pytest.fixture(autouse=True)
def _no_gradient():
    with torch.no_grad():
        yield


def _teacher(needs: frozenset[str] = EVERYTHING) -> TorchEngine:
    torch.manual_seed(1)
    return TorchEngine.reading(residual_unet(TEACHER).eval(), needs)


def _x(batch: int = 2, *shape: int) -> torch.Tensor:
    return torch.randn(batch, 1, *(shape or (8, 12, 8)))


def _same(engine: TeacherEngine, reference: TorchEngine, x: torch.Tensor) -> bool:
    expected, found = reference(x), engine(x)
    counts = [(len(of.encoder), len(of.decoder), of.logits is None) for of in (expected, found)]
    return counts[0] == counts[1] and max(relative_differences(expected, found)) < 1e-4


@pytest.fixture(scope="module")
def converted() -> tuple[TorchEngine, OpenVinoEngine]:
    teacher = _teacher()
    return teacher, OpenVinoEngine(convert_teacher(teacher, _x()), teacher.tapped.taps)


@pytest.mark.parametrize("shape", [(2, 8, 12, 8), (1, 8, 12, 8), (3, 16, 8, 8)])
def test_openvino_gives_encoder_decoder_and_logits_of_any_batch(converted, shape):
    assert _same(converted[1], converted[0], _x(*shape))


def test_openvino_computes_no_decoder_for_a_method_that_reads_the_encoder(converted):
    teacher = _teacher(frozenset({"encoder"}))
    model = convert_teacher(teacher, _x())
    assert _same(OpenVinoEngine(model, teacher.tapped.taps), teacher, _x())
    kinds = [operation.get_type_name() for operation in model.get_ops()]
    encoder = sum(isinstance(module, nn.Conv3d) for module in teacher.tapped.network.encoder.modules())
    assert kinds.count("Convolution") <= encoder
    assert not any("Backprop" in kind for kind in kinds)
    assert any("Backprop" in operation.get_type_name() for operation in converted[1]._model.get_ops())


def test_converting_leaves_the_log_of_the_process_alone():
    root = logging.getLogger()
    before = root.level, list(root.handlers), list(root.filters)
    convert_teacher(TorchEngine(_plain(8).eval(), Taps(encoder=("1",))), _x())
    assert (root.level, list(root.handlers), list(root.filters)) == before


def test_features_are_not_overwritten_by_the_next_batch(converted):
    first = outputs_of(converted[1](_x()))
    kept = [feature.clone() for feature in first]
    converted[1](_x())
    assert all(torch.equal(feature, copy) for feature, copy in zip(first, kept, strict=True))


def test_openvino_takes_other_precisions_and_layouts_of_the_input(converted):
    x = _x()
    expected = outputs_of(converted[1](x))
    for changed in (x.double(), x.to(memory_format=torch.channels_last_3d), x.transpose(2, 4).clone().transpose(2, 4)):
        assert all(torch.equal(a, b) for a, b in zip(expected, outputs_of(converted[1](changed)), strict=True))


def test_openvino_computes_float32_whatever_autocast_is_on(converted):
    x = _x()
    expected = outputs_of(converted[1](x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = outputs_of(converted[1](x))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_converting_under_autocast_gives_float32():
    teacher = TorchEngine(_plain(8).eval(), Taps(encoder=("1",)))
    x = _x()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        engine = OpenVinoEngine(convert_teacher(teacher, x), teacher.tapped.taps)
    assert _same(engine, teacher, x)


def test_bfloat16_on_a_processor_without_it_is_refused(converted, monkeypatch):
    monkeypatch.setattr("nndistill.teacher_engines.openvino.computes_bfloat16", lambda: False)
    with pytest.raises(UserError, match="bfloat16"):
        OpenVinoEngine(converted[1]._model, Taps(), precision="bfloat16")


@pytest.mark.skipif(not computes_bfloat16(), reason="this processor has no bfloat16")
def test_bfloat16_is_as_far_from_float32_as_bfloat16_is(converted):
    teacher, engine = converted
    reduced = OpenVinoEngine(engine._model, teacher.tapped.taps, precision="bfloat16")
    x = _x()
    assert all(1e-4 < difference < 0.1 for difference in relative_differences(teacher(x), reduced(x)))
    assert {output.dtype for output in outputs_of(reduced(x))} == {torch.bfloat16}
    assert {output.dtype for output in outputs_of(engine(x))} == {torch.float32}


@pytest.mark.parametrize("needs", [{"encoder"}, {"decoder"}, {"logits"}, EVERYTHING])
def test_channels_last_gives_the_same_in_contiguous_tensors_and_leaves_the_teacher_alone(needs):
    teacher = _teacher(frozenset(needs))
    engine = ChannelsLastEngine(teacher)
    x = _x()
    assert _same(engine, teacher, x)
    assert all(feature.is_contiguous() for feature in outputs_of(engine(x)))
    assert all(weight.is_contiguous() for weight in teacher.tapped.network.parameters())


def test_engines_compute_networks_of_two_dimensions_in_their_layout():
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    teacher = TorchEngine(network, Taps(encoder=("1",)), logits=True)
    x = _x(2, 12, 8)
    channels_last = ChannelsLastEngine(teacher)
    layouts: list[bool] = []
    channels_last._engine.tapped.network[2].register_forward_hook(
        lambda module, inputs, output: layouts.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    assert _same(channels_last, teacher, x)
    assert layouts
    assert all(layouts)
    assert all(feature.is_contiguous() for feature in outputs_of(channels_last(x)))
    assert _same(OpenVinoEngine(convert_teacher(teacher, x), teacher.tapped.taps), teacher, x)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_encoder_gives_the_same(backend):
    teacher = _teacher(frozenset({"encoder"}))
    torch._dynamo.reset()
    engine = CompiledEncoderEngine(teacher.tapped.network, backend=backend)
    for x in (_x(), _x()):
        assert _same(engine, teacher, x)


def test_compiled_encoder_is_one_graph():
    """Neither hooks nor an exception break it, although the network has been tapped and run."""
    teacher = _teacher(frozenset({"encoder"}))
    teacher(_x())
    torch._dynamo.reset()
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    CompiledEncoderEngine(teacher.tapped.network, backend=count)(_x())
    assert len(graphs) == 1


def test_only_a_whole_encoder_of_an_nnunet_returns_its_stages():
    network = residual_unet(TEACHER)
    stages = tuple(f"encoder.stages.{i}" for i in range(len(TEACHER)))
    assert returns_its_stages(network, Taps(encoder=stages), logits=False)
    assert not returns_its_stages(network, Taps(encoder=stages), logits=True)
    assert not returns_its_stages(network, Taps(encoder=stages[:1]), logits=False)
    assert not returns_its_stages(network, Taps(encoder=stages, decoder=("decoder.stages.0",)), logits=False)
    assert not returns_its_stages(_plain(8), Taps(encoder=("1",)), logits=False)


def _plain(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, width, 3, padding=1), nn.ReLU(), nn.Conv3d(width, 2, 3, padding=1))


def test_any_network_is_converted_by_its_taps():
    teacher = TorchEngine(_plain(8).eval(), Taps(encoder=("1",)), logits=True)
    x = _x()
    assert _same(OpenVinoEngine(convert_teacher(teacher, x), teacher.tapped.taps), teacher, x)


def _gradients(distiller: Distiller, x: torch.Tensor) -> list[torch.Tensor]:
    with torch.enable_grad():
        distiller(x)[1].backward()
    return [parameter.grad for parameter in distiller.parameters() if parameter.grad is not None]


def test_student_learns_the_same_from_openvino(converted):
    """Also from features of which some were not asked for."""
    x, gradients = _x(), []
    for engine in (None, converted[1]):
        torch.manual_seed(0)
        method = build_method("dcd", student_channels=STUDENT, teacher_channels=TEACHER)
        distiller = Distiller(residual_unet(STUDENT), converted[0].tapped.network, method, teacher_engine=engine)
        gradients.append(_gradients(distiller, x))
    assert gradients[0]
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_distiller_asks_its_engine_and_not_the_teacher():
    class Constant:
        name = "constant"

        def __call__(self, x: torch.Tensor) -> Activations:
            assert not torch.is_grad_enabled()
            return Activations(encoder=[torch.zeros(2, 8, 8, 12, 8)])

    teacher = _plain(8)
    teacher.register_forward_pre_hook(lambda *_: pytest.fail("the teacher was run"))
    method = Feature([4], [8])
    distiller = Distiller(_plain(4), teacher, method, student_taps=["1"], teacher_taps=["1"], teacher_engine=Constant())
    x = _x()
    with torch.enable_grad():
        loss = distiller(x)[1]
    projected = method.phi[0](distiller.student[1](distiller.student[0](x)))
    torch.testing.assert_close(loss, projected.square().mean())
