"""Where energies are computed: here, in processes, or on a cluster."""

from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext

from asla_env.limits import Limits


def energy_executor(
    workers: int = 0, limits: Limits | None = None, dask: str | None = None
) -> AbstractContextManager[Executor | None]:
    """Executor for an `Evaluator`, to be used in a ``with`` statement.

    Parameters
    ----------
    workers
        Guarded processes on this machine; 0: energies are computed in this process, without a guard.
    limits
        What an energy may take, and how often it is tried again; `Limits()` if None.
    dask
        Address of the scheduler of a Dask cluster, which is used instead.

    Raises
    ------
    ValueError
        If `workers` is negative; if both `workers` and `dask`, or `limits` and neither, are given.
    ImportError
        If `dask` is given and Dask is not installed.
    OSError
        If there is no scheduler at `dask`.
    """
    if workers < 0:
        raise ValueError(f"`workers` is {workers} but must be at least 0")
    if workers and dask is not None:
        raise ValueError(f"`workers` is {workers} but must be 0 with `dask`: the cluster has workers of its own")
    if dask is not None:
        try:
            from asla_env.dask_workers import DaskPool
        except ImportError as error:
            raise ImportError("`dask` needs Dask, which cannot be imported: `pip install asla[dask]`") from error
        return DaskPool(dask, limits)
    if workers:
        from asla_env.workers import WorkerPool

        return WorkerPool(workers, limits)
    if limits is not None:
        raise ValueError(f"`limits` is {limits} but must be None without processes: nothing would enforce it")
    return nullcontext()
