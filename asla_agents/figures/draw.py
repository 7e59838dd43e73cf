"""The table of figures: how each is drawn."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from asla_agents.experiments import EXPERIMENTS, MEASUREMENTS, Experiment, changed, generalisation
from asla_agents.experiments import phases as phases_run
from asla_agents.figures import arms, curves, kernels, learned, phases, unseen, widths
from asla_agents.figures.style import COLOURS, at_print_size
from asla_agents.row_file import Row
from asla_agents.study import OF_BEFORE, Study, with_more_arms

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure that needs no rows."""

    claim: str
    """What the paper shows."""
    draw: Callable[[], Figure]
    """Makes it."""


DRAWINGS: dict[str, Drawing] = {
    "fig5": Drawing("Gaussians of nine widths, weighted with coefficients, make the kernel of AGR.", kernels.basis),
    **{
        f"fig8{letter}": Drawing(f"The displaced Gaussian with its ring at {2 * i}Δ.", partial(kernels.ring, i))
        for letter, i in zip("abcd", kernels.RINGS, strict=True)
    },
    "fig9": Drawing("Real and imaginary parts of circular harmonics.", kernels.harmonics),
    "fig10": Drawing(
        "The power of order m = 1 is low where an atom would make a line, high at a right angle.",
        kernels.power_spectrum,
    ),
}
"""Figures that need no rows."""

_DrawRows: TypeAlias = "Callable[[Experiment, Study, Sequence[Row]], Figure]"

_OTHER_THAN_CURVES: dict[str, _DrawRows] = {
    "fig2b": widths.episodes_against_width,
    "fig4": curves.with_kernels,
    "fig6c": partial(learned.coefficients, number=0),
    "fig6d": partial(learned.coefficients, number=1),
    "fig6e": partial(learned.coefficients, number=2),
    "fig7": curves.with_structure,
    "fig12": curves.with_structure,
    "trainable-width": learned.widths_against_start,
}
"""How rows of an experiment are drawn where it is not by success curves alone."""


def _in_order(name: str) -> tuple[int, str]:
    """Figures by number, then what has no number."""
    number = re.match(r"fig(\d+)", name)
    return int(number[1]) if number else sys.maxsize - name.startswith("table"), name


NAMES = tuple(sorted({*DRAWINGS, *EXPERIMENTS, *MEASUREMENTS}, key=_in_order))


@at_print_size
def figure(name: str, rows: Sequence[Row] = (), evaluator: str | None = None, smoke: bool = False) -> Figure:
    """Draw a figure.

    Parameters
    ----------
    name
        One of `NAMES`.
    rows
        Rows of its experiment, if it has one; those of other settings among them are left alone. Those with the
        defaults of before are drawn if they are of more arms, as is said above them.
    evaluator, smoke
        Which rows of the experiment are drawn; see `changes`.

    Raises
    ------
    ValueError
        If there is no such figure, or none of the rows belongs to it.
    """
    if name in DRAWINGS:
        return DRAWINGS[name].draw()
    if name == generalisation.NAME:
        return unseen.errors(rows)
    if name == phases_run.NAME:
        return phases.shares(rows, evaluator, smoke)
    if name not in EXPERIMENTS:
        raise ValueError(
            f"`name` is {name!r} but must be the file of a study, the directory of a search, or one of "
            f"{', '.join(NAMES)}"
        )
    experiment = EXPERIMENTS[name]
    study = changed(experiment.study, evaluator=evaluator, smoke=smoke)
    return _of_one_version(_OTHER_THAN_CURVES.get(name, curves.alone), experiment, study, rows)


@at_print_size
def study_figure(name: str, study: Study, rows: Sequence[Row]) -> Figure:
    """Draw a study of one's own: its success curves, or n50 of each arm if it has more arms than there are colours.

    Parameters
    ----------
    name
        What `asla study` runs, for the error message.
    study
        Its arms.
    rows
        Its rows; others among them are left alone, and those with the defaults of before are drawn as by `figure`.

    Raises
    ------
    ValueError
        If none of the rows belongs to it.
    """
    experiment = Experiment(name, "", study, restarts=0)
    draw = curves.alone if len(study.arms) <= len(COLOURS) else arms.episodes_of_arms
    return _of_one_version(draw, experiment, study, rows)


def _of_one_version(draw: _DrawRows, experiment: Experiment, study: Study, rows: Sequence[Row]) -> Figure:
    """Draw the rows of a study with the present defaults, or those with the ones of before."""
    drawn = with_more_arms(study, rows)
    figure = draw(experiment, drawn, rows)
    if drawn is not study:
        figure.suptitle(OF_BEFORE, fontsize="small")
    return figure
