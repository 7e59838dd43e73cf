"""The xTB methods of tblite."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from math import inf
from numbers import Integral, Real
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from ase.data import chemical_symbols
from numpy.typing import NDArray

SPECIES = frozenset(chemical_symbols[1:87])
"""Elements that GFN1-xTB and GFN2-xTB know: H to Rn."""


def xtb(
    method: str,
    *,
    accuracy: float = 1.0,
    electronic_temperature: float = 300.0,
    max_iterations: int = 250,
    mixer_damping: float = 0.4,
    charge: float | None = None,
    multiplicity: int | None = None,
    most_charge: float = 3.0,
) -> Calculator:
    """Make the calculator of tblite, for which a collapse is a failure.

    In crowded structures the charges of GFN1-xTB may run away: its energy has a term in their third power, which no
    charge makes good again. It converges to carbon atoms of -4 to -6 e, more than they have room for, and to an energy
    that can lie below that of the most stable structure there is.

    Parameters
    ----------
    method
        ``"GFN1-xTB"`` or ``"GFN2-xTB"``.
    accuracy
        Thresholds of convergence and of integrals are multiplied by this.
    electronic_temperature
        In K, at least 0; it is part of the energy.
    max_iterations
        After so many iterations without convergence the energy is a failure.
    mixer_damping
        Of the charges.
    charge
        Of the whole structure, a whole number of e; None: 0.
    multiplicity
        Number of unpaired electrons and one; None: the lowest there can be.
    most_charge
        In e: a structure one of whose atoms has more, beyond `charge`, of either sign, has no energy; inf: any may.

    Raises
    ------
    ImportError
        If tblite is not installed.
    ValueError
        If a setting is impossible.
    """
    settings = {
        "accuracy": accuracy,
        "electronic_temperature": electronic_temperature,
        "max_iterations": max_iterations,
        "mixer_damping": mixer_damping,
        "charge": charge,
        "multiplicity": multiplicity,
    }
    check_settings(settings | {"most_charge": most_charge})
    try:
        tblite = _tblite()
    except ImportError as error:
        raise ImportError(f"{method} needs tblite, which cannot be imported: `pip install tblite`") from error
    calculator: Calculator = tblite(
        most_charge=most_charge + abs(charge or 0.0),
        method=method,
        **settings,
        verbosity=0,
        cache_api=False,  # so that `reset` drops the wavefunction too, which would start the next structure
    )
    return calculator


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise ValueError if one of these settings of `xtb` is impossible; tblite would compute something with most."""
    for name, value in settings.items():
        is_possible, rule = _RULES[name]
        if not is_possible(value):
            raise ValueError(f"`{name}` is {value!r} but must be {rule}")


def _is_real(value: Any) -> bool:
    """Whether a value is a number and not nan."""
    return isinstance(value, Real) and not isinstance(value, bool) and value == value


def _is_positive(value: Any) -> bool:
    return _is_real(value) and 0 < value < inf


def _is_whole(value: Any) -> bool:
    """Whether a value is a whole number, of whatever type."""
    return _is_real(value) and abs(value) < inf and value % 1 == 0


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and _is_whole(value) and int(value) >= 1


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "accuracy": (_is_positive, "positive and finite"),
    "electronic_temperature": (lambda value: _is_real(value) and 0 <= value < inf, "a finite number of K, at least 0"),
    "max_iterations": (_is_count, "a whole number of at least 1"),
    "mixer_damping": (_is_positive, "positive and finite"),
    "charge": (lambda value: value is None or _is_whole(value), "a whole number of e, or None"),
    "multiplicity": (lambda value: value is None or _is_count(value), "a whole number of at least 1, or None"),
    "most_charge": (lambda value: _is_real(value) and value > 0, "positive"),
}


def _check_cell(atoms: Atoms | None) -> None:
    """Raise ValueError if a periodic structure has a cell without volume: tblite repeats it along all axes."""
    if atoms is not None and atoms.pbc.any() and np.linalg.matrix_rank(atoms.cell.array) < 3:
        raise ValueError(
            f"`atoms` has the cell {atoms.cell.tolist()} Å but it must have a volume: xTB repeats what is periodic "
            "along one axis along all three, so leave 10 Å of vacuum"
        )


def _check_electrons(numbers: NDArray[np.int64], method: str, charge: float | None, multiplicity: int | None) -> None:
    """Raise ValueError unless the orbitals can hold the electrons; tblite would compute something, or crash."""
    atoms = [(_valence(method, number), n) for number, n in Counter(numbers.tolist()).items()]
    electrons, orbitals = (sum(n * of_one[i] for of_one, n in atoms) for i in (0, 1))
    left = electrons - round(charge or 0)
    if not 0 <= left <= 2 * orbitals:
        raise ValueError(f"`charge` is {charge} e but must leave 0 to {2 * orbitals} of {electrons} valence electrons")
    most = min(left, 2 * orbitals - left) + 1
    if multiplicity is not None and multiplicity > most:
        raise ValueError(f"`multiplicity` is {multiplicity} but must be at most {most}, of {left} valence electrons")
    if multiplicity is not None and (left + multiplicity) % 2 == 0:  # tblite would take 1 for 2
        parity = "even" if left % 2 else "odd"
        raise ValueError(f"`multiplicity` is {multiplicity} but must be {parity}, of {left} valence electrons")


@cache
def _valence(method: str, number: int) -> tuple[int, int]:
    """Valence electrons of a neutral atom, and orbitals, as the method has them."""
    from tblite.interface import Calculator as Method

    atom = Method(method, np.array([number]), np.zeros((1, 3)))
    atom.set("verbosity", 0)
    occupations = np.asarray(atom.singlepoint().get("orbital-occupations"))
    return round(float(occupations.sum())), occupations.shape[-1]


def _tblite() -> type[Calculator]:
    """The calculator of tblite with a look at electrons and charges."""
    from tblite.ase import TBLite

    class Checked(TBLite):
        """Fails where an atom has more than `most_charge`, and where there cannot be so many electrons."""

        def __init__(self, most_charge: float, **settings: Any) -> None:
            super().__init__(**settings)
            self._most_charge = most_charge

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: list[str] | None = None,
            system_changes: list[str] = all_changes,
        ) -> None:
            """Compute energy, forces and charges in ASE's units.

            Raises
            ------
            ase.calculators.calculator.CalculationFailed
                If it does not converge, or collapses.
            ValueError
                If a periodic structure has a cell without volume, or cannot have so many electrons or unpaired ones.
            """
            _check_cell(atoms)
            of_all = {name: self.parameters[name] for name in ("method", "charge", "multiplicity")}
            if atoms is not None and (of_all["charge"] or of_all["multiplicity"] is not None):
                _check_electrons(atoms.numbers, **of_all)
            super().calculate(atoms, properties, system_changes)
            charges: Any = self.results["charges"]
            most = int(np.argmax(np.abs(charges)))
            if abs(charges[most]) > self._most_charge:
                self.results = {}
                raise CalculationFailed(
                    f"collapsed: atom {most} has a charge of {charges[most]:.2f} e, beyond `most_charge`, "
                    f"{self._most_charge:g} e"
                )

    return Checked
