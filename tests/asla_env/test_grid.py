"""The pixel grid: positions, periodic distances and symmetries, against ASE and by brute force."""

from itertools import product

import numpy as np
import pytest
from ase.cell import Cell
from ase.geometry import get_distances
from hypothesis import given, settings
from hypothesis import strategies as st

from asla_env.grid import Grid, Symmetry

FINITE = st.floats(-20, 20)
SQUARE = Grid((4, 4), (2.0, 2.0), (True, True))


@st.composite
def grids(draw, longest=7):
    ndim = draw(st.integers(2, 3))
    shape = draw(st.tuples(*[st.integers(1, longest)] * ndim))
    spacings = draw(st.tuples(*[st.sampled_from([0.2, 0.5, 1.3])] * ndim))  # few, so that axes are often alike
    periodic = draw(st.tuples(*[st.booleans()] * ndim))
    cell = tuple(n * spacing for n, spacing in zip(shape, spacings, strict=True))
    return Grid(shape, cell, periodic, draw(st.tuples(FINITE, FINITE, FINITE)))


def positions_near(grid, seed, n=5, reach=1.5):
    """Random positions in and around a grid of two or three axes."""
    random = np.random.default_rng(seed)
    offsets = random.uniform(-reach, 1 + reach, size=(n, 3))
    offsets[:, : grid.ndim] *= grid.cell
    return np.asarray(grid.origin) + offsets


def ase_distances(grid, positions):
    cell, pbc = np.ones(3), np.zeros(3, dtype=bool)
    cell[: grid.ndim], pbc[: grid.ndim] = grid.cell, grid.periodic
    return get_distances(positions, grid.pixel_positions, cell=np.diag(cell), pbc=pbc)[1]


# Pixels and positions


def test_pixels_are_counted_with_the_last_axis_fastest_from_the_origin():
    grid = Grid((3, 4), (1.5, 1.0), (True, False), origin=(10.0, 20.0, 30.0))
    assert grid.ndim == 2
    assert grid.n_pixels == 12
    assert grid.spacing == (0.5, 0.25)
    np.testing.assert_allclose(grid.positions(0), [10.0, 20.0, 30.0])
    np.testing.assert_allclose(grid.positions([1, 4]), [[10.0, 20.25, 30.0], [10.5, 20.0, 30.0]])
    np.testing.assert_allclose(grid.pixel_positions[11], [11.0, 20.75, 30.0])


def test_steps_go_on_at_the_other_side_of_a_periodic_axis_and_end_at_an_open_one():
    grid = Grid((3, 4), (3.0, 4.0), (True, False))
    steps = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (-1, 1), (1, -1), (3, 2)]
    assert grid.shifted(0, steps).tolist() == [0, 4, 8, 1, -1, 9, -1, 2]
    assert grid.shifted([[3], [11]], steps).tolist() == [[3, 7, 11, -1, 2, -1, 6, -1], [11, 3, 7, -1, 10, -1, 2, -1]]
    space = Grid((2, 2, 3), (2.0, 2.0, 3.0), (False, True, True))
    assert space.shifted(space.n_pixels - 1, [(-1, 1, 1), (1, 0, 0)]).tolist() == [0, -1]


def test_the_third_axis_is_z():
    grid = Grid((2, 2, 3), (1.0, 1.0, 1.5), (False, False, False))
    np.testing.assert_allclose(grid.positions([0, 1, 2])[:, 2], [0.0, 0.5, 1.0])


@pytest.mark.parametrize("cell", [np.diag([4.0, 3.0, 9.0]), Cell.new([4.0, 3.0, 9.0]), [4, 3], np.array([4.0, 3.0])])
def test_the_cell_may_be_given_as_lengths_or_as_vectors(cell):
    assert Grid((8, 6), cell, (True, True)) == Grid((8, 6), (4.0, 3.0), (True, True))


def test_grids_given_by_lists_or_arrays_equal_those_given_by_tuples_and_can_be_hashed():
    grid = Grid(np.array([4, 4]), [2, 2], np.array([1, 1]), [0, 0, 0])
    assert grid == SQUARE
    assert hash(grid) == hash(SQUARE)


@settings(deadline=None)
@given(grids(), st.integers(0, 2**32 - 1))
def test_a_pixel_is_found_again_from_anywhere_within_it(grid, seed):
    pixels = np.arange(grid.n_pixels)
    jitter = np.random.default_rng(seed).uniform(-0.49, 0.49, size=(grid.n_pixels, 3))
    jitter[:, : grid.ndim] *= grid.spacing  # two axes ignore z, whatever it is
    np.testing.assert_array_equal(grid.pixels(grid.pixel_positions), pixels)
    np.testing.assert_array_equal(grid.pixels(grid.pixel_positions + jitter), pixels)


@settings(deadline=None)
@given(grids(), st.tuples(*[st.integers(-3, 3)] * 3))
def test_periodic_images_share_a_pixel(grid, images):
    shift = np.zeros(3)
    shift[: grid.ndim] = np.array(images[: grid.ndim]) * grid.cell * np.array(grid.periodic)
    np.testing.assert_array_equal(grid.pixels(grid.pixel_positions + shift), np.arange(grid.n_pixels))


def test_arrays_of_any_shape_are_kept():
    pixels = np.arange(8).reshape(2, 2, 2)
    assert SQUARE.positions(pixels).shape == (2, 2, 2, 3)
    np.testing.assert_array_equal(SQUARE.pixels(SQUARE.positions(pixels)), pixels)
    assert SQUARE.pixels(np.zeros((0, 3))).shape == (0,)


# Distances


@settings(deadline=None)
@given(grids(), st.integers(0, 2**32 - 1))
def test_distances_are_those_of_ase(grid, seed):
    positions = positions_near(grid, seed)
    np.testing.assert_allclose(grid.distances(positions), ase_distances(grid, positions), atol=1e-9)


@settings(deadline=None)
@given(grids(), st.integers(0, 2**32 - 1))
def test_the_minimum_image_is_a_periodic_image_no_longer_than_half_the_cell(grid, seed):
    vectors = positions_near(grid, seed)
    shortest = grid.minimum_image(vectors)
    images = (vectors - shortest)[:, : grid.ndim] / grid.cell
    np.testing.assert_allclose(images, np.rint(images) * grid.periodic, atol=1e-9)
    periodic = np.flatnonzero(grid.periodic)
    assert np.all(np.abs(shortest[:, periodic]) <= np.array(grid.cell)[periodic] / 2 + 1e-9)


def test_what_the_grid_returns_can_be_changed_without_changing_its_input():
    vectors = np.full((2, 3), 1.7)
    SQUARE.minimum_image(vectors)[:] = 0
    SQUARE.transform(SQUARE.point_symmetries[1], vectors)[:] = 0
    np.testing.assert_array_equal(vectors, 1.7)


def test_no_positions_have_no_distances():
    assert SQUARE.distances(np.zeros((0, 3))).shape == (0, 16)


# Symmetries


@settings(deadline=None)
@given(grids(longest=4))
def test_every_symmetry_is_a_bijection_that_keeps_all_distances(grid):
    between = grid.distances(grid.pixel_positions)
    for symmetry in grid.symmetries():
        moved = grid.permutation(symmetry)
        np.testing.assert_array_equal(np.sort(moved), np.arange(grid.n_pixels))
        np.testing.assert_allclose(between[np.ix_(moved, moved)], between, atol=1e-9)


@settings(deadline=None)
@given(grids(longest=3))
def test_symmetries_form_a_group(grid):
    moves = np.unique([grid.permutation(symmetry) for symmetry in grid.symmetries()], axis=0)
    for first in moves[:: len(moves) // 20 + 1]:  # up to 20 of up to 1296
        np.testing.assert_array_equal(np.unique(moves[:, first], axis=0), moves)


@settings(deadline=None)
@given(grids(longest=4), st.integers(0, 2**32 - 1))
def test_positions_move_as_the_pixels_do(grid, seed):
    positions = positions_near(grid, seed)
    distances = grid.distances(positions)
    for symmetry in grid.symmetries():
        moved = grid.permutation(symmetry)
        np.testing.assert_array_equal(grid.pixels(grid.transform(symmetry, grid.pixel_positions)), moved)
        np.testing.assert_allclose(grid.distances(grid.transform(symmetry, positions))[:, moved], distances, atol=1e-8)


@settings(deadline=None)
@given(grids())
def test_the_identity_comes_first(grid):
    for symmetry in (grid.point_symmetries[0], next(grid.symmetries())):
        np.testing.assert_array_equal(grid.permutation(symmetry), np.arange(grid.n_pixels))


@pytest.mark.parametrize(
    ("shape", "cell", "periodic", "n_point_symmetries"),
    [
        pytest.param((4, 4), (2, 2), (1, 1), 8, id="periodic square"),
        pytest.param((4, 4), (2, 2), (0, 0), 8, id="open square"),
        pytest.param((4, 4), (2, 2), (1, 0), 4, id="square, periodic along one axis"),
        pytest.param((4, 4), (2, 3), (1, 1), 4, id="oblong, as many pixels"),
        pytest.param((4, 6), (2, 3), (1, 1), 4, id="oblong, square pixels"),
        pytest.param((4, 6), (2, 2), (1, 1), 4, id="square, oblong pixels"),
        pytest.param((4, 4, 4), (2, 2, 2), (0, 0, 0), 48, id="open cube"),
        pytest.param((4, 4, 4), (2, 2, 2), (1, 1, 1), 48, id="periodic cube"),
        pytest.param((4, 4, 6), (2, 2, 3), (1, 1, 1), 16, id="tetragonal"),
        pytest.param((4, 4, 4), (2, 2, 2), (1, 1, 0), 16, id="slab"),
        pytest.param((3, 4, 5), (2, 3, 4), (1, 1, 1), 8, id="orthorhombic"),
    ],
)
def test_reflections_and_swaps_number(shape, cell, periodic, n_point_symmetries):
    grid = Grid(shape, cell, periodic)
    n_translations = np.prod([n for n, repeats in zip(shape, periodic, strict=True) if repeats], initial=1)
    assert len(grid.point_symmetries) == n_point_symmetries
    assert len({tuple(grid.permutation(symmetry)) for symmetry in grid.point_symmetries}) == n_point_symmetries
    assert len(set(grid.symmetries())) == n_point_symmetries * n_translations


def test_a_periodic_axis_is_reflected_about_pixel_0_and_an_open_one_about_its_middle():
    reflect = Symmetry(axes=(0, 1), signs=(-1, -1), shift=(0, 2))
    grid = Grid((4, 3), (2.0, 1.5), (True, False))
    assert reflect in grid.point_symmetries
    pixels = grid.permutation(reflect).reshape(grid.shape)
    np.testing.assert_array_equal(pixels[:, 0], [2, 11, 8, 5])  # column 0 becomes column 2; rows 0, 3, 2, 1


def test_a_swap_of_axes_turns_columns_into_rows():
    swap = Symmetry(axes=(1, 0), signs=(1, 1), shift=(0, 0))
    np.testing.assert_array_equal(SQUARE.permutation(swap).reshape(4, 4), np.arange(16).reshape(4, 4).T)
    np.testing.assert_allclose(SQUARE.transform(swap, [0.3, 0.7, 5.0]), [0.7, 0.3, 5.0])


def test_a_translation_follows_a_point_symmetry():
    turn = Symmetry(axes=(1, 0), signs=(-1, 1), shift=(0, 0))
    assert turn.then_shift((1, 2)) == Symmetry((1, 0), (-1, 1), (1, 2))
    assert SQUARE.permutation(turn.then_shift((1, 2)))[0] == 1 * 4 + 2


def test_a_square_grid_has_no_symmetries_but_those_found():
    grid = Grid((3, 3), (1.5, 1.5), (False, False))
    between = grid.distances(grid.pixel_positions)
    corners = [0, 2, 6]  # where these go fixes where all pixels go
    kept = [
        images
        for images in product(range(9), repeat=3)
        if np.allclose(between[np.ix_(images, images)], between[np.ix_(corners, corners)])
    ]
    found = {tuple(grid.permutation(symmetry)[corners]) for symmetry in grid.symmetries()}
    assert found == set(kept)


# Errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (4,)}, r"`shape` is \(4,\) but must be two or three"),
        ({"shape": (4, 3, 2, 1)}, r"`shape` is \(4, 3, 2, 1\) but must be two or three"),
        ({"shape": (4, 0)}, r"`shape` is \(4, 0\) but must be .* at least 1"),
        ({"shape": (4, 2.5)}, r"`shape` is \(4, 2.5\) but must be .* whole numbers"),
        ({"shape": (4, np.nan)}, r"`shape` is \(4, nan\) but must be .* whole numbers"),
        ({"shape": 4}, r"`shape` is 4 but must be two or three"),
        ({"shape": "44"}, r"`shape` is '44' but must be two or three"),
        ({"periodic": "xy"}, r"`periodic` is 'xy' but must have one entry for each axis"),
        ({"periodic": ("x", "y")}, r"`periodic` is \('x', 'y'\) but must have one entry for each axis, true or false"),
        ({"cell": "wide"}, r"`cell` is 'wide' but must be 2 positive lengths"),
        ({"origin": ("0", 0.0, 0.0)}, r"`origin` is .* but must be three finite numbers"),
        ({"periodic": (True,)}, r"`periodic` is \(True,\) but must have one entry for each axis"),
        ({"cell": (2.0, -3.0)}, r"`cell` is \(2.0, -3.0\) but must be 2 positive lengths in Å"),
        ({"cell": (2.0, np.nan)}, r"`cell` is \(2.0, nan\) but must be 2 positive lengths"),
        ({"cell": (2.0, 3.0, 4.0)}, r"`cell` is \(2.0, 3.0, 4.0\) but must be 2 positive lengths"),
        ({"cell": 2.0}, r"`cell` is 2.0 but must be 2 positive lengths"),
        ({"cell": [[2.0, 0.0], [1.0, 3.0]]}, r"`cell` is \[\[2.0, 0.0\], \[1.0, 3.0\]\] but must be orthorhombic"),
        ({"cell": [[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]]}, r"`cell` is .* but must be orthorhombic"),
        ({"origin": (0.0, 0.0)}, r"`origin` is \(0.0, 0.0\) but must be three finite numbers in Å"),
        ({"origin": (0.0, np.inf, 0.0)}, r"`origin` is \(0.0, inf, 0.0\) but must be three finite"),
    ],
)
def test_a_wrong_grid_is_refused(changes, message):
    arguments = {"shape": (4, 6), "cell": (2.0, 3.0), "periodic": (True, False)} | changes
    with pytest.raises(ValueError, match=message):
        Grid(**arguments)


@pytest.mark.parametrize("pixel", [-1, 16])
def test_a_pixel_off_the_grid_has_no_position(pixel):
    with pytest.raises(ValueError, match=rf"`pixels` holds {pixel} but a pixel must lie in \[0, 16\)"):
        SQUARE.positions(pixel)


@pytest.mark.parametrize("y", [-0.51, 1.51])
def test_a_position_beyond_an_open_axis_has_no_pixel(y):
    grid = Grid((4, 2), (4.0, 2.0), (True, False))
    with pytest.raises(ValueError, match=rf"{y}.* along the open axis 1 they must lie between 0.000 and 1.000 Å"):
        grid.pixels([[0.0, y, 0.0]])


def test_a_position_that_is_not_a_number_has_no_pixel():
    with pytest.raises(ValueError, match="`positions` holds a number that is not finite"):
        SQUARE.pixels([[0.0, np.nan, 0.0]])
