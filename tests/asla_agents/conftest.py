"""Directories of searches that were written down rather than run."""

import json
from pathlib import Path

import numpy as np
import pytest

from asla_agents.config import RunConfig
from asla_agents.run_directory import RunDirectory
from asla_env.action import action_mask
from asla_env.problems import graphene_mini

MINI = {"env_id": "ASLA-GrapheneMini-v0", "evaluator": "xwch", "episodes": 20}


def build(seed: int) -> list[int]:
    """A legal build of half of graphene, chosen at random."""
    problem, rng, placed = graphene_mini(), np.random.default_rng(seed), []
    for _ in range(problem.n_to_place):
        placed.append(int(rng.choice(np.flatnonzero(action_mask(placed, problem)))))
    return placed


def row_of(episode: int, energy: float | None = -50.0, **changes) -> dict:
    """What a search writes of an episode; energies are 94 eV above nothing."""
    above = None if energy is None else energy + 94
    row = {"episode": episode, "energy": energy, "energy_above_reference": above, "is_success": False}
    return row | {"dead_end": False, "calculator_error": None, "placed": build(episode)} | changes


@pytest.fixture
def written(tmp_path):
    """Writes the directory of a search with these episodes, one after every two seconds, and returns it."""

    def write(rows=(), **settings) -> Path:
        directory = RunDirectory.make(tmp_path / "run", RunConfig(**{**MINI, **settings}))
        for number, row in enumerate(rows, 1):
            append(directory, row, 2.0 * number)
        return directory.path

    return write


def append(directory: RunDirectory, row: dict, time_s: float) -> None:
    """Write the lines of one more episode."""
    for path, line in ((directory.episodes, row), (directory.times, {"episode": row["episode"], "time_s": time_s})):
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")


@pytest.fixture
def row():
    return row_of


@pytest.fixture
def append_row():
    return append
