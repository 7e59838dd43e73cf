"""The real GPAW: `tox -e gpaw`."""

from math import isnan
from pathlib import Path

import pytest
from ase.build import molecule
from ase.io import read

from asla_agents.config import RunConfig
from asla_agents.training import read_episodes, search
from asla_env import Evaluator
from asla_env.gpaw_calculator import SPECIES

gpaw = pytest.importorskip("gpaw")
pytestmark = pytest.mark.gpaw

SETTINGS = {
    "mode": "lcao",
    "basis": "dzp",
    "xc": "PBE",
    "h": 0.25,
    "kpts": (1, 1, 1),
    "spinpol": False,
    "symmetry": "off",
    "occupations": {"name": "fermi-dirac", "width": 0.1},
    "maxiter": 60,
    "convergence": {"density": 1e-3, "energy": 1e-3, "eigenstates": 1e-3},
    "txt": None,
}


def test_the_species_are_those_of_which_gpaw_has_pbe_setups_and_dzp_basis_sets() -> None:
    directories = [Path(path) for path in gpaw.setup_paths]
    files = {file.name for directory in directories for file in directory.iterdir()}
    setups, bases = (
        {name.split(".")[0] for name in files if name.endswith(end)} for end in (".PBE.gz", ".dzp.basis.gz")
    )
    assert setups & bases == SPECIES


def test_an_energy_is_that_of_gpaw_itself() -> None:
    hydrogen = molecule("H2", vacuum=3.0)
    expected = gpaw.GPAW(**SETTINGS).get_potential_energy(hydrogen.copy())
    used = Evaluator("gpaw")
    assert used.evaluate(hydrogen).energy == expected
    used.evaluate(molecule("LiH", vacuum=3.0))
    assert used.evaluate(hydrogen).energy == expected


def test_settings_change_the_energy_and_text_is_kept_on_request(tmp_path: Path) -> None:
    hydrogen = molecule("H2", vacuum=3.0)
    lda = Evaluator("gpaw", settings={"xc": "LDA", "txt": str(tmp_path / "lda.txt")}).evaluate(hydrogen)
    assert lda.error is None
    assert lda.energy != Evaluator("gpaw").evaluate(hydrogen).energy
    assert "LDA" in (tmp_path / "lda.txt").read_text()


def test_an_energy_that_does_not_converge_is_a_failure_with_its_cause() -> None:
    failed = Evaluator("gpaw", settings={"maxiter": 3}).evaluate(molecule("H2O", vacuum=3.0))
    assert isnan(failed.energy)
    assert "KohnShamConvergenceError" in str(failed.error)


def test_a_search_for_naphthalene_pays_with_energies_of_gpaw(tmp_path: Path) -> None:
    config = RunConfig(env_id="ASLA-Naphthalene-v0", evaluator="gpaw", episodes=2, warmup_episodes=1)
    result = search(config, tmp_path / "out", progress_bar=False)
    rows = read_episodes(result.directory)
    assert [row["calculator_error"] for row in rows] == [None, None]
    best = read(result.directory / "best.xyz")
    assert result.best_energy == best.get_potential_energy() == min(row["energy"] for row in rows)
    best.calc = None
    assert gpaw.GPAW(**SETTINGS).get_potential_energy(best) == pytest.approx(result.best_energy, abs=1e-4)
