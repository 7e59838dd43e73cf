"""The learning curve of one search, from its directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from asla_agents.figures.style import COLOURS, GREY, at_print_size, new_figure
from asla_agents.run_directory import RunDirectory, read_episodes
from asla_env.ids import problem_of_id

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINEAR_TO = 1.0  # eV: the axis is logarithmic beyond


@at_print_size
def learning_curve(directory: Path) -> Figure:
    """Draw the energy of each episode, the lowest so far, and when the structure was found.

    Parameters
    ----------
    directory
        Results of a search.

    Raises
    ------
    ValueError
        If it holds no settings or no episode.
    """
    rows = read_episodes(directory)
    if not rows:
        raise ValueError(f"`directory` is {directory} but must hold the results of a search, one episode at least")
    config = RunDirectory(directory).config()
    figure = new_figure()
    axes = figure.subplots()
    problem = problem_of_id(config.env_id)
    name = "energy" if problem.reference is None else "energy_above_reference"
    episodes, energies = np.array([row["episode"] for row in rows]), _energies(rows, name)
    axes.plot(episodes, energies, "o", color=COLOURS[0], markersize=2, alpha=0.4, markeredgewidth=0, label="an episode")
    axes.step(episodes, np.fmin.accumulate(energies), where="post", color=COLOURS[1], label="lowest so far")
    if problem.reference is None:
        axes.set_ylabel("energy (eV)")
    else:
        _draw_success(axes, energies, problem.success_window)
    found = next((row["episode"] for row in rows if row["is_success"]), None)
    if found is not None:
        axes.axvline(found, color=COLOURS[2], linewidth=0.9, label=f"found in episode {found}")
    searched = config.env_id.removeprefix("ASLA-").removesuffix("-v0")
    title = f"{searched}, {config.evaluator}, {config.representation}, seed {config.seed}"
    axes.set(xlabel="episodes", title=title)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_success(axes: Axes, energies: NDArray[np.float64], window: float) -> None:
    """Draw the success window, below which the axis is linear."""
    axes.axhline(window, color=GREY, linewidth=0.7, linestyle=":", label=f"success: below {window:g} eV")
    axes.set_yscale("symlog", linthresh=_LINEAR_TO)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylim(min(0, 1.5 * np.nanmin(energies, initial=0)), 1.5 * np.nanmax(energies, initial=window))
    axes.set_ylabel("energy above the reference (eV)")


def _energies(rows: list[dict[str, Any]], name: str) -> NDArray[np.float64]:
    """Energies of this name in eV, nan where there is none, shape (episode,)."""
    return np.array([np.nan if (e := row[name]) is None else e for row in rows], dtype=float)
