"""Every method works on networks of two dimensions, where its loss is that of its plain definition."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, mse_loss

from nndistill.errors import UserError
from nndistill.methods import METHODS, Activations, StagewiseMethod, build_method, option_names
from nndistill.methods.registry import REGISTERED, register
from plain_wavelets import GROUPS_IN, decompose, projection_matrix

SIZES = [(9, 8), (5, 4)]
STUDENT, TEACHER, CLASSES = [2, 3], [4, 3], 3
"""The second stages have equally many channels, for which ReCo-KD has no φ."""


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_network(channels: list[int], seed: int) -> Activations:
    found = Activations(
        encoder=[image(2, c, *size, seed=seed + i) for i, (c, size) in enumerate(zip(channels, SIZES, strict=True))],
        decoder=[image(2, channels[0], *SIZES[0], seed=seed + 10)],
        logits=image(2, CLASSES, *SIZES[0], seed=seed + 20),
    )
    for feature in tensors(found):
        feature.requires_grad_()
    return found


def tensors(activations: Activations) -> list[Tensor]:
    assert activations.logits is not None
    return [*activations.encoder, *activations.decoder, activations.logits]


def as_volumes(activations: Activations) -> Activations:
    """One slice thick, so that all that has no wavelets is the same."""
    encoder, decoder = ([x.unsqueeze(2) for x in stages] for stages in (activations.encoder, activations.decoder))
    assert activations.logits is not None
    return Activations(encoder, decoder, activations.logits.unsqueeze(2))


def target(*, regions: bool = False, ignored: bool = False) -> Tensor:
    random = torch.Generator().manual_seed(3)
    made = torch.randint(0, 2 if regions else CLASSES, (2, 2 if regions else 1, *SIZES[0]), generator=random)
    if ignored:
        made[..., :3] = -1
    return made


def built(name: str, ndim: int, **options: object) -> nn.Module:
    method = build_method(name, student_channels=STUDENT, teacher_channels=TEACHER, ndim=ndim, **options)
    return method.double()


def same_gradients(loss: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)
    if not expected.requires_grad:
        return
    mine, theirs = (torch.autograd.grad(each, inputs, allow_unused=True) for each in (loss, expected))
    assert any(gradient is not None for gradient in theirs)
    for of_mine, of_theirs in zip(mine, theirs, strict=True):
        assert (of_mine is None) == (of_theirs is None)
        if of_mine is not None:
            torch.testing.assert_close(of_mine, of_theirs, rtol=1e-8, atol=1e-12)


WITHOUT_WAVELETS = [
    ("none", {}),
    ("feature", {}),
    ("logits", {}),
    ("logits", {"regions": True}),
    ("cwd", {}),
    ("cwd", {"match": "encoder"}),
    ("ifvd", {}),
    ("at", {}),
    ("at", {"reduction": "mean"}),
    ("dist", {}),
    ("emkd", {}),
    ("cirkd", {}),
    ("cirkd", {"positions": 12}),
    ("cirkd", {"match": "encoder", "positions": 6}),
    ("reco-kd", {}),
    ("reco-kd", {"train_phi": True, "drop_last_stage": False}),
    ("logits+at", {}),
]


@pytest.mark.parametrize("marks", [{}, {"regions": True}, {"ignored": True}], ids=["labels", "regions", "ignored"])
@pytest.mark.parametrize(("name", "options"), WITHOUT_WAVELETS)
def test_loss_and_gradients_are_those_of_volumes_of_one_slice(name, options, marks) -> None:
    flat, thick = built(name, 2, **options), built(name, 3, **options)
    thick.load_state_dict(
        {
            key: value[:, :, None] if value.ndim == 4 else value  # φ
            for key, value in flat.state_dict().items()
        }
    )
    student, teacher = of_network(STUDENT, 0), of_network(TEACHER, 100)
    labels = target(**marks)
    loss = flat(student, teacher, labels)
    expected = thick(as_volumes(student), as_volumes(teacher), labels.unsqueeze(2))
    same_gradients(loss, expected, tensors(student))


def stages_through_phi(method: nn.Module, student: Activations) -> list[Tensor]:
    return [phi(feature) for phi, feature in zip(method.phi, student.encoder, strict=True)]


@pytest.mark.parametrize("bands", ["D", "A", "S", "A+D", ["LH"]])
@pytest.mark.parametrize("options", [{}, {"mode": "periodization", "wavelet": "haar", "level": 1}, {"loss_every": 2}])
def test_dcd_equals_equation_7_written_as_dense_matrices(bands, options) -> None:
    method = built("dcd", 2, bands=bands, **options)
    student, teacher = of_network(STUDENT, 0), of_network(TEACHER, 100)
    every = options.get("loss_every", 1)
    wavelet, mode, level = (options.get(key, default) for key, default in method_defaults())
    named = bands if isinstance(bands, list) else [band for group in bands.split("+") for band in GROUPS_IN[2][group]]
    expected = shown = torch.zeros((), dtype=torch.float64)
    for theirs, ours in zip(teacher.encoder, stages_through_phi(method, student), strict=True):
        matrix = projection_matrix(tuple(theirs.shape[2:]), named, wavelet, mode, level)
        squares = ((theirs - ours).flatten(2) @ matrix.mT).square()
        expected = expected + squares.mean()
        shown = shown + squares[:, ::every].mean()
    loss = method(student, teacher)
    torch.testing.assert_close(loss, shown, rtol=1e-9, atol=1e-12)
    same_gradients(loss - loss.detach() + expected.detach(), expected, [*student.encoder, *method.parameters()])


def method_defaults() -> list[tuple[str, object]]:
    return [("wavelet", "db4"), ("mode", "symmetric"), ("level", 3)]


def test_dcd_of_coefficients_is_their_energy_per_element() -> None:
    method = built("dcd", 2, domain="coefficients", bands="A+D", level=2, mode="symmetric")
    student, teacher = of_network(STUDENT, 0), of_network(TEACHER, 100)
    expected = 0.0
    for theirs, ours in zip(teacher.encoder, stages_through_phi(method, student), strict=True):
        difference = (theirs - ours).detach().numpy()
        approximation, *details = decompose(difference, "db4", "symmetric", 2, ndim=2)
        energy = np.square(approximation).sum() + sum(np.square(d[key]).sum() for d in details for key in ("ad", "da"))
        expected += energy / difference.size
    assert method(student, teacher).item() == pytest.approx(expected, rel=1e-10)


def release_level(x: Tensor, wavelet: str, bands: list[str], *, synthesised: bool) -> tuple[Tensor, Tensor]:
    """One level of `(N, H, W)` with the release's dense filters in two dimensions: what it compares, and LL."""
    filters = pywt.Wavelet(wavelet)
    padding = filters.dec_len - 1
    compared, low = [], x
    taps = {"L": (filters.dec_lo, filters.rec_lo), "H": (filters.dec_hi, filters.rec_hi)}
    for band in ("LL", "LH", "HL", "HH"):
        analysis, synthesis = (
            torch.outer(*(torch.tensor(taps[letter][way], dtype=x.dtype) for letter in band))[None, None]
            for way in (0, 1)
        )
        coefficients = conv2d(x[:, None], analysis, stride=2, padding=padding)
        low = coefficients[:, 0] if band == "LL" else low
        if band in bands:
            compared.append(
                conv_transpose2d(coefficients, synthesis, stride=2, padding=padding) if synthesised else coefficients
            )
    if synthesised:
        return sum(compared)[:, 0, : x.shape[1], : x.shape[2]], low
    return torch.cat(compared, dim=1), low


@pytest.mark.parametrize("domain", ["spatial", "coefficients"])
@pytest.mark.parametrize("bands", ["D", "A+D"])
def test_dcd_release_does_in_two_dimensions_what_the_release_does_in_three(bands, domain) -> None:
    method = built("dcd-release", 2, bands=bands, domain=domain, wavelet="db2", level=2)
    student, teacher = of_network(STUDENT, 0), of_network(TEACHER, 100)
    named = [band for group in bands.split("+") for band in GROUPS_IN[2][group]]
    expected = torch.zeros((), dtype=torch.float64)
    for theirs, ours in zip(teacher.encoder, stages_through_phi(method, student), strict=True):
        x = (theirs - ours).flatten(0, 1)
        for _ in range(2):
            compared, x = release_level(x, "db2", named, synthesised=domain == "spatial")
            expected = expected + mse_loss(compared, torch.zeros_like(compared)) / 2
    same_gradients(method(student, teacher), expected, student.encoder)


def test_freekd_equals_its_definition_with_three_bands_per_level() -> None:
    method = built("freekd", 2, prompts=2, level=2)
    state = method.learned_state()
    assert [tuple(prompts.shape) for prompts in state.values()] == [(1 + 3 * 2, 2, c) for c in TEACHER]
    method.load_learned_state({key: image(*value.shape, seed=5) for key, value in state.items()})
    student, teacher = of_network(STUDENT, 0), of_network(TEACHER, 100)
    expected = torch.zeros((), dtype=torch.float64)
    for theirs, ours, prompts in zip(
        teacher.encoder, stages_through_phi(method, student), method.learned_state().values(), strict=True
    ):
        expected = expected + 5 * (ours - theirs).square().mean()
        of_teacher, of_student = (matrices_of_bands(x, 2) for x in (theirs.detach(), ours))
        of_level: dict[int, list[Tensor]] = {1: [], 2: []}
        for (level, t), (_, s), prompt in zip(of_teacher, of_student, prompts[1:], strict=True):
            masks = torch.sigmoid(torch.einsum("tc,bcn->btn", prompt, t))
            of_level[level].append((masks[:, :, None] * (t - s)[:, None]).abs())
        expected = expected + sum(torch.cat(bands, dim=-1).mean() for bands in of_level.values())
    same_gradients(method(student, teacher), expected, student.encoder)


def matrices_of_bands(x: Tensor, level: int) -> list[tuple[int, Tensor]]:
    """The detail bands of a Haar pyramid, coarsest level first, each `(B, C, positions)`."""
    pixels = x[0, 0].numel()
    _, *details = decompose(np.eye(pixels).reshape(pixels, *x.shape[2:]), "haar", "zero", level, ndim=2)
    return [
        (number, x.flatten(2) @ torch.from_numpy(of_level[key].reshape(pixels, -1)))
        for number, of_level in enumerate(details, start=1)
        for key in ("ad", "da", "dd")
    ]


def test_freekd_learns_prompts_of_images() -> None:
    from nndistill import Distiller

    def network(width: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 2, 1))

    method = build_method("freekd", student_channels=[2], teacher_channels=[4], ndim=2, prompt_iterations=2)
    distiller = Distiller(network(2), network(4), method, student_taps=["1"], teacher_taps=["1"])
    batches = ((torch.rand(2, 1, 8, 8), torch.randint(2, (2, 8, 8))) for _ in range(2))
    distiller.prepare(batches, nn.CrossEntropyLoss())
    assert method.prepared
    assert all(prompts.any() for prompts in method.learned_state().values())


def test_every_method_is_compared_here() -> None:
    compared = {part for name, _ in WITHOUT_WAVELETS for part in name.split("+")}
    assert compared | {"dcd", "dcd-release", "freekd"} == set(METHODS)


def test_number_of_dimensions_is_no_option() -> None:
    assert all("ndim" not in option_names(name) for name in METHODS)


def test_method_that_knows_three_dimensions_alone_is_refused() -> None:
    @register
    class OfVolumes(StagewiseMethod):
        name, title = "of-volumes", "Of volumes"

        def __init__(self, student_channels, teacher_channels, *, power: int = 2) -> None:
            super().__init__(student_channels, teacher_channels)

    try:
        with pytest.raises(UserError, match="'of-volumes' is made for three dimensions alone, and these networks have"):
            build_method("of-volumes", student_channels=[1], teacher_channels=[1], ndim=2)
    finally:
        del REGISTERED["of-volumes"]
