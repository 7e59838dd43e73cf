"""Grids and problems of any arguments: one that is whole, or an error that names the argument."""

from dataclasses import fields

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from asla_env.grid import Grid
from asla_env.problem import Problem
from asla_env.problems import PROBLEMS

NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1, -1, 2**63, 2**64, 10**400, 1e308, 5e-324])
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=3) | st.binary(max_size=3) | st.complex_numbers()
ARRAYS = arrays.arrays(
    st.sampled_from([np.float64, np.int64, np.int8, np.bool_, np.complex128, np.dtype("U2"), np.dtype(object)]),
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
OBJECTS = st.builds(object) | st.just(Atoms()) | st.just(Atoms) | st.just({1, 2}) | st.just(Grid)
ANYTHING = st.recursive(
    SCALARS | ARRAYS | OBJECTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.lists(inner, max_size=3).map(iter)
    ),
    max_leaves=6,
)
COORDINATES = st.floats(-30, 30) | st.sampled_from([0.0, 1.42, 1e6, 1e100, np.nan, np.inf])


def mostly(valid, other=ANYTHING):
    """Something valid most of the time, so that what lies behind the first check is reached."""
    return st.integers(0, 3).flatmap(lambda die: valid if die else other)


BENZENE = molecule("C6H6")
SHEET = Atoms("C4", [[0, 0, 0], [1.4, 0, 0], [2.8, 0, 0], [1.4, 1.4, 0]], cell=[4.2, 4.2, 8], pbc=(True, True, False))
CRYSTAL = bulk("NaCl", "rocksalt", 5.6, cubic=True)


@st.composite
def structures(draw):
    """A structure, mostly with one or two things about it that are strange."""
    atoms = draw(st.sampled_from([BENZENE, SHEET, CRYSTAL])).copy()
    n = len(atoms)
    for change in draw(st.lists(st.integers(0, 6), max_size=2, unique=True)):
        if change == 0:
            atoms.numbers[draw(st.integers(0, n - 1))] = draw(st.integers(0, 118))
        elif change == 1:
            atoms.positions[draw(st.integers(0, n - 1))] = draw(st.tuples(COORDINATES, COORDINATES, COORDINATES))
        elif change == 2:
            atoms.cell = draw(arrays.arrays(float, (3, 3), elements=COORDINATES))
        elif change == 3:
            atoms.cell = draw(st.tuples(COORDINATES, COORDINATES, COORDINATES))
        elif change == 4:
            atoms.pbc = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
        elif change == 5:
            atoms.set_initial_charges(draw(arrays.arrays(float, n, elements=COORDINATES)))
        else:
            atoms = atoms[: draw(st.integers(0, n))]
            n = len(atoms)
            break
    return atoms


SHAPES = st.lists(st.integers(1, 30), min_size=2, max_size=3).map(tuple)
LENGTHS = st.lists(st.floats(0.1, 20.0), min_size=2, max_size=3).map(tuple)
FLAGS = st.lists(st.booleans(), min_size=2, max_size=3).map(tuple)
GRIDS = st.builds(
    lambda n, length, flags: Grid((n, n), (length, length), flags),
    st.integers(1, 9),
    st.floats(1, 9),
    st.tuples(st.booleans(), st.booleans()),
)


@settings(deadline=None)
@given(mostly(SHAPES), mostly(LENGTHS), mostly(FLAGS), mostly(st.just((0.0, 0.0, 0.0))), mostly(LENGTHS))
def test_a_grid_of_anything_is_whole_or_refused(attempt, shape, cell, periodic, origin, point):
    grid, _ = attempt(Grid, shape, cell, periodic, origin)
    if grid is None:
        return
    assert np.all(np.isfinite(grid.spacing))
    last = grid.n_pixels - 1
    assert grid.pixels(grid.positions([0, last])).tolist() == [0, last]
    attempt(grid.pixels, point)
    attempt(grid.positions, point)
    attempt(grid.distances, point)


@settings(deadline=None)
@given(
    st.sampled_from(sorted(PROBLEMS)),
    st.dictionaries(
        st.sampled_from([field.name for field in fields(Problem)]),
        ANYTHING | structures() | GRIDS | st.dictionaries(st.sampled_from(["C", "H", "Xx", "X"]), NUMBERS),
        min_size=1,
        max_size=2,
    ),
)
def test_a_problem_with_any_part_is_whole_or_refused(attempt, name, changes):
    parts = {field.name: getattr(PROBLEMS[name](), field.name) for field in fields(Problem)}
    problem, _ = attempt(Problem, **{**parts, **changes})
    if problem is not None:
        assert_whole(attempt, problem)


@settings(deadline=None)
@given(
    mostly(structures()),
    mostly(st.lists(st.integers(-2, 4), max_size=4)),
    st.fixed_dictionaries(
        {},
        optional={
            "spacing": mostly(st.floats(0.1, 2.0), ANYTHING | NUMBERS),
            "shape": mostly(SHAPES),
            "margin": mostly(st.floats(0, 3)),
            "name": mostly(st.text(max_size=3)),
            "success_window": mostly(st.floats(0.1, 9)),
            "minimum_distance": mostly(st.none() | st.floats(0.1, 1)),
            "maximum_distance": mostly(st.none() | st.floats(1.1, 3)),
        },
    ),
)
def test_a_problem_from_any_atoms_is_whole_or_refused(attempt, atoms, place, settings):
    problem, _ = attempt(Problem.from_atoms, atoms, place, **settings)
    if problem is not None:
        assert_whole(attempt, problem)


def assert_whole(attempt, problem):
    """A problem that was made can be built."""
    assert 1 <= problem.n_to_place <= problem.grid.n_pixels
    assert len(problem.template_sites) == len(problem.template)
    assert len(problem.structure([problem.n_actions - 1])) == len(problem.template) + 1 + len(problem.surroundings)
    assert len(problem.fingerprint) == 8
    assert isinstance(problem.name, str)
