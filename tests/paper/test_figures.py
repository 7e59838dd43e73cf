"""What J. Chem. Phys. 153, 044107 says about Figs. 3, 5, 8, 9 and 10, of the numbers that our figures show."""

import dataclasses
from functools import partial

import numpy as np
import pytest

from asla_agents.experiments import generalisation
from asla_agents.figures import images
from asla_agents.representations import Gaussian

MIDDLE = 12  # of a kernel of 25 pixels


@pytest.fixture(scope="module")
def q_maps():
    """Structure of Fig. 3, and a Q-map of each arm."""
    structure = generalisation.sample()
    maps = {
        arm: generalisation.q_map(generalisation.drawn(arm, structure), structure, 0) for arm in generalisation.ARMS
    }
    return structure, maps


def unseen(q_map, structure):
    """Q-values where the image is not what was trained on, and what they should be."""
    targets = np.broadcast_to(np.array(generalisation.TARGETS)[:, None], structure.sites.shape)
    return q_map.ravel()[structure.sites[structure.unseen()]], targets[structure.unseen()]


def unseen_error(q_map, structure):
    values, targets = unseen(q_map, structure)
    return np.sqrt(np.mean((values - targets) ** 2))


# Section III, Fig. 3


@pytest.mark.parametrize("arm", generalisation.ARMS)
def test_both_agents_reproduce_the_two_pieces_of_training_data(q_maps, arm):
    """Section III: either agent gives the target Q-values where the image is what it was trained on."""
    structure, maps = q_maps
    for site, target in zip(structure.sites[:, 0], generalisation.TARGETS, strict=True):
        assert maps[arm].ravel()[site] == pytest.approx(target, abs=2e-3)


@pytest.mark.parametrize("arm", generalisation.ARMS)
def test_the_training_data_are_reproduced_wherever_they_appear(q_maps, arm):
    """Section III: completely so wherever the network passes over what overlaps with the training data."""
    structure, maps = q_maps
    for sites, unseen, target in zip(structure.sites, structure.unseen(), generalisation.TARGETS, strict=True):
        assert np.count_nonzero(~unseen) > 1
        np.testing.assert_allclose(maps[arm].ravel()[sites[~unseen]], target, atol=2e-3)


def test_elsewhere_only_the_gaussian_agent_predicts_what_it_should(q_maps):
    """Section III: one-hot gives noise elsewhere, Gaussians a smoothened map of meaningful values."""
    structure, maps = q_maps
    one_hot, gaussian = maps.values()
    assert unseen_error(gaussian, structure) < 0.5 * unseen_error(one_hot, structure)
    values, targets = unseen(gaussian, structure)
    assert np.all(np.sign(values) == targets)


def test_the_map_of_the_gaussian_agent_is_smoother(q_maps):
    """Section III, Fig. 3: its Q-map is smoothened: neighbouring pixels are more alike."""
    one_hot, gaussian = (
        np.corrcoef(q_map.ravel(), np.roll(q_map, 1, axis=0).ravel())[0, 1] for q_map in q_maps[1].values()
    )
    assert gaussian > one_hot + 0.2


def test_the_extended_structure_is_seen_through_its_periodic_images(q_maps):
    """Fig. 3: the structures go on around the unit cell, as the padding is periodic."""
    structure, _ = q_maps
    arm = "Gaussian, λ = 1.25Δ"
    periodic = structure.grid
    for grid in (periodic, dataclasses.replace(periodic, periodic=(False, False))):
        moved = generalisation.Sample(grid, np.roll(structure.atoms, 20, axis=0), structure.sites)
        unmoved = generalisation.Sample(grid, structure.atoms, structure.sites)
        change = generalisation.drawn(arm, moved) - np.roll(generalisation.drawn(arm, unmoved), 20, axis=0)
        assert (np.abs(change).max() < 1e-5) == (grid is periodic)


def test_how_well_gaussians_generalise_depends_on_their_width(monkeypatch, q_maps):
    """Section III: the degree to which predictions generalise depends on λ."""
    structure, maps = q_maps
    monkeypatch.setitem(generalisation.ARMS, "narrow", partial(Gaussian, width_over_spacing=0.25))
    narrow = generalisation.q_map(generalisation.drawn("narrow", structure), structure, 0)
    assert unseen_error(narrow, structure) > 2 * unseen_error(maps["Gaussian, λ = 1.25Δ"], structure)


# Section V, Fig. 5


def test_the_basis_of_figure_5_is_added_up_to_the_kernel():
    """Fig. 5: the coefficients are weights of predetermined kernels, whose sum draws the atoms, Eq. (2)."""
    expansion = images.agr()
    assert expansion.basis.shape == (9, 25, 25)
    np.testing.assert_allclose(np.tensordot(expansion.coefficients, expansion.basis, 1), expansion.kernel, atol=1e-7)
    np.testing.assert_allclose(expansion.basis[:, MIDDLE, MIDDLE], 1)
    np.testing.assert_allclose(expansion.basis[2, MIDDLE + 1, MIDDLE], np.exp(-0.5), atol=0.02)  # λ_3 = Δ


def test_the_atoms_of_figure_5_are_drawn_with_its_kernel():
    """Section V: one kernel converts the one-hot image."""
    expansion = images.agr()
    assert expansion.one_hot.sum() == 12
    assert expansion.drawn.sum() == pytest.approx(12 * expansion.kernel.sum(), rel=1e-6)
    assert np.all(expansion.drawn[expansion.one_hot == 1] >= expansion.kernel[MIDDLE, MIDDLE] - 1e-6)


# Section VI, Fig. 8


@pytest.mark.parametrize("i", range(7))
def test_each_ring_is_highest_two_pixels_further_out_than_the_last(i):
    """Section VI: r_i = 2iΔ in Eq. (4), for kernels of 25 x 25."""
    kernel = images.ring(i)
    assert kernel.shape == (25, 25)
    profile = kernel[MIDDLE:, MIDDLE]
    assert profile.argmax() == 2 * i
    assert profile.max() == pytest.approx(1)


def test_neighbouring_rings_overlap_as_their_width_says():
    """Section VI: λ controls the overlap of neighbours; here it is Δ."""
    first, second = images.ring(1), images.ring(2)
    assert first[MIDDLE + 3, MIDDLE] == pytest.approx(np.exp(-0.5))
    assert second[MIDDLE + 3, MIDDLE] == pytest.approx(np.exp(-0.5))


# Section VII, Figs. 9 and 10


@pytest.mark.parametrize("m", [0, 1, 2, 3])
def test_harmonics_turn_m_times_around_the_central_pixel(m):
    """Eq. (5), Fig. 9: cos(mθ) and sin(mθ), with θ from the horizontal to the line from the central pixel."""
    harmonic = images.harmonic(m)
    assert harmonic.shape == (25, 25)
    np.testing.assert_allclose(np.abs(harmonic), 1, atol=1e-12)
    right, up, left = harmonic[MIDDLE + 5, MIDDLE], harmonic[MIDDLE, MIDDLE + 5], harmonic[MIDDLE - 5, MIDDLE]
    np.testing.assert_allclose([right, up, left], [1, 1j**m, (-1) ** m], atol=1e-12)


def test_the_kernel_of_figure_10_is_the_product_of_radial_and_angular():
    """Eq. (7), Fig. 10: radial and angular kernels are multiplied, real and imaginary parts apart."""
    steps = images.power_spectrum()
    product = steps.radial * steps.angular
    product[MIDDLE, MIDDLE] = 0  # has no angle
    np.testing.assert_allclose(steps.kernel, product, atol=1e-12)


def test_both_pixels_of_figure_10_have_two_atoms_at_the_radius_of_the_ring():
    """Section VII: both pixels are at r_s from two neighbouring atoms."""
    atoms = np.argwhere(images.power_spectrum().one_hot)
    for pixel in (images.LINE, images.RIGHT_ANGLE):
        gaps = np.sort(np.hypot(*(atoms - pixel).T)) * images.SPACING
        np.testing.assert_allclose(gaps[:2], 1.4)
        assert gaps[2] > 1.4 + 5 * images.SPACING


def test_a_line_has_low_power_and_a_right_angle_high():
    """Section VII: for m = 1 the pixel of a linear configuration attains a low value, that of 90° a large one."""
    drawn = images.power_spectrum(m=1).drawn
    assert drawn[images.LINE] == pytest.approx(0, abs=1e-4)
    assert drawn[images.RIGHT_ANGLE] == pytest.approx(2, abs=1e-4)


def test_the_radial_channel_does_not_tell_them_apart():
    """Section VII: the channel of m = 0, not shown in Fig. 10, gives both pixels the same large value."""
    drawn = images.power_spectrum(m=0).drawn
    assert drawn[images.LINE] == pytest.approx(drawn[images.RIGHT_ANGLE], abs=1e-3)
    assert drawn[images.LINE] == pytest.approx(4, abs=1e-3)
