"""The mask of legal actions against its definition: counts, free pixels, a minimum and a maximum distance."""

import dataclasses
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.geometry import get_distances
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asla_env import Grid, Problem
from asla_env.action import ActionMask, action_mask, are_apart, decode, encode, legal_order
from asla_env.problems import PROBLEMS

NO_LIMITS = {"minimum_distance": None, "maximum_distance": None}


def row(template: str = "C", periodic: bool = False, n: int = 40, **arguments) -> Problem:
    """Pixels 0.1 Å apart on a line, the first one taken by the template if there is one."""
    grid = Grid((n, 1), (0.1 * n, 9.0), (periodic, False))
    atoms = Atoms(template, np.zeros((len(Atoms(template)), 3)), cell=(0.1 * n, 0, 0), pbc=(periodic, False, False))
    return Problem("row", grid, atoms, **({"to_place": {"C": 3}, "maximum_distance": 1.3} | arguments))


def legal_pixels(problem: Problem, placed: Sequence[int] = (), species: int = 0) -> list[int]:
    legal = action_mask(placed, problem).reshape(len(problem.species), -1)
    return np.flatnonzero(legal[species]).tolist()


# Indices


@given(st.data(), st.sampled_from(sorted(PROBLEMS)))
def test_decoding_undoes_encoding(data: st.DataObject, name: str) -> None:
    problem = PROBLEMS[name]()
    action = data.draw(st.integers(0, problem.n_actions - 1))
    species, pixel = decode(action, problem)
    assert encode(species, pixel, problem) == action
    assert problem.structure([action]).symbols[len(problem.template)] == problem.species[species]


@pytest.mark.parametrize("action", [-1, 40])
def test_an_index_beyond_the_actions_is_refused(action: int) -> None:
    with pytest.raises(ValueError, match=rf"`action` is {action} but must lie in \[0, 40\)"):
        decode(action, row())


@pytest.mark.parametrize(
    ("species", "pixel", "message"),
    [
        (-1, 0, r"`species` is -1 but must lie in \[0, 1\)"),
        (1, 0, r"`species` is 1 but must lie in \[0, 1\)"),
        (0, -1, r"`pixel` is -1 but must lie in \[0, 40\)"),
        (0, 40, r"`pixel` is 40 but must lie in \[0, 40\)"),
    ],
)
def test_a_species_or_pixel_that_does_not_exist_is_refused(species: int, pixel: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode(species, pixel, row())


# Distances known by hand: covalent radii of 0.76 Å for carbon and 0.31 Å for hydrogen


def test_carbon_may_stand_1_064_to_1_976_angstrom_from_carbon() -> None:
    assert legal_pixels(row()) == list(range(11, 20))


def test_hydrogen_may_stand_0_749_to_1_391_angstrom_from_carbon() -> None:
    problem = row(to_place={"C": 1, "H": 1})
    assert legal_pixels(problem, species=1) == list(range(8, 14))
    assert legal_pixels(problem, species=0) == list(range(11, 20))


def test_distances_reach_through_the_boundary_of_a_periodic_axis_only() -> None:
    assert legal_pixels(row(periodic=True)) == [*range(11, 20), *range(21, 30)]


def test_a_placed_atom_takes_the_pixels_around_it_and_opens_those_in_its_reach() -> None:
    assert legal_pixels(row(), placed=[15]) == list(range(26, 35))
    assert legal_pixels(row(), placed=[11]) == list(range(22, 31))


def test_without_a_maximum_distance_atoms_may_stand_apart() -> None:
    assert legal_pixels(row(maximum_distance=None)) == list(range(11, 40))


def test_without_a_minimum_distance_every_free_pixel_in_reach_is_legal() -> None:
    assert legal_pixels(row(minimum_distance=None), placed=[5]) == [1, 2, 3, 4, *range(6, 25)]


def test_without_limits_every_free_pixel_is_legal() -> None:
    assert legal_pixels(row(**NO_LIMITS), placed=[7]) == [i for i in range(40) if i not in (0, 7)]


def test_without_a_template_the_first_atom_may_stand_anywhere_and_the_next_near_it() -> None:
    problem = row(template="")
    assert legal_pixels(problem) == list(range(40))
    assert legal_pixels(problem, placed=[0]) == list(range(11, 20))


def test_the_template_keeps_atoms_away_from_its_true_positions() -> None:
    grid = Grid((40, 1), (4.0, 9.0), (False, False))
    problem = Problem("off the pixels", grid, Atoms("C", [(0.04, 0, 1.0)]), {"C": 1}, maximum_distance=1.3)
    distances = np.hypot(0.1 * np.arange(40) - 0.04, 1.0)
    assert legal_pixels(problem) == np.flatnonzero((distances >= 1.064) & (distances <= 1.976)).tolist()
    assert legal_pixels(problem)[0] == 5


# Counts


def test_a_species_is_legal_until_its_atoms_are_placed() -> None:
    problem = row(to_place={"C": 1, "H": 2}, **NO_LIMITS)
    carbon, hydrogens = encode(0, 5, problem), [encode(1, 7, problem), encode(1, 9, problem)]
    assert legal_pixels(problem, [carbon], species=0) == []
    assert len(legal_pixels(problem, [carbon], species=1)) == 38
    assert len(legal_pixels(problem, hydrogens, species=0)) == 37
    assert legal_pixels(problem, hydrogens, species=1) == []
    assert not action_mask([carbon, *hydrogens], problem).any()


def test_a_species_of_the_template_alone_is_never_legal() -> None:
    problem = row(template="O")
    assert problem.species == ("O", "C")
    assert legal_pixels(problem, species=0) == []
    assert legal_pixels(problem, species=1) != []


# The object


def test_a_mask_is_a_new_array_each_time() -> None:
    mask = ActionMask(row())
    mask.legal[:] = True
    assert mask.legal.sum() == 9
    assert mask.legal.dtype == bool


def test_a_copy_goes_its_own_way() -> None:
    mask = ActionMask(row())
    before = mask.legal
    twin = mask.copy()
    twin.place(15)
    np.testing.assert_array_equal(mask.legal, before)
    np.testing.assert_array_equal(twin.legal, action_mask([15], row()))


def test_placing_an_atom_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="`action` is 40 but must lie in"):
        action_mask([40], row())


# Any problem, any build


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Problems on small grids, the template off the pixels, some without a template or limits."""
    shape = tuple(draw(st.lists(st.integers(3, 6), min_size=2, max_size=3)))
    spacing = np.array([draw(st.floats(0.3, 0.9)) for _ in shape])
    periodic = tuple(draw(st.booleans()) for _ in shape)
    origin = tuple(draw(st.floats(-2, 2)) for _ in range(3))
    grid = Grid(shape, tuple(shape * spacing), periodic, origin)
    symbols = draw(st.lists(st.sampled_from(["C", "H", "Au"]), max_size=3))
    pixels = draw(st.permutations(range(grid.n_pixels)))[: len(symbols)]
    positions = grid.positions(np.array(pixels, dtype=int)).reshape(-1, 3)
    jitter = np.array(draw(st.lists(st.floats(-0.14, 0.14), min_size=positions.size, max_size=positions.size)))
    lengths = np.ones(3)
    lengths[: len(shape)] = grid.cell
    pbc = (*periodic, False)[:3]
    minimum_distance = draw(st.sampled_from([None, 0.4, 0.7]))
    assume(np.all(lengths[list(pbc)] > 1.6 * (minimum_distance or 0.0)))  # no atom meets its own image
    return Problem(
        name="random",
        grid=grid,
        template=Atoms(symbols, positions + jitter.reshape(-1, 3), cell=lengths, pbc=pbc),
        to_place=draw(st.dictionaries(st.sampled_from(["C", "H", "O"]), st.integers(1, 2), min_size=1)),
        minimum_distance=minimum_distance,
        maximum_distance=draw(st.sampled_from([None, 1.3, 2.0])),
    )


def oracle(placed: Sequence[int], problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Legal actions, and which are too close to a limit to tell, with the distances of ASE."""
    grid = problem.grid
    indices = np.indices(grid.shape).reshape(grid.ndim, -1).T
    pixels = np.tile(grid.origin, (len(indices), 1))
    pixels[:, : grid.ndim] += indices * np.array(grid.cell) / grid.shape
    channels, sites = np.array(placed, dtype=int) // len(pixels), np.array(placed, dtype=int) % len(pixels)
    positions = np.concatenate([problem.template.positions.reshape(-1, 3), pixels[sites]])
    symbols = [*problem.template.symbols, *(problem.species[channel] for channel in channels)]
    taken = {*(problem.template_sites % len(pixels)), *sites}
    legal = np.zeros((len(problem.species), len(pixels)), dtype=bool)
    unsure = np.zeros_like(legal)
    for channel, symbol in enumerate(problem.species):
        left = problem.to_place.get(symbol, 0) - np.count_nonzero(channels == channel)
        legal[channel] = left > 0 and np.array([pixel not in taken for pixel in range(len(pixels))])
        if symbols:
            lengths = np.array([covalent_radii[atomic_numbers[other]] for other in symbols])
            lengths = lengths + covalent_radii[atomic_numbers[symbol]]
            cell, pbc = problem.template.cell, problem.template.pbc
            ratios = get_distances(pixels, positions, cell=cell, pbc=pbc)[1] / lengths  # [pixel, atom]
            if problem.minimum_distance is not None:
                legal[channel] &= np.all(ratios >= problem.minimum_distance, axis=1)
            if problem.maximum_distance is not None:
                legal[channel] &= np.any(ratios <= problem.maximum_distance, axis=1)
            for limit in filter(None, (problem.minimum_distance, problem.maximum_distance)):
                unsure[channel] |= np.any(np.abs(ratios - limit) < 1e-9, axis=1)
    return legal.ravel(), unsure.ravel()


@settings(max_examples=120, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_exactly_the_legal_actions_are_legal_at_every_step_of_any_build(problem: Problem, random: Random) -> None:
    mask, placed = ActionMask(problem), []
    while True:
        legal, unsure = oracle(placed, problem)
        np.testing.assert_array_equal(mask.legal[~unsure], legal[~unsure])
        choices = np.flatnonzero(mask.legal)
        if not len(choices):
            break
        placed.append(int(random.choice(choices)))
        mask.place(placed[-1])
    assert len(placed) <= problem.n_to_place


@settings(max_examples=40, deadline=None)
@given(problems(), st.randoms(use_true_random=False), st.integers(1, 4))
def test_the_mask_of_a_structure_does_not_depend_on_the_order_of_its_atoms(
    problem: Problem, random: Random, n: int
) -> None:
    mask, placed = ActionMask(problem), []
    while mask.legal.any() and len(placed) < n:
        placed.append(int(random.choice(np.flatnonzero(mask.legal))))
        mask.place(placed[-1])
    np.testing.assert_array_equal(action_mask(random.sample(placed, len(placed)), problem), mask.legal)


@settings(max_examples=40, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_any_order_of_a_structure_can_be_made_legal(problem: Problem, random: Random) -> None:
    mask, placed = ActionMask(problem), []
    while mask.legal.any():
        placed.append(int(random.choice(np.flatnonzero(mask.legal))))
        mask.place(placed[-1])
    ordered = legal_order(random.sample(placed, len(placed)), problem)
    assert sorted(ordered) == sorted(placed)
    for i, action in enumerate(ordered):
        assert action_mask(ordered[:i], problem)[action]


@settings(max_examples=150, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_without_a_maximum_distance_atoms_that_are_apart_and_no_others_have_a_legal_order(
    problem: Problem, random: Random
) -> None:
    problem = dataclasses.replace(problem, maximum_distance=None)
    mask, n_pixels = ActionMask(problem), problem.grid.n_pixels
    actions = []
    for species, n in enumerate(problem.counts):
        for _ in range(n):  # legal ones mostly, or else hardly any would be apart
            legal = np.flatnonzero(mask.legal[species * n_pixels : (species + 1) * n_pixels])
            pixel = int(random.choice(legal)) if len(legal) and random.random() < 0.8 else random.randrange(n_pixels)
            actions.append(species * n_pixels + pixel)
            mask.place(actions[-1])
    assert are_apart(actions, problem) == bool(legal_order(actions, problem))


def test_atoms_around_the_image_count_for_those_that_are_apart() -> None:
    around = Atoms("C", [(1.5, 0, 0)])
    assert are_apart([25], row())
    assert not are_apart([25], row(surroundings=around))
    assert not are_apart([0], row("C", minimum_distance=None))


def test_what_cannot_be_built_has_no_legal_order() -> None:
    chain = row()
    assert legal_order([], chain) == []
    assert legal_order([28, 14], chain) == [14, 28]
    assert legal_order([14, 38], chain) == []  # 2.4 Å apart
    assert legal_order([14, 15], chain) == []


def test_atoms_around_the_image_keep_others_away_but_do_not_hold_them() -> None:
    cell, grid = (20, 9, 9), Grid((40, 1), (20.0, 9.0), (False, False))
    atoms = Atoms("C", [(0, 0, 0)], cell=cell)
    around = Atoms("C", [(1.5, 0, 0)], cell=cell)
    assert legal_pixels(Problem("row", grid, atoms, {"C": 1}, maximum_distance=1.3)) == [3]
    assert legal_pixels(Problem("row", grid, atoms, {"C": 1}, maximum_distance=1.3, surroundings=around)) == []


def test_images_of_a_cell_that_repeats_along_an_open_axis_count() -> None:
    grid = Grid((10, 1), (5.0, 9.0), (False, False))
    atoms = Atoms("C", [(0, 0, 0)], cell=(5, 9, 9))
    assert legal_pixels(Problem("row", grid, atoms, {"C": 1}, maximum_distance=1.3)) == [3]
    atoms.pbc = (True, False, False)
    assert legal_pixels(Problem("row", grid, atoms, {"C": 1}, maximum_distance=1.3)) == [3, 7]


def test_an_atom_around_the_image_takes_the_pixel_that_it_is_on() -> None:
    cell, grid = (20, 9, 9), Grid((40, 1), (20.0, 9.0), (False, False))
    around = Atoms("CH", [(1.5, 0, 0), (2.02, 0, 0)], cell=cell)
    for limit in (None, 1e-9):
        limits = {"minimum_distance": limit, "maximum_distance": None}
        made = Problem("row", grid, Atoms("C", [(0, 0, 0)], cell=cell), {"C": 1}, surroundings=around, **limits)
        assert legal_pixels(made) == [i for i in range(40) if i not in (0, 3)]


def test_an_image_along_an_open_axis_takes_the_pixel_that_it_is_on() -> None:
    grid = Grid((11, 1), (5.5, 9.0), (False, False))  # the last pixel is one cell from the first
    atoms = Atoms("C", [(0, 0, 0)], cell=(5, 9, 9), pbc=(True, False, False))
    assert legal_pixels(Problem("row", grid, atoms, {"C": 1}, **NO_LIMITS)) == list(range(1, 10))
    empty = Problem("row", grid, atoms[:0], {"C": 2}, **NO_LIMITS)
    assert legal_pixels(empty) == list(range(11))
    assert legal_pixels(empty, [10]) == list(range(1, 10))


@pytest.mark.parametrize("wrong", [1.7, 1.0, "1", True, None, [1, 2]], ids=repr)
def test_an_index_that_is_no_whole_number_is_refused(wrong) -> None:
    for name, call in (
        ("species", lambda: encode(wrong, 0, row())),
        ("pixel", lambda: encode(0, wrong, row())),
        ("action", lambda: decode(wrong, row())),
        ("action", lambda: action_mask([wrong], row())),
        ("action", lambda: legal_order([wrong], row())),
    ):
        with pytest.raises(TypeError, match=rf"`{name}` is .* but must be a whole number"):
            call()
