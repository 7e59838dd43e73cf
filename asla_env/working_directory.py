"""A directory for what a calculator writes, so that energies that are computed at once do not meet there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import gettempdir, mkdtemp
from typing import Any

from ase.calculators.calculator import BaseCalculator

_DEFAULT = "."  # of ASE


@contextmanager
def working_directory(calculator: Any) -> Iterator[None]:
    """Let a calculator write into a new directory, for one energy.

    Two programs that run in one directory would read what the other has written: an energy of another structure, which
    nothing tells from the right one. The new directory lies in the temporary one, or in that which the calculator was
    given, and is removed; there it stays if the energy fails, to be looked at.

    Parameters
    ----------
    calculator
        What has no ``directory``, as only calculators of ASE have, is left alone.
    """
    given = getattr(calculator, "directory", None) if isinstance(calculator, BaseCalculator) else None
    if given is None:
        yield
        return
    is_default = str(given) == _DEFAULT
    above = Path(gettempdir() if is_default else given).absolute()
    above.mkdir(parents=True, exist_ok=True)  # systems clean up temporary ones that are old
    own = mkdtemp(prefix="asla-", dir=above)
    failed = True
    calculator.directory = Path(own) if isinstance(given, Path) else own  # ASE's interfaces of either kind
    try:
        yield
        failed = False
    finally:
        calculator.directory = given
        if is_default or not failed:
            rmtree(own, ignore_errors=True)
