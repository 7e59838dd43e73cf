"""Replay: what a batch holds, and how the energies of builds become targets."""

import dataclasses
import itertools

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from asla_agents.replay import BuildReplay, ReplaySettings
from asla_agents.symmetry import augmentations, has_free_origin, move_origin
from asla_env import Grid, Problem
from asla_env.action import action_mask
from asla_env.observation import one_hot, placed_sites

PLANE = Grid((7, 6), (5.6, 4.8), (True, False))
SPACE = Grid((4, 3, 5), (3.2, 2.4, 4.0), (True, True, False))
SETTINGS = ReplaySettings(
    placements=1,
    best_share=0.25,
    latest_share=0.25,
    n_best=3,
    n_latest=4,
    window_episodes=5,
    window_quantile=0.5,
    minimum_window=0.2,
    spillover=0.5,
    shuffled_share=0.0,
    lowest_target=-1.0,
    late_exponent=1.0,
)


def make_problem(grid=PLANE, to_place=None, symbols="C", positions=((0, 2),)) -> Problem:
    """Template atoms at positions in units of pixels; by default one mirror keeps it."""
    xyz = np.zeros((len(positions), 3))
    xyz[:, : grid.ndim] = np.multiply(positions, grid.spacing)
    template = Atoms(symbols, xyz, cell=(*grid.cell, 10.0)[:3], pbc=(*grid.periodic, False)[:3])
    return Problem("test", grid, template, to_place or {"C": 3}, minimum_distance=0.6, maximum_distance=None)


PROBLEM = make_problem()
FREE = make_problem(Grid((7, 6), (5.6, 4.8), (True, True)), {"C": 3, "H": 2})  # any carbon atom may be the template
PROBLEMS = {
    "one species": PROBLEM,
    "two species": make_problem(to_place={"H": 2, "C": 1}),
    "three axes": make_problem(SPACE, {"O": 1, "C": 2}, positions=((0, 0, 2),)),
}
every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


def make_replay(problem=PROBLEM, symmetric=True, **settings) -> BuildReplay:
    return BuildReplay(
        problem, dataclasses.replace(SETTINGS, **settings), augmentations(problem)[: None if symmetric else 1]
    )


def random_build(problem: Problem, rng: np.random.Generator) -> list[int]:
    placed: list[int] = []
    while len(placed) < problem.n_to_place:
        placed.append(int(rng.choice(np.flatnonzero(action_mask(placed, problem)))))
    return placed


def filled(problem=PROBLEM, n=12, **settings) -> tuple[BuildReplay, list[list[int]], list[float]]:
    """A replay of random builds whose energies all differ, with the builds and the energies."""
    rng = np.random.default_rng(5)
    replay, builds = make_replay(problem, **settings), [random_build(problem, rng) for _ in range(n)]
    energies = rng.permutation(n).astype(float).tolist()
    for placed, energy in zip(builds, energies, strict=True):
        replay.add(placed, energy)
    return replay, builds, energies


def with_energies(energies, **settings) -> BuildReplay:
    replay = make_replay(**settings)
    for energy in energies:
        replay.add([1, 9, 20], energy)
    return replay


def maps(problem: Problem) -> np.ndarray:
    return augmentations(problem)


def permuted(placed, permutation, problem: Problem) -> list[int]:
    """The same build seen through a symmetry."""
    channels, pixels = np.divmod(placed, problem.grid.n_pixels)
    return (channels * problem.grid.n_pixels + permutation[pixels]).tolist()


def mirrored(placed, problem: Problem) -> list[int]:
    return permuted(placed, maps(problem)[-1], problem)


def sampled(replay: BuildReplay, n=400, seed=0):
    return replay.sample(n, np.random.default_rng(seed))


def targets_by_structure(replay: BuildReplay, problem: Problem, n=2000) -> dict[frozenset[int], set[float]]:
    """Targets seen in a large batch, by the structure after the placement as a set of sites."""
    batch, found = sampled(replay, n), {}
    for image, action, target in zip(batch.images, batch.actions[:, 0], batch.targets[:, 0], strict=True):
        after = frozenset([*placed_sites(image, problem).tolist(), int(action)])
        found.setdefault(after, set()).add(float(target))
    return found


def subsets(sites) -> list[frozenset[int]]:
    return [frozenset(chosen) for n in range(len(sites)) for chosen in itertools.combinations(sites, n)]


# Targets


@pytest.mark.parametrize(("quantile", "highest"), [(0.5, 4), (0.75, 6), (1.0, 8)])
def test_targets_run_from_the_lowest_energy_to_a_quantile_of_the_latest_builds(quantile, highest):
    replay = with_energies([100, 100, 100, -4, 6, 0, 8, 4], window_quantile=quantile)  # the latest five count
    energies = np.array([-4, (highest - 4) / 2, highest, highest + 0.5, 100])
    np.testing.assert_allclose(replay.targets(energies), [1, 0, -1, -1, -1])


def test_the_lowest_energy_counts_however_long_ago_it_was():
    replay = with_energies([-10, *[0.0] * 20])
    np.testing.assert_allclose(replay.targets(np.array([-10.0, -5.0, 0.0])), [1, 0, -1])


def test_the_window_is_at_least_its_minimum_for_each_placed_atom():
    replay = with_energies([3.0, 3.1, 3.2], minimum_window=0.5)  # three atoms: 1.5 eV
    np.testing.assert_allclose(replay.targets(np.array([3.0, 3.75, 4.5, 5.0])), [1, 0, -1, -1])


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_a_build_without_an_energy_is_worth_the_least_and_does_not_move_the_window(nothing):
    replay = with_energies([0.0, 10.0, 10.0, nothing, nothing, nothing, nothing, nothing])
    np.testing.assert_allclose(replay.targets(np.array([0.0, 5.0, 10.0, np.inf])), [1, 0, -1, -1])
    assert np.isinf(replay.energies[3:]).all()


def test_without_any_energy_all_targets_are_minus_one():
    replay = with_energies([np.nan, np.nan])
    assert replay.targets(np.array([np.inf, 0.0])).tolist() == [-1, -1]
    assert sampled(replay).targets[:, 0].tolist() == [-1] * 400


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20), st.floats(1e-3, 1e2))
def test_targets_lie_in_range_fall_with_energy_and_are_one_at_the_lowest(energies, minimum_window):
    replay = with_energies(energies, minimum_window=minimum_window)
    targets = replay.targets(np.sort(energies))
    assert np.all((targets >= -1) & (targets <= 1))
    assert np.all(np.diff(targets) <= 0)
    assert targets[0] == 1


# The lowest energy of any build through a structure


def test_the_target_is_the_lowest_energy_that_was_reached_through_the_structure():
    replay = make_replay(symmetric=False)
    replay.add([1, 9, 20], 0.0)
    replay.add([1, 9, 33], 8.0)
    replay.add([1, 26, 40], 8.0)
    replay.add([39, 26, 40], 8.0)
    found = targets_by_structure(replay, PROBLEM)
    assert found[frozenset([1])] == found[frozenset([1, 9])] == found[frozenset([1, 9, 20])] == {1.0}
    assert found[frozenset([1, 9, 33])] == found[frozenset([1, 26])] == found[frozenset([39])] == {-1.0}


@every_problem
def test_the_order_of_the_atoms_does_not_matter(problem):
    placed = random_build(problem, np.random.default_rng(0))
    other = [*placed[:-1][::-1], placed[-1]]
    replay = make_replay(problem, symmetric=False, minimum_window=1e-3)
    replay.add(placed, 1.0)
    replay.add(other, 0.0)
    replay.add(random_build(problem, np.random.default_rng(1)), 5.0)
    found = targets_by_structure(replay, problem)
    assert found[frozenset(placed)] == found[frozenset(placed[:2])] == {1.0}
    assert found[frozenset([placed[0]])] == {1.0}  # the better build has this atom too, though it came later


@every_problem
def test_mirror_builds_share_their_energies_if_symmetries_are_given(problem):
    placed = random_build(problem, np.random.default_rng(3))
    assert set(mirrored(placed, problem)) != set(placed)
    for symmetric, expected in ((True, {1.0}), (False, {-1.0, 1.0})):
        replay = make_replay(problem, symmetric, minimum_window=1e-3)
        replay.add(placed, 2.0)
        replay.add(mirrored(placed, problem), 0.0)
        replay.add(placed, 2.0)
        assert set(sampled(replay).targets[:, 0]) == expected


def test_a_better_build_stored_later_raises_the_target():
    replay = with_energies([0.0, 5.0, 5.0])
    replay.add([3, 16, 30], 5.0)
    assert targets_by_structure(replay, PROBLEM)[frozenset([3, 16])] == {-1.0}
    replay.add([3, 16, 41], -5.0)
    found = targets_by_structure(replay, PROBLEM)
    assert found[frozenset([3])] == found[frozenset([3, 16])] == {1.0}
    assert found[frozenset([3, 16, 30])] == {-1.0}


def test_a_worse_build_stored_later_changes_no_energy_reached():
    replay = make_replay(symmetric=False)
    for energy in (0.0, 7.0, 7.0, np.nan):
        replay.add([1, 9, 20], energy)
    assert set(sampled(replay).targets[:, 0]) == {1.0}


@every_problem
def test_targets_equal_those_of_a_search_through_all_stored_builds(problem):
    replay, builds, energies = filled(problem, 30)
    images = [[set(permuted(build[:k], m, problem)) for k in range(1, 4)] for build in builds for m in maps(problem)]
    energies = np.repeat(energies, len(maps(problem)))
    batch = sampled(replay, 100)
    for image, action, target in zip(batch.images, batch.actions[:, 0], batch.targets[:, 0], strict=True):
        after = {*placed_sites(image, problem).tolist(), int(action)}
        through = [e for states, e in zip(images, energies, strict=True) if after <= states[-1]]
        assert target == pytest.approx(float(replay.targets(np.array([min(through)]))[0]))


# Shuffled builds


def test_shuffling_makes_an_unfinished_structure_of_any_atoms_of_a_build():
    replay = make_replay(symmetric=False, shuffled_share=1.0)
    replay.add([9, 20, 33], 0.0)
    batch, sites = sampled(replay), {9, 20, 33}
    placed = [frozenset(placed_sites(image, PROBLEM).tolist()) for image in batch.images]
    drawn = set(zip(placed, batch.actions[:, 0].tolist(), strict=True))
    assert drawn == {(before, a) for before in subsets(sites) for a in sites - before}


def test_where_the_origin_is_free_shuffled_images_are_translations_of_the_whole_structure():
    problem = make_problem(Grid((7, 6), (5.6, 4.8), (True, True)))
    assert has_free_origin(problem)
    replay = make_replay(problem, symmetric=False, shuffled_share=1.0)
    placed = [9, 20, 33]
    replay.add(placed, 0.0)
    atoms = np.stack(np.unravel_index([*problem.template_sites, *placed], (7, 6)), axis=1)
    moved = [((atoms - atom + atoms[0]) % (7, 6)).tolist() for atom in atoms]
    wholes = {frozenset(i * 6 + j for i, j in whole) - {2} for whole in moved}
    assert len(wholes) == 4
    batch = sampled(replay, 2000)
    images = [frozenset(placed_sites(image, problem).tolist()) for image in batch.images]
    drawn = set(zip(images, batch.actions[:, 0].tolist(), strict=True))
    assert drawn == {(before, a) for whole in wholes for before in subsets(whole) for a in whole - before}
    assert batch.targets[:, 0].tolist() == [1.0] * 2000


def test_every_atom_of_the_templates_kind_becomes_the_template_as_often_and_no_other():
    grid = Grid((7, 6), (5.6, 4.8), (True, True))
    problem = make_problem(grid, to_place={"C": 2, "H": 2})
    replay = make_replay(problem, symmetric=False, shuffled_share=1.0)
    replay.add([9, 20, 42 + 12, 42 + 36], 0.0)
    images = sampled(replay, 9000).images.reshape(9000, 2, -1)
    whole = images[images.sum(axis=(1, 2)) == 4]  # all but one atom
    assert np.all(whole[:, 0, problem.template_sites[0]] == 1)
    offsets = whole[whole[:, 0].sum(axis=1) == 3][:, 0]
    counts = np.unique(offsets, axis=0, return_counts=True)[1]
    assert len(counts) == 3
    np.testing.assert_allclose(counts, counts.sum() / 3, atol=5 * np.sqrt(counts.sum() * 2 / 9))


def test_a_share_of_the_samples_is_shuffled():
    replay = make_replay(symmetric=False, shuffled_share=0.5)
    replay.add([9, 20, 33], 0.0)
    batch = sampled(replay, 6000)
    first = batch.actions[batch.images.sum(axis=(1, 2, 3)) == 1, 0]
    assert np.mean(first == 9) == pytest.approx(0.5 + 0.5 / 3, abs=5 * 0.5 / np.sqrt(len(first)))


def test_a_shuffled_sample_has_the_lowest_energy_of_all_builds_with_its_atoms():
    replay = make_replay(symmetric=False, shuffled_share=1.0)
    replay.add([9, 20, 33], 4.0)
    replay.add([20, 9, 41], 0.0)
    replay.add([7, 19, 31], 8.0)
    found = targets_by_structure(replay, PROBLEM)
    assert found[frozenset([20])] == found[frozenset([9, 20])] == found[frozenset([41])] == {1.0}
    assert found[frozenset([33])] == found[frozenset([20, 33])] == {-1.0}  # 4 eV, the median
    assert found[frozenset([9])] == {1.0}


# Visits


@every_problem
def test_visits_count_the_builds_through_a_structure_whatever_its_order_and_mirror_image(problem):
    replay = make_replay(problem)
    placed = random_build(problem, np.random.default_rng(3))
    images = [permuted(placed, permutation, problem) for permutation in maps(problem)]
    others = np.setdiff1d(np.arange(problem.n_actions), images)
    for build in (placed, [placed[1], placed[0], placed[2]], permuted(placed, maps(problem)[-1], problem)):
        replay.add(build, 0.0)
    assert replay.visits(placed[:1], placed[1:2]).tolist() == [3]
    assert replay.visits(placed[1::-1], placed[2:]).tolist() == [3]
    assert replay.visits(mirrored(placed[:2], problem), mirrored(placed[2:], problem)).tolist() == [3]
    assert replay.visits([], [placed[0], mirrored(placed, problem)[0], placed[1]]).tolist()[:2] == [2, 2]
    assert not replay.visits(placed[:2], others).any()
    in_flight = [mirrored(placed[:2], problem), placed[:1]]
    assert replay.visits(placed[:1], placed[1:2], in_flight).tolist() == [4]
    assert replay.visits([], placed[:1], in_flight).tolist() == [4]
    replay.clear()
    assert replay.visits([], placed[:1], in_flight).tolist() == [2]
    assert not replay.visits([], np.arange(problem.n_actions)).any()


# What is known


@every_problem
def test_a_structure_is_known_whatever_its_order_and_mirror_image(problem):
    replay, rng = make_replay(problem), np.random.default_rng(3)
    placed = random_build(problem, rng)
    assert not replay.is_known(placed)
    replay.add(placed, 0.0)
    for permutation in maps(problem):
        assert replay.is_known(rng.permutation(permuted(placed, permutation, problem)))
    others = [random_build(problem, rng) for _ in range(20)]
    assert [replay.is_known(other) for other in others] == [
        problem.canonical_key(other) == problem.canonical_key(placed) for other in others
    ]
    assert replay.is_known(mirrored(others[0], problem), in_flight=[[], others[0]])
    replay.clear()
    assert not replay.is_known(placed)


def test_where_the_origin_is_free_a_structure_is_known_and_counted_once_seen_from_any_of_its_atoms():
    replay, rng = make_replay(FREE), np.random.default_rng(0)
    placed = random_build(FREE, rng)
    atoms = np.concatenate([FREE.template_sites, placed])
    carbon = np.flatnonzero(atoms // FREE.grid.n_pixels == atoms[0] // FREE.grid.n_pixels)
    from_others = [move_origin(np.roll(atoms, -i), FREE)[1:] for i in carbon]
    replay.add(placed, 3.0)
    for seen, energy in zip(from_others, (5.0, 2.0, 4.0, 6.0), strict=True):
        assert replay.is_known(seen)
        replay.add(seen.tolist(), energy)
    assert replay.lowest(9)[1].tolist() == [2.0]
    assert not replay.is_known(random_build(FREE, rng))


# Neighbours


def neighbours(action: int, problem: Problem) -> list[int]:
    """The other placements trained with a first placement, by sampling a replay of that build alone."""
    replay = BuildReplay(problem, SETTINGS, augmentations(problem)[:1])
    replay.add([action], 0.0)
    batch = sampled(replay, 1)
    counted = batch.weights[0] > 0
    assert batch.actions[0, 0] == action
    assert batch.weights[0, 0] == 1
    assert set(batch.weights[0, 1:]) <= {0.0, SETTINGS.spillover}
    return sorted(batch.actions[0, 1:][counted[1:]].tolist())


def test_spillover_goes_one_pixel_along_each_axis():
    assert neighbours(3 * 6 + 2, PROBLEM) == [2 * 6 + 2, 3 * 6 + 1, 3 * 6 + 3, 4 * 6 + 2]


def test_spillover_wraps_around_a_periodic_edge_and_ends_at_an_open_one():
    assert neighbours(0 * 6 + 3, PROBLEM) == [2, 4, 1 * 6 + 3, 6 * 6 + 3]
    assert neighbours(3 * 6 + 0, PROBLEM) == [2 * 6, 3 * 6 + 1, 4 * 6]
    assert neighbours(6 * 6 + 5, PROBLEM) == [0 * 6 + 5, 5 * 6 + 5, 6 * 6 + 4]


@pytest.mark.parametrize("problem", [PROBLEMS["two species"], PROBLEMS["three axes"]], ids=["plane", "space"])
def test_spillover_never_leaves_the_species_and_is_mutual(problem):
    n_pixels = problem.grid.n_pixels
    table = {action: neighbours(action, problem) for action in range(problem.n_actions)}
    for action, others in table.items():
        assert {other // n_pixels for other in others} == {action // n_pixels}
        assert all(action in table[other] for other in others)
        positions = problem.grid.positions(np.array([action, *others]) % n_pixels)
        gaps = np.linalg.norm(problem.grid.minimum_image(positions[1:] - positions[0]), axis=-1)
        np.testing.assert_allclose(gaps, 0.8)


def test_in_space_a_placement_has_up_to_six_neighbours():
    problem = PROBLEMS["three axes"]
    inside, at_the_edge = (np.ravel_multi_index((1, 1, z), (4, 3, 5)) for z in (2, 0))
    assert len(neighbours(int(inside), problem)) == 6
    assert len(neighbours(int(at_the_edge), problem)) == 5


def test_without_spillover_only_the_placement_itself_counts():
    replay, _, _ = filled(spillover=0.0)
    assert np.all(sampled(replay).weights == [1, 0, 0, 0, 0])


# Several placements of one image


@every_problem
def test_every_atom_to_come_may_be_the_next_with_the_lowest_energy_of_the_builds_that_have_it(problem):
    replay, builds, energies = filled(problem, placements=2, late_exponent=1.0, spillover=0.0)
    batch, n_each = sampled(replay, 600), 1 + 2 * problem.grid.ndim
    sets = [set(permuted(build, m, problem)) for build in builds for m in maps(problem)]
    energies = np.repeat(energies, len(maps(problem)))
    n_pairs = 0
    for image, actions, weights, targets in zip(*batch, strict=True):
        state = set(placed_sites(image, problem).tolist())
        for i in (0, n_each):
            if weights[i]:
                through = [e for e, atoms in zip(energies, sets, strict=True) if state | {int(actions[i])} <= atoms]
                assert targets[i] == pytest.approx(float(replay.targets(np.array([min(through)]))[0]))
        n_pairs += bool(weights[n_each])
        if weights[n_each]:
            assert actions[0] != actions[n_each]
    assert n_pairs > 100


def test_an_image_counts_the_same_however_many_atoms_are_to_come():
    replay, _, _ = filled(placements=3, late_exponent=1.0, spillover=0.0)
    weights = sampled(replay).weights
    assert {tuple(np.sort(row[row > 0]).round(3)) for row in weights} == {(1.0,), (0.5, 0.5), (0.333, 0.333, 0.333)}


# Batches


@every_problem
def test_shapes_and_types_are_those_of_a_batch(problem):
    replay, _, _ = filled(problem)
    batch, n_placements = sampled(replay, 33), 1 + 2 * problem.grid.ndim
    assert batch.images.shape == (33, len(problem.species), *problem.grid.shape)
    assert batch.images.dtype == np.int8
    assert batch.actions.shape == batch.weights.shape == (33, n_placements)
    assert batch.targets.shape == batch.actions.shape
    assert np.all((batch.actions >= 0) & (batch.actions < problem.n_actions))


@every_problem
def test_images_are_those_of_the_unfinished_builds_and_actions_their_next_placements(problem):
    replay, builds, _ = filled(problem, symmetric=False)
    steps = {(one_hot(build[:k], problem).tobytes(), build[k]) for build in builds for k in range(problem.n_to_place)}
    batch = sampled(replay, 1000)
    drawn = set(zip([image.tobytes() for image in batch.images], batch.actions[:, 0].tolist(), strict=True))
    assert drawn == steps  # all of them, as the batch is large


@every_problem
def test_with_symmetries_images_are_legal_builds_of_the_mirrored_structures(problem):
    replay, builds, _ = filled(problem)
    builds += [permuted(build, permutation, problem) for build in builds for permutation in maps(problem)[1:]]
    steps = {(one_hot(build[:k], problem).tobytes(), build[k]) for build in builds for k in range(problem.n_to_place)}
    batch = sampled(replay, 100 * len(builds))
    for image, action in zip(batch.images[:200], batch.actions[:200, 0], strict=True):
        placed = placed_sites(image, problem)
        assert action_mask(placed, problem)[action]
    drawn = set(zip([image.tobytes() for image in batch.images], batch.actions[:, 0].tolist(), strict=True))
    assert drawn == steps


def test_every_step_and_every_symmetry_is_drawn_as_often():
    replay = make_replay()
    replay.add([8, 20, 32], 0.0)
    batch = sampled(replay, 6000)
    counts = np.unique(batch.actions[:, 0], return_counts=True)[1]
    assert len(counts) == 6  # three steps, two mirror images
    np.testing.assert_allclose(counts, 1000, atol=5 * np.sqrt(6000 * 5 / 36))


def test_targets_may_go_on_below_minus_one():
    replay = with_energies([0.0, 10.0, 10.0], lowest_target=-2.0)
    np.testing.assert_allclose(replay.targets(np.array([10.0, 12.5, 15.0, 20.0, np.inf])), [-1, -1.5, -2, -2, -2])


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("-inf")])
def test_the_lowest_target_must_be_at_most_minus_one(value):
    with pytest.raises(ValueError, match=f"`lowest_target` is {value} but must be finite and at most -1"):
        ReplaySettings(lowest_target=value)


@pytest.mark.parametrize("exponent", [1.0, 3.0])
def test_placements_near_the_end_of_a_build_are_preferred(exponent):
    replay = make_replay(symmetric=False, late_exponent=exponent)
    replay.add([8, 20, 32], 0.0)
    actions = sampled(replay, 6000).actions[:, 0]
    shares = [np.mean(actions == action) for action in (32, 20, 8)]
    up_to = (np.arange(4) / 3) ** (1 / exponent)  # u below which so many placements are to come
    np.testing.assert_allclose(shares, np.diff(up_to), atol=0.03)


@pytest.mark.parametrize("value", [0.5, -1.0, float("nan"), float("inf")])
def test_the_exponent_must_be_at_least_one(value):
    with pytest.raises(ValueError, match=f"`late_exponent` is {value} but must be finite and at least 1"):
        ReplaySettings(late_exponent=value)


def test_a_batch_has_its_shares_of_the_best_and_the_latest_builds():
    replay = make_replay(symmetric=False, n_best=2, n_latest=3, best_share=0.5, latest_share=0.3)
    energies = [5.0, 0.0, 4.0, 1.0, *[9.0] * 16]
    for i, energy in enumerate(energies):
        replay.add([10 + i], energy)
    actions = sampled(replay, 1000).actions[:, 0] - 10
    best, latest, any_build = (set(actions[part].tolist()) for part in (slice(500), slice(500, 800), slice(800, None)))
    assert best == {1, 3}
    assert latest == {17, 18, 19}
    assert any_build == set(range(20))


def test_a_structure_counts_once_among_the_best_whatever_the_order_of_its_atoms_and_its_mirror_image():
    replay = make_replay(n_best=2, best_share=1.0, latest_share=0.0)
    for placed in ([9, 20, 33], [33, 9, 20], mirrored([9, 20, 33], PROBLEM), [9, 20, 33]):
        replay.add(placed, 0.0)
    replay.add([8, 21, 40], 1.0)
    replay.add([7, 23, 41], 2.0)
    drawn = set(sampled(replay).actions[:, 0].tolist())
    assert drawn == {*[9, 20, 33], *mirrored([9, 20, 33], PROBLEM), *[8, 21, 40], *mirrored([8, 21, 40], PROBLEM)}


@given(st.floats(0, 1), st.integers(0, 9))
def test_shares_that_fill_the_batch_do_so_at_every_size(best_share, batch_size):
    replay = with_energies([0.0, 1.0], best_share=best_share, latest_share=1 - best_share)
    assert len(sampled(replay, batch_size).targets) == batch_size


def test_builds_may_be_fewer_than_the_best_and_the_latest_and_end_early():
    replay = make_replay(n_best=50, n_latest=50)
    replay.add([9], np.nan)  # a dead end after one placement
    batch = sampled(replay, 10)
    assert len(replay) == 1
    assert batch.images.sum(axis=(1, 2, 3)).tolist() == [1] * 10
    assert batch.targets[:, 0].tolist() == [-1] * 10


# Determinism


@every_problem
def test_a_seed_fixes_the_batch_to_the_last_bit(problem):
    (first, _, _), (again, _, _) = filled(problem), filled(problem)
    for ours, theirs in zip(sampled(first, 64, 3), sampled(again, 64, 3), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    other = sampled(first, 64, 4)
    assert other.images.tobytes() != sampled(first, 64, 3).images.tobytes()


def test_sampling_changes_nothing_in_the_replay():
    replay, _, energies = filled()
    before = sampled(replay, 64, 3)
    sampled(replay, 500, 9)
    assert before.targets.tobytes() == sampled(replay, 64, 3).targets.tobytes()
    assert replay.energies.tolist() == energies


def test_a_build_is_copied_when_it_is_stored():
    replay, placed = make_replay(symmetric=False), [1, 9, 20]
    replay.add(placed, 0.0)
    placed[:] = [5, 5, 5]
    assert set(sampled(replay).actions[:, 0]) == {1, 9, 20}


def test_counting_starts_at_the_first_build_of_the_lowest_energy_and_clearing_forgets_everything():
    replay = make_replay()
    assert replay.episodes_since_lowest == 0
    for energy, expected in ((5.0, 0), (3.0, 0), (4.0, 1), (3.0, 2), (np.nan, 3), (2.0, 0)):
        replay.add([1, 9, 20], energy)
        assert replay.episodes_since_lowest == expected
    replay.clear()
    assert len(replay) == replay.episodes_since_lowest == 0
    for energy in (10.0, 30.0, 30.0):
        replay.add([1, 9, 20], energy)
    assert targets_by_structure(replay, PROBLEM)[frozenset([1])] == {1.0}
    assert replay.targets(np.array([20.0])).tolist() == [0]


# Errors


@pytest.mark.parametrize("name", ["best_share", "latest_share", "spillover", "shuffled_share"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_shares_must_lie_between_zero_and_one(name, value):
    with pytest.raises(ValueError, match=rf"`{name}` is {value} but must lie in \[0, 1\]"):
        dataclasses.replace(SETTINGS, **{name: value})


def test_shares_may_not_sum_to_more_than_one():
    with pytest.raises(ValueError, match=r"`best_share \+ latest_share` is 1.25 but must be at most 1"):
        dataclasses.replace(SETTINGS, best_share=0.5, latest_share=0.75)


@pytest.mark.parametrize("name", ["n_best", "n_latest", "window_episodes"])
def test_counts_must_be_at_least_one(name):
    with pytest.raises(ValueError, match=f"`{name}` is 0 but must be at least 1"):
        dataclasses.replace(SETTINGS, **{name: 0})


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_the_minimum_window_must_be_positive(value):
    with pytest.raises(ValueError, match=f"`minimum_window` is {value} eV but must be positive"):
        dataclasses.replace(SETTINGS, minimum_window=value)


def test_the_lowest_are_finished_structures_with_an_energy_each_once():
    replay = make_replay()
    mirror = mirrored([1, 9, 20], PROBLEM)
    builds = [([1, 9, 20], 5.0), ([20, 1, 9], 4.0), (mirror, 3.0), ([1, 9], 0.0), ([1, 9, 30], np.nan)]
    for placed, energy in [*builds, ([1, 20, 30], 9.0), ([2, 9, 30], 7.0)]:
        replay.add(placed, energy)
    sites, energies = replay.lowest(2)
    assert sites.tolist() == [mirror, [2, 9, 30]]
    assert energies.tolist() == [3.0, 7.0]
    assert replay.lowest(9)[1].tolist() == [3.0, 7.0, 9.0]
    assert make_replay().lowest(2)[0].shape == (0, 3)
