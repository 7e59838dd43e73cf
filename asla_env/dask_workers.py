"""Energies on a Dask cluster, guarded there as they are here; needs ``asla[dask]``."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from concurrent.futures import wait as wait_for
from dataclasses import replace
from functools import cache, partial
from multiprocessing.util import Finalize
from threading import Lock
from typing import Any, ParamSpec, TypeVar, cast

from distributed import Client, KilledWorker, get_worker
from distributed import Future as DaskFuture
from distributed.comm.addressing import get_address_host_port

from asla_env.energy_error import EnergyError
from asla_env.limits import GIB, Limits
from asla_env.workers import WorkerPool

_starting = Lock()
_P = ParamSpec("_P")
_T = TypeVar("_T")


class DaskPool(Executor):
    """Calls functions on the workers of a Dask cluster, each of which hands them to a `WorkerPool` of its own.

    A call whose Dask worker dies is made again on another one. How often, the scheduler says (``allowed-failures``);
    after that the limits of crashes say how often all this is tried again. One that takes too long or ends its process
    costs that process, not the Dask worker, and raises `EnergyError`.

    Parameters
    ----------
    address
        Of the scheduler, such as ``"tcp://10.0.0.1:8786"``.
    limits
        What an energy may take; `Limits()` if None. Without a limit of memory, each process has its share of half of
        what Dask grants the worker.

    Raises
    ------
    ValueError
        If it is no address.
    OSError
        If there is no scheduler at this address. That of a call, if the scheduler was lost.
    """

    def __init__(self, address: str, limits: Limits | None = None) -> None:
        try:
            get_address_host_port(address, strict=True)
        except ValueError as error:  # which a client of Dask finds out too, and then waits for itself
            raise ValueError(f"`dask` is {address!r} but must be an address such as tcp://10.0.0.1:8786") from error
        self._limits = limits or Limits()
        self._client = Client(address, set_as_default=False)
        self._calls = dict[Future[Any], DaskFuture[Any]]()  # what has no outcome yet
        self._is_closed = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Call a function on the cluster; an exception of the cluster itself is that of the future."""
        if self._is_closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        here = Future[Any]()
        self._try(here, partial(fn, *args, **kwargs), self._limits.crash_retries)
        return cast(Future[_T], here)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster, which goes on; calls that have not begun are cancelled if they are not waited for."""
        self._is_closed = True
        if wait and not cancel_futures:
            wait_for(list(self._calls))
        else:
            self._client.cancel(list(self._calls.values()))
        self._client.close()

    def _try(self, here: Future[Any], call: Callable[[], Any], retries: int) -> None:
        """Make a call on the cluster for a future, and again if its Dask workers die and retries are left."""
        there = self._client.submit(_call_guarded, self._limits, call, pure=False)
        self._calls[here] = there
        here.add_done_callback(lambda _: there.cancel() if here.cancelled() else None)
        there.add_done_callback(partial(self._hand_over, here, call, retries))

    def _hand_over(self, here: Future[Any], call: Callable[[], Any], retries: int, there: DaskFuture[Any]) -> None:
        """Give a future the outcome of another one, or try again if that died with its Dask workers.

        The cluster is told to forget the other one first: what lies on a worker that dies would be computed again.
        """
        outcome = _outcome(there)
        there.release()
        if isinstance(outcome, KilledWorker) and retries and not here.cancelled() and not self._is_closed:
            try:
                self._try(here, call, retries - 1)
            except Exception as error:  # nobody is to wait for what the cluster does not take any more
                outcome = error
            else:
                return
        _settle(here, outcome)
        self._calls.pop(here)


def _settle(here: Future[Any], outcome: Any) -> None:
    """Give a future its outcome, an exception or what was returned."""
    if isinstance(outcome, CancelledError) and not here.cancelled():
        outcome = ConnectionError("the scheduler of the Dask cluster was lost, or has forgotten an energy")
    if not here.set_running_or_notify_cancel():
        return
    if isinstance(outcome, KilledWorker):
        outcome = EnergyError("crash", f"{outcome.allowed_failures + 1} Dask workers died", 0.0)
    if isinstance(outcome, BaseException):
        here.set_exception(outcome)
    else:
        here.set_result(outcome)


def _outcome(there: DaskFuture[Any]) -> Any:
    """What a call that has ended returned, or its exception."""
    try:
        return there.result()
    except Exception as error:
        return error


def _call_guarded(limits: Limits, function: Callable[[], Any]) -> Any:
    """Call a function in a guarded process of this Dask worker; returns an `EnergyError`: Dask logs what is raised."""
    with _starting:
        pool = _pool_there(limits)
    try:
        return pool.submit(function).result()
    except EnergyError as error:
        return error


@cache
def _pool_there(limits: Limits) -> WorkerPool:
    """Processes of this Dask worker, one for each of its threads."""
    # Dask's workers are daemons, which may start no processes as these would outlive them; ours do not.
    multiprocessing.current_process().daemon = False
    worker = get_worker()
    n_threads = worker.state.nthreads
    granted = worker.memory_manager.memory_limit  # bytes
    if limits.memory_gib is None and granted:
        limits = replace(limits, memory_gib=granted / GIB / 2 / n_threads)
    pool = WorkerPool(n_threads, limits)
    Finalize(
        None, pool.shutdown, kwargs={"cancel_futures": True}, exitpriority=0
    )  # before its processes are waited for
    return pool
