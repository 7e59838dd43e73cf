"""The xTB methods of tblite."""

from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols

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
) -> Calculator:
    """Make the calculator of tblite.

    Parameters
    ----------
    method
        ``"GFN1-xTB"`` or ``"GFN2-xTB"``.
    accuracy
        Thresholds of convergence and of integrals are multiplied by this.
    electronic_temperature
        In K; it is part of the energy.
    max_iterations
        After so many iterations without convergence the energy is a failure.
    mixer_damping
        Of the charges.
    charge
        Of the whole structure, in e; None: 0.
    multiplicity
        Number of unpaired electrons and one; None: the lowest there can be.

    Raises
    ------
    ImportError
        If tblite is not installed.
    """
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise ImportError(f"{method} needs tblite, which cannot be imported: `pip install tblite`") from error
    calculator: Calculator = TBLite(
        method=method,
        accuracy=accuracy,
        electronic_temperature=electronic_temperature,
        max_iterations=max_iterations,
        mixer_damping=mixer_damping,
        charge=charge,
        multiplicity=multiplicity,
        verbosity=0,
        cache_api=False,  # so that `reset` drops the wavefunction too, which would start the next structure
    )
    return calculator
