"""Time the phases of an episode of naphthalene with GPAW: Table I of the paper.

    pip install ".[gpaw]"  # docs/calculators.md says what it needs
    OMP_NUM_THREADS=1 python benchmarks/table1.py

The representations are those of the paper's Fig. 12. Building is all that is neither evaluation nor training. Seconds
are those of the clock and those of this process on a core, which other programs on the machine lengthen less.
"""

import os
import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
import typer
from record import machine, record

from asla_agents.config import SearchConfig
from asla_agents.training import make_env, make_model

REPRESENTATIONS: dict[str, dict[str, Any]] = {
    "one-hot": {"representation": "one-hot"},
    "gaussian": {"representation": "gaussian", "representation_kwargs": {"width_over_spacing": 1.0, "kernel_size": 15}},
}
PHASES = ("building", "evaluation", "training")
PAPER = {"one-hot": (0.81, 10.4, 3.17), "gaussian": (0.95, 10.2, 3.65)}  # s, on five cores


def now() -> np.ndarray:
    """Seconds of the clock and of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def timed(function: Callable[..., Any], spent: list[np.ndarray]) -> Callable[..., Any]:
    """The function, whose seconds are added to a list."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = now()
        result = function(*args, **kwargs)
        spent.append(now() - start)
        return result

    return wrapper


def seconds(settings: dict[str, Any], evaluator: str, warmup: int, episodes: int) -> np.ndarray:
    """Seconds of each phase, shape (episodes, phases, 2), of the clock and of this process."""
    config = SearchConfig(env_id="ASLA-Naphthalene-v0", evaluator=evaluator, warmup_episodes=warmup, **settings)
    env = make_env(config)
    agent = make_model(config, env)
    agent.learn(warmup)
    evaluation: list[np.ndarray] = []
    training: list[np.ndarray] = []
    env.evaluator.evaluate = timed(env.evaluator.evaluate, evaluation)  # type: ignore[method-assign]
    agent.train = timed(agent.train, training)  # type: ignore[method-assign]
    rows = []
    for _ in range(episodes):
        evaluation.clear()
        training.clear()
        start = now()
        agent.learn(1)
        total, parts = now() - start, [sum(evaluation, np.zeros(2)), sum(training, np.zeros(2))]
        rows.append([total - sum(parts), *parts])
    return np.array(rows)


def main(
    evaluator: Annotated[str, typer.Option(help="Calculator.")] = "gpaw",
    warmup: Annotated[int, typer.Option(help="Random builds, not timed.")] = 2,
    episodes: Annotated[int, typer.Option(help="Episodes that are timed.")] = 8,
) -> None:
    """Print the table and keep it."""
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    print(f"{machine()}; {evaluator}, medians of {episodes} episodes; load {load:.1f}")
    print("representation  phase        clock / s (range)         process / s   paper / s")
    rows = {}
    for name, settings in REPRESENTATIONS.items():
        times = seconds(settings, evaluator, warmup, episodes)
        rows[name] = np.round(times, 4).tolist()
        for i, phase in enumerate(PHASES):
            clock, process = times[:, i].T
            span = f"({clock.min():.2f} - {clock.max():.2f})"
            print(f"{name:15s} {phase:11s} {np.median(clock):8.3f} {span:18s} {np.median(process):10.3f}"
                  f" {PAPER[name][i]:12.2f}", flush=True)  # fmt: skip
    numbers = {"evaluator": evaluator, "warmup": warmup, "load": [round(load, 1), round(os.getloadavg()[0], 1)]}
    record("table1", numbers | {"phases": PHASES, "seconds": rows})


if __name__ == "__main__":
    typer.run(main)
