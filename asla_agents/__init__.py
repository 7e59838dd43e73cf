"""Agents that learn to build atomistic structures: representations, Q-maps and the ASLA algorithm."""

from asla_agents import equations, representations
from asla_agents.asla import ASLA

__all__ = ["ASLA", "equations", "representations"]
