"""The modified ε-greedy choice among the legal actions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Exploration:
    """How often a placement is not the greedy one.

    Parameters
    ----------
    epsilon
        Probability of a uniformly random legal action.
    top_probability
        Probability of a random action among the best fraction of the legal ones.
    top_fraction
        That fraction.

    Raises
    ------
    ValueError
        If a number, or the sum of the probabilities, is outside [0, 1].
    """

    epsilon: float = 0.05
    top_probability: float = 0.10
    top_fraction: float = 0.05

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise ValueError(f"`{name}` is {value} but must lie in [0, 1]")
        if self.epsilon + self.top_probability > 1:
            raise ValueError(f"`epsilon + top_probability` is {self.epsilon + self.top_probability} but must be at most 1")


def greedy(q_values: NDArray[np.floating], legal: NDArray[np.bool_]) -> int:
    """Legal action of highest Q-value; both arrays have shape (actions,).

    Raises
    ------
    ValueError
        If no action is legal.
    """
    if not legal.any():
        raise ValueError("`legal` has no legal action but must have at least one")
    return int(np.argmax(np.where(legal, q_values, -np.inf)))


def choose(
    q_values: NDArray[np.floating],
    legal: NDArray[np.bool_],
    exploration: Exploration,
    rng: np.random.Generator,
) -> int:
    """Choose a legal action: mostly the greedy one, sometimes any, sometimes one of the best fraction.

    Parameters
    ----------
    q_values
        Q-value of each action, shape (actions,).
    legal
        Whether each action is legal, shape (actions,).
    exploration
        The probabilities.
    rng
        Source of randomness.
    """
    coin = rng.random()
    if coin < exploration.epsilon:
        return int(rng.choice(np.flatnonzero(legal)))
    if coin < exploration.epsilon + exploration.top_probability:
        candidates = np.flatnonzero(legal)
        n_top = max(1, round(exploration.top_fraction * len(candidates)))
        best = np.argsort(q_values[candidates], kind="stable")[-n_top:]
        return int(rng.choice(candidates[best]))
    return greedy(q_values, legal)
