"""Whether our rows agree with what the paper says of two arms: which is earlier, or that they are alike."""

from collections.abc import Sequence

import numpy as np

from asla_agents.experiments import Experiment
from asla_agents.row_file import Row
from asla_agents.study import Study, curve_data, rows_of
from asla_agents.success import log_rank, success_curve

SIGNIFICANT = 0.05  # of the log-rank test


def verdicts(experiment: Experiment, study: Study, rows: Sequence[Row]) -> list[str]:
    """Say of each comparison of the paper whose arms both have rows whether it is the same here.

    Two arms are told apart if the log-rank test says so at the level of 5 %, without a correction for how many are
    compared. The earlier one is that with fewer episodes until success on average, up to where both have been run.
    """
    said = []
    for first, second in (*experiment.earlier, *experiment.alike):
        data = [curve_data(rows_of(study, arm, rows)) for arm in (first, second)]
        if all(episodes for _, episodes in data):
            p_value = log_rank(*data[0], *data[1])
            is_alike = (first, second) in experiment.alike  # which no test can prove
            what = f"{first} {'like' if is_alike else 'before'} {second}"
            said.append(f"{what}: {_order(data, p_value, is_alike)} (p = {p_value:.2g})")
    return said


def _order(data: Sequence[tuple[list[float], list[int]]], p_value: float, is_alike: bool) -> str:
    """Whether two arms are told apart, and which is the earlier one if the paper says so."""
    if p_value >= SIGNIFICANT:
        return "not told apart"
    if is_alike:
        return "told apart, unlike in the paper"
    end = min(max(episodes) for _, episodes in data)
    first, second = (mean_episodes(*each, end) for each in data)
    return "as in the paper" if first < second else "the other way round"


def mean_episodes(found_at: Sequence[float], episodes: Sequence[int], end: int) -> float:
    """Mean episodes until success, where those without one by `end` count as `end`: the area above the curve."""
    curve = success_curve(found_at, episodes)
    steps = np.clip(np.concatenate([[0], curve.episodes, [end]]), 0, end)
    return float(np.sum(np.diff(steps) * (1 - np.concatenate([[0], curve.probability]))))
