"""Wrappers: masks and images in observations, the best structure, arguments that are refused."""

import gymnasium as gym
import numpy as np
import pytest
from ase.build import molecule
from gymnasium.spaces import Box, MultiBinary
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import FlattenObservation
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from asla_env import AtomPlacementEnv, Problem
from asla_env.wrappers import ImageObservation, MaskedObservation, RecordBuilds, WithoutInfo

MINI = "ASLA-GrapheneMini-v0"
WRAPPERS = [MaskedObservation, ImageObservation, RecordBuilds, WithoutInfo]


def mini() -> gym.Env:
    return gym.make(MINI, evaluator="xwch")


def build(env: gym.Env, seed: int) -> dict:
    """Place atoms at random, legally; return the last info."""
    rng = np.random.default_rng(seed)
    _, info = env.reset()
    terminated = False
    while not terminated:
        _, _, terminated, _, info = env.step(rng.choice(np.flatnonzero(env.unwrapped.action_masks())))
    return info


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")  # gymnasium, of every wrapper
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_checker_of_gymnasium_has_no_complaint(wrapper):
    check_env(wrapper(AtomPlacementEnv("graphene-mini", "xwch")), skip_render_check=True)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_environment_is_made_again_from_its_spec(wrapper):
    again = gym.make(wrapper(mini()).spec)
    assert isinstance(again, wrapper)
    assert again.unwrapped.evaluator.calculator == "xwch"


@pytest.mark.parametrize(
    "keys",
    [("observation", "action_mask"), ("observations", "action_mask"), ("obs", "mask")],
    ids=["PettingZoo", "RLlib", "Tianshou"],
)
def test_image_and_mask_have_the_names_that_a_library_looks_for(keys):
    env = MaskedObservation(mini(), *keys)
    observation, info = env.reset()
    assert list(observation) == list(keys)
    assert observation in env.observation_space
    assert env.observation_space[keys[1]] == MultiBinary(756)
    np.testing.assert_array_equal(observation[keys[1]], info["action_mask"])


def test_the_mask_follows_the_placements_and_is_empty_at_the_end():
    env = MaskedObservation(mini())
    first, _ = env.reset()
    action = int(np.flatnonzero(first["action_mask"])[0])
    second, *_ = env.step(action)
    assert first["action_mask"][action] == 1  # what was handed out stays as it was
    assert second["action_mask"][action] == 0
    illegal, *_ = env.step(action)
    assert not illegal["action_mask"].any()


def test_a_mask_is_put_beside_whatever_the_wrappers_below_make():
    env = MaskedObservation(FlattenObservation(mini()))
    observation, _ = env.reset()
    assert observation["observation"].shape == (756,)


def test_equal_names_are_refused():
    with pytest.raises(ValueError, match="`mask_key` is 'obs' but must differ from `observation_key`"):
        MaskedObservation(mini(), "obs", "obs")


@pytest.mark.parametrize("wrapper", [MaskedObservation, RecordBuilds])
def test_an_environment_of_another_kind_is_refused(wrapper):
    with pytest.raises(ValueError, match=r"`env` is .*CartPole.* but must be an AtomPlacementEnv"):
        wrapper(gym.make("CartPole-v1"))


@pytest.mark.parametrize(("least_pixels", "factor"), [(1, 1), (21, 1), (22, 2), (36, 2), (64, 4)])
def test_images_are_enlarged_by_the_smallest_factor_that_does(least_pixels, factor):
    env = ImageObservation(mini(), least_pixels)
    small, _ = env.unwrapped.reset()
    image, _ = env.reset()
    assert env.observation_space == Box(0, 255, (1, 21 * factor, 36 * factor), np.uint8)
    assert image in env.observation_space
    np.testing.assert_array_equal(image[:, ::factor, ::factor], np.where(small, 255, 0))
    assert image.sum() == 255 * factor**2  # the one atom of the template


def test_each_species_has_an_image_of_its_own():
    env = ImageObservation(gym.make("ASLA-Naphthalene-v0"))
    image, _ = env.reset()
    assert image.shape == (2, 45, 36)
    assert [channel.sum() for channel in image] == [2 * 255, 2 * 255]


@pytest.mark.parametrize("algorithm", [DQN, PPO])
def test_policies_of_stable_baselines3_take_the_images_and_a_saved_one_takes_them_again(algorithm, tmp_path):
    env = ImageObservation(mini())
    check_env_for_sb3(env)
    settings = {"buffer_size": 10} if algorithm is DQN else {"n_steps": 8, "batch_size": 8}
    algorithm("CnnPolicy", env, device="cpu", **settings).save(tmp_path / "model.zip")
    loaded = algorithm.load(tmp_path / "model.zip", env=env, device="cpu")  # refuses other spaces
    action, _ = loaded.predict(env.reset()[0])
    assert action in env.action_space


def test_images_must_have_a_pixel():
    with pytest.raises(ValueError, match="`least_pixels` is 0 but must be at least 1"):
        ImageObservation(mini(), 0)


@pytest.mark.parametrize("below", [FlattenObservation, MaskedObservation])
def test_what_is_no_image_with_two_axes_is_refused(below):
    with pytest.raises(ValueError, match=r"`env` observes .* but must observe 0 and 1 in an array"):
        ImageObservation(below(mini()))


def test_images_with_three_axes_are_refused():
    methane = Problem.from_atoms(molecule("CH4"), place=[3, 4])
    with pytest.raises(ValueError, match=r"shape \(species, x, y\)"):
        ImageObservation(AtomPlacementEnv(methane))


def test_the_best_of_many_builds_is_kept():
    env = RecordBuilds(mini())
    infos = [build(env, seed) for seed in range(5)]
    best = min((info for info in infos if info["calculator_error"] is None), key=lambda info: info["energy"])
    assert env.best_energy == best["energy"] > min(-200.0, env.unwrapped.reference_energy - 1)
    assert env.best_placed == best["placed"]
    assert env.unwrapped.evaluator.evaluate(env.best_atoms).energy == pytest.approx(env.best_energy)
    assert env.n_actions == sum(len(info["placed"]) for info in infos)
    assert (
        env.summary() == f"best energy {env.best_energy:.3f} eV; {env.n_actions} of {env.n_actions} actions were legal"
    )


def test_illegal_actions_are_counted_and_finish_no_structure():
    env = RecordBuilds(mini())
    env.reset()
    legal = int(np.flatnonzero(env.unwrapped.action_masks())[0])
    env.step(legal)
    env.step(legal)
    assert (env.n_actions, env.n_illegal) == (2, 1)
    assert (env.best_energy, env.best_placed) == (np.inf, ())
    assert env.summary() == "no structure was finished; 1 of 2 actions were legal"


def test_a_penalty_is_no_best_energy():
    class Failing:
        def get_potential_energy(self, atoms):
            raise RuntimeError("no convergence")

    env = RecordBuilds(AtomPlacementEnv("graphene-mini", Failing))
    assert build(env, 0)["calculator_error"] is not None
    assert env.best_energy == np.inf


def test_what_records_builds_must_be_told_of_them():
    with pytest.raises(ValueError, match=r"must tell how builds end: `WithoutInfo\(RecordBuilds\(env\)\)`"):
        RecordBuilds(MaskedObservation(WithoutInfo(mini())))
    assert build(WithoutInfo(RecordBuilds(mini())), 0) == {}


def test_info_may_be_left_out():
    env = WithoutInfo(mini())
    assert env.reset(seed=0)[1] == {}
    assert build(env, 0) == {}
