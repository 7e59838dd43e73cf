"""An experiment: a study with the problems and representations of a figure, and what the paper says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asla_agents.study import Study

GRAPHENE = {"env_id": "ASLA-Graphene-v0", "evaluator": "gfn1-xtb", "episodes": 1500, "stop_on_success": True}
GRAIN_BOUNDARY = {"env_id": "ASLA-GrainBoundary-v0", "evaluator": "xwch", "episodes": 5000, "stop_on_success": True}
NAPHTHALENE = {"env_id": "ASLA-Naphthalene-v0", "evaluator": "gfn1-xtb", "episodes": 10_000, "stop_on_success": True}
BORON_NITRIDE = {"env_id": "ASLA-BoronNitride-v0", "evaluator": "gfn1-xtb", "episodes": 1000, "stop_on_success": True}

ONE_HOT: dict[str, Any] = {"representation": "one-hot"}
AGR: dict[str, Any] = {"representation": "agr"}

SMOKE_RESTARTS = 2
SMOKE: dict[str, Any] = {"episodes": 3, "batch_size": 4, "gradient_steps": 1, "warmup_episodes": 1}
_SMOKE_WITHIN = {"pretrained": SMOKE, "imagination": {"first_updates": 1}}


@dataclass(frozen=True)
class Experiment:
    """Success of a few ways to draw atoms, over many restarts."""

    name: str
    """The figure, or the first of those that share it."""
    claim: str
    """What the paper shows, or what is asked beyond it."""
    study: Study
    """What is run."""
    restarts: int
    """Restarts of each arm that are advised."""
    paper_n50: Mapping[str, float] = field(default_factory=dict)
    """Episodes until half of the restarts know the structure, by arm, where the paper gives them."""
    earlier: Sequence[tuple[str, str]] = ()
    """Pairs of arms of which the first one finds the structure earlier, says the paper."""
    alike: Sequence[tuple[str, str]] = ()
    """Pairs of arms that do equally well, says the paper."""


def changes(
    evaluator: str | None = None, episodes: int | None = None, smoke: bool = False, to_the_end: bool = False
) -> dict[str, Any]:
    """Give the settings of a study that a user wants otherwise.

    Parameters
    ----------
    evaluator
        Name of the calculator; None: as it is.
    episodes
        Most episodes of a restart; None: as it is.
    smoke
        Whether to train so little, for three episodes, that it can only show that everything runs.
    to_the_end
        Whether to go on after a success until all episodes are used, which shows when the best structure known on the
        grid comes.
    """
    wanted = {"evaluator": evaluator, "episodes": episodes, "stop_on_success": False if to_the_end else None}
    return (SMOKE if smoke else {}) | {name: value for name, value in wanted.items() if value is not None}


def changed(study: Study, **wanted: Any) -> Study:
    """Change settings of a study, and in a smoke run those of searches that come first and of imagination too.

    Parameters
    ----------
    study
        As it is described.
    wanted
        As for `changes`.
    """
    study = study.changed(**changes(**wanted))
    if not wanted.get("smoke"):
        return study
    arms = {arm: _with_little_within(own) for arm, own in study.arms.items()}
    return study.model_copy(update={"settings": _with_little_within(study.settings), "arms": arms})


def _with_little_within(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose tables, of what is switched on, ask for as little as a smoke run."""
    is_on = {name: settings.get(name) not in (None, False) for name in _SMOKE_WITHIN}
    is_on["pretrained"] = bool(settings.get("pretrained"))  # {} is none; of imagination it is the defaults
    there = {name: settings[name] for name in _SMOKE_WITHIN if is_on[name]}
    small = {name: ({} if table is True else table) | _SMOKE_WITHIN[name] for name, table in there.items()}
    return {**settings, **small}


def gaussian(width_over_spacing: float | list[float], **kwargs: Any) -> dict[str, Any]:
    """Settings of an arm whose atoms are Gaussians."""
    return {"representation": "gaussian", "representation_kwargs": {"width_over_spacing": width_over_spacing, **kwargs}}
