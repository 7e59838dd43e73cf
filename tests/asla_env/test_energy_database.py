"""Energies that outlive the process that computed them."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psutil
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.db import connect

from asla_env import Evaluator
from asla_env.energy_database import EnergyDatabase
from asla_env.problems import graphene_mini

ATOMS = molecule("H2O")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "energies.db"


def rows_in(path):
    """All rows, as ASE reads them."""
    with connect(path) as database:  # else the file stays open
        return list(database.select())


def test_energies_are_there_again_to_the_last_bit(path):
    energy = -1.0 / 3.0
    with EnergyDatabase(path, "emt") as database:
        assert database.get(b"a") is None
        database.add(b"a", ATOMS, energy)
        assert database.get(b"a") == energy
    with EnergyDatabase(path, "emt") as database:
        assert database.get(b"a") == energy
        assert database.get(b"b") is None
        assert len(database) == 1


def test_energies_by_another_calculator_are_never_given_out(path):
    with EnergyDatabase(path, "emt") as first, EnergyDatabase(path, "emt-2") as second:
        first.add(b"a", ATOMS, -1.0)
        second.add(b"a", ATOMS, -2.0)
        assert (first.get(b"a"), second.get(b"a")) == (-1.0, -2.0)
    for calculator, energy in (("emt", -1.0), ("emt-2", -2.0), ("emt-", None)):
        with EnergyDatabase(path, calculator) as database:
            assert database.get(b"a") == energy


def test_a_structure_without_an_energy_is_kept_with_the_cause_and_tried_again(path):
    with EnergyDatabase(path, "emt") as database:
        database.add(b"a", ATOMS, math.nan, "RuntimeError: no convergence", 2.5)
        assert database.get(b"a") is None
        database.add(b"a", ATOMS, -1.0)
        assert database.get(b"a") == -1.0
    failed, computed = rows_in(path)
    assert failed.data["error"] == "RuntimeError: no convergence"
    assert failed.seconds == 2.5
    assert computed.energy == -1.0


def test_of_several_energies_the_first_stays(path):
    with EnergyDatabase(path, "emt") as database:
        database.add(b"a", ATOMS, -1.0)
        database.add(b"a", ATOMS, -2.0)
        assert database.get(b"a") == -1.0
    with EnergyDatabase(path, "emt") as database:
        assert database.get(b"a") == -1.0


def test_ase_reads_structures_and_energies(path):
    with EnergyDatabase(path, "emt") as database:
        database.add(b"a", ATOMS, -1.25)
    (row,) = rows_in(path)
    assert row.formula == "H2O"
    assert row.toatoms().get_potential_energy() == -1.25
    assert row.toatoms().positions.tolist() == ATOMS.positions.tolist()
    listing = subprocess.run([sys.executable, "-m", "ase", "db", str(path)], capture_output=True, text=True, check=True)
    assert "H2O" in listing.stdout
    assert "-1.25" in listing.stdout


def test_files_are_merged_by_ase(path, tmp_path):
    for name, energy in (("one.db", -1.0), ("two.db", -2.0)):
        with EnergyDatabase(tmp_path / name, "emt") as database:
            database.add(name.encode(), ATOMS, energy)
    command = [sys.executable, "-m", "ase", "db", str(tmp_path / "one.db"), "--insert-into", str(tmp_path / "two.db")]
    subprocess.run(command, check=True, capture_output=True)
    with EnergyDatabase(tmp_path / "two.db", "emt") as database:
        assert (database.get(b"one.db"), database.get(b"two.db")) == (-1.0, -2.0)


def test_energies_by_the_same_calculator_are_copied_from_another_file_in_use(path, tmp_path):
    with EnergyDatabase(tmp_path / "other.db", "emt") as other, EnergyDatabase(path, "emt") as database:
        for key, energy in ((b"a", -1.0), (b"b", -2.0), (b"b", -2.5), (b"c", math.nan)):
            other.add(key, ATOMS, energy)
        with EnergyDatabase(tmp_path / "other.db", "emt-2") as foreign:
            foreign.add(b"d", ATOMS, -4.0)
        database.add(b"a", ATOMS, -1.5)
        assert database.copy_from(tmp_path / "other.db") == 1
        assert database.copy_from(tmp_path / "other.db") == 0
        assert [database.get(key) for key in (b"a", b"b", b"c", b"d")] == [-1.5, -2.0, None, None]
    with EnergyDatabase(path, "emt") as database:
        assert [database.get(key) for key in (b"a", b"b", b"c", b"d")] == [-1.5, -2.0, None, None]
    assert [row.toatoms().get_potential_energy() for row in rows_in(path)] == [-1.5, -2.0]


def test_what_is_no_file_of_energies_is_not_copied(path, tmp_path):
    (tmp_path / "text.db").write_text("no database, and long enough to be the header of one" * 20)
    with EnergyDatabase(path, "emt") as database:
        with pytest.raises(
            FileNotFoundError, match=r"nothing\.db but must be a database of energies: there is no such"
        ):
            database.copy_from(tmp_path / "nothing.db")
        with pytest.raises(ValueError, match=r"text\.db but must be a database of ASE"):
            database.copy_from(tmp_path / "text.db")
        (tmp_path / "empty.db").touch()
        with pytest.raises(ValueError, match=r"empty\.db but must be a database of ASE: it is empty"):
            database.copy_from(tmp_path / "empty.db")
        assert len(database) == 0
    assert not (tmp_path / "nothing.db").exists()
    assert not (tmp_path / "empty.db").read_bytes()


def test_energies_are_copied_from_a_file_beside_which_nothing_is_written(path, tmp_path):
    archive = tmp_path / "archive"
    archive.mkdir()
    with EnergyDatabase(archive / "energies.db", "emt") as other:
        other.add(b"a", ATOMS, -1.0)
    before = (archive / "energies.db").read_bytes()
    with EnergyDatabase(path, "emt") as database:
        assert database.copy_from(archive / "energies.db") == 1
        assert database.get(b"a") == -1.0
    assert [file.name for file in archive.iterdir()] == ["energies.db"]
    assert (archive / "energies.db").read_bytes() == before


def test_a_copy_that_fails_half_way_copies_nothing(path, tmp_path, monkeypatch):
    with EnergyDatabase(tmp_path / "other.db", "emt") as other:
        other.add(b"a", ATOMS, -1.0)
        other.add(b"b", ATOMS, -2.0)
    with EnergyDatabase(path, "emt") as database:
        write, written = database._database.write, []

        def full(*arguments, **settings):
            if written:
                raise sqlite3.OperationalError("database or disk is full")
            written.append(write(*arguments, **settings))

        with monkeypatch.context() as patch:
            patch.setattr(database._database, "write", full)
            with pytest.raises(OSError, match="disk is full"):
                database.copy_from(tmp_path / "other.db")
        assert len(database) == len(rows_in(path)) == 0
        assert database.copy_from(tmp_path / "other.db") == 2


def test_failures_are_again_as_often_and_in_the_order_in_which_they_were(path):
    with EnergyDatabase(path, "emt") as database:
        for key, energy, error in [
            (b"a", math.nan, "first"),
            (b"a", math.nan, "second"),
            (b"b", math.nan, "other"),
            (b"a", -1.0, None),
            (b"c", -3.0, None),
            (b"c", math.nan, "of another search, merged into this"),
        ]:
            database.add(key, ATOMS, energy, error)
    with EnergyDatabase(path, "emt") as database:
        assert database.failure(b"a") is None  # unless it is asked for
        database.fail_again(forgiven=[b"a", b"d"])
        assert [database.failure(b"a") for _ in range(2)] == ["second", None]
        assert [database.failure(b"b") for _ in range(2)] == ["other", None]
        assert database.failure(b"c") is None
        evaluator = Evaluator(EMT, database=database)
        database.fail_again(forgiven=[b"a"])
        failed, computed = evaluator.evaluate(ATOMS, b"a"), evaluator.evaluate(ATOMS, b"a")
        assert (failed.error, computed.energy) == ("second", -1.0)
        assert math.isnan(failed.energy)
        assert evaluator.n_computed == 0


KILLED = """
import sys
from pathlib import Path
from ase.build import molecule
from asla_env.energy_database import EnergyDatabase
database = EnergyDatabase(Path(sys.argv[1]), "emt")
for i in range(10**6):
    database.add(b"%d" % i, molecule("H2O"), -float(i))
    print(i, flush=True)
"""


def test_a_killed_process_loses_no_energy_and_leaves_a_file_that_can_be_written(path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    while int(process.stdout.readline()) < 5:
        pass
    os.kill(process.pid, signal.SIGKILL)
    last = max([5, *map(int, process.stdout.read().split())])
    process.stdout.close()
    process.wait()
    with EnergyDatabase(path, "emt") as database:
        assert [database.get(b"%d" % i) for i in range(last + 1)] == [-float(i) for i in range(last + 1)]
        database.add(b"new", ATOMS, -0.5)


def test_a_file_that_is_none_is_refused(path):
    path.write_bytes(b"something else, long enough to be a header of a database" * 20)
    with pytest.raises(ValueError, match=r"`path` is .*energies\.db but must be a database of ASE"):
        EnergyDatabase(path, "emt")


def test_a_database_of_something_else_is_refused_and_not_changed(path):
    with closing(sqlite3.connect(path)) as bookmarks:
        bookmarks.execute("CREATE TABLE bookmarks (address TEXT)")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="must be a database of ASE: it has the tables bookmarks"):
        EnergyDatabase(path, "emt")
    assert path.read_bytes() == before


def test_processes_that_make_the_same_file_at_once_lose_nothing(path):
    script = (
        "import sys; from pathlib import Path; from ase import Atoms\n"
        "from asla_env.energy_database import EnergyDatabase\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"with EnergyDatabase(Path({str(path)!r}), 'emt') as database:\n"
        "    database.add(sys.argv[1].encode(), Atoms('C'), 1.0)"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", script, str(i)], **pipes) for i in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0] * 4
    assert len(rows_in(path)) == 4


def test_damage_that_the_next_energy_would_meet_is_told_at_once(path):
    with EnergyDatabase(path, "xwch") as database:
        for i in range(3):
            database.add(bytes([i]), ATOMS, -1.0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 31 // 32] + whole)  # what is read at the start lies before
    with pytest.raises(ValueError, match=r"energies\.db but must be a database of ASE: it is damaged: "):
        EnergyDatabase(path, "xwch")


def test_a_closed_file_takes_no_energy_and_says_so(path):
    with EnergyDatabase(path, "emt") as database:
        pass
    with pytest.raises(ValueError, match=r"energies\.db, which was closed"):
        database.add(b"a", ATOMS, -1.0)


def test_an_energy_from_another_thread_is_an_error_of_the_system(path):
    with EnergyDatabase(path, "emt") as database, ThreadPoolExecutor(1) as threads:
        with pytest.raises(OSError, match="thread"):
            threads.submit(database.add, b"a", ATOMS, -1.0).result()
        database.add(b"a", ATOMS, -1.0)


def test_a_file_that_cannot_be_made_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError, match="unable to open database file"):
        EnergyDatabase(tmp_path / "nowhere" / "energies.db", "emt")


def test_a_full_disk_is_an_error_of_the_system_and_the_file_stays_whole(path, monkeypatch):
    with EnergyDatabase(path, "emt") as database:
        database.add(b"a", ATOMS, -1.0)

        def full(*_, **__):
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(database._database, "write", full)
            with pytest.raises(OSError, match="disk is full"):
                database.add(b"b", ATOMS, -2.0)
        assert database.get(b"b") is None
        database.add(b"b", ATOMS, -3.0)
        assert database.get(b"b") == -3.0


def test_a_full_disk_is_said_of_the_file_that_is_written_not_of_the_one_that_is_copied(path, tmp_path, monkeypatch):
    with EnergyDatabase(tmp_path / "other.db", "emt") as other:
        other.add(b"a", ATOMS, -1.0)

    def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    with EnergyDatabase(path, "emt") as database:
        monkeypatch.setattr(database._database, "write", full)
        with pytest.raises(OSError, match=f"{path.name}: database or disk is full"):
            database.copy_from(tmp_path / "other.db")
        assert database.get(b"a") is None


# In the evaluator


def test_an_evaluator_computes_nothing_that_is_in_the_database(path):
    problem = graphene_mini()
    with EnergyDatabase(path, "emt") as database:
        first = Evaluator(EMT, database=database)
        evaluation = first.evaluate(problem.reference, b"a")
    with EnergyDatabase(path, "emt") as database:
        second = Evaluator(EMT, database=database)
        assert second.evaluate(problem.reference, b"a") == evaluation
        assert second.evaluate_many([problem.reference] * 2, [b"a", b"b"])[0] == evaluation
        assert (second.n_computed, second.n_cached) == (1, 2)
        assert len(database) == 2


def test_an_evaluator_keeps_what_failed_and_nothing_without_a_key(path):
    class Failing(EMT):
        def get_potential_energy(self, *_, **__):
            raise RuntimeError("no convergence")

    with EnergyDatabase(path, "failing") as database:
        evaluator = Evaluator(Failing, database=database)
        evaluator.evaluate(ATOMS, b"a")
        evaluator.evaluate(ATOMS)
    (row,) = rows_in(path)
    assert row.data["error"] == "RuntimeError: no convergence"


def test_a_file_that_cannot_be_opened_is_closed_again(path):
    with EnergyDatabase(path, "emt") as database:
        database.add(b"a", ATOMS, -1.0)
    damaged = bytearray(path.read_bytes())
    damaged[100:] = b"x" * (len(damaged) - 100)
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="must be a database of ASE") as refused:
        EnergyDatabase(path, "emt")
    assert refused.tb is not None  # which keeps alive what was open there
    assert str(path) not in {file.path for file in psutil.Process().open_files()}
