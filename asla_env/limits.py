"""What an energy may take."""

import os
import sys
from dataclasses import dataclass, replace
from math import inf
from numbers import Integral, Real

from asla_env.energy_error import Kind

GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """What a process for energies may take, and how often an energy is tried again after each kind of failure.

    Parameters
    ----------
    time_s
        Seconds that one energy may take, inf for any. The process is killed and replaced after that.
    memory_gib
        GiB that a process may map beyond what it starts with, inf for any; None: its share of half of the physical
        memory. It is enforced on Linux only.
    threads
        Threads of a process, for OpenMP, OpenBLAS, MKL and numexpr.
    crash_retries, timeout_retries, memory_retries, error_retries
        Further tries after a failure of this kind.

    Raises
    ------
    ValueError
        If a limit is not positive, or a number of retries negative.
    """

    time_s: float = 600.0
    memory_gib: float | None = None
    threads: int = 1
    crash_retries: int = 1
    timeout_retries: int = 0
    memory_retries: int = 0
    error_retries: int = 0

    def __post_init__(self) -> None:
        """Check all values."""
        for name, unit in (("time_s", "s"), ("memory_gib", "GiB")):
            value = getattr(self, name)
            if not (isinstance(value, Real) and float(value) > 0) and not (name == "memory_gib" and value is None):
                raise ValueError(f"`{name}` is {value!r} {unit} but must be positive")
        least = {"threads": 1, "crash_retries": 0, "timeout_retries": 0, "memory_retries": 0, "error_retries": 0}
        for name, minimum in least.items():
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < minimum:
                raise ValueError(f"`{name}` is {value!r} but must be a whole number of at least {minimum}")

    def retries(self, kind: Kind) -> int:
        """Further tries after a failure of a kind."""
        return {
            "crash": self.crash_retries,
            "timeout": self.timeout_retries,
            "memory": self.memory_retries,
            "error": self.error_retries,
        }[kind]

    def shared_by(self, processes: int) -> "Limits":
        """These limits, with each one's share of half of the physical memory if `memory_gib` is None."""
        if self.memory_gib is not None:
            return self
        return replace(self, memory_gib=_physical_memory_gib() / 2 / processes)


def _physical_memory_gib() -> float:
    """Memory of this machine; inf where no limit could be enforced."""
    if sys.platform != "linux":
        return inf
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
