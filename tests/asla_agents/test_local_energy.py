"""The local energy model: what it sums, and what it learns from finished builds."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from asla_agents.local_energy import LocalEnergyModel
from asla_agents.randomness import torch_seeded
from asla_agents.representations import REPRESENTATIONS
from asla_env.action import ActionMask
from asla_env.problem import Problem
from asla_env.problems import graphene_mini, naphthalene

MINI = graphene_mini()


def random_builds(problem: Problem, n: int, seed: int = 0) -> np.ndarray:
    rng, builds = np.random.default_rng(seed), []
    for _ in range(n):
        mask, build = ActionMask(problem), []
        for _ in range(problem.n_to_place):
            build.append(int(rng.choice(np.flatnonzero(mask.legal))))
            mask.place(build[-1])
        builds.append(build)
    return np.array(builds)


def pair_energies(builds: np.ndarray, problem: Problem) -> np.ndarray:
    """A well at 1.5 Å between any two atoms, in eV: what each atom brings depends on what is around it."""
    energies = []
    for build in builds:
        pixels = np.concatenate([problem.template_sites, build]) % problem.grid.n_pixels
        distances = np.array([problem.distances_from(pixel)[pixels] for pixel in pixels])
        energies.append(-10 * np.triu(np.exp(-((distances - 1.5) ** 2) / 0.1), 1).sum())
    return np.array(energies)


def make_model(problem: Problem = MINI, energies=(0.0, 10.0), representation: str = "gaussian", **settings):
    space = spaces.MultiBinary([len(problem.species), *problem.grid.shape])
    with torch_seeded(0):
        drawn = REPRESENTATIONS[representation](space, problem.grid)
        return LocalEnergyModel(problem, drawn, np.array(energies), **settings)


def test_energies_are_sums_over_template_and_placed_atoms_in_any_order():
    model, builds = make_model(energies=[0.0, 10.0]), random_builds(MINI, 3)
    images = np.zeros((3, MINI.n_actions), dtype=np.float32)
    sites = np.concatenate([np.tile(MINI.template_sites, (3, 1)), builds], axis=1)
    np.put_along_axis(images, sites, 1, axis=1)
    with torch.no_grad():
        drawn = model.representation.image(torch.as_tensor(images.reshape(3, 1, *MINI.grid.shape)))
        each = model.contributions(drawn).flatten(1).numpy()
    expected = 5 + 5 * np.take_along_axis(each, sites, axis=1).sum(axis=1)  # mean and standard deviation of 0 and 10
    np.testing.assert_allclose(model.energies(builds), expected, atol=1e-4)
    np.testing.assert_allclose(model.energies(builds[:, ::-1]), expected, atol=1e-4)


def test_many_structures_are_as_a_few():
    model, builds = make_model(), random_builds(MINI, 10)
    many = model.energies(np.tile(builds, (20, 1)))
    np.testing.assert_allclose(many, np.tile(model.energies(builds), 20), atol=1e-4)


def test_energies_of_structures_never_seen_are_learned_from_a_hundred():
    builds, others = random_builds(MINI, 100), random_builds(MINI, 50, seed=1)
    energies, expected = pair_energies(builds, MINI), pair_energies(others, MINI)
    model, rng = make_model(energies=energies), np.random.default_rng(0)
    for _ in range(400):
        chosen = rng.integers(100, size=32)
        model.update(builds[chosen], energies[chosen])
    unexplained = np.mean((model.energies(others) - expected) ** 2) / np.var(expected)
    assert unexplained < 0.5


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_every_representation_is_trained_with_the_model(representation):
    problem = naphthalene()
    builds = random_builds(problem, 4)
    model = make_model(problem, representation=representation)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    losses = [model.update(builds, np.array([0.0, 1.0, 2.0, 10.0])) for _ in range(60)]
    assert losses[-1] < losses[0]
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_a_structure_without_an_energy_counts_as_a_bad_one():
    model, builds = make_model(learning_rate=2e-3), random_builds(MINI, 2)
    for _ in range(100):
        loss = model.update(builds, np.array([0.0, np.inf]))
    assert np.isfinite(loss)
    bad = model.energies(builds)
    assert bad[1] - bad[0] > 5


def test_energies_far_below_zero_are_told_apart_as_those_near_it():
    """All-electron energies are a million eV, where single precision has steps of 0.06."""
    builds = random_builds(MINI, 40)
    near, far = (make_model(energies=(offset, offset + 10.0)).energies(builds) for offset in (0.0, -1e6))
    np.testing.assert_allclose(far + 1e6, near, atol=1e-6)


@pytest.mark.parametrize("difference", [2e-16, 1e-9, 1e-3])
def test_what_differs_from_nearly_equal_energies_is_learned(difference):
    model, builds = make_model(energies=(1.0, 1.0 + difference), learning_rate=2e-3), random_builds(MINI, 2)
    for _ in range(100):
        model.update(builds, np.array([1.0, 0.0]))
    np.testing.assert_allclose(model.energies(builds), [1.0, 0.0], atol=0.3)


def test_the_representation_of_the_agent_is_left_alone():
    space = spaces.MultiBinary([1, *MINI.grid.shape])
    agr = REPRESENTATIONS["agr"](space, MINI.grid)
    before = agr.coefficient_values
    LocalEnergyModel(MINI, agr, np.array([0.0, 1.0])).update(random_builds(MINI, 2), np.array([0.0, 1.0]))
    np.testing.assert_array_equal(agr.coefficient_values, before)


@pytest.mark.parametrize("energies", [[], [1.0], [2.0, 2.0], [3.0, np.inf]])
def test_two_different_energies_are_needed(energies):
    with pytest.raises(ValueError, match=r"`energies` is .* but must hold two finite and different energies"):
        make_model(energies=energies)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_the_model_is_where_the_representation_of_the_agent_is(representation):
    space = spaces.MultiBinary([len(MINI.species), *MINI.grid.shape])
    agents = REPRESENTATIONS[representation](space, MINI.grid).to("meta")
    model = LocalEnergyModel(MINI, agents, np.array([0.0, 1.0]))
    assert {values.device.type for values in (*model.parameters(), *model.buffers())} == {"meta"}
