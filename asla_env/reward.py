"""Rewards for finished structures: pure functions of one signature.

Energies are in eV. Of an energy that is nan the reward is nan.
"""

from collections.abc import Callable
from functools import partial
from math import inf
from numbers import Real
from typing import TypeAlias

import numpy as np

RewardFunction: TypeAlias = Callable[[float, float, int], float]
"""``(energy, reference_energy, n_placed) -> reward``, with the number of atoms placed."""


def scaled(energy: float, reference_energy: float, n_placed: int, window: float = 10.0) -> float:
    """1 - 2 (E - E_ref) / (n w), clipped to [-1, 1].

    +1 at the reference and below it, -1 from a window w above it on; w, `window`, is in eV per placed atom.
    """
    return float(np.clip(1 - 2 * (energy - reference_energy) / (n_placed * window), -1, 1))


def negative_energy(energy: float, reference_energy: float, n_placed: int) -> float:
    """-E / n, in eV per placed atom; the reference is not used."""
    return -energy / n_placed


REWARDS: dict[str, RewardFunction] = {"scaled": scaled, "energy": negative_energy}


def reward_function(name_or_callable: str | RewardFunction, reward_window: float = 10.0) -> RewardFunction:
    """Reward function by name.

    Parameters
    ----------
    name_or_callable : str or callable
        A name from `REWARDS`, or a function, which is returned as it is.
    reward_window : float
        The window of ``"scaled"`` in eV per placed atom; the others have none.

    Raises
    ------
    ValueError
        If no reward has this name, or `reward_window` is not positive and finite.
    TypeError
        If it is neither a name nor a function.
    """
    if not (isinstance(reward_window, Real) and not isinstance(reward_window, bool) and 0 < reward_window < inf):
        raise ValueError(f"`reward_window` is {reward_window!r} eV but must be positive and finite")
    if callable(name_or_callable):
        return name_or_callable
    if not isinstance(name_or_callable, str):
        given = type(name_or_callable).__name__
        raise TypeError(f"`reward` is of type {given} but must be a name or a function")
    if name_or_callable not in REWARDS:
        known = ", ".join(map(repr, REWARDS))
        raise ValueError(f"`reward` is {name_or_callable!r} but must be one of {known}")
    function = REWARDS[name_or_callable]
    return partial(scaled, window=reward_window) if function is scaled else function
