"""Table I: what an episode spends its time on, ours beside the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asla_agents.experiments import phases
from asla_agents.figures.style import COLOURS, new_figure
from asla_agents.row_file import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def shares(rows: Sequence[Row], evaluator: str | None = None, smoke: bool = False) -> Figure:
    """Draw a bar of the phases of an episode for each arm, in the paper and by our clock, with seconds and shares.

    Parameters
    ----------
    rows, evaluator, smoke
        As for `phases.rows_of`.

    Raises
    ------
    ValueError
        If there are no rows.
    """
    ours = phases.rows_of(rows, evaluator, smoke)
    if not ours:
        raise ValueError(f"`rows` holds none of {phases.NAME} with these settings: run `asla study {phases.NAME}`")
    figure = new_figure(columns=1.9, rows=1.1)
    axes = figure.subplots()
    names = list[str]()
    for arm in phases.ARMS:
        times = phases.seconds_of(ours, arm)
        for name, seconds in (("paper, 5 cores", np.array(phases.PAPER[arm])), ("ours", median_seconds(times))):
            _draw_bar(axes, len(names), seconds)
            names.append(f"{arm}\n{name}" + (f", n = {len(times)}" if name == "ours" else ""))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    calculator = phases.evaluator_of(evaluator, smoke)
    axes.set(xlabel="s an episode", title=f"naphthalene; the paper with gpaw, ours with {calculator}: medians")
    axes.margins(x=0.02)
    for phase, colour in zip(phases.PHASES, COLOURS, strict=False):
        axes.barh(0, 0, color=colour, label=phase)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def median_seconds(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Medians of the clock's seconds (episodes, phases, 2), shape (phases,); zeros if there are none."""
    return np.median(times[..., 0], axis=0) if len(times) else np.zeros(len(phases.PHASES))


def _draw_bar(axes: Axes, y: int, seconds: NDArray[np.float64]) -> None:
    """Draw the phases one after another, and their numbers above."""
    starts, total = np.cumsum(seconds) - seconds, seconds.sum()
    axes.barh([y] * len(seconds), seconds, left=starts, color=COLOURS[: len(seconds)], height=0.45)
    text = ",  ".join(f"{s:.2f} s ({s / total:.1%})" for s in seconds) if total else "no rows"
    axes.annotate(text, (0, y - 0.26), fontsize=6.5, va="bottom")
