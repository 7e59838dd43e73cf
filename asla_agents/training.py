"""A search, from its settings to a directory that explains itself."""

import logging
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from asla_agents.asla import ASLA
from asla_agents.best_files import write_best
from asla_agents.build_vec_env import BuildVecEnv
from asla_agents.callbacks import Checkpoint, EpisodeLog, ProgressBar, StopOnSuccess
from asla_agents.checkpoint import read_checkpoint
from asla_agents.checks import check_calculator
from asla_agents.config import RunConfig
from asla_agents.model_state import settings_of
from asla_agents.q_map import take_over
from asla_agents.run_directory import RunDirectory, read_episodes
from asla_agents.tensorboard import TensorBoard, check_tensorboard, tensorboard_logger
from asla_env import Evaluator
from asla_env.calculator_spec import CalculatorSpec
from asla_env.energy_database import EnergyDatabase
from asla_env.env import AtomPlacementEnv
from asla_env.ids import make


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


def search(
    config: RunConfig,
    path: Path,
    progress_bar: bool = True,
    executor: Executor | None = None,
    tensorboard: bool = False,
    known: Sequence[Path] = (),
) -> SearchResult:
    """Run a search and write a directory of results.

    An interrupt (Ctrl-C) ends the search after the files are written; `resume` goes on. A search that comes first
    (`RunConfig.pretrained`) has a directory of its own inside.

    Parameters
    ----------
    config
        All settings.
    path
        Directory to write; it is made, and must be empty if it exists.
    progress_bar
        Whether to show progress on the terminal.
    executor
        Where energies are computed, such as guarded processes; None: here.
    tensorboard
        Whether to write scalars and pictures for TensorBoard; the episodes are the same with and without.
    known
        Databases of energies, or directories of searches, whose energies by this calculator are not computed again.

    Raises
    ------
    FileExistsError
        If the directory holds something, or is a file.
    FileNotFoundError
        If there is no database of known energies.
    ValueError
        If the calculator does not know a species, or fails on the reference structure; if a file of known energies is
        no database.
    ImportError
        If TensorBoard is wanted and missing.
    """
    if tensorboard:
        check_tensorboard()
    calculator = _fingerprint(config)  # what is wrong with it is said before anything is written
    directory = RunDirectory.make(path, config)
    with directory.locked(), EnergyDatabase(directory.energies, calculator) as database:
        try:
            for source in known:
                _take_energies(database, source)
            model = make_model(config, make_env(config, executor, database))
        except BaseException:
            directory.discard()  # nothing was searched: the name is free for the next try
            raise
        if not _pretrain(model, config, directory, progress_bar, executor, known):
            return _summary([], directory.path, interrupted=True)
        return _run(model, config, directory, progress_bar, tensorboard)


def resume(
    path: Path,
    episodes: int | None = None,
    progress_bar: bool = True,
    executor: Executor | None = None,
    tensorboard: bool | None = None,
) -> SearchResult:
    """Go on with a search that ended, was interrupted or died, as if it had never stopped.

    It goes on from its last checkpoint; energies computed since then are taken from its database.

    Parameters
    ----------
    path
        Directory of the search.
    episodes
        Episodes in all, instead of what the search was started with.
    progress_bar
        Whether to show progress on the terminal.
    executor
        Where energies are computed, such as guarded processes; None: here.
    tensorboard
        Whether to write for TensorBoard; None: if the search did so before.

    Raises
    ------
    ImportError
        If TensorBoard is wanted and missing.
    RunDirectoryError
        If there is no search in the directory, its files are damaged, the agent had other settings than they have now,
        or another process searches there.
    CheckpointError
        If its checkpoint is damaged or another search's.
    ValueError
        If `episodes` are fewer than have ended, or the calculator, its version or its files are others than before.
    """
    directory = RunDirectory(path)
    config = directory.config()
    tensorboard = directory.tensorboard.exists() if tensorboard is None else tensorboard
    if tensorboard:
        check_tensorboard()
    if episodes is not None:
        ended = len(read_episodes(path))
        if episodes < ended:
            raise ValueError(f"`episodes` is {episodes} but must be at least {ended}, those that have ended")
        config = RunConfig(**(config.model_dump() | {"episodes": episodes}))
    with directory.locked(), EnergyDatabase(directory.energies, _fingerprint(config)) as database:
        env, checkpoint = make_env(config, executor, database), directory.checkpoint
        goes_on = checkpoint.exists()
        model = make_model(config, env)
        if goes_on:
            made, model = model, ASLA.load(checkpoint, _together(env, config))
            directory.check_settings(settings_of(made), settings_of(model))
        check_calculator(env.evaluator.spec, model.calculator)
        directory.keep_episodes(model.episodes)
        if not goes_on and not _pretrain(model, config, directory, progress_bar, executor):
            return _summary([], directory.path, interrupted=True)
        _let_fail_again(database, model, directory)
        directory.write_config(config)
        return _run(model, config, directory, progress_bar, tensorboard)


def _pretrain(
    model: ASLA,
    config: RunConfig,
    directory: RunDirectory,
    progress_bar: bool,
    executor: Executor | None,
    known: Sequence[Path] = (),
) -> bool:
    """Run the search that comes first, if any, and take over its network; False if it was interrupted."""
    before, first = config.before(), directory.pretrained
    if before is None:
        return True
    if first.has_settings:
        result = resume(first.path, progress_bar=progress_bar, executor=executor)
    else:
        if first.path.exists():  # a process was killed before it had written the settings
            first.discard()
        result = search(before, first.path, progress_bar, executor, known=known)
    if not result.interrupted and (weights := read_checkpoint(first.checkpoint).tensors["best"]):
        take_over(model.q_map, weights)
    return not result.interrupted


def _take_energies(database: EnergyDatabase, source: Path) -> None:
    """Copy the known energies of another search, and say how many they are."""
    path = RunDirectory(source).energies if source.is_dir() else source
    print(f"{database.copy_from(path)} energies by this calculator in {path}")


def _let_fail_again(database: EnergyDatabase, model: ASLA, directory: RunDirectory) -> None:
    """Let the episodes after the checkpoint fail as they did: their failures may have been those of a moment."""
    failed = [row["placed"] for row in read_episodes(directory.path) if row["calculator_error"]]
    database.fail_again(map(model.problem.canonical_key, failed))


def _fingerprint(config: RunConfig) -> str:
    """What tells the calculator of a search, its settings and version from others."""
    fingerprint = CalculatorSpec(config.evaluator, config.evaluator_settings).fingerprint
    if fingerprint is None:
        raise ValueError(f"`evaluator` is {config.evaluator!r} but must be the same whenever it is made")
    return fingerprint


def _run(
    model: ASLA, config: RunConfig, directory: RunDirectory, progress_bar: bool, tensorboard: bool
) -> SearchResult:
    """Search to the end, and write what was found."""
    with _warnings_in(directory.warnings), _events_in(directory.tensorboard if tensorboard else None, model) as events:
        try:
            interrupted = _learn(model, config, directory, progress_bar, events)
        finally:  # a cluster may be lost on the way: what there is is written too
            if model.best is not None:
                write_best(model.best, model, directory.path)
    return _summary(read_episodes(directory.path), directory.path, interrupted)


def _learn(
    model: ASLA, config: RunConfig, directory: RunDirectory, progress_bar: bool, events: list[BaseCallback]
) -> bool:
    """Learn to the end; whether an interrupt came before."""
    rows = read_episodes(directory.path)
    log = EpisodeLog(directory.episodes, directory.times)
    checkpoint = Checkpoint(directory.checkpoint, log)
    callbacks: list[BaseCallback] = [log, checkpoint, *events]
    callbacks += [StopOnSuccess()] * config.stop_on_success + [ProgressBar(config.episodes, rows)] * progress_bar
    is_over = len(rows) >= config.episodes or (config.stop_on_success and any(row["is_success"] for row in rows))
    try:
        if not is_over:
            # never: what Stable-Baselines3 itself logs has placements for steps, not episodes
            model.learn(config.episodes - len(rows), callbacks, log_interval=sys.maxsize)
            checkpoint.save()
    except KeyboardInterrupt:
        print("interrupted: writing the results")
        return True
    return False


def make_env(
    config: RunConfig, executor: Executor | None = None, database: EnergyDatabase | None = None
) -> AtomPlacementEnv:
    """Make the environment of a search, its reference energy computed.

    Parameters
    ----------
    config
        All settings.
    executor
        Where energies are computed; see `asla_env.Evaluator`.
    database
        Where energies are kept.

    Raises
    ------
    ValueError
        If there is no such id, the calculator does not know a species, or it fails on the reference structure.
    """
    evaluator = Evaluator(config.evaluator, executor, config.evaluator_settings, database)
    env = make(config.env_id, evaluator=evaluator)
    env.check_reference()
    return env


def make_model(config: RunConfig, env: AtomPlacementEnv) -> ASLA:
    """Make the agent of a search, with random weights.

    Parameters
    ----------
    config
        All settings.
    env
        The environment of the search.
    """
    return ASLA(
        "QMapPolicy",
        _together(env, config),
        representation=config.representation,
        representation_kwargs=config.representation_kwargs,
        network_kwargs=config.network.as_kwargs(),
        state_value=config.state_value,
        learning_rate=config.learning_rate,
        batch_size=config.batch_size,
        gradient_steps=config.gradient_steps,
        max_grad_norm=config.max_grad_norm,
        warmup_episodes=config.warmup_episodes,
        patience=config.patience,
        exploration=config.exploration,
        replay=config.replay,
        augment=config.augment,
        imagination=config.imagination,
        seed=config.seed,
    )


def _together(env: AtomPlacementEnv, config: RunConfig) -> AtomPlacementEnv | BuildVecEnv:
    """The environment, or as many builds in it as go on together."""
    return env if config.builds_at_once == 1 else BuildVecEnv(env, config.builds_at_once)


@contextmanager
def _warnings_in(path: Path) -> Iterator[None]:
    """Write what the environment logs, such as why an energy failed, to a file; the terminal is the progress bar's."""
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    logger = logging.getLogger("asla_env")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def _events_in(folder: Path | None, model: ASLA) -> Iterator[list[BaseCallback]]:
    """Let the agent write for TensorBoard, if there is a folder for that; what does so."""
    if folder is None:
        yield []
        return
    logger = tensorboard_logger(folder, model.episodes)
    model.set_logger(logger)
    try:
        yield [TensorBoard()]
    finally:
        logger.close()


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
