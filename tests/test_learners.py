"""The learners of the benchmarks: each searches, and does what its docstring says."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from asla_agents.exploration import Exploration
from asla_agents.replay import ReplaySettings
from asla_agents.symmetry import augmentations
from asla_env import AtomPlacementEnv
from asla_env.problems import graphene_mini

PROBLEM = graphene_mini()
N = PROBLEM.n_to_place


@pytest.fixture(scope="module")
def learners():
    """The module of the benchmark."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
        yield importlib.import_module("learners")
        for name in ("learners", "record"):
            sys.modules.pop(name, None)


NAMES = [
    "ASLA",
    "exponential targets",
    "targets by rank",
    "targets in a fixed window",
    "bootstrapped targets",
    "drawn by loss",
    "a coin a build",
    "Boltzmann",
    "several networks",
    "AdamW",
    "RMSprop",
    "SGD",
]


def small(learners, name, **settings):
    """A learner that does little in an episode."""
    env = AtomPlacementEnv("graphene-mini", "xwch")
    return learners.LEARNERS[name](env=env, seed=0, gradient_steps=2, batch_size=4, warmup_episodes=2, **settings)


def filled(replay, energies):
    """A replay with a build of each energy."""
    builds = replay(PROBLEM, ReplaySettings(), augmentations(PROBLEM))
    rng = np.random.default_rng(0)
    for energy in energies:
        builds.add(rng.choice(np.arange(1, PROBLEM.n_actions), N, replace=False), energy)
    return builds


def test_these_are_all(learners):
    assert list(learners.LEARNERS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_searches(learners, name):
    model = small(learners, name).learn(5)
    assert model.episodes == len(model.builds) == 5
    assert np.isfinite(model.best.energy)


def test_the_agent_itself_searches_as_without_the_benchmark(learners):
    env = AtomPlacementEnv("graphene-mini", "xwch")
    settings = {"seed": 0, "gradient_steps": 2, "batch_size": 4, "warmup_episodes": 2}
    agent = learners.ASLA("QMapPolicy", env, **settings).learn(5)
    assert [placed for placed, _ in agent.builds] == [placed for placed, _ in small(learners, "ASLA").learn(5).builds]


def test_exponential_targets_meet_the_linear_ones_at_both_ends_of_the_window(learners):
    energies = np.arange(0.0, 41.0)
    exponential, linear = filled(learners.Exponential, energies), filled(learners.BuildReplay, energies)
    at_ends = np.array([0.0, 20.0])
    np.testing.assert_allclose(exponential.targets(at_ends), [1, -1])
    np.testing.assert_allclose(linear.targets(at_ends), [1, -1])
    assert exponential.targets(np.array([10.0])) < linear.targets(np.array([10.0]))
    np.testing.assert_allclose(exponential.targets(np.array([1e9, np.inf])), -3)


def test_targets_by_rank_do_not_depend_on_how_far_energies_are_apart(learners):
    energies = np.array([0.0, 1.0, 2.0, 3.0])
    for apart in (1, 50):
        targets = filled(learners.Rank, apart * energies).targets(apart * np.array([*energies, 9.0]))
        np.testing.assert_allclose(targets, [1, 0, -1, -2, -3])


def test_bootstrapped_targets_are_raised_to_the_highest_legal_value_but_for_the_last_placement(learners):
    settings = {"representation": "one-hot", "replay": ReplaySettings(late_exponent=1.0)}
    builds = small(learners, "bootstrapped targets", **settings).learn(6).builds
    builds.q_values = lambda images: np.full((len(images), PROBLEM.n_actions), 0.9)
    drawn = builds.sample(64, np.random.default_rng(0))
    images, targets, there = drawn.images.reshape(64, -1), drawn.targets, drawn.weights > 0
    is_last = images.sum(axis=1) == N
    assert 0 < is_last.sum() < 64
    assert np.all(targets[~is_last][there[~is_last]] >= 0.9)
    assert targets[is_last][there[is_last]].min() < 0.9
    builds.q_values = lambda images: np.full((len(images), PROBLEM.n_actions), 7.0)
    assert builds.sample(64, np.random.default_rng(0)).targets.max() == 1
    builds.q_values = lambda images: np.where(images.reshape(len(images), -1), 7.0, -9.0)  # high where atoms are
    own = learners.BuildReplay.sample(builds, 64, np.random.default_rng(0))
    np.testing.assert_array_equal(builds.sample(64, np.random.default_rng(0)).targets, own.targets)


def test_builds_of_large_loss_are_drawn_more_often(learners):
    builds = filled(learners.ByLoss, np.arange(100.0))
    builds.losses = [10.0 if i == 60 else 0.01 for i in range(100)]
    drawn = np.concatenate([builds._draw_builds(32, np.random.default_rng(i)) for i in range(50)])
    assert np.mean(drawn == 60) > 0.1  # a sixth of all: of half of the batch a third
    assert len(builds.losses) == len(builds)
    builds.add(np.arange(1, N + 1), 0.0)
    assert builds.losses[-1] == 10.0


def explore(explorer, n_builds):
    """How many placements of each build were not greedy, with Q-values that rise with the index of the action."""
    counts, q_values, legal = [], np.arange(700.0), np.ones(700, dtype=bool)
    for _ in range(n_builds):
        chosen = [explorer.choose(range(i), q_values.copy(), legal) for i in range(N)]
        counts.append(sum(action != 699 for action in chosen))
    return np.array(counts)


def explorer_of(kind):
    return kind(PROBLEM, Exploration(visit_penalty=0), ReplaySettings(), 0, None, augment=True, seed=0)


def test_a_coin_a_build_explores_once_in_a_build_at_most_and_as_often_in_all(learners):
    counts = explore(explorer_of(learners.OneTurn), 2000)
    assert set(counts) == {0, 1}
    expected = N * (0.01 + 0.03 * 13 / 14)  # one of the best fourteen actions is the greedy one
    assert np.mean(counts) == pytest.approx(expected, abs=0.04)


def test_boltzmann_chooses_by_the_exponential_of_the_q_value(learners):
    explorer, legal = explorer_of(learners.Boltzmann), np.array([True, True, False])
    q_values = np.array([0.0, learners.TEMPERATURE, 9.0])
    chosen = [explorer.choose((), q_values.copy(), legal) for _ in range(4000)]
    assert np.mean(np.equal(chosen, 1)) == pytest.approx(np.e / (1 + np.e), abs=0.03)
    assert 2 not in chosen


def test_several_networks_differ_and_build_in_turn(learners):
    model = small(learners, "several networks")
    built = []
    for _ in range(6):
        built.append(model.policies.index(model.policy))
        model.learn(1)
    weights = [policy.network.output.weight for policy in model.policies]
    assert not any(np.array_equal(one.detach(), weights[0].detach()) for one in weights[1:])
    assert built == [0, 0, 2, 0, 1, 2]
