"""Our calculators by name; the libraries that compute are imported when a calculator is made."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from asla_env import dftb_plus, gpaw_calculator, xtb

CalculatorFactory: TypeAlias = Callable[..., Calculator]
BatchFunction: TypeAlias = Callable[[NDArray[np.float64], Atoms], Any]
"""``(positions, structure) -> energies`` in eV, of structures that differ from one in nothing but positions in Å, shape
(batch, atoms, 3); both arrays may be tensors."""

DEFAULT = "gfn1-xtb"


def _xwch() -> Calculator:
    """Make the tight-binding model of carbon."""
    from asla_env.xwch import XWCH

    factory: CalculatorFactory = XWCH
    return factory()


def _xwch_batch(positions: NDArray[np.float64], structure: Atoms) -> Any:
    """Energies of `XWCH`."""
    from asla_env.xwch import check_carbon, energy_batch

    check_carbon(structure)
    return energy_batch(positions, structure.cell, structure.pbc)


@dataclass(frozen=True)
class NamedCalculator:
    """How to make a calculator, whose settings are the arguments of `factory`, and what is known of it."""

    factory: CalculatorFactory
    species: frozenset[str] | None = None
    """Species that it knows, None if any."""
    libraries: tuple[str, ...] = ()
    """What is installed to compute its energies."""
    batch: BatchFunction | None = None
    """Its form for many structures, if there is one."""
    check: Callable[..., None] | None = None
    """Raises if something is missing, by species and settings."""
    check_settings: Callable[[Mapping[str, Any]], None] | None = None
    """Raises ValueError if one of some settings is impossible."""
    contents: Callable[..., Mapping[str, str]] | None = None
    """Digests of the files that decide its energies, by settings."""


_CALCULATORS = {
    "gfn1-xtb": NamedCalculator(
        partial(xtb.xtb, "GFN1-xTB"), xtb.SPECIES, ("tblite",), check_settings=xtb.check_settings
    ),
    "gfn2-xtb": NamedCalculator(
        partial(xtb.xtb, "GFN2-xTB"), xtb.SPECIES, ("tblite",), check_settings=xtb.check_settings
    ),
    "xwch": NamedCalculator(_xwch, frozenset({"C"}), ("asla",), batch=_xwch_batch),
    "gpaw": NamedCalculator(gpaw_calculator.gpaw, gpaw_calculator.SPECIES, ("gpaw", "gpaw-data")),
    "dftb+": NamedCalculator(
        dftb_plus.dftb_plus, None, ("ase",), check=dftb_plus.check_files, contents=dftb_plus.contents
    ),
}


def names() -> tuple[str, ...]:
    """Names of all calculators, the default first."""
    return tuple(_CALCULATORS)


def named(name: str) -> NamedCalculator | None:
    """What is known of the calculator of this name; None if there is none."""
    return _CALCULATORS.get(name)


def check_name(name: str) -> None:
    """Raise ValueError unless this is one of `names` or has the form of an import path; nothing is imported."""
    module, colon, attribute = name.partition(":")
    if name not in _CALCULATORS and not (module and colon and attribute):
        raise ValueError(
            f"`calculator` is {name!r} but must be one of {', '.join(map(repr, names()))} or an import path such as "
            "'ase.calculators.emt:EMT'"
        )


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """Check the settings of one of `names`; those of import paths are not looked at.

    Raises
    ------
    TypeError
        If it does not have one of them.
    ValueError
        If one is known to be impossible.
    """
    if name not in _CALCULATORS:
        return
    known = defaults(name)
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        rule = f"must be one of {', '.join(known)}" if known else "must be left out: it has none"
        raise TypeError(f"`settings` of {name!r} has {', '.join(map(repr, unknown))} but a setting {rule}")
    check = _CALCULATORS[name].check_settings
    if check is not None:
        check(settings)


def defaults(name: str) -> dict[str, Any]:
    """Settings of a named calculator with their defaults."""
    parameters = inspect.signature(_CALCULATORS[name].factory).parameters
    return {setting: parameter.default for setting, parameter in parameters.items()}
