"""What pairs of atoms bring: learned from energies of whole builds, for each pair of species, template and all."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.data import covalent_radii

from asla_agents.pair_energies import PairEnergies
from asla_env import Grid, Problem
from asla_env.action import ActionMask
from asla_env.problems import graphene_mini, naphthalene

MINI = graphene_mini()
BETWEEN = Problem(
    "between",
    Grid((24, 20), (4.8, 4.0), (True, False)),
    Atoms("C", [(0.0, 1.07, 0.3)], cell=(4.8, 4.0, 9.0), pbc=(True, False, False)),
    {"C": 3, "H": 2},
    surroundings=Atoms("O", [(2.0, 2.0, 1.5)]),
)
SPACE = Problem(
    "space",
    Grid((9, 8, 7), (3.6, 3.2, 2.8), (True, False, True)),
    Atoms("Si", [(0.0, 0.0, 0.0)], cell=(3.6, 3.2, 2.8), pbc=(True, False, True)),
    {"Si": 3},
    minimum_distance=0.4,
)
NO_PAIRS = np.empty((0, 2), dtype=np.int64)
PROBLEMS = {"one species": MINI, "open": naphthalene(), "fixed atoms": BETWEEN, "three axes": SPACE}


def random_builds(problem: Problem, n: int, seed: int = 0) -> np.ndarray:
    rng, builds = np.random.default_rng(seed), []
    for _ in range(n):
        mask, build = ActionMask(problem), []
        while len(build) < problem.n_to_place:
            build.append(int(rng.choice(np.flatnonzero(mask.legal))))
            mask.place(build[-1])
        builds.append(build)
    return np.array(builds)


def pair_energy(problem: Problem, build: np.ndarray, symbols: set[str] | None = None) -> float:
    """An energy that is one of pairs, by distances of ASE: highest at 1.3 sums of covalent radii, zero from 2 on."""
    atoms = problem.structure(build.tolist())
    distances, energy = atoms.get_all_distances(mic=True), 0.0
    moving = range(len(problem.template), len(problem.template) + problem.n_to_place)
    for i in range(len(atoms)):
        for j in range(i):
            pair = {atoms.symbols[i], atoms.symbols[j]}
            if (i in moving or j in moving) and symbols in (None, pair):
                scaled = distances[i, j] / covalent_radii[atoms.numbers[[i, j]]].sum()
                energy += 3 * np.cos(np.pi * (scaled - 1.3) / 0.7) * (scaled < 2) - 3 * (scaled < 2)
    return energy


def fitted(problem: Problem, energy, n: int = 100) -> tuple[PairEnergies, np.ndarray, np.ndarray, np.ndarray]:
    """The fit to some builds; the first of them, others, and by how much their energies differ from the first one's."""
    builds = random_builds(problem, n + 100)
    energies = np.array([energy(problem, build) for build in builds])
    return PairEnergies(problem, builds[:n], energies[:n]), builds[0], builds[n:], energies[n:] - energies[0]


def changes(pairs: PairEnergies, first: np.ndarray, builds: np.ndarray) -> np.ndarray:
    """By how many eV other builds lie above a first one: its atoms go to their sites one after the other."""
    return np.array([sum(falls_one_by_one(pairs, np.sort(first), np.sort(build))) for build in builds]) * -1


def falls_one_by_one(pairs: PairEnergies, sites: np.ndarray, to: np.ndarray) -> list[float]:
    falls = []
    for i, site in enumerate(to):
        around = np.column_stack([sites, sites])
        around[i, 1] = site
        falls.append(float(pairs.falls(around, NO_PAIRS)[0][i, 1]))
        sites = around[:, 1]
    return falls


def agreement(pairs: PairEnergies, first: np.ndarray, builds: np.ndarray, expected: np.ndarray) -> float:
    return float(np.corrcoef(changes(pairs, first, builds), expected)[0, 1])


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_energies_of_pairs_are_learned_from_a_hundred_builds(problem):
    assert agreement(*fitted(problem, pair_energy)) > 0.95


@pytest.mark.parametrize("symbols", [{"C", "H"}, {"H"}, {"H", "O"}])
def test_each_pair_of_species_brings_something_else(symbols):
    assert agreement(*fitted(BETWEEN, lambda *build: pair_energy(*build, symbols=symbols), n=400)) > 0.9


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_two_atoms_that_go_at_once_do_what_they_do_one_after_the_other(problem):
    pairs, first, others, _ = fitted(problem, pair_energy, n=30)
    rng, sites = np.random.default_rng(3), np.sort(first)
    around = np.column_stack([sites, *np.sort(others[:3], axis=1)])
    two_atoms = np.array([(i, j) for j in range(len(sites)) for i in range(j)])
    one, two = pairs.falls(around, two_atoms)
    assert (one.shape, two.shape) == (around.shape, (len(two_atoms), 4, 4))
    for p in rng.choice(len(two_atoms), 2):
        for to in np.ndindex(4, 4):
            moved = sites.copy()
            moved[two_atoms[p]] = around[two_atoms[p], to]
            assert two[p, *to] == pytest.approx(sum(falls_one_by_one(pairs, sites, moved)), abs=1e-9)
    np.testing.assert_allclose(two[:, :, 0], one[two_atoms[:, 0]], atol=1e-9)


def test_few_builds_tell_in_which_of_two_directions_an_atom_should_go():
    problem = dataclasses.replace(MINI, to_place={"C": 2}, reference=None)
    near = [problem.grid.pixels([[x, y, 5.0]])[0] for x, y in ((1.42, 0.0), (2.0, 2.0))]
    builds = np.array([[near[0] + step * problem.grid.shape[1], near[1]] for step in (0, 1)])  # a pixel further along x
    pairs = PairEnergies(problem, builds, np.array([0.0, 3.0]))
    to = np.array([[near[0] + step * problem.grid.shape[1], near[1]] for step in (-1, 2)])
    back, further = changes(pairs, builds[0], to)
    assert back < 0 < further


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_the_order_of_atoms_does_not_matter(problem):
    builds, rng = random_builds(problem, 30), np.random.default_rng(1)
    energies = rng.random(30) * 9
    shuffled = rng.permuted(builds, axis=1)
    others = random_builds(problem, 5, seed=2)
    expected = changes(PairEnergies(problem, builds, energies), builds[0], others)
    np.testing.assert_allclose(
        changes(PairEnergies(problem, shuffled, energies), builds[0], others), expected, atol=1e-9
    )


def test_pairs_are_counted_in_parts_with_the_same_result(monkeypatch):
    builds, energies = random_builds(BETWEEN, 30), np.random.default_rng(1).random(30)
    whole = changes(PairEnergies(BETWEEN, builds[:20], energies[:20]), builds[0], builds[20:])
    monkeypatch.setattr("asla_agents.pair_energies._PAIRS_AT_ONCE", 45)
    in_parts = changes(PairEnergies(BETWEEN, builds[:20], energies[:20]), builds[0], builds[20:])
    np.testing.assert_allclose(in_parts, whole, atol=1e-9)


def test_where_an_atom_is_it_gains_nothing_and_what_is_far_away_changes_nothing():
    empty = Problem("empty", Grid((60, 60), (12.0, 12.0), (False, False)), Atoms(cell=(12, 12, 9)), {"C": 2})
    builds = np.array([[0, 8], [0, 9], [0, 11]])
    pairs = PairEnergies(empty, builds, np.array([1.0, 2.0, 5.0]))
    assert changes(pairs, builds[0], builds[:1]).tolist() == [0]
    far, farther = changes(pairs, builds[0], np.array([[0, 60 * 30 + 30], [0, 60 * 59 + 59]]))
    assert far == farther != 0


def test_a_pair_brings_less_and_less_until_it_brings_nothing():
    """Distances are told apart up to 2.14 sums of covalent radii, 3.25 Å for carbon; the grid has 0.01 Å there."""
    fine = Problem("fine", Grid((400, 1), (4.0, 1.0), (False, False)), Atoms(cell=(4, 1, 9)), {"C": 2})
    builds = np.array([[0, 310], [0, 150]])
    pairs = PairEnergies(fine, builds, np.array([0.0, -4.0]))
    energies = changes(pairs, builds[0], np.array([[0, pixel] for pixel in range(310, 400)]))
    assert np.abs(np.diff(energies)).max() < 0.2
    assert len(set(energies[16:])) == 1
