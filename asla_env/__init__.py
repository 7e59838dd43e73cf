"""Gymnasium environments for building atomistic structures; importing this package registers their ids."""

import logging

from asla_env import problems
from asla_env.env import AtomPlacementEnv
from asla_env.evaluator import Evaluator
from asla_env.grid import Grid
from asla_env.ids import IDS, register
from asla_env.problem import Problem
from asla_env.vector import AtomPlacementVectorEnv

__all__ = ["IDS", "AtomPlacementEnv", "AtomPlacementVectorEnv", "Evaluator", "Grid", "Problem", "problems"]

logging.getLogger(__name__).addHandler(logging.NullHandler())  # who wants to see them asks for them

register()
