"""Time searches of ASLA-Graphene-v0 that go on together against the same searches one after the other, on one core.

    OMP_NUM_THREADS=1 python benchmarks/ensemble.py

Energies are those of xwch, batches have 64 samples, each episode ends with one update. Rounds of the ensemble and
episodes of a single search take turns in this process, so that both meet the same machine.
"""

import resource
import time
from typing import Annotated

import numpy as np
import torch
import typer
from record import machine, record

from asla_agents import ASLA
from asla_agents.config import RunConfig
from asla_agents.ensemble import Ensemble
from asla_agents.training import make_env, make_model

ROUNDS = 8
SETTINGS = {
    "env_id": "ASLA-Graphene-v0",
    "evaluator": "xwch",
    "batch_size": 64,
    "gradient_steps": 1,
    "warmup_episodes": 2,
    "exploration": {"refined_share": 0},
}
COLUMNS = ("build_s", "learn_s", "single_s")  # of one episode, a value a round


def main(members: Annotated[int, typer.Option(help="Searches that go on together.")] = 32) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    configs = [RunConfig(**SETTINGS, seed=seed) for seed in range(members)]
    single = make_model(configs[0], make_env(configs[0])).learn(5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ensemble = Ensemble(configs)
    for _ in range(5):
        ensemble.round()
    rows = np.array([(*together(ensemble, members), alone(single)) for _ in range(ROUNDS)])
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 / members
    build, update, separate = np.median(rows, axis=0)
    low, high = 1 / (rows[:, 0] + rows[:, 1]).max(), 1 / (rows[:, 0] + rows[:, 1]).min()
    print(f"{machine()}; {members} members, {ROUNDS} rounds, medians (range)")
    print(f"ensemble: {1 / (build + update):.1f} episodes/s ({low:.1f} - {high:.1f}), of one member an episode")
    print(f"          building and energy {build * 1e3:.1f} ms, learning {update * 1e3:.1f} ms")
    print(f"single:   {1 / separate:.1f} episodes/s ({1 / rows[:, 2].max():.1f} - {1 / rows[:, 2].min():.1f})")
    print(f"ratio     {separate / (build + update):.2f}; memory {memory:.0f} MiB a member, at the start")
    columns = {name: np.round(values, 5).tolist() for name, values in zip(COLUMNS, rows.T, strict=True)}
    record("ensemble", {"members": members, **columns, "memory_mib": round(memory, 1)})


def together(ensemble: Ensemble, members: int) -> tuple[float, float]:
    """Seconds a member that building, with the energy, and learning take."""
    start = time.perf_counter()
    ensemble.build()
    middle = time.perf_counter()
    ensemble.learn()
    return (middle - start) / members, (time.perf_counter() - middle) / members


def alone(single: ASLA) -> float:
    """Seconds that an episode of a single search takes."""
    start = time.perf_counter()
    single.learn(4)
    return (time.perf_counter() - start) / 4


if __name__ == "__main__":
    typer.run(main)
