"""A search, from its settings to a directory that explains itself."""

import json
import logging
import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from stable_baselines3.common.callbacks import BaseCallback

from asla_agents.asla import ASLA
from asla_agents.build_vec_env import BuildVecEnv
from asla_agents.callbacks import Checkpoint, EpisodeLog, ProgressBar, StopOnSuccess, read_rows, save_whole
from asla_agents.config import SearchConfig
from asla_agents.explorer import BestBuild
from asla_env import Evaluator, film, render
from asla_env.action import ActionMask
from asla_env.env import AtomPlacementEnv
from asla_env.observation import one_hot

_LIBRARIES = ("asla", "torch", "stable-baselines3", "gymnasium", "ase", "tblite", "numpy")
_ABOUT = """\
# {title}

| file | what it holds |
|---|---|
| `config.json` | all settings of the search, and the versions of the libraries it ran with |
| `episodes.jsonl` | a line for each episode: energy in eV, and above the reference, success, actions, seconds so far |
| `best.xyz`, `best.traj` | the structure of lowest energy, for any program and for ASE (`ase gui best.traj`) |
| `best.png` | its picture |
| `assembly.gif`, `assembly.png` | how it was put together, beside the Q-maps of the network that built it |
| `warnings.log` | why energies failed, if any did |
| `checkpoint.zip` | agent and builds: `ASLA.load("checkpoint.zip", env=env)`; load only files that you trust |
"""


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Parameters
    ----------
    directory
        Where everything is.
    episodes
        Episodes that ended.
    best_energy, best_energy_above_reference
        Lowest energy in eV, and what it lies above the reference; nan if there is none.
    found_at
        First episode whose structure is inside the success window, None if there is none.
    interrupted
        Whether an interrupt ended the search.
    """

    directory: Path
    episodes: int
    best_energy: float
    best_energy_above_reference: float
    found_at: int | None
    interrupted: bool


def search(config: SearchConfig, directory: Path, progress_bar: bool = True) -> SearchResult:
    """Run a search and write a directory of results.

    An interrupt (Ctrl-C) ends the search after the files are written.

    Parameters
    ----------
    config
        All settings.
    directory
        Where to write; it is made, and must be empty if it exists.
    progress_bar
        Whether to show progress on the terminal.

    Raises
    ------
    FileExistsError
        If the directory holds something, or is a file.
    ValueError
        If the calculator does not know a species, or fails on the reference structure.
    """
    is_there = directory.exists()
    if is_there and not (directory.is_dir() and not any(directory.iterdir())):
        raise FileExistsError(f"`directory` is {directory} but must be a new or an empty directory")
    model = make_model(config, make_env(config))
    directory.mkdir(parents=True, exist_ok=is_there)  # fails if another search took it in the meantime
    _write_about(config, directory)
    log = EpisodeLog(directory / "episodes.jsonl")
    callbacks: list[BaseCallback] = [log, Checkpoint(directory / "checkpoint.zip")]
    callbacks += [StopOnSuccess()] * config.stop_on_success + [ProgressBar(config.episodes)] * progress_bar
    interrupted = False
    try:
        with _warnings_in(directory / "warnings.log"):
            model.learn(config.episodes, callbacks)
    except KeyboardInterrupt:
        interrupted = True
        print("interrupted: writing the results")
    save_whole(model, directory / "checkpoint.zip")
    if model.best is not None:
        write_best(model.best, model, directory)
    return _summary(read_episodes(directory), directory, interrupted)


def make_env(config: SearchConfig, executor: Executor | None = None) -> AtomPlacementEnv:
    """Make the environment of a search, its reference energy computed.

    Parameters
    ----------
    config
        All settings.
    executor
        Where the energies of many structures are computed; see `asla_env.Evaluator`.

    Raises
    ------
    ValueError
        If the calculator does not know a species, or fails on the reference structure.
    """
    env = gym.make(config.env_id, evaluator=Evaluator(config.evaluator, executor)).unwrapped
    if not isinstance(env, AtomPlacementEnv):
        raise ValueError(f"`env_id` is {config.env_id!r} but must be the id of an AtomPlacementEnv")
    env.check_reference()
    return env


def make_model(config: SearchConfig, env: AtomPlacementEnv) -> ASLA:
    """Make the agent of a search."""
    return ASLA(
        "QMapPolicy",
        env if config.builds_at_once == 1 else BuildVecEnv(env, config.builds_at_once),
        representation=config.representation,
        representation_kwargs=config.representation_kwargs,
        state_value=config.state_value,
        learning_rate=config.learning_rate,
        batch_size=config.batch_size,
        gradient_steps=config.gradient_steps,
        max_grad_norm=config.max_grad_norm,
        warmup_episodes=config.warmup_episodes,
        patience=config.patience,
        exploration=config.exploration,
        replay=config.replay,
        imagination=config.imagination,
        seed=config.seed,
    )


def read_episodes(directory: Path) -> list[dict[str, Any]]:
    """Rows of a search's episodes, oldest first; a last line that was cut off is left out."""
    return read_rows(directory / "episodes.jsonl")


def write_best(best: BestBuild, model: ASLA, directory: Path) -> None:
    """Write the best structure as files, picture and film, with the Q-maps of the network that built it."""
    problem, placed = model.problem, best.placed
    atoms = problem.structure(placed)
    atoms.calc = SinglePointCalculator(atoms, energy=best.energy)
    write(directory / "best.xyz", atoms, format="extxyz")
    write(directory / "best.traj", atoms)
    above = np.isfinite(best.energy_above_reference)
    title = f"{problem.name}, " + (f"{best.energy_above_reference:+.3f} eV" if above else f"{best.energy:.3f} eV")
    render.save_structure(directory / "best.png", atoms, problem, energy=best.energy)
    images = np.array([one_hot(placed[:i], problem) for i in range(len(placed))])
    q_maps = model.q_values(images, best.weights).reshape(images.shape)
    masks = _legal_masks(placed, model)
    film.save_film(directory / "assembly.gif", placed, q_maps, problem, masks, title=title)
    film.save_film_strip(directory / "assembly.png", placed, q_maps, problem, masks, title=title)


def _legal_masks(placed: Sequence[int], model: ASLA) -> np.ndarray:
    """Legal actions before each placement, shape (steps, actions)."""
    mask, masks = ActionMask(model.problem), []
    for action in placed:
        masks.append(mask.legal)
        mask.place(action)
    return np.array(masks)


@contextmanager
def _warnings_in(path: Path) -> Iterator[None]:
    """Write what the environment logs, such as why an energy failed, to a file; the terminal is the progress bar's."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    logger = logging.getLogger("asla_env")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def _write_about(config: SearchConfig, directory: Path) -> None:
    """Write the settings and the page that explains the files."""
    versions = {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}
    settings = {"settings": config.model_dump(mode="json"), "versions": versions}
    (directory / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    title = f"Search of {config.env_id} with {config.evaluator}, {config.representation}, seed {config.seed}"
    (directory / "README.md").write_text(_ABOUT.format(title=title), encoding="utf-8")


def _summary(rows: list[dict[str, Any]], directory: Path, interrupted: bool) -> SearchResult:
    """Lowest energy and first success of the episodes."""
    computed = [row for row in rows if row["energy"] is not None and row["calculator_error"] is None]
    best = min(computed, key=lambda row: row["energy"], default={"energy": None, "energy_above_reference": None})
    found = next((row["episode"] for row in rows if row["is_success"]), None)
    energy, above = best["energy"], best["energy_above_reference"]
    return SearchResult(directory, len(rows), _or_nan(energy), _or_nan(above), found, interrupted)


def _or_nan(value: float | None) -> float:
    """Number of a JSON line, which has no nan."""
    return np.nan if value is None else value
