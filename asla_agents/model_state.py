"""What an agent is, in a form that a checkpoint can hold, and an agent made from it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from asla_agents.checkpoint import CheckpointError, State, fits_json
from asla_agents.exploration import Exploration
from asla_agents.explorer import Explorer
from asla_agents.imagination import Imagination, ImaginationSettings
from asla_agents.network_settings import named, unnamed
from asla_agents.q_map import QMapPolicy
from asla_agents.replay import ReplaySettings
from asla_agents.representations import REPRESENTATIONS
from asla_env.problem import Problem

if TYPE_CHECKING:
    from asla_agents.asla import ASLA

_MADE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "network_kwargs": unnamed,
    "exploration": lambda settings: Exploration(**settings),
    "replay": lambda settings: ReplaySettings(**settings),
    "imagination": lambda settings: ImaginationSettings(**settings),
}
_NAMES: dict[Any, str] = {cls: name for name, cls in REPRESENTATIONS.items()}


def state_of(model: ASLA) -> State:
    """All that an agent is between two episodes: going on from it is as if it had never stopped."""
    settings = settings_of(model)
    held = {name: value for name, value in settings.items() if fits_json(value)}
    plain = {
        "problem": description_of(model.problem),
        "calculator": model.calculator,
        "settings": held,
        "not_held": sorted(set(settings) - set(held)),
        "counters": {"steps": model.num_timesteps, "episodes": model.episodes, "updates": model.updates},
        "explorer": model.explorer.state(),
    }
    return State(plain, tensors_of(model.q_map, model.explorer, model.imagination))


def tensors_of(policy: QMapPolicy, explorer: Explorer, imagination: Imagination | None) -> dict[str, Any]:
    """Weights and optimisers of a search."""
    return {
        "policy": {name: values.clone() for name, values in policy.state_dict().items()},  # it may share its memory
        "optimizer": policy.optimizer.state_dict(),
        "best": explorer.best.weights if explorer.best else {},
        "imagination": imagination.state() if imagination else {},
    }


def settings_in(state: State, custom_objects: dict[str, Any] | None = None) -> dict[str, Any]:
    """Arguments with which `ASLA` makes an agent of the same settings.

    Parameters
    ----------
    state
        What a checkpoint holds.
    custom_objects
        Settings that a file cannot hold, such as classes of one's own, by name.

    Raises
    ------
    CheckpointError
        If one of these is missing.
    """
    given = custom_objects or {}
    missing = [name for name in state.plain["not_held"] if name not in given]
    if missing:
        raise CheckpointError(
            f"`custom_objects` is {given} but must hold {', '.join(missing)}, which the file of the checkpoint cannot"
        )
    settings = dict(state.plain["settings"])
    for name, made in _MADE.items():
        if settings.get(name) is not None:  # it is held, and switched on
            settings[name] = made(settings[name])
    return settings | given


def restore(model: ASLA, state: State) -> None:
    """Make of a new agent the one whose state it was.

    Raises
    ------
    CheckpointError
        If the agent has another problem, or something in the state does not fit.
    """
    check_problem(state, model.problem)
    restore_search(model.q_map, model.explorer, model.imagination, state)
    model.calculator = state.plain["calculator"]
    model.set_counters(**state.plain["counters"])


def restore_search(policy: QMapPolicy, explorer: Explorer, imagination: Imagination | None, state: State) -> None:
    """Give network, explorer and imagination what `tensors_of` and `Explorer.state` said of those of a search."""
    tensors = state.tensors
    policy.load_state_dict(tensors["policy"])
    policy.optimizer.load_state_dict(tensors["optimizer"])
    explorer.restore(state.plain["explorer"], tensors["best"])
    if imagination is not None:
        imagination.restore(tensors["imagination"], explorer.problem, policy.features_extractor)


def settings_of(model: ASLA) -> dict[str, Any]:
    """Arguments that made the agent, environment and device aside."""
    explorer, imagination = model.explorer, model.imagination
    return {
        "policy": "QMapPolicy" if model.policy_class is QMapPolicy else model.policy_class,
        "representation": _NAMES.get(model.representation) or model.representation,
        "representation_kwargs": model.representation_kwargs,
        "network_kwargs": named(model.network_kwargs),
        "state_value": model.network_kwargs["state_value"],
        "learning_rate": model.learning_rate,
        "batch_size": model.batch_size,
        "gradient_steps": model.gradient_steps,
        "warmup_episodes": explorer.warmup_episodes,
        "patience": explorer.patience,
        "exploration": asdict(explorer.exploration),
        "replay": asdict(explorer.builds.settings),
        "augment": explorer.augment,
        "max_grad_norm": model.max_grad_norm,
        "imagination": asdict(imagination.settings) if imagination else None,
        "seed": model.seed,
        **model.base_settings,
    }


def check_problem(state: State, problem: Problem) -> None:
    """Raise CheckpointError if a state is of a search of another problem."""
    there, here = state.plain["problem"], description_of(problem)
    if there != here:
        names = [name for name in here if there.get(name) != here[name]]
        raise CheckpointError(
            f"`env` has another {', '.join(names)} than the problem that the checkpoint was made with"
        )


def description_of(problem: Problem) -> dict[str, Any]:
    """What must be the same for a search to go on."""
    return {
        "fingerprint": problem.fingerprint.hex(),
        "reference": problem.reference_key.hex(),
        "success_window": problem.success_window,
        "to_place": dict(problem.to_place),
        "minimum_distance": problem.minimum_distance,
        "maximum_distance": problem.maximum_distance,
    }
