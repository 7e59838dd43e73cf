"""Studies: many restarts of a few settings, a row for each, that go on after any interruption."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, suppress
from functools import partial
from hashlib import blake2b
from itertools import groupby
from math import ceil
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Empty
from typing import Any, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from asla_agents.callbacks import read_rows
from asla_agents.config import SearchConfig
from asla_agents.ensemble import Ensemble, MemberResult, shared_settings
from asla_env.executors import energy_executor
from asla_env.limits import Limits
from asla_env.worker_process import end_with_parent

MEMBERS = 32  # of an ensemble
Row = dict[str, Any]
_Energies = Callable[[], AbstractContextManager[Executor | None]]  # which makes what computes them


class Study(BaseModel):
    """What is compared: arms of settings, each to be restarted from many seeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: dict[str, Any]
    """Settings of a `SearchConfig` that all arms share."""
    arms: dict[str, dict[str, Any]] = Field(default={"default": {}}, min_length=1)
    """Name of each arm, and its settings on top of these."""

    def config(self, arm: str, seed: int) -> SearchConfig:
        """Settings of one restart."""
        return SearchConfig(**{**self.settings, **self.arms[arm], "seed": seed})

    def changed(self, **settings: Any) -> Self:
        """Return the same comparison with some settings changed, in all arms."""
        arms = {arm: {k: v for k, v in own.items() if k not in settings} for arm, own in self.arms.items()}
        return self.model_copy(update={"settings": self.settings | settings, "arms": arms})


def run_study(
    study: Study,
    path: Path,
    restarts: int,
    workers: int = 1,
    device: str = "cpu",
    members: int = MEMBERS,
    energy_workers: int = 0,
    dask: str | None = None,
    on_episodes: Callable[[int], None] | None = None,
) -> Iterator[Row]:
    """Run the restarts that have no row yet; each row is yielded when it is in the file.

    Parameters
    ----------
    study
        What to run.
    path
        File of rows, a line of JSON each. Rows of other settings in it are left alone.
    restarts
        Restarts of each arm, from seed 0 on.
    workers
        Processes, of one thread each.
    device
        Where the networks are.
    members
        Most searches that one process advances together.
    energy_workers
        Guarded processes that each of these has for energies; 0: it computes them itself.
    dask
        Address of the scheduler of a Dask cluster that computes the energies instead.
    on_episodes
        Called with the number of episodes that ended since the last call.

    Raises
    ------
    ValueError
        If a number is not at least 1, `energy_workers` not at least 0, or settings are wrong.
    """
    for name, number in (("restarts", restarts), ("workers", workers), ("members", members)):
        if number < 1:
            raise ValueError(f"`{name}` is {number} but must be at least 1")
    if energy_workers < 0:
        raise ValueError(f"`energy_workers` is {energy_workers} but must be at least 0")
    groups = _groups(missing_restarts(study, path, restarts), workers, members)
    if not groups:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _mend(path)
    with path.open("a", encoding="utf-8") as file:
        limits = Limits().shared_by(workers * energy_workers) if energy_workers else None
        energies = partial(energy_executor, energy_workers, limits, dask)
        for message in _messages(groups, workers, device, energies):
            if isinstance(message, int):
                if on_episodes is not None:
                    on_episodes(message)
                continue
            file.write(json.dumps(message) + "\n")
            file.flush()
            os.fsync(file.fileno())
            yield message


def missing_restarts(study: Study, path: Path, restarts: int) -> list[tuple[str, SearchConfig]]:
    """Arm and settings of each restart that has no row in a file yet."""
    wanted = [(arm, study.config(arm, seed)) for seed in range(restarts) for arm in study.arms]
    there = {(row["key"], row["seed"]) for row in read_rows(path)}
    return [(arm, config) for arm, config in wanted if (key_of(config), config.seed) not in there]


def key_of(config: SearchConfig) -> str:
    """Digest of all settings but the seed."""
    text = json.dumps(config.model_dump(mode="json", exclude={"seed"}), sort_keys=True)
    return blake2b(text.encode(), digest_size=8).hexdigest()


def rows_of(study: Study, arm: str, rows: Sequence[Row]) -> list[Row]:
    """Rows of one arm, one a seed, by seed.

    Restarts that were allowed fewer or more episodes than now count too, as success curves take censored data. Of two
    of one seed it is the one that was allowed more.
    """
    configs = [study.config(arm, 0)]
    configs += [study.changed(episodes=n).config(arm, 0) for n in {row["budget"] for row in rows if "budget" in row}]
    keys = {key_of(config) for config in configs}
    chosen = sorted((row for row in rows if row["key"] in keys), key=lambda row: row.get("budget", 0))
    return sorted({row["seed"]: row for row in chosen}.values(), key=lambda row: row["seed"])


def curve_data(rows: Sequence[Row]) -> tuple[list[float], list[int]]:
    """First success of each restart, nan if there is none, and its episodes, as `success_curve` takes them."""
    found_at = [np.nan if row["found_at"] is None else float(row["found_at"]) for row in rows]
    return found_at, [row["episodes"] for row in rows]


def _mend(path: Path) -> None:
    """Cut off the end of a row that was being written when the process died."""
    if path.exists():
        text = path.read_bytes()
        with path.open("r+b") as file:
            file.truncate(text.rfind(b"\n") + 1)


def _groups(
    restarts: list[tuple[str, SearchConfig]], workers: int, members: int
) -> list[list[tuple[str, SearchConfig]]]:
    """Restarts that may go together, in groups of even size, at least one for each worker."""

    def shared(restart: tuple[str, SearchConfig]) -> list[str]:
        """What members of an ensemble must share."""
        return list(shared_settings(restart[1]).values())

    groups = []
    for _, alike in groupby(sorted(restarts, key=shared), key=shared):
        together = list(alike)
        n_groups = min(len(together), workers * ceil(len(together) / (workers * members)))
        groups += [together[i::n_groups] for i in range(n_groups)]
    return groups


def _messages(
    groups: list[list[tuple[str, SearchConfig]]], workers: int, device: str, energies: _Energies
) -> Iterator[Row | int]:
    """Run groups in processes of their own; rows, and numbers of episodes that ended, as they come."""
    context = multiprocessing.get_context("spawn")
    manager = SyncManager(ctx=context)
    manager.start(end_with_parent)
    with manager, ProcessPoolExecutor(workers, context, end_with_parent) as pool:
        queue = manager.Queue()
        running: set[Future[None]] = {pool.submit(_run_group, group, device, energies, queue) for group in groups}
        try:
            while running or not queue.empty():
                done, running = wait(running, timeout=0, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()  # raises what went wrong there
                with suppress(Empty):
                    yield queue.get(timeout=0.5)
        finally:
            processes = list((pool._processes or {}).values())  # which the pool forgets as it shuts down
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:  # on an interrupt nothing else stops them
                process.terminate()


def _run_group(group: list[tuple[str, SearchConfig]], device: str, energies: _Energies, queue: Any) -> None:
    """Run an ensemble and hand over its rows, and how many episodes ended."""
    torch.set_num_threads(1)
    with energies() as executor:
        ensemble = Ensemble([config for _, config in group], device, executor=executor)
        for result in ensemble.run(queue.put):
            queue.put(_row(group[result.index][0], result))


def _row(arm: str, result: MemberResult) -> Row:
    """What is kept of a restart."""
    energies = result.energies[np.isfinite(result.energies)]
    row = {
        "arm": arm,
        "key": key_of(result.config),
        "seed": result.config.seed,
        "budget": result.config.episodes,
        "episodes": result.episodes,
        "found_at": result.found_at,
        "best_above_reference": round(float(energies.min()), 4) if len(energies) else None,
        "median_last_100": round(float(np.median(energies[-100:])), 3) if len(energies) else None,
    }
    return row | ({"learned": result.learned} if result.learned else {})
