"""What the command line asks for: a study by the name of a figure or by a file, a search by a file and options."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from asla_agents.config import RunConfig
from asla_agents.experiments import EXPERIMENTS, MEASUREMENTS, SMOKE_RESTARTS, changed, generalisation, phases
from asla_agents.figures import NAMES
from asla_agents.figures.phases import median_seconds
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
    """File in this directory of the rows of a figure; all figures of searches share one, as they share arms."""
    return Path("figures.rows.jsonl" if name in EXPERIMENTS else f"{name}.rows.jsonl")


def job_of(
    spec: str, evaluator: str | None = None, episodes: int | None = None, smoke: bool = False, to_the_end: bool = False
) -> Job:
    """Find the study that is meant.

    Parameters
    ----------
    spec
        Name of a figure with an experiment, or path of a JSON or TOML file of `settings` and `arms`.
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
        known = ", ".join((*EXPERIMENTS, *MEASUREMENTS))
        raise ValueError(f"`spec` is {spec!r} but must be a JSON or TOML file or one of {known}")
    study = _study_in(path)
    return Job(changed(study, **wanted), path.with_suffix(".rows.jsonl"), SMOKE_RESTARTS if smoke else _RESTARTS)


def measure(
    name: str,
    path: Path,
    restarts: int | None = None,
    evaluator: str | None = None,
    episodes: int | None = None,
    smoke: bool = False,
) -> Iterator[str]:
    """Run what is missing of a figure whose rows are not those of searches; a line is said of each row as it comes.

    Parameters
    ----------
    name
        One of `MEASUREMENTS`.
    path
        File of rows.
    restarts
        Networks or agents of each arm; None: as advised.
    evaluator, episodes, smoke
        As for `changes`.

    Raises
    ------
    ValueError
        If a number is not at least 1, or there is a calculator where none is needed.
    """
    if name == phases.NAME:
        n = SMOKE_RESTARTS if smoke else phases.RESTARTS
        for row in phases.run(path, n if restarts is None else restarts, evaluator, episodes, smoke):
            seconds = median_seconds(phases.seconds_of([row], row["arm"]))
            told = ", ".join(f"{phase} {s:.3f} s" for phase, s in zip(phases.PHASES, seconds, strict=True))
            yield f"{row['arm']}, seed {row['seed']}: {told}"
        return
    if evaluator is not None or episodes is not None:
        raise ValueError(f"`spec` is {name!r}, which has neither calculator nor episodes")
    n = SMOKE_RESTARTS if smoke else generalisation.RESTARTS
    for row in generalisation.run(path, n if restarts is None else restarts):
        yield f"{row['arm']}, seed {row['seed']}: error {row['unseen_error']} at sites not seen"


def search_config(file: Path | None, options: dict[str, Any]) -> RunConfig:
    """Settings of a search: those of the options, then of a file, then the defaults.

    Parameters
    ----------
    file
        As for `RunConfig.load`; None: there is none.
    options
        Settings that were given on the command line.

    Raises
    ------
    ValueError
        If a setting or the file is wrong.
    """
    if file is None:
        return RunConfig(**options)
    others = {name: value for name, value in options.items() if name != "imagination"}
    config = RunConfig.load(file, **others)
    if options.get("imagination") is True and config.imagination is not None:
        return config  # switched on there, with settings of its own
    return RunConfig.load(file, **options)


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
            raise SettingsFileError(f"{path}, arm {arm!r}: {one_line(error, RunConfig)}") from error
    return study
