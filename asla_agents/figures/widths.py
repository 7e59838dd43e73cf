"""Fig. 2(b): how many episodes it takes, against the width of the Gaussians."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from asla_agents.experiments import Experiment
from asla_agents.figures.curves import curves_of
from asla_agents.figures.style import COLOURS, GREY, new_figure
from asla_agents.row_file import Row
from asla_agents.study import Study
from asla_agents.success import Interval, n50

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BEST_OVER_SPACING = 1.25  # the paper's


def episodes_against_width(experiment: Experiment, study: Study, rows: Sequence[Row]) -> Figure:
    """Draw n50 of each width with its interval, one-hot at the width 0 that it is the limit of.

    Where half of the restarts were not reached, a triangle stands at the end of the longest of that width.
    """
    figure = new_figure(rows=1.1)
    axes = figure.subplots()
    curves = curves_of(experiment, study, rows)
    for arm, found_at, episodes in curves:
        width = study.config(arm, 0).representation_kwargs.get("width_over_spacing", 0.0)
        _draw_point(axes, width, n50(found_at, episodes), max(episodes))
        if arm in experiment.paper_n50:
            axes.plot(width, experiment.paper_n50[arm], "x", color=GREY, markersize=5)
    axes.plot([], [], "o", color=COLOURS[0], markersize=4, label="ours, 95 % interval")
    axes.plot([], [], "x", color=GREY, markersize=5, linestyle="none", label="the paper")
    axes.axvline(_BEST_OVER_SPACING, color=GREY, linewidth=0.7, linestyle=":", label="its best λ")
    n_rows = [len(found_at) for _, found_at, _ in curves]
    restarts = f"{min(n_rows)}" if min(n_rows) == max(n_rows) else f"{min(n_rows)} to {max(n_rows)}"
    axes.set(xlabel="λ / Δ   (0: one-hot)", ylabel="n50 (episodes)", title=f"n = {restarts} each")
    axes.set_ylim(0, 1.1 * max(max(episodes) for _, _, episodes in curves))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_point(axes: Axes, width_over_spacing: float, half: Interval, end: int) -> None:
    """Draw an n50 and its interval."""
    low, high = (min(value, end) for value in (half.low, half.high))
    axes.plot([width_over_spacing] * 2, [low, high], color=COLOURS[0], linewidth=1)
    reached = np.isfinite(half.value)
    axes.plot(
        width_over_spacing, min(half.value, end), marker="o" if reached else "^", color=COLOURS[0], markersize=4,
        markerfacecolor=COLOURS[0] if reached else "white",
    )  # fmt: skip
    if not np.isfinite(half.high):
        axes.annotate(
            "", (width_over_spacing, end), (0, 12), textcoords="offset points",
            arrowprops={"arrowstyle": "->", "color": COLOURS[0], "linewidth": 0.8},
        )  # fmt: skip
