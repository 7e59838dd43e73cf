"""Every energy that was computed, in a database of ASE that outlives the process."""

import json
import sqlite3
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from hashlib import blake2b
from math import inf, isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self, cast

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.db.row import AtomsRow
from ase.db.sqlite import SQLite3Database

_OURS, _ENERGIES_OF = "asla_structure", "asla_energies_of"
_OF_ONE = "id IN (SELECT id FROM text_key_values WHERE key = ? AND value = ?) ORDER BY id"
_KNOWN = f"SELECT id, key_value_pairs, energy FROM systems WHERE energy IS NOT NULL AND {_OF_ONE}"
_FAILED = f"SELECT id FROM systems WHERE energy IS NULL AND {_OF_ONE}"

_PATIENCE_S = 20.0  # for others that open the same file, as SQLite itself has it in ASE
_PAUSE_S = 0.02


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
        self.path, self._name = path, calculator
        self._calculator = f"by-{calculator}"  # not a number, which ASE would take for one
        self._failures = defaultdict[str, deque[str]](deque)  # that are to be again, the first one first
        self._database = cast(SQLite3Database, connect(path, type="db", use_lock_file=False))
        try:
            with _understood(path):
                self._energies = self._open()
        except BaseException:
            if self._database.connection is not None:
                self._connection.close()
            raise

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
        ValueError
            After `close`.
        """
        if self._database.connection is None:
            raise ValueError(f"`path` is {self.path}, which was closed: no energy can be added")
        structure, digest = atoms.copy(), _digest(key)
        structure.set_constraint()  # it is no part of an energy, and not every one can be written
        facts: dict[str, Any] = {_OURS: digest, _ENERGIES_OF: self._calculator, "seconds": round(seconds, 4)}
        if isfinite(energy):
            structure.calc = SinglePointCalculator(structure, energy=energy)
        with self._transaction():
            self._database.write(structure, facts, data={"error": error} if error else {})
        if isfinite(energy):
            self._energies.setdefault(digest, energy)

    def copy_from(self, path: Path) -> int:
        """Copy from another file the energies by the same calculator that this one lacks; return how many there are.

        The other file is read as it is now, also where nothing may be written, and is not changed.

        Raises
        ------
        ValueError
            If the file is something else than a database of ASE.
        OSError
            If it is not there or cannot be read, or this one cannot be written.
        """
        if not path.is_file():
            raise FileNotFoundError(f"`path` is {path} but must be a database of energies: there is no such file")
        if not path.stat().st_size:
            raise ValueError(f"`path` is {path} but must be a database of ASE: it is empty")
        new = dict[str, tuple[float, AtomsRow]]()
        with TemporaryDirectory() as directory:
            copy = Path(directory, path.name)
            _copy(path, copy)
            with EnergyDatabase(copy, self._name) as other, _understood(path):
                for digest, row_id, energy in other._known():
                    if digest not in self._energies and digest not in new:
                        new[digest] = energy, other._database.get(id=row_id)
        with self._transaction():
            for _, row in new.values():
                self._database.write(row, row.key_value_pairs)
        self._energies |= {digest: energy for digest, (energy, _) in new.items()}
        return len(new)

    def fail_again(self, forgiven: Iterable[bytes] = ()) -> None:
        """Let structures fail as often as they did, for the same causes, before they have an energy.

        Parameters
        ----------
        forgiven
            Structures by their keys, each as often as its first failures are not to be again.

        Raises
        ------
        ValueError
            If the file is damaged.
        """
        self._failures.clear()
        computed = {digest: row_id for digest, row_id, _ in reversed(list(self._known()))}
        with _understood(self.path):
            failed = [self._database.get(id=row_id) for (row_id,) in self._rows(_FAILED)]
            for row in failed:
                digest = row.key_value_pairs[_OURS]
                if row.id < computed.get(digest, inf):  # a later one is another search's, merged into this
                    self._failures[digest].append(str(row.data.get("error")))
        for key in forgiven:
            self.failure(key)

    def failure(self, key: bytes) -> str | None:
        """Why the structure with this key is to fail again this time; None if it is to be tried."""
        failures = self._failures.get(_digest(key))
        return failures.popleft() if failures else None

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
        tables = [name for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if tables and "systems" not in tables:
            raise ValueError(f"it has the tables {', '.join(tables)}")
        # what is committed outlives the process, and what is in the file stays whole even if the power fails
        self._keep_a_log()
        self._connection.execute("PRAGMA synchronous = NORMAL")
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")  # another process may be making the tables of the same new file
            with self._database.managed_connection():
                pass
        ((answer,),) = self._connection.execute("PRAGMA quick_check(1)")
        if answer != "ok":  # or else the first energy that is to be kept would tell
            raise ValueError(f"it is damaged: {answer.splitlines()[-1]}")
        energies: dict[str, float] = {}
        for digest, _, energy in self._known():
            energies.setdefault(digest, energy)
        return energies

    def _keep_a_log(self) -> None:
        """Switch to a write-ahead log; unlike all else, SQLite does not wait for it while others open the file."""
        end = monotonic() + _PATIENCE_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or monotonic() > end:
                    raise
                sleep(_PAUSE_S)

    def _known(self) -> Iterator[tuple[str, int, float]]:
        """Digest, row and energy in eV of all structures that have one by this calculator, oldest first."""
        for row_id, facts, energy in self._rows(_KNOWN):
            yield json.loads(facts)[_OURS], row_id, energy

    def _rows(self, query: str) -> list[Any]:
        """What a query about this calculator answers."""
        return self._connection.execute(query, (_ENERGIES_OF, self._calculator)).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Write all or nothing; raises OSError."""
        try:
            yield
            self._connection.commit()
        except sqlite3.Error as problem:
            with suppress(sqlite3.Error):  # such as in another thread, where nothing was begun
                self._connection.rollback()
            raise OSError(f"{self.path}: {problem}") from problem
        except BaseException:
            self._connection.rollback()
            raise


def _digest(key: bytes) -> str:
    """Text that stands for a structure; not a number, which ASE would take for one."""
    return f"of-{blake2b(key, digest_size=16).hexdigest()}"


def _copy(path: Path, copy: Path) -> None:
    """Copy a database of ASE as it is now, from wherever it can be read; raises as `EnergyDatabase` does."""
    is_in_use = path.with_name(f"{path.name}-wal").exists()  # or was, by a process that was killed
    mode = "mode=ro" if is_in_use else "immutable=1"  # which makes no file of locks beside it
    address = f"{path.absolute().as_uri()}?{mode}"
    with (
        _understood(path),
        closing(sqlite3.connect(address, uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    """Say of a file what a caller understands: it cannot be read, or is something else."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(f"{path}: {error}") from error
    except (sqlite3.DatabaseError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"`path` is {path} but must be a database of ASE: {error}") from error
