"""Pictures are measured: colours are read back at the places where atoms and Q-values must be."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.data.colors import jmol_colors
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from asla_env import AtomPlacementEnv, Grid, Problem, render
from asla_env.action import action_mask, encode
from asla_env.problems import PROBLEMS
from asla_env.text import structure_text

NO_LIMITS = {"minimum_distance": None, "maximum_distance": None}
WHITE, ILLEGAL = np.ones(3), np.full(3, 0xD8 / 255)
VIRIDIS = colormaps["viridis"]


def flat(periodic: tuple[bool, bool] = (False, False), template: str = "C", **to_place: int) -> Problem:
    """8 x 6 Å with pixels of 0.2 x 0.25 Å and an atom of each template species from (1, 1) on, 3 Å apart."""
    positions = [(1.0 + 3 * i, 1.0, 0.5) for i in range(len(Atoms(template)))]
    atoms = Atoms(template, positions, cell=(8, 6, 10), pbc=(*periodic, False))
    grid = Grid((40, 24), (8.0, 6.0), periodic, (0.0, 0.0, 0.5))
    return Problem("flat", grid, atoms, to_place or {"C": 3}, **NO_LIMITS)


def solid() -> Problem:
    """6 x 5 x 4 Å with pixels of 0.5 Å, periodic along x, one carbon atom in the middle."""
    atoms = Atoms("C", [(3, 2.5, 2)], cell=(6, 5, 4), pbc=(True, False, False))
    return Problem("solid", Grid((12, 10, 8), (6.0, 5.0, 4.0), (True, False, False)), atoms, {"O": 3}, **NO_LIMITS)


def at(problem: Problem, x: float, y: float, z: float = 0.5, species: int = 0) -> int:
    return encode(species, int(problem.grid.pixels((x, y, z))), problem)


class Canvas:
    """Axes on a figure of their own whose colours can be read at positions in Å."""

    def __init__(self) -> None:
        self.figure = Figure(figsize=(8, 6), dpi=100)
        self.axes: Axes = self.figure.add_subplot()

    def colours(self, *points: tuple[float, float]) -> np.ndarray:
        """Red, green and blue from 0 to 1, shape (points, 3)."""
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[::-1, :, :3] / 255  # rows upwards as in the axes
        columns, rows = np.floor(self.axes.transData.transform(points)).astype(int).T
        return picture[rows, columns]


def structure(problem: Problem, placed: list[int] | Atoms) -> Canvas:
    canvas = Canvas()
    render.draw_structure(canvas.axes, placed, problem)
    return canvas


def centre_of_change(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean row and column of the pixels that differ."""
    return np.argwhere(np.any(one != other, axis=-1)).mean(axis=0)


# The environment's frames


def test_importing_the_environments_leaves_matplotlib_alone_and_drawing_leaves_pyplot_alone(
    run_strictly: Callable[[str], str],
) -> None:
    code = (
        "import sys, asla_env; from asla_env import film, render, text\n"
        "problem = asla_env.problems.graphene_mini()\n"
        "text.structure_text([], problem)\n"
        "assert not any(name.split('.')[0] == 'matplotlib' for name in sys.modules)\n"
        "render.structure_image([], problem)\n"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    run_strictly(code)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_size_of_the_image_stays_the_same_while_atoms_are_placed(name: str) -> None:
    problem = PROBLEMS[name]()
    legal = np.flatnonzero(action_mask([], problem))
    images = [render.structure_image(placed, problem) for placed in ([], [legal[0]], [legal[0], legal[-1]])]
    assert len({image.shape for image in images}) == 1
    height, width, colours = images[0].shape
    assert (height % 2, width % 2, colours) == (0, 0, 3)
    assert images[0].dtype == np.uint8
    assert 200 < max(height, width) <= 802


def test_the_image_changes_where_the_atom_is_placed() -> None:
    problem = flat()
    empty = render.structure_image([], problem)
    home, right, up = (
        centre_of_change(empty, render.structure_image([at(problem, *xy)], problem)) for xy in ((3, 3), (5, 3), (3, 5))
    )
    scale = (right - home)[1] / 2  # pixels per Å
    assert scale > 20
    np.testing.assert_allclose(right - home, (0, 2 * scale), atol=1)
    np.testing.assert_allclose(up - home, (-2 * scale, 0), atol=1)  # rows run downwards


def test_nothing_at_all_can_be_drawn() -> None:
    grid = Grid((8, 8), (2.0, 2.0), (False, False))
    image = render.structure_image([], Problem("empty", grid, Atoms(), {"C": 1}))
    assert np.any(image < 255)  # the box


@pytest.mark.parametrize("mode", ["rgb_array", "ansi"])
def test_the_environment_renders_the_atoms_placed_so_far(mode: str) -> None:
    env = AtomPlacementEnv("graphene-mini", "xwch", render_mode=mode)
    _, info = env.reset()
    before = env.render()
    action = np.flatnonzero(info["action_mask"])[0]
    env.step(action)
    draw = {"rgb_array": render.structure_image, "ansi": structure_text}[mode]
    assert np.array_equal(before, draw([], env.problem))
    assert np.array_equal(env.render(), draw([action], env.problem))
    assert not np.array_equal(env.render(), before)


# Structures


def test_placed_atoms_have_ases_colours_and_those_of_the_template_are_paler() -> None:
    problem = flat(template="CO", O=1)
    template, placed, empty = structure(problem, [at(problem, 4, 4, species=1)]).colours((4, 1), (4, 4), (2, 4))
    red = jmol_colors[8]
    np.testing.assert_allclose(placed, red, atol=0.01)
    np.testing.assert_allclose(template, (red + 1) / 2, atol=0.01)
    np.testing.assert_array_equal(empty, WHITE)


def test_of_given_atoms_those_of_the_template_are_recognised_by_their_place() -> None:
    problem = flat(template="CO", O=1)
    atoms = Atoms("OOC", [(4.05, 1, 0.5), (4, 4, 0.5), (1, 1, 0.5)])
    template, placed = structure(problem, atoms).colours((4, 1), (4, 4))
    assert template[1] > placed[1] + 0.4


def test_periodic_images_are_dimmed_and_drawn_along_periodic_axes_only() -> None:
    problem = flat(periodic=(True, False), O=1)
    points = [(7.6, 1), (-0.4, 1), (7.6, 5), (7.6, -1)]
    own, image, _, below = structure(problem, [at(problem, 7.6, 1, species=1)]).colours(*points)
    np.testing.assert_allclose(own, jmol_colors[8], atol=0.01)
    np.testing.assert_allclose(image, 0.4 * jmol_colors[8] + 0.6, atol=0.01)
    np.testing.assert_array_equal(below, WHITE)


def test_atoms_are_moved_into_the_cell() -> None:
    problem = flat(periodic=(True, True), O=1)
    inside = structure(problem, Atoms("O", [(4, 4, 0.5)])).colours((4, 4))
    outside = structure(problem, Atoms("O", [(4 - 16, 4 + 6, 0.5)])).colours((4, 4))
    np.testing.assert_array_equal(inside, outside)
    assert not np.array_equal(inside[0], WHITE)


@pytest.mark.parametrize(("distance", "bonded"), [(1.42, True), (1.95, True), (2.0, False)])
def test_atoms_are_bonded_up_to_1_3_times_their_covalent_radii(distance: float, bonded: bool) -> None:
    atoms = Atoms("CC", [(4 - distance / 2, 3, 0.5), (4 + distance / 2, 3, 0.5)])
    middle = structure(flat(), atoms).colours((4, 3))[0]
    assert np.any(middle < 1) == bonded


@pytest.mark.parametrize("angle", [0, 35, 90, 200])
def test_a_bond_is_a_bar_as_wide_in_every_direction(angle: float) -> None:
    along = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    across, middle = np.array([-along[1], along[0]]), np.array([4.0, 3.0])
    atoms = Atoms("CC", [(*(middle + side * 0.75 * along), 0.5) for side in (-1, 1)])
    colours = structure(flat(), atoms).colours(*(middle + offset * across for offset in (-0.13, -0.05, 0.05, 0.13)))
    assert np.any(colours < 1, axis=1).tolist() == [False, True, True, False]


@pytest.mark.parametrize("periodic", [True, False])
def test_bonds_reach_across_the_boundary_of_a_periodic_cell(periodic: bool) -> None:
    problem = flat(periodic=(periodic, False))
    canvas = structure(problem, [at(problem, 0.2, 4), at(problem, 7.0, 4)])  # 1.2 Å apart through the boundary
    within, beyond = canvas.colours((7.5, 4), (-0.3, 4))
    assert np.any(within < 1) == np.any(beyond < 1) == periodic


def test_along_a_third_axis_the_upper_atom_hides_the_lower_one() -> None:
    above, below = (structure(solid(), Atoms("OC", [(1, 1, z), (1, 1, 2)])).colours((1, 1))[0] for z in (3, 1))
    np.testing.assert_allclose(above, jmol_colors[8], atol=0.01)
    np.testing.assert_allclose(below, jmol_colors[6], atol=0.01)


def test_surroundings_are_drawn_pale_outside_the_box() -> None:
    grid, atoms = Grid((20, 20), (4.0, 4.0), (False, False)), Atoms("C", [(2, 2, 0)])
    problem = Problem("bordered", grid, atoms, {"C": 1}, surroundings=Atoms("O", [(-2, 2, 0)]))
    np.testing.assert_allclose(structure(problem, []).colours((-2, 2))[0], (jmol_colors[8] + 1) / 2, atol=0.01)


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_a_finished_structure_is_saved_with_its_energy(tmp_path: Path, suffix: str) -> None:
    problem = flat()
    render.save_structure(tmp_path / f"plain{suffix}", [], problem)
    render.save_structure(tmp_path / f"energy{suffix}", problem.structure([]), problem, energy=-198.668)
    plain, energy = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("plain", "energy"))
    assert min(len(plain), len(energy)) > 1000
    assert plain != energy


# Q-maps


@pytest.mark.parametrize("periodic", [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize("pixel", [(0, 0), (39, 0), (7, 23), (20, 11)])
def test_the_highest_q_value_is_drawn_at_the_position_of_its_pixel(
    pixel: tuple[int, int], periodic: tuple[bool, bool]
) -> None:
    problem, canvas = flat(periodic), Canvas()
    q_map = np.full(problem.grid.shape, -1.0)
    q_map[pixel] = 1.0
    render.draw_q_map(canvas.axes, q_map, problem)
    x, y, _ = problem.grid.positions(np.ravel_multi_index(pixel, problem.grid.shape))
    inside = canvas.colours((x, y), (x + 0.06, y + 0.08), (x - 0.06, y - 0.08))  # of its 0.2 x 0.25 Å
    np.testing.assert_allclose(inside, [VIRIDIS(1.0)[:3]] * 3, atol=0.01)
    np.testing.assert_allclose(canvas.axes.images[-1].get_extent(), (-0.1, 7.9, -0.125, 5.875))


def test_beyond_the_cell_the_q_map_is_repeated_along_periodic_axes_only() -> None:
    problem, canvas = flat((True, False)), Canvas()
    q_map = np.full(problem.grid.shape, -1.0)
    q_map[38, 12] = 1.0  # at (7.6, 3) Å
    render.draw_q_map(canvas.axes, q_map, problem)
    image, beside, below = canvas.colours((-0.4, 3), (-0.8, 3), (4, -0.5))
    yellow, purple = np.array(VIRIDIS(1.0)[:3]), np.array(VIRIDIS(0.0)[:3])
    np.testing.assert_allclose(image, 0.4 * yellow + 0.6, atol=0.02)
    np.testing.assert_allclose(beside, 0.4 * purple + 0.6, atol=0.02)
    np.testing.assert_array_equal(below, WHITE)


def test_colours_run_from_minus_one_to_one_and_are_clipped() -> None:
    problem, canvas = flat(), Canvas()
    q_map = np.full(problem.grid.shape, 0.0)
    q_map[10, 10], q_map[20, 10] = 50.0, -50.0
    image = render.draw_q_map(canvas.axes, q_map, problem, colour_bar=True)
    assert image.get_clim() == (-1, 1)
    assert len(canvas.figure.axes) == 2  # the colour bar
    colours = canvas.colours((2, 2.5), (4, 2.5), (6, 2.5))
    np.testing.assert_allclose(colours, [VIRIDIS(value)[:3] for value in (1.0, 0.0, 0.5)], atol=0.01)


@pytest.mark.parametrize("shape", [(40, 24), (960,)])
def test_illegal_pixels_are_grey(shape: tuple[int, ...]) -> None:
    problem, canvas = flat(), Canvas()
    legal = np.ones(problem.grid.shape, dtype=bool)
    legal[10, 10] = False
    render.draw_q_map(canvas.axes, np.ones(problem.grid.shape), problem, legal.reshape(shape))
    illegal, beside = canvas.colours((2, 2.5), (2.2, 2.5))
    np.testing.assert_allclose(illegal, ILLEGAL, atol=0.01)
    np.testing.assert_allclose(beside, VIRIDIS(1.0)[:3], atol=0.01)


def test_along_a_third_axis_the_highest_legal_value_is_drawn() -> None:
    problem, canvas = solid(), Canvas()
    q_map = np.full(problem.grid.shape, -1.0)
    legal = np.ones(problem.grid.shape, dtype=bool)
    q_map[4, 4, 1], q_map[4, 4, 5], legal[4, 4, 1], legal[8, 4] = 1.0, 0.0, False, False
    render.draw_q_map(canvas.axes, q_map, problem, legal)
    seen, none, elsewhere = canvas.colours((2, 2), (4, 2), (1, 2))
    np.testing.assert_allclose(seen, VIRIDIS(0.5)[:3], atol=0.01)
    np.testing.assert_allclose(none, ILLEGAL, atol=0.01)
    np.testing.assert_allclose(elsewhere, VIRIDIS(0.0)[:3], atol=0.01)


def test_maps_and_masks_of_the_wrong_shape_are_refused() -> None:
    problem = flat()
    with pytest.raises(ValueError, match=r"`q_map` has shape \(24, 40\) but must have shape \(40, 24\)"):
        render.draw_q_map(Canvas().axes, np.zeros((24, 40)), problem)
    with pytest.raises(ValueError, match=r"mask of legal actions has shape \(3,\)"):
        render.draw_q_map(Canvas().axes, np.zeros((40, 24)), problem, np.ones(3))
