"""The restarts of a study run: a row for each, and what has none goes on after any interruption."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from itertools import groupby
from math import ceil, isfinite, nan
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import torch

from asla_agents.checks import check_device
from asla_agents.config import RunConfig
from asla_agents.ensemble import Ensemble, networks_before, shared_settings
from asla_agents.member import MemberResult
from asla_agents.row_file import Row, appended, mend_end
from asla_agents.study import Study, comparable, missing_restarts, read_study_rows
from asla_agents.training import make_env, make_model
from asla_agents.unfinished import UnfinishedSearches, episodes_of
from asla_env.evaluator import Evaluator
from asla_env.executors import energy_executor
from asla_env.ids import make
from asla_env.limits import Limits
from asla_env.problems import PROBLEMS, best_on_grid
from asla_env.worker_process import end_with_parent

# What is raised if a worker dies, and then the manager of the queue; not the ConnectionError of a lost Dask cluster.
_DIED = "a process of the study died, killed or for want of memory: start it again to go on"
_DEAD = (BrokenProcessPool, EOFError, BrokenPipeError, ConnectionRefusedError, ConnectionResetError)
MEMBERS = 32  # of an ensemble
EXACT_WINDOW = 0.01  # eV above the best structure known on the grid
_Group = list[tuple[str, RunConfig]]  # arm and settings of restarts
_Energies = Callable[[], AbstractContextManager[Executor | None]]  # which makes what computes them
_RunGroup = Callable[[_Group, Callable[[int], None]], Iterator[Row]]  # which is told of episodes as they end


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

    Those that were interrupted go on where they were last kept, some seconds before.

    Parameters
    ----------
    study
        What to run.
    path
        File of rows, a line of JSON each. Rows of other settings in it are left alone.
    restarts
        Restarts of each arm, from seed 0 on.
    workers
        Processes, of one thread each; of one worker it is this process.
    device
        Where the networks are.
    members
        Most searches that one process advances together.
    energy_workers
        Guarded processes that each of these has for energies; 0: it computes them itself.
    dask
        Address of the scheduler of a Dask cluster that computes the energies instead.
    on_episodes
        Called with the number of episodes that ended since the last call, at first those of an interrupted run.

    Raises
    ------
    ValueError
        If a number is not at least 1, `energy_workers` not at least 0, settings are wrong, there is no such device, or
        another process writes the file.
    OSError
        If one of the processes dies.
    """
    for name, number in (("restarts", restarts), ("workers", workers), ("members", members)):
        if number < 1:
            raise ValueError(f"`{name}` is {number} but must be at least 1")
    if energy_workers < 0:
        raise ValueError(f"`energy_workers` is {energy_workers} but must be at least 0")
    check_device(device)
    if path.exists() and not path.is_file():
        raise ValueError(f"`rows` is {path} but must be a file that can be cut, or a new one")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = UnfinishedSearches(path)
    with unfinished.locked():
        mend_end(path)
        _forget_ended(path, unfinished)
        on_gpu = torch.device(device).type != "cpu"
        missing = missing_restarts(study, path, restarts)
        _check_arms(missing)
        groups = _groups(missing, workers, members, side_by_side=on_gpu)
        if not groups:
            return
        with appended(path) as append:
            limits = Limits().shared_by(workers * energy_workers) if energy_workers else None
            energies = partial(energy_executor, energy_workers, limits, dask)
            run_group = partial(_run_group, device, energies, unfinished)
            run = _run_here if workers == 1 else _run_there
            for row in run(groups, workers, run_group, on_episodes or (lambda _: None)):
                append(row)
                unfinished.remove(row["key"], row["seed"])
                yield row


def censor(study: Study, path: Path) -> list[Row]:
    """Write, and return, a row of each unfinished restart as far as it had come when it was last kept.

    Those that were begun with another number of episodes count where ended ones do, see `asla_agents.study.rows_of`:
    were they left out, the fast ones alone would be seen.

    It is the row of a restart that was allowed so many episodes; its ``unfinished`` is the key of the one that was
    stopped. What was kept stays: the study can go on, and a row of more episodes then takes the place of this one. No
    search is run, but the reference and the best structures known on the grid are computed, here and unguarded. Where a
    search that comes first (`RunConfig.pretrained`) has no `episodes` of its own, give it some: else the key says that
    it was as short as this one.

    Parameters
    ----------
    study
        What was run.
    path
        File of rows, a line of JSON each.

    Raises
    ------
    ValueError
        If there is no such file, settings are wrong, another process writes the file, or the calculator fails on the
        reference.
    CheckpointError
        If the file of an unfinished restart is damaged.
    """
    if not path.is_file():
        raise ValueError(f"`rows` is {path} but must be the file of rows of a study that was begun")
    unfinished = UnfinishedSearches(path)
    with unfinished.locked():
        mend_end(path)
        _forget_ended(path, unfinished)
        rows = read_study_rows(path)
        there = {(row["key"], row["seed"]) for row in rows}
        new: dict[tuple[str, int], Row] = {}
        begun = ((arm, config) for arm in study.arms for config in comparable(study, arm, rows))
        for row in (row for arm, config in begun for row in _so_far(arm, config, unfinished)):
            if (search := (row["key"], row["seed"])) not in there:
                new.setdefault(search, row)  # of arms of equal settings the first has it
        if new:
            with appended(path) as append:
                for row in new.values():
                    append(row)
    return list(new.values())


def _forget_ended(path: Path, unfinished: UnfinishedSearches) -> None:
    """Remove what was kept of restarts that have a row: a process was killed just then."""
    for row in read_study_rows(path):
        unfinished.remove(row["key"], row["seed"])


def _check_arms(searches: Sequence[tuple[str, RunConfig]]) -> None:
    """Raise ValueError if a problem, calculator or agent cannot be made: it may be that of an arm that is run last."""
    for arm, config in dict(searches).items():
        for each in filter(None, (config, config.before())):
            try:
                evaluator = Evaluator(each.evaluator, settings=each.evaluator_settings)
                make_model(each, make(each.env_id, evaluator=evaluator))
            except (ValueError, TypeError, ImportError) as error:
                raise ValueError(f"arm {arm!r}: {error}") from error


def _groups(restarts: _Group, workers: int, members: int, side_by_side: bool) -> list[_Group]:
    """Restarts that may go together, in groups of even size.

    Of those that may, there is a group for each worker, so that none waits long for the others in the end; or, side by
    side, for as many workers as is their share: on a GPU large groups are what saves time.
    """

    def shared(restart: tuple[str, RunConfig]) -> list[str]:
        """What members of an ensemble must share."""
        return list(shared_settings(restart[1]).values())

    kinds = [list(alike) for _, alike in groupby(sorted(restarts, key=shared), key=shared)]
    theirs = [1 if side_by_side else workers for _ in kinds]
    while kinds and sum(theirs) < workers:  # the next one where groups are largest
        theirs[max(range(len(kinds)), key=lambda i: len(kinds[i]) / theirs[i])] += 1
    groups = []
    for together, n in zip(kinds, theirs, strict=True):
        n_groups = min(len(together), n * ceil(len(together) / (n * members)))
        groups += [together[i::n_groups] for i in range(n_groups)]
    return groups


def _run_here(
    groups: list[_Group], _workers: int, run_group: _RunGroup, on_episodes: Callable[[int], None]
) -> Iterator[Row]:
    """Run groups in this process, one after another."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        for group in groups:
            yield from run_group(group, on_episodes)
    finally:
        torch.set_num_threads(threads)


def _run_there(
    groups: list[_Group], workers: int, run_group: _RunGroup, on_episodes: Callable[[int], None]
) -> Iterator[Row]:
    """Run groups in processes of their own."""
    context = multiprocessing.get_context("spawn")
    manager = SyncManager(ctx=context)
    try:
        manager.start(end_with_parent)
    except _DEAD as error:
        raise OSError(_DIED) from error
    with manager, ProcessPoolExecutor(workers, context, end_with_parent) as pool:
        queue = manager.Queue()
        running: set[Future[None]] = {pool.submit(_report_group, run_group, group, queue) for group in groups}
        try:
            while running or not queue.empty():
                done, running = wait(running, timeout=0, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()  # raises what went wrong there
                with suppress(Empty):
                    message = queue.get(timeout=0.5)
                    if isinstance(message, int):
                        on_episodes(message)
                    else:
                        yield message
        except _DEAD as error:
            raise OSError(_DIED) from error
        finally:
            processes = list((pool._processes or {}).values())  # which the pool forgets as it shuts down
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:  # on an interrupt nothing else stops them
                process.terminate()


def _report_group(run_group: _RunGroup, group: _Group, queue: Any) -> None:
    """Run an ensemble in a process of its own and hand over its rows, and how many episodes ended."""
    torch.set_num_threads(1)
    for row in run_group(group, queue.put):
        queue.put(row)


def _run_group(
    device: str,
    energies: _Energies,
    unfinished: UnfinishedSearches,
    group: _Group,
    on_episodes: Callable[[int], None],
) -> Iterator[Row]:
    """Run an ensemble; what of it was run before goes on."""
    configs = [config for _, config in group]
    with energies() as executor:
        states = unfinished.read(configs)
        new = {i: config for i, config in enumerate(configs) if i not in states}
        run_first = partial(_run_first, device, executor, unfinished, [group[i][0] for i in new])
        networks = networks_before(new, run_first)
        ensemble = Ensemble(configs, device, executor=executor, states=states, networks=networks)
        if networks:
            unfinished.write(group, ensemble.states())
        for before in filter(None, (config.before() for config in configs)):
            unfinished.remove(before.key, before.seed)  # its network has been taken over, and kept
        if states:
            on_episodes(sum(episodes_of(state) for state in states.values()))
        exact = _best_on_grid(configs[0], executor) + EXACT_WINDOW

        def on_round(n_episodes: int) -> None:
            """Keep, from time to time, what would be lost."""
            unfinished.write_if_due(group, ensemble.states)
            on_episodes(n_episodes)

        for result in ensemble.run(on_round):
            yield _row(group[result.index][0], result, exact)


def _run_first(
    device: str,
    executor: Executor | None,
    unfinished: UnfinishedSearches,
    arms: Sequence[str],
    configs: list[RunConfig],
) -> Iterator[MemberResult]:
    """Run searches that come before restarts of some arms; they go on where they were kept."""
    group = list(zip(arms, configs, strict=True))
    ensemble = Ensemble(configs, device, executor=executor, states=unfinished.read(configs))
    return ensemble.run(lambda _: unfinished.write_if_due(group, ensemble.states))


def _so_far(arm: str, settings: RunConfig, unfinished: UnfinishedSearches) -> list[Row]:
    """Rows of the unfinished restarts of an arm that have some settings, whatever their seed."""
    configs = [settings.model_copy(update={"seed": seed}) for seed in unfinished.seeds(settings.key)]
    if not configs:
        return []
    ensemble = Ensemble(configs, states=unfinished.read(configs))
    results = [result for result in ensemble.results() if result.episodes]
    if not results:
        return []
    exact, rows = _best_on_grid(configs[0], None) + EXACT_WINDOW, []
    for result in results:
        config = result.config.model_copy(update={"episodes": result.episodes})
        rows.append(_row(arm, replace(result, config=config), exact) | {"unfinished": result.config.key})
    return rows


def _best_on_grid(config: RunConfig, executor: Executor | None) -> float:
    """Energy above the reference, in eV, of the most stable structure known on the grid; nan if none has an energy."""
    env = make_env(config, executor)
    name = env.problem.name
    is_ours = name in PROBLEMS and PROBLEMS[name]().fingerprint == env.problem.fingerprint
    energies = [env.evaluator.evaluate(atoms).energy for atoms in (best_on_grid(name) if is_ours else ())]
    return min(filter(isfinite, energies), default=nan) - env.reference_energy


def _row(arm: str, result: MemberResult, exact: float) -> Row:
    """What is kept of a restart; structures up to `exact`, in eV above the reference, count as the best on the grid."""
    energies = result.energies[np.isfinite(result.energies)]
    at = np.flatnonzero(result.energies <= exact)
    row = {
        "arm": arm,
        "key": result.config.key,
        "seed": result.config.seed,
        "budget": result.config.episodes,
        "episodes": result.episodes,
        "found_at": result.found_at,
        "exact_at": int(at[0]) + 1 if len(at) else None,
        "best_above_reference": round(float(energies.min()), 4) if len(energies) else None,
        "median_last_100": round(float(np.median(energies[-100:])), 3) if len(energies) else None,
    }
    return row | ({"learned": result.learned} if result.learned else {})
