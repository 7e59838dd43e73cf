"""Every figure in one table: how to make it, what the paper shows, what our rows say, and whether that is the same."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asla_agents.callbacks import read_rows
from asla_agents.experiments import EXPERIMENTS, MEASUREMENTS, Experiment, generalisation, phases
from asla_agents.figures.agreement import verdicts
from asla_agents.figures.curves import n50_text
from asla_agents.figures.draw import DRAWINGS, NAMES
from asla_agents.figures.learned import after
from asla_agents.figures.phases import median_seconds
from asla_agents.row_file import Row
from asla_agents.study import Study, curve_data, earlier, read_study_rows, rows_of
from asla_agents.success import n50
from asla_env import calculators

NO_ROWS = "no rows yet"
_ARM_OF = {"fig6c": 0, "fig6d": 1, "fig6e": 2}  # whose coefficients a figure shows


def markdown(directory: Path) -> str:
    """Make the table from files of rows.

    Parameters
    ----------
    directory
        Where ``figures.jsonl`` or ``figures.rows.jsonl``, the rows of searches, and those of measurements such as
        ``fig3.jsonl`` are; without its file a figure has no rows.

    Raises
    ------
    ValueError
        If none of them is there, or a line is damaged.
    """
    if not any(_file(name, directory).is_file() for name in (*MEASUREMENTS, *EXPERIMENTS)):
        known = ", ".join(f"{stem}.jsonl" for stem in ("figures", *MEASUREMENTS))
        raise ValueError(f"`directory` is {directory} but must hold files of rows: one of {known}")
    lines = ["| figure | commands | the paper, or the question | ours |", "|---|---|---|---|"]
    for name in NAMES:
        commands = f"`asla plot {name}`" if name in DRAWINGS else f"`asla study {name}`<br>`asla plot {name}`"
        lines.append(f"| {name} | {commands} | {claim(name)} | {_ours(name, directory)} |")
    return "\n".join(lines) + "\n"


def claim(name: str) -> str:
    """What the paper shows in a figure, one of `NAMES`, or what is asked beyond it."""
    if name in DRAWINGS:
        return DRAWINGS[name].claim
    if name in _CLAIMS:
        return _CLAIMS[name]
    experiment = EXPERIMENTS[name]
    if name in _ARM_OF:
        return f"The coefficients of {list(experiment.study.arms)[_ARM_OF[name]]}, see {experiment.name}."
    return experiment.claim


def rows_in(name: str, directory: Path) -> list[Row]:
    """Rows of a figure, one of `NAMES`, and others among them; none if it needs none, or its file is not there.

    Raises
    ------
    ValueError
        If a line is damaged.
    """
    return [] if name in DRAWINGS else read_figure_rows(name, _file(name, directory))


def read_figure_rows(name: str, path: Path) -> list[Row]:
    """Rows in a file, which must be such as a figure, one of `NAMES` that needs rows, is drawn from.

    Raises
    ------
    ValueError
        If a line is damaged, or something else.
    """
    return read_rows(path, MEASUREMENTS[name]) if name in MEASUREMENTS else read_study_rows(path)


def _file(name: str, directory: Path) -> Path:
    """File of the rows of a figure: as it is committed, or else as `asla study` calls it."""
    stem = name if name in MEASUREMENTS else "figures"
    committed = directory / f"{stem}.jsonl"
    return committed if committed.is_file() else directory / f"{stem}.rows.jsonl"


def _ours(name: str, directory: Path) -> str:
    """What our rows say, by each calculator that has rows, with the present defaults and with those of before."""
    if name in DRAWINGS:
        return "computed as it is drawn"
    rows = rows_in(name, directory)
    if name in _MEASURED:
        return "<br>".join(_MEASURED[name](rows)) or NO_ROWS
    lines = list[str]()
    for evaluator in calculators.names():
        study = EXPERIMENTS[name].study.changed(evaluator=evaluator)
        lines += [f"{evaluator}, {line}" for line in _lines(name, study, rows)]
        lines += [f"{evaluator}, defaults of before, {line}" for line in _lines(name, earlier(study), rows)]
    return "<br>".join(lines) or NO_ROWS


def _lines(name: str, study: Study, rows: Sequence[Row]) -> list[str]:
    """A line for each arm that has rows, and one for each comparison."""
    experiment = EXPERIMENTS[name]
    arms = list(study.arms)[_ARM_OF[name] :][:1] if name in _ARM_OF else list(study.arms)
    by_arm = {arm: rows_of(study, arm, rows) for arm in arms}
    say = _SAYS.get(name, _success)
    lines = [f"{arm}: {say(experiment, arm, its_rows)}" for arm, its_rows in by_arm.items() if its_rows]
    return lines if name in _SAYS else lines + verdicts(experiment, study, rows)


def _errors(rows: Sequence[Row]) -> list[str]:
    """Mean error and its standard deviation, of each arm."""
    lines = []
    for arm in generalisation.ARMS:
        errors = [row["unseen_error"] for row in rows if row["arm"] == arm]
        if errors:
            lines.append(f"{arm}: error {_mean(errors)} at sites not seen (1 is Q = 0), n = {len(errors)}")
    return lines


def _phases(rows: Sequence[Row]) -> list[str]:
    """Median seconds of each phase, of each arm with each calculator."""
    lines = []
    for evaluator in dict.fromkeys(row["evaluator"] for row in rows):
        for arm in phases.ARMS:
            times = phases.seconds_of(phases.rows_of(rows, evaluator), arm)
            if len(times):
                seconds = ", ".join(f"{s:.2f}" for s in median_seconds(times))
                evaluation = median_seconds(times)[1] / median_seconds(times).sum()
                told = f"{seconds} s, evaluation {evaluation:.0%}, medians, n = {len(times)}"
                lines.append(f"{evaluator}, {arm}: {told}")
    return lines


def _success(experiment: Experiment, arm: str, rows: Sequence[Row]) -> str:
    """n50, its interval, and how many restarts succeeded; and the paper's n50."""
    found_at, episodes = curve_data(rows)
    known = len(found_at) - int(np.isnan(found_at).sum())
    paper = f"; paper {experiment.paper_n50[arm]:g}" if arm in experiment.paper_n50 else ""
    half = n50_text(n50(found_at, episodes), max(episodes))
    return f"n50 {half}, {known} of {len(rows)} found{paper}{_exact(rows)}"


def _exact(rows: Sequence[Row]) -> str:
    """How many restarts had the best structure known on the grid, and the n50 of it if none stopped at a success."""
    rows = [row for row in rows if "exact_at" in row]
    if not rows:
        return ""
    exact_at, episodes = curve_data(rows, "exact_at")
    text = f"; best on grid: {len(rows) - int(np.isnan(exact_at).sum())} of {len(rows)}"
    if any(row["episodes"] < row.get("budget", math.inf) and row["exact_at"] is None for row in rows):
        return f"{text} when they stopped"
    return f"{text}, n50 {n50_text(n50(exact_at, episodes), max(episodes))}"


def _coefficients(_experiment: Experiment, _arm: str, rows: Sequence[Row]) -> str:
    """Which mean coefficient is the largest."""
    values = np.array([row["learned"]["coefficients"][0] for row in rows])  # [restart, i]
    largest = int(np.abs(values.mean(axis=0)).argmax())
    return f"largest mean c_i is that of λ_{largest + 1}, {_mean(values[:, largest])}, n = {len(values)}, {after(rows)}"


def _widths(_experiment: Experiment, _arm: str, rows: Sequence[Row]) -> str:
    """Where the widths end."""
    ends = [row["learned"]["width_over_spacing"][0] for row in rows]
    return f"ends at λ/Δ = {_mean(ends)}, n = {len(rows)}, {after(rows)}"


def _mean(values: Sequence[float] | NDArray[np.float64]) -> str:
    """Mean and standard deviation."""
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


_CLAIMS = {generalisation.NAME: generalisation.CLAIM, phases.NAME: phases.CLAIM}
_MEASURED: dict[str, Callable[[Sequence[Row]], list[str]]] = {generalisation.NAME: _errors, phases.NAME: _phases}
_SAYS: dict[str, Callable[[Experiment, str, Sequence[Row]], str]] = {
    **dict.fromkeys(_ARM_OF, _coefficients),
    "trainable-width": _widths,
}
