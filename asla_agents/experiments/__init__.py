"""What is run for each figure of the paper, and for questions beyond it."""

from asla_agents.experiments import generalisation, phases
from asla_agents.experiments.beyond import BEYOND
from asla_agents.experiments.experiment import SMOKE_RESTARTS, Experiment, changed, changes
from asla_agents.experiments.paper import PAPER

EXPERIMENTS: dict[str, Experiment] = PAPER | BEYOND
MEASUREMENTS = (generalisation.NAME, phases.NAME)  # what is no study of searches

__all__ = ["EXPERIMENTS", "MEASUREMENTS", "SMOKE_RESTARTS", "Experiment", "changed", "changes"]
