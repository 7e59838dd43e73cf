"""Gymnasium ids of problems: ours, and those that other modules register."""

from typing import Any

import gymnasium as gym
from ase.calculators.calculator import Calculator

from asla_env.env import AtomPlacementEnv
from asla_env.evaluator import Evaluator
from asla_env.problem import Problem

IDS = {
    "ASLA-Graphene-v0": "graphene",
    "ASLA-GrapheneMini-v0": "graphene-mini",
    "ASLA-GrainBoundary-v0": "grain-boundary",
    "ASLA-Naphthalene-v0": "naphthalene",
    "ASLA-BoronNitride-v0": "boron-nitride",
}


def register() -> None:
    """Register our ids, alone and as vector environments."""
    for env_id, problem in IDS.items():
        gym.register(
            id=env_id,
            entry_point="asla_env.env:AtomPlacementEnv",
            vector_entry_point="asla_env.vector:AtomPlacementVectorEnv",
            kwargs={"problem": problem},
        )


def check_id(env_id: str) -> None:
    """Raise ValueError unless an id is registered or has the form ``module:id``; nothing is imported."""
    module, _, name = env_id.partition(":")
    is_path = name and all(map(str.isidentifier, module.split(".")))
    if env_id not in gym.registry and not is_path:
        raise ValueError(
            f"`env_id` is {env_id!r} but must be one of {', '.join(IDS)}, another one that is registered, or one with "
            "the module that registers it, such as 'mine:Benzene-v0'"
        )


def make(env_id: str, **settings: Any) -> AtomPlacementEnv:
    """Make an environment without wrappers; `gym.make` and its kin make them with those that are registered.

    Parameters
    ----------
    env_id
        An id that is registered, or ``module:id``, which imports the module first.
    settings
        Arguments of `AtomPlacementEnv`.

    Raises
    ------
    ValueError
        If there is no such id or module, or it is of an environment of another kind.
    """
    check_id(env_id)
    try:
        env = gym.make(env_id, **settings).unwrapped
    except (gym.error.Error, ImportError, TypeError) as error:
        raise ValueError(f"`env_id` is {env_id!r} but must be an id that can be made: {error}") from error
    if not isinstance(env, AtomPlacementEnv):
        raise ValueError(f"`env_id` is {env_id!r} but must be the id of an asla_env.AtomPlacementEnv")
    return env


def problem_of_id(env_id: str) -> Problem:
    """Make the problem of an id, whatever calculators are there; raises as `make` does."""
    return make(env_id, evaluator=Evaluator(no_calculator)).problem


def no_calculator() -> Calculator:
    """In place of the calculator, which need not be installed to look at what it did."""
    raise RuntimeError("what is looked at computes no energy")
