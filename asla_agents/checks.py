"""What an agent's settings and environment must fulfil; every rule that is broken is a ValueError."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from asla_agents.build_vec_env import BuildVecEnv
from asla_agents.drawing import Representation
from asla_agents.ranges import check_at_least
from asla_agents.representations import REPRESENTATIONS
from asla_env.problem import Problem

if TYPE_CHECKING:
    from asla_agents.asla import ASLA


def check_settings(model: ASLA) -> None:
    """Raise ValueError if a number is out of its range."""
    check_at_least(model, 1, "batch_size")
    check_at_least(model, 0, "gradient_steps")
    if not callable(model.learning_rate) and not 0 < model.learning_rate < np.inf:
        raise ValueError(f"`learning_rate` is {model.learning_rate} but must be positive and finite")
    if not model.max_grad_norm > 0:
        raise ValueError(f"`max_grad_norm` is {model.max_grad_norm} but must be positive")
    if model.seed is not None and not 0 <= model.seed < 2**32:
        raise ValueError(f"`seed` is {model.seed} but must lie in [0, 2**32)")


def problem_of(env: VecEnv) -> Problem:
    """Problem of the only environment, or of all builds that go on together."""
    try:
        problems = env.get_attr("problem")
    except AttributeError as error:
        raise ValueError("`env` has no `problem` but must be an asla_env.AtomPlacementEnv") from error
    if len(problems) != 1 and not isinstance(env.unwrapped, BuildVecEnv):
        raise ValueError(f"`env` holds {len(problems)} environments but must hold one, or be a BuildVecEnv")
    problem: Problem = problems[0]
    return problem


def representation_class(representation: str | type[Representation]) -> type[Representation]:
    """Class of a representation given by name."""
    if isinstance(representation, type):
        return representation
    if representation not in REPRESENTATIONS:
        raise ValueError(f"`representation` is {representation!r} but must be one of {tuple(REPRESENTATIONS)}")
    return REPRESENTATIONS[representation]
