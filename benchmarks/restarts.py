"""Run searches with default settings from many seeds and print what share of them succeeds.

    python benchmarks/restarts.py ASLA-GrapheneMini-v0 --episodes 1500 --seeds 10 --workers 2 --stop-on-success

A row is written to ``benchmarks/results`` as each restart ends; restarts that are there already, with the very same
settings, are not run again.
"""

import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from scipy.stats import binomtest

from asla_agents.config import SearchConfig
from asla_agents.training import make_env, read_episodes, search
from asla_env import calculators

RESULTS = Path(__file__).parent / "results"


def main(
    env_id: str,
    evaluator: str = calculators.DEFAULT,
    representation: str = SearchConfig.model_fields["representation"].default,
    episodes: int = 1500,
    seeds: int = 10,
    workers: int = 1,
    stop_on_success: Annotated[bool, typer.Option("--stop-on-success")] = False,
) -> None:
    """Run the restarts that are missing, then print the table."""
    path = RESULTS / f"restarts_{env_id}_{evaluator}_{representation}_{episodes}.jsonl"
    old = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    configs = [
        SearchConfig(
            env_id=env_id,
            evaluator=evaluator,
            representation=representation,
            episodes=episodes,
            seed=seed,
            stop_on_success=stop_on_success,
        )
        for seed in range(seeds)
    ]
    wanted = [settings(config) for config in configs]
    rows = [row for row in old if row["settings"] in wanted]
    missing = [config for config in configs if settings(config) not in [row["settings"] for row in rows]]
    with ProcessPoolExecutor(workers) as pool:
        for future in as_completed([pool.submit(restart, config) for config in missing]):
            rows.append(future.result())
            with path.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(rows[-1], flush=True)
    report(rows)
    if not stop_on_success:
        compare(rows, random_energies(env_id, evaluator))


def settings(config: SearchConfig) -> dict:
    """Settings of a restart as they stand in its row."""
    return config.model_dump(mode="json")


def restart(config: SearchConfig) -> dict:
    """One search; its row."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        result = search(config, Path(directory), progress_bar=False)
        rows = read_episodes(Path(directory))
    energies = [row["energy_above_reference"] for row in rows if row["energy_above_reference"] is not None]
    return {
        "seed": config.seed,
        "episodes": result.episodes,
        "found_at": result.found_at,
        "best_above_reference": round(result.best_energy_above_reference, 4),
        "median_last_100": round(float(np.median(energies[-100:])), 3),
        "time_s": round(time.perf_counter() - start, 1),
        "settings": settings(config),
    }


def random_energies(env_id: str, evaluator: str, builds: int = 100) -> np.ndarray:
    """Energies above the reference in eV of random legal builds."""
    env = make_env(SearchConfig(env_id=env_id, evaluator=evaluator))
    rng, energies = np.random.default_rng(0), []
    for _ in range(builds):
        _, info = env.reset()
        terminated = False
        while not terminated:
            _, _, terminated, _, info = env.step(rng.choice(np.flatnonzero(info["action_mask"])))
        energies.append(info["energy_above_reference"])
    return np.array(energies)


def report(rows: list[dict]) -> None:
    """Print the table and the share that succeeded."""
    print("seed  episodes  found at  best / eV  median of last 100 / eV  time / s")
    for row in sorted(rows, key=lambda row: row["seed"]):
        print(
            f"{row['seed']:4d}  {row['episodes']:8d}  {row['found_at'] or '-':>8}  {row['best_above_reference']:9.2f}"
            f"  {row['median_last_100']:23.1f}  {row['time_s']:8.0f}"
        )
    found = sum(row["found_at"] is not None for row in rows)
    interval = binomtest(found, len(rows)).proportion_ci(method="wilson")
    print(f"found by {found} of {len(rows)} (95 % interval {interval.low:.0%} to {interval.high:.0%}, Wilson)")


def compare(rows: list[dict], random: np.ndarray) -> None:
    """Print how far the last builds lie below random ones."""
    gains = np.nanmedian(random) - np.array([row["median_last_100"] for row in rows])
    print(f"median of {len(random)} random builds {np.nanmedian(random):.1f} eV;")
    print(f"last 100 builds: median below it by {np.min(gains):.1f} eV at least, {np.median(gains):.1f} eV typically")


if __name__ == "__main__":
    typer.run(main)
