"""Calculators that write files, of which nothing may tell two energies at once apart but where they lie."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ase.build import molecule
from ase.calculators.emt import EMT

from asla_env import Evaluator
from asla_env.evaluator import _single_point
from asla_env.limits import Limits
from asla_env.workers import WorkerPool
from asla_env.working_directory import working_directory

MODULE = '''
import sys
from pathlib import Path
from ase.calculators.calculator import FileIOCalculator

PROGRAM = "import time; x = open('in.txt').read(); time.sleep(0.2); open('out.txt', 'w').write(x)"

class Files(FileIOCalculator):
    """Its energy is the sum of all coordinates, by way of two files and a program."""
    implemented_properties = ["energy"]

    def __init__(self, **settings):
        super().__init__(command=f"{sys.executable} -S -c \\"{PROGRAM}\\"", **settings)

    def write_input(self, atoms, properties=None, system_changes=None):
        super().write_input(atoms, properties, system_changes)
        Path(self.directory, "in.txt").write_text(str(atoms.positions.sum()))

    def read_results(self):
        self.results["energy"] = float(Path(self.directory, "out.txt").read_text())

class Full(Files):
    """There is no room for what it writes."""
    def write_input(self, atoms, properties=None, system_changes=None):
        raise OSError(28, "No space left on device", "in.txt")

class Killed(Files):
    """Writes a file and takes for ever."""
    def read_results(self):
        import time
        Path(self.directory, "wave.function").write_bytes(bytes(1000))
        time.sleep(1000)
'''


@pytest.fixture(scope="module")
def files(written_module):
    """The module of calculators, which processes can import too."""
    return written_module("file_calculators", MODULE)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary files go, in this process and those that it starts."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


@pytest.fixture
def structures():
    made = [molecule("H2O") for _ in range(6)]
    for i, atoms in enumerate(made):
        atoms.positions += i
    return made


@pytest.mark.parametrize("executor_class", [WorkerPool, ThreadPoolExecutor])
@pytest.mark.parametrize("is_given", [False, True], ids=["default", "given"])
def test_energies_at_once_do_not_read_each_other_s_files(
    executor_class, is_given, files, structures, temporary, tmp_path, monkeypatch
):
    settings = {"directory": str(tmp_path / "given")} if is_given else {}
    monkeypatch.chdir(temporary)
    with executor_class(3) as executor:
        energies = Evaluator(files.Files, executor, settings).evaluate_many(structures, [None] * len(structures))
    assert [evaluation.energy for evaluation in energies] == pytest.approx([a.positions.sum() for a in structures])
    assert not list(temporary.iterdir())
    assert not list((tmp_path / "given").glob("*"))


def test_what_a_killed_calculator_leaves_goes_with_the_processes(files, structures, temporary):
    with WorkerPool(1, Limits(time_s=2, crash_retries=0)) as pool:
        assert "timeout" in Evaluator(files.Killed, pool).evaluate(structures[0]).error
        assert list(temporary.rglob("wave.function"))
    assert not list(temporary.iterdir())


def test_what_failed_stays_in_a_directory_that_was_given(files, structures, tmp_path):
    evaluator = Evaluator(files.Files, settings={"directory": str(tmp_path / "given")})
    calculator = evaluator.spec.make()
    calculator.command = "false"
    with pytest.raises(Exception, match="false"), working_directory(calculator):
        _single_point(calculator, structures[0])
    (kept,) = (tmp_path / "given").iterdir()
    assert (kept / "in.txt").exists()
    assert Path(calculator.directory) == tmp_path / "given"


def test_what_failed_in_a_directory_of_its_own_does_not_stay(temporary):
    seen = []

    class Failing(EMT):
        def get_potential_energy(self, *_, **__):
            seen.append(Path(self.directory))
            raise RuntimeError("no convergence")

    assert Evaluator(Failing).evaluate(molecule("H2O")).error == "RuntimeError: no convergence"
    assert seen[0].parent == temporary
    assert not list(temporary.iterdir())


def test_a_full_disk_is_no_failure_of_a_structure_but_raised(files, structures, temporary, tmp_path, monkeypatch):
    with pytest.raises(OSError, match="No space left on device"):
        Evaluator(files.Full).evaluate(structures[0])
    with WorkerPool(1) as pool, pytest.raises(OSError, match="No space left on device"):
        Evaluator(files.Full, pool).evaluate(structures[0])
    evaluator = Evaluator(EMT)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file" / "in_which_none_can_be"))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="in_which_none_can_be"):
        evaluator.evaluate(structures[0])
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert evaluator.evaluate(structures[0]).error is None


def test_a_temporary_directory_that_the_system_has_removed_is_made_again(temporary):
    temporary.rmdir()
    calculator = EMT()
    with working_directory(calculator):
        assert Path(calculator.directory).is_dir()


def test_a_calculator_that_is_not_of_ase_keeps_its_directory():
    class Mine:
        directory = "parameters"

    calculator = Mine()
    with working_directory(calculator):
        assert calculator.directory == "parameters"


GENERIC = """
import sys
from ase.calculators.genericfileio import BaseProfile, CalculatorTemplate, GenericFileIOCalculator

class Profile(BaseProfile):
    configvars = frozenset()
    def get_calculator_command(self, inputfile):
        return ["-S", "-c", "open('out.txt', 'w').write(open('in.txt').read())"]
    def version(self):
        return "1"

class Template(CalculatorTemplate):
    def __init__(self):
        super().__init__("toy", ["energy"])
    def write_input(self, profile, directory, atoms, parameters, properties):
        (directory / "in.txt").write_text(str(atoms.positions.sum()))
    def execute(self, directory, profile):
        profile.run(directory, None, "printed.txt")
    def read_results(self, directory):
        return {"energy": float((directory / "out.txt").read_text())}
    def load_profile(self, cfg, **kwargs):
        return Profile(sys.executable)

def generic():
    return GenericFileIOCalculator(template=Template(), profile=Profile(sys.executable), directory=".", parameters={})
"""


def test_interfaces_whose_directory_is_a_path_have_their_own_too(written_module, temporary):
    """Those to ORCA, Quantum ESPRESSO, FHI-aims and others."""
    made = written_module("generic_calculators", GENERIC).generic
    evaluation = Evaluator(made).evaluate(molecule("H2O"))
    assert evaluation.error is None
    assert evaluation.energy == pytest.approx(molecule("H2O").positions.sum())
    assert list(temporary.iterdir()) == []
