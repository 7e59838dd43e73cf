"""Search problems: what they count, draw and build, which symmetries they have, and what they refuse."""

import json
import pickle
import tracemalloc
import warnings
from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111
from ase.constraints import FixAtoms
from ase.data import covalent_radii
from ase.geometry import get_distances
from hypothesis import given, settings
from hypothesis import strategies as st

from asla_env.grid import Grid
from asla_env.problem import Problem
from asla_env.problems import graphene
from asla_env.xwch import energy_batch

CELL = (4.0, 3.0, 8.0)
PERIODIC = Grid((8, 6), CELL[:2], (True, True))
STRIP = Grid((8, 6), CELL[:2], (True, False))


def carbon(*positions, cell=CELL, pbc=(True, True, False)):
    return Atoms(f"C{len(positions)}", positions, cell=cell, pbc=pbc)


def problem(**changes):
    """One carbon atom at pixel 0 of a periodic grid and two to place, but for the changes."""
    arguments = {"name": "test", "grid": PERIODIC, "template": carbon((0, 0, 0)), "to_place": {"C": 2}} | changes
    return Problem(**arguments)


def hexagon(radius, z):
    angles = np.pi / 3 * np.arange(6)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(6, z)], axis=1)


# What a problem counts and draws


def test_channels_are_the_species_of_the_template_then_those_to_place():
    template = Atoms("OC", [(0, 0, 0), (1.5, 0, 0)], cell=CELL, pbc=(True, True, False))
    mixed = problem(template=template, to_place={"H": 2, "C": 1})
    assert mixed.species == ("O", "C", "H")
    assert mixed.counts.tolist() == [0, 1, 2]
    assert mixed.n_to_place == 3
    assert mixed.n_actions == 3 * 48
    np.testing.assert_allclose(mixed.radii(), [covalent_radii[number] for number in (8, 6, 1)])
    np.testing.assert_array_equal(mixed.template_sites, [0 * 48 + 0, 1 * 48 + 3 * 6])


def test_the_template_is_drawn_at_its_nearest_pixels():
    drawn = problem(template=carbon((0.2, 0.3, 0), (3.9, -0.2, 0)), to_place={"C": 1}).template_sites
    np.testing.assert_array_equal(drawn, PERIODIC.pixels([(0.0, 0.5, 0), (0.0, 0.0, 0)]))


def test_a_structure_keeps_the_true_positions_of_the_template():
    template, around = carbon((0.2, 0.3, 0)), Atoms("H", [(0, 9, 1)])
    built = problem(template=template, surroundings=around, to_place={"O": 1}).structure([48 + 7])
    assert str(built.symbols) == "COH"
    np.testing.assert_array_equal(built.positions, [(0.2, 0.3, 0), (0.5, 0.5, 0), (0, 9, 1)])
    np.testing.assert_array_equal(built.cell, template.cell)
    np.testing.assert_array_equal(built.pbc, template.pbc)


def test_a_structure_may_be_unfinished():
    assert problem().structure([]) == problem().template


def test_without_a_template_all_atoms_are_to_place():
    empty = problem(template=Atoms(cell=CELL, pbc=(True, True, False)))
    assert empty.species == ("C",)
    assert empty.template_sites.shape == (0,)
    assert len(empty.structure([3, 9])) == 2


def test_a_problem_does_not_change_with_what_it_was_made_from():
    template, to_place = carbon((0, 0, 0)), {"C": 2}
    made = problem(template=template, to_place=to_place)
    template.positions += 1
    to_place["C"] = 9
    assert made.template == carbon((0, 0, 0))
    assert made.n_to_place == 2


def test_structures_can_be_changed_without_changing_the_problem():
    made = problem()
    made.structure([5]).positions[:] = 9
    assert made.template == carbon((0, 0, 0))


def test_problems_survive_pickling():
    made = problem()
    copy = pickle.loads(pickle.dumps(made))
    assert copy == made
    assert copy.canonical_key([5, 9]) == made.canonical_key([5, 9])


def test_the_limits_can_be_switched_off():
    free = problem(minimum_distance=None, maximum_distance=None)
    assert free.minimum_distance is free.maximum_distance is None


# Problems from finished structures


def test_from_atoms_makes_a_periodic_sheet():
    sheet = carbon((0, 0, 4), (1.4, 0, 4), (2, 1.5, 4), (3.4, 1.5, 4))
    made = Problem.from_atoms(sheet, place=[1, 3, 2])
    assert made.grid == Grid((20, 15), (4.0, 3.0), (True, True), origin=(0, 0, 4))
    assert made.template == sheet[:1]
    assert made.to_place == {"C": 3}
    assert made.reference == sheet
    assert made.name == "C4"


def test_from_atoms_takes_the_spacing_that_divides_a_periodic_axis():
    made = Problem.from_atoms(carbon((0, 0, 0), (1.5, 0, 0)), place=[1], spacing=0.35)
    assert made.grid.shape == (11, 9)
    np.testing.assert_allclose(made.grid.spacing, (4 / 11, 3 / 9))


def test_from_atoms_makes_an_open_grid_around_a_flat_molecule():
    molecule = Atoms("C6H6", np.concatenate([hexagon(1.4, z=7.0), hexagon(2.5, z=7.0)]))
    made = Problem.from_atoms(molecule, place=range(2, 12), spacing=0.25, margin=1.0, name="benzene")
    np.testing.assert_allclose(made.grid.pixel_positions.min(axis=0), (-3.5, -2.5 * np.sqrt(0.75) - 1, 7))
    np.testing.assert_allclose(made.grid.pixel_positions.max(axis=0), (3.5, 2.5 * np.sqrt(0.75) + 1, 7))
    np.testing.assert_allclose(made.grid.spacing, 0.25, rtol=0.03)
    assert made.grid.periodic == (False, False)
    assert made.to_place == {"C": 4, "H": 6}
    assert made.species == ("C", "H")


def test_from_atoms_makes_three_axes_for_a_cluster():
    cluster = Atoms("OH2", [(0, 0, 0), (0.76, 0, 0.59), (-0.76, 0, 0.59)])
    made = Problem.from_atoms(cluster, place=[-1, 1], margin=0.5, spacing=0.1)
    assert made.grid.ndim == 3
    np.testing.assert_allclose(made.grid.pixel_positions.min(axis=0), (-1.26, -0.5, -0.5))
    np.testing.assert_allclose(made.grid.pixel_positions.max(axis=0), (1.26, 0.5, 1.09))
    assert made.to_place == {"H": 2}


def test_from_atoms_makes_a_grid_that_is_open_along_some_axes_only():
    slab = Atoms("C3", [(0, 0, 5), (1, 1.5, 5.4), (2, 0.2, 6)], cell=(4, 3, 20), pbc=(True, True, False))
    made = Problem.from_atoms(slab, place=[2], shape=(8, 6, 4))
    assert made.grid.periodic == (True, True, False)
    np.testing.assert_allclose(made.grid.spacing, (0.5, 0.5, 1.0))
    np.testing.assert_allclose(made.grid.origin, (0, 0, 4))
    np.testing.assert_allclose(made.grid.pixel_positions[-1], (3.5, 2.5, 7.0))


def test_from_atoms_needs_an_orthorhombic_cell_along_periodic_axes_only():
    ribbon = carbon((0, 0, 0), (1.5, 0, 0), cell=[(4, 0, 0), (1, 3, 0), (0, 0, 8)], pbc=(True, False, False))
    assert Problem.from_atoms(ribbon, place=[1]).grid.periodic == (True, False)


@pytest.mark.parametrize("cell", [None, (5, 5, 0)])
def test_a_cell_that_repeats_must_have_a_length(cell):
    pair = Atoms("C2", [(0, 0, 0), (1.4, 0, 0)], cell=cell, pbc=True)
    axis = 0 if cell is None else 2
    with pytest.raises(ValueError, match=rf"`atoms` has the cell vector .* along axis {axis} but it must have"):
        Problem.from_atoms(pair, place=[1])


def test_from_atoms_hands_its_settings_on():
    settings_of = {"success_window": 0.7, "minimum_distance": None, "maximum_distance": 2.5, "name": "pair"}
    made = Problem.from_atoms(carbon((0, 0, 0), (1.5, 0, 0)), place=[1], **settings_of)
    assert {key: getattr(made, key) for key in settings_of} == settings_of


# Symmetries


def test_one_atom_on_a_pixel_keeps_the_point_symmetries():
    assert len(problem().symmetries()) == 4
    square = Grid((6, 6), (3.0, 3.0), (True, True))
    assert len(problem(grid=square, template=carbon((0.5, 1, 0), cell=(3, 3, 8))).symmetries()) == 8


def test_symmetries_map_the_drawn_template_onto_itself():
    pair = problem(template=carbon((0, 0, 0), (2, 1.5, 0)))
    found = pair.symmetries()
    assert len(found) == 8  # the translation from one atom to the other, too
    np.testing.assert_array_equal(found[0], np.arange(48))
    for permutation in found:
        assert set(permutation[pair.template_sites]) == set(pair.template_sites)


def test_unlike_atoms_are_not_exchanged():
    template = carbon((0, 0, 0), (2, 1.5, 0))
    template.symbols = "CO"
    assert len(problem(template=template).symmetries()) == 4


def test_an_atom_off_its_pixel_keeps_only_the_symmetries_of_its_true_position():
    shifted = problem(template=carbon((0.03, 0, 0)))
    assert len(shifted.symmetries()) == 2
    assert len(shifted.symmetries(tolerance=0.05)) == 2, "0.06 Å from its mirror image"
    assert len(shifted.symmetries(tolerance=0.1)) == 4


def test_surroundings_break_symmetries():
    assert len(problem(surroundings=Atoms("H", [(0.5, 0, 2)])).symmetries()) == 2


def test_a_template_on_an_open_axis_is_reflected_about_the_middle_only():
    middle, edge = carbon((0, 1.25, 0)), carbon((0, 1.0, 0))
    assert len(problem(grid=STRIP, template=edge).symmetries()) == 2
    odd = Grid((8, 7), (4.0, 3.5), (True, False))
    assert len(problem(grid=odd, template=carbon((0, 1.5, 0))).symmetries()) == 4
    assert len(problem(grid=STRIP, template=middle).symmetries(tolerance=0.3)) == 2, "between pixels"


def test_a_simulation_cell_that_is_not_square_forbids_the_swap_of_a_square_grid():
    grid = Grid((5, 5), (2.5, 2.5), (False, False))
    assert len(problem(grid=grid, template=carbon((1, 1, 0), cell=(9, 9, 9), pbc=True)).symmetries()) == 8
    for cell in [(9, 10, 9), [(9, 1, 0), (0, 9, 0), (0, 0, 9)]]:
        oblong = problem(grid=grid, template=carbon((1, 1, 0), cell=cell, pbc=True))
        assert len(oblong.symmetries()) < 8
        assert oblong.canonical_key([1, 2]) != oblong.canonical_key([5, 10])
    striped = problem(grid=grid, template=carbon((1, 1, 0), cell=(9, 9, 9), pbc=(True, False, False)))
    assert len(striped.symmetries()) == 4


def test_without_a_template_the_symmetries_are_those_of_the_cell_without_translations():
    assert len(problem(template=Atoms(cell=CELL, pbc=(True, True, False))).symmetries()) == 4


# Canonical keys


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.tuples(st.booleans(), st.booleans()))
def test_a_key_is_the_same_for_all_symmetries_and_translations(seed, periodic):
    random = np.random.default_rng(seed)
    grid = Grid((4, 4), (2.0, 2.0), periodic)
    start = int(random.integers(16))
    made = problem(grid=grid, template=carbon(grid.positions(start), cell=(2, 2, 8)), to_place={"C": 3})
    atoms = [start, *random.choice(np.delete(np.arange(16), start), size=3, replace=False)]
    key = made.canonical_key(atoms[1:])
    for symmetry in grid.symmetries():
        images = grid.permutation(symmetry)[atoms].tolist()
        if start in images:  # one of the atoms has come to where the template is
            random.shuffle(images)
            assert made.canonical_key([image for image in images if image != start]) == key


def test_keys_are_equal_only_for_structures_equal_by_symmetry():
    grid = Grid((4, 3), (2.0, 1.5), (True, True))
    made = problem(grid=grid, template=carbon((0, 0, 0), cell=(2, 1.5, 8)), to_place={"C": 3})
    moves = [grid.permutation(symmetry) for symmetry in grid.symmetries()]
    by_key, by_orbit = {}, {}
    for placed in product(range(1, 12), repeat=3):
        if len(set(placed)) == 3:
            orbit = min(tuple(sorted(move[[0, *placed]])) for move in moves)
            by_key.setdefault(made.canonical_key(placed), set()).add(orbit)
            by_orbit.setdefault(orbit, set()).add(made.canonical_key(placed))
    assert all(len(orbits) == 1 for orbits in by_key.values())
    assert all(len(keys) == 1 for keys in by_orbit.values())


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_structures_of_one_key_have_one_energy(seed):
    random = np.random.default_rng(seed)
    made = problem(to_place={"C": 3})
    placed = random.choice(np.arange(1, 48), size=3, replace=False)
    images = [symmetry[placed] for symmetry in made.symmetries()]
    assert len({made.canonical_key(image) for image in images}) == 1
    energies = energy_batch([made.structure(image).positions for image in images], CELL, made.template.pbc)
    np.testing.assert_allclose(energies, energies[0], atol=1e-8)


def test_the_key_of_an_off_grid_template_knows_its_exact_symmetries_only():
    made = problem(template=carbon((0.1, 0, 0)))
    images = [made.canonical_key(PERIODIC.pixels([(1, y, 0), (2, 2 * y, 0)])) for y in (0.5, -0.5)]
    assert images[0] == images[1], "the mirror y -> -y keeps the atom"
    assert made.canonical_key(PERIODIC.pixels([(-1, 0.5, 0), (-2, 1, 0)])) != images[0], "x -> -x does not"
    assert made.canonical_key(PERIODIC.pixels([(2, 2, 0), (1, 1.5, 0)])) != images[0], "nor do translations"


def test_a_key_tells_species_apart():
    made = problem(to_place={"C": 1, "H": 1})
    assert made.canonical_key([5, 48 + 9]) == made.canonical_key([48 + 9, 5])
    assert made.canonical_key([5, 48 + 9]) != made.canonical_key([9, 48 + 5])


def test_a_key_does_not_tell_the_template_from_like_atoms():
    chain, from_its_middle = [(1, 0, 0), (2.5, 0.5, 0)], [(-1, 0, 0), (1.5, 0.5, 0)]
    keys = {problem().canonical_key(PERIODIC.pixels(placed)) for placed in (chain, from_its_middle)}
    assert len(keys) == 1


def test_problems_of_different_energies_have_different_keys():
    variants = [
        problem(),
        problem(template=carbon((0.1, 0, 0))),
        problem(template=carbon((0, 0, 0), cell=(4, 3, 9))),
        problem(template=carbon((0, 0, 0), pbc=True)),
        problem(grid=STRIP),
        problem(surroundings=Atoms("H", [(0, 0, 2)])),
        problem(template=Atoms("O", [(0, 0, 0)], cell=CELL, pbc=(True, True, False))),
        problem(to_place={"O": 2}),
    ]
    assert len({variant.canonical_key([5, 9]) for variant in variants}) == len(variants)


def test_names_limits_and_windows_do_not_change_a_key():
    other = problem(name="other", minimum_distance=0.5, maximum_distance=None, success_window=1.0)
    assert other.canonical_key([5, 9]) == problem().canonical_key([5, 9])


def test_three_axes_have_keys_too():
    grid = Grid((3, 3, 3), (1.5, 1.5, 1.5), (True, True, True))
    cube = problem(grid=grid, template=carbon((0, 0, 0), cell=(1.5, 1.5, 1.5), pbc=True), to_place={"C": 1})
    assert len({cube.canonical_key([pixel]) for pixel in range(1, 27)}) == 3, "along an edge, a face or a diagonal"


# Errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"to_place": {}}, "`to_place` is {} but must hold at least one atom: nothing is to be placed"),
        ({"to_place": {"C": 0}}, "`to_place` is {'C': 0} but must hold at least one atom"),
        ({"to_place": {"C": -1}}, "`to_place` asks for -1 C but a count must be a whole number of at least 0"),
        ({"to_place": {"C": 1.5}}, "`to_place` asks for 1.5 C but a count must be a whole number"),
        ({"to_place": {"Cx": 1}}, "`to_place` names the species 'Cx' but must name chemical elements"),
        ({"to_place": {"X": 1}}, "`to_place` names the species 'X' but must name chemical elements"),
        ({"to_place": {"C": 48}}, "`to_place` holds 48 atoms but must fit on the 47 free pixels"),
        ({"minimum_distance": -0.7}, "`minimum_distance` is -0.7 but must be a positive multiple"),
        ({"minimum_distance": 0.0}, "`minimum_distance` is 0.0 but must be a positive multiple"),
        ({"maximum_distance": -1.3}, "`maximum_distance` is -1.3 but must be a positive multiple"),
        ({"maximum_distance": np.nan}, "`maximum_distance` is nan but must be a positive multiple"),
        (
            {"minimum_distance": 1.3, "maximum_distance": 1.3},
            "`minimum_distance` is 1.3 but must be below `maximum_distance`, 1.3",
        ),
        ({"success_window": 0.0}, "`success_window` is 0.0 eV but must be positive and finite"),
        ({"success_window": np.inf}, "`success_window` is inf eV but must be positive and finite"),
    ],
)
def test_wrong_numbers_are_refused(changes, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        problem(**changes)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (carbon((0, 2.8, 0)), r"`template` has an atom outside the grid: .*2.8.* between 0.000 and 2.500 Å"),
        (carbon((0, np.nan, 0)), "`template` has a position or a cell that is not finite"),
        (carbon((1, 1, 0), (1.1, 1, 0)), r"`template` has two atoms on one pixel, \[\[2, 2\]\], but each must have"),
        (carbon((0, 0, 0), cell=(4.1, 3, 8)), r"`template` has cell vector \[4.1, .* must repeat there every 4.0 Å"),
        (carbon((0, 0, 0), cell=[(4, 0.1, 0), (0, 3, 0), (0, 0, 8)]), r"`template` has cell vector \[4.0, 0.1"),
        (carbon((0, 0, 0), pbc=False), "`template` has cell vector .* pbc False along axis 0 but must repeat"),
    ],
)
def test_a_template_that_does_not_fit_the_grid_is_refused(template, message):
    with pytest.raises(ValueError, match=message):
        problem(grid=STRIP, template=template)


def test_along_an_open_axis_the_simulation_cell_is_free():
    for pbc in [(True, False, False), (True, True, True)]:
        assert problem(grid=STRIP, template=carbon((0, 0, 0), cell=(4, 20, 10), pbc=pbc)).n_to_place == 2


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (carbon((0, 0, 0)), "`reference` is C but must have the atoms of a finished structure, C3"),
        (Atoms("C2O", cell=CELL, pbc=(1, 1, 0)), "`reference` is C2O but must have the atoms .*, C3"),
        (carbon((0, 0, 0), (1, 0, 0), (np.inf, 0, 0)), "`reference` has a position or a cell that is not finite"),
        (Atoms("C3"), r"`reference` has the cell .* and pbc \[False, .* but must have those of `template`"),
        (Atoms("C3", cell=CELL, pbc=True), r"`reference` has the cell .* pbc \[True, True, True\] but must have"),
    ],
)
def test_a_reference_of_another_kind_is_refused(reference, message):
    with pytest.raises(ValueError, match=message):
        problem(reference=reference)


@pytest.mark.parametrize("name", ["charge", "spin", "total_charge"])
def test_a_reference_of_another_charge_or_spin_is_refused(name):
    reference = carbon((0, 0, 0), (1.5, 0, 0), (0, 1.5, 0))
    reference.info = {name: 1, "source": "a paper"}
    with pytest.raises(ValueError, match=f"`reference` has the {name} 1 in its `info` but must have that of .*, 0"):
        problem(reference=reference)
    reference.info[name] = 0
    assert problem(reference=reference).reference == reference


def test_a_reference_holds_the_surroundings_too():
    around = Atoms("H", [(0, 0, 2)])
    finished = carbon((0, 0, 0), (1.5, 0, 0), (0, 1.5, 0))
    assert problem(reference=finished + around, surroundings=around).reference == finished + around
    with pytest.raises(ValueError, match="`reference` is C3 but must have the atoms of a finished structure, C3H"):
        problem(reference=finished, surroundings=around)


@pytest.mark.parametrize("site", [-1, 48])
def test_no_structure_is_built_from_what_is_not_an_action(site):
    with pytest.raises(ValueError, match=rf"`placed` is \[3, {site}\] but must hold action indices in \[0, 48\)"):
        problem().structure([3, site])


PAIR = carbon((0, 0, 0), (1.5, 0, 0))


@pytest.mark.parametrize(
    ("atoms", "arguments", "message"),
    [
        (PAIR, {"place": [0, 0]}, r"`place` is \[0, 0\] but must name each atom once"),
        (PAIR, {"place": [1, -1]}, r"`place` is \[1, -1\] but must name each atom once"),
        (PAIR, {"place": [2]}, r"`place` is \[2\] but must hold indices of the 2 atoms"),
        (PAIR, {"place": [-3]}, r"`place` is \[-3\] but must hold indices of the 2 atoms"),
        (PAIR, {"place": []}, "`to_place` is {} but must hold at least one atom"),
        (PAIR, {"spacing": 0.0}, "`spacing` is 0.0 Å but must be positive"),
        (PAIR, {"spacing": np.nan}, "`spacing` is nan Å but must be positive"),
        (PAIR, {"margin": -1.0}, "`margin` is -1.0 Å but must be at least 0"),
        (PAIR, {"margin": np.nan}, "`margin` is nan Å but must be at least 0"),
        (PAIR, {"shape": (4, 4, 4)}, r"`shape` is \(4, 4, 4\) but must have 2 entries"),
        (PAIR, {"shape": (4, 0)}, r"`shape` is \(4, 0\) but must be .* at least 1"),
        (PAIR, {"spacing": 2.0, "shape": (1, 1)}, "`to_place` holds 1 atoms but must fit on the 0 free pixels"),
        (Atoms(), {"place": []}, "`atoms` is empty but must be a finished structure"),
        (carbon((0, 0, 0), (np.nan, 0, 0)), {}, "`atoms` has a position or a cell that is not finite"),
        (carbon((0, 0, 0), (1, 0, 0), cell=[(4, 1, 0), (0, 3, 0), (0, 0, 8)]), {}, "`atoms` has the cell .* ortho"),
        (
            carbon((0, 0, 0), (1, 0, 0), cell=(0, 0, 0), pbc=False),
            {"margin": 0.0},
            "`margin` is 0.0 Å but must be posit",
        ),
    ],
)
def test_from_atoms_refuses_what_makes_no_problem(atoms, arguments, message):
    with pytest.raises(ValueError, match=message):
        Problem.from_atoms(atoms, **({"place": [1]} | arguments))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"grid": (4, 4)}, TypeError, "`grid` is of type tuple but must be a Grid"),
        ({"template": None}, TypeError, "`template` is of type NoneType but must be ase.Atoms"),
        ({"to_place": "C2"}, TypeError, "`to_place` is of type str but must be a mapping"),
        ({"to_place": ["C", "C"]}, TypeError, "`to_place` is of type list but must be a mapping"),
        ({"reference": "graphene.xyz"}, TypeError, "`reference` is of type str but must be ase.Atoms or None"),
        ({"success_window": None}, ValueError, "`success_window` is None eV but must be positive and finite"),
        ({"minimum_distance": "a"}, ValueError, "`minimum_distance` is 'a' but must be a positive multiple"),
        ({"surroundings": carbon((np.nan, 0, 0))}, ValueError, "`surroundings` has a position or a cell .* not finite"),
        (
            {"surroundings": Atoms(info={"charge": -1})},
            ValueError,
            "`surroundings` has the charge -1 in its `info` but",
        ),
        ({"template": Atoms("X", cell=CELL, pbc=(1, 1, 0))}, ValueError, "`template` is X but must be of chemical"),
    ],
)
def test_a_part_of_the_wrong_kind_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        problem(**changes)


@pytest.mark.parametrize(("set_values", "what"), [("magnetic_moments", "magnetic moments"), ("charges", "charges")])
def test_charges_and_moments_of_single_atoms_are_refused(set_values, what):
    atoms = carbon((0, 0, 0), (1.5, 0, 0))
    getattr(atoms, f"set_initial_{set_values}")([0.0, 1.0])
    remedy = rf"remove them by `atoms\.set_initial_{set_values}\(None\)`"
    with pytest.raises(ValueError, match=rf"`atoms` has the initial {what} \[0.0, 1.0\] but must have none: {remedy}"):
        Problem.from_atoms(atoms, [1])
    getattr(atoms, f"set_initial_{set_values}")(None)
    assert Problem.from_atoms(atoms, [1]).n_to_place == 1


@pytest.mark.parametrize(
    ("place", "error", "message"),
    [
        (1, TypeError, "`place` is 1 but must be a sequence of indices"),
        ([False, True], TypeError, r"`place` is \[False, True\] but must hold whole numbers"),
        ([1.7], TypeError, r"`place` is \[1.7\] but must hold whole numbers"),
    ],
)
def test_indices_of_the_wrong_kind_are_refused(place, error, message):
    with pytest.raises(error, match=message):
        Problem.from_atoms(PAIR, place)


def test_a_structure_by_the_name_of_its_file_is_refused():
    with pytest.raises(TypeError, match=r"`atoms` is of type str but must be ase\.Atoms"):
        Problem.from_atoms("benzene.xyz", [1])


def test_an_atom_may_not_meet_its_own_image():
    cell = (0.8, 4.0, 5.0)
    atoms = Atoms("C", cell=cell, pbc=(True, True, False))
    with pytest.raises(ValueError, match=r"`template` repeats every 0\.8 Å but must leave at least 1\.06 Å"):
        Problem("test", Grid((4, 20), cell[:2], (True, True)), atoms, {"C": 1}, maximum_distance=None)


def test_nor_an_image_along_a_diagonal_of_a_skewed_cell():
    atoms = Atoms(cell=[(4, 0, 0), (4, 1, 0), (0, 0, 10)], pbc=(True, True, False))
    with pytest.raises(ValueError, match=r"`template` repeats every 1 Å but must leave at least 1\.06 Å"):
        Problem("test", Grid((20, 20), (4.0, 4.0), (True, False)), atoms, {"C": 1})


def test_a_pixel_alone_on_an_open_axis_lies_in_the_middle_of_the_atoms():
    chain = Atoms("C3", [(0, 2, 1), (1.3, 2, 1), (2.6, 2, 1)])
    grid = Problem.from_atoms(chain, [1, 2], shape=(24, 1)).grid
    np.testing.assert_allclose(grid.pixel_positions[:, 1:], np.tile([2.0, 1.0], (24, 1)))
    np.testing.assert_allclose(grid.pixel_positions[[0, -1], 0], [-1.0, 3.6])


@pytest.mark.parametrize(
    ("limits", "name", "found"),
    [
        ({"minimum_distance": 1.3}, "minimum_distance", "0.934"),
        ({"minimum_distance": 0.1, "maximum_distance": 0.5}, "maximum_distance", "0.934"),
    ],
)
def test_limits_that_forbid_the_reference_give_a_warning(limits, name, found):
    sheet = graphene().reference
    with pytest.warns(UserWarning, match=rf"`{name}` is .* but `reference` has .* neighbour is {found} sums of coval"):
        Problem.from_atoms(sheet, range(1, 24), shape=(41, 36), **limits)


def test_limits_do_not_hold_for_atoms_of_the_template_and_allow_for_pixels():
    atoms = carbon((0, 0, 0), (0.6, 0, 0), (2.1, 0, 0))  # the nearest two are those of the template
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        Problem.from_atoms(atoms, [2], spacing=0.2)
        Problem.from_atoms(atoms, [2], spacing=0.2, minimum_distance=1.1)  # of 0.987, with pixels of 0.2 Å
        with pytest.raises(UserWarning, match="minimum_distance"):
            Problem.from_atoms(atoms, [2], spacing=0.1, minimum_distance=1.1)


def test_the_distance_of_two_pixels_is_that_of_their_positions() -> None:
    atoms = Atoms("C", [(0.1, 0.2, 0)], cell=(4, 3.5, 5), pbc=(True, True, False))
    problem = Problem(
        "test", Grid((8, 7, 3), (4.0, 3.5, 1.0), (True, False, False)), atoms, {"C": 1}, maximum_distance=1.3
    )
    for pixel in range(problem.grid.n_pixels):
        window = problem.distances_from(pixel)
        expected = problem.distances(problem.grid.positions(pixel)[None])[0]
        np.testing.assert_allclose(window, expected, atol=1e-8)


# What is large


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        ((4.0, 3.0, 8.0), (True, True, False)),
        ((4.0, 3.0, 8.0), (False, True, True)),
        (((4.0, 0, 0), (0, 3.0, 0), (0.7, 0.4, 8.0)), (True, True, False)),  # tilted where it does not repeat
        (((4.0, 0, 0), (0, 3.0, 0), (0.7, 0.4, 8.0)), (True, True, True)),
    ],
)
def test_distances_are_those_of_the_nearest_image(cell, pbc):
    grid = Grid((8, 6, 5), (4.0, 3.0, 4.0), (pbc[0], pbc[1], False))
    atoms = carbon((0.1, 0.2, 0.3), (3.9, 2.9, 0.0), cell=cell, pbc=pbc)
    found = problem(grid=grid, template=carbon((0, 0, 0), cell=cell, pbc=pbc)).distances(atoms.positions)
    _, expected = get_distances(atoms.positions, grid.pixel_positions, cell=atoms.cell, pbc=pbc)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_a_slab_of_many_atoms_and_pixels_takes_little_memory():
    slab = fcc111("Cu", (3, 4, 3), vacuum=8, orthogonal=True)
    slab.pbc = True
    low = slab.positions[:, 2].max() + 1
    size = slab.cell.lengths()
    grid = Grid((40, 40, 20), (*size[:2], 4.0), (True, True, False), origin=(0, 0, low))
    tracemalloc.start()
    Problem("slab", grid, Atoms(cell=slab.cell, pbc=True), {"C": 1, "O": 1}, surroundings=slab).distances(
        slab.positions
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20  # the distances themselves are 9 MiB


def test_what_a_calculator_may_read_in_info_is_told_apart():
    neutral, charged = (carbon((0, 0, 0), (1.5, 0, 0), (0, 1.5, 0)) for _ in range(2))
    charged.info["charge"] = 1
    keys = [problem(template=atoms[:1], reference=atoms) for atoms in (neutral, charged)]
    assert keys[0].fingerprint != keys[1].fingerprint
    assert keys[0].reference_key != keys[1].reference_key
    assert keys[0].fingerprint == problem().fingerprint


@pytest.mark.parametrize("change", [0.5, 1e-12])
def test_long_arrays_in_info_are_told_apart_by_each_number(change):
    atoms = carbon((0, 0, 0), (1.5, 0, 0), (0, 1.5, 0))
    atoms.info["field"] = {"values": np.ones(2000)}
    one = problem(template=atoms[:1], reference=atoms).fingerprint
    atoms.info["field"]["values"][1000] += change
    assert problem(template=atoms[:1], reference=atoms).fingerprint != one


def test_numbers_of_numpy_become_such_as_files_can_hold():
    made = problem(to_place={"C": np.int64(2)}, minimum_distance=np.float32(0.5), success_window=np.float64(1))
    assert json.dumps([made.to_place, made.minimum_distance, made.success_window]) == '[{"C": 2}, 0.5, 1.0]'


# What is no part of a problem


@pytest.mark.parametrize("part", ["template", "reference", "surroundings", "atoms"])
def test_of_atoms_only_what_those_that_are_placed_have_too_is_kept(part):
    around = carbon((0, 0, 2))
    atoms = carbon((0, 0, 0), (1.5, 0, 0), (0, 1.5, 0))
    parts = {"template": atoms[:1], "reference": atoms + around, "surroundings": around, "atoms": atoms}
    plain = Problem.from_atoms(atoms, [1, 2]) if part == "atoms" else problem(**{part: parts[part]} | finished(parts))
    decorated = parts[part]
    decorated.set_tags(range(1, len(decorated) + 1))
    decorated.set_velocities(np.ones((len(decorated), 3)))
    decorated.set_masses(np.arange(1.0, len(decorated) + 1))
    decorated.set_array("labels", np.ones(len(decorated)))
    decorated.set_celldisp([1, 1, 1])
    decorated.set_constraint([FixAtoms([0]), Nameless()])
    made = Problem.from_atoms(atoms, [1, 2]) if part == "atoms" else problem(**{part: decorated} | finished(parts))
    for kept in (made.template, made.reference, made.surroundings, made.structure([5, 9])):
        assert set(kept.arrays) == {"numbers", "positions"}
        assert not kept.constraints
        assert not kept.get_celldisp().any()
    assert made == plain
    assert made.canonical_key([5, 9]) == plain.canonical_key([5, 9])
    assert made.reference_key == plain.reference_key
    assert decorated.has("tags")
    assert len(decorated.constraints) == 2


def finished(parts):
    """Reference and surroundings of a problem whose parts these are."""
    return {"reference": parts["reference"], "surroundings": parts["surroundings"]}


class Nameless:
    """A constraint that says nothing of itself."""


# What is no structure


@pytest.mark.parametrize(
    "placed",
    [
        *([1.7], [5, 1.7], ["1"], [5, "1"], [True], [5, True], [np.True_, 5], [None], [10**400]),
        *([[1, 2]], [[1, 2], [3]], np.array([1.0]), np.array([True]), np.zeros((0, 2))),
        *(5, None, {1, 2}, "12"),
    ],
    ids=repr,
)
def test_what_is_no_sequence_of_whole_numbers_is_refused(placed):
    for method in (problem().sites, problem().structure, problem().canonical_key):
        with pytest.raises(TypeError, match=r"(?s)`placed` is .* but must be a sequence of whole numbers"):
            method(placed)


@pytest.mark.parametrize("placed", [[-1, 2], [48, 2], [2**63], [-(2**63)], np.array([-1]), (2, 10**15)], ids=repr)
def test_what_is_no_action_has_no_key(placed):
    with pytest.raises(ValueError, match=r"`placed` is .* but must hold action indices in \[0, 48\)"):
        problem().canonical_key(placed)


@pytest.mark.parametrize("placed", [[], (), np.array([]), [5], (np.int64(5), 7), np.array([5, 7], np.int32), range(3)])
def test_actions_may_come_in_any_sequence(placed):
    sites = problem().sites(placed)
    assert sites.dtype == np.int64
    assert sites.tolist() == list(placed)


# What is in one place


@pytest.mark.parametrize(
    "cell",
    [
        [(4, 0, 0), (0, 3, 0), (4, 3, 0)],
        [(4, 0, 0), (8, 0, 0), (0, 0, 5)],
        [(4, 0, 0), (0, 3, 1), (0, 6, 2)],
    ],
)
@pytest.mark.parametrize("pbc", [True, (True, True, False), (True, False, False)])
def test_cell_vectors_on_a_line_or_in_a_plane_are_refused(cell, pbc):
    with pytest.raises(ValueError, match=r"`atoms` has the cell .* but its vectors must be linearly independent"):
        Problem.from_atoms(carbon((0, 0, 0), (1.4, 0, 0), cell=cell, pbc=pbc), [1])


@pytest.mark.parametrize(
    "template", [Atoms(), Atoms(cell=(5.1, 4.4, 20.0)), Atoms(cell=(5.0, 4.4, 20.0), pbc=(1, 1, 0))]
)
def test_surroundings_that_repeat_are_not_cut_out_of_their_cell(template):
    slab = Atoms("Cu", [(0, 0, 5)], cell=(5.1, 4.4, 20.0), pbc=(True, True, False))
    grid = Grid((10, 9), (4.5, 4.0), (False, False), (0, 0, 7))
    kept = Problem("adatom", grid, Atoms(cell=slab.cell, pbc=slab.pbc), {"Cu": 1}, surroundings=slab).structure([40])
    np.testing.assert_array_equal(kept.pbc, slab.pbc)
    rule = r"`surroundings` has the cell \[.*\] Å and pbc \[True, True, False\] but must have those of `template`"
    with pytest.raises(ValueError, match=rule):
        Problem("adatom", grid, template, {"Cu": 1}, surroundings=slab)


def test_surroundings_may_not_repeat_the_template():
    for position in [(0, 0, 0), (4, 3, 0), (0, 0, 5e-4)]:
        around = Atoms("CH", [(0, 0, 2), position])
        with pytest.raises(
            ValueError, match=r"`surroundings` has H at \[.*\] Å, where `template` has an atom, but must"
        ):
            problem(surroundings=around)
    assert len(problem(surroundings=Atoms("H", [(0, 0, 2e-3)])).surroundings) == 1


def test_an_atom_to_place_on_one_of_the_template_gives_a_warning():
    for positions in ([(0, 0, 0), (0, 0, 0), (1.4, 0, 0)], [(0, 0, 0), (0.3, 0, 0), (1.4, 0, 0)]):
        with pytest.warns(UserWarning, match="`minimum_distance` is 0.7 but `reference` has an atom to place"):
            Problem.from_atoms(Atoms("C3", positions), [1])


# Axes of one pixel


@pytest.mark.parametrize("template", [(0, 1.0, 0), (0.1, 1.0, 0)], ids=["on a pixel", "off"])
@pytest.mark.parametrize("periodic", [False, True])
def test_symmetries_of_a_row_of_pixels_are_named_once(template, periodic):
    row = Grid((8, 1), (4.0, 3.0), (True, periodic), origin=(0, 1.0, 0))
    made = problem(grid=row, template=carbon(template, pbc=(True, periodic, False)))
    found = made.symmetries(tolerance=0.5)
    assert len(found) == 2
    assert len({permutation.tobytes() for permutation in found}) == 2
    np.testing.assert_array_equal(found[0], np.arange(8))
    assert made.canonical_key([1, 3]) == made.canonical_key([3, 1])


def test_a_reflection_along_an_axis_of_one_pixel_counts_with_another_that_moves_pixels():
    """Of a half turn, which alone keeps the surroundings, one axis is seen."""
    row = Grid((8, 1), (4.0, 3.0), (True, False), origin=(0, 1.0, 0))
    around = Atoms("H2", [(0.5, 1.5, 0), (-0.5, 0.5, 0)])
    made = problem(grid=row, template=carbon((0, 1.0, 0), pbc=(True, False, False)), surroundings=around)
    assert len(made.symmetries()) == 2
    assert made.canonical_key([1, 2]) == made.canonical_key([7, 6])
