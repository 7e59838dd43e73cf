"""The Fourier convolution against convolutions that take one kernel pixel at a time."""

import copy
import io
import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate
from stable_baselines3.common.utils import polyak_update
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from asla_agents import convolution
from asla_agents.convolution import Convolution, FourierConvolution
from asla_env.grid import Grid

TOLERANCES = {torch.float32: 1e-6, torch.float64: 1e-12}
BOUNDARIES_2D = list(itertools.product([True, False], repeat=2))
BOUNDARIES_3D = list(itertools.product([True, False], repeat=3))


def padded_indices(n: int, k: int, wraps: bool) -> np.ndarray:
    """Pixels that a kernel of k pixels meets along an axis of n pixels; n stands for a pixel of zeros."""
    indices = np.arange(-(k // 2), n + k // 2)
    return indices % n if wraps else np.where((indices < 0) | (indices >= n), n, indices)


def direct(images, kernels, periodic):
    """Correlate numpy images (batch, in, *pixels) with kernels (out, in, *pixels), pixel by pixel."""
    for axis, wraps in enumerate(periodic, start=2):
        images = np.concatenate([images, np.zeros_like(images.take([0], axis))], axis)
        images = images.take(padded_indices(images.shape[axis] - 1, kernels.shape[axis], wraps), axis)
    convolved = [[correlate(i, k, mode="valid", method="direct")[0] for k in kernels] for i in images]
    return np.array(convolved)


def direct_torch(images, kernels, periodic):
    """The same through PyTorch's convolution, for its gradients."""
    for axis, wraps in enumerate(periodic, start=2):
        images = torch.cat([images, torch.zeros_like(images.narrow(axis, 0, 1))], axis)
        indices = padded_indices(images.shape[axis] - 1, kernels.shape[axis], wraps)
        images = images.index_select(axis, torch.as_tensor(indices))
    return {2: nn.functional.conv2d, 3: nn.functional.conv3d}[len(periodic)](images, kernels)


def fourier(images, kernels, periodic):
    """Ours, with the usual order of axes."""
    n = len(periodic)
    convolve = FourierConvolution(images.shape[2:], kernels.shape[2:], periodic)
    inside = images.movedim((1, 0), (n, n + 1))
    return convolve(inside, convolve.kernel_spectrum(kernels)).movedim((n, n + 1), (1, 0))


def random_pair(shape, kernel_shape, dtype=torch.float64, batch=2, channels=(2, 3)):
    """Images in [0, 1] and kernels of weights as `Conv2d` starts with, from a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, channels[0], *shape, dtype=dtype, generator=generator)
    kernels = 2 * torch.rand(channels[1], channels[0], *kernel_shape, dtype=dtype, generator=generator) - 1
    return images, kernels / kernels[0].numel() ** 0.5


def assert_equals_direct(shape, kernel_shape, periodic, dtype):
    images, kernels = random_pair(shape, kernel_shape, dtype)
    expected = direct(images.double().numpy(), kernels.double().numpy(), periodic)
    ours = fourier(images, kernels, periodic)
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours.double().numpy(), expected, rtol=0, atol=TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("periodic", BOUNDARIES_2D)
@pytest.mark.parametrize("kernel_shape", [(3, 3), (5, 7), (9, 9), (1, 1), (3, 11)], ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("shape", [(5, 6), (7, 5), (1, 1), (1, 4), (2, 2)], ids="{0[0]}x{0[1]}".format)
def test_fourier_equals_direct_convolution_in_the_plane(shape, kernel_shape, periodic, dtype):
    assert_equals_direct(shape, kernel_shape, periodic, dtype)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("periodic", BOUNDARIES_3D)
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 2, 1)])
def test_fourier_equals_direct_convolution_in_space(shape, periodic, dtype):
    assert_equals_direct(shape, (3, 5, 3), periodic, dtype)


def test_fourier_equals_direct_convolution_at_the_papers_size():
    assert_equals_direct((41, 36), (15, 15), (True, True), torch.float32)
    assert_equals_direct((41, 36), (15, 15), (True, False), torch.float64)


@st.composite
def shapes(draw):
    n = draw(st.integers(2, 3))
    axes = [(st.integers(1, 9 - n), st.integers(0, 4).map(lambda half: 2 * half + 1), st.booleans())] * n
    return tuple(zip(*(draw(st.tuples(*axis)) for axis in axes), strict=True))


@given(shapes())
@settings(deadline=None, max_examples=60)
def test_fourier_equals_direct_convolution_for_any_shape(case):
    shape, kernel_shape, periodic = case
    assert_equals_direct(shape, kernel_shape, periodic, torch.float64)


@given(shapes())
@settings(deadline=None, max_examples=40)
def test_gradients_are_those_of_pytorchs_convolution(case):
    shape, kernel_shape, periodic = case
    pair = [part.requires_grad_() for part in random_pair(shape, kernel_shape)]
    cotangent = torch.randn(2, 3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad(fourier(*pair, periodic), pair, cotangent)
    expected = torch.autograd.grad(direct_torch(*pair, periodic), pair, cotangent)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("periodic", BOUNDARIES_2D)
def test_gradients_at_single_precision(periodic):
    pair = [part.requires_grad_() for part in random_pair((5, 6), (7, 5), torch.float32)]
    ours = torch.autograd.grad(fourier(*pair, periodic).square().sum(), pair)
    expected = torch.autograd.grad(direct_torch(*pair, periodic).square().sum(), pair)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 9])
def test_axes_between_channels_and_batch_are_independent_convolutions(batch):
    convolve = FourierConvolution((4, 5), (3, 3), (True, False))
    images, kernels = torch.rand(4, 5, 3, 7, batch), torch.rand(7, 6, 3, 3, 3)
    together = convolve(images, convolve.kernel_spectrum(kernels))
    assert together.shape == (4, 5, 6, 7, batch)
    for i in range(7):
        alone = convolve(images[:, :, :, i], convolve.kernel_spectrum(kernels[i]))
        torch.testing.assert_close(together[:, :, :, i], alone)


@pytest.mark.parametrize("periodic", BOUNDARIES_2D + BOUNDARIES_3D)
def test_a_small_batch_is_multiplied_in_another_way_with_the_same_result(periodic):
    shape = (5, 6, 4)[: len(periodic)]
    images, kernels = random_pair(shape, (3, 5, 3)[: len(periodic)], batch=9)
    kernels.requires_grad_()
    together = fourier(images, kernels, periodic)
    alone = torch.cat([fourier(image[None], kernels, periodic) for image in images])
    torch.testing.assert_close(alone, together)
    ours, theirs = (torch.autograd.grad(y.square().sum(), kernels)[0] for y in (alone, together))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("batch", "channels_in", "channels_out"), [(0, 2, 3), (2, 2, 0)])
def test_nothing_to_convolve_is_no_error(batch, channels_in, channels_out):
    convolve = FourierConvolution((4, 5), (3, 3), (True, False))
    spectrum = convolve.kernel_spectrum(torch.zeros(channels_out, channels_in, 3, 3))
    assert convolve(torch.zeros(4, 5, channels_in, batch), spectrum).shape == (4, 5, channels_out, batch)


@pytest.mark.parametrize(
    ("shape", "kernel_shape", "periodic", "message"),
    [
        ((4, 5), (3,), (True, True), r"`kernel_shape` is \(3,\) but must have 2 entries"),
        ((4, 5), (3, 3), (True,), r"`periodic` is \(True,\) but must have 2 entries"),
        ((4, 5), (3, 4), (True, True), r"`kernel_shape` is \(3, 4\) but must hold odd"),
        ((4, 5), (-1, 3), (True, True), r"`kernel_shape` is \(-1, 3\) but must hold odd"),
    ],
)
def test_impossible_shapes_raise(shape, kernel_shape, periodic, message):
    with pytest.raises(ValueError, match=message):
        FourierConvolution(shape, kernel_shape, periodic)


def test_images_and_kernels_of_another_shape_raise():
    convolve = FourierConvolution((4, 5), (3, 5), (True, True))
    with pytest.raises(ValueError, match=r"`kernels` have \(5, 3\) pixels but must have \(3, 5\)"):
        convolve.kernel_spectrum(torch.zeros(1, 1, 5, 3))
    with pytest.raises(ValueError, match=r"`images` have \(5, 4\) pixels but must have \(4, 5\)"):
        convolve(torch.zeros(5, 4, 1, 1), convolve.kernel_spectrum(torch.zeros(1, 1, 3, 5)))


# The module


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return Convolution(2, 3, 5, Grid((6, 7), (1.2, 1.4), (True, False)))


@pytest.fixture
def images():
    return torch.rand(6, 7, 2, 4, generator=torch.Generator().manual_seed(0))


def convolved(layer: Convolution, images: torch.Tensor) -> torch.Tensor:
    """What the layer must return, made afresh from its weights."""
    usual = direct_torch(images.permute(3, 2, 0, 1), layer.weight.detach(), (True, False))
    return (usual + layer.bias.detach()[:, None, None]).permute(2, 3, 1, 0)


def assert_up_to_date(layer: Convolution, images: torch.Tensor, **tolerance: float) -> None:
    with torch.no_grad():
        torch.testing.assert_close(layer(images), convolved(layer, images), **tolerance)


@pytest.mark.parametrize(("periodic", "mode"), [(True, "circular"), (False, "zeros")])
def test_the_layer_is_pytorchs_with_the_same_weights(periodic, mode):
    ours = Convolution(2, 3, 5, Grid((6, 7), (1.2, 1.4), (periodic, periodic)))
    theirs = nn.Conv2d(2, 3, 5, padding=2, padding_mode=mode)
    theirs.load_state_dict(ours.state_dict())
    image = torch.rand(4, 2, 6, 7)
    torch.testing.assert_close(ours(image.permute(2, 3, 1, 0)).permute(3, 2, 0, 1), theirs(image))


def test_the_start_keeps_the_size_of_the_signal_through_rectified_layers():
    torch.manual_seed(0)
    grid = Grid((41, 36), (8.2, 7.2), (True, True))
    images = torch.randn(41, 36, 10, 8)
    for _ in range(5):
        layer = Convolution(10, 10, 15, grid)
        assert not layer.bias.any()
        images = nn.functional.relu(layer(images))
        assert 0.3 < images.square().mean() < 3


def test_kernels_with_a_reach_are_the_weights_times_a_gaussian_of_unit_mean_square():
    layer = Convolution(2, 3, 5, Grid((6, 7), (1.2, 1.4), (True, False)), reach=1.5)
    factors = (layer.kernels / layer.weight).detach()
    x, y = np.mgrid[-2:3, -2:3]
    gaussian = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    expected = torch.as_tensor(gaussian / np.sqrt(np.mean(gaussian**2)), dtype=torch.float32).expand(3, 2, 5, 5)
    torch.testing.assert_close(factors, expected)


@pytest.mark.parametrize("grad", [True, False])
def test_a_layer_with_a_reach_convolves_with_its_kernels(grad, images):
    grid = Grid((6, 7), (1.2, 1.4), (True, False))
    layer, plain = Convolution(2, 3, 5, grid, reach=1.5), Convolution(2, 3, 5, grid)
    with torch.no_grad():
        plain.weight.copy_(layer.kernels)
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(layer(images), plain(images))


def test_the_start_keeps_the_size_of_the_signal_whatever_the_reach():
    torch.manual_seed(0)
    grid = Grid((41, 36), (8.2, 7.2), (True, True))
    images = torch.randn(41, 36, 10, 8)
    for _ in range(4):
        images = nn.functional.relu(Convolution(10, 10, 15, grid, reach=2.0)(images))
        assert 0.2 < images.square().mean() < 5


@pytest.mark.parametrize("reach", [0.0, -1.0, float("nan")])
def test_a_reach_that_is_not_positive_raises(reach):
    with pytest.raises(ValueError, match=r"`reach` is .* pixels but must be positive"):
        Convolution(1, 1, 3, Grid((6, 7), (1.2, 1.4), (True, False)), reach)


def test_an_even_kernel_raises():
    with pytest.raises(ValueError, match="must hold odd numbers of pixels"):
        Convolution(1, 1, 4, Grid((6, 7), (1.2, 1.4), (True, False)))


def test_the_spectrum_is_kept_while_the_weights_stay(layer, images, monkeypatch):
    calls = []
    make = FourierConvolution.kernel_spectrum
    monkeypatch.setattr(
        FourierConvolution, "kernel_spectrum", lambda self, kernels: calls.append(1) or make(self, kernels)
    )
    for _ in range(3):
        assert_up_to_date(layer, images)
    assert len(calls) == 1


def scale_by_assignment(layer):
    for _ in range(3):  # the memory of the first weights is free again at the third time
        layer.weight.data = layer.weight.data * 2


def follow_as_a_target_network(layer):
    polyak_update([torch.ones_like(p) for p in layer.parameters()], layer.parameters(), 0.5)


def take_a_step(layer):
    optimizer = torch.optim.Adam(layer.parameters())
    with torch.enable_grad():
        layer(torch.ones(6, 7, 2, 1)).sum().backward()
    optimizer.step()


CHANGES = {
    "in place": lambda layer: layer.weight.mul_(2),
    "in place through data": lambda layer: layer.weight.data.mul_(2),
    "one weight": lambda layer: layer.weight[0, 0, 0, 0].add_(1),
    "by assignment": scale_by_assignment,
    "new parameter": lambda layer: setattr(layer, "weight", nn.Parameter(layer.weight + 1)),
    "load_state_dict": lambda layer: layer.load_state_dict({k: v + 1 for k, v in layer.state_dict().items()}),
    "load_state_dict by assignment": lambda layer: layer.load_state_dict(
        {k: v + 1 for k, v in layer.state_dict().items()}, assign=True
    ),
    "from a vector": lambda layer: vector_to_parameters(
        parameters_to_vector(layer.parameters()) + 1, layer.parameters()
    ),
    "target network": follow_as_a_target_network,
    "optimiser": take_a_step,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_kept_spectrum_is_never_stale(layer, images, name):
    assert_up_to_date(layer, images)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        CHANGES[name](layer)
    assert not torch.equal(before, layer.weight)
    assert_up_to_date(layer, images, rtol=1e-5, atol=1e-4)


def test_a_kept_spectrum_follows_the_precision(layer, images):
    assert_up_to_date(layer, images)
    layer.double()
    assert_up_to_date(layer, images.double(), rtol=0, atol=1e-12)
    layer.float()
    assert_up_to_date(layer, images)


def test_a_copy_has_weights_of_its_own(layer, images):
    assert_up_to_date(layer, images)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weight.mul_(2)
    assert_up_to_date(twin, images)
    assert_up_to_date(layer, images)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_copies_and_pickles_work_after_use(layer, images, mode):
    with mode():
        expected = layer(images)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        twin(images).sum().backward()
        torch.testing.assert_close(twin(images).detach(), expected)


def test_what_is_kept_is_not_pickled(layer, images):
    size = len(pickle.dumps(layer))
    assert_up_to_date(layer, images)
    assert len(pickle.dumps(layer)) == size


def test_only_weights_are_saved(layer, images):
    assert_up_to_date(layer, images)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert set(state) == {"weight", "bias"}
    twin = Convolution(2, 3, 5, Grid((6, 7), (1.2, 1.4), (True, False)))
    assert_up_to_date(twin, images)
    twin.load_state_dict(state)
    assert torch.equal(twin(images), layer(images))


def test_training_after_inference_mode(layer, images):
    convolution._plan.cache_clear()
    with torch.inference_mode():
        layer(images)
    layer(images).sum().backward()
    assert layer.weight.grad is not None


def test_training_after_a_function_transform(layer, images):
    convolution._plan.cache_clear()
    parameters = {name: parameter.detach() for name, parameter in layer.named_parameters()}
    gradients = grad(lambda p: functional_call(layer, p, (images,)).sum())(parameters)
    layer(images).sum().backward()
    torch.testing.assert_close(gradients["weight"], layer.weight.grad)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_stand_ins_for_the_weights_are_used_and_not_kept(layer, images, mode):
    assert_up_to_date(layer, images)
    twins = [copy.deepcopy(layer) for _ in range(3)]
    for twin in twins:
        torch.nn.init.normal_(twin.weight)
    parameters, _ = stack_module_state(twins)
    with mode():
        together = vmap(lambda p: functional_call(layer, p, (images,)))(parameters)
    for twin, ours in zip(twins, together, strict=True):
        torch.testing.assert_close(ours, convolved(twin, images), rtol=1e-5, atol=1e-5)
    assert_up_to_date(layer, images)


# Many layers together


def test_weights_side_by_side_convolve_the_images_of_many_layers():
    layers = [Convolution(2, 3, 3, Grid((4, 5), (0.8, 1.0), (True, False))) for _ in range(6)]
    images = torch.rand(4, 5, 2, 6, 3)
    parameters, _ = stack_module_state(layers)
    together = copy.deepcopy(layers[0])
    together.weight, together.bias = (nn.Parameter(parameters[name]) for name in ("weight", "bias"))
    whole = together(images)
    for i, layer in enumerate(layers):
        torch.testing.assert_close(whole[..., i, :], layer(images[..., i, :]))
