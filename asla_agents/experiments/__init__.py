"""What is run for each figure of the paper, and for questions beyond it."""

from collections.abc import Mapping

from asla_agents.experiments import generalisation, phases
from asla_agents.experiments.beyond import BEYOND
from asla_agents.experiments.experiment import SMOKE_RESTARTS, Experiment, changed, changes
from asla_agents.experiments.paper import PAPER

EXPERIMENTS: dict[str, Experiment] = PAPER | BEYOND
# What is no study of searches, and what its rows must hold.
MEASUREMENTS: dict[str, Mapping[str, type]] = {
    generalisation.NAME: generalisation.KINDS,
    phases.NAME: phases.KINDS,
}

__all__ = ["EXPERIMENTS", "MEASUREMENTS", "SMOKE_RESTARTS", "Experiment", "changed", "changes"]
