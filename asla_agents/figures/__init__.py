"""Every figure of the paper, drawn by its name, what a representation draws, and the learning curve of a search."""

from asla_agents.figures.curves import draw_curve
from asla_agents.figures.draw import NAMES, figure, study_figure
from asla_agents.figures.drawn import drawn
from asla_agents.figures.search import learning_curve
from asla_agents.figures.table import claim, markdown, read_figure_rows, rows_in

__all__ = [
    "NAMES",
    "claim",
    "draw_curve",
    "drawn",
    "figure",
    "learning_curve",
    "markdown",
    "read_figure_rows",
    "rows_in",
    "study_figure",
]
