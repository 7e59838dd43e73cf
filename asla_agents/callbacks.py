"""What happens at the end of each episode: a progress bar, a line in a file, a stop."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from tqdm import tqdm


class EpisodeCallback(BaseCallback):
    """Calls `on_episode` with the last ``info`` of each episode."""

    def on_episode(self, info: dict[str, Any]) -> bool:
        """Handle the end of an episode; False stops the search."""
        raise NotImplementedError

    def _on_step(self) -> bool:
        ended = [info for done, info in zip(self.locals["dones"], self.locals["infos"], strict=True) if done]
        answers = [self.on_episode(info) for info in ended]
        return all(answers)


class ProgressBar(EpisodeCallback):
    """Show episodes, episodes a second, the best energy and whether it is a success.

    The energy is the one above the reference, with its sign, where there is one.

    Parameters
    ----------
    total_episodes
        Length of the bar.
    rows
        Lines of the episodes that ended before, of a search that goes on.
    """

    def __init__(self, total_episodes: int, rows: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__()
        self._total = total_episodes
        self._best, self._found, self._episodes = np.inf, 0, 0
        self._shown = "no energy yet"
        for row in rows:
            self._count({key: np.inf if value is None and "energy" in key else value for key, value in row.items()})

    def _on_training_start(self) -> None:
        self._bar = tqdm(total=self._total, initial=self._episodes, unit="ep", dynamic_ncols=True, smoothing=0.05)

    def on_episode(self, info: dict[str, Any]) -> bool:
        """Move the bar by one episode."""
        self._count(info)
        found = f"found at {self._found}" if self._found else "searching"
        self._bar.set_postfix_str(f"{self._shown}, {found}")
        self._bar.update()
        return True

    def _on_training_end(self) -> None:
        self._bar.close()

    def _count(self, info: dict[str, Any]) -> None:
        """Take an episode into account."""
        self._episodes += 1
        if info["calculator_error"] is None and info["energy"] < self._best:
            self._best, above = info["energy"], info["energy_above_reference"]
            self._shown = f"best {above:+.2f} eV" if np.isfinite(above) else f"best {self._best:.2f} eV"
        if info["is_success"] and not self._found:
            self._found = self._episodes


class EpisodeLog(EpisodeCallback):
    """Append one JSON line an episode to a file, and when it ended to another: the first depends on the settings alone.

    Parameters
    ----------
    path
        The file of the episodes; lines are appended to what it holds.
    times
        The file of the seconds since the search began, or went on.
    """

    def __init__(self, path: Path, times: Path) -> None:
        super().__init__()
        self._path, self._times = path, times
        self._episode = len(read_rows(path)) + 1
        self._start = time.perf_counter()

    def _on_training_start(self) -> None:
        self._start = time.perf_counter()

    def on_episode(self, info: dict[str, Any]) -> bool:
        """Write the lines of this episode and hand them to the operating system."""
        is_computed = info["calculator_error"] is None  # or else it is the penalty
        row = {
            "episode": self._episode,
            "energy": _number(info["energy"]) if is_computed else None,
            "energy_above_reference": _number(info["energy_above_reference"]) if is_computed else None,
            "is_success": info["is_success"],
            "dead_end": info["dead_end"],
            "calculator_error": info["calculator_error"],
            "placed": list(map(int, info["placed"])),
        }
        _append(self._path, row)
        _append(self._times, {"episode": self._episode, "time_s": round(time.perf_counter() - self._start, 3)})
        self._episode += 1
        return True

    def sync(self) -> None:
        """Make sure that all lines outlive a power failure."""
        for path in (self._path, self._times):
            if path.exists():
                with path.open("rb") as file:
                    os.fsync(file.fileno())


class Checkpoint(EpisodeCallback):
    """Save the agent now and then; the old file stays whole until the new one is.

    Parameters
    ----------
    path
        The file.
    log
        What is to be safe before the agent is saved.
    every
        Episodes between two checkpoints.
    """

    def __init__(self, path: Path, log: EpisodeLog | None = None, every: int = 50) -> None:
        super().__init__()
        self._path, self._log, self._every, self._episodes = path, log, every, 0
        self._due = False

    def on_episode(self, info: dict[str, Any]) -> bool:
        """Count the episode; whether to save is known now, but the agent has yet to learn from it."""
        self._episodes += 1
        self._due |= self._episodes % self._every == 0
        return True

    def save(self) -> None:
        """Save now, between two episodes."""
        if self._log is not None:
            self._log.sync()
        self.model.save(self._path)
        self._due = False

    def _on_rollout_start(self) -> None:
        if self._due:
            self.save()


class StopOnSuccess(EpisodeCallback):
    """Stop the search once a structure within the success window is found."""

    def on_episode(self, info: dict[str, Any]) -> bool:
        """Whether to go on."""
        return not info["is_success"]


def read_rows(path: Path, kinds: Mapping[str, Any] | None = None, most: int | None = None) -> list[dict[str, Any]]:
    """Rows of a file with a line of JSON each, none if there is no file; a last one that was cut off is left out.

    Parameters
    ----------
    path
        The file.
    kinds
        What each row must hold, by name: a type, or several.
    most
        Only so many rows are read, the first ones; None: all.

    Raises
    ------
    ValueError
        If a line is something else.
    """
    if not path.exists():
        return []
    *lines, _ = path.read_bytes().split(b"\n")
    rows = [_row(line, f"{path}, line {number},") for number, line in enumerate(lines[:most], 1)]
    for number, row in enumerate(rows, 1):
        wrong = [name for name, kind in (kinds or {}).items() if not isinstance(row.get(name, ...), kind)]
        if wrong:
            raise ValueError(f"{path}, line {number}, must hold `{'`, `'.join(wrong)}`, whole and of the right kind")
    return rows


def as_list(callback: MaybeCallback) -> list[BaseCallback]:
    """Callbacks in any form that Stable-Baselines3 takes, as a list."""
    if callback is None:
        return []
    if isinstance(callback, list):
        return callback
    return [callback if isinstance(callback, BaseCallback) else ConvertCallback(callback)]


def _row(line: bytes, name: str) -> dict[str, Any]:
    """The row that a line holds."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # no JSON, or no text at all
        raise ValueError(f"{name} is {line[:40]!r} but must be JSON") from error
    if not isinstance(row, dict):
        raise ValueError(f"{name} is {line[:40]!r} but must be a JSON object")
    return row


def _append(path: Path, row: dict[str, Any]) -> None:
    """Append a line of JSON in one go."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _number(value: float) -> float | None:
    """JSON has no nan."""
    return float(value) if np.isfinite(value) else None
