"""The environment: Gymnasium's interface, episodes, rewards, failing calculators, refused arguments."""

import copy
import json
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from asla_env import IDS, AtomPlacementEnv, Evaluator, Grid, Problem
from asla_env.action import action_mask
from asla_env.evaluator import Evaluation
from asla_env.problems import PROBLEMS, grain_boundary, graphene

REFERENCE = Path(__file__).parents[1] / "reference" / "graphene.json"
MINI = "ASLA-GrapheneMini-v0"
NO_LIMITS = {"minimum_distance": None, "maximum_distance": None}
FAILURES = [
    (RuntimeError("no convergence"), "RuntimeError: no convergence"),
    (float("nan"), "`energy` is nan eV but must be finite"),
    (float("inf"), "`energy` is inf eV but must be finite"),
    (1e9, "absurd energy: 1000000000.0 eV"),
    (-1e9, "absurd energy: -1000000000.0 eV"),
    ("-8.0", "must be a number"),
]


class Scripted:
    """Answers from a list, the last one again and again; an exception is raised."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers

    def get_potential_energy(self, atoms: Atoms) -> Any:
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def answering(*answers: Any) -> Callable[[], Any]:
    """Make a factory of calculators that share their script."""
    script = list(answers)
    return lambda: Scripted(script)


class Compact:
    """Likes atoms close to the first one: its energy is their distance from there."""

    def get_potential_energy(self, atoms: Atoms) -> float:
        return float(np.linalg.norm(atoms.positions - atoms.positions[0]))


def fast(name: str) -> str | Callable[[], Any]:
    """Evaluator of one of our problems that needs no time."""
    return Compact if name in ("naphthalene", "boron-nitride") else "xwch"


def row(**arguments: Any) -> Problem:
    """Place two carbon atoms beside one, on pixels 0.5 Å apart on a line; the reference has them in a row."""
    cell = (10, 9, 9)
    reference = Atoms("C3", [(0, 0, 0), (1.5, 0, 0), (3, 0, 0)], cell=cell)
    parts = {
        "grid": Grid((20, 1), (10.0, 9.0), (False, False)),
        "template": reference[:1],
        "to_place": {"C": 2},
        "reference": reference,
        "maximum_distance": 1.3,
    }
    return Problem("row", **(parts | arguments))


def mixture(ndim: int) -> Problem:
    """Place carbon, oxygen and hydrogen without a reference, along two or three axes."""
    grid = Grid((8, 7, 6)[:ndim], (4.0, 3.5, 3.0)[:ndim], (True, False, False)[:ndim])
    template = Atoms("CO", [(1, 1, 1), (2.1, 1, 1)], cell=(4, 3.5, 3), pbc=(True, False, False))
    return Problem("mixture", grid, template, {"H": 3, "C": 2, "O": 1})


def play(env: gym.Env, seed: int | None = None) -> tuple[list[int], list[float], dict[str, Any]]:
    """Play an episode of random legal actions: actions, rewards and the last info."""
    _, info = env.reset(seed=seed)
    if seed is not None:
        env.action_space.seed(seed)
    actions, rewards, ended = [], [], False
    while not ended:
        actions.append(int(env.action_space.sample(mask=info["action_mask"])))
        _, reward, ended, truncated, info = env.step(actions[-1])
        rewards.append(reward)
        assert not truncated
    return actions, rewards, info


def build(env: AtomPlacementEnv, *actions: int) -> tuple[float, dict[str, Any]]:
    """Start again and take these actions, which end the episode: last reward and info."""
    env.reset()
    for action in actions:
        _, reward, ended, _, info = env.step(np.int64(action))
    assert ended
    return reward, info


# Gymnasium's interface


@pytest.mark.parametrize("env_id", IDS)
def test_the_checker_of_gymnasium_has_no_complaint(env_id: str) -> None:
    check_env(gym.make(env_id, evaluator=fast(IDS[env_id])).unwrapped)


@pytest.mark.parametrize("env_id", IDS)
def test_the_checker_of_stable_baselines3_has_no_complaint(env_id: str) -> None:
    check_env_for_sb3(gym.make(env_id, evaluator=fast(IDS[env_id])).unwrapped)


def test_problems_of_three_axes_and_several_species_pass_both_checkers() -> None:
    env = AtomPlacementEnv(mixture(ndim=3), Compact, reward="energy")
    check_env(env, skip_render_check=True)  # which makes environments by their id
    check_env_for_sb3(env)


@pytest.mark.parametrize(("env_id", "name"), IDS.items())
def test_each_id_makes_its_problem(env_id: str, name: str) -> None:
    env = gym.make(env_id)
    problem = PROBLEMS[name]()
    assert env.unwrapped.problem.name == name
    assert env.unwrapped.evaluator.calculator == "gfn1-xtb"
    assert env.action_space == gym.spaces.Discrete(problem.n_actions)
    assert env.observation_space == gym.spaces.MultiBinary([len(problem.species), *problem.grid.shape])
    observation, info = env.reset(seed=0)
    assert observation.sum() == len(problem.template)
    np.testing.assert_array_equal(info["action_mask"], action_mask([], problem))


def test_an_environment_is_made_without_importing_the_package_first(run_strictly: Callable[[str], str]) -> None:
    code = "import gymnasium; print(gymnasium.make('asla_env:ASLA-Graphene-v0').reset(seed=0)[0].shape)"
    assert run_strictly(code).strip() == "(1, 41, 36)"


def test_importing_the_package_imports_no_heavy_library(run_strictly: Callable[[str], str]) -> None:
    code = "import asla_env, sys; print({name.split('.')[0] for name in sys.modules})"
    imported = run_strictly(code)
    assert "numpy" in imported
    for heavy in ("torch", "stable_baselines3", "matplotlib", "tblite"):
        assert repr(heavy) not in imported


def test_a_build_is_drawn_as_an_image_or_as_text() -> None:
    image = gym.make(MINI, evaluator="xwch", render_mode="rgb_array")
    text = gym.make(MINI, evaluator="xwch", render_mode="ansi")
    for env in (image, text):
        env.reset()
    assert image.render().dtype == np.uint8
    assert image.render().ndim == 3
    assert text.render().startswith("C 0/11; lower case: template\n")
    assert AtomPlacementEnv("graphene-mini").render() is None


@pytest.mark.parametrize("env_id", IDS)
def test_equal_seeds_give_equal_episodes(env_id: str) -> None:
    one, other = (gym.make(env_id, evaluator=fast(IDS[env_id])) for _ in range(2))
    first, second, third = play(one, seed=5), play(other, seed=5), play(other, seed=6)
    assert first[:2] == second[:2]
    np.testing.assert_equal(first[2], second[2])
    assert first[0] != third[0]


def test_only_a_seed_restarts_the_random_stream() -> None:
    env = AtomPlacementEnv("graphene-mini", "xwch")
    env.reset(seed=3)
    drawn = [env.np_random.random()]
    for _ in range(2):
        env.reset()
        drawn.append(env.np_random.random())
    np.testing.assert_array_equal(drawn, np.random.default_rng(3).random(3))
    env.reset(seed=3)
    assert env.np_random.random() == drawn[0]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_environments_run_side_by_side(mode: str) -> None:
    envs = gym.make_vec(MINI, num_envs=2, vectorization_mode=mode, evaluator="xwch")
    _, infos = envs.reset(seed=[0, 1])
    envs.single_action_space.seed(0)
    ends = 0
    for _ in range(30):
        actions = [envs.single_action_space.sample(mask=mask) for mask in infos["action_mask"]]
        images, _, terminated, _, infos = envs.step(np.array(actions))
        assert images.shape == (2, 1, 21, 36)
        for i in np.flatnonzero(terminated):
            assert images[i].sum() == 1 + len(infos["placed"][i])
            ends += 1
    envs.close()
    assert ends >= 4


def test_builds_of_different_length_may_end_side_by_side() -> None:
    envs = gym.make_vec(MINI, num_envs=2, vectorization_mode="sync", evaluator="xwch")
    taken = 0  # the pixel of the template, to end a build
    _, infos = envs.reset()
    _, _, terminated, _, infos = envs.step(np.array([np.argmax(infos["action_mask"][0]), taken]))
    assert terminated.tolist() == [False, True]
    envs.step(np.array([np.argmax(infos["action_mask"][0]), taken]))  # in which the second one starts again
    _, _, terminated, _, infos = envs.step(np.array([taken, taken]))
    assert terminated.tolist() == [True, True]
    assert [len(placed) for placed in infos["placed"]] == [2, 0]


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_in_the_middle_of_a_build_goes_on_alike_and_alone(twin_of: Callable[[Any], Any]) -> None:
    env = AtomPlacementEnv("graphene-mini", "xwch")
    _, info = env.reset(seed=0)
    env.step(np.argmax(info["action_mask"]))
    twin = twin_of(env)
    env.action_space.seed(1)
    while env.action_masks().any():
        ended = env.step(env.action_space.sample(mask=env.action_masks()))
    assert len(twin.placed) == 1
    for action in env.placed[1:]:
        ended_too = twin.step(action)
    np.testing.assert_equal(ended_too, ended)
    assert twin.np_random.random() == env.np_random.random()


# Masks


def test_the_mask_is_a_new_int8_array_each_time() -> None:
    env = AtomPlacementEnv(row(), Compact)
    _, info = env.reset()
    wanted = [0, 0, 0, 1, *[0] * 16]  # 1.064 to 1.976 Å from the template
    for mask in (info["action_mask"], env.action_masks()):
        assert mask.dtype == np.int8
        assert mask.tolist() == wanted
        mask[:] = 1
    assert env.action_masks().tolist() == wanted


def test_a_placed_atom_changes_the_mask() -> None:
    env = AtomPlacementEnv(row(), Compact)
    env.reset()
    _, _, _, _, info = env.step(3)
    assert np.flatnonzero(info["action_mask"]).tolist() == [6]


def test_after_the_end_nothing_is_legal() -> None:
    env = AtomPlacementEnv(row(), Compact)
    assert not env.action_masks().any()  # nor before the start
    _, info = build(env, 3, 6)
    assert info["action_mask"].dtype == np.int8
    assert not info["action_mask"].any()
    assert not env.action_masks().any()


# Episodes


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_masked_actions_build_any_mixture_to_its_end(ndim: int, seed: int) -> None:
    problem = mixture(ndim)
    env = AtomPlacementEnv(problem, Compact, reward="energy")
    observation, _ = env.reset()
    assert env.observation_space.contains(observation)
    actions, rewards, info = play(env, seed)
    assert not info["invalid_action"]
    assert len(set(actions)) == len(actions)
    finished = not info["dead_end"]
    assert finished == (len(actions) == problem.n_to_place)
    assert np.isfinite(info["energy"]) == finished
    assert rewards[:-1] == [0.0] * (len(rewards) - 1)
    assert rewards[-1] == (pytest.approx(-info["energy"] / 6) if finished else -1)
    counts = np.bincount(np.array(actions) // problem.grid.n_pixels, minlength=3)
    assert np.all(counts <= problem.counts)
    assert np.array_equal(counts, problem.counts) == finished


def test_without_a_template_the_first_atom_may_stand_anywhere() -> None:
    grid = Grid((6, 6), (3.0, 3.0), (True, True))
    empty = Atoms(cell=(3, 3, 9), pbc=(True, True, False))
    env = AtomPlacementEnv(Problem("empty", grid, empty, {"C": 2}), answering(-3.0), reward="energy")
    observation, info = env.reset()
    assert not observation.any()
    assert info["action_mask"].all()
    assert play(env, seed=0)[1] == [0.0, 1.5]
    assert len(env.atoms) == 2


def test_the_structure_can_be_made_from_the_info_after_the_next_reset() -> None:
    env = AtomPlacementEnv(grain_boundary(hydrogen_terminated=True), Compact)
    _, _, info = play(env, seed=1)
    atoms = env.atoms
    env.reset()
    assert env.placed == ()
    assert env.problem.structure(info["placed"]) == atoms
    assert len(env.atoms) == 38


@pytest.mark.parametrize("value", [None, "good", (1.0,)])
def test_a_reward_that_is_no_number_is_named(value) -> None:
    env = AtomPlacementEnv(row(), Compact, reward=lambda *_: value)
    with pytest.raises(TypeError, match=rf"`reward` returned {re.escape(repr(value))} but must return a number"):
        play(env, 0)


def test_atoms_grow_by_one_a_step_between_template_and_surroundings() -> None:
    env = AtomPlacementEnv(row(surroundings=Atoms("C", [(0, 5, 0)]), reference=None), Compact, reward="energy")
    env.reset()
    env.step(3)
    np.testing.assert_allclose(env.atoms.positions[:, 0], [0, 1.5, 0])
    assert env.placed == (3,)


def test_a_build_that_cannot_be_finished_ends_at_once_with_minus_one() -> None:
    env = AtomPlacementEnv(row(grid=Grid((5, 1), (2.5, 9.0), (False, False))), answering(RuntimeError("not called")))
    env.reset()
    observation, reward, terminated, truncated, info = env.step(3)
    assert (reward, terminated, truncated) == (-1.0, True, False)
    assert observation.ravel().tolist() == [1, 0, 0, 1, 0]
    assert (info["dead_end"], info["invalid_action"], info["is_success"]) == (True, False, False)
    assert (info["energy"], info["energy_above_reference"]) == (np.inf, np.inf)
    assert info["calculator_error"] is None
    assert env.evaluator.n_computed == 0


@pytest.mark.parametrize("action", [0, 1, -1, 20, 10**6])
def test_an_illegal_action_ends_the_episode_with_minus_one(action: int) -> None:
    env = AtomPlacementEnv(row(), Compact)
    env.reset()
    env.step(3)
    observation, reward, terminated, truncated, info = env.step(action)
    assert (reward, terminated, truncated) == (-1.0, True, False)
    assert (info["dead_end"], info["invalid_action"], info["is_success"]) == (False, True, False)
    assert info["placed"] == (3,)
    assert observation.sum() == 2
    with pytest.raises(gym.error.ResetNeeded, match="call `reset` before `step`"):
        env.step(6)


@pytest.mark.parametrize("action", [0, 1, -1, 20])
def test_an_illegal_action_can_be_an_error_that_changes_nothing(action: int) -> None:
    env = AtomPlacementEnv(row(), Compact, invalid_action="raise")
    env.reset()
    env.step(3)
    with pytest.raises(ValueError, match=f"`action` is {action} but must be legal"):
        env.step(action)
    assert env.placed == (3,)
    assert env.step(6)[2]


def test_a_step_before_the_first_reset_or_after_the_end_asks_for_a_reset() -> None:
    env = AtomPlacementEnv(row(), Compact)
    for _ in range(2):
        with pytest.raises(gym.error.ResetNeeded, match="call `reset` before `step`"):
            env.step(3)
        build(env, 3, 6)


# Energies computed elsewhere


def test_only_a_legal_last_action_completes_a_structure() -> None:
    env = AtomPlacementEnv(row(), answering(-10.0))
    assert env.completed_by(3) is None  # before the first episode
    env.reset()
    assert env.completed_by(3) is None  # one more atom is to come
    env.step(np.int64(3))
    assert env.completed_by(0) is None  # where the template is
    assert env.completed_by(-1) is None
    structure = env.completed_by(6)
    assert structure is not None
    np.testing.assert_array_equal(structure[0].positions, env.problem.structure([3, 6]).positions)
    assert structure[1] == env.problem.canonical_key([3, 6])
    assert env.placed == (3,)


def test_an_energy_computed_elsewhere_is_taken_as_it_is() -> None:
    env = AtomPlacementEnv(row(), answering(-10.0))  # which can answer for the reference alone
    env.reset()
    env.step(np.int64(3))
    _, reward, terminated, _, info = env.step(np.int64(6), Evaluation(-8.0, None))
    assert (terminated, info["energy"], info["calculator_error"]) == (True, -8.0, None)
    assert reward == pytest.approx(0.8)
    assert env.evaluator.n_computed == 1


def test_a_failure_elsewhere_counts_the_penalty() -> None:
    env = AtomPlacementEnv(row(), answering(-10.0), penalty=7.0)
    env.reset()
    env.step(np.int64(3))
    info = env.step(np.int64(6), Evaluation(np.nan, "it broke"))[-1]
    assert (info["energy"], info["calculator_error"]) == (4.0, "it broke")


# Rewards


@pytest.mark.parametrize(
    ("energy", "window", "reward"),
    [(-12, 10, 1), (-10, 10, 1), (-8, 10, 0.8), (0, 10, 0), (10, 10, -1), (29, 10, -1), (-9, 4, 0.75)],
)
def test_the_scaled_reward_falls_by_two_over_a_window_for_each_placed_atom(
    energy: float, window: float, reward: float
) -> None:
    env = AtomPlacementEnv(row(), answering(-10.0, energy), reward_window=window)
    given, info = build(env, 3, 6)
    assert given == pytest.approx(reward)
    assert info["energy"] == energy
    assert info["energy_above_reference"] == pytest.approx(energy + 10)
    assert info["calculator_error"] is None


def test_the_energy_reward_is_the_energy_gained_for_each_placed_atom() -> None:
    assert build(AtomPlacementEnv(row(), answering(-10.0, -8.0), reward="energy"), 3, 6)[0] == 4.0
    without = AtomPlacementEnv(row(reference=None), answering(-8.0), reward="energy")
    reward, info = build(without, 3, 6)
    assert reward == 4.0
    assert info["energy_above_reference"] == np.inf
    assert np.isnan(without.reference_energy)
    assert not info["is_success"]


def test_a_function_can_be_the_reward() -> None:
    env = AtomPlacementEnv(
        row(), answering(-10.0, -8.0), reward=lambda energy, reference, n: 100 * energy + reference + n
    )
    assert build(env, 3, 6)[0] == -808.0


@pytest.mark.parametrize(("energy", "found"), [(-8.01, True), (-8.0, False), (-11.0, True)])
def test_an_energy_below_the_window_is_a_success(energy: float, found: bool) -> None:
    env = AtomPlacementEnv(row(success_window=2.0), answering(-10.0, energy))
    assert build(env, 3, 6)[1]["is_success"] is found


@pytest.mark.parametrize("maximum_distance", [1.3, None])
@pytest.mark.parametrize("seed", range(3))
def test_graphene_is_a_success_in_any_order_of_placing(maximum_distance: float | None, seed: int) -> None:
    env = AtomPlacementEnv(replace(graphene(), maximum_distance=maximum_distance), "xwch")
    left, rng = best_graphene(env.problem)[1:], np.random.default_rng(seed)
    _, info = env.reset()
    while left:
        legal = [action for action in left if info["action_mask"][action]]
        assert legal == left or maximum_distance
        left.remove(action := int(rng.choice(legal)))
        _, reward, ended, _, info = env.step(action)
    assert ended
    assert info["is_success"]
    assert info["energy_above_reference"] == pytest.approx(1.2705, abs=1e-3)
    assert reward == pytest.approx(1 - 2 * info["energy_above_reference"] / 230)


# The cache


def best_graphene(problem: Problem) -> list[int]:
    """Sites of the best graphene on the grid, the template's first."""
    pixels = json.loads(REFERENCE.read_text(encoding="utf-8"))["best_on_grid"]["xwch"]["pixels"]
    return np.ravel_multi_index(np.transpose(pixels), problem.grid.shape).tolist()


def test_a_structure_turned_moved_or_built_in_another_order_is_computed_once() -> None:
    env = AtomPlacementEnv(replace(graphene(), maximum_distance=None), "xwch")
    shape = np.array(env.problem.grid.shape)
    indices = np.transpose(np.unravel_index(best_graphene(env.problem), shape))
    versions = [
        indices,
        indices[::-1],
        indices * (-1, 1),
        indices * (-1, -1),
        indices - indices[7],
        indices[5] - indices,
    ]
    energies = set()
    for version in versions:
        sites = np.ravel_multi_index(tuple((version % shape).T), shape)
        energies.add(build(env, *sites[sites != 0])[1]["energy"])
    assert len(energies) == 1
    assert (env.evaluator.n_computed, env.evaluator.n_cached) == (2, len(versions) - 1)  # 2: one is the reference


def test_environments_may_share_an_evaluator_and_its_cache() -> None:
    evaluator = Evaluator(answering(-10.0, -9.0, -5.0))
    one, other = (AtomPlacementEnv(row(), evaluator) for _ in range(2))
    energies = [build(env, 3, 6)[1]["energy"] for env in (one, other)]
    assert energies == [-9.0, -9.0]
    assert (evaluator.n_computed, evaluator.n_cached) == (2, 2)


# Failing calculators


def test_a_search_goes_on_whatever_the_calculator_does(caplog: pytest.LogCaptureFixture) -> None:
    """Each structure is a new one, as an absurd energy is kept too; the penalties lie within the window of 3 eV."""
    answers = [answer for answer, _ in FAILURES]
    env = AtomPlacementEnv(row(**NO_LIMITS), answering(-10.0, *answers, -9.0), penalty=1.0)
    for i, (_, cause) in enumerate(FAILURES):
        caplog.clear()
        reward, info = build(env, 1, 2 + i)
        assert cause in info["calculator_error"]
        assert cause in caplog.text
        assert info["energy"] == pytest.approx(-10 + 2 * 1.0)
        assert info["energy_above_reference"] == pytest.approx(2.0)
        assert reward == pytest.approx(1 - 2 * 2 / 20)
        assert not info["is_success"]
        assert not info["dead_end"]
    reward, info = build(env, 1, 15)
    assert (info["energy"], info["is_success"], info["calculator_error"]) == (-9.0, True, None)


@pytest.mark.parametrize("answer", [RuntimeError("no convergence"), float("nan"), "-8.0"])
def test_without_a_reference_a_failure_has_no_energy_and_the_lowest_reward(answer: Any) -> None:
    env = AtomPlacementEnv(row(reference=None), answering(answer, -8.0), reward="energy")
    reward, info = build(env, 3, 6)
    assert reward == -1.0
    assert (info["energy"], info["energy_above_reference"]) == (np.inf, np.inf)
    assert info["calculator_error"]
    assert build(env, 3, 6)[0] == 4.0


def test_without_a_reference_an_absurd_energy_is_one_far_from_separate_atoms() -> None:
    reward, info = build(AtomPlacementEnv(row(reference=None), answering(-2.8e6, -5.0), reward="energy"), 3, 6)
    assert "absurd energy: -2800000.0 eV" in info["calculator_error"]
    assert (reward, info["energy"]) == (-1.0, np.inf)
    reward, info = build(AtomPlacementEnv(row(reference=None), answering(-12.0, -5.0), reward="energy"), 3, 6)
    assert (reward, info["energy"], info["calculator_error"]) == (6.0, -12.0, None)


@pytest.mark.parametrize("method", ["gfn1-xtb", "gfn2-xtb"])
def test_an_ion_is_held_against_separate_atoms_that_are_neutral(method: str) -> None:
    grid = Grid((11, 11), (8.0, 8.0), (False, False), (0.0, 0.0, 4.0))
    template = Atoms("Ti", positions=[grid.positions(60)], cell=(8, 8, 8))
    ion = Problem("TiOH", grid, template, {"O": 1, "H": 1})
    env = AtomPlacementEnv(ion, Evaluator(method, settings={"charge": 4}), reward="energy")
    first = {symbol: ion.species.index(symbol) * grid.n_pixels for symbol in ("O", "H")}
    _, info = build(env, first["O"] + 63, first["H"] + 65)
    assert info["calculator_error"] is None
    assert np.isfinite(info["energy"])


def test_what_a_calculator_not_ours_does_without_its_charge_is_not_asked() -> None:
    evaluator = Evaluator(lambda charge: Scripted([-2.8e6]), settings={"charge": 1})
    env = AtomPlacementEnv(row(reference=None), evaluator, reward="energy")
    _, info = build(env, 3, 6)
    assert (info["energy"], info["calculator_error"]) == (-2.8e6, None)


def test_the_reference_is_checked_by_the_name_of_the_calculator_and_the_cause() -> None:
    AtomPlacementEnv(row(), answering(OSError("busy"), -10.0)).check_reference()  # a failure may pass
    env = AtomPlacementEnv(row(), answering(*[OSError("no scratch")] * 3))
    with pytest.raises(ValueError, match=r"`evaluator` is .* reference structure: OSError: no scratch"):
        env.check_reference()


@pytest.mark.parametrize(("reward", "without"), [("scaled", -1.0), ("energy", 4.5)])
def test_until_the_reference_can_be_computed_a_reward_that_needs_it_is_the_lowest(reward: str, without: float) -> None:
    env = AtomPlacementEnv(row(), answering(OSError("no scratch"), -9.0, OSError("no scratch"), -10.0), reward=reward)
    for _ in range(2):
        given, info = build(env, 3, 6)
        assert given == without
        assert info["calculator_error"] == "the reference could not be computed: OSError: no scratch"
        assert info["energy"] == -9.0
        assert info["energy_above_reference"] == np.inf
        assert not info["is_success"]
    given, info = build(env, 3, 6)
    assert given == {"scaled": pytest.approx(0.9), "energy": 4.5}[reward]
    assert info["is_success"]
    assert env.reference_energy == -10.0
    assert env.evaluator.n_computed == 4  # the structure once


def test_an_interrupt_stops_the_step_and_leaves_the_build_as_it_was() -> None:
    env = AtomPlacementEnv(row(), answering(-10.0, KeyboardInterrupt(), -9.0))
    env.reset()
    env.step(3)
    with pytest.raises(KeyboardInterrupt):
        env.step(6)
    assert env.placed == (3,)
    assert np.flatnonzero(env.action_masks()).tolist() == [6]
    assert env.step(6)[4]["energy"] == -9.0


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"problem": "diamond"}, "`problem` is 'diamond' but must be a Problem or one of"),
        ({"evaluator": "dft"}, "`calculator` is 'dft' but must be one of"),
        ({"reward": "best"}, "`reward` is 'best' but must be one of"),
        ({"reward_window": 0.0}, "`reward_window` is 0.0 eV but must be positive"),
        ({"reward_window": float("inf")}, "`reward_window` is inf eV but must be positive and finite"),
        ({"penalty": 0.0}, "`penalty` is 0.0 eV per placed atom but must be positive"),
        ({"penalty": float("nan")}, "`penalty` is nan eV per placed atom but must be positive and finite"),
        ({"invalid_action": "ignore"}, "`invalid_action` is 'ignore' but must be one of"),
        ({"render_mode": "human"}, "`render_mode` is 'human' but must be one of"),
        ({"problem": "naphthalene"}, "`symbols` has H but must be of the species that 'xwch' knows"),
        ({"problem": grain_boundary(hydrogen_terminated=True)}, "`symbols` has H but must be"),
        ({"problem": row(reference=None, to_place={"H": 2}), "reward": "energy"}, "`symbols` has H but must be"),
        ({"problem": row(reference=None)}, "`reward` is 'scaled' but must be 'energy' or a function"),
        ({"problem": row(grid=Grid((3, 1), (1.5, 9.0), (False, False)))}, "`problem` leaves no legal pixel"),
    ],
)
def test_broken_arguments_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AtomPlacementEnv(**({"problem": "graphene-mini", "evaluator": "xwch"} | arguments))


@pytest.mark.parametrize("arguments", [{"evaluator": EMT()}, {"reward": 1.0}])
def test_arguments_of_the_wrong_type_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="must be a name or a function"):
        AtomPlacementEnv(row(), **arguments)
