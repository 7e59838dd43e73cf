"""Density-functional theory with GPAW, as in section VIII of the paper: PBE in a dzp basis of atomic orbitals."""

from collections.abc import Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols

SPECIES = frozenset(chemical_symbols[1:87]) - {"Tc", "Po", "At"}
"""Elements for which gpaw-data has PBE setups and dzp basis sets: H to Rn, but for three."""

_OCCUPATIONS = {"name": "fermi-dirac", "width": 0.1}  # eV
_CONVERGENCE = {"density": 1e-3, "energy": 1e-3, "eigenstates": 1e-3}


def gpaw(
    *,
    mode: str | Mapping[str, Any] = "lcao",
    basis: str | Mapping[str, str] = "dzp",
    xc: str | Mapping[str, Any] = "PBE",
    h: float = 0.25,
    kpts: Sequence[int] | Mapping[str, Any] = (1, 1, 1),
    spinpol: bool = False,
    symmetry: str | Mapping[str, Any] = "off",
    occupations: Mapping[str, Any] = _OCCUPATIONS,
    charge: float = 0.0,
    maxiter: int = 60,
    convergence: Mapping[str, float] = _CONVERGENCE,
    txt: str | None = None,
) -> Calculator:
    """Make a GPAW calculator.

    Parameters
    ----------
    mode, basis, xc, h, kpts, spinpol, symmetry, occupations, charge, maxiter, convergence
        What GPAW calls so: lengths in Å, widths and energies in eV, the charge in e.
    txt
        File for GPAW's own text; each calculator made writes a new one, ``name.txt``, ``name-1.txt``, ...

    Raises
    ------
    ImportError
        If GPAW is not installed.
    """
    try:
        from gpaw import GPAW
    except ImportError as error:
        raise ImportError(
            f"gpaw needs GPAW, which cannot be imported ({error}): see docs/calculators.md for how to install it"
        ) from error
    calculator: Calculator = GPAW(
        mode=mode,
        basis=basis,
        xc=xc,
        h=h,
        kpts=kpts,
        spinpol=spinpol,
        symmetry=symmetry,
        occupations=dict(occupations),
        charge=charge,
        maxiter=maxiter,
        convergence=dict(convergence),
        txt=None if txt is None else str(_new_file(Path(txt))),
    )
    return calculator


def _new_file(path: Path) -> Path:
    """Make an empty file of a name that is not taken, not even by another process at this moment."""
    names = chain([path], (path.with_stem(f"{path.stem}-{i}") for i in count(1)))
    return next(name for name in names if _is_made(name))


def _is_made(path: Path) -> bool:
    """Make a file; False if it was there."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
