"""The directory of a search: what lies where, and how it is left so that a search can always go on."""

import json
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import NoneType
from typing import Any, Self

import torch
from filelock import FileLock, Timeout

from asla_agents.callbacks import read_rows
from asla_agents.config import RunConfig
from asla_agents.settings_file import SettingsFileError
from asla_env.calculator_spec import CalculatorSpec
from asla_env.whole_file import remove_partial_files, whole_file

_LIBRARIES = ("asla", "torch", "stable-baselines3", "gymnasium", "ase", "tblite", "numpy")
_ABOUT = """\
# {title}

Goes on after any interruption with `asla resume DIRECTORY`; `asla watch DIRECTORY` shows how it goes.

| file | what it holds |
|---|---|
| `config.json` | all settings of the search, the versions of the libraries it ran with, and how it was started |
| `episodes.jsonl` | a line for each episode: energy in eV and above the reference (null if none), success, actions |
| `times.jsonl` | a line for each episode: seconds since the search began, or went on |
| `energies.db` | every structure whose energy was computed: `ase db energies.db`, `ase gui energies.db` |
| `best.xyz`, `best.traj` | the structure of lowest energy, for any program and for ASE (`ase gui best.traj`) |
| `best.png` | its picture |
| `learning.png` | lowest energies by episode, as `asla plot DIRECTORY` draws them |
| `assembly.gif`, `assembly.png` | how it was put together, beside the Q-maps of the network at that time |
| `warnings.log` | why energies failed, if any did |
| `tensorboard/` | scalars and pictures, with `--tensorboard`: `tensorboard --logdir DIRECTORY` |
| `pretrained/` | the search whose network this one began with, if one came first: a directory like this one |
| `report.html` | all of this on one page, as `asla report DIRECTORY` writes it |
| `checkpoint.zip` | agent and builds: `ASLA.load("checkpoint.zip", env)`; JSON and tensors, nothing that is executed |
"""


_NUMBER, _TEXT = (int, float, NoneType), (str, NoneType)
_OF_EPISODE: dict[str, Any] = {"episode": int, "energy": _NUMBER, "energy_above_reference": _NUMBER}
_OF_EPISODE |= {"is_success": bool, "dead_end": bool, "calculator_error": _TEXT, "placed": list}


class RunDirectoryError(ValueError):
    """A directory does not hold a search that can go on."""


@dataclass(frozen=True)
class RunDirectory:
    """Where a search keeps its files.

    Parameters
    ----------
    path
        The directory.
    made
        Directories above it that were made with it, the innermost first.
    """

    path: Path
    made: tuple[Path, ...] = ()

    @classmethod
    def make(cls, path: Path, config: RunConfig) -> Self:
        """Make the directory of a new search, with its settings and the page that explains the files.

        Raises
        ------
        FileExistsError
            If the directory holds something, or is a file.
        """
        is_there = path.exists()
        if is_there and not (path.is_dir() and not any(path.iterdir())):
            raise FileExistsError(f"`directory` is {path} but must be a new or an empty directory")
        made = tuple(parent for parent in path.parents if not parent.exists())
        path.mkdir(parents=True, exist_ok=is_there)  # fails if another search took it in the meantime
        directory = cls(path, made)
        title = f"Search of {config.env_id} with {config.evaluator}, {config.representation}, seed {config.seed}"
        try:
            directory.write_config(config)  # first: with it, it is a search that can go on
            (path / "README.md").write_text(_ABOUT.format(title=title), encoding="utf-8")
        except BaseException:
            directory.discard()
            raise
        return directory

    @property
    def episodes(self) -> Path:
        """A line for each episode."""
        return self.path / "episodes.jsonl"

    @property
    def times(self) -> Path:
        """When each episode ended."""
        return self.path / "times.jsonl"

    @property
    def energies(self) -> Path:
        """Database of all energies."""
        return self.path / "energies.db"

    @property
    def checkpoint(self) -> Path:
        """The agent."""
        return self.path / "checkpoint.zip"

    @property
    def pretrained(self) -> "RunDirectory":
        """Directory of the search that comes first, if there is one."""
        return RunDirectory(self.path / "pretrained")

    @property
    def tensorboard(self) -> Path:
        """Events for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def warnings(self) -> Path:
        """Why energies failed."""
        return self.path / "warnings.log"

    def write_config(self, config: RunConfig) -> None:
        """Write the settings, and what they run with."""
        versions: dict[str, str | None] = {"python": platform.python_version()}
        versions |= {name: version(name) for name in _LIBRARIES}
        versions |= CalculatorSpec(config.evaluator, config.evaluator_settings).versions
        about = {
            "settings": config.model_dump(mode="json"),
            "threads": torch.get_num_threads(),
            "versions": versions,
            "started": [*self._started_before(), _started_now()],
        }
        with whole_file(self.path / "config.json") as partial:
            partial.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    def _started_before(self) -> list[Any]:
        """How the search was started, and gone on with, until now."""
        try:
            about = json.loads((self.path / "config.json").read_text(encoding="utf-8-sig"))  # an editor's mark
        except FileNotFoundError:
            return []
        started = about.get("started")
        return started if isinstance(started, list) else []

    @property
    def has_settings(self) -> bool:
        """Whether a search was begun here, and not killed before it had written its settings."""
        return (self.path / "config.json").exists()

    def config(self) -> RunConfig:
        """Settings of the search.

        Raises
        ------
        RunDirectoryError
            If there are none, or wrong ones.
        """
        path = self.path / "config.json"
        if not self.has_settings:
            raise RunDirectoryError(f"`directory` is {self.path} but must hold a search: there is no {path.name}")
        try:
            return RunConfig.load(path)
        except SettingsFileError as error:
            raise RunDirectoryError(str(error)) from error

    def check_settings(self, there: dict[str, Any], of_agent: dict[str, Any]) -> None:
        """Raise RunDirectoryError if the settings there are for another agent than the one that goes on."""
        for name, value in of_agent.items():
            if json.dumps(there[name], default=repr) != json.dumps(value, default=repr):
                raise RunDirectoryError(
                    f"{self.path / 'config.json'} has `{name}` {there[name]!r} but must have {value!r}, with which the "
                    "search began"
                )

    def discard(self) -> None:
        """Remove the directory with all that is in it, and those made with it where nothing else is."""
        shutil.rmtree(self.path)
        with suppress(OSError):
            for parent in self.made:
                parent.rmdir()

    def keep_episodes(self, n: int) -> None:
        """Cut off what was written after the first episodes, by a search that did not come to its next checkpoint.

        Raises
        ------
        RunDirectoryError
            If fewer have a whole line, or one is damaged; nothing is cut off then.
        """
        _episodes_in(self.episodes, n)
        if (there := len(_whole_lines(self.episodes))) < n:
            raise RunDirectoryError(f"{self.episodes} has {there} lines but must have the {n} of the checkpoint")
        for path in (self.episodes, self.times):  # times may be fewer: they are only looked at
            if path.exists():
                with path.open("r+b") as file:
                    file.truncate(sum(map(len, _whole_lines(path)[:n])))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; the lock ends with the process, however that ends.

        Raises
        ------
        RunDirectoryError
            If another process has it.
        """
        try:
            with FileLock(self.path / ".lock", timeout=0):
                remove_partial_files(self.path)
                yield
        except Timeout as error:
            raise RunDirectoryError(f"`directory` is {self.path} but another process searches there") from error


def _whole_lines(path: Path) -> list[bytes]:
    """Lines of a file that end; none if there is no file."""
    return [line + b"\n" for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def _started_now() -> dict[str, Any]:
    """By what command, when and on what machine this process works on a search."""
    name = Path(sys.argv[0]).name
    program = ["python", "-m", "asla_agents"] if name == "__main__.py" else [name]
    return {
        "command": shlex.join([*program, *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
    }


def read_episodes(directory: Path) -> list[dict[str, Any]]:
    """Rows of a search's episodes, oldest first; a last line that was cut off is left out.

    Raises
    ------
    RunDirectoryError
        If a line is damaged.
    """
    return _episodes_in(RunDirectory(directory).episodes)


def _episodes_in(path: Path, most: int | None = None) -> list[dict[str, Any]]:
    """Rows of a file of episodes, only the first ones if there are more."""
    try:
        return read_rows(path, _OF_EPISODE, most)
    except ValueError as error:
        raise RunDirectoryError(str(error)) from error
