"""The choice of an action: how often it is greedy, and that it is legal whatever the Q-values."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from asla_agents.exploration import Exploration, choose, greedy

ONLY_GREEDY = Exploration(epsilon=0.0, top_probability=0.0, top_fraction=0.0)
ONLY_RANDOM = Exploration(epsilon=1.0, top_probability=0.0, top_fraction=0.0)
N_ACTIONS = 40

q_values = hnp.arrays(np.float32, N_ACTIONS, elements=st.floats(width=32, allow_nan=False))
masks = hnp.arrays(np.bool_, N_ACTIONS)
shares = st.floats(0, 0.5)


def only_top(top_fraction: float) -> Exploration:
    return Exploration(epsilon=0.0, top_probability=1.0, top_fraction=top_fraction)


def choices(q, legal, exploration, n, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([choose(q, legal, exploration, rng) for _ in range(n)])


# Known answers


def test_greedy_takes_the_highest_of_the_legal_q_values():
    assert greedy(np.array([0.3, 0.9, 0.5, -1.0]), np.array([True, False, True, True])) == 2


def test_greedy_takes_the_first_of_equal_q_values():
    assert greedy(np.array([0.0, 0.5, 0.5]), np.array([True, True, True])) == 1


def test_without_exploration_every_choice_is_greedy():
    q, legal = np.random.default_rng(0).random(N_ACTIONS), np.arange(N_ACTIONS) % 3 > 0
    assert set(choices(q, legal, ONLY_GREEDY, 100)) == {greedy(q, legal)}


def test_a_random_choice_is_uniform_among_the_legal_actions():
    legal = np.arange(10) % 2 == 0
    counts = np.bincount(choices(np.arange(10.0), legal, ONLY_RANDOM, 5000), minlength=10)
    assert not counts[~legal].any()
    sigma = np.sqrt(5000 * 0.2 * 0.8)
    np.testing.assert_allclose(counts[legal], 1000, atol=5 * sigma)


@pytest.mark.parametrize(("top_fraction", "n_top"), [(0.0, 1), (0.01, 1), (0.1, 2), (0.25, 5), (1.0, 20)])
def test_the_best_fraction_is_counted_among_the_legal_actions(top_fraction, n_top):
    rng = np.random.default_rng(1)
    q, legal = rng.permutation(N_ACTIONS).astype(float), rng.permutation(N_ACTIONS) < 20
    best = np.flatnonzero(legal)[np.argsort(q[legal])][-n_top:]
    assert set(choices(q, legal, only_top(top_fraction), 60 * n_top)) == set(best)


def test_the_three_kinds_of_choice_come_as_often_as_asked():
    exploration = Exploration(epsilon=0.2, top_probability=0.3, top_fraction=0.1)
    n, n_top = 20_000, 10
    counts = np.bincount(choices(np.arange(100.0), np.full(100, True), exploration, n), minlength=100)
    expected = np.full(100, 0.2 / 100)
    expected[-n_top:] += 0.3 / n_top
    expected[-1] += 0.5
    sigma = np.sqrt(n * expected * (1 - expected))
    assert np.all(np.abs(counts - n * expected) < 5 * sigma)


# Properties


@given(q_values, masks)
def test_greedy_is_legal_and_nothing_legal_is_better(q, legal):
    assume(legal.any())
    action = greedy(q, legal)
    assert legal[action]
    assert q[action] == q[legal].max()


@given(q_values, masks, shares, shares, st.floats(0, 1), st.integers(0, 2**32))
def test_every_choice_is_legal(q, legal, epsilon, top_probability, top_fraction, seed):
    assume(legal.any())
    assert legal[choices(q, legal, Exploration(epsilon, top_probability, top_fraction), 20, seed)].all()


@given(q_values, masks, st.floats(0, 1), st.integers(0, 2**32))
def test_no_unchosen_legal_action_beats_one_of_the_best_fraction_by_rank(q, legal, top_fraction, seed):
    assume(legal.any())
    n_top = max(1, round(top_fraction * legal.sum()))
    threshold = np.sort(q[legal])[-n_top]
    assert np.all(q[choices(q, legal, only_top(top_fraction), 20, seed)] >= threshold)


# Determinism


def test_the_same_generator_state_gives_the_same_choices():
    rng = np.random.default_rng(3)
    q, legal = rng.random(N_ACTIONS), rng.random(N_ACTIONS) < 0.5
    exploration = Exploration(epsilon=0.3, top_probability=0.3, top_fraction=0.3)
    first, again, other = (choices(q, legal, exploration, 50, seed) for seed in (7, 7, 8))
    assert first.tolist() == again.tolist() != other.tolist()


def test_a_choice_leaves_its_inputs_alone():
    q, legal = np.arange(6.0), np.arange(6) > 2
    choices(q, legal, Exploration(epsilon=0.3, top_probability=0.3, top_fraction=0.5), 20)
    assert q.tolist() == [0, 1, 2, 3, 4, 5]
    assert legal.tolist() == [False] * 3 + [True] * 3


# Errors


@pytest.mark.parametrize("name", ["epsilon", "top_probability", "top_fraction"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_probabilities_must_lie_between_zero_and_one(name, value):
    with pytest.raises(ValueError, match=rf"`{name}` is {value} but must lie in \[0, 1\]"):
        Exploration(**{"epsilon": 0.1, "top_probability": 0.1, "top_fraction": 0.1, name: value})


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_the_visit_penalty_must_be_finite_and_not_negative(value):
    with pytest.raises(ValueError, match=f"`visit_penalty` is {value} but must be at least 0 and finite"):
        Exploration(visit_penalty=value)


def test_the_two_probabilities_may_sum_to_one_but_not_more():
    Exploration(epsilon=0.4, top_probability=0.6)
    with pytest.raises(ValueError, match=r"`epsilon \+ top_probability` is 1.25 but must be at most 1"):
        Exploration(epsilon=0.75, top_probability=0.5)


@pytest.mark.parametrize("exploration", [ONLY_GREEDY, ONLY_RANDOM, only_top(0.5)], ids=["greedy", "random", "top"])
def test_a_choice_needs_a_legal_action(exploration):
    with pytest.raises(ValueError, match="`legal` has no legal action but must have at least one"):
        choices(np.zeros(4), np.full(4, False), exploration, 1)
