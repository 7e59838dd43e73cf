"""Many builds for Stable-Baselines3: what its own vector of the same environments gives, with energies at once."""

import numpy as np
import pytest
from ase import Atoms
from stable_baselines3 import DQN
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from asla_agents.build_vec_env import BuildVecEnv
from asla_env import AtomPlacementEnv, Evaluator, Grid, Problem

N = 3


class Compact:
    """Likes atoms close to each other, and fails if there are four closest pairs."""

    def get_potential_energy(self, atoms):
        distances = np.sort(atoms.get_all_distances(mic=True).round(6), axis=None)[len(atoms) :]
        if np.sum(distances < 1.21) == 8:  # each pair counts twice
            raise RuntimeError("no convergence")
        return round(float(distances.sum()) / len(atoms), 6)


def crowded(n_atoms=8) -> Problem:
    """Carbon on few pixels: of eight atoms, some random builds come to a dead end."""
    template = Atoms("C", cell=(4.2, 3.6, 10), pbc=(True, False, False))
    return Problem("crowded", Grid((7, 6), (4.2, 3.6), (True, False)), template, {"C": n_atoms}, minimum_distance=0.7)


def make_env(evaluator=Compact, n_atoms=8, **settings) -> AtomPlacementEnv:
    return AtomPlacementEnv(crowded(n_atoms), evaluator, reward="energy", **settings)


def some_actions(env, rng) -> np.ndarray:
    """A random action for each build, illegal now and then."""
    masks = env.env_method("action_masks")
    return np.array([rng.choice(np.flatnonzero(mask == (rng.random() > 0.02))) for mask in masks])


def assert_same(ours, theirs) -> None:
    """Compare what a step returned, the infos to the last bit."""
    for one, other in zip(ours[:3], theirs[:3], strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    for one, other in zip(ours[3], theirs[3], strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            np.testing.assert_array_equal(value, other[key])


def test_all_steps_equal_those_of_a_dummy_vec_env():
    evaluator = Evaluator(Compact)
    ours, theirs = BuildVecEnv(make_env(), N), DummyVecEnv([lambda: make_env(evaluator)] * N)
    for env in (ours, theirs):
        env.seed(4)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    rng, seen = np.random.default_rng(0), set()
    for _ in range(200):
        actions = some_actions(ours, rng)
        results = ours.step(actions), theirs.step(actions)
        assert_same(*results)
        for info in (info for done, info in zip(*results[0][2:], strict=True) if done):
            seen |= {name for name in ("dead_end", "invalid_action", "calculator_error") if info[name]}
            assert info["terminal_observation"].sum() == 1 + len(info["placed"])
    assert seen == {"dead_end", "invalid_action", "calculator_error"}


def test_a_build_that_waits_stays_as_it_is():
    env = BuildVecEnv(make_env(), N)
    env.reset()
    actions = some_actions(env, np.random.default_rng(1))
    before, *_ = env.step(actions)
    masks = env.env_method("action_masks")
    waits = np.full(N, BuildVecEnv.WAIT)
    after, rewards, dones, infos = env.step(waits)
    np.testing.assert_array_equal(after, before)
    assert not rewards.any()
    assert not dones.any()
    np.testing.assert_array_equal([info["action_mask"] for info in infos], masks)
    assert env.get_attr("placed") == [(action,) for action in actions]


def test_what_a_search_asks_an_environment_for_is_asked_of_each_build():
    env = BuildVecEnv(make_env(n_atoms=2), N)
    env.reset()
    assert np.shape(env.env_method("action_masks")) == (N, 42)
    assert env.env_method("check_reference", indices=[0, 2]) == [None, None]
    assert env.get_attr("problem") == [crowded(2)] * N
    assert len({id(each) for each in env.get_attr("unwrapped")}) == N
    assert env.has_attr("reference_energy")
    assert not env.has_attr("temperature")


def test_pictures_are_tiles_of_one():
    env = BuildVecEnv(make_env(render_mode="rgb_array"), 2)
    env.reset()
    one = env.get_images()[0]
    assert env.render().shape == (one.shape[0] * 2, one.shape[1], 3)


def test_other_algorithms_learn_in_it_and_are_monitored():
    env = VecMonitor(BuildVecEnv(make_env(n_atoms=2), N))
    model = DQN("MlpPolicy", env, learning_starts=6, buffer_size=100, seed=0).learn(36)
    assert model.num_timesteps == 36
    assert len(model.ep_info_buffer) > 5
    rewards, lengths = evaluate_policy(model, env, n_eval_episodes=4, return_episode_rewards=True)
    assert len(rewards) == 4
    assert all(1 <= length <= 2 for length in lengths)


def test_maskable_ppo_takes_legal_actions_alone():
    contrib = pytest.importorskip("sb3_contrib")
    env = BuildVecEnv(make_env(n_atoms=2, invalid_action="raise"), N)
    assert contrib.MaskablePPO("MlpPolicy", env, n_steps=4, batch_size=6, seed=0).learn(24).num_timesteps == 24


@pytest.mark.parametrize("n", [0, -1])
def test_no_build_at_all_is_refused(n):
    with pytest.raises(ValueError, match=f"`num_envs` is {n} but must be at least 1"):
        BuildVecEnv(make_env(), n)


@pytest.mark.parametrize("actions", [[3], [3, 4, 5, 6], [[3, 4, 5]], 3])
def test_not_one_action_for_each_build_is_refused(actions):
    env = BuildVecEnv(make_env(), N)
    env.reset()
    with pytest.raises(ValueError, match=rf"`actions` has shape \(.*\) but must have shape \({N},\)"):
        env.step(np.array(actions))


def test_a_wrapped_environment_is_refused():
    with pytest.raises(ValueError, match=r"`env` is <Monitor.* but must be an asla_env.AtomPlacementEnv without wrap"):
        BuildVecEnv(Monitor(make_env()), 2)
