"""Representations against atoms drawn one by one, their symmetries, and their use in stock policies."""

import cmath
import copy
import io
import itertools
import math
import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3 import DQN, PPO
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from asla_agents.representations import AGR, REPRESENTATIONS, Angular, Displaced, Gaussian, OneHot, Representation
from asla_env.grid import Grid

PLANE = Grid((11, 9), (2.2, 1.62), (True, False))
SPACE = Grid((6, 5, 4), (1.2, 1.0, 0.8), (True, False, True))
ANGULAR_CHANNELS = ((1.5, 0.0, 0), (1.0, 0.6, 0), (1.0, 0.6, 1), (1.2, 0.2, 2), (1.0, 0.6, 3))
KERNELS = ["gaussian", "agr", "displaced"]
NORMALISED = ["agr", "displaced", "angular"]


def images_on(grid: Grid, n_species: int = 1) -> spaces.MultiBinary:
    return spaces.MultiBinary([n_species, *grid.shape])


def make(name: str, grid: Grid = PLANE, n_species: int = 1, **settings) -> Representation:
    """A representation by name, with small kernels and a fixed seed."""
    torch.manual_seed(0)
    if name == "angular":
        settings = {"channels": ANGULAR_CHANNELS, **settings}
    if name != "one-hot":
        settings = {"kernel_size": 7, **settings}
    return REPRESENTATIONS[name](images_on(grid, n_species), grid, **settings)


def without_norm(representation: Representation) -> Representation:
    representation.norm = nn.Identity()
    return representation


def random_images(grid: Grid, n_species: int = 1, batch: int = 3, seed: int = 0) -> torch.Tensor:
    """One-hot images with an atom on about a tenth of the pixels, as int8."""
    rng = np.random.default_rng(seed)
    return torch.as_tensor(rng.random((batch, n_species, *grid.shape)) < 0.1).to(torch.int8)


def draw_one_by_one(image: np.ndarray, function, kernel_size: int, grid: Grid) -> np.ndarray:
    """Sum a function of the offset in Å from pixel to atom over all atoms whose offset the kernel covers."""
    half = kernel_size // 2
    drawn = np.zeros(grid.shape, dtype=complex)
    for pixel in np.ndindex(*grid.shape):
        for steps in itertools.product(range(-half, half + 1), repeat=grid.ndim):
            there = np.add(pixel, steps)
            inside = (there >= 0) & (there < grid.shape)
            if np.all(inside | grid.periodic):
                drawn[pixel] += image[tuple(there % grid.shape)] * function(np.multiply(steps, grid.spacing))
    return drawn


# Kernels


def kernel_by_formula(representation: Representation) -> np.ndarray:
    """Kernels at double precision from the settings alone, shape (species, *kernel)."""
    steps = np.arange(7) - 3
    offsets = np.meshgrid(*(steps * np.float64(h) for h in representation.grid.spacing), indexing="ij")
    r = np.sqrt(sum(offset**2 for offset in offsets))
    spacing = np.mean(representation.grid.spacing)
    if isinstance(representation, Gaussian):
        return np.array([np.exp(-(r**2) / (2 * (1.25 * spacing) ** 2))] * representation.n_species)
    if isinstance(representation, AGR):
        basis = [np.exp(-(r**2) / (2 * (i * spacing / 3) ** 2)) for i in range(1, 10)]
    else:
        basis = [np.exp(-((r - 2 * i * spacing) ** 2) / (2 * spacing**2)) for i in range(7)]
    return np.tensordot(representation.coefficients.detach().double().numpy(), basis, 1)


@pytest.mark.parametrize("grid", [PLANE, SPACE], ids=["plane", "space"])
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_exact_at_both_precisions(name, grid):
    representation = make(name, grid, n_species=2)
    expected = kernel_by_formula(representation)[:, None]
    single = representation.kernel()
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.detach().numpy(), expected, rtol=0, atol=5e-7)
    for precise in (representation.double(), representation.float().double()):
        kernel = precise.kernel().detach().numpy()
        assert kernel.dtype == np.float64
        np.testing.assert_allclose(kernel, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_angular_kernels_are_exact_at_both_precisions(dtype, tolerance):
    x, y = np.meshgrid(*(np.arange(-3, 4) * h for h in PLANE.spacing), indexing="ij")
    r, spacing = np.hypot(x, y), np.mean(PLANE.spacing)
    kernels = make("angular").to(dtype).kernel()
    for kernel, (width, r_s, m) in zip(kernels.numpy(), ANGULAR_CHANNELS, strict=True):
        expected = np.exp(-((r - r_s) ** 2) / (2 * (width * spacing) ** 2)) * np.exp(1j * m * np.arctan2(y, x))
        expected[(r == 0) & (m > 0)] = 0
        np.testing.assert_allclose(kernel, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("length", [0.2, 10.0])
def test_the_spacing_is_that_of_neighbouring_pixels_however_long_an_axis_of_one_pixel_is(length):
    assert make("gaussian", Grid((41, 1), (8.2, length), (True, False))).spacing == pytest.approx(0.2)
    assert make("gaussian", Grid((1, 1), (length, length), (False, False))).spacing == pytest.approx(length)


def test_constants_are_read_from_the_module_at_its_precision():
    agr, displaced, angular = (make(name).double() for name in NORMALISED)
    assert agr.r.dtype == agr.widths.dtype == displaced.centers.dtype == angular.theta.dtype == torch.float64
    np.testing.assert_allclose(agr.widths, [i * agr.spacing / 3 for i in range(1, 10)], rtol=1e-15)
    np.testing.assert_allclose(displaced.centers, [2 * i * agr.spacing for i in range(7)], rtol=1e-15)
    agr.r.zero_()
    assert agr.r.max() > 0  # a copy was changed


@pytest.mark.parametrize("width", [1e-30, 1e-3, 0.02])
def test_a_narrow_gaussian_is_one_hot(width):
    gaussian = make("gaussian", width_over_spacing=width)
    delta = torch.zeros(1, 1, 7, 7)
    delta[..., 3, 3] = 1
    assert torch.equal(gaussian.kernel(), delta)
    images = random_images(PLANE)
    torch.testing.assert_close(gaussian.image(images), make("one-hot").image(images), rtol=0, atol=1e-6)
    torch.testing.assert_close(gaussian.double().image(images), images.double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("i", range(9))
def test_agr_with_one_unit_coefficient_is_that_gaussian(i):
    agr, gaussian = without_norm(make("agr")), make("gaussian", width_over_spacing=(i + 1) / 3)
    agr.coefficients.data = torch.eye(9)[i : i + 1]
    torch.testing.assert_close(agr.kernel(), gaussian.kernel(), rtol=0, atol=1e-6)
    images = random_images(PLANE)
    torch.testing.assert_close(agr.image(images), gaussian.image(images), rtol=0, atol=1e-6)


# Images


@pytest.mark.parametrize("kernel_size", [1, 7, 25])
def test_gaussians_are_drawn_around_every_atom_in_reach(kernel_size):
    images, widths = random_images(PLANE, n_species=2), [1.25, 0.7]
    settings = {"width_over_spacing": widths, "bias": -0.1, "amplitude": -1, "kernel_size": kernel_size}
    drawn = make("gaussian", n_species=2, **settings).double().image(images)
    for i, width in enumerate(np.array(widths) * np.mean(PLANE.spacing)):
        expected = draw_one_by_one(
            images[1, i].numpy(), lambda d, width=width: math.exp(-(d @ d) / (2 * width**2)), kernel_size, PLANE
        )
        np.testing.assert_allclose(drawn[1, i], -0.1 - expected.real, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel_size", [7, 25])
@pytest.mark.parametrize("channel", [(1.0, 0.6, 0), (1.0, 0.6, 1), (1.2, 0.2, 2), (0.7, 1.4, 3)])
def test_angular_power_is_drawn_around_every_atom_in_reach(channel, kernel_size):
    """Kernels of 25 pixels meet every atom of this grid in several periodic images."""
    width, r_s, m = channel[0] * np.mean(PLANE.spacing), *channel[1:]

    def ring(d):
        r, theta = math.hypot(*d), math.atan2(d[1], d[0])
        return 0 if r == 0 and m else math.exp(-((r - r_s) ** 2) / (2 * width**2)) * cmath.exp(1j * m * theta)

    images = random_images(PLANE)
    drawn = without_norm(make("angular", channels=[channel], kernel_size=kernel_size)).double().image(images)
    expected = draw_one_by_one(images[0, 0].numpy(), ring, kernel_size, PLANE)
    np.testing.assert_allclose(drawn[0, 0], np.abs(expected) ** 2, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", KERNELS)
def test_atoms_are_drawn_in_space(name):
    representation = make(name, SPACE, n_species=2, kernel_size=5).double()
    if name != "gaussian":
        without_norm(representation)
    images, kernels = random_images(SPACE, n_species=2), representation.kernel().detach().numpy()
    pixels = {tuple(np.round(np.multiply(s, SPACE.spacing), 6)): s for s in itertools.product(range(-2, 3), repeat=3)}
    drawn = representation.image(images).detach()
    assert drawn.shape == (3, 2, *SPACE.shape)
    for i in range(2):
        expected = draw_one_by_one(
            images[2, i].numpy(),
            lambda d, i=i: kernels[i, 0][tuple(np.add(pixels[tuple(np.round(d, 6))], 2))],
            5,
            SPACE,
        )
        np.testing.assert_allclose(drawn[2, i], expected.real, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.float32, torch.float64])
def test_one_hot_images_stay_as_they_are(dtype):
    images = random_images(PLANE, n_species=2).to(dtype)
    assert torch.equal(make("one-hot", n_species=2).image(images), images.float())
    assert torch.equal(make("one-hot", n_species=2).double().image(images), images.double())


def test_an_on_site_channel_is_a_plain_gaussian():
    channels, images = [(1.0, 0.6, 1), (1.5, 0.0, 0), (1.0, 0.6, 0), (0.8, 0.0, 0)], random_images(PLANE)
    drawn = without_norm(make("angular", channels=channels)).image(images)
    for i in (1, 3):
        gaussian = make("gaussian", width_over_spacing=channels[i][0])
        torch.testing.assert_close(drawn[:, i : i + 1], gaussian.image(images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [[(1.5, 0.0, 0)], [(1e-3, 0.0, 0)]])
def test_on_site_channels_alone_need_no_ring(channels):
    images = random_images(PLANE)
    expected = make("gaussian", width_over_spacing=channels[0][0]).image(images)
    drawn = without_norm(make("angular", channels=channels)).image(images)
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["gaussian", "agr", "displaced", "angular"])
def test_channels_keep_the_order_of_species(name):
    """Two species are drawn as each alone, one after the other."""
    images = random_images(PLANE, n_species=2)
    both, alone = make(name, n_species=2), make(name)
    if name in NORMALISED:
        without_norm(both), without_norm(alone)
    if name in ("agr", "displaced"):
        alone.coefficients.data = both.coefficients.data[1:]
    n = alone.n_channels
    torch.testing.assert_close(both.image(images)[:, n:], alone.image(images[:, 1:]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_an_atom_of_one_species_leaves_the_channels_of_others_alone(name):
    representation = make(name, n_species=2).eval()
    images = random_images(PLANE, n_species=2)
    changed = images.clone()
    changed[:, 0, 4, 4] ^= 1
    before, after = representation.image(images), representation.image(changed)
    n = representation.n_channels // 2
    assert torch.equal(before[:, n:], after[:, n:])
    assert (before[:, :n] - after[:, :n]).abs().max() > 0.05


@pytest.mark.parametrize("name", REPRESENTATIONS)
@pytest.mark.parametrize("n_species", [1, 2])
def test_features_are_the_flat_image(name, n_species):
    representation = make(name, n_species=n_species).eval()
    images = random_images(PLANE, n_species=n_species)
    features = representation(images)
    assert features.shape == (3, representation.features_dim)
    assert torch.equal(features, representation.image(images).flatten(1))
    assert representation.image(images).shape == (3, representation.n_channels, *PLANE.shape)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_an_empty_batch_is_drawn(name):
    assert make(name).eval().image(random_images(PLANE, batch=0)).shape[0] == 0


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_constants_follow_the_module_to_its_device(name):
    """The meta device refuses tensors of any other."""
    drawn = make(name).to("meta")(random_images(PLANE).to("meta"))
    assert drawn.device.type == "meta"


# Symmetries

GRIDS = [
    Grid((6, 6), (1.2, 1.2), (True, True)),
    Grid((5, 5), (1.0, 1.0), (False, False)),
    Grid((7, 4), (1.4, 0.9), (True, False)),
    Grid((4, 5), (0.8, 1.0), (True, True)),
    Grid((3, 1), (0.6, 0.2), (True, True)),
    SPACE,
    Grid((3, 3, 3), (0.6, 0.6, 0.6), (True, True, True)),
]


def moved(images: torch.Tensor, grid: Grid, symmetry) -> torch.Tensor:
    """Images (batch, channel, *grid) with every pixel moved by a symmetry."""
    flat = images.flatten(2)
    there = torch.empty_like(flat)
    there[..., grid.permutation(symmetry)] = flat
    return there.reshape(images.shape)


@given(
    name=st.sampled_from(list(REPRESENTATIONS)),
    grid=st.sampled_from(GRIDS),
    training=st.booleans(),
    seed=st.integers(0, 99),
    kernel_size=st.sampled_from([3, 7, 13]),
)
@settings(deadline=None, max_examples=60)
def test_every_symmetry_of_the_grid_moves_the_drawn_image_too(name, grid, training, seed, kernel_size):
    """Translations along periodic axes, reflections, and rotations by 90° of square and cubic grids."""
    if name == "angular" and grid.ndim == 3:
        return
    kwargs = {} if name == "one-hot" else {"kernel_size": kernel_size}
    representation = make(name, grid, n_species=2, **kwargs).double().train(training)
    images, rng = random_images(grid, n_species=2, seed=seed), np.random.default_rng(seed)
    drawn = representation.image(images)
    for point in grid.point_symmetries:
        shift = [int(rng.integers(n)) if wraps else 0 for n, wraps in zip(grid.shape, grid.periodic, strict=True)]
        symmetry = point.then_shift(shift)
        ours = representation.image(moved(images, grid, symmetry))
        torch.testing.assert_close(ours, moved(drawn, grid, symmetry), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_quarter_turn_of_a_square_grid_turns_the_image(name):
    grid = Grid((8, 8), (1.6, 1.6), (True, True))
    representation, images = make(name, grid).double().eval(), random_images(grid)
    turned = representation.image(images.rot90(1, (2, 3)))
    torch.testing.assert_close(turned, representation.image(images).rot90(1, (2, 3)), rtol=0, atol=1e-12)


# Training


@pytest.mark.parametrize("name", KERNELS)
def test_trained_parameters_get_their_gradients(name):
    grid = Grid((3, 4), (0.6, 0.8), (True, False))
    settings = {"trainable_width": True} if name == "gaussian" else {}
    representation = make(name, grid, kernel_size=5, **settings).double().eval()
    name = "log_stretch" if name == "gaussian" else "coefficients"
    images = random_images(grid, seed=3)
    start = representation.get_parameter(name).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: functional_call(representation, {name: values}, (images,)), start)


def test_a_trainable_width_is_trained():
    gaussian = make("gaussian", n_species=2, trainable_width=True, width_over_spacing=[1.0, 2.0])
    wanted = make("gaussian", n_species=2, width_over_spacing=[1.5, 1.5]).image(random_images(PLANE, n_species=2))
    optimizer = torch.optim.Adam(gaussian.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        (gaussian.image(random_images(PLANE, n_species=2)) - wanted).square().mean().backward()
        optimizer.step()
    np.testing.assert_allclose(gaussian.widths.detach() / gaussian.spacing, [1.5, 1.5], rtol=0.02)


def test_a_fixed_gaussian_has_nothing_to_train():
    gaussian = make("gaussian")
    assert gaussian.log_stretch is None
    assert not list(gaussian.parameters())
    assert not gaussian.state_dict()


@pytest.mark.parametrize("name", ["agr", "displaced"])
def test_coefficients_can_be_read_as_numpy(name):
    representation = make(name, n_species=2)
    values = representation.coefficient_values
    assert isinstance(values, np.ndarray)
    assert values.shape == representation.coefficients.shape
    np.testing.assert_array_equal(values, representation.coefficients.detach().numpy())
    values[:] = 7
    assert not (representation.coefficients == 7).any()


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_only_agr_has_a_penalty(name):
    penalty = make(name).penalty()
    assert penalty.shape == ()
    assert penalty.item() == 0
    if name == "agr":
        agr = make(name, beta_1=0.1)
        assert agr.penalty().item() == pytest.approx(0.1 * np.abs(agr.coefficient_values).sum(), rel=1e-6)


@pytest.mark.parametrize("name", NORMALISED)
def test_batch_norm_uses_the_batch_in_training_and_what_it_has_seen_after(name):
    representation, images = make(name, n_species=2).double(), random_images(PLANE, n_species=2, batch=8)
    raw = without_norm(copy.deepcopy(representation)).image(images)
    mean, variance = raw.mean((0, 2, 3)), raw.var((0, 2, 3), correction=0)
    drawn = representation.image(images)
    torch.testing.assert_close(drawn.mean((0, 2, 3)), torch.zeros_like(mean), rtol=0, atol=1e-9)
    torch.testing.assert_close(drawn.var((0, 2, 3), correction=0), variance / (variance + 1e-5) / 16)  # a gain of 1/4
    torch.testing.assert_close(representation.norm.running_mean, 0.1 * mean)

    representation.eval()
    first = representation.image(images[:1])
    torch.testing.assert_close(first, representation.image(images)[:1])  # whatever else is in the batch
    seen = representation.norm.running_mean, representation.norm.running_var
    shift, scale = (part[:, None, None] for part in seen)
    torch.testing.assert_close(first, (raw[:1] - shift) / (scale + 1e-5).sqrt() / 4)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_copies_pickles_and_saved_states_draw_the_same(name):
    representation, images = make(name, n_species=2), random_images(PLANE, n_species=2)
    representation.image(images)
    drawn = representation.eval().image(images)
    file = io.BytesIO()
    torch.save(representation.state_dict(), file)
    file.seek(0)
    torch.manual_seed(1)
    loaded = type(representation)(images_on(PLANE, 2), PLANE, **_settings(name)).eval()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for twin in (copy.deepcopy(representation), pickle.loads(pickle.dumps(representation)), loaded):
        assert torch.equal(twin.image(images), drawn)


def _settings(name):
    kwargs = {} if name == "one-hot" else {"kernel_size": 7}
    return {**kwargs, "channels": ANGULAR_CHANNELS} if name == "angular" else kwargs


def test_many_expansions_run_in_one_batched_program():
    several, images = [AGR(images_on(PLANE), PLANE, kernel_size=7).eval() for _ in range(3)], random_images(PLANE)
    parameters, buffers = stack_module_state(several)
    together = vmap(lambda p, b: functional_call(several[0], (p, b), (images,)))(parameters, buffers)
    for ours, agr in zip(together, several, strict=True):
        torch.testing.assert_close(ours, agr(images))


# Arguments

WRONG = [
    (Gaussian, {"width_over_spacing": 0.0}, "`width_over_spacing` is 0.0 but must be positive"),
    (Gaussian, {"width_over_spacing": math.nan}, "`width_over_spacing` is nan but must be positive"),
    (Gaussian, {"width_over_spacing": [1.0, 1.0, 1.0]}, "must be one number or one for each of 2 species"),
    (Gaussian, {"amplitude": 2}, "`amplitude` is 2 but must be 1 or -1"),
    (Gaussian, {"bias": math.inf}, "`bias` is inf but must be finite"),
    (Gaussian, {"kernel_size": 24}, "must hold odd numbers"),
    (AGR, {"beta_1": -0.1}, "`beta_1` is -0.1 but must be finite and at least 0"),
    (AGR, {"widths_over_spacing": []}, "`widths_over_spacing` is .* but must be positive"),
    (AGR, {"widths_over_spacing": [1.0, -1.0]}, "`widths_over_spacing` is .* but must be positive"),
    (AGR, {"kernel_size": 4}, "must hold odd numbers"),
    (Displaced, {"initialisation": "random"}, "`initialisation` is 'random' but must be 'uniform', 'envelope' or"),
    (Displaced, {"n_rings": 0}, "`n_rings` is 0 but must be at least 1"),
    (Displaced, {"width_over_spacing": -1.0}, "`width_over_spacing` is -1.0 but must be positive"),
    (Displaced, {"kernel_size": 0}, "must hold odd numbers"),
    (Angular, {"channels": []}, "`channels` is empty but must hold at least one"),
    (Angular, {"channels": [(1.0, -1.4, 0)]}, "r_s at least 0 Å"),
    (Angular, {"channels": [(1.0, 1.4, -1)]}, "m a whole number of at least 0"),
    (Angular, {"channels": [(1.0, 1.4, 1.5)]}, "m a whole number of at least 0"),
    (Angular, {"channels": [(1.0, 1.4, math.inf)]}, "m a whole number of at least 0"),
    (Angular, {"channels": [(0.0, 1.4, 1)]}, "λ/Δ positive"),
    (Angular, {"channels": [(1.0, math.nan, 1)]}, "r_s at least 0 Å"),
    (Angular, {"kernel_size": 2}, "must hold odd numbers"),
]


@pytest.mark.parametrize(("kind", "settings", "message"), WRONG)
def test_settings_out_of_range_raise(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(images_on(PLANE, 2), PLANE, **settings)


def test_angular_needs_two_axes():
    with pytest.raises(ValueError, match="`grid` has 3 axes but must have 2"):
        Angular(images_on(SPACE), SPACE)


@pytest.mark.parametrize("space", [spaces.MultiBinary([1, 9, 11]), spaces.MultiBinary(99), spaces.Dict({})])
def test_images_must_lie_on_the_grid(space):
    with pytest.raises(ValueError, match=r"must be images on the grid \(11, 9\)"):
        OneHot(space, PLANE)


def test_a_representation_without_image_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        Representation(images_on(PLANE), PLANE)


def test_whole_orders_may_be_written_as_numbers_with_a_point():
    assert make("angular", channels=[[1, 1.4, 3.0]]).channels == ((1.0, 1.4, 3),)


# Stock policies of Stable-Baselines3


class PlaceThree(gym.Env):
    """Three placements on a small grid, paid by how far apart the first two lie."""

    def __init__(self, grid: Grid) -> None:
        self.observation_space = images_on(grid)
        self.action_space = spaces.Discrete(grid.n_pixels)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.image, self.placed = np.zeros(self.observation_space.shape, dtype=np.int8), []
        return self.image.copy(), {}

    def step(self, action):
        self.placed.append(int(action))
        self.image.flat[action] = 1
        finished = len(self.placed) == 3
        return self.image.copy(), float(finished and abs(self.placed[1] - self.placed[0])), finished, False, {}


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (DQN, {"learning_starts": 4, "train_freq": 4, "batch_size": 4, "buffer_size": 50, "target_update_interval": 8}),
        (PPO, {"n_steps": 8, "batch_size": 4, "n_epochs": 2}),
    ],
)
@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_stock_policies_learn_with_every_representation(name, algorithm, settings, tmp_path):
    grid = Grid((6, 5), (1.2, 1.0), (True, False))
    policy_kwargs = {
        "features_extractor_class": REPRESENTATIONS[name],
        "features_extractor_kwargs": {"grid": grid, **_settings(name)},
        "net_arch": [8],
    }
    model = algorithm("MlpPolicy", PlaceThree(grid), policy_kwargs=policy_kwargs, seed=0, device="cpu", **settings)
    before = copy.deepcopy(model.policy.state_dict())
    model.learn(24)
    after = model.policy.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    if name == "agr":
        assert any(not torch.equal(before[key], after[key]) for key in before if "coefficients" in key)
    observation, _ = PlaceThree(grid).reset()
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", device="cpu")
    assert loaded.predict(observation, deterministic=True)[0] == model.predict(observation, deterministic=True)[0]
