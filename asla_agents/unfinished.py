"""Searches of a study that have no row yet, kept in files so that an interruption costs them little."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from asla_agents.checkpoint import State, read_checkpoint, write_checkpoint
from asla_agents.config import RunConfig

_EVERY_S = 120.0


class UnfinishedSearches:
    """The directory ``<rows>.unfinished``, a checkpoint for each search, which is gone when all have a row.

    Parameters
    ----------
    rows
        File of rows of the study.
    """

    def __init__(self, rows: Path) -> None:
        self._directory = rows.with_name(f"{rows.name}.unfinished")
        self._written_at = time.monotonic()

    def read(self, configs: Sequence[RunConfig]) -> dict[int, State]:
        """State, by its place among them, of each of some searches that was kept.

        Raises
        ------
        CheckpointError
            If a file is damaged, or of another version; it may be deleted, and its search begins anew.
        """
        paths = {i: self._path(config.key, config.seed) for i, config in enumerate(configs)}
        return {i: read_checkpoint(path) for i, path in paths.items() if path.exists()}

    def write_if_due(self, configs: Sequence[RunConfig], states: Callable[[], Mapping[int, State]]) -> None:
        """Keep what `Ensemble.states` gives, if it is two minutes since that was done."""
        if time.monotonic() - self._written_at < _EVERY_S:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        for i, state in states().items():
            write_checkpoint(self._path(configs[i].key, configs[i].seed), state)
        self._written_at = time.monotonic()

    def remove(self, key: str, seed: int) -> None:
        """Forget a search that has a row."""
        self._path(key, seed).unlink(missing_ok=True)

    def remove_directory(self) -> None:
        """Remove the directory, unless it holds searches of other settings; nothing may be running any more."""
        with suppress(OSError):  # not empty, or not there
            self._directory.rmdir()

    def _path(self, key: str, seed: int) -> Path:
        return self._directory / f"{key}-{seed}.zip"


def episodes_of(state: State) -> int:
    """Episodes that a search had ended."""
    return len(state.plain["energies"])
