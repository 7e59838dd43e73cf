"""Refined builds: when they are due, which atoms are moved where, and that none is paid for twice."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from asla_agents import refinement
from asla_agents.exploration import Exploration
from asla_agents.explorer import Explorer
from asla_agents.pair_energies import PairEnergies
from asla_agents.planning import plan
from asla_agents.refinement import is_due, refined
from asla_agents.replay import ReplaySettings
from asla_agents.symmetry import move_origin
from asla_env import Problem
from asla_env.action import ActionMask, action_mask
from asla_env.problems import grain_boundary, graphene_mini, naphthalene
from asla_env.xwch import XWCH

MINI = graphene_mini()
PROBLEMS = {
    "one species": MINI,
    "maximum distance": dataclasses.replace(MINI, maximum_distance=1.3),
    "two species": naphthalene(),
    "one atom": dataclasses.replace(MINI, to_place={"C": 1}, reference=None),
}


NEAR_MISSES = [  # of the boundary
    [int(site) for site in sites.split()]
    for sites in (
        "962 1022 1213 1259 1277 1292 1299 1482 1599 1606 1621 1628 1853 1913 1928 1935 2001 2113 2188 2234",
        "1015 1022 1160 1259 1291 1298 1331 1430 1620 1627 1653 1660 1800 1913 1935 1981 2001 2061 2234 2241",
    )
]


def random_build(problem: Problem, rng: np.random.Generator) -> list[int]:
    mask, build = ActionMask(problem), []
    while len(build) < problem.n_to_place:
        build.append(int(rng.choice(np.flatnonzero(mask.legal))))
        mask.place(build[-1])
    return build


def make_explorer(energies, problem=MINI, warmup_episodes=0, seed=1, patience=None, **settings) -> Explorer:
    exploration = Exploration(**settings)
    explorer = Explorer(problem, exploration, ReplaySettings(), warmup_episodes, patience, augment=True, seed=0)
    rng = np.random.default_rng(seed)
    for energy in energies:
        explorer.builds.add(random_build(problem, rng), float(energy))
    return explorer


def is_legal(build: list[int], problem: Problem) -> bool:
    mask = ActionMask(problem)
    for action in build:
        if not mask.legal[action]:
            return False
        mask.place(action)
    return len(build) == problem.n_to_place


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, "10" * 8), (0.3, "1001001000100100"), (0, "0" * 16), (1, "1" * 16)]
)
def test_their_share_of_builds_since_the_lowest_energy_is_due_evenly_spread(share, expected):
    explorer, due = make_explorer([3.0], refined_share=share), []
    for n_begun in range(16):  # on their way
        assert is_due(make_explorer([3.0], refined_share=share), n_begun) is (expected[n_begun] == "1")
        due.append(is_due(explorer))
        explorer.builds.add(random_build(MINI, np.random.default_rng()), 3.0)
    assert "".join(str(int(part)) for part in due) == expected
    explorer.builds.add(random_build(MINI, np.random.default_rng()), 2.0)
    assert is_due(explorer) is (share > 0)


def test_none_is_due_while_warming_up():
    assert not is_due(make_explorer([3.0, 2.0], warmup_episodes=3))
    assert is_due(make_explorer([4.0, 3.0, 2.0], warmup_episodes=3))


def steps_between(structure: np.ndarray, build: list[int], problem: Problem) -> dict[int, np.ndarray]:
    """Pixels along each axis by which atoms moved, by their sites before."""
    left, come = sorted({*structure.tolist()} - {*build}), sorted({*build} - {*structure.tolist()})
    indices = [
        np.array(np.unravel_index(np.array(each) % problem.grid.n_pixels, problem.grid.shape)) for each in (left, come)
    ]
    shape = np.array(problem.grid.shape)[:, None, None]
    steps = indices[1][:, None, :] - indices[0][:, :, None]  # [axis, atom that left, atom that came]
    steps = np.where(np.array(problem.grid.periodic)[:, None, None], (steps + shape // 2) % shape - shape // 2, steps)
    nearest = np.abs(steps).max(axis=0).argmin(axis=1)
    return {site: steps[:, i, nearest[i]] for i, site in enumerate(left)}


HIGH = 1000.0  # eV, more than any of these structures has


def explorer_with_bonds(problem=MINI, n=60, seed=3) -> Explorer:
    """Energies are lower the more pairs of atoms are 1.4 Å apart; the lowest one is the last."""
    explorer = make_explorer([], problem)
    rng = np.random.default_rng(seed)
    builds = [random_build(problem, rng) for _ in range(n)]
    distances = [problem.structure(build).get_all_distances(mic=True) for build in builds]
    energies = [float(np.square(np.clip(d[d > 0], 0, 2) - 1.4).sum()) for d in distances]
    for i in np.argsort(energies)[::-1]:
        explorer.builds.add(builds[i], energies[i])
    return explorer


def lowest_of(explorer: Explorer) -> tuple[np.ndarray, PairEnergies]:
    """Sites of the lowest structure, and what the builds say of pairs of its atoms."""
    structures, energies = explorer.builds.lowest(100)
    return structures[0], PairEnergies(explorer.problem, structures, energies)


def refine(explorer: Explorer, n: int = 1) -> list[list[int]]:
    """Some refined builds, none of which brings anything."""
    builds = []
    for _ in range(n):
        builds.append(refined(explorer))
        explorer.builds.add(builds[-1], HIGH)
    return builds


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_a_refined_build_is_legal_and_neither_known_nor_on_its_way(problem):
    explorer, in_flight = explorer_with_bonds(problem), list[list[int]]()
    keys = {problem.canonical_key(build) for build, _ in explorer.builds}
    for _ in range(9):
        in_flight.append(refined(explorer, in_flight))
        assert is_legal(in_flight[-1], problem)
        assert problem.canonical_key(in_flight[-1]) not in keys
        keys.add(problem.canonical_key(in_flight[-1]))


@pytest.mark.parametrize("problem", [MINI, PROBLEMS["two species"]], ids=["periodic", "open"])
def test_atoms_of_the_lowest_structure_move_by_a_pixel_half_as_many_each_time(problem):
    explorer = explorer_with_bonds(problem)
    lowest = lowest_of(explorer)[0]
    for n_tries, build in enumerate(refine(explorer, 8)):
        steps, n_moves = steps_between(lowest, build, problem), max(1, problem.n_to_place >> n_tries)
        assert is_legal(build, problem)
        assert {np.abs(step).max() for step in steps.values()} == {1}
        assert len(steps) in ([1, 2] if n_moves == 1 else range(2, 2 * n_moves + 1))


@pytest.mark.parametrize("seed", range(6))
def test_two_atoms_that_move_at_the_same_time_are_bonded(seed):
    explorer, problem = explorer_with_bonds(PROBLEMS["two species"], seed=seed), PROBLEMS["two species"]
    lowest = lowest_of(explorer)[0]
    for build in refine(explorer, 8)[4:]:
        one, other = (2 * list(steps_between(lowest, build, problem)))[:2]
        radii = [problem.radii()[site // problem.grid.n_pixels] for site in (one, other)]
        pixels = [site % problem.grid.n_pixels for site in (one, other)]
        assert problem.distances_from(pixels[0])[pixels[1]] <= 1.3 * sum(radii)


@pytest.mark.parametrize("seed", range(3, 7))
def test_the_first_move_is_that_of_which_the_largest_fall_is_predicted(seed):
    explorer = explorer_with_bonds(seed=seed)
    refine(explorer, 4)  # so that one is made
    lowest, pairs = lowest_of(explorer)
    steps, falls = list(itertools.product((-1, 0, 1), repeat=2)), {}
    distances = [MINI.distances_from(int(site))[lowest] for site in lowest]
    for i, j in itertools.combinations_with_replacement(range(len(lowest)), 2):
        for to_i, to_j in itertools.product(MINI.grid.shifted(lowest[i], steps), MINI.grid.shifted(lowest[j], steps)):
            if i != j and distances[i][j] > 1.3 * 1.52:
                continue
            around = np.column_stack([lowest, lowest])
            around[j, 1], around[i, 1] = to_j, to_i
            one, two = pairs.falls(around, np.array([(i, j)]))
            moved = tuple(sorted(around[:, 1]))
            if is_legal(list(moved), MINI) and not explorer.builds.is_known(moved):
                falls[moved] = one[i, 1] if i == j else two[0, 1, 1]
    build = refined(explorer)
    assert falls[tuple(sorted(build))] == pytest.approx(max(falls.values()))
    assert max(falls.values()) > 0


def is_around(structure: np.ndarray, build: list[int]) -> bool:
    return all(np.abs(step).max() <= 1 for step in steps_between(structure, build, MINI).values())


def test_after_eight_times_the_next_structure_has_its_turn():
    explorer = explorer_with_bonds()
    lowest, second = explorer.builds.lowest(2)[0]
    assert not is_around(second, lowest.tolist())
    builds = refine(explorer, 9)
    assert [is_around(lowest, build) for build in builds] == 8 * [True] + [False]
    assert is_around(second, builds[-1])


def test_and_after_a_lower_one_was_found_beside_it_that_one():
    explorer = explorer_with_bonds()
    lower = refined(explorer)
    explorer.builds.add(lower, -1.0)
    builds = refine(explorer, 9)
    assert all(is_around(np.array(lower), build) for build in builds[:8])
    assert not is_around(lowest_of(explorer)[0], builds[8])
    assert len(steps_between(np.array(lower), builds[0], MINI)) > len(steps_between(np.array(lower), builds[7], MINI))


def test_a_turn_counts_too_where_no_fall_is_predicted(monkeypatch):
    explorer = explorer_with_bonds()
    lowest, second = explorer.builds.lowest(2)[0]
    refine(explorer, 3)
    with monkeypatch.context() as patched:
        patched.setattr(refinement, "_moves", lambda *_: iter(()))
        assert [refined(explorer) for _ in range(5)] == 5 * [[]]
    assert explorer.is_minimum(lowest)
    assert not explorer.is_minimum(explorer.builds.lowest(100)[0][-1])  # that lie around a lower one have no turns
    assert explorer.turns[explorer.builds.key(second)] == 5


def test_where_all_were_refined_eight_times_there_is_none():
    explorer = explorer_with_bonds()
    explorer.turns.update({explorer.builds.key(structure): 8 for structure in explorer.builds.lowest(100)[0]})
    assert refined(explorer) == []


def test_what_was_built_with_another_of_its_atoms_as_the_template_is_not_planned():
    explorer, other = explorer_with_bonds(), explorer_with_bonds()
    build = refined(explorer)
    atoms = np.concatenate([MINI.template_sites, build])
    other.builds.add(move_origin(np.roll(atoms, 1), MINI)[1:].tolist(), np.inf)  # no energy to learn from
    assert MINI.canonical_key(refined(other)) != MINI.canonical_key(build)


@pytest.mark.parametrize(("n_tries", "since", "is_stuck"), [(8, 22, True), (8, 21, False), (7, 22, False)])
def test_a_lowest_structure_that_was_refined_eight_times_is_given_up_after_a_third_of_the_patience(
    n_tries, since, is_stuck
):
    explorer = make_explorer([1, *range(2, 2 + since)], patience=6)  # of 11 atoms that is 66 episodes
    for sites in explorer.builds.lowest(9)[0]:
        explorer.turns[explorer.builds.key(sites)] = n_tries
    assert explorer.is_stuck is is_stuck
    explorer.found = True
    assert not explorer.is_stuck
    explorer.found, explorer.patience = False, None
    assert not explorer.is_stuck


def test_where_a_lower_one_was_found_since_the_search_goes_on():
    explorer = make_explorer([1, *range(2, 24), 0.9], patience=6)
    for sites in explorer.builds.lowest(9)[0][1:]:
        explorer.turns[explorer.builds.key(sites)] = 8
    assert not explorer.is_stuck


def test_how_often_a_structure_was_refined_is_kept_in_the_state_and_forgotten_after_a_fresh_start():
    explorer, other = explorer_with_bonds(), make_explorer([])
    refine(explorer, 5)
    other.restore(json.loads(json.dumps(explorer.state())), {})
    assert refine(other, 5) == refine(explorer, 5)
    assert explorer.turns.total() == 10
    explorer.start_afresh()
    assert not explorer.turns


@pytest.mark.parametrize("energies", [[], [3.0], [np.inf, np.nan]])
def test_where_fewer_than_two_energies_are_known_nothing_is_predicted(energies):
    assert refined(make_explorer(energies)) == []


@pytest.mark.parametrize("near_miss", NEAR_MISSES, ids=["4.0 eV", "3.6 eV"])
def test_two_atoms_leave_a_structure_of_the_boundary_that_no_atom_can_leave_alone(near_miss):
    """A search of the boundary was stuck there, outside of the window of 2 eV; the lowest one is 0.06 eV lower yet."""
    problem, calculator = grain_boundary(), XWCH()

    def energy(build):
        atoms = [problem.structure(build), problem.reference]
        return -np.diff([calculator.get_potential_energy(each) for each in atoms])[0]

    rng, explorer = np.random.default_rng(0), make_explorer([], problem)
    steps = list(itertools.product((-1, 0, 1), repeat=2))
    alone = [
        energy([*near_miss[:i], int(to), *near_miss[i + 1 :]])
        for i in range(len(near_miss))
        for legal in [action_mask([*near_miss[:i], *near_miss[i + 1 :]], problem)]
        for to in problem.grid.shifted(near_miss[i], steps)
        if legal[to]
    ]
    assert min(alone) > energy(near_miss) - 0.11
    assert energy(near_miss) > 3.5
    explorer.builds.add(near_miss, energy(near_miss))
    while len(explorer.builds) < 100:
        moves = [rng.choice(problem.grid.shifted(site, steps)) if rng.random() < 0.2 else site for site in near_miss]
        if is_legal([int(site) for site in moves], problem):
            explorer.builds.add(moves, energy(moves))
    for _ in range(3):
        explorer.builds.add(build := refined(explorer), energy(build))
    assert explorer.builds.energies.min() < problem.success_window / 2


class NoPolicy:
    """What a plan asks of a network."""

    advantages = features_extractor = None


class Imagined:
    """Imagination that always has the same plan."""

    def plan(self, *_):
        return [1, 2, 3]


def test_where_no_refined_build_is_due_one_is_imagined_or_nothing_planned():
    due, also_due, later = explorer_with_bonds(), explorer_with_bonds(), make_explorer([3.0, 4.0])
    assert plan(due, NoPolicy, Imagined()) == plan(also_due, NoPolicy) == refined(explorer_with_bonds())
    assert plan(later, NoPolicy, Imagined()) == [1, 2, 3]
    assert plan(later, NoPolicy) == []
