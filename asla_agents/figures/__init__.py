"""Every figure of the paper, drawn by its name, and the learning curve of a search."""

from asla_agents.figures.draw import NAMES, figure
from asla_agents.figures.search import learning_curve
from asla_agents.figures.table import markdown

__all__ = ["NAMES", "figure", "learning_curve", "markdown"]
