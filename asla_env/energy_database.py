"""Every energy that was computed, in a database of ASE that outlives the process."""

import json
import sqlite3
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.db.sqlite import SQLite3Database

_OURS, _ENERGIES_OF = "asla_structure", "asla_energies_of"
_KNOWN = (
    "SELECT key_value_pairs, energy FROM systems WHERE energy IS NOT NULL AND id IN "
    "(SELECT id FROM text_key_values WHERE key = ? AND value = ?) ORDER BY id"
)


class EnergyDatabase:
    """Energies by one calculator, kept with their structures in an SQLite file that `ase db` and `ase gui` read.

    Each energy is in the file when `add` returns: a killed process loses none. Energies by another calculator, or by
    the same one with other settings, may lie in the same file and are never given out. Structures without an energy are
    kept too, with the cause, and are not given out either, so that they are tried again.

    Parameters
    ----------
    path
        The file, made if it is not there.
    calculator
        What tells the calculator and all its settings from others.

    Raises
    ------
    ValueError
        If the file is something else than a database of ASE.
    OSError
        If it cannot be opened or made.
    """

    def __init__(self, path: Path, calculator: str) -> None:
        self.path = path
        self._calculator = f"by-{calculator}"  # not a number, which ASE would take for one
        self._database = cast(SQLite3Database, connect(path, type="db", use_lock_file=False))
        try:
            self._energies = self._open()
        except (sqlite3.DatabaseError, KeyError, TypeError, ValueError) as error:
            raise _explained(path, error) from error

    def __len__(self) -> int:
        return len(self._energies)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def get(self, key: bytes) -> float | None:
        """Energy in eV of the structure with this key; None if there is none yet."""
        return self._energies.get(_digest(key))

    def add(self, key: bytes, atoms: Atoms, energy: float, error: str | None = None, seconds: float = 0.0) -> None:
        """Keep a structure and its energy.

        Parameters
        ----------
        key
            Identifies the structure, as `Problem.canonical_key`. Of several energies the first stays valid.
        atoms
            The structure.
        energy
            Energy in eV; nan if there is none.
        error
            Why there is none.
        seconds
            How long it took.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        structure, digest = atoms.copy(), _digest(key)
        facts: dict[str, Any] = {_OURS: digest, _ENERGIES_OF: self._calculator, "seconds": round(seconds, 4)}
        if isfinite(energy):
            structure.calc = SinglePointCalculator(structure, energy=energy)
        try:
            self._database.write(structure, facts, data={"error": error} if error else {})
            self._connection.commit()
        except sqlite3.Error as problem:
            self._connection.rollback()
            raise OSError(f"{self.path}: {problem}") from problem
        if isfinite(energy):
            self._energies.setdefault(digest, energy)

    def close(self) -> None:
        """Close the file; calling it again does nothing."""
        if self._database.connection is not None:
            self._database.__exit__(None, None, None)

    @property
    def _connection(self) -> sqlite3.Connection:
        return cast(sqlite3.Connection, self._database.connection)

    def _open(self) -> dict[str, float]:
        """Open the file for good; the energies in it."""
        self._database.__enter__()
        # what is committed outlives the process, and what is in the file stays whole even if the power fails
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        with self._database.managed_connection():
            rows = self._connection.execute(_KNOWN, (_ENERGIES_OF, self._calculator)).fetchall()
        energies: dict[str, float] = {}
        for facts, energy in rows:
            energies.setdefault(json.loads(facts)[_OURS], energy)
        return energies


def _digest(key: bytes) -> str:
    """Text that stands for a structure; not a number, which ASE would take for one."""
    return f"of-{blake2b(key, digest_size=16).hexdigest()}"


def _explained(path: Path, error: Exception) -> Exception:
    """The error that a caller understands."""
    if isinstance(error, sqlite3.OperationalError):
        return OSError(f"{path}: {error}")
    return ValueError(f"`path` is {path} but must be a database of ASE: {error}")
