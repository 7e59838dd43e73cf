"""What an agent's settings and environment must fulfil; every rule that is broken is a ValueError."""

from typing import Any

import numpy as np
from pydantic import ValidationError
from stable_baselines3.common.vec_env import VecEnv

from asla_agents.build_vec_env import BuildVecEnv
from asla_agents.checkpoint import fits_json
from asla_agents.config import RunConfig
from asla_agents.drawing import Representation
from asla_agents.exploration import Exploration
from asla_agents.imagination import ImaginationSettings
from asla_agents.replay import ReplaySettings
from asla_agents.representation_settings import check_representation_kwargs
from asla_agents.representations import REPRESENTATIONS
from asla_agents.settings_error import one_line
from asla_env import IDS
from asla_env.problem import Problem

_GROUPS = {"exploration": Exploration, "replay": ReplaySettings, "imagination": ImaginationSettings}


def check_settings(settings: dict[str, Any]) -> None:
    """Raise ValueError if an argument of `ASLA` is of another kind or out of its range, by the rules of `RunConfig`."""
    for name, kind in _GROUPS.items():
        is_off = name == "imagination" and settings[name] is None
        if not (isinstance(settings[name], kind) or is_off):
            raise ValueError(f"`{name}` is {settings[name]!r} but must be of type {kind.__name__}")
    single = {name: value for name, value in settings.items() if name not in _GROUPS}
    if callable(single["learning_rate"]):
        del single["learning_rate"]  # a schedule
    if single["seed"] is None:
        del single["seed"]
    single = {name: value.item() if isinstance(value, np.generic) else value for name, value in single.items()}
    try:
        RunConfig(env_id=next(iter(IDS)), **single)
    except ValidationError as error:
        raise ValueError(one_line(error, RunConfig)) from error


def check_representation(representation: str | type[Representation], settings: dict[str, Any]) -> None:
    """Raise ValueError if there is no such representation, or it does not have these settings."""
    representation_class(representation)
    if isinstance(representation, str) and fits_json(settings):  # others, such as arrays, it looks at itself
        check_representation_kwargs(representation, settings)


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


def calculator_of(env: VecEnv) -> str:
    """Name of the calculator of an environment, with the settings that it was given."""
    spec = env.get_attr("evaluator")[0].spec
    return f"{spec.name} with {dict(spec.settings)}" if spec.settings else spec.name


def representation_class(representation: str | type[Representation]) -> type[Representation]:
    """Class of a representation given by name."""
    if isinstance(representation, type) and issubclass(representation, Representation):
        return representation
    if not isinstance(representation, str) or representation not in REPRESENTATIONS:
        known = tuple(REPRESENTATIONS)
        raise ValueError(f"`representation` is {representation!r} but must be one of {known} or a Representation")
    return REPRESENTATIONS[representation]
