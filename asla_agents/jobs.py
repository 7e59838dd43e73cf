"""What a study on the command line is: a figure by its name, or a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asla_agents.experiments import EXPERIMENTS, SMOKE_RESTARTS, changed
from asla_agents.figures import NAMES
from asla_agents.study import Study

_RESTARTS = 10  # of a file, which advises none


@dataclass(frozen=True)
class Job:
    """A study to run."""

    study: Study
    """What is compared."""
    rows: Path
    """File of its rows, unless another is asked for."""
    restarts: int
    """Restarts of each arm, unless asked for otherwise."""


def rows_path(name: str) -> Path:
    """File in this directory of the rows of a figure; figures of one experiment share it."""
    return Path(f"{EXPERIMENTS[name].name if name in EXPERIMENTS else name}.rows.jsonl")


def job_of(
    spec: str, evaluator: str | None = None, episodes: int | None = None, smoke: bool = False, to_the_end: bool = False
) -> Job:
    """Find the study that is meant.

    Parameters
    ----------
    spec
        Name of a figure with an experiment, or path of a JSON file of `settings` and `arms`.
    evaluator, episodes, smoke, to_the_end
        As for `changes`.

    Raises
    ------
    ValueError
        If it is neither, or the file is wrong.
    """
    wanted: dict[str, Any] = {"evaluator": evaluator, "episodes": episodes, "smoke": smoke, "to_the_end": to_the_end}
    if spec in EXPERIMENTS:
        experiment = EXPERIMENTS[spec]
        restarts = SMOKE_RESTARTS if smoke else experiment.restarts
        return Job(changed(experiment.study, **wanted), rows_path(spec), restarts)
    if spec in NAMES:
        raise ValueError(f"`spec` is {spec!r}, which needs no search: `asla plot {spec}`")
    path = Path(spec)
    if not path.is_file():
        raise ValueError(f"`spec` is {spec!r} but must be a JSON file or one of {', '.join(EXPERIMENTS)}")
    study = Study.model_validate_json(path.read_text(encoding="utf-8"))
    return Job(changed(study, **wanted), path.with_suffix(".rows.jsonl"), SMOKE_RESTARTS if smoke else _RESTARTS)
