"""Environments of which anything is asked, at any time: an answer, or an error that names the argument."""

import gymnasium as gym
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from asla_env import AtomPlacementEnv, Problem
from asla_env.vector import AtomPlacementVectorEnv

ERRORS = (ValueError, TypeError, gym.error.ResetNeeded)
STRUCTURE = Atoms(
    "C4", [[0, 0, 0], [1.4, 0, 0], [2.8, 0, 0], [1.4, 1.4, 0]], cell=[4.2, 4.2, 8], pbc=(True, True, False)
)
PROBLEM = Problem.from_atoms(STRUCTURE, [1, 2, 3], shape=(6, 6), minimum_distance=0.5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.complex_numbers()
ARRAYS = arrays.arrays(
    st.sampled_from([np.float64, np.int64, np.uint8, np.bool_, np.dtype("U2"), np.dtype(object)]),
    arrays.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3),
)
ANYTHING = st.recursive(
    SCALARS | ARRAYS | st.builds(object),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
ACTIONS = st.integers(0, 35) | st.integers(0, 35).map(np.int64) | ANYTHING
OPTIONS = ANYTHING | st.fixed_dictionaries({"reset_mask": ANYTHING | st.lists(st.booleans(), max_size=3).map(np.array)})
SEEDS = st.none() | st.integers(0, 2**64) | ANYTHING


@pytest.fixture(scope="session")
def builds():
    return {how: AtomPlacementEnv(PROBLEM, EMT, invalid_action=how) for how in ("terminate", "raise")}


@pytest.fixture(scope="session")
def many():
    return {
        mode: AtomPlacementVectorEnv(2, PROBLEM, EMT, autoreset_mode=mode)
        for mode in ("NextStep", "SameStep", "Disabled")
    }


@settings(deadline=None)
@given(
    how=st.sampled_from(["terminate", "raise"]), calls=st.lists(st.tuples(st.booleans(), ACTIONS, SEEDS), max_size=6)
)
def test_a_build_answers_or_names_the_argument(attempt, builds, how, calls):
    env = builds[how].twin()
    for resets, action, seed in calls:
        before = env.placed
        if resets:
            answer, error = attempt(env.reset, seed=seed, options={} if seed is None else {"a": seed}, errors=ERRORS)
        else:
            answer, error = attempt_step(attempt, env, action)
        if error is not None:
            assert env.placed == before
        else:
            assert env.observation_space.contains(answer[0])


def attempt_step(attempt, env, action):
    try:
        return attempt(env.step, action)
    except gym.error.ResetNeeded as error:
        assert not env.action_masks().any()
        return None, error


@settings(deadline=None)
@given(
    mode=st.sampled_from(["NextStep", "SameStep", "Disabled"]),
    calls=st.lists(
        st.tuples(st.booleans(), st.lists(ACTIONS, min_size=2, max_size=2) | ACTIONS, SEEDS, OPTIONS), max_size=5
    ),
)
def test_many_builds_answer_or_name_the_argument(attempt, many, mode, calls):
    env = many[mode]
    env.reset()
    for resets, actions, seed, options in calls:
        if resets:
            answer, error = attempt(env.reset, seed=seed, options=options, errors=ERRORS)
        else:
            try:
                answer, error = attempt(env.step, actions)
            except gym.error.ResetNeeded:
                continue
        if error is None:
            assert env.observation_space.contains(np.asarray(answer[0]))


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("problem", "evaluator", "reward", "reward_window", "penalty", "invalid_action", "render_mode"), ANYTHING
        ),
    )
)
def test_an_environment_of_anything_is_made_or_refused(attempt, changes):
    env, _ = attempt(
        AtomPlacementEnv, **{"problem": PROBLEM, "evaluator": EMT, **changes}, errors=(*ERRORS, ImportError)
    )
    if env is not None:
        env.reset()
