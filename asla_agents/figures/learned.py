"""What the representations have learned at the end of the restarts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from asla_agents.experiments import Experiment
from asla_agents.figures.curves import curves_of
from asla_agents.figures.style import COLOURS, GREY, new_figure
from asla_agents.row_file import Row
from asla_agents.study import Study, rows_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POSITIVE, _NEGATIVE = COLOURS[1], COLOURS[0]  # orange and blue, as in the paper


def coefficients(experiment: Experiment, study: Study, rows: Sequence[Row], number: int) -> Figure:
    """Figs. 6(c)-(e): mean coefficients of AGR over the restarts of one arm, with their standard errors.

    Parameters
    ----------
    experiment, study, rows
        As for every figure.
    number
        Of the arm.

    Raises
    ------
    ValueError
        If the arm has no rows.
    """
    arm = list(study.arms)[number]
    curves_of(experiment, Study(settings=study.settings, arms={arm: study.arms[arm]}), rows)
    its_rows = rows_of(study, arm, rows)
    values = np.array([row["learned"]["coefficients"][0] for row in its_rows])  # [restart, i]
    mean = values.mean(axis=0)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    indices = np.arange(1, len(mean) + 1)
    figure = new_figure()
    axes = figure.subplots()
    axes.bar(
        indices, mean, yerr=error, color=np.where(mean > 0, _POSITIVE, _NEGATIVE), capsize=2,
        error_kw={"linewidth": 0.8},
    )  # fmt: skip
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.set_xticks(indices, [f"{n}/3" if n % 3 else f"{n // 3}" for n in indices])
    axes.set(
        xlabel=r"$\lambda_i$ / Δ",
        ylabel=r"mean $c_i$, with its standard error",
        title=f"{arm}, n = {len(values)}, {after(its_rows)}",
    )
    return figure


def after(rows: Sequence[Row]) -> str:
    """Say after how many episodes the restarts ended."""
    fewest, most = (pick(row["episodes"] for row in rows) for pick in (min, max))
    return f"after {fewest} episodes" if fewest == most else f"after {fewest} to {most} episodes"


def widths_against_start(experiment: Experiment, study: Study, rows: Sequence[Row]) -> Figure:
    """Draw the trained widths of all restarts against those they started from."""
    figure = new_figure()
    axes = figure.subplots()
    starts, all_rows = [], list[Row]()
    for arm, _, _ in curves_of(experiment, study, rows):
        start = study.config(arm, 0).representation_kwargs["width_over_spacing"]
        its_rows = rows_of(study, arm, rows)
        ends = [row["learned"]["width_over_spacing"][0] for row in its_rows]
        axes.plot([start] * len(ends), ends, "o", color=COLOURS[0], markersize=3, alpha=0.4, markeredgewidth=0)
        axes.plot(start, np.mean(ends), "_", color=COLOURS[1], markersize=12)
        starts.append(start)
        all_rows += its_rows
    axes.plot([], [], "o", color=COLOURS[0], markersize=3, alpha=0.4, markeredgewidth=0, label="a restart")
    axes.plot([], [], "_", color=COLOURS[1], markersize=12, label="mean")
    axes.plot([0, max(starts)], [0, max(starts)], color=GREY, linewidth=0.7, linestyle=":", label="untrained")
    axes.set(xlabel="λ / Δ at the start", ylabel=f"λ / Δ {after(all_rows)}")
    axes.legend(frameon=False)
    return figure
