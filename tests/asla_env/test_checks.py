"""Arguments of which numpy, ASE or Python would complain in their own words."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT

from asla_env import AtomPlacementEnv, Grid, Problem
from asla_env.checks import whole_number
from asla_env.problems import PROBLEMS
from asla_env.vector import AtomPlacementVectorEnv

HUGE = 10**400  # larger than any number of double precision
GRID = {"shape": (3, 4), "cell": (1.0, 2.0), "periodic": (True, False), "origin": (0.0, 0.0, 0.0)}
SHEET = Atoms("C3", [[0, 0, 0], [1.4, 0, 0], [2.8, 0, 0]], cell=[4.2, 4.2, 8], pbc=(True, True, False))
PROBLEM = Problem.from_atoms(SHEET, [1, 2], shape=(6, 6), minimum_distance=0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shape", np.array(3)),
        ("shape", (10**5, 10**5)),
        ("shape", b"ab"),
        ("cell", (HUGE, 1.0)),
        ("cell", 1j),
        ("periodic", np.array(True)),
        ("periodic", ([], [])),
        ("periodic", (np.zeros(2), np.zeros(2))),
        ("origin", (HUGE, 0, 0)),
        ("origin", (True, 0, 0)),
    ],
    ids=str,
)
def test_a_wrong_part_of_a_grid_is_named(name, value):
    with pytest.raises(ValueError, match=rf"(?s)`{name}` is .* but must"):
        Grid(**{**GRID, name: value})


@pytest.mark.parametrize("values", [None, "abc", [[1, 2], [3]], [1j, 0, 0], [None, 0, 0], [HUGE, 0, 0]], ids=str)
def test_positions_and_pixels_that_are_no_numbers_are_named(values):
    grid = Grid(**GRID)
    for method, name in ((grid.pixels, "positions"), (grid.distances, "positions"), (grid.positions, "pixels")):
        with pytest.raises(TypeError, match=f"`{name}` is .* but must be an array of"):
            method(values)


def test_positions_need_three_coordinates():
    with pytest.raises(ValueError, match=r"`positions` has the shape \(2,\) but must have three coordinates"):
        Grid(**GRID).pixels([0.0, 1.0])


def test_positions_far_away_are_wrapped_or_refused_without_a_warning():
    grid = Grid(**GRID)
    assert grid.pixels([1e100, 0.0, 0.0]) in range(grid.n_pixels)
    with pytest.raises(ValueError, match="reach outside the grid: along the open axis 1"):
        grid.pixels([0.0, -1e100, 0.0])


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("name", {}, "must be text"),
        ("to_place", {"C": 10**30}, "must fit on the"),
        ("to_place", {"C": True}, "must be a whole number"),
        ("success_window", HUGE, "must be positive and finite"),
        ("success_window", True, "must be positive and finite"),
        ("minimum_distance", HUGE, "must be a positive multiple"),
    ],
)
def test_a_wrong_part_of_a_problem_is_named(name, value, rule):
    whole = PROBLEMS["graphene-mini"]()
    parts = {part: getattr(whole, part) for part in whole.__dataclass_fields__}
    with pytest.raises((TypeError, ValueError), match=rf"`{name}` .*{rule}"):
        Problem(**{**parts, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spacing", 1e-300),
        ("spacing", 1e-9),
        ("shape", 5),
        ("shape", "ab"),
        ("shape", (None, 2)),
        ("shape", np.array(3)),
    ],
    ids=str,
)
def test_a_wrong_pixel_size_of_a_problem_from_atoms_is_named(name, value):
    with pytest.raises(ValueError, match=f"`{name}` is .* but must"):
        Problem.from_atoms(molecule("C6H6"), [2, 3], **{name: value})


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3), np.array([3]), torch.tensor(3)], ids=repr)
def test_a_whole_number_may_come_in_any_form(value):
    assert whole_number("action", value) == 3


@pytest.mark.parametrize("action", [None, "3", 2.7, 3.0, True, [3], np.array([1, 2]), np.array(1.0), b"3"], ids=repr)
def test_an_action_that_is_no_whole_number_is_refused_and_nothing_is_placed(action):
    env = AtomPlacementEnv(PROBLEM, EMT)
    env.reset()
    with pytest.raises(TypeError, match=r"`action` is .* but must be a whole number"):
        env.step(action)
    assert env.placed == ()
    many = AtomPlacementVectorEnv(2, PROBLEM, EMT)
    many.reset()
    with pytest.raises(TypeError, match=r"`actions` is .* but must be a whole number"):
        many.step([action, 1])


def test_an_action_beyond_any_array_is_illegal_as_others_are():
    env = AtomPlacementEnv(PROBLEM, EMT)
    env.reset()
    assert env.step(HUGE)[4]["invalid_action"]


@pytest.mark.parametrize(("seed", "error"), [("a", TypeError), (1.0, TypeError), (True, TypeError), (-1, ValueError)])
def test_a_seed_that_is_none_is_named(seed, error):
    for env in (AtomPlacementEnv(PROBLEM, EMT), AtomPlacementVectorEnv(2, PROBLEM, EMT)):
        with pytest.raises(error, match=f"`seed` is {seed!r} but must be"):
            env.reset(seed=seed)


def test_a_seed_of_numpy_is_one():
    env = AtomPlacementEnv(PROBLEM, EMT)
    env.reset(seed=np.int64(3))
    assert env.np_random_seed == 3


@pytest.mark.parametrize("actions", [None, 3, "ab", [1], [1, 2, 3], np.array(3), {0: 1, 1: 2}], ids=repr)
def test_actions_must_be_one_for_each_build(actions):
    many = AtomPlacementVectorEnv(2, PROBLEM, EMT)
    many.reset()
    with pytest.raises((TypeError, ValueError), match=r"`actions` .* one for each"):
        many.step(actions)


@pytest.mark.parametrize(
    "options", [3, {"reset_mask": None}, {"reset_mask": np.zeros(2, bool)}, {"reset_mask": [1, 1]}]
)
def test_options_that_start_no_build_are_named(options):
    many = AtomPlacementVectorEnv(2, PROBLEM, EMT)
    with pytest.raises((TypeError, ValueError), match=r"`(options|reset_mask)` is .* but must be"):
        many.reset(options=options)


def test_builds_are_seeded_one_by_one():
    many = AtomPlacementVectorEnv(2, PROBLEM, EMT)
    many.reset(seed=[3, None])
    many.reset(seed=np.array([3, 4]))
    assert [env.unwrapped.np_random_seed for env in many.envs] == [3, 4]
    with pytest.raises(ValueError, match="`seed` holds 1 but must hold one for each of the 2 builds"):
        many.reset(seed=[3])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("problem", []),
        ("penalty", "a"),
        ("penalty", HUGE),
        ("reward_window", None),
        ("invalid_action", []),
        ("render_mode", {}),
    ],
)
def test_a_wrong_argument_of_an_environment_is_named(name, value):
    with pytest.raises(ValueError, match=rf"`(reward_)?{name.removeprefix('reward_')}` is .* but must be"):
        AtomPlacementEnv(**{"problem": PROBLEM, "evaluator": EMT, name: value})


def test_an_episode_that_is_over_is_said_to_be_over_whatever_the_action():
    with pytest.raises(gym.error.ResetNeeded):
        AtomPlacementEnv(PROBLEM, EMT).step("a")


def test_a_build_that_is_over_and_not_reset_by_itself_is_said_to_be_over():
    many = AtomPlacementVectorEnv(2, PROBLEM, EMT, autoreset_mode="Disabled")
    many.reset()
    assert many.step([0, 2])[2].tolist() == [True, False]  # the first atom has the template's place
    with pytest.raises(gym.error.ResetNeeded, match="call `reset` with a `reset_mask`"):
        many.step([2, 2])
    many.reset(options={"reset_mask": np.array([True, False])})
    many.step([2, 4])
