"""What sections II-IX of J. Chem. Phys. 153, 044107 say about representations and network, one test a sentence."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from asla_agents import equations
from asla_agents.q_map import QMapNetwork, QMapPolicy
from asla_agents.representations import AGR, REPRESENTATIONS, Angular, Displaced, Gaussian, OneHot
from asla_env.grid import Grid

SPACING = 0.2
GRAPHENE = Grid((41, 36), (41 * SPACING, 36 * SPACING), (True, True))
OPEN = Grid((45, 36), (45 * SPACING, 36 * SPACING), (False, False))
SPACE = Grid((8, 7, 6), (1.6, 1.4, 1.2), (True, True, False))


def draw(kind, grid=GRAPHENE, n_species=1, **settings):
    torch.manual_seed(0)
    return kind(spaces.MultiBinary([n_species, *grid.shape]), grid, **settings)


def atoms_at(*pixels, grid=GRAPHENE, n_species=1):
    """One image with atoms of the first species."""
    image = torch.zeros(1, n_species, *grid.shape)
    for pixel in pixels:
        image[0, 0][pixel] = 1
    return image


def q_map_policy(kind, grid=GRAPHENE, n_species=1, **settings):
    torch.manual_seed(0)
    images, actions = spaces.MultiBinary([n_species, *grid.shape]), spaces.Discrete(n_species * grid.n_pixels)
    return QMapPolicy(images, actions, lambda _: 1e-3, grid, kind, settings)


def n_trainable(module):
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


# II. ASLA


@pytest.mark.parametrize("grid", [GRAPHENE, SPACE], ids=["layer", "matrix"])
def test_space_may_be_a_layer_or_a_matrix(grid):
    """'Space may be a 2D layer or a 3D matrix'."""
    policy = q_map_policy(Gaussian, grid, kernel_size=5)
    assert policy.q_map(atoms_at((1,) * grid.ndim, grid=grid)).shape == (1, 1, *grid.shape)


@pytest.mark.parametrize("kind", REPRESENTATIONS.values())
def test_atom_types_have_layers_of_their_own(kind):
    """'different atom types are treated in separate input layers or matrices'."""
    representation = draw(kind, n_species=2).eval()
    empty, one = atoms_at(n_species=2), atoms_at((20, 18), n_species=2)
    changed = (representation.image(one) - representation.image(empty)).abs().amax((0, 2, 3))
    n = representation.n_channels // 2
    assert changed[:n].min() > 0.05
    assert changed[n:].max() == 0


def test_the_q_value_map_has_a_value_for_each_atom_type_and_pixel():
    """'if the next atom is placed at any given pixel in the map'."""
    policy = q_map_policy(Gaussian, n_species=2)
    assert policy.q_map(atoms_at((3, 4), n_species=2)).shape == (1, 2, 41, 36)


def test_a_bounded_head_keeps_to_the_range_of_q_values():
    """'Maximum Q-values of 1 ... smaller Q-values down to -1'."""
    network = QMapNetwork(GRAPHENE, head="tanh")
    network.output.weight.data *= 1e4
    assert network(torch.rand(1, 1, 41, 36)).abs().max() <= 1


def test_four_convolutions_with_ten_kernels_of_15x15_have_49531_weights():
    """'four convolutional filters ... 10 kernels of size 15 x 15, resulting in a total of 49 531 trainable weights'."""
    network = QMapNetwork(GRAPHENE)
    shapes = [tuple(p.shape) for name, p in network.named_parameters() if name.endswith("weight")]
    assert shapes == [(10, 1, 15, 15), (10, 10, 15, 15), (10, 10, 15, 15), (1, 10, 15, 15)]
    assert n_trainable(network) == 49_531
    assert n_trainable(q_map_policy(OneHot)) == n_trainable(q_map_policy(Gaussian)) == 49_531


@pytest.mark.parametrize("kind", [OneHot, Gaussian])
def test_the_one_hot_image_goes_through_one_more_convolution_before_the_same_network(kind):
    """Fig. 1(c) and (d): 'input directly to the' CNN, or 'converted using a convolutional layer before being fed'."""
    policy, one_hot = q_map_policy(kind), atoms_at((3, 4), (20, 18))
    image = one_hot.clone()
    if kind is Gaussian:
        padded = nn.functional.pad(one_hot, (12, 12, 12, 12), mode="circular")
        image = nn.functional.conv2d(padded, policy.features_extractor.kernel())
    torch.testing.assert_close(policy.q_map(one_hot), policy.network(image, one_hot), rtol=0, atol=1e-5)


# III. Gaussian representation


@pytest.mark.parametrize(("grid", "wraps"), [(GRAPHENE, True), (OPEN, False)], ids=["periodic", "zero-padded"])
def test_a_single_hard_coded_kernel_runs_over_the_image_with_the_right_boundaries(grid, wraps):
    """'a single hard-coded convolution kernel ... using appropriate periodic or zero-padding boundary conditions'."""
    gaussian = draw(Gaussian, grid)
    assert n_trainable(gaussian) == 0
    image = gaussian.image(atoms_at((0, 0), grid=grid))[0, 0]
    width = 1.25 * SPACING
    assert image[1, 2].item() == pytest.approx(math.exp(-5 * SPACING**2 / (2 * width**2)), abs=1e-6)
    assert image[-1, -2].item() == pytest.approx(image[1, 2].item() if wraps else 0, abs=1e-6)


def test_the_kernel_is_25x25_without_bias():
    """'This "representation kernel" has dimensions 25 x 25, zero bias, and weights according to a Gaussian'."""
    gaussian = draw(Gaussian)
    assert gaussian.kernel().shape == (1, 1, 25, 25)
    assert gaussian.bias == 0
    i, j = np.indices((25, 25)) - 12
    expected = np.exp(-(i**2 + j**2) * SPACING**2 / (2 * (1.25 * SPACING) ** 2))
    np.testing.assert_allclose(gaussian.double().kernel()[0, 0], expected, rtol=0, atol=1e-12)


def test_the_kernel_is_centred_on_pixel_13_13():
    """'r is the distance from the mid-point of the convolution kernel, i.e., pixel (13,13)'."""
    gaussian = draw(Gaussian)
    assert gaussian.r[12, 12] == 0
    assert gaussian.kernel()[0, 0, 12, 12] == gaussian.kernel().max() == 1
    assert (gaussian.kernel() == 1).sum() == 1


def test_the_kernel_is_nearly_zero_at_its_edge_even_for_the_largest_width():
    """'the kernel is approximately zero at the edge even for large λ without having to introduce a cutoff'."""
    kernel = draw(Gaussian, width_over_spacing=3.0).double().kernel()[0, 0]
    edge = torch.cat([kernel[0], kernel[-1], kernel[:, 0], kernel[:, -1]])
    assert edge.max().item() == pytest.approx(math.exp(-8), rel=1e-12)


def test_the_gaussian_collapses_to_one_hot():
    """'K conveniently collapses to a delta-function and hence a one-hot encoding ... λ → 0'."""
    delta = torch.zeros(1, 1, 25, 25)
    delta[0, 0, 12, 12] = 1
    narrow = draw(Gaussian, width_over_spacing=0.01)
    assert torch.equal(narrow.kernel(), delta)
    image = atoms_at((0, 0), (7, 30), (40, 35))
    torch.testing.assert_close(narrow.image(image), draw(OneHot).image(image), rtol=0, atol=1e-6)


def test_the_best_width_is_a_quarter_of_an_angstrom():
    """'λ = 1.25Δ ≈ 0.25 Å'; 'a side length of Δ ≈ 0.20 Å'."""
    gaussian = draw(Gaussian)
    assert gaussian.spacing == pytest.approx(0.20)
    assert gaussian.widths.item() == pytest.approx(0.25)


def test_nearby_placements_look_alike_as_gaussians_only():
    """'by smearing the atomic position on the input, more environments will be conceived ... as resembling'."""

    def likeness(representation):
        here, there = (representation.image(atoms_at(pixel)).flatten() for pixel in ((20, 18), (21, 18)))
        return torch.cosine_similarity(here, there, dim=0).item()

    assert likeness(draw(OneHot)) == 0
    assert likeness(draw(Gaussian)) > 0.8


# IV. Bias


@pytest.mark.parametrize("bias", [-0.1, 0.0, 0.1])
def test_pixels_far_from_any_atom_show_the_bias(bias):
    """'In the presence of the negative bias, such pixels become negative'."""
    image = draw(Gaussian, bias=bias).image(atoms_at((20, 18)))[0, 0]
    assert image[0, 0].item() == pytest.approx(bias, abs=1e-6)
    assert image[20, 18].item() == pytest.approx(1 + bias, abs=1e-6)


def test_only_a_negative_bias_tells_near_from_far_by_sign():
    """'difficult ... to distinguish between pixels that are close to an atom ... or are far from an atom'."""
    image = atoms_at((20, 18))
    negative, positive = (draw(Gaussian, bias=bias).image(image)[0, 0] for bias in (-0.1, 0.1))
    near = draw(Gaussian).r < 2 * 0.25
    window = (slice(20 - 12, 20 + 13), slice(18 - 12, 18 + 13))
    assert (negative[window][near] > 0).all()
    assert negative[0, 0] < 0
    assert (positive > 0).all()


def test_a_negative_amplitude_reverses_the_sign_of_the_bias():
    """'if instead the Gaussian kernel is chosen to have a negative amplitude, the effect ... becomes reversed'."""
    image = atoms_at((20, 18), (3, 4))
    below = draw(Gaussian, amplitude=-1, bias=0.1).image(image)
    torch.testing.assert_close(below, -draw(Gaussian, bias=-0.1).image(image))


def test_without_bias_nothing_is_drawn_far_from_atoms():
    """'With a bias of zero, the kernels of the ASLA CNN can only operate on regions close to atoms'."""
    image = draw(Gaussian).double().image(atoms_at((20, 18)))[0, 0]
    far = torch.ones(41, 36, dtype=torch.bool)
    far[20 - 12 : 20 + 13, 18 - 12 : 18 + 13] = False
    assert image[far].abs().max() < 1e-12


@pytest.mark.parametrize("bias", [-0.1, 0.0, 0.1])
def test_only_with_a_bias_do_the_kernels_of_the_network_act_far_from_atoms(bias):
    """'the kernels in the ASLA network can thus operate on these regions'; 'With a bias of zero ... only ... close'."""
    drawn = draw(Gaussian, bias=bias, width_over_spacing=1.0, kernel_size=9).image(atoms_at((20, 18)))
    first_layer = QMapNetwork(GRAPHENE).hidden[0](drawn.permute(2, 3, 1, 0)).detach()  # [x, y, kernel, batch]
    assert first_layer.shape == (41, 36, 10, 1)
    largest = first_layer[:2, :2].abs().amax((0, 1, 3))  # 18 pixels and more from the atom along both axes
    assert torch.all(largest < 1e-5 if bias == 0 else largest > 1e-4)


@pytest.mark.parametrize("bias", [-0.1, 0.0, 0.1])
def test_only_with_a_bias_do_q_values_far_from_atoms_depend_on_the_kernels(bias):
    """'the kernels in the ASLA network can thus operate on these regions', in all four layers."""
    drawn = draw(Gaussian, bias=bias, width_over_spacing=1.0, kernel_size=9).image(atoms_at((20, 18)))
    network = QMapNetwork(GRAPHENE, kernel_size=5)  # four of which reach eight pixels
    far = network(drawn)[0, 0, :2, :2]
    kernels = [parameter for name, parameter in network.named_parameters() if name.endswith("weight")]
    largest = torch.stack([gradient.abs().max() for gradient in torch.autograd.grad(far.square().sum(), kernels)])
    assert len(largest) == 4
    assert torch.all(largest < 1e-5 if bias == 0 else largest > 1e-4)


# V. Automated Gaussian representation


def test_representation_and_network_are_one_combined_network():
    """'representational hyperparameters may be optimized as an integral part of the backpropagation'."""
    policy = q_map_policy(AGR)
    before = policy.features_extractor.coefficient_values
    loss = (policy(atoms_at((20, 18)))[0, 700] - 1) ** 2
    loss.backward()
    policy.optimizer.step()
    assert (policy.features_extractor.coefficients.grad != 0).all()
    assert (policy.features_extractor.coefficient_values != before).all()
    assert n_trainable(policy) == 49_531 + 9 + 2


def test_the_width_itself_can_be_trained():
    """'The simplest approach would be to make λ trainable'."""
    policy = q_map_policy(Gaussian, trainable_width=True)
    assert n_trainable(policy) == 49_531 + 1
    before = policy.features_extractor.widths.item()
    policy(atoms_at((20, 18)))[0, 700].backward()
    policy.optimizer.step()
    assert policy.features_extractor.widths.item() != before


def test_the_basis_has_nine_predetermined_widths():
    """'λ_n = {Δ/3, 2Δ/3, Δ, 4Δ/3, 5Δ/3, 2Δ, 7Δ/3, 8Δ/3, 3Δ}'."""
    widths = draw(AGR).double().widths / SPACING
    np.testing.assert_allclose(widths, [1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2, 7 / 3, 8 / 3, 3], rtol=1e-12)


def test_the_fourth_width_is_the_one_nearest_to_the_best_single_one():
    """'narrowly peaked around the kernels of optimal λ (~ λ_4)'."""
    widths = draw(AGR).widths.numpy() / SPACING
    assert np.abs(widths - 1.25).argmin() == 4 - 1


def test_the_kernel_is_the_sum_of_equation_2():
    """'expanding the kernel in a basis of Gaussian kernels', Eq. (2)."""
    agr = draw(AGR).double()
    i, j = np.indices((25, 25)) - 12
    expected = sum(
        c * np.exp(-(i**2 + j**2) / (2 * (n / 3) ** 2)) for n, c in enumerate(agr.coefficient_values[0], start=1)
    )
    np.testing.assert_allclose(agr.kernel()[0, 0].detach(), expected, rtol=0, atol=1e-12)


def test_the_representation_is_batch_normalised():
    """'the representation resulting from the convolution ... is batch normalized'."""
    agr = draw(AGR)
    image = agr.image(torch.cat([atoms_at((20, 18)), atoms_at((3, 4), (30, 30))]))
    assert isinstance(agr.norm, nn.BatchNorm2d)
    assert image.mean().item() == pytest.approx(0, abs=1e-5)
    assert image.std().item() == pytest.approx(0.25, abs=1e-2)  # the gain, trained like the bias, starts there


def test_batch_normalisation_provides_the_bias():
    """'Since batch normalization contains a learnable bias, this effectively provides the bias'."""
    agr, image = draw(AGR), atoms_at((20, 18))
    before = agr.image(image)
    assert agr.norm.bias.requires_grad
    agr.norm.bias.data -= 0.1
    torch.testing.assert_close(agr.image(image), before - 0.1)


def test_coefficients_start_uniform_between_0_and_a_half():
    """'initialized randomly from a uniform distribution in the range [0, 0.5]'."""
    torch.manual_seed(0)
    tiny = Grid((2, 2), (0.4, 0.4), (True, True))
    several = [AGR(spaces.MultiBinary([1, 2, 2]), tiny, kernel_size=1) for _ in range(300)]
    values = np.array([agr.coefficient_values for agr in several]).ravel()
    assert values.min() >= 0
    assert values.max() <= 0.5
    counts, _ = np.histogram(values, bins=5, range=(0, 0.5))
    assert np.all(np.abs(counts - 540) < 5 * math.sqrt(540))


@pytest.mark.parametrize("beta_1", [0, 0.01, 0.1])
def test_the_l1_term_is_added_with_its_weight(beta_1):
    """'L_1 = β_1 Σ|c_i|', Eq. (3), and 'β_1 = 0, 0.01, and 0.1' in Fig. 6."""
    agr = draw(AGR, beta_1=beta_1)
    agr.coefficients.data[0, ::2] *= -1
    agr.penalty().backward()
    assert agr.penalty().item() == pytest.approx(beta_1 * np.abs(agr.coefficient_values).sum(), rel=1e-6)
    np.testing.assert_allclose(agr.coefficients.grad, beta_1 * np.sign(agr.coefficient_values), rtol=1e-6)


# VI. Displaced Gaussian basis


def test_there_are_seven_rings_two_pixels_apart():
    """'For a 25 x 25 kernel ... seven Gaussians with r_i = 2iΔ with i going between 0 and 6 ... λ = Δ is chosen'."""
    displaced = draw(Displaced).double()
    np.testing.assert_allclose(displaced.centers / SPACING, [0, 2, 4, 6, 8, 10, 12], rtol=1e-12)
    assert displaced.width == pytest.approx(SPACING)
    assert displaced.kernel().shape == (1, 1, 25, 25)


@pytest.mark.parametrize("i", range(7))
def test_each_basis_kernel_is_the_ring_of_equation_4(i):
    """'an offset r_i has been introduced', Eq. (4)."""
    displaced = draw(Displaced).double()
    displaced.coefficients.data = torch.eye(7, dtype=torch.float64)[i : i + 1]
    x, y = np.indices((25, 25)) - 12
    expected = np.exp(-((np.hypot(x, y) - 2 * i) ** 2) / 2)
    np.testing.assert_allclose(displaced.kernel()[0, 0].detach(), expected, rtol=0, atol=1e-12)


def starts(initialisation):
    """Coefficients of 300 restarts."""
    tiny = Grid((2, 2), (0.4, 0.4), (True, True))
    torch.manual_seed(0)
    several = [Displaced(spaces.MultiBinary([1, 2, 2]), tiny, initialisation, kernel_size=1) for _ in range(300)]
    return np.array([displaced.coefficient_values[0] for displaced in several])


@pytest.mark.parametrize(
    ("initialisation", "envelope"), [("uniform", np.ones(7)), ("envelope", np.linspace(1, 0.1, 7))]
)
def test_random_initialisations_are_uniform_under_an_envelope(initialisation, envelope):
    """'between -1 and 1'; 'a linearly decreasing envelope function that decays from 1 for i = 0 to 0.1 for i = 6'."""
    values = starts(initialisation)
    assert np.all(np.abs(values) <= envelope)
    np.testing.assert_allclose(np.abs(values).max(axis=0), envelope, rtol=0.05)
    np.testing.assert_allclose(values.mean(axis=0) / envelope, 0, atol=0.15)
    np.testing.assert_allclose(values.std(axis=0) / envelope, 1 / math.sqrt(3), rtol=0.1)


def test_the_third_initialisation_is_one_gaussian():
    """'one Gaussian ... having c_0 = 1 and the remaining trainable c_i's initially set to 0'."""
    assert np.all(starts("gaussian") == [1, 0, 0, 0, 0, 0, 0])
    displaced, gaussian = draw(Displaced, initialisation="gaussian"), draw(Gaussian, width_over_spacing=1.0)
    torch.testing.assert_close(displaced.kernel(), gaussian.kernel())
    assert displaced.coefficients.requires_grad


def test_rings_are_trained_without_l1():
    """'trained as described for the AGR method but without L_1 regularization'."""
    policy = q_map_policy(Displaced)
    policy(atoms_at((20, 18)))[0, 700].backward()
    assert (policy.features_extractor.coefficients.grad != 0).all()
    assert isinstance(policy.features_extractor.norm, nn.BatchNorm2d)
    assert policy.features_extractor.penalty() == 0


# VII. Angular kernels


def power_at(pixel, atoms, m, grid=GRAPHENE, r_s=1.0, width_over_spacing=1.0):
    """Power of order m at a pixel, without batch normalisation."""
    angular = draw(Angular, grid, channels=[(width_over_spacing, r_s, m)]).double()
    angular.norm = nn.Identity()
    return angular.image(atoms_at(*atoms, grid=grid))[0, 0][pixel].item()


# five pixels of 0.2 Å are 1.0 Å
LINE, RIGHT_ANGLE = [(15, 18), (25, 18)], [(25, 18), (20, 23)]
# pixels of 0.1 x 0.1732 Å hold the corners of a hexagon of radius 1 Å
HEXAGONAL = Grid((40, 30), (4.0, 3 * math.sqrt(3)), (True, True))
SIXTY, HUNDRED_AND_TWENTY = [(30, 15), (25, 20)], [(30, 15), (15, 20)]


@pytest.mark.parametrize(("m", "on_a_line", "at_a_right_angle"), [(1, 0, 2), (0, 4, 4)])
def test_order_1_tells_a_line_from_a_right_angle_and_order_0_does_not(m, on_a_line, at_a_right_angle):
    """'The m = 1 part of the power spectrum is capable of discriminating'; m = 0 'would not discriminate'."""
    assert power_at((20, 18), LINE, m) == pytest.approx(on_a_line, abs=1e-10)
    assert power_at((20, 18), RIGHT_ANGLE, m) == pytest.approx(at_a_right_angle, abs=1e-10)


@pytest.mark.parametrize(("m", "at_60", "at_120"), [(3, 0, 4), (0, 4, 4)])
def test_order_3_tells_60_from_120_degrees(m, at_60, at_120):
    """'the m = 3 part ... discriminating between positions that would lead to ... 60° and 120° bond angles'."""
    assert power_at((20, 15), SIXTY, m, HEXAGONAL) == pytest.approx(at_60, abs=1e-10)
    assert power_at((20, 15), HUNDRED_AND_TWENTY, m, HEXAGONAL) == pytest.approx(at_120, abs=1e-10)


@pytest.mark.parametrize("m", [0, 1, 2, 3])
def test_the_circular_harmonics_are_those_of_equation_5(m):
    """'K_m(θ) = e^{imθ} = cos(mθ) + i sin(mθ)'; 'θ is calculated between the horizontal and the line ...', Fig. 9."""
    angular = draw(Angular, channels=[(1.0, 1.4, m)]).double()
    assert angular.theta[20, 12] == 0
    assert angular.theta[12, 20].item() == pytest.approx(math.pi / 2)
    phases = equations.circular_harmonic(angular.theta, m)
    np.testing.assert_allclose(phases.real, np.cos(m * angular.theta.numpy()), atol=1e-12)
    np.testing.assert_allclose(phases.imag, np.sin(m * angular.theta.numpy()), atol=1e-12)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_the_power_is_a_double_sum_over_neighbours_without_computing_one(m):
    """'it does not contain any double sum over neighboring atomic positions'."""
    atoms = [(20, 23), (25, 19), (14, 17), (19, 13), (23, 23)]
    offsets = SPACING * (np.array(atoms) - (20, 18))
    radial = np.exp(-((np.hypot(*offsets.T) - 1.0) ** 2) / (2 * SPACING**2))
    angles = np.arctan2(offsets[:, 1], offsets[:, 0])
    pairs = product(range(5), repeat=2)
    expected = sum(radial[i] * radial[j] * math.cos(m * (angles[i] - angles[j])) for i, j in pairs)
    assert power_at((20, 18), atoms, m) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_the_power_is_constructed_for_every_pixel_in_one_go(m):
    """'The use of convolutions assures that the information is constructed for every pixel in the image in one go'."""
    angular = draw(Angular, channels=[(1.0, 1.0, m)]).double()
    angular.norm = nn.Identity()
    atoms = [(0, 1), (4, 34), (20, 18), (25, 18), (24, 22)]
    periodic_images = [np.add(atom, shift) for atom, shift in product(atoms, product((-41, 0, 41), (-36, 0, 36)))]
    expected = np.zeros((41, 36))
    for pixel in np.ndindex(expected.shape):
        dx, dy = SPACING * (np.array(periodic_images) - pixel).T
        r, theta = np.hypot(dx, dy), np.arctan2(dy, dx)
        neighbours = (r > 0) * np.exp(-((r - 1.0) ** 2) / (2 * SPACING**2)) * np.exp(1j * m * theta)
        expected[pixel] = np.abs(neighbours.sum()) ** 2
    np.testing.assert_allclose(angular.image(atoms_at(*atoms))[0, 0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("m", [0, 1, 2, 3])
def test_the_power_is_real_and_does_not_depend_on_the_orientation(m):
    """'leading to the final equivariant representation', Fig. 10."""
    turned = [(20 - (y - 18), 18 + (x - 20)) for x, y in RIGHT_ANGLE]
    assert power_at((20, 18), turned, m) == pytest.approx(power_at((20, 18), RIGHT_ANGLE, m), abs=1e-10)


FIG_11 = {
    2: [(1.5, 0.0, 0), (1.0, 1.4, 0)],
    3: [(1.5, 0.0, 0), (1.0, 1.4, 0), (1.0, 1.4, 1)],
    4: [(1.5, 0.0, 0), (1.0, 1.4, 0), (1.0, 1.4, 1), (1.0, 1.4, 2)],
    5: [(1.5, 0.0, 0), (1.0, 1.4, 0), (1.0, 1.4, 1), (1.0, 1.4, 2), (1.0, 1.4, 3)],
}


@pytest.mark.parametrize("n", FIG_11)
def test_figure_11_stacks_channels(n):
    """'The two-channel representation consists of an on-site Gaussian ...'; 'multiple stacked channels'."""
    angular = draw(Angular, channels=FIG_11[n])
    image = atoms_at((20, 18), (27, 18), (20, 25))
    assert angular.image(image).shape == (1, n, 41, 36)
    assert isinstance(angular.norm, nn.BatchNorm2d)  # 'batch-normalization is utilized, as it is here'
    angular.norm = nn.Identity()
    drawn = angular.image(image)
    on_site = draw(Gaussian, width_over_spacing=1.5).image(image)
    torch.testing.assert_close(drawn[:, :1], on_site, rtol=0, atol=1e-6)
    for i, (_, r_s, m) in enumerate(FIG_11[n][1:], start=1):
        expected = power_at((20, 18), [(20, 18), (27, 18), (20, 25)], m, r_s=r_s)
        assert drawn[0, i, 20, 18].item() == pytest.approx(expected, abs=1e-5)


# VIII. Outlook: multiple species, and IX. Conclusion


def test_each_species_has_a_gaussian_of_the_same_width():
    """'a Gaussian representation for each species, but with the same λ of 1Δ with a 15 x 15 kernel'."""
    gaussian = draw(Gaussian, OPEN, n_species=2, width_over_spacing=1.0, kernel_size=15)
    kernels = gaussian.kernel()
    assert kernels.shape == (2, 1, 15, 15)
    assert torch.equal(kernels[0], kernels[1])
    torch.testing.assert_close(gaussian.widths, torch.full((2,), SPACING))


def test_widths_may_differ_between_species_and_agr_takes_several():
    """'investigate the influence of species-specific λ and extend the AGR method to multi-species'."""
    gaussian = draw(Gaussian, OPEN, n_species=2, width_over_spacing=[1.25, 0.8])
    torch.testing.assert_close(gaussian.widths, torch.tensor([1.25, 0.8]) * SPACING)
    agr = draw(AGR, OPEN, n_species=2)
    assert agr.coefficients.shape == (2, 9)
    assert not torch.equal(agr.kernel()[0], agr.kernel()[1])


@pytest.mark.parametrize("kind", [Gaussian, AGR, Displaced])
def test_radial_representations_turn_one_layer_into_one_layer(kind):
    """'conversion of one input layer to another input layer based on an on-site radial broadening convolution'."""
    representation = draw(kind)
    assert representation.image(atoms_at((20, 18))).shape == (1, 1, 41, 36)
    kernel = representation.kernel()[0, 0]
    for turned in (kernel.flip(0), kernel.flip(1), kernel.T):
        torch.testing.assert_close(turned, kernel)
