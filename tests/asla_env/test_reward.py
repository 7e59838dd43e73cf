import pickle
from math import isnan, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asla_env.reward import REWARDS, negative_energy, reward_function, scaled

energies = st.floats(-1e6, 1e6)
counts = st.integers(1, 1000)
windows = st.floats(1e-3, 1e3)


@pytest.mark.parametrize(("above", "reward"), [(-1, 1), (0, 1), (5, 0.5), (10, 0), (15, -0.5), (20, -1), (1e9, -1)])
def test_scaled_falls_from_one_to_minus_one_over_the_window(above: float, reward: float) -> None:
    assert scaled(-100 + above, -100, n_placed=2) == pytest.approx(reward)


@given(energies, energies, counts, windows)
def test_scaled_stays_between_minus_one_and_one(energy: float, reference: float, n: int, window: float) -> None:
    assert -1 <= scaled(energy, reference, n, window) <= 1


@given(energies, energies, energies, counts)
def test_scaled_never_prefers_the_higher_energy(one: float, other: float, reference: float, n: int) -> None:
    low, high = sorted([one, other])
    assert scaled(low, reference, n) >= scaled(high, reference, n)


@given(st.floats(-100, 100), st.floats(-1000, 1000), counts)
def test_scaled_depends_on_the_energy_above_the_reference_alone(above: float, shift: float, n: int) -> None:
    assert scaled(shift + above, shift, n) == pytest.approx(scaled(above, 0.0, n), abs=1e-9)


@given(energies, counts)
def test_the_reference_itself_is_worth_one(reference: float, n: int) -> None:
    assert scaled(reference, reference, n) == 1


@pytest.mark.parametrize("function", REWARDS.values())
def test_of_an_energy_that_is_nan_the_reward_is_nan(function: Any) -> None:
    assert isnan(function(nan, -10.0, 2))


@given(energies, energies, counts)
def test_negative_energy_is_per_placed_atom_and_ignores_the_reference(energy: float, reference: float, n: int) -> None:
    assert negative_energy(energy, reference, n) == -energy / n


def test_rewards_have_names() -> None:
    assert reward_function("energy") is negative_energy
    assert reward_function("scaled")(1.0, 0.0, 1) == scaled(1.0, 0.0, 1) == 0.8


def test_scaled_takes_the_window_it_is_given() -> None:
    assert reward_function("scaled", reward_window=4.0)(1.0, 0.0, 1) == 0.5


def test_a_function_is_a_reward() -> None:
    def constant(energy: float, reference_energy: float, n_placed: int) -> float:
        return 0.0

    assert reward_function(constant) is constant


@pytest.mark.parametrize("name", REWARDS)
def test_a_named_reward_can_go_to_another_process(name: str) -> None:
    copy = pickle.loads(pickle.dumps(reward_function(name, 5.0)))
    assert copy(1.0, 0.0, 2) == reward_function(name, 5.0)(1.0, 0.0, 2)


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match="`reward` is 'sparse' but must be one of 'scaled', 'energy'"):
        reward_function("sparse")


@pytest.mark.parametrize("window", [0.0, -1.0, nan, float("inf"), True])
def test_the_window_must_be_positive_and_finite(window: float) -> None:
    with pytest.raises(ValueError, match=f"`reward_window` is {window} eV but must be positive and finite"):
        reward_function("scaled", window)


def test_a_number_is_not_a_reward() -> None:
    with pytest.raises(TypeError, match="int but must be a name or a function"):
        reward_function(1)
