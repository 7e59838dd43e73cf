"""Many builds together: what Gymnasium's own vector of the same environments gives, with energies computed at once."""

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from ase import Atoms
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from asla_env import IDS, AtomPlacementEnv, AtomPlacementVectorEnv, Evaluator, Grid, Problem
from asla_env.vector import builds_of, evaluate_together

MINI = "ASLA-GrapheneMini-v0"
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]
N = 3


class Moody:
    """Likes atoms close to each other, equally for mirror images, and fails if there are four closest pairs."""

    def get_potential_energy(self, atoms: Atoms) -> float:
        distances = np.sort(atoms.get_all_distances(mic=True).round(6), axis=None)[len(atoms) :]
        if np.sum(distances < 1.21) == 8:  # each pair counts twice
            raise RuntimeError("no convergence")
        return round(float(distances.sum()) / len(atoms), 6)


def crowded(n_atoms: int = 8) -> Problem:
    """Carbon on few pixels: of eight atoms, some random builds come to a dead end; two have a reference."""
    grid = Grid((7, 6), (4.2, 3.6), (True, False))
    reference = Atoms("C3", [(0, 0, 0), (1.8, 0, 0), (1.2, 1.2, 0)], cell=(4.2, 3.6, 10), pbc=(True, False, False))
    template, to_place = reference[:1], {"C": n_atoms}
    return Problem("crowded", grid, template, to_place, reference if n_atoms == 2 else None, minimum_distance=0.7)


def vector(n: int = N, evaluator: Any = Moody, problem: Problem | None = None, **settings: Any):
    return AtomPlacementVectorEnv(n, problem or crowded(), evaluator, **{"reward": "energy", **settings})


def sync(n: int = N, mode: AutoresetMode = AutoresetMode.NEXT_STEP, problem: Problem | None = None) -> SyncVectorEnv:
    evaluator, problem = Evaluator(Moody), problem or crowded()
    return SyncVectorEnv(
        [lambda: AtomPlacementEnv(problem, evaluator, reward="energy") for _ in range(n)], autoreset_mode=mode
    )


def assert_same(ours: Any, theirs: Any) -> None:
    """Compare to the last bit, types included, what may hold arrays of objects."""
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        ours, theirs = list(ours.values()), [theirs[key] for key in ours]
    if isinstance(ours, np.ndarray):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    if isinstance(ours, list | tuple) or (isinstance(ours, np.ndarray) and ours.dtype == object):
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(ours, theirs)


def some_actions(masks: np.ndarray, rng: np.random.Generator, illegal: float = 0.0) -> np.ndarray:
    """A random legal action for each build, now and then an illegal one, any where none is legal."""
    chosen = []
    for mask in masks:
        wanted = np.flatnonzero(mask == (rng.random() >= illegal))
        chosen.append(rng.choice(wanted if len(wanted) else len(mask)))
    return np.array(chosen)


class Counting(Executor):
    """Computes in this process, and keeps how many structures were in flight at once."""

    def __init__(self) -> None:
        self.waiting, self.together = 0, list[int]()

    def submit(self, function, /, *args, **kwargs):
        self.waiting += 1
        executor = self

        class Counted(Future):
            def result(self, timeout=None):
                executor.together += [executor.waiting] * bool(executor.waiting)
                executor.waiting = 0
                return super().result(timeout)

        future = Counted()
        future.set_result(function(*args, **kwargs))
        return future


# As Gymnasium's own vector


@pytest.mark.parametrize("n_atoms", [2, 8])
@pytest.mark.parametrize("mode", MODES)
def test_all_results_equal_those_of_a_sync_vector_env(mode, n_atoms):
    problem = crowded(n_atoms)
    ours, theirs = vector(problem=problem, autoreset_mode=mode), sync(mode=mode, problem=problem)
    results = [env.reset(seed=5) for env in (ours, theirs)]
    rng, seen = np.random.default_rng(0), set()
    for _ in range(200):
        assert_same(*results)
        actions = some_actions(results[0][-1]["action_mask"], rng, illegal=0.03)
        results = [env.step(actions) for env in (ours, theirs)]
        last = results[0][-1].get("final_info", results[0][-1])
        if "energy" in last:
            seen |= {name for name in ("dead_end", "invalid_action") if last[name].any()}
            seen |= {"calculator_error"} if any(last["calculator_error"]) else set()
            seen |= {"energy"} if np.isfinite(last["energy"]).any() else set()
    assert seen == {"energy", "invalid_action"} | ({"dead_end", "calculator_error"} if n_atoms == 8 else set())


def test_seeds_reach_each_build():
    for seed, expected in ((7, (7, 8, 9)), ([4, 2, 9], (4, 2, 9))):
        env = vector()
        env.reset(seed=seed)
        assert env.np_random_seed == expected
        assert len({generator.random() for generator in env.np_random}) == 3


@pytest.mark.parametrize("mode", MODES)
def test_the_next_build_begins_one_step_later_or_at_once(mode):
    env, rng = vector(autoreset_mode=mode), np.random.default_rng(1)
    _, infos = env.reset(seed=0)
    actions = some_actions(infos["action_mask"], rng)
    actions[0] = np.flatnonzero(infos["action_mask"][0] == 0)[0]  # illegal, which ends the build
    _, _, terminated, _, infos = env.step(actions)
    assert terminated.tolist() == [True, False, False]
    at_once = mode is AutoresetMode.SAME_STEP
    assert ("final_obs" in infos) is ("final_info" in infos) is at_once
    assert infos["action_mask"][0].any() == at_once
    if at_once:
        assert infos["_final_info"].tolist() == infos["final_info"]["_energy"].tolist() == [True, False, False]
    images, rewards, terminated, _, infos = env.step(some_actions(infos["action_mask"], rng))
    assert images[0].sum() == 1 + at_once
    assert rewards[0] == 0
    assert not terminated.any()


def test_after_a_masked_reset_there_is_a_mask_for_each_build():
    envs = vector(autoreset_mode=AutoresetMode.DISABLED)
    _, infos = envs.reset(seed=0)
    *_, infos = envs.step(np.array([np.argmax(mask) for mask in infos["action_mask"]]))
    before = infos["action_mask"]
    _, infos = envs.reset(options={"reset_mask": np.array([True, False, False])})
    assert infos["_action_mask"].all()
    np.testing.assert_array_equal(infos["action_mask"][1:], before[1:])
    assert infos["action_mask"][0].sum() > before[0].sum()


def test_each_build_has_a_space_of_its_own_to_draw_from():
    builds = builds_of(AtomPlacementEnv(crowded(), Moody, reward="energy"), 2)
    spaces = [build.placement.action_space for build in builds]
    for seed, space in enumerate(spaces):
        space.seed(seed)
    drawn = [space.sample() for space in spaces]
    spaces[0].seed(0)
    assert spaces[0].sample() == drawn[0]
    assert spaces[0] == spaces[1]


def test_without_automatic_reset_a_mask_says_which_builds_start_again():
    env = vector(autoreset_mode=AutoresetMode.DISABLED)
    _, infos = env.reset(seed=0)
    rng, ended = np.random.default_rng(3), np.zeros(N, dtype=bool)
    while not ended.any():
        _, _, ended, _, infos = env.step(some_actions(infos["action_mask"], rng))
    images, infos = env.reset(options={"reset_mask": ended})
    assert infos["_action_mask"].all()
    assert (images.sum(axis=(1, 2, 3)) == 1).tolist() == ended.tolist()


@pytest.mark.parametrize("env_id", IDS)
def test_the_ids_make_it(env_id):
    env = gym.make_vec(env_id, num_envs=2, evaluator=Moody)
    assert type(env) is AtomPlacementVectorEnv
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    images, infos = env.reset(seed=0)
    assert images in env.observation_space
    assert infos["action_mask"].shape == (2, env.single_action_space.n)
    assert infos["action_mask"].dtype == np.int8


def test_settings_reach_the_builds_through_gymnasium():
    env = gym.make_vec(MINI, num_envs=2, evaluator="xwch", autoreset_mode="SameStep", render_mode="ansi", penalty=3.0)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.render_mode == "ansi"
    env.reset()
    assert len(env.render()) == 2
    assert all(isinstance(text, str) for text in env.render())
    assert env.get_attr("problem")[1].name == "graphene-mini"


def test_the_ids_still_make_a_sync_vector_env_if_asked():
    env = gym.make_vec(MINI, num_envs=2, vectorization_mode="sync", evaluator="xwch")
    assert type(env) is SyncVectorEnv
    assert env.reset(seed=0)[1]["action_mask"].shape == (2, env.single_action_space.n)


def test_wrappers_of_gymnasium_work():
    env = RecordEpisodeStatistics(vector(autoreset_mode="SameStep"))
    _, infos = env.reset(seed=0)
    rng, lengths = np.random.default_rng(0), []
    while len(lengths) < 4:
        *_, infos = env.step(some_actions(infos["action_mask"], rng))
        lengths += list(infos["episode"]["l"][infos["_episode"]]) if "episode" in infos else []
    assert all(1 <= length <= 8 for length in lengths)


def test_pictures_come_one_for_each_build():
    env = vector(2, render_mode="rgb_array")
    env.reset()
    pictures = env.render()
    assert len(pictures) == 2
    assert pictures[0].ndim == 3


# Energies together


def finish_all(env: AtomPlacementVectorEnv, seed: int = 0) -> dict[str, Any]:
    """Take random legal actions until a structure is finished."""
    _, infos = env.reset(seed=0)
    rng = np.random.default_rng(seed)
    while "energy" not in infos:
        *_, infos = env.step(some_actions(infos["action_mask"], rng))
    return infos


def test_energies_of_all_builds_are_in_flight_at_once():
    executor = Counting()
    infos = finish_all(vector(4, Evaluator(Moody, executor), crowded(2)))
    assert executor.together[-1] == 4  # after the reference
    assert len(set(infos["energy"])) > 1


def test_an_executor_gives_the_energies_that_are_computed_here():
    with ThreadPoolExecutor(2) as executor:
        there = finish_all(vector(4, Evaluator(Moody, executor), crowded(2)))
    here = finish_all(vector(4, problem=crowded(2)))
    assert_same(there, here)


def test_a_calculator_with_a_batched_form_is_asked_once(monkeypatch):
    batches = []
    evaluator = Evaluator("xwch")
    batch = evaluator._batch
    monkeypatch.setattr(evaluator, "_batch", lambda *args: batches.append(len(args[0])) or batch(*args))
    env = gym.make_vec(MINI, num_envs=3, evaluator=evaluator)
    infos = finish_all(env)
    assert batches == [3]
    assert np.isfinite(infos["energy"]).all()


def test_the_reference_is_computed_once_for_all():
    evaluator = Evaluator(Moody)
    env = vector(4, evaluator, crowded(2))
    assert evaluator.n_computed == 1
    finish_all(env)
    assert evaluator.n_computed + evaluator.n_cached == 5


def test_an_interrupt_while_energies_are_computed_leaves_all_builds_as_they_were():
    env = vector(2, problem=crowded(2))
    _, infos = env.reset(seed=0)
    rng = np.random.default_rng(0)
    *_, infos = env.step(some_actions(infos["action_mask"], rng))
    actions = some_actions(infos["action_mask"], rng)
    evaluate, evaluator = Evaluator.evaluate_many, env.get_attr("evaluator")[0]

    def interrupt(*_):
        raise KeyboardInterrupt

    evaluator.evaluate_many = interrupt
    before = env.get_attr("placed")
    with pytest.raises(KeyboardInterrupt):
        env.step(actions)
    assert env.get_attr("placed") == before
    evaluator.evaluate_many = evaluate.__get__(evaluator)
    assert env.step(actions)[2].all()


def test_an_action_that_finishes_nothing_has_no_energy():
    env = builds_of(AtomPlacementEnv(crowded(2), Moody, reward="energy"), 2)
    envs = [build.placement for build in env]
    for each in envs:
        each.reset()
    envs[0].step(np.int64(14))
    first, second = evaluate_together(envs, [28, 28])
    assert np.isfinite(first.energy)
    assert second is None


def test_a_twin_shares_evaluator_and_reference_but_no_atoms_and_no_randomness():
    env = AtomPlacementEnv(crowded(2), Moody, reward="energy")
    env.reset(seed=1)
    env.step(np.int64(14))
    _ = env.reference_energy
    twin = env.twin()
    assert twin.evaluator is env.evaluator
    assert twin.placed == ()
    with pytest.raises(gym.error.ResetNeeded):
        twin.step(np.int64(14))
    twin.reset(seed=2)
    assert (env.placed, env.np_random_seed, twin.np_random_seed) == ((14,), 1, 2)
    assert twin.reference_energy == env.reference_energy
    assert env.evaluator.n_computed == 1


# Errors


@pytest.mark.parametrize("n", [0, -2])
def test_no_build_at_all_is_refused(n):
    with pytest.raises(ValueError, match=f"`num_envs` is {n} but must be at least 1"):
        vector(n)


def test_a_number_of_builds_is_a_whole_number():
    with pytest.raises(TypeError, match=r"`num_envs` is 2\.5 but must be a whole number"):
        vector(2.5)


def test_what_an_environment_refuses_is_refused():
    with pytest.raises(ValueError, match="`penalty` is -1"):
        vector(penalty=-1)
    with pytest.raises(ValueError, match="'Sometimes' is not a valid AutoresetMode"):
        vector(autoreset_mode="Sometimes")


def test_an_illegal_action_raises_if_wanted():
    env = vector(invalid_action="raise")
    env.reset()
    with pytest.raises(ValueError, match="`action` is 0 but must be legal"):
        env.step(np.zeros(N, dtype=np.int64))
