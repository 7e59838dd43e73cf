"""What is run for each figure of the paper, and for questions beyond it."""

from asla_agents.experiments.beyond import BEYOND
from asla_agents.experiments.experiment import SMOKE_RESTARTS, Experiment, changed, changes
from asla_agents.experiments.paper import PAPER

EXPERIMENTS: dict[str, Experiment] = PAPER | BEYOND

__all__ = ["EXPERIMENTS", "SMOKE_RESTARTS", "Experiment", "changed", "changes"]
