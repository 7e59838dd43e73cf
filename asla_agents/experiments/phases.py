"""Table I: how long an episode of naphthalene builds, evaluates and trains.

Building is all that is neither evaluation nor training. Seconds are those of the clock and those of this process on its
core, which other programs on the machine lengthen less.
"""

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from asla_agents.callbacks import read_rows
from asla_agents.config import RunConfig
from asla_agents.experiments.experiment import NAPHTHALENE, ONE_HOT, SMOKE, gaussian
from asla_agents.row_file import Row, appended
from asla_agents.training import make_env, make_model
from asla_agents.unfinished import UnfinishedSearches

NAME = "table1"
CLAIM = (
    "With GPAW the energy takes 72 % of an episode with one-hot images and 69 % with Gaussians, whose additional "
    "convolution is negligible: building, evaluation and training take 0.81, 10.39 and 3.17 s, and 0.95, 10.24 and "
    "3.65 s."
)
ARMS: dict[str, dict[str, Any]] = {"one-hot": ONE_HOT, "Gaussian, λ = Δ": gaussian(1.0, kernel_size=15)}
PHASES = ("building", "evaluation", "training")
PAPER = {"one-hot": (0.81, 10.39, 3.17), "Gaussian, λ = Δ": (0.95, 10.24, 3.65)}  # s, on five cores
RESTARTS, EPISODES = 1, 8
KINDS = {"arm": str, "seed": int, "evaluator": str, "smoke": bool, "updates": list, "seconds": list}  # of a row
_WARMUP = 2
_EVALUATOR, _SMOKE_EVALUATOR = "gpaw", "gfn1-xtb"


def evaluator_of(evaluator: str | None, smoke: bool) -> str:
    """Name of the calculator that is meant: GPAW, which has to be installed, but for a smoke run."""
    return evaluator or (_SMOKE_EVALUATOR if smoke else _EVALUATOR)


def run(
    path: Path, restarts: int, evaluator: str | None = None, episodes: int | None = None, smoke: bool = False
) -> Iterator[Row]:
    """Time what has no row yet; each row is yielded when it is in the file.

    Parameters
    ----------
    path
        File of rows, a line of JSON each.
    restarts
        Agents of each arm, from seed 0 on.
    evaluator
        Name of the calculator; see `evaluator_of`.
    episodes
        Episodes that are timed of each agent, after two of random builds that are not; None: 8, of a smoke run 3.
    smoke
        Whether to train next to nothing.

    Raises
    ------
    ValueError
        If a number is not at least 1, there is no such calculator, the file holds something else, or another process
        writes it.
    """
    episodes = (SMOKE["episodes"] if smoke else EPISODES) if episodes is None else episodes
    for name, number in (("restarts", restarts), ("episodes", episodes)):
        if number < 1:
            raise ValueError(f"`{name}` is {number} but must be at least 1")
    settings = {**NAPHTHALENE, **(SMOKE if smoke else {}), "evaluator": evaluator_of(evaluator, smoke)}
    settings["warmup_episodes"] = _WARMUP
    updates = _updates(RunConfig(**settings))
    with UnfinishedSearches(path).locked(), appended(path) as append:
        rows = rows_of(read_rows(path, KINDS), evaluator, smoke)
        enough = [row for row in rows if row["updates"] == updates and len(row["seconds"]) >= episodes]
        there = {(row["arm"], row["seed"]) for row in enough}
        for seed in range(restarts):
            for arm, own in ARMS.items():
                if (arm, seed) not in there:
                    row = _row(arm, RunConfig(**{**settings, **own, "seed": seed}), episodes, smoke)
                    append(row)
                    yield row


def rows_of(rows: Sequence[Row], evaluator: str | None = None, smoke: bool = False) -> list[Row]:
    """Rows of one calculator, of smoke runs or of others, and of those with the updates of the latest one."""
    meant = evaluator_of(evaluator, smoke), smoke
    of_both = [row for row in rows if (row["evaluator"], row["smoke"]) == meant]
    return [row for row in of_both if row["updates"] == of_both[-1]["updates"]]


def seconds_of(rows: Sequence[Row], arm: str) -> NDArray[np.float64]:
    """Seconds of all timed episodes of an arm, by the clock and on the core, shape (episodes, phases, 2)."""
    return np.concatenate([np.zeros((0, len(PHASES), 2)), *(row["seconds"] for row in rows if row["arm"] == arm)])


def _updates(config: RunConfig) -> list[int]:
    """Updates an episode, and samples of each, which decide how long training takes."""
    return [config.gradient_steps, config.batch_size]


def _row(arm: str, config: RunConfig, episodes: int, smoke: bool) -> Row:
    """Time one agent."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # which Windows has not
    return {
        "arm": arm,
        "seed": config.seed,
        "evaluator": config.evaluator,
        "smoke": smoke,
        "updates": _updates(config),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "load": load,
        "seconds": np.round(_seconds(config, episodes), 4).tolist(),
    }


def _seconds(config: RunConfig, episodes: int) -> NDArray[np.float64]:
    """Seconds of each phase, shape (episodes, phases, 2)."""
    env = make_env(config)
    agent = make_model(config, env).learn(config.warmup_episodes)
    evaluation, training = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    env.evaluator.evaluate = _timed(env.evaluator.evaluate, evaluation)  # type: ignore[method-assign]
    agent.train = _timed(agent.train, training)  # type: ignore[method-assign]
    rows = []
    for _ in range(episodes):
        evaluation.clear()
        training.clear()
        start = _now()
        agent.learn(1)
        total, parts = _now() - start, [sum(evaluation, np.zeros(2)), sum(training, np.zeros(2))]
        rows.append([total - sum(parts), *parts])
    return np.array(rows)


def _now() -> NDArray[np.float64]:
    """Seconds of the clock and of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def _timed(function: Callable[..., Any], spent: list[NDArray[np.float64]]) -> Callable[..., Any]:
    """The function, whose seconds are added to a list."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        """Call the function and take its time."""
        start = _now()
        result = function(*args, **kwargs)
        spent.append(_now() - start)
        return result

    return wrapper
