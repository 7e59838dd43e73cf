"""ASE calculators by name.

Calculators are handed on as factories, functions without arguments that make one: an instance
carries the state of its last calculation and cannot go to another process. A factory imports what
it needs when it is called.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator
from ase.data import chemical_symbols
from numpy.typing import NDArray

CalculatorFactory: TypeAlias = Callable[[], Calculator]
BatchFunction: TypeAlias = Callable[[NDArray[np.float64], Atoms], Any]
"""``(positions, structure) -> energies`` in eV, of structures that differ from one in nothing but positions in Å, shape
(batch, atoms, 3); both arrays may be tensors."""

DEFAULT = "gfn1-xtb"
ELECTRONIC_TEMPERATURE = 300.0  # K, of the xTB methods; it is part of the energy


def _tblite(method: str) -> Calculator:
    """Make the xTB calculator of tblite for `method`, as tblite spells it."""
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise ImportError(f"{method} needs tblite, which cannot be imported: `pip install tblite`") from error
    calculator: Calculator = TBLite(
        method=method,
        accuracy=1.0,
        electronic_temperature=ELECTRONIC_TEMPERATURE,
        max_iterations=250,
        verbosity=0,
        cache_api=False,  # so that `reset` drops the wavefunction too, which would start the next structure
    )
    return calculator


def _xwch() -> Calculator:
    """Make the tight-binding model of carbon."""
    from asla_env.xwch import XWCH

    factory: CalculatorFactory = XWCH
    return factory()


def _xwch_batch(positions: NDArray[np.float64], structure: Atoms) -> Any:
    """Energies of `XWCH`."""
    from asla_env.xwch import energy_batch

    return energy_batch(positions, structure.cell, structure.pbc)


@dataclass(frozen=True)
class _Named:
    """How to make a calculator, the species it knows, None if any, and its form for many structures, if any."""

    factory: CalculatorFactory
    species: frozenset[str] | None
    batch: BatchFunction | None = None


_XTB_SPECIES = frozenset(chemical_symbols[1:87])  # H to Rn

_CALCULATORS = {
    "gfn1-xtb": _Named(partial(_tblite, "GFN1-xTB"), _XTB_SPECIES),
    "gfn2-xtb": _Named(partial(_tblite, "GFN2-xTB"), _XTB_SPECIES),
    "xwch": _Named(_xwch, frozenset({"C"}), _xwch_batch),
}


def names() -> tuple[str, ...]:
    """Names of all calculators, the default first."""
    return tuple(_CALCULATORS)


def calculator_factory(name_or_factory: str | CalculatorFactory) -> CalculatorFactory:
    """Give the function that makes a calculator.

    Parameters
    ----------
    name_or_factory : str or callable
        One of `names`, or a function without arguments that returns an ASE calculator, which is
        returned as it is.

    Raises
    ------
    ValueError
        If no calculator has this name.
    TypeError
        If it is a calculator rather than a function that makes one, or something else.
    """
    if isinstance(name_or_factory, str):
        return _named(name_or_factory).factory
    if isinstance(name_or_factory, BaseCalculator) or not callable(name_or_factory):
        raise TypeError(
            f"`calculator` is of type {type(name_or_factory).__name__} but must be a name or a function "
            "that makes an ASE calculator: a class such as `EMT`, or `lambda: EMT(...)` to set arguments"
        )
    return name_or_factory


def batch_function(name_or_factory: str | CalculatorFactory) -> BatchFunction | None:
    """Give the function that computes many energies at once; None if there is none, as for calculators not ours.

    Raises
    ------
    ValueError
        If no calculator has this name.
    """
    return _named(name_or_factory).batch if isinstance(name_or_factory, str) else None


def check_species(name_or_factory: str | CalculatorFactory, symbols: Iterable[str]) -> None:
    """Check that a calculator knows all `symbols`; one that is not ours is taken to know any.

    Raises
    ------
    ValueError
        If it does not, or if no calculator has this name.
    """
    if not isinstance(name_or_factory, str):
        return
    known = _named(name_or_factory).species
    foreign = sorted(set(symbols) - known) if known is not None else []
    if foreign:
        raise ValueError(
            f"`symbols` has {', '.join(foreign)} but must be of the species that {name_or_factory!r} knows"
        )


def _named(name: str) -> _Named:
    """Entry of the table."""
    if name not in _CALCULATORS:
        raise ValueError(f"`calculator` is {name!r} but must be one of {', '.join(map(repr, names()))}")
    return _CALCULATORS[name]
