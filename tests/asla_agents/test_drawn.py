"""What a representation draws, and a single success curve: pictures of their own, beside the figures of the paper."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import MultiBinary
from matplotlib.figure import Figure

from asla_agents.figures import draw_curve, drawn
from asla_agents.randomness import torch_seeded
from asla_agents.representations import AGR, REPRESENTATIONS, Angular, Gaussian, OneHot
from asla_env.grid import Grid

GRID = Grid((12, 10), (2.4, 2.0), (True, True))


def image_of(*sites, n_species=1):
    image = np.zeros((n_species, *GRID.shape), dtype=np.int8)
    for site in sites:
        image[site] = 1
    return image


def panels_of(figure):
    """Titles and images (x, y) of the panels that show something; colour bars have no title."""
    shown = [axes for axes in figure.axes if axes.get_title()]
    return [(axes.get_title(), np.asarray(axes.images[0].get_array()).T) for axes in shown]


def make(representation, n_species=1, **kwargs):
    return representation(MultiBinary([n_species, *GRID.shape]), GRID, **kwargs)


def test_one_hot_is_drawn_as_it_is_and_has_no_kernel():
    image = image_of((0, 3, 4))
    (before, structure), (after, result) = panels_of(drawn(make(OneHot), image))
    assert (before, after) == ("structure", "drawn")
    np.testing.assert_array_equal(structure, image[0])
    np.testing.assert_array_equal(result, image[0])


def test_a_gaussian_is_drawn_at_its_atom_with_axes_as_in_the_image():
    figure = drawn(make(Gaussian, width_over_spacing=1.0, kernel_size=5), image_of((0, 3, 4)))
    (_, _), (name, kernel), (_, result) = panels_of(figure)
    assert name == "kernel"
    assert kernel.shape == (5, 5)
    assert np.unravel_index(result.argmax(), GRID.shape) == (3, 4)
    assert result[4, 4] == pytest.approx(np.exp(-0.5), abs=1e-6)


def test_each_species_has_a_row_with_its_own_atoms_and_kernel():
    representation = make(Gaussian, 2, width_over_spacing=[0.5, 2.0], kernel_size=7)
    panels = panels_of(drawn(representation, image_of((0, 3, 4), (1, 8, 1), n_species=2)))
    assert [name for name, _ in panels] == [
        "structure", "kernel", "drawn, channel 1", "structure", "kernel", "drawn, channel 2"
    ]  # fmt: skip
    assert panels[1][1].sum() < panels[4][1].sum()
    for structure, result in ((panels[0][1], panels[2][1]), (panels[3][1], panels[5][1])):
        assert result.argmax() == structure.argmax()


def test_angular_channels_show_an_imaginary_part_where_there_is_one():
    titles = [name for name, _ in panels_of(drawn(make(Angular, kernel_size=9), image_of((0, 3, 4))))]
    assert titles.count("kernel") == 3
    assert titles.count("imaginary part") == 1  # of the channel with m = 1


def test_angular_kernels_serve_every_species():
    figure = drawn(make(Angular, 2, kernel_size=9), image_of((0, 3, 4), (1, 8, 1), n_species=2))
    titles = [name for name, _ in panels_of(figure)]
    assert titles.count("kernel") == 6
    assert "drawn, channel 6" in titles


def test_a_negative_coefficient_is_shown_in_colours_of_both_signs():
    with torch_seeded(0):
        representation = make(AGR, kernel_size=9)
    kernels = {}
    for sign in (1.0, -1.0):
        representation.coefficients.data = torch.tensor([[1.0, *[0.0] * 7, sign]])
        kernel = next(axes for axes in drawn(representation, image_of((0, 3, 4))).axes if axes.get_title() == "kernel")
        kernels[sign] = kernel.images[0]
    assert kernels[1.0].get_cmap().name == "cividis"
    assert kernels[-1.0].get_cmap().name == "RdBu_r"
    assert sum(kernels[-1.0].get_clim()) == 0


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_every_representation_can_be_drawn_of_an_empty_image_too(name):
    assert panels_of(drawn(make(REPRESENTATIONS[name]), image_of()))[0][1].sum() == 0


def test_an_image_of_another_grid_is_refused():
    with pytest.raises(ValueError, match=r"`image` has shape \(1, 3, 3\) but must have two axes and the shape"):
        drawn(make(OneHot), np.zeros((1, 3, 3)))


def test_a_later_and_longer_curve_is_not_cut_off():
    axes = Figure().subplots()
    draw_curve(axes, "short", [10, 20, np.nan], [10, 20, 30], "black")
    draw_curve(axes, "long", [10, 700, np.nan], [10, 700, 800], "blue")
    left, right = axes.get_xlim()
    assert left == 0
    assert right >= 800
    assert axes.get_legend_handles_labels()[1][1].startswith("long\nn = 3, n50 700")
