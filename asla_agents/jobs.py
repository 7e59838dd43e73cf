"""What the command line asks for: a study by the name of a figure or by a file, a search by a file and options."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from asla_agents.config import SearchConfig
from asla_agents.experiments import EXPERIMENTS, SMOKE_RESTARTS, changes
from asla_agents.figures import NAMES
from asla_agents.settings_error import one_line
from asla_agents.settings_file import SettingsFileError, read_settings
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


def job_of(spec: str, evaluator: str | None, episodes: int | None, smoke: bool) -> Job:
    """Find the study that is meant.

    Parameters
    ----------
    spec
        Name of a figure with an experiment, or path of a JSON or TOML file of `settings` and `arms`.
    evaluator, episodes, smoke
        As for `changes`.

    Raises
    ------
    ValueError
        If it is neither, or the file is wrong.
    """
    changed = changes(evaluator, episodes, smoke)
    if spec in EXPERIMENTS:
        experiment = EXPERIMENTS[spec]
        restarts = SMOKE_RESTARTS if smoke else experiment.restarts
        return Job(experiment.study.changed(**changed), rows_path(spec), restarts)
    if spec in NAMES:
        raise ValueError(f"`spec` is {spec!r}, which needs no search: `asla plot {spec}`")
    path = Path(spec)
    if not path.is_file():
        raise ValueError(f"`spec` is {spec!r} but must be a JSON or TOML file or one of {', '.join(EXPERIMENTS)}")
    study = _study_in(path)
    return Job(study.changed(**changed), path.with_suffix(".rows.jsonl"), SMOKE_RESTARTS if smoke else _RESTARTS)


def search_config(file: Path | None, options: dict[str, Any]) -> SearchConfig:
    """Settings of a search: those of the options, then of a file, then the defaults.

    Parameters
    ----------
    file
        As for `SearchConfig.load`; None: there is none.
    options
        Settings that were given on the command line.

    Raises
    ------
    ValueError
        If a setting or the file is wrong.
    """
    if file is None:
        return SearchConfig(**options)
    others = {name: value for name, value in options.items() if name != "imagination"}
    config = SearchConfig.load(file, **others)
    if options.get("imagination") is True and config.imagination is not None:
        return config  # switched on there, with settings of its own
    return SearchConfig.load(file, **options)


def _study_in(path: Path) -> Study:
    """The study that a file describes."""
    try:
        study = Study(**read_settings(path))
    except ValidationError as error:
        raise SettingsFileError(f"{path}: {one_line(error, Study)}") from error
    for arm in study.arms:
        try:
            study.config(arm, seed=0)
        except ValidationError as error:
            raise SettingsFileError(f"{path}, arm {arm!r}: {one_line(error, SearchConfig)}") from error
    return study
