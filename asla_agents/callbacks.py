"""What happens at the end of each episode: a progress bar, a line in a file, a stop."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
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
    """

    def __init__(self, total_episodes: int) -> None:
        super().__init__()
        self._total = total_episodes
        self._best, self._found, self._episodes = np.inf, 0, 0
        self._shown = "no energy yet"

    def _on_training_start(self) -> None:
        self._bar = tqdm(total=self._total, unit="ep", dynamic_ncols=True, smoothing=0.05)

    def on_episode(self, info: dict[str, Any]) -> bool:
        """Move the bar by one episode."""
        self._episodes += 1
        if info["calculator_error"] is None and info["energy"] < self._best:
            self._best, above = info["energy"], info["energy_above_reference"]
            self._shown = f"best {above:+.2f} eV" if np.isfinite(above) else f"best {self._best:.2f} eV"
        if info["is_success"] and not self._found:
            self._found = self._episodes
        found = f"found at {self._found}" if self._found else "searching"
        self._bar.set_postfix_str(f"{self._shown}, {found}")
        self._bar.update()
        return True

    def _on_training_end(self) -> None:
        self._bar.close()


class EpisodeLog(EpisodeCallback):
    """Append one JSON line an episode to a file.

    Parameters
    ----------
    path
        The file; lines are appended to what it holds.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._episode = 1
        self._start = time.perf_counter()

    def _on_training_start(self) -> None:
        self._start = time.perf_counter()

    def on_episode(self, info: dict[str, Any]) -> bool:
        """Write the line of this episode and hand it to the operating system."""
        row = {
            "episode": self._episode,
            "energy": _number(info["energy"]),
            "energy_above_reference": _number(info["energy_above_reference"]),
            "is_success": info["is_success"],
            "dead_end": info["dead_end"],
            "calculator_error": info["calculator_error"],
            "placed": list(map(int, info["placed"])),
            "time_s": round(time.perf_counter() - self._start, 3),
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._episode += 1
        return True


class Checkpoint(EpisodeCallback):
    """Save the agent now and then; the old file stays whole until the new one is.

    Parameters
    ----------
    path
        The file.
    every
        Episodes between two checkpoints.
    """

    def __init__(self, path: Path, every: int = 100) -> None:
        super().__init__()
        self._path, self._every, self._episodes = path, every, 0
        self._due = False

    def on_episode(self, info: dict[str, Any]) -> bool:
        """Count the episode; whether to save is known now, but the agent has yet to learn from it."""
        self._episodes += 1
        self._due = self._episodes % self._every == 0
        return True

    def _on_rollout_start(self) -> None:
        self._save_if_due()

    def _on_training_end(self) -> None:
        self._save_if_due()

    def _save_if_due(self) -> None:
        if self._due:
            save_whole(self.model, self._path)
            self._due = False


class StopOnSuccess(EpisodeCallback):
    """Stop the search once a structure within the success window is found."""

    def on_episode(self, info: dict[str, Any]) -> bool:
        """Whether to go on."""
        return not info["is_success"]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a file with a line of JSON each, none if there is no file; a last one that was cut off is left out."""
    if not path.exists():
        return []
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines]


def as_list(callback: MaybeCallback) -> list[BaseCallback]:
    """Callbacks in any form that Stable-Baselines3 takes, as a list."""
    if callback is None:
        return []
    if isinstance(callback, list):
        return callback
    return [callback if isinstance(callback, BaseCallback) else ConvertCallback(callback)]


def save_whole(model: BaseAlgorithm, path: Path) -> None:
    """Save a model so that the file is either the old one or the new one, never a part."""
    partial = path.with_suffix(".partial.zip")
    model.save(partial)
    partial.replace(path)


def _number(value: float) -> float | None:
    """JSON has no nan."""
    return float(value) if np.isfinite(value) else None
