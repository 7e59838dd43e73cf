"""Many settings at a glance: how many episodes each arm of a study takes, and whether that differs from the first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from asla_agents.experiments import Experiment
from asla_agents.figures.curves import curves_of
from asla_agents.figures.style import COLOURS, GREY, as_it_is, new_figure
from asla_agents.row_file import Row
from asla_agents.study import Study
from asla_agents.success import log_rank, n50

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS_PER_ARM = 0.055  # height in panels
_LEVEL = 0.05


def episodes_of_arms(experiment: Experiment, study: Study, rows: Sequence[Row]) -> Figure:
    """Draw n50 of each arm with its interval, a line each, in the order of the study.

    Arms that the log-rank test tells from the first one at 5 %, without a correction for their number, are coloured.
    What was not reached is an arrow at the end of the longest restart of the arm.
    """
    curves = curves_of(experiment, study, rows)
    is_first_there = curves[0][0] == next(iter(study.arms))
    figure = new_figure(columns=1.6, rows=0.35 + _ROWS_PER_ARM * len(curves))
    axes = figure.subplots()
    labels, first = list[str](), curves[0]
    for y, (arm, found_at, episodes) in enumerate(curves):
        half, end = n50(found_at, episodes), max(episodes)
        is_compared = is_first_there and y > 0
        p_value = log_rank(found_at, episodes, *first[1:]) if is_compared else math.nan
        colour = COLOURS[1] if p_value < _LEVEL else COLOURS[0] if is_first_there and not y else GREY
        value, low, high = (min(number, end) for number in (half.value, half.low, half.high))
        axes.plot([low, high], [y, y], color=colour, linewidth=1)
        axes.plot(value, y, ">" if np.isinf(half.value) else "o", color=colour, markersize=4)
        if np.isinf(half.high) and np.isfinite(half.value):
            axes.plot(end, y, ">", color=colour, markersize=4, markerfacecolor="white")
        n_found = int(np.isfinite(found_at).sum())
        labels.append(
            f"{as_it_is(arm)}: {n_found} of {len(found_at)}" + (f", p = {p_value:.2g}" if is_compared else "")
        )
    if is_first_there:
        axes.axvline(min(n50(*first[1:]).value, max(first[2])), color=COLOURS[0], linewidth=0.5, zorder=0)
    axes.set_yticks(range(len(curves)), labels)
    axes.set(
        xlabel="n50 (episodes)",
        xlim=(0, 1.05 * max(max(episodes) for _, _, episodes in curves)),
        ylim=(len(curves) - 0.5, -0.5),
    )
    return figure
