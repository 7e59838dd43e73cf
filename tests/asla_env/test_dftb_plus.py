"""DFTB+ behind ASE's interface: a stand-in that reads the input and writes what DFTB+ writes, and the real program."""

import json
import os
import re
import shutil
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.config import cfg
from ase.units import Hartree

from asla_env import AtomPlacementEnv, Evaluator, Problem
from asla_env.calculator_spec import CalculatorSpec

STAND_IN = """#!{python}
import json, os, sys
from pathlib import Path

log, *options = sys.argv[1:]
hsd, gen = Path("dftb_in.hsd").read_text(), Path("geo_end.gen").read_text()
with open(log, "a") as file:
    file.write(json.dumps(dict(cwd=os.getcwd(), hsd=hsd, gen=gen, files=sorted(os.listdir()))) + "\\n")
if "fail" in options:
    print("ERROR!\\n-> SCC is NOT converged, maximal SCC iterations exceeded")
    sys.exit(1)
n_atoms = int(gen.split()[0])
Path("detailed.out").write_text(
    f" Total Mermin free energy:  {{-n_atoms - 1.0:.10f}} H  0.0 eV\\n"
    f" Total energy:              {{-n_atoms:.10f}} H         {{-27.2113845 * n_atoms:.4f}} eV\\n"
)
Path("results.tag").write_text(
    "mermin_energy       :real:0:\\n %.15E\\nfermi_level         :real:1:1\\n -0.1500000000E+00\\n" % (-n_atoms - 1.0)
)
"""
SLAKO_DIR = os.environ.get("DFTB_PREFIX")  # of the real program
SHELLS = {"Hamiltonian/MaxAngularMomentum/C": '"p"', "Hamiltonian/MaxAngularMomentum/H": '"s"'}


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DFTB_COMMAND", "DFTB_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "dftb+"
    path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def settings(program: str, tmp_path: Path) -> dict[str, Any]:
    """Settings for C and H."""
    directory = tmp_path / "slako of mine"
    directory.mkdir()
    for pair in ("C-C", "C-H", "H-C", "H-H"):
        (directory / f"{pair}.skf").write_text(pair)
    return {"command": f"{program} {tmp_path / 'log'}", "slako_dir": str(directory)}


def runs(tmp_path: Path) -> list[dict[str, Any]]:
    """What each run of the stand-in was given."""
    return [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]


def parsed(hsd: str) -> dict[str, str]:
    """Values of an input by their paths; lines without a name under the path of their block."""
    values, path = {}, []
    for line in (line.strip() for line in hsd.splitlines()):
        if line == "}":
            path.pop()
        elif line.endswith("{"):
            name, _, kind = line[:-1].partition("=")
            path.append(name.strip())
            values["/".join(path)] = kind.strip()
        elif line:
            name, equals, value = line.partition(" = ")
            key = "/".join([*path, name] if equals else path)
            values[key] = value if equals else f"{values[key]} {line}".strip()
    assert path == []
    return values


def benzene(pbc: bool = False) -> Atoms:
    atoms = molecule("C6H6", vacuum=3.0)
    atoms.pbc = pbc
    return atoms


# The input


def test_the_input_is_that_of_self_consistent_dftb_with_fermi_filling(settings: dict[str, Any], tmp_path: Path) -> None:
    CalculatorSpec("dftb+", settings).make().get_potential_energy(benzene())
    (run,) = runs(tmp_path)
    values = parsed(run["hsd"])
    expected = {
        "Hamiltonian": "DFTB",
        "Hamiltonian/SCC": "Yes",
        "Hamiltonian/SCCTolerance": "1e-05",
        "Hamiltonian/MaxSCCIterations": "100",
        "Hamiltonian/Filling": "Fermi",
        "Hamiltonian/Filling/Temperature [Kelvin]": "300.0",
        "Hamiltonian/SlaterKosterFiles": "Type2FileNames",
        "Hamiltonian/SlaterKosterFiles/Prefix": f'"{settings["slako_dir"]}/"',
        "Hamiltonian/SlaterKosterFiles/Separator": '"-"',
        "Hamiltonian/SlaterKosterFiles/Suffix": '".skf"',
        "Options/WriteResultsTag": "Yes",
        "Geometry": 'GenFormat <<< "geo_end.gen"',
        **SHELLS,
    }
    assert {name: values[name] for name in expected} == expected
    assert not any("KPoints" in name for name in values)
    assert run["gen"].split()[:4] == ["12", "C", "C", "H"]  # C: a cluster


def test_a_periodic_structure_has_the_gamma_point(settings: dict[str, Any], tmp_path: Path) -> None:
    CalculatorSpec("dftb+", settings).make().get_potential_energy(benzene(pbc=True))
    (run,) = runs(tmp_path)
    expected = "SupercellFolding 1 0 0 0 1 0 0 0 1 0.0 0.0 0.0"
    assert parsed(run["hsd"])["Hamiltonian/KPointsAndWeights"] == expected
    assert run["gen"].split()[1] == "S"


def test_settings_reach_the_input(settings: dict[str, Any], tmp_path: Path) -> None:
    further = {
        "scc": False,
        "scc_tolerance": 1e-7,
        "max_scc_iterations": 7,
        "electronic_temperature": 500.0,
        "max_angular_momentum": {"C": "d"},
        "kpts": [2, 1, 1],
        "keywords": {"Hamiltonian_ThirdOrderFull": "Yes"},
    }
    CalculatorSpec("dftb+", settings | further).make().get_potential_energy(benzene(pbc=True))
    values = parsed(runs(tmp_path)[0]["hsd"])
    assert values["Hamiltonian/SCC"] == "No"
    assert values["Hamiltonian/SCCTolerance"] == "1e-07"
    assert values["Hamiltonian/MaxSCCIterations"] == "7"
    assert values["Hamiltonian/Filling/Temperature [Kelvin]"] == "500.0"
    assert values["Hamiltonian/MaxAngularMomentum/C"] == '"d"'
    assert values["Hamiltonian/KPointsAndWeights"].startswith("SupercellFolding 2 0 0")
    assert values["Hamiltonian/ThirdOrderFull"] == "Yes"


def test_only_species_of_the_structure_are_in_the_input(settings: dict[str, Any], tmp_path: Path) -> None:
    used = Evaluator("dftb+", settings=settings)
    for name in ("C6H6", "H2", "CH4"):
        used.evaluate(molecule(name))
    shells = [[name[-1] for name in parsed(run["hsd"]) if "MaxAngularMomentum/" in name] for run in runs(tmp_path)]
    assert shells == [["C", "H"], ["H"], ["C", "H"]]


# The energy, and where it is computed


def test_the_energy_is_the_total_energy_in_ev(settings: dict[str, Any]) -> None:
    evaluation = Evaluator("dftb+", settings=settings).evaluate(benzene())
    assert evaluation.error is None
    assert evaluation.energy == pytest.approx(-12 * Hartree, rel=1e-9)


def test_each_energy_has_a_directory_of_its_own_that_is_gone_afterwards(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "tmp")
    used = Evaluator("dftb+", settings=settings)
    for _ in range(2):
        used.evaluate(benzene())
    settings["command"] += " fail"
    assert Evaluator("dftb+", settings=settings).evaluate(benzene()).error is not None
    directories = [run["cwd"] for run in runs(tmp_path)]
    assert len(set(directories)) == 3
    assert all(run["files"] == ["dftb.out", "dftb_in.hsd", "geo_end.gen"] for run in runs(tmp_path))
    assert list((tmp_path / "tmp").iterdir()) == []


def test_processes_compute_side_by_side(settings: dict[str, Any], tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        found = Evaluator("dftb+", pool, settings).evaluate_many([molecule("H2"), molecule("CH")] * 2, [None] * 4)
    assert [evaluation.energy for evaluation in found] == pytest.approx([-2 * Hartree] * 4)
    assert len({run["cwd"] for run in runs(tmp_path)}) == 4


def test_a_failure_says_what_dftb_plus_said_and_is_a_penalty(settings: dict[str, Any]) -> None:
    settings["command"] += " fail"
    problem = Problem.from_atoms(benzene(), place=range(2, 12), spacing=0.2)
    env = AtomPlacementEnv(problem, Evaluator("dftb+", settings=settings), reward="energy")
    evaluation = env.evaluator.evaluate(benzene())
    assert "CalculationFailed: DFTB+ failed: ERROR! -> SCC is NOT converged" in str(evaluation.error)
    with pytest.raises(ValueError, match=r"must be able to compute the reference structure: .*SCC is NOT converged"):
        env.check_reference()


# What is missing


def test_without_the_program_the_error_says_so_before_any_run(settings: dict[str, Any]) -> None:
    settings["command"] = "no-such-dftb+ -v"
    spec = CalculatorSpec("dftb+", settings)
    message = re.escape("`command` is 'no-such-dftb+ -v' but must run DFTB+: no program 'no-such-dftb+' is there")
    for do in (spec.make, lambda: spec.check_species("C"), lambda: spec.fingerprint):
        with pytest.raises(FileNotFoundError, match=message):
            do()


def test_without_a_directory_of_files_the_error_says_so(settings: dict[str, Any]) -> None:
    with pytest.raises(FileNotFoundError, match=r"`slako_dir` is not given but must be .* variable DFTB_PREFIX"):
        CalculatorSpec("dftb+", {"command": settings["command"]}).make()
    with pytest.raises(FileNotFoundError, match="`slako_dir` is '/nowhere' but must be a directory"):
        CalculatorSpec("dftb+", settings | {"slako_dir": "/nowhere"}).make()


def test_an_environment_is_refused_before_any_run_if_the_file_of_a_pair_is_missing(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    AtomPlacementEnv("naphthalene", Evaluator("dftb+", settings=settings))
    for pair in ("C-H", "H-H"):
        Path(settings["slako_dir"], f"{pair}.skf").unlink()
    with pytest.raises(FileNotFoundError, match=r"slako of mine' but must hold C-H\.skf, H-H\.skf"):
        AtomPlacementEnv("naphthalene", Evaluator("dftb+", settings=settings))
    assert not (tmp_path / "log").exists()


def test_a_species_without_a_known_shell_is_refused_unless_it_is_given(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="`max_angular_momentum` lacks Si, Ti but must give the highest shell of each"):
        CalculatorSpec("dftb+", settings).check_species(["C", "Ti", "Si"])
    Path(settings["slako_dir"], "Si-Si.skf").touch()
    CalculatorSpec("dftb+", settings | {"max_angular_momentum": {"Si": "d"}}).check_species(["Si"])


# Where the program and the files are looked for


def test_environment_variables_say_where_program_and_files_are(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFTB_COMMAND", settings["command"])
    monkeypatch.setenv("DFTB_PREFIX", settings["slako_dir"])
    assert Evaluator("dftb+").evaluate(molecule("H2")).energy == pytest.approx(-2 * Hartree)


def test_ase_s_configuration_says_where_program_and_files_are(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"dftb": {"command": settings["command"], "skt_path": settings["slako_dir"]}}
    parser = type(cfg.parser)(interpolation=None)
    parser.read_dict(entries)
    monkeypatch.setattr(cfg, "parser", parser)
    assert Evaluator("dftb+").evaluate(molecule("H2")).energy == pytest.approx(-2 * Hartree)


def test_by_default_the_program_is_found_on_the_path(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    CalculatorSpec("dftb+", {"slako_dir": settings["slako_dir"]}).make()


# The fingerprint


def test_program_and_files_are_part_of_the_fingerprint(settings: dict[str, Any], program: str) -> None:
    def fingerprint() -> str | None:
        return CalculatorSpec("dftb+", settings).fingerprint

    first = fingerprint()
    assert first == fingerprint() is not None
    Path(settings["slako_dir"], "C-H.skf").write_text("other parameters")
    second = fingerprint()
    with open(program, "a") as file:
        file.write("# another version\n")
    assert len({first, second, fingerprint()}) == 3


@pytest.mark.parametrize(
    "setting",
    [{"scc": False}, {"scc_tolerance": 1e-6}, {"electronic_temperature": 0.0}, {"kpts": (2, 1, 1)}, {"keywords": {}}],
)
def test_each_setting_is_part_of_the_fingerprint(settings: dict[str, Any], setting: dict[str, Any]) -> None:
    assert CalculatorSpec("dftb+", settings | setting).fingerprint != CalculatorSpec("dftb+", settings).fingerprint


# The real program


@pytest.mark.skipif(
    shutil.which("dftb+") is None or SLAKO_DIR is None,
    reason="needs dftb+, and DFTB_PREFIX with the files of carbon and hydrogen",
)
def test_dftb_plus_finds_that_a_carbon_dimer_is_bound() -> None:
    used = Evaluator("dftb+", settings={"slako_dir": SLAKO_DIR})
    bound, apart = (used.evaluate(Atoms("C2", [[0, 0, 0], [0, 0, z]])) for z in (1.3, 2.2))
    assert (bound.error, apart.error) == (None, None)
    assert bound.energy < apart.energy < 0
    assert np.isfinite(used.evaluate(benzene(pbc=True)).energy)
