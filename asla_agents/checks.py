"""What an agent's settings and environment must fulfil; every rule that is broken is a ValueError."""

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
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
from asla_env.action import action_mask
from asla_env.calculator_spec import CalculatorSpec
from asla_env.observation import placed_sites
from asla_env.problem import Problem

_GROUPS = {"exploration": Exploration, "replay": ReplaySettings, "imagination": ImaginationSettings}

_ARGUMENTS = {
    "features_extractor_class": "`representation` instead",
    "features_extractor_kwargs": "`representation_kwargs` instead",
    "network_kwargs": "the argument `network_kwargs` instead",
    "grid": "nothing, as it is that of the problem",
}


def checked_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `ASLA` as `RunConfig` makes them: 32.0 is 32.

    Raises
    ------
    ValueError
        If one is of another kind or out of its range.
    """
    for name, kind in _GROUPS.items():
        is_off = name == "imagination" and settings[name] is None
        if not (isinstance(settings[name], kind) or is_off):
            raise ValueError(f"`{name}` is {settings[name]!r} but must be of type {kind.__name__}")
    given = {name: _plain(value) for name, value in settings.items()}
    if callable(given["learning_rate"]):
        del given["learning_rate"]  # a schedule
    if given["seed"] is None:
        del given["seed"]
    try:
        config = RunConfig(env_id=next(iter(IDS)), **given)
    except ValidationError as error:
        raise ValueError(one_line(error, RunConfig)) from error
    return settings | {name: getattr(config, name) for name in given}


def _plain(value: Any) -> Any:
    """Settings of a group by their names, and numbers of numpy as those of Python."""
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
    return value.item() if isinstance(value, np.generic) else value


def check_representation(representation: str | type[Representation], settings: dict[str, Any]) -> None:
    """Raise ValueError if there is no such representation, or it does not have these settings."""
    representation_class(representation)
    if isinstance(representation, str) and fits_json(settings):  # others, such as arrays, it looks at itself
        check_representation_kwargs(representation, settings)


def check_policy_kwargs(policy_kwargs: dict[str, Any]) -> None:
    """Raise ValueError if `policy_kwargs` has what is an argument of `ASLA` itself."""
    for name, argument in _ARGUMENTS.items():
        if name in policy_kwargs:
            raise ValueError(f"`policy_kwargs` has `{name}` but must leave it out: give {argument}")


def problem_of(env: VecEnv) -> Problem:
    """Problem of the only environment, or of all builds that go on together."""
    try:
        problems = env.get_attr("problem")
    except AttributeError as error:
        raise ValueError("`env` has no `problem` but must be an asla_env.AtomPlacementEnv") from error
    if len(problems) != 1 and not isinstance(env.unwrapped, BuildVecEnv):
        raise ValueError(f"`env` holds {len(problems)} environments but must hold one, or be a BuildVecEnv")
    problem: Problem = problems[0]
    images = spaces.MultiBinary([len(problem.species), *problem.grid.shape])
    if env.observation_space != images:
        raise ValueError(
            f"`env` shows {env.observation_space} but must show the images of asla_env.AtomPlacementEnv, {images}"
        )
    return problem


def check_calculator(calculator: CalculatorSpec, before: str | None) -> None:
    """Raise ValueError unless a calculator is the one of whose energies was learned, if there was any."""
    if before not in (None, calculator.description):
        raise ValueError(
            f"`env` has the calculator {calculator.description} but must have {before}, of whose energies was learned; "
            "in brackets is a digest of its settings, versions and files"
        )


def representation_class(representation: str | type[Representation]) -> type[Representation]:
    """Class of a representation given by name."""
    if isinstance(representation, type) and issubclass(representation, Representation):
        return representation
    if not isinstance(representation, str) or representation not in REPRESENTATIONS:
        known = tuple(REPRESENTATIONS)
        raise ValueError(f"`representation` is {representation!r} but must be one of {known} or a Representation")
    return REPRESENTATIONS[representation]


def checked_masks(
    action_masks: ArrayLike | None, images: NDArray[Any], batch_shape: tuple[int, ...], problem: Problem
) -> NDArray[np.bool_]:
    """Legal actions of images, shape (images, actions).

    Parameters
    ----------
    action_masks
        What was given, shape (batch_shape..., actions); read off the images if None.
    images
        One-hot images, shape (images, species, x, y[, z]).
    batch_shape
        Shape of the batch, () for a single image.
    problem
        What is built.

    Raises
    ------
    ValueError
        If the shape is another one, or the only image has no legal action.
    """
    if action_masks is None:
        action_masks = [action_mask(placed_sites(image, problem), problem) for image in images]
    masks, expected = np.asarray(action_masks).astype(bool), (*batch_shape, problem.n_actions)
    if masks.shape not in (expected, (len(images), problem.n_actions)):
        raise ValueError(f"`action_masks` has shape {masks.shape} but must have shape {expected}")
    masks = masks.reshape(len(images), problem.n_actions)
    if not batch_shape and not masks.any():
        raise ValueError("`observation` has no legal action but must be of a structure that is not finished")
    return masks


def check_device(device: torch.device | str) -> None:
    """Raise ValueError unless networks can be there."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # the former if torch was built without it
        reason = str(error).partition("\n")[0]
        raise ValueError(f"`device` is {device!r} but must be one of this machine and its torch: {reason}") from error
