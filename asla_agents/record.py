"""What the directory of a search tells those who look at it, while it runs or after it."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asla_agents.asla import ASLA
from asla_agents.callbacks import read_rows
from asla_agents.config import RunConfig
from asla_agents.run_directory import RunDirectory, RunDirectoryError, read_episodes
from asla_env import AtomPlacementEnv, Evaluator
from asla_env.ids import no_calculator, problem_of_id
from asla_env.problem import Problem

_LAST = 50  # episodes over which the rate is measured
_FOR_EVER = 1e10  # seconds that no search takes
_SAME_ENERGY = 1e-3  # eV; by which energies of equal structures may differ, as a symmetry changes how they are rounded
Row = dict[str, Any]


@dataclass(frozen=True)
class Structure:
    """A structure that was built, whatever the order of its atoms and however it was turned or moved."""

    first: Row
    """Row of the first episode that built it."""
    times_built: int
    """How many episodes did."""


@dataclass(frozen=True)
class SearchRecord:
    """What is known of a search from its files.

    Parameters
    ----------
    directory
        Where the files are.
    config
        Its settings.
    rows
        A row for each episode that ended.
    seconds
        How long each episode took; of a search that is running there may be one less or more than rows.
    """

    directory: Path
    config: RunConfig
    rows: list[Row]
    seconds: NDArray[np.float64]

    @cached_property
    def problem(self) -> Problem:
        """What is built."""
        return problem_of_id(self.config.env_id)

    @cached_property
    def computed(self) -> list[Row]:
        """Rows with an energy by the calculator."""
        return [row for row in self.rows if row["energy"] is not None and row["calculator_error"] is None]

    @property
    def best(self) -> Row | None:
        """Row of the lowest energy, the first of several."""
        return min(self.computed, key=lambda row: float(row["energy"]), default=None)

    @property
    def found_at(self) -> int | None:
        """First episode whose structure is inside the success window."""
        return next((int(row["episode"]) for row in self.rows if row["is_success"]), None)

    @property
    def is_finished(self) -> bool:
        """Whether no episode is left to run."""
        is_enough = self.config.stop_on_success and self.found_at is not None
        return is_enough or len(self.rows) >= self.config.episodes

    @property
    def failures(self) -> Counter[str]:
        """How often the calculator failed, by cause."""
        return Counter(row["calculator_error"] for row in self.rows if row["calculator_error"] is not None)

    @property
    def episodes_a_second(self) -> float:
        """Rate of the last episodes; nan before the first."""
        last = self.seconds[-_LAST:]
        return len(last) / last.sum() if last.sum() > 0 else np.nan

    def best_structures(self, n: int) -> list[Structure]:
        """The lowest in energy that differ by more than a symmetry, at most so many."""
        alike, highest = dict[bytes, list[Row]](), -np.inf
        for row in sorted(self.computed, key=lambda row: float(row["energy"])):
            if len(alike) >= n and row["energy"] > highest + _SAME_ENERGY:
                break  # what is alike has the same energy: none of the rest is like one of these
            alike.setdefault(self.problem.canonical_key(row["placed"]), []).append(row)
            highest = row["energy"] if len(alike) <= n else highest
        structures = [Structure(min(rows, key=lambda row: int(row["episode"])), len(rows)) for rows in alike.values()]
        return structures[:n]


def read_record(directory: Path) -> SearchRecord:
    """Read what there is of a search, which may be running; lines that are being written are left out.

    Raises
    ------
    RunDirectoryError
        If it holds no search, or damaged files.
    """
    files = RunDirectory(directory)
    record = SearchRecord(directory, files.config(), read_episodes(directory), _seconds(files.times))
    for row in record.rows:
        if not all(isinstance(action, int) and 0 <= action < record.problem.n_actions for action in row["placed"]):
            rule = f"must hold actions in [0, {record.problem.n_actions})"
            raise RunDirectoryError(f"{files.episodes}, episode {row['episode']}: `placed` {rule}")
    return record


def read_about(directory: Path) -> dict[str, Any]:
    """What ``config.json`` says beside the settings: versions, threads, and how the search was started."""
    about: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8-sig"))
    return {name: value for name, value in about.items() if name != "settings"}


def load_agent(record: SearchRecord) -> ASLA | None:
    """Make the agent of the last checkpoint, which computes no energy; None if there is none yet.

    Raises
    ------
    CheckpointError
        If the checkpoint is damaged, or not of this version.
    """
    path = RunDirectory(record.directory).checkpoint
    if not path.exists():
        return None
    return ASLA.load(path, AtomPlacementEnv(record.problem, Evaluator(no_calculator), reward="energy"))


def _seconds(path: Path) -> NDArray[np.float64]:
    """Seconds of each episode, from the times of their ends; a search that goes on counts from 0 again.

    They are only looked at: a damaged file is as good as none.
    """
    try:
        rows = read_rows(path)
    except ValueError:
        rows = []
    values = [row.get("time_s") for row in rows]
    times = np.array([value for value in values if isinstance(value, int | float) and 0 <= value < _FOR_EVER], float)
    steps = np.diff(times, prepend=0.0)
    return np.where(steps < 0, times, steps)
