"""The symmetries by which one build becomes several."""

import numpy as np
import pytest
from ase import Atoms

from asla_agents.symmetry import SymmetricMean, augmentations, from_each_origin, has_free_origin, move_origin
from asla_env import Grid, Problem, problems
from asla_env.action import action_mask
from asla_env.observation import one_hot

PLANE = Grid((7, 6), (5.6, 4.8), (True, False))
SPACE = Grid((4, 4, 5), (3.2, 3.2, 4.0), (True, True, False))


def make_problem(positions, symbols="C", grid=PLANE, to_place=None, **limits) -> Problem:
    """Template atoms at positions in units of pixels."""
    xyz = np.zeros((len(positions), 3))
    xyz[:, : grid.ndim] = np.multiply(positions, grid.spacing)
    lengths = (*grid.cell, 10.0)[:3]
    pbc = (*grid.periodic, False)[:3]
    return Problem("test", grid, Atoms(symbols, xyz, cell=lengths, pbc=pbc), to_place or {"C": 3}, **limits)


def random_build(problem: Problem, rng: np.random.Generator) -> list[int]:
    placed: list[int] = []
    while len(placed) < problem.n_to_place:
        placed.append(int(rng.choice(np.flatnonzero(action_mask(placed, problem)))))
    return placed


def moved(placed, permutation, problem: Problem) -> list[int]:
    """The same build seen through a symmetry."""
    channels, pixels = np.divmod(placed, problem.grid.n_pixels)
    return (channels * problem.grid.n_pixels + permutation[pixels]).tolist()


# Known answers


@pytest.mark.parametrize(
    ("positions", "n"),
    [
        ([(0, 2)], 2),  # the mirror through the atom and across the periodic axis
        ([(3.2, 2)], 1),  # 0.16 Å off its pixel: no mirror keeps it
        ([(3.02, 2)], 2),  # 0.016 Å off: within what relaxation does to a symmetric template
        ([(1, 1), (1, 4)], 4),  # and the mirror across the middle of the open axis
        ([(1, 1), (4, 4)], 2),  # half a turn
        ([(0, 1), (1, 1), (3, 4)], 1),
    ],
)
def test_a_template_of_known_symmetry_has_so_many_augmentations(positions, n):
    assert len(augmentations(make_problem(positions, f"C{len(positions)}"))) == n


def test_species_break_a_symmetry():
    assert len(augmentations(make_problem([(1, 1), (1, 4)], "C2"))) == 4
    assert len(augmentations(make_problem([(1, 1), (1, 4)], "CH"))) == 2


def test_like_axes_may_be_swapped_and_all_three_mirrored():
    assert len(augmentations(make_problem([(0, 0, 2)], grid=SPACE))) == 16


@pytest.mark.parametrize(
    ("problem", "n"), [(problems.graphene_mini(), 4), (problems.grain_boundary(), 2), (problems.naphthalene(), 1)]
)
def test_the_problems_have_these_augmentations(problem, n):
    assert len(augmentations(problem)) == n


# Properties

TEMPLATES = [
    make_problem([(0, 2)]),
    make_problem([(3.02, 2)], to_place={"H": 2, "C": 2}),
    make_problem([(1, 1), (1, 4)], "CH", to_place={"H": 2, "C": 2}),
    make_problem([(0, 0, 2)], grid=SPACE, to_place={"C": 2, "O": 1}),
]


@pytest.mark.parametrize("problem", TEMPLATES)
def test_augmentations_are_permutations_and_the_first_one_changes_nothing(problem):
    found = augmentations(problem)
    assert found.shape == (len(found), problem.grid.n_pixels)
    np.testing.assert_array_equal(found[0], np.arange(problem.grid.n_pixels))
    assert np.all(np.sort(found, axis=1) == np.arange(problem.grid.n_pixels))
    assert len({bytes(permutation) for permutation in found}) == len(found)


@pytest.mark.parametrize("problem", TEMPLATES)
def test_augmentations_form_a_group(problem):
    found = augmentations(problem)
    known = {bytes(permutation) for permutation in found}
    assert all(bytes(first[second]) in known for first in found for second in found)


@pytest.mark.parametrize("problem", TEMPLATES)
def test_an_augmented_build_keeps_the_template_and_all_distances(problem):
    rng = np.random.default_rng(0)
    for permutation in augmentations(problem):
        placed = random_build(problem, rng)
        image = moved(placed, permutation, problem)
        template = problem.template_sites
        assert set(moved(template, permutation, problem)) == set(template)
        distances = [np.sort(distances_of(sites, problem)) for sites in (placed, image)]
        np.testing.assert_allclose(*distances, atol=0.1)


@pytest.mark.parametrize("problem", [TEMPLATES[0], TEMPLATES[2], TEMPLATES[3]])
def test_an_augmented_build_is_legal_step_by_step(problem):
    rng = np.random.default_rng(1)
    for permutation in augmentations(problem):
        image = moved(random_build(problem, rng), permutation, problem)
        for step, action in enumerate(image):
            assert action_mask(image[:step], problem)[action]


@pytest.mark.parametrize("problem", TEMPLATES)
def test_an_augmented_image_is_the_image_of_the_augmented_build(problem):
    placed = random_build(problem, np.random.default_rng(2))
    channels = len(problem.species)
    for permutation in augmentations(problem):
        image = one_hot(placed, problem).reshape(channels, -1)
        expected = np.empty_like(image)
        expected[:, permutation] = image
        ours = one_hot(moved(placed, permutation, problem), problem).reshape(channels, -1)
        np.testing.assert_array_equal(ours, expected)


# The free origin

TORUS = Grid((7, 6), (5.6, 4.8), (True, True))
FREE = make_problem([(2, 3)], grid=TORUS, to_place={"C": 3, "H": 2})


@pytest.mark.parametrize(
    ("problem", "free"),
    [
        (FREE, True),
        (make_problem([(2, 3)]), False),  # an open axis
        (make_problem([(2, 3), (4, 4)], "C2", TORUS), False),
        (make_problem([(2.1, 3)], grid=TORUS), False),  # off its pixel
        (problems.graphene(), True),
        (problems.grain_boundary(), False),
    ],
)
def test_the_origin_is_free_for_one_template_atom_on_a_pixel_of_a_periodic_grid(problem, free):
    assert has_free_origin(problem) is free


def test_a_moved_origin_makes_the_first_atom_the_template_and_keeps_composition_and_all_distances():
    rng = np.random.default_rng(0)
    for _ in range(20):
        atoms = np.concatenate([FREE.template_sites, random_build(FREE, rng)])
        carbon = np.flatnonzero(atoms // FREE.grid.n_pixels == FREE.template_sites[0] // FREE.grid.n_pixels)
        for first in carbon:
            chosen = np.concatenate([atoms[first:], atoms[:first]])
            moved = move_origin(chosen, FREE)
            assert moved[0] == FREE.template_sites[0]
            assert len(set(moved.tolist())) == len(atoms)
            structures = FREE.structure(moved[1:]), FREE.structure(atoms[1:])
            assert structures[0].symbols.formula == structures[1].symbols.formula
            np.testing.assert_allclose(*(np.sort(distances_of(sites[1:], FREE)) for sites in (atoms, moved)), atol=1e-9)
            assert FREE.canonical_key(moved[1:]) == FREE.canonical_key(atoms[1:])


def test_where_the_first_atom_is_the_template_nothing_moves():
    atoms = np.concatenate([FREE.template_sites, random_build(FREE, np.random.default_rng(1))])
    assert move_origin(atoms, FREE).tolist() == atoms.tolist()


def distances_of(sites, problem: Problem) -> np.ndarray:
    """All distances in Å between the atoms of a build, template included, by minimum image."""
    positions = problem.structure(sites).positions
    gaps = problem.grid.minimum_image(positions[:, None] - positions)
    return np.linalg.norm(gaps, axis=-1)[np.triu_indices(len(positions), 1)]


def test_a_structure_is_seen_from_each_atom_of_the_template_s_species_once():
    atoms = np.concatenate([FREE.template_sites, random_build(FREE, np.random.default_rng(2))])
    seen = from_each_origin(atoms, FREE)
    assert seen.shape == (np.count_nonzero(atoms < FREE.grid.n_pixels), FREE.n_to_place)
    assert {FREE.canonical_key(placed) for placed in seen} == {FREE.canonical_key(atoms[1:])}
    assert len({tuple(sorted(placed)) for placed in seen.tolist()}) == len(seen)


# Q-values averaged over symmetric images


def test_images_that_differ_by_a_translation_count_once_as_convolutions_know_of_it():
    lattice = make_problem([(0, 0), (2, 0), (0, 2), (2, 2)], "C4", Grid((4, 4), (3.2, 3.2), (True, True)), {"C": 1})
    assert len(augmentations(lattice)) == 32
    images = SymmetricMean(lattice).images(np.arange(16).reshape(1, 1, 4, 4))[:, 0, 0]
    assert len(images) == 8
    corners = np.stack([np.roll(shown, (i, j), (0, 1)) for shown in images for i in range(4) for j in range(4)])
    assert len(np.unique(corners.reshape(len(corners), -1), axis=0)) == len(corners)


@pytest.mark.parametrize("problem", TEMPLATES, ids=str)
def test_symmetric_images_are_those_of_the_moved_builds(problem):
    build = random_build(problem, np.random.default_rng(0))
    images = SymmetricMean(problem).images(one_hot(build, problem)[None])
    assert len(images) == min(8, len(augmentations(problem)))
    for image, permutation in zip(images[:, 0], augmentations(problem), strict=False):
        np.testing.assert_array_equal(image, one_hot(moved(build, permutation, problem), problem))


@pytest.mark.parametrize("problem", TEMPLATES, ids=str)
def test_what_treats_all_images_alike_is_its_own_average(problem):
    rng = np.random.default_rng(0)
    images = np.array([one_hot(random_build(problem, rng), problem) for _ in range(3)])
    q_maps = SymmetricMean(problem).averaged(lambda batch: batch.reshape(len(batch), -1) + 0.5)
    np.testing.assert_allclose(q_maps(images), images.reshape(3, -1) + 0.5)


def test_symmetric_structures_have_symmetric_averages_but_for_the_tie_break_whatever_is_averaged():
    problem = problems.graphene_mini()
    weights = np.random.default_rng(0).random((problem.n_actions, problem.n_actions))
    q_maps = SymmetricMean(problem).averaged(lambda batch: batch.reshape(len(batch), -1) @ weights)
    build = random_build(problem, np.random.default_rng(1))
    expected = q_maps(one_hot(build, problem)[None])[0]
    for permutation in augmentations(problem)[1:]:
        found = q_maps(one_hot(moved(build, permutation, problem), problem)[None])[0][permutation]
        np.testing.assert_allclose(found, expected, rtol=0.02)
        assert not np.allclose(found, expected, rtol=1e-6)


def test_without_symmetries_nothing_is_averaged():
    symmetric_mean = SymmetricMean(problems.graphene_mini(), only_identity=True)
    images = np.random.default_rng(0).random((2, 1, 21, 36))
    q_maps = symmetric_mean.averaged(lambda batch: batch.reshape(len(batch), -1))
    np.testing.assert_allclose(q_maps(images), images.reshape(2, -1))
