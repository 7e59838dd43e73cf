"""Searches of a study that have no row yet, kept in files so that an interruption costs them little."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from asla_agents.checkpoint import State, read_checkpoint, write_checkpoint
from asla_agents.config import RunConfig
from asla_env.whole_file import is_partial, remove_partial_files

_SHARE = 0.02  # of the time goes into writing
_AT_MOST_S = 120.0  # between two writes, however long one takes


@dataclass(frozen=True)
class Progress:
    """How far an unfinished search had come when it was kept."""

    arm: str
    """Name of its settings."""
    key: str
    """Digest of its settings but the seed."""
    seed: int
    """Its seed."""
    episodes: int
    """Episodes that ended."""
    found_at: int | None
    """Episode of its first success, after which it goes on; None if there was none."""
    lowest: float
    """Lowest energy above the reference in eV, inf if there is none."""


class UnfinishedSearches:
    """The directory ``<rows>.unfinished`` with a checkpoint for each search; it is gone when all have a row.

    Parameters
    ----------
    rows
        File of rows of the study.
    """

    def __init__(self, rows: Path) -> None:
        self._rows, file = rows, rows.resolve()  # one file of many names has one directory
        self._directory = file.with_name(f"{file.name}.unfinished")
        self._written_at, self._took = time.perf_counter(), 0.0
        self._seen: dict[Path, tuple[int, Progress]] = {}  # time of the file, and what is in it

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; the lock ends with the process, however that ends.

        Raises
        ------
        ValueError
            If another process has it.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._directory / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(
                f"`rows` is {self._rows} but another process writes there: wait for its end, or choose another file"
            ) from error
        try:
            remove_partial_files(self._directory)
            yield
        finally:
            (self._directory / ".lock").unlink(missing_ok=True)
            with suppress(OSError):  # there are unfinished searches
                self._directory.rmdir()
            lock.release()

    def read(self, configs: Sequence[RunConfig]) -> dict[int, State]:
        """State, by its place among them, of each of some searches that was kept.

        Raises
        ------
        CheckpointError
            If a file is damaged, or of another version; it may be deleted, and its search begins anew.
        """
        paths = {i: self._path(config.key, config.seed) for i, config in enumerate(configs)}
        return {i: read_checkpoint(path) for i, path in paths.items() if path.exists()}

    def write_if_due(self, group: Sequence[tuple[str, RunConfig]], states: Callable[[], Mapping[int, State]]) -> None:
        """Keep searches of which arms and settings are given, as often as a fiftieth of the time allows.

        It is done every two minutes at least.

        Parameters
        ----------
        group
            Arm and settings of each.
        states
            Called for the states of the unfinished ones, by their places in `group`; see `Ensemble.states`.
        """
        now = time.perf_counter()
        if now - self._written_at >= min(self._took / _SHARE, _AT_MOST_S):
            self.write(group, states())
            self._written_at = time.perf_counter()
            self._took = self._written_at - now

    def write(self, group: Sequence[tuple[str, RunConfig]], states: Mapping[int, State]) -> None:
        """Keep searches of which arms and settings are given, and states by their places among them."""
        for i, (plain, tensors) in states.items():
            arm, config = group[i]
            told = {"arm": arm, "key": config.key}
            write_checkpoint(self._path(config.key, config.seed), State(told | plain, tensors))

    def progress(self) -> list[Progress]:
        """How far each search had come, for a second process that watches; by name of the file."""
        paths = sorted(self._files("*"))
        for path in paths:
            with suppress(FileNotFoundError):  # it has a row now
                changed, known = path.stat().st_mtime_ns, self._seen.get(path)
                if known is None or known[0] != changed:
                    self._seen[path] = changed, _progress_of(read_checkpoint(path), _seed_of(path))
        return [self._seen[path][1] for path in paths if path in self._seen]

    def seeds(self, key: str) -> list[int]:
        """Seeds of the searches of some settings, by their key, that were kept, ascending."""
        return sorted(_seed_of(path) for path in self._files(f"{key}-*"))

    def remove(self, key: str, seed: int) -> None:
        """Forget a search that has a row."""
        self._path(key, seed).unlink(missing_ok=True)

    def _files(self, pattern: str) -> list[Path]:
        """Files of searches that were kept, those of a name like this."""
        return [path for path in self._directory.glob(f"{pattern}.zip") if not is_partial(path)]

    def _path(self, key: str, seed: int) -> Path:
        return self._directory / f"{key}-{seed}.zip"


def episodes_of(state: State) -> int:
    """Episodes that a search had ended."""
    return len(state.plain["energies"])


def _seed_of(path: Path) -> int:
    """Seed of the search that a file keeps."""
    return int(path.stem.rpartition("-")[2])


def _progress_of(state: State, seed: int) -> Progress:
    """What a watcher is told."""
    energies = [energy for energy in state.plain["energies"] if energy is not None]
    lowest = min(energies, default=math.inf)
    plain = state.plain
    return Progress(plain["arm"], plain["key"], seed, episodes_of(state), plain["found_at"], lowest)
