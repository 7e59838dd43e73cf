"""Density-functional tight binding with a DFTB+ that is installed, and its Slater-Koster files, by ASE's interface."""

import os
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from ase.calculators.dftb import Dftb
from ase.config import cfg

from asla_env.identity import content

MAX_ANGULAR_MOMENTUM = {"H": "s"} | dict.fromkeys(("C", "N", "O", "F", "Na", "Mg", "K", "Ca"), "p")
MAX_ANGULAR_MOMENTUM |= dict.fromkeys(("P", "S", "Cl", "Zn", "Br", "I"), "d")
"""Highest shell of each element in the parameters 3ob, and in mio, which has fewer elements."""

_TAIL = 300  # characters of DFTB+'s output in an error


def dftb_plus(
    *,
    command: str | None = None,
    slako_dir: str | None = None,
    max_angular_momentum: Mapping[str, str] | None = None,
    scc: bool = True,
    scc_tolerance: float = 1e-5,
    max_scc_iterations: int = 100,
    electronic_temperature: float = 300.0,
    kpts: Sequence[int] = (1, 1, 1),
    keywords: Mapping[str, Any] | None = None,
) -> Calculator:
    """Make a calculator that runs DFTB+ for each energy, in a directory of its own that is removed afterwards.

    Parameters
    ----------
    command
        How to run DFTB+. None: environment variable ``DFTB_COMMAND``, else ``command`` in section ``[dftb]`` of ASE's
        configuration, else ``dftb+``.
    slako_dir
        Directory of the Slater-Koster files, ``C-H.skf`` and so on. None: environment variable ``DFTB_PREFIX``, else
        ``skt_path`` in section ``[dftb]`` of ASE's configuration.
    max_angular_momentum
        Highest shell of species that are not in `MAX_ANGULAR_MOMENTUM`, or other than there, such as ``{"Si": "d"}``.
    scc
        Whether charges are self-consistent.
    scc_tolerance
        Where they are, in e.
    max_scc_iterations
        After so many iterations without that the energy is a failure.
    electronic_temperature
        Of the Fermi filling, in K.
    kpts
        Monkhorst-Pack grid of periodic structures; (1, 1, 1) is the Γ point.
    keywords
        Further arguments of `ase.calculators.dftb.Dftb`, such as ``{"Hamiltonian_ThirdOrderFull": "Yes"}``.

    Raises
    ------
    FileNotFoundError
        If there is no such command or directory.
    """
    argv, directory = _argv(command), _slako_dir(slako_dir)
    parameters = {
        "Hamiltonian_SCC": "Yes" if scc else "No",
        "Hamiltonian_SCCTolerance": scc_tolerance,
        "Hamiltonian_MaxSCCIterations": max_scc_iterations,
        "Hamiltonian_Filling_": "Fermi",
        "Hamiltonian_Filling_Temperature [Kelvin]": electronic_temperature,
        "Hamiltonian_SlaterKosterFiles_Prefix": f'"{directory}/"',
    }
    arguments = {"command": f"{shlex.join(argv)} > PREFIX.out", "slako_dir": str(directory), **parameters}
    return _DFTBPlus(arguments | dict(keywords or {}), _shells(max_angular_momentum), tuple(kpts))


def check_files(
    symbols: Iterable[str],
    *,
    command: str | None = None,
    slako_dir: str | None = None,
    max_angular_momentum: Mapping[str, str] | None = None,
    **_: Any,
) -> None:
    """Check that DFTB+ and all that it needs for these species is there; arguments as of `dftb_plus`.

    Raises
    ------
    FileNotFoundError
        If the command, the directory or the file of a pair of species is missing.
    ValueError
        If the highest shell of a species is not known.
    """
    _argv(command)
    directory, species, shells = _slako_dir(slako_dir), sorted(set(symbols)), _shells(max_angular_momentum)
    foreign = [symbol for symbol in species if symbol not in shells]
    if foreign:
        raise ValueError(f"`max_angular_momentum` lacks {', '.join(foreign)} but must give the highest shell of each")
    missing = [name for a, b in product(species, species) if not (directory / (name := f"{a}-{b}.skf")).is_file()]
    if missing:
        raise FileNotFoundError(f"`slako_dir` is {str(directory)!r} but must hold {', '.join(missing)}")


def contents(*, command: str | None = None, slako_dir: str | None = None, **_: Any) -> dict[str, str]:
    """Digests of the programs that run and of all Slater-Koster files; arguments as of `dftb_plus`."""
    programs = [Path(found) for word in _argv(command) if (found := shutil.which(word)) is not None]
    return {"command": content(*programs), "slako_dir": content(*sorted(_slako_dir(slako_dir).glob("*.skf")))}


class _DFTBPlus(Calculator):
    """Hands each structure to an ASE calculator of its own, in a temporary directory."""

    implemented_properties = ["energy"]

    def __init__(self, arguments: dict[str, Any], shells: Mapping[str, str], kpts: tuple[int, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._arguments, self._shells, self._kpts = arguments, shells, kpts

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute the energy in eV.

        Raises
        ------
        ase.calculators.calculator.CalculationFailed
            If DFTB+ fails, with the end of what it printed.
        """
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        structure: Any = self.atoms
        symbols = sorted(set(structure.symbols))
        shells = {f"Hamiltonian_MaxAngularMomentum_{symbol}": f'"{self._shells[symbol]}"' for symbol in symbols}
        kpts = {"kpts": self._kpts} if structure.pbc.any() else {}
        with TemporaryDirectory(prefix="dftb-") as directory:
            calculator = Dftb(directory=directory, **shells, **kpts, **self._arguments)
            try:
                self.results["energy"] = calculator.get_potential_energy(structure)
            except Exception as error:
                raise CalculationFailed(f"DFTB+ failed: {_end_of(Path(directory, 'dftb.out')) or error}") from error


def _argv(command: str | None) -> list[str]:
    """Words of the command, the first a path; raises if there is no such program."""
    given = command or os.environ.get("DFTB_COMMAND") or _configured("command") or "dftb+"
    program, *arguments = shlex.split(given)
    found = shutil.which(program)
    if found is None:
        raise FileNotFoundError(
            f"`command` is {given!r} but must run DFTB+: no program {program!r} is there; install it, or set "
            "`command` or the environment variable DFTB_COMMAND"
        )
    return [str(Path(found).absolute()), *arguments]


def _slako_dir(slako_dir: str | None) -> Path:
    """Directory of the Slater-Koster files; raises if there is none."""
    given = slako_dir or os.environ.get("DFTB_PREFIX") or _configured("skt_path")
    if given is None:
        raise FileNotFoundError(
            "`slako_dir` is not given but must be the directory of the Slater-Koster files (*.skf): set it or the "
            "environment variable DFTB_PREFIX"
        )
    directory = Path(given).expanduser().absolute()
    if not directory.is_dir():
        raise FileNotFoundError(f"`slako_dir` is {given!r} but must be a directory of Slater-Koster files (*.skf)")
    return directory


def _configured(name: str) -> str | None:
    """Entry of section `[dftb]` of ASE's configuration."""
    value: str | None = cfg.parser.get("dftb", name, fallback=None)
    return value


def _shells(given: Mapping[str, str] | None) -> dict[str, str]:
    """Highest shell of each species."""
    return MAX_ANGULAR_MOMENTUM | dict(given or {})


def _end_of(path: Path) -> str:
    """Last of what a program printed, on one line."""
    return " ".join(path.read_text(encoding="utf-8", errors="replace").split())[-_TAIL:] if path.is_file() else ""
