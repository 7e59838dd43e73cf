import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

from asla_env.calculators import DEFAULT, calculator_factory, check_species, names

REFERENCE = Path(__file__).parents[1] / "reference"


def reference(problem: str) -> dict[str, Any]:
    return json.loads((REFERENCE / f"{problem}.json").read_text())


def sheet(symbols: str | list[str], xy: Any, cell: Any = None, pbc: Any = False) -> Atoms:
    xy = np.asarray(xy)
    return Atoms(symbols, positions=np.column_stack([xy, np.zeros(len(xy))]), cell=cell, pbc=pbc)


def naphthalene_on_grid() -> Atoms:
    problem = reference("naphthalene")
    best = problem["best_on_grid"]["gfn1-xtb, molecular"]
    return sheet(best["symbols"], np.array(best["pixels"]) * problem["spacing"])


def ideal_graphene() -> Atoms:
    problem = reference("graphene")
    return sheet("C24", problem["ideal_positions_xy"], problem["cell"], pbc=True)


def graphene_on_grid(calculator: str) -> Atoms:
    problem = reference("graphene")
    pixels = np.array(problem["best_on_grid"][calculator]["pixels"])
    return sheet("C24", pixels * problem["spacing"], problem["cell"], pbc=True)


def grain_boundary_on_grid(pbc: Any) -> Atoms:
    problem = reference("grain_boundary")
    pixels = np.array(problem["best_on_grid"]["gfn1-xtb, H-terminated"]["pixels"])
    placed = pixels * problem["spacing"] + [problem["origin_x"], 0]
    template, hydrogens = problem["template"]["positions_xy"], problem["optional_hydrogens_xy"]
    return sheet("C28H10C20", np.vstack([template, hydrogens, placed]), problem["cell"], pbc)


def energy(atoms: Atoms, calculator: Calculator) -> float:
    return calculator.get_potential_energy(atoms)


def xtb(temperature: float) -> Calculator:
    """GFN1-xTB at another electronic temperature (K) than ours."""
    calculator = calculator_factory("gfn1-xtb")()
    calculator.set(electronic_temperature=temperature)
    return calculator


# Published numbers: energies of the best structures known on each problem's grid.


def test_naphthalene_on_the_grid_has_its_reference_energy_with_gfn1() -> None:
    expected = reference("naphthalene")["best_on_grid"]["gfn1-xtb, molecular"]["energy"]
    calculator = calculator_factory("gfn1-xtb")()
    assert energy(naphthalene_on_grid(), calculator) == pytest.approx(expected, abs=1e-4)


def test_graphene_on_the_grid_has_its_reference_energy_with_gfn1() -> None:
    expected = reference("graphene")["best_on_grid"]["gfn1-xtb"]["energy_above_ideal"]
    calculator = calculator_factory("gfn1-xtb")()
    above_ideal = energy(graphene_on_grid("gfn1-xtb"), calculator) - energy(ideal_graphene(), calculator)
    assert above_ideal == pytest.approx(expected, abs=1e-3)


def test_graphene_on_the_grid_has_its_reference_energy_with_xwch() -> None:
    expected = reference("graphene")["best_on_grid"]["xwch"]["energy_above_ideal"]
    calculator = calculator_factory("xwch")()
    above_ideal = energy(graphene_on_grid("xwch"), calculator) - energy(ideal_graphene(), calculator)
    assert above_ideal == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("pbc", [True, (False, True, False)])
def test_the_grain_boundary_has_its_reference_energy_with_gfn1(pbc: Any) -> None:
    expected = reference("grain_boundary")["best_on_grid"]["gfn1-xtb, H-terminated"]["energy"]
    calculator = calculator_factory("gfn1-xtb")()
    assert energy(grain_boundary_on_grid(pbc), calculator) == pytest.approx(expected, abs=1e-3)


def test_one_periodic_axis_makes_all_axes_periodic_with_gfn1() -> None:
    calculator = calculator_factory("gfn1-xtb")()
    along_y = energy(grain_boundary_on_grid((False, True, False)), calculator)
    assert along_y == energy(grain_boundary_on_grid(True), calculator)


def test_the_electronic_temperature_is_part_of_the_energy() -> None:
    """Regression data by tblite 0.8.0: at 1000 K the best honeycomb on the grid lies 0.33 eV higher than at 300 K."""
    hot = xtb(1000.0)
    assert energy(graphene_on_grid("gfn1-xtb"), hot) - energy(ideal_graphene(), hot) == pytest.approx(1.35378, abs=1e-3)


# Names and factories.


@pytest.mark.parametrize("name", names())
def test_every_named_calculator_finds_that_a_carbon_dimer_is_bound(name: str) -> None:
    calculator = calculator_factory(name)()
    bound, apart = (energy(Atoms("C2", [[0, 0, 0], [0, 0, z]]), calculator) for z in (1.3, 2.2))
    assert bound < apart < 0


def test_the_default_is_the_first_of_the_names() -> None:
    assert names()[0] == DEFAULT == "gfn1-xtb"


def test_each_call_of_a_factory_makes_a_new_calculator() -> None:
    factory = calculator_factory(DEFAULT)
    assert factory() is not factory()


@pytest.mark.parametrize("name", names())
def test_a_named_factory_can_go_to_another_process(name: str) -> None:
    copy = pickle.loads(pickle.dumps(calculator_factory(name)))
    assert isinstance(copy(), Calculator)


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'pm7'.*'gfn1-xtb', 'gfn2-xtb', 'xwch'"):
        calculator_factory("pm7")


def test_a_class_is_a_factory() -> None:
    assert calculator_factory(EMT) is EMT


def test_a_calculator_is_not_a_factory() -> None:
    with pytest.raises(TypeError, match=r"EMT but must be .*lambda: EMT"):
        calculator_factory(EMT())


def test_a_number_is_not_a_factory() -> None:
    with pytest.raises(TypeError, match="int but must be"):
        calculator_factory(1)


def test_xwch_does_not_know_hydrogen() -> None:
    with pytest.raises(ValueError, match=r"`symbols` has B, H but .*'xwch'"):
        check_species("xwch", ["C", "H", "B", "H"])


def test_xtb_does_not_know_uranium() -> None:
    with pytest.raises(ValueError, match="U"):
        check_species("gfn1-xtb", ["C", "U"])


@pytest.mark.parametrize(("calculator", "symbols"), [("xwch", "C"), ("gfn2-xtb", ["C", "Rn"]), (EMT, ["U"])])
def test_species_that_a_calculator_knows_or_may_know_pass(calculator: Any, symbols: Any) -> None:
    check_species(calculator, symbols)


def test_species_of_an_unknown_calculator_are_an_error() -> None:
    with pytest.raises(ValueError, match="pm7"):
        check_species("pm7", ["C"])


def test_a_missing_tblite_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    with pytest.raises(ImportError, match="pip install tblite"):
        calculator_factory("gfn1-xtb")()


# Side by side with torch, whose OpenMP runtime is another one.

BEFORE_AND_AFTER_TORCH = """
import json, sys
from ase import Atoms
from asla_env.calculators import calculator_factory

def energy():
    atoms = Atoms("C24", positions=json.loads(sys.argv[1]), cell=json.loads(sys.argv[2]), pbc=True)
    return float(calculator_factory("gfn1-xtb")().get_potential_energy(atoms))

before = energy()
import torch
torch.ones(300, 300) @ torch.ones(300, 300)
print(json.dumps([before, energy()]))
"""


def test_importing_torch_leaves_energies_as_they_are() -> None:
    atoms = ideal_graphene()
    arguments = [json.dumps(array.tolist()) for array in (atoms.positions, atoms.cell.array)]
    command = [sys.executable, "-c", BEFORE_AND_AFTER_TORCH, *arguments]
    before, after = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert np.isfinite(before)
    assert before == after
