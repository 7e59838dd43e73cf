"""How the time of an ensemble grows: with its members, the batch, the pixels and the atoms.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py [--device cuda]

Each row is an ensemble of its own: sheets of graphene on pixels of 0.2 Å, xwch, one update an episode. The last column
is the time of an episode over pixels x atoms, relative to the first row: it stays at 1 where the time grows linearly.
"""

import time
from typing import Annotated

import numpy as np
import torch
import typer
from record import machine, record

from asla_agents import ensemble as ensemble_module
from asla_agents.config import RunConfig
from asla_agents.ensemble import Ensemble
from asla_env import AtomPlacementEnv, Problem
from asla_env.problems import graphene_mini

ROUNDS = 5
SHEETS = ((1, 1), (2, 1), (2, 2), (4, 2))  # in units of the smallest one, which has 12 atoms on 21 x 36 pixels


def sheet(repeats: tuple[int, int]) -> Problem:
    """A sheet of graphene of several small ones, to be built from its first atom."""
    small = graphene_mini()
    atoms = small.reference * (*repeats, 1)
    shape = tuple(n * repeat for n, repeat in zip(small.grid.shape, repeats, strict=True))
    return Problem.from_atoms(atoms, place=range(1, len(atoms)), shape=shape, name="sheet", success_window=3.0)


def seconds(problem: Problem, members: int, batch_size: int, device: str) -> tuple[float, float]:
    """Median seconds an episode of building, energy included, and of learning."""
    env = AtomPlacementEnv(problem, "xwch")
    config = {"env_id": "ASLA-GrapheneMini-v0", "evaluator": "xwch", "gradient_steps": 1, "warmup_episodes": 2}
    config["exploration"] = {"refined_share": 0}
    configs = [RunConfig(**config, batch_size=batch_size, seed=seed) for seed in range(members)]
    ensemble_module.make_env = lambda *_: env  # type: ignore[assignment]  # a sheet that has no id
    ensemble = Ensemble(configs, device)
    for _ in range(4):
        ensemble.round()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        ensemble.build()
        middle = time.perf_counter()
        ensemble.learn()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append((middle - start, time.perf_counter() - middle))
    build, learn = np.median(times, axis=0) / members
    return float(build), float(learn)


def main(device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu") -> None:
    """Print the table and keep it."""
    torch.set_num_threads(1)
    cases = [(repeats, 8, 64) for repeats in SHEETS]
    cases += [((2, 1), members, 64) for members in (1, 2, 4, 16, 32)]
    cases += [((2, 1), 8, batch_size) for batch_size in (8, 16, 32, 128)]
    print(f"{machine()}, {device}; medians of {ROUNDS} rounds")
    print("pixels   atoms  members  batch   build / ms  learn / ms  per pixel and atom")
    rows: list[dict[str, float]] = []
    for repeats, members, batch_size in cases:
        problem = sheet(repeats)
        build, learn = seconds(problem, members, batch_size, device)
        size = problem.grid.n_pixels * problem.n_to_place
        row = {"pixels": problem.grid.n_pixels, "atoms": problem.n_to_place, "members": members, "batch": batch_size}
        rows.append({**row, "build_ms": round(build * 1e3, 2), "learn_ms": round(learn * 1e3, 2)})
        first = rows[0]
        unit = (first["build_ms"] + first["learn_ms"]) / (first["pixels"] * first["atoms"])
        relative = (build + learn) * 1e3 / size / unit
        shape = "x".join(map(str, problem.grid.shape))
        print(f"{shape:8s} {row['atoms']:5d} {members:8d} {batch_size:6d} {build * 1e3:12.1f} {learn * 1e3:11.1f}"
              f" {relative:10.2f}", flush=True)  # fmt: skip
    record("scaling", {"device": device, "rounds": ROUNDS, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
