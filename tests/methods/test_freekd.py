"""FreeKD's loss and its prompts, against the definitions written with PyWavelets and loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from nndistill.errors import StageMismatch, UserError
from nndistill.methods import Activations, FreeKD
from nndistill.methods.parts.frequency_prompts import FrequencyPrompts
from plain_wavelets import compose, decompose

DETAILS = ["aad", "ada", "add", "daa", "dad", "dda", "ddd"]
SHAPES = [(8, 8, 8), (4, 5, 7), (9, 6, 3), (1, 1, 1)]


def volume(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_prompts(method: FreeKD) -> FreeKD:
    state = method.learned_state()
    method.load_learned_state({key: volume(*p.shape, seed=9 + i) for i, (key, p) in enumerate(state.items())})
    return method.double()


def prompts_of(method: FreeKD) -> list[Tensor]:
    return list(method.learned_state().values())


def bands(x: Tensor, level: int) -> list[tuple[int, Tensor]]:
    """Every band with its level (0: the approximation), in the order of the prompts, `(B, C, positions)`.

    One dense matrix a band, of what PyWavelets makes of every impulse, so that gradients flow.
    """
    shape = tuple(x.shape[2:])
    approximation, *details = decompose(np.eye(x[0, 0].numel()).reshape(-1, *shape), "haar", "zero", level)
    impulses = [(0, approximation)]
    impulses += [(k, of_level[key]) for k, of_level in enumerate(details, 1) for key in DETAILS]
    return [(k, x.flatten(2) @ torch.from_numpy(band.reshape(len(band), -1))) for k, band in impulses]


def plain_loss(student: Tensor, teacher: Tensor, prompts: Tensor, level: int, weight: float) -> Tensor:
    """One stage, the student's features through φ already."""
    total = weight * (student - teacher).square().mean()
    of_level: dict[int, list[Tensor]] = {k: [] for k in range(1, level + 1)}
    for prompt, (k, s), (_, t) in zip(prompts, bands(student, level), bands(teacher, level), strict=True):
        if k > 0:
            masks = torch.sigmoid(torch.einsum("tc,bcn->btn", prompt, t))
            of_level[k].append((masks[:, :, None] * (t - s)[:, None]).abs())
    return total + sum(torch.cat(masked, dim=-1).mean() for masked in of_level.values())


def distance(method: FreeKD, student: Tensor, teacher: Tensor) -> Tensor:
    return method(Activations([student]), Activations([teacher]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("level", "number"), [(3, 6), (1, 1)])
def test_loss_and_gradients_equal_the_definition(shape, level, number) -> None:
    method = with_prompts(FreeKD([3], [5], prompts=number, level=level))
    student, teacher = volume(2, 3, *shape).requires_grad_(), volume(2, 5, *shape, seed=1)
    inputs = [student, method.phi[0].weight, method.phi[0].bias]
    loss = distance(method, student, teacher)
    reference = plain_loss(method.phi[0](student), teacher, prompts_of(method)[0], level, 5.0)
    torch.testing.assert_close(loss, reference, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(loss, inputs), torch.autograd.grad(reference, inputs), rtol=1e-8, atol=1e-12
    )


def test_a_few_channels_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nndistill.methods.parts.reductions.CHUNK_ELEMENTS", 2 * 2 * 4 * 5 * 7)
    test_loss_and_gradients_equal_the_definition((4, 5, 7), 3, 6)


def test_stages_are_summed() -> None:
    method = with_prompts(FreeKD([2, 3], [4, 6]))
    students = [volume(1, 2, 8, 10, 12), volume(1, 3, 4, 5, 6)]
    teachers = [volume(1, 4, 8, 10, 12, seed=1), volume(1, 6, 4, 5, 6, seed=2)]
    apart = sum(
        plain_loss(phi(s), t, p, 3, 5.0)
        for phi, s, t, p in zip(method.phi, students, teachers, prompts_of(method), strict=True)
    )
    torch.testing.assert_close(method(Activations(students), Activations(teachers)), apart)


def test_gradient_is_exact() -> None:
    method = with_prompts(FreeKD([2], [3], level=2, prompts=2))
    teacher = volume(1, 3, 4, 3, 5, seed=1)
    student = volume(1, 2, 4, 3, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda student: distance(method, student, teacher), (student,))


def test_equal_features_cost_nothing() -> None:
    method = with_prompts(FreeKD([4], [4]))
    with torch.no_grad():
        method.phi[0].weight.copy_(torch.eye(4)[:, :, None, None, None])
        method.phi[0].bias.zero_()
    x = volume(1, 4, 9, 8, 7)
    assert distance(method, x, x) == 0


def prompts_of_stage(channels: int, number: int, level: int = 2) -> FrequencyPrompts:
    stage = FrequencyPrompts(channels, number=number, wavelet="haar", level=level, mode="zero").double()
    stage.prompts.copy_(volume(*stage.prompts.shape, seed=4))
    return stage


@pytest.mark.parametrize("shape", SHAPES)
def test_filtered_features_and_overlap_equal_the_definition(shape) -> None:
    stage, x = prompts_of_stage(3, 4), volume(2, 3, *shape)
    filtered, overlap = stage(x)

    approximation, *details = decompose(x.numpy(), "haar", "zero", 2)
    expected_overlap, order = 0.0, iter(stage.prompts.numpy())

    def attend(band: np.ndarray) -> tuple[np.ndarray, float]:
        masks = [1 / (1 + np.exp(-np.einsum("c,bcdhw->bdhw", prompt, band))) for prompt in next(order)]
        pairs = [
            2 * (a[i] * b[i]).sum() / ((a[i] ** 2).sum() + (b[i] ** 2).sum())
            for a, b in combinations(masks, 2)
            for i in range(len(a))
        ]
        return sum(band * mask[:, None] for mask in masks), float(np.mean(pairs))

    kept, expected_overlap = attend(approximation)
    coefficients: list = [kept]
    for of_level in details:
        attended = {key: attend(of_level[key]) for key in DETAILS}
        coefficients.append({key: band for key, (band, _) in attended.items()})
        expected_overlap += np.mean([pairs for _, pairs in attended.values()])
    depth, height, width = shape
    expected = compose(coefficients, "haar", "zero")[..., :depth, :height, :width]
    np.testing.assert_allclose(filtered, expected, rtol=1e-10, atol=1e-12)
    assert overlap.item() == pytest.approx(expected_overlap, rel=1e-10)


def test_one_prompt_overlaps_with_nothing() -> None:
    assert prompts_of_stage(3, 1)(volume(1, 3, 4, 4, 4))[1] == 0


def test_gradient_of_the_prompts_is_exact() -> None:
    stage, x = prompts_of_stage(2, 2, level=1), volume(1, 2, 3, 4, 2)

    def of_prompts(prompts: Tensor) -> tuple[Tensor, Tensor]:
        return torch.func.functional_call(stage, {"prompts": prompts}, (x,))

    assert torch.autograd.gradcheck(of_prompts, (stage.prompts.clone().requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_compared_in_single(dtype) -> None:
    method = FreeKD([2], [6])
    student, teacher = volume(1, 2, 8, 9, 10).to(dtype).requires_grad_(), volume(1, 6, 8, 9, 10, seed=1).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = distance(method, student, teacher)
        filtered, overlap = method.prompts[0](teacher)
    loss.backward()
    assert (loss.dtype, overlap.dtype) == (torch.float32, torch.float32)
    assert (student.grad.dtype, filtered.dtype) == (dtype, dtype)


def test_prompts_are_kept_and_not_trained_with_the_student() -> None:
    method = FreeKD([2], [4], prompts=2)
    assert {name.split(".")[0] for name, _ in method.named_parameters()} == {"phi"}
    copy = FreeKD([2], [4], prompts=2)
    with_prompts(method)
    copy.double().load_state_dict(method.state_dict())
    assert copy.prepared
    assert torch.equal(prompts_of(copy)[0], prompts_of(method)[0])


def test_a_method_within_another_knows_from_its_checkpoint_that_it_has_learned() -> None:
    trained, resumed = (torch.nn.ModuleDict({"part": FreeKD([2], [4])}) for _ in range(2))
    with_prompts(trained["part"])
    assert not resumed["part"].prepared
    resumed.load_state_dict(trained.double().state_dict())
    assert resumed["part"].prepared


def test_prompts_of_another_teacher_are_refused() -> None:
    method = FreeKD([2], [4])
    with pytest.raises(ValueError, match="other shapes"):
        method.load_learned_state(FreeKD([2], [5]).learned_state())
    assert not method.prepared


@pytest.mark.parametrize("options", [{"prompts": 0}, {"prompt_iterations": 0}, {"feature_weight": -1.0}, {"level": 0}])
def test_impossible_options_are_told_in_a_sentence(options) -> None:
    with pytest.raises(UserError, match="must be"):
        FreeKD([2], [4], **options)


def test_unequal_sizes_are_refused() -> None:
    with pytest.raises(StageMismatch, match="unequal size at stage 0"):
        distance(FreeKD([2], [4]), volume(1, 2, 8, 8, 8), volume(1, 4, 8, 8, 7))
