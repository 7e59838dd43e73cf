"""Success curves with their confidence bands, alone or beside what they are about."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import torch

from asla_agents import equations
from asla_agents.experiments import Experiment
from asla_agents.figures.style import COLOURS, GREY, as_it_is, new_figure
from asla_agents.row_file import Row
from asla_agents.study import Study, curve_data, rows_of
from asla_agents.success import Interval, n50, success_curve
from asla_env.ids import problem_of_id
from asla_env.render import draw_structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def alone(experiment: Experiment, study: Study, rows: Sequence[Row]) -> Figure:
    """Success curves of an experiment."""
    figure = new_figure(rows=1 + _legend_rows(experiment))
    draw_curves(figure.subplots(), experiment, study, rows)
    return figure


def with_kernels(experiment: Experiment, study: Study, rows: Sequence[Row]) -> Figure:
    """Fig. 4: the kernels with their biases, above the success curves."""
    figure = new_figure(rows=1.6 + _legend_rows(experiment))
    above, below = figure.subplots(2, height_ratios=(1, 2))
    r_over_spacing = torch.linspace(-6, 6, 241)
    for arm, colour in zip(study.arms, COLOURS, strict=False):
        kwargs = study.config(arm, 0).representation_kwargs
        kernel = equations.gaussian(r_over_spacing, kwargs["width_over_spacing"]) + kwargs.get("bias", 0.0)
        above.plot(r_over_spacing, kernel, color=colour)
    above.axhline(0, color=GREY, linewidth=0.6)
    above.set(xlabel="r / Δ", ylabel="kernel + bias")
    draw_curves(below, experiment, study, rows)
    return figure


def with_structure(experiment: Experiment, study: Study, rows: Sequence[Row]) -> Figure:
    """Figs. 7 and 12: success curves, and the structure that is sought, its template paler."""
    figure = new_figure(columns=1.9, rows=1 + _legend_rows(experiment))
    left, right = figure.subplots(1, 2)
    draw_curves(left, experiment, study, rows)
    problem = problem_of_id(study.config(next(iter(study.arms)), 0).env_id)
    if problem.reference is not None:
        draw_structure(right, problem.reference, problem)
    return figure


def draw_curves(axes: Axes, experiment: Experiment, study: Study, rows: Sequence[Row]) -> None:
    """Draw a curve for each arm that has rows, its 95 % band, and thin lines where the paper has half.

    Raises
    ------
    ValueError
        If no arm has rows.
    """
    colours = dict(zip(study.arms, COLOURS, strict=False))
    for arm, found_at, episodes in curves_of(experiment, study, rows):
        draw_curve(axes, arm, found_at, episodes, colours[arm])
        if arm in experiment.paper_n50:
            axes.axvline(experiment.paper_n50[arm], color=colours[arm], linewidth=0.8, linestyle="--")
    if experiment.paper_n50:
        axes.plot([], [], color=GREY, linewidth=0.8, linestyle="--", label="n50 in the paper")
    axes.figure.legend(loc="outside lower center", ncols=2, frameon=False)


def draw_curve(axes: Axes, arm: str, found_at: Sequence[float], episodes: Sequence[int], colour: str) -> None:
    """Draw the success curve of one arm with its 95 % band; how many restarts and their n50 stand in its label.

    Parameters
    ----------
    axes
        Where to draw; limits and labels are set.
    arm
        What the label calls it.
    found_at, episodes
        As for `asla_agents.success.success_curve`.
    colour
        Of curve and band.
    """
    curve, end = success_curve(found_at, episodes), max(episodes)
    x = np.concatenate([[0], curve.episodes, [end]])
    steps = [np.concatenate([[0], y, y[-1:] if len(y) else [0]]) for y in (curve.probability, curve.low, curve.high)]
    label = f"{as_it_is(arm)}\nn = {len(found_at)}, n50 {n50_text(n50(found_at, episodes), end)}"
    axes.step(x, 100 * steps[0], where="post", color=colour, label=label)
    axes.fill_between(x, 100 * steps[1], 100 * steps[2], step="post", color=colour, alpha=0.15, linewidth=0)
    axes.axhline(50, color=GREY, linewidth=0.5, zorder=0)
    axes.set(xlabel="episodes", ylabel="restarts that succeeded (%)", ylim=(0, 100))
    axes.autoscale(axis="x")  # which the curve before has switched off
    axes.set_xlim(left=0)


def curves_of(experiment: Experiment, study: Study, rows: Sequence[Row]) -> list[tuple[str, list[float], list[int]]]:
    """Arms that have rows, the first success of each restart, and its episodes.

    Raises
    ------
    ValueError
        If no arm has rows.
    """
    by_arm = [(arm, rows_of(study, arm, rows)) for arm in study.arms]
    there = [(arm, *curve_data(its_rows)) for arm, its_rows in by_arm if its_rows]
    if not there:
        raise ValueError(
            f"`rows` holds none of {experiment.name} with these settings: run `asla study {experiment.name}`"
        )
    return there


def n50_text(half: Interval, end: int) -> str:
    """An n50 and its interval, where what the restarts did not reach is beyond their end."""

    def number(value: float) -> str:
        """Episodes, or that they are more than there were."""
        return f"{value:.0f}" if np.isfinite(value) else f"> {end}"

    if not np.isfinite(half.low):
        return number(half.value)
    return f"{number(half.value)} ({number(half.low)} to {number(half.high)})"


def _legend_rows(experiment: Experiment) -> float:
    """Height of the legend, in panels."""
    return 0.11 * ceil((len(experiment.study.arms) + bool(experiment.paper_n50)) / 2)
