"""The modified ε-greedy choice among the legal actions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asla_agents.ranges import check_shares


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
    visit_penalty
        While searching, a Q-value is lowered by this times ``log(1 + n)``, where n builds went through the structure
        after the action before: what is known well is left for what is nearly as promising.
    refined_share
        This part of the builds since the lowest energy, evenly spread from the first one on, is not built from the
        template but is one of the best with atoms moved by a pixel, where energies of pairs of atoms are predicted to
        fall; see `asla_agents.refinement`.
    average_symmetric
        Whether Q-values are averaged over the images of a structure under the symmetries of the problem, up to eight,
        which are as stable as it is: what the network says of them differs by its error alone.

    Raises
    ------
    ValueError
        If a probability, their sum, or a fraction is outside [0, 1], or the penalty is negative.
    """

    epsilon: float = 0.01
    top_probability: float = 0.03
    top_fraction: float = 0.02
    visit_penalty: float = 0.1
    refined_share: float = 0.5
    average_symmetric: bool = True

    def __post_init__(self) -> None:
        check_shares(self, "epsilon", "top_probability", "top_fraction", "refined_share")
        if not 0 <= self.visit_penalty < np.inf:
            raise ValueError(f"`visit_penalty` is {self.visit_penalty} but must be at least 0 and finite")
        if self.epsilon + self.top_probability > 1:
            raise ValueError(
                f"`epsilon + top_probability` is {self.epsilon + self.top_probability} but must be at most 1"
            )


def greedy(q_values: NDArray[np.floating], legal: NDArray[np.bool_]) -> int:
    """Legal action of highest Q-value; both arrays have shape (actions,).

    Raises
    ------
    ValueError
        If no action is legal.
    """
    candidates = _candidates(legal)
    return int(candidates[np.argmax(q_values[candidates])])


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

    Raises
    ------
    ValueError
        If no action is legal.
    """
    candidates, coin = _candidates(legal), rng.random()
    if coin < exploration.epsilon:
        return int(rng.choice(candidates))
    if coin < exploration.epsilon + exploration.top_probability:
        n_top = max(1, round(exploration.top_fraction * len(candidates)))
        best = np.argsort(q_values[candidates], kind="stable")[-n_top:]
        return int(rng.choice(candidates[best]))
    return greedy(q_values, legal)


def _candidates(legal: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices of the legal actions, of which there must be one."""
    candidates = np.flatnonzero(legal)
    if not len(candidates):
        raise ValueError("`legal` has no legal action but must have at least one")
    return candidates
