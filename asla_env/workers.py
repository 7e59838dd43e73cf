"""Processes for energies, none of whose failures harms more than one energy."""

import logging
import os
import pickle
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from math import inf, isfinite
from queue import LifoQueue
from shutil import rmtree
from tempfile import mkdtemp
from threading import Thread
from time import perf_counter
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast
from weakref import finalize

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from asla_env.energy_error import EnergyError, Kind
from asla_env.limits import Limits
from asla_env.worker_process import WorkerContext, begin, describe_end, run

_LOGGER = logging.getLogger(__name__)
_STARTS = 3  # of a process that ends before it takes a task
_LOOK_S = 1.0  # between looks at whether a pool is alive
_P = ParamSpec("_P")
_T = TypeVar("_T")


class WorkerPool(Executor):
    """Processes that are killed and replaced when they take too long, and replaced when they end.

    A call that has no result raises `EnergyError`, or what the function raised; the calls after it find a process as
    good as new. What calls leave of temporary files is gone after `shutdown`. All processes end with the one that
    started them. On leaving ``with`` by an exception, such as an interrupt, what is running is killed.

    Parameters
    ----------
    workers
        How many processes there are. Each is started when it is needed.
    limits
        What each of them may take; `Limits()` if None.

    Raises
    ------
    ValueError
        If `workers` is not at least 1.
    """

    def __init__(self, workers: int, limits: Limits | None = None) -> None:
        if workers < 1:
            raise ValueError(f"`workers` is {workers} but must be at least 1")
        self.limits = (limits or Limits()).shared_by(workers)
        self._process = os.getpid()
        temporary = mkdtemp(prefix="asla-")
        self._remove_temporary = finalize(self, _remove, temporary, self._process)
        self._workers = [_Worker(self.limits, temporary) for _ in range(workers)]
        self._idle = LifoQueue[_Worker]()  # the one used last is taken first: it has loaded its calculator
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, "asla-energies")
        self._tasks = set[_Task]()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Call a function in one of the processes.

        Returns
        -------
        Future
            Of what it returns. To cancel it while it runs kills its process.

        Raises
        ------
        RuntimeError
            After `shutdown`, or in a process that was forked from the one of the pool.
        Exception
            If the function or an argument cannot be pickled.
        """
        if os.getpid() != self._process:
            raise RuntimeError(
                "a `WorkerPool` was taken along into a forked process, where it has no processes: make one there, or "
                "keep environments in the process of the pool, as `gymnasium.make_vec` does if not told otherwise"
            )
        payload = pickle.dumps((fn, args, kwargs))
        task = _Task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._threads.submit(self._run, task, payload)
        return cast(Future[_T], task)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the processes when those before are done.

        Parameters
        ----------
        wait
            Whether to return only when the processes have ended.
        cancel_futures
            Whether to cancel all calls, and kill those that run.
        """
        self._threads.shutdown(wait=False)
        if cancel_futures:
            for task in tuple(self._tasks):
                task.cancel()
        if wait:
            self._close()
        else:
            Thread(target=self._close).start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None:
        """Wait for what is running, or kill it if an exception is why this is left."""
        self.shutdown(cancel_futures=exc_type is not None)
        return None

    def _run(self, task: "_Task", payload: bytes) -> None:
        """Do a task in an idle process."""
        if not task.set_running_or_notify_cancel():
            return
        worker = self._idle.get()
        try:
            task.set_result(worker.call(task, payload))
        except BaseException as error:
            task.set_exception(error)
        finally:
            self._idle.put(worker)

    def _close(self) -> None:
        self._threads.shutdown(wait=True)
        for worker in self._workers:
            worker.pool.stop()
        for worker in self._workers:
            worker.pool.join()
        self._remove_temporary()


class _Task(Future[Any]):
    """A call that is killed when it is cancelled while it runs."""

    _attempt: ProcessFuture[bytes] | None = None
    _is_stopped = False

    def cancel(self) -> bool:
        """Cancel it, whether it runs or not."""
        if super().cancel():
            return True
        if self.done():
            return False
        self._is_stopped = True
        if self._attempt is not None:
            self._attempt.cancel()
        return True

    def runs_as(self, attempt: ProcessFuture[bytes]) -> None:
        """Say which of pebble's futures is to be cancelled."""
        self._attempt = attempt
        if self._is_stopped:
            attempt.cancel()


class _Worker:
    """One process, in a pool of its own: processes that share a pool share locks, which die locked."""

    def __init__(self, limits: Limits, temporary: str) -> None:
        self._limits, self._temporary = limits, temporary
        self.pool = self._new_pool()

    def call(self, task: _Task, payload: bytes) -> Any:
        """Do a task, again where the limits say so."""
        failures = Counter[Kind]()
        while True:
            try:
                return self._attempt(task, payload)
            except EnergyError as failure:
                if failure.kind == "memory":
                    self._replace_pool()  # who knows what it holds on to
                failures[failure.kind] += 1
                if failures[failure.kind] > self._limits.retries(failure.kind):
                    raise
                _LOGGER.info("%s; trying again", failure)

    def _attempt(self, task: _Task, payload: bytes) -> Any:
        """Do a task once; raises `EnergyError` or what it raises."""
        start = perf_counter()
        try:
            returned, value = pickle.loads(self._outcome(task, payload))
        except TimeoutError:
            cause = f"no energy after {self._limits.time_s:g} s"
            raise EnergyError("timeout", cause, perf_counter() - start) from None
        except ProcessExpired as error:
            raise EnergyError("crash", describe_end(error.exitcode), perf_counter() - start) from None
        except MemoryError as error:  # too little was left to say so
            raise EnergyError("memory", str(error) or "too little is left", perf_counter() - start) from None
        if not returned:
            raise value
        return value

    def _outcome(self, task: _Task, payload: bytes) -> bytes:
        """What `run` returns, in a process that is replaced if it ended before it took the task."""
        for _ in range(_STARTS):
            attempt = self._schedule(payload)
            task.runs_as(attempt)
            with suppress(BrokenProcessPool):
                while not wait_for([attempt], _LOOK_S).done:
                    if not self.pool.active:
                        raise BrokenProcessPool
                return attempt.result()
            self._replace_pool()
        raise BrokenProcessPool(f"{_STARTS} processes for energies ended before they took a task: see standard error")

    def _schedule(self, payload: bytes) -> ProcessFuture[bytes]:
        time_s = self._limits.time_s if isfinite(self._limits.time_s) else None
        try:
            return self.pool.schedule(run, [payload], timeout=time_s)
        except RuntimeError:  # its process ended while it was idle, and the pool with it
            self._replace_pool()
            return self.pool.schedule(run, [payload], timeout=time_s)

    def _replace_pool(self) -> None:
        self.pool.stop()
        self.pool.join()
        self.pool = self._new_pool()

    def _new_pool(self) -> ProcessPool:
        memory_gib = self._limits.memory_gib if self._limits.memory_gib is not None else inf
        return ProcessPool(1, 0, begin, (memory_gib,), WorkerContext(self._limits.threads, self._temporary))


def _remove(directory: str, process: int) -> None:
    """Remove a directory, but not from a process that was forked from the one that made it."""
    if os.getpid() == process:
        rmtree(directory, ignore_errors=True)
