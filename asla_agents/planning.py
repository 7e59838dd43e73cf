"""What is decided about a build before it begins."""

from collections.abc import Sequence

from asla_agents.explorer import Explorer
from asla_agents.imagination import Imagination
from asla_agents.q_map import QMapPolicy
from asla_agents.refinement import is_due, refined


def plan(
    explorer: Explorer,
    policy: QMapPolicy,
    imagination: Imagination | None = None,
    in_flight: Sequence[Sequence[int]] = (),
    n_begun: int = 0,
) -> list[int]:
    """Actions of the next build; none where each placement is to be chosen when its turn comes.

    Parameters
    ----------
    explorer
        The search.
    policy
        Its network.
    imagination
        What imagines builds, if builds are imagined.
    in_flight
        Actions of planned builds whose energies are not known yet.
    n_begun
        How many builds, planned or not, have no energy yet.
    """
    planned = refined(explorer, in_flight) if is_due(explorer, n_begun) else []
    if planned or imagination is None:
        return planned
    q_maps = explorer.symmetric_mean.averaged(policy.advantages)
    return imagination.plan(explorer, q_maps, policy.features_extractor, in_flight)
