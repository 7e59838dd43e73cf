"""Gymnasium environments for building atomistic structures; importing this package registers their ids."""

import logging

import gymnasium as gym

from asla_env import problems
from asla_env.env import AtomPlacementEnv
from asla_env.evaluator import Evaluator
from asla_env.grid import Grid
from asla_env.problem import Problem
from asla_env.vector import AtomPlacementVectorEnv

__all__ = ["IDS", "AtomPlacementEnv", "AtomPlacementVectorEnv", "Evaluator", "Grid", "Problem", "problems"]

logging.getLogger(__name__).addHandler(logging.NullHandler())  # who wants to see them asks for them

IDS = {
    "ASLA-Graphene-v0": "graphene",
    "ASLA-GrapheneMini-v0": "graphene-mini",
    "ASLA-GrainBoundary-v0": "grain-boundary",
    "ASLA-Naphthalene-v0": "naphthalene",
}

for _id, _problem in IDS.items():
    gym.register(
        id=_id,
        entry_point="asla_env.env:AtomPlacementEnv",
        vector_entry_point="asla_env.vector:AtomPlacementVectorEnv",
        kwargs={"problem": _problem},
    )
