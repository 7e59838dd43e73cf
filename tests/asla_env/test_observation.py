"""Images of unfinished structures: what is drawn where, and reading it back."""

from random import Random

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from asla_env import Grid, Problem
from asla_env.action import ActionMask, encode
from asla_env.observation import one_hot, placed_sites
from asla_env.problems import PROBLEMS

NO_LIMITS = {"minimum_distance": None, "maximum_distance": None}


def problem(ndim: int = 2) -> Problem:
    """An oxygen atom off pixel (1, 0[, 0]) and room for two of carbon and one of hydrogen."""
    shape = (5, 4, 3)[:ndim]
    grid = Grid(shape, tuple(0.5 * n for n in shape), (False,) * ndim)
    return Problem("small", grid, Atoms("O", [(0.6, 0.1, 0)]), {"C": 2, "H": 1}, **NO_LIMITS)


def at(species: int, *index: int) -> int:
    small = problem(len(index))
    return encode(species, int(np.ravel_multi_index(index, small.grid.shape)), small)


@pytest.mark.parametrize("ndim", [2, 3])
def test_an_image_starts_with_the_template_at_its_nearest_pixel(ndim: int) -> None:
    image = one_hot([], problem(ndim))
    assert image.dtype == np.int8
    assert image.shape == (3, *(5, 4, 3)[:ndim])
    assert np.argwhere(image).tolist() == [[0, 1, *[0] * (ndim - 1)]]


def test_each_atom_is_drawn_in_the_channel_of_its_species_on_its_pixel() -> None:
    image = one_hot([at(1, 4, 2), at(2, 0, 3), at(1, 3, 1)], problem())
    assert np.argwhere(image).tolist() == [[0, 1, 0], [1, 3, 1], [1, 4, 2], [2, 0, 3]]
    assert set(np.unique(image)) == {0, 1}


def test_a_third_axis_is_drawn() -> None:
    image = one_hot([at(2, 4, 2, 1)], problem(ndim=3))
    assert np.argwhere(image).tolist() == [[0, 1, 0, 0], [2, 4, 2, 1]]


@pytest.mark.parametrize("site", [-1, 60])
def test_what_is_no_action_is_not_drawn(site: int) -> None:
    with pytest.raises(ValueError, match=rf"`placed` is \[3, {site}\] but must hold action indices in \[0, 60\)"):
        one_hot([3, site], problem())


def test_an_image_is_a_new_array_each_time() -> None:
    one_hot([], problem())[:] = 1
    assert one_hot([], problem()).sum() == 1


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(PROBLEMS)), st.integers(0, 8), st.randoms(use_true_random=False))
def test_reading_an_image_gives_the_placed_atoms_in_ascending_order(name: str, n: int, random: Random) -> None:
    build = PROBLEMS[name]()
    mask, placed = ActionMask(build), []
    for _ in range(n):
        placed.append(int(random.choice(np.flatnonzero(mask.legal))))
        mask.place(placed[-1])
    image = one_hot(placed, build)
    assert image.sum() == len(build.template) + len(placed)
    assert placed_sites(image, build).tolist() == sorted(placed)
    np.testing.assert_array_equal(one_hot(random.sample(placed, len(placed)), build), image)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_images_of_any_number_type_can_be_read(dtype: type) -> None:
    placed = [at(1, 3, 1), at(1, 4, 2)]
    assert placed_sites(one_hot(placed, problem()).astype(dtype), problem()).tolist() == placed


def test_an_image_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`image` has shape \(3, 4, 5\) but must have shape \(3, 5, 4\)"):
        placed_sites(np.zeros((3, 4, 5)), problem())


def test_an_image_without_the_template_is_refused() -> None:
    with pytest.raises(ValueError, match="`image` lacks atoms of the template but must show all of them"):
        placed_sites(np.zeros((3, 5, 4)), problem())
