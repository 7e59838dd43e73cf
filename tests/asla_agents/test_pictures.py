"""Pictures of agents: what is drawn is read back from the axes."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from asla_agents import ASLA, pictures
from asla_agents.drawing import Representation
from asla_agents.representations import AGR, REPRESENTATIONS, Angular, Displaced, Gaussian, OneHot
from asla_env import Grid
from asla_env.action import action_mask

GRID = Grid((12, 10), (2.4, 2.5), (True, True))
SOLID = Grid((6, 5, 4), (1.2, 1.0, 0.8), (True, True, True))
CO = ("C", "O")


def made(kind, grid=GRID, **settings):
    return kind(spaces.MultiBinary([2, *grid.shape]), grid, kernel_size=5, **settings)


def panels_of(figure):
    return [axes for axes in figure.axes if axes.get_title()]


def test_a_kernel_is_drawn_for_each_species_with_its_profile_in_angstrom():
    gaussian = made(Gaussian, width_over_spacing=[1.0, 2.0])
    carbon, oxygen, profile = panels_of(pictures.kernels(gaussian, CO))
    assert [axes.get_title() for axes in (carbon, oxygen)] == ["kernel of C", "kernel of O"]
    kernel = gaussian.kernel().numpy()
    for axes, expected in zip((carbon, oxygen), kernel[:, 0], strict=True):
        np.testing.assert_allclose(axes.images[0].get_array().T, expected)
        assert axes.images[0].get_extent() == pytest.approx([-0.5, 0.5, -0.625, 0.625])  # 5 pixels of 0.2 and 0.25 Å
    for line, expected in zip(profile.lines, kernel[:, 0, :, 2], strict=False):
        np.testing.assert_allclose(line.get_xdata(), [-0.4, -0.2, 0, 0.2, 0.4], atol=1e-12)
        np.testing.assert_allclose(line.get_ydata(), expected)


def test_atoms_that_are_single_pixels_have_no_kernel():
    one_hot = OneHot(spaces.MultiBinary([2, *GRID.shape]), GRID)
    assert pictures.kernels(one_hot, CO) is None
    assert pictures.coefficients(one_hot, CO) is None


def test_of_a_complex_kernel_the_real_part_is_drawn_for_each_channel():
    angular = made(Angular)
    panels = panels_of(pictures.kernels(angular, CO))
    assert [axes.get_title() for axes in panels] == ["channel 1", "channel 2", "channel 3", "profile along x"]
    for axes, expected in zip(panels[:3], angular.kernel().real, strict=True):
        np.testing.assert_allclose(axes.images[0].get_array().T, expected)


def test_of_a_kernel_with_three_axes_the_middle_plane_is_drawn():
    gaussian = made(Gaussian, SOLID)
    carbon, *_ = panels_of(pictures.kernels(gaussian, CO))
    np.testing.assert_allclose(carbon.images[0].get_array().T, gaussian.kernel()[0, 0, :, :, 2])


@pytest.mark.parametrize(
    ("kind", "ticks"),
    [(AGR, ["0.33", "0.67", "1", "1.3", "1.7", "2", "2.3", "2.7", "3"]), (Displaced, ["0", "2", "4", "6"])],
)
def test_coefficients_are_bars_over_widths_or_radii_for_each_species(kind, ticks):
    representation = made(kind, **({"n_rings": 4, "initialisation": "uniform"} if kind is Displaced else {}))
    representation.coefficients.data[0, 0], representation.coefficients.data[1, 1] = -0.5, 0.5
    carbon, oxygen = panels_of(pictures.coefficients(representation, CO))
    for axes, expected in zip((carbon, oxygen), representation.coefficient_values, strict=True):
        np.testing.assert_allclose([bar.get_height() for bar in axes.patches], expected)
        assert [label.get_text() for label in axes.get_xticklabels()] == ticks
    assert carbon.patches[0].get_facecolor() != oxygen.patches[1].get_facecolor()


@pytest.mark.parametrize("representation", list(REPRESENTATIONS))
def test_the_first_q_map_is_that_of_the_agent_where_it_is_legal(representation):
    env = gym.make("ASLA-GrapheneMini-v0", evaluator="xwch")
    model = ASLA("QMapPolicy", env, representation=representation, seed=1)
    weights = {name: values.clone() for name, values in model.policy.state_dict().items()}
    (axes,) = panels_of(pictures.first_q_map(model))
    image, _ = env.reset(seed=0)
    expected = model.q_values(image[None])[0].reshape(model.problem.grid.shape)
    shown = axes.images[-1].get_array().T
    legal = action_mask([], model.problem).reshape(expected.shape).astype(bool)
    np.testing.assert_allclose(np.asarray(shown)[legal], expected[legal], rtol=1e-5, atol=1e-6)
    assert np.ma.getmaskarray(np.ma.masked_invalid(shown))[~legal].all()
    assert all(torch.equal(values, model.policy.state_dict()[name]) for name, values in weights.items())


class OnlyImage(Representation):
    """What must be there of a representation, and nothing else."""

    def image(self, observations):
        return observations.float()


@pytest.mark.parametrize(
    ("learned", "told"),
    [
        ({"widths": [1.0, 2.0]}, [("widths", "C", [1.0]), ("widths", "H", [2.0])]),
        ({"rows": [[1, 2], [3, 4]]}, [("rows", "C", [1.0, 2.0]), ("rows", "H", [3.0, 4.0])]),
        ({"decay": 0.3}, [("decay", "", [0.3])]),
        ({"decays": [0.2, 0.4, 0.6]}, [("decays", "", [0.2, 0.4, 0.6])]),
        ({}, []),
    ],
)
def test_a_representation_of_ones_own_needs_no_kernel_and_may_have_learned_anything(learned, told, monkeypatch):
    representation = OnlyImage(spaces.MultiBinary([2, 5, 5]), Grid((5, 5), (2.0, 2.0), (True, True)))
    monkeypatch.setattr(OnlyImage, "learned", lambda _: learned)
    assert pictures.kernels(representation, ("C", "H")) is None
    assert pictures.learned(representation, ("C", "H")) == told
