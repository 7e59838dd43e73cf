"""How a process for energies starts, what it does there, and how it ends."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import isfinite
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

from asla_env.energy_error import EnergyError
from asla_env.limits import GIB

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_ENDED_BY_ITSELF = 256  # modulo 256 the exit code 0
_environment_lock = threading.Lock()


class WorkerContext(SpawnContext):
    """Starts processes that keep to a number of threads, and to a directory for temporary files."""

    def __init__(self, threads: int, temporary: str) -> None:
        super().__init__()
        self._variables = {**dict.fromkeys(_THREAD_VARIABLES, str(threads)), "TMPDIR": temporary}

    def Process(self, *args: Any, **kwargs: Any) -> "WorkerProcess":  # type: ignore[override]  # noqa: N802
        """Make a process, by the name that multiprocessing has for it."""
        return WorkerProcess(self._variables, *args, **kwargs)


class WorkerProcess(SpawnProcess):
    """A process whose libraries find their environment when they are loaded, and whose end shows."""

    def __init__(self, variables: dict[str, str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._variables = variables

    def start(self) -> None:
        """Start the process. It loads libraries before any of our code runs there: only the environment is earlier."""
        with _environment_lock, _environment(self._variables):
            super().start()

    def terminate(self) -> None:
        """Kill the process with the programs that it has started: one in compiled code hears of no signal but this."""
        if sys.platform != "win32" and self.pid is not None:
            with suppress(ProcessLookupError):  # it has not begun to lead a group, or has ended
                os.killpg(self.pid, signal.SIGKILL)
                return
        super().terminate()

    @property
    def exitcode(self) -> int | None:
        """Never 0, by which pebble would not notice that a calculator ended the process, as Fortran's STOP does."""
        code = super().exitcode
        return _ENDED_BY_ITSELF if code == 0 else code


def describe_end(exit_code: int) -> str:
    """How a process ended, from its exit code, which is negative for a signal."""
    if exit_code < 0:
        return f"the process was ended by {signal.Signals(-exit_code).name}"
    return f"the process ended with exit code {exit_code % _ENDED_BY_ITSELF}"


def begin(memory_gib: float) -> None:
    """Prepare the process that this is for energies.

    It leads a process group, so that programs that a calculator has started end with it; what a calculator prints goes
    to standard error, as standard output may be another program's input.
    """
    if sys.platform != "win32":
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, lambda *_: _end_group())
        end_with_parent(_end_group)
        if sys.platform == "linux":
            with suppress(OSError):  # a kernel that cannot
                _kill_group_with_parent()
    else:
        end_with_parent()
    with suppress(OSError):  # either may be closed
        os.dup2(2, 1)
    sys.stdout = sys.stderr  # whose lines are written as they come: the process may be killed at any moment
    if sys.platform == "linux" and isfinite(memory_gib):
        _limit_memory(memory_gib)


def run(payload: bytes) -> bytes:
    """Call a pickled function with its arguments.

    Everything is pickled and unpickled here, in the reach of ``except``: what fails outside would cost the process.

    Returns
    -------
    bytes
        Pickled: whether it returned, and the value that it returned or the exception.
    """
    try:
        function, args, kwargs = pickle.loads(payload)
        return pickle.dumps((True, function(*args, **kwargs)))
    except MemoryError as error:
        traceback.clear_frames(error.__traceback__)  # what they hold is the memory that is needed from here on
        return pickle.dumps((False, EnergyError("memory", str(error) or "too little is left", 0.0)))
    except Exception as error:
        return _pickled_error(error)
    except BaseException as error:  # such as SystemExit
        return pickle.dumps((False, EnergyError("crash", f"{type(error).__name__}: {error}", 0.0)))


def end_with_parent(end: Callable[[], None] = lambda: os._exit(1)) -> None:
    """End this process when the one that started it dies, by whatever cause."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        """Wait for the other process, and end with it."""
        wait([sentinel])
        end()

    threading.Thread(target=watch, daemon=True).start()


def _kill_group_with_parent() -> None:
    """Let the kernel kill this process group when the process that started this one dies.

    Compiled code that holds the interpreter's lock would keep a thread of Python from it.
    """
    import fcntl

    parent = multiprocessing.parent_process()
    if parent is None:
        return
    fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, -os.getpgid(0))
    fcntl.fcntl(parent.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(parent.sentinel, fcntl.F_GETFL)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, flags | os.O_ASYNC)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables for as long as this lasts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end_group() -> None:
    """End this process and those that it has started."""
    os.killpg(0, signal.SIGKILL)


def _limit_memory(gib: float) -> None:
    """Limit what this process may map beyond what it has mapped so far."""
    import resource

    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = mapped + int(min(gib * GIB, sys.maxsize - mapped))
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _pickled_error(error: Exception) -> bytes:
    """Pickle an exception with its traceback as a note; one that does not survive that is an error with its text."""
    note = "".join(traceback.format_exception(error))
    try:
        error.add_note(note)
        pickled = pickle.dumps((False, error))
        pickle.loads(pickled)
    except Exception:
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}\n{note}")))
    return pickled
