import json
import subprocess
import sys
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule, nanotube
from ase.calculators.calculator import CalculationFailed, Calculator

from asla_env.calculator_spec import CalculatorSpec
from asla_env.calculators import DEFAULT, names
from asla_env.evaluator import Evaluator
from asla_env.problems import PROBLEMS
from asla_env.xtb import xtb as make_xtb

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
    return CalculatorSpec("gfn1-xtb", {"electronic_temperature": temperature}).make()


# Published numbers: energies of the best structures known on each problem's grid.


def test_naphthalene_on_the_grid_has_its_reference_energy_with_gfn1() -> None:
    expected = reference("naphthalene")["best_on_grid"]["gfn1-xtb, molecular"]["energy"]
    calculator = CalculatorSpec("gfn1-xtb").make()
    assert energy(naphthalene_on_grid(), calculator) == pytest.approx(expected, abs=1e-4)


def test_graphene_on_the_grid_has_its_reference_energy_with_gfn1() -> None:
    expected = reference("graphene")["best_on_grid"]["gfn1-xtb"]["energy_above_ideal"]
    calculator = CalculatorSpec("gfn1-xtb").make()
    above_ideal = energy(graphene_on_grid("gfn1-xtb"), calculator) - energy(ideal_graphene(), calculator)
    assert above_ideal == pytest.approx(expected, abs=1e-3)


def test_graphene_on_the_grid_has_its_reference_energy_with_xwch() -> None:
    expected = reference("graphene")["best_on_grid"]["xwch"]["energy_above_ideal"]
    calculator = CalculatorSpec("xwch").make()
    above_ideal = energy(graphene_on_grid("xwch"), calculator) - energy(ideal_graphene(), calculator)
    assert above_ideal == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("pbc", [True, (False, True, False)])
def test_the_grain_boundary_has_its_reference_energy_with_gfn1(pbc: Any) -> None:
    expected = reference("grain_boundary")["best_on_grid"]["gfn1-xtb, H-terminated"]["energy"]
    calculator = CalculatorSpec("gfn1-xtb").make()
    assert energy(grain_boundary_on_grid(pbc), calculator) == pytest.approx(expected, abs=1e-3)


def test_one_periodic_axis_makes_all_axes_periodic_with_gfn1() -> None:
    calculator = CalculatorSpec("gfn1-xtb").make()
    along_y = energy(grain_boundary_on_grid((False, True, False)), calculator)
    assert along_y == energy(grain_boundary_on_grid(True), calculator)


def test_the_electronic_temperature_is_part_of_the_energy() -> None:
    """Regression data by tblite 0.8.0: at 1000 K the best honeycomb on the grid lies 0.33 eV higher than at 300 K."""
    hot = xtb(1000.0)
    assert energy(graphene_on_grid("gfn1-xtb"), hot) - energy(ideal_graphene(), hot) == pytest.approx(1.35378, abs=1e-3)


def crowded() -> Atoms:
    """A build of naphthalene's atoms, of which GFN1-xTB has a carbon atom with a charge of -5.9 e."""
    carbon = [(46, 70), (46, 56), (42, 82), (36, 62), (70, 50), (78, 70), (66, 78), (54, 80), (86, 62), (92, 50)]
    hydrogen = [(36, 74), (36, 52), (52, 64), (72, 62), (78, 48), (56, 50), (62, 56), (70, 42)]
    return Atoms("C10H8", [(x / 10, y / 10, 3.0) for x, y in carbon + hydrogen], cell=(14.0, 12.2, 6.0))


def test_a_collapse_of_gfn1_is_no_energy_below_that_of_the_most_stable_structure() -> None:
    naphthalene = PROBLEMS["naphthalene"]().reference
    below = energy(crowded(), CalculatorSpec("gfn1-xtb", {"most_charge": inf}).make())
    assert below == pytest.approx(energy(naphthalene, CalculatorSpec("gfn1-xtb").make()) - 6.6, abs=0.1)
    assert energy(crowded(), CalculatorSpec("gfn2-xtb").make()) > energy(naphthalene, CalculatorSpec("gfn2-xtb").make())
    evaluation = Evaluator("gfn1-xtb").evaluate(crowded())
    assert evaluation.error == (
        "CalculationFailed: collapsed: atom 4 has a charge of -5.93 e, beyond `most_charge`, 3 e"
    )


def test_the_charge_of_the_whole_may_lie_on_one_atom() -> None:
    ion = Evaluator("gfn1-xtb", settings={"charge": 1, "most_charge": 0.5}).evaluate(Atoms("Li"))
    assert isfinite(ion.energy)
    assert (
        "beyond `most_charge`, 0.1 e"
        in Evaluator("gfn1-xtb", settings={"most_charge": 0.1}).evaluate(molecule("LiF")).error
    )


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("charge", 0.3, "a whole number of e, or None"),
        ("charge", "1", "a whole number of e, or None"),
        ("charge", nan, "a whole number of e, or None"),
        ("charge", inf, "a whole number of e, or None"),
        ("electronic_temperature", -5, "a finite number of K, at least 0"),
        ("electronic_temperature", inf, "a finite number of K, at least 0"),
        ("electronic_temperature", None, "a finite number of K, at least 0"),
        ("accuracy", 0, "positive and finite"),
        ("accuracy", nan, "positive and finite"),
        ("mixer_damping", -0.4, "positive and finite"),
        ("max_iterations", 2.5, "a whole number of at least 1"),
        ("multiplicity", -1, "a whole number of at least 1, or None"),
        ("most_charge", nan, "positive"),
        ("most_charge", 0, "positive"),
        ("most_charge", True, "positive"),
    ],
)
@pytest.mark.parametrize("method", ["gfn1-xtb", "gfn2-xtb"])
def test_an_impossible_setting_of_xtb_is_refused_at_once(method: str, name: str, value: Any, rule: str) -> None:
    message = f"`{name}` is {value!r} but must be {rule}$"
    with pytest.raises(ValueError, match=message):
        CalculatorSpec(method, {name: value})
    with pytest.raises(ValueError, match=message):
        make_xtb("GFN1-xTB", **{name: value})


@pytest.mark.parametrize(
    ("settings", "atoms", "error"),
    [
        ({"charge": 2}, Atoms("H"), "`charge` is 2 e but must leave 0 to 2 of 1 valence electrons"),
        ({"charge": -2}, Atoms("H"), "`charge` is -2 e but must leave 0 to 2 of 1 valence electrons"),
        ({"charge": 9}, molecule("CH4"), "`charge` is 9 e but must leave 0 to 16 of 8 valence electrons"),
        ({"multiplicity": 10}, molecule("CH3"), "`multiplicity` is 10 but must be at most 8, of 7 valence electrons"),
        ({"multiplicity": 1}, molecule("CH3"), "`multiplicity` is 1 but must be even, of 7 valence electrons"),
        ({"multiplicity": 2}, molecule("CH4"), "`multiplicity` is 2 but must be odd, of 8 valence electrons"),
        (
            {"charge": -1, "multiplicity": 3},
            Atoms("H"),
            "`multiplicity` is 3 but must be at most 1, of 2 valence electrons",
        ),
    ],
)
def test_electrons_that_a_structure_cannot_have_are_a_failure(
    settings: dict[str, int], atoms: Atoms, error: str
) -> None:
    assert Evaluator("gfn2-xtb", settings=settings).evaluate(atoms).error == f"ValueError: {error}"


def test_a_structure_may_have_as_many_electrons_as_its_orbitals_hold() -> None:
    for settings, atoms in (
        ({"charge": 1}, molecule("CH4")),
        ({"charge": -1}, Atoms("H")),
        ({"multiplicity": 8}, molecule("CH3")),
    ):
        assert Evaluator("gfn2-xtb", settings=settings).evaluate(atoms).error is None


def test_a_whole_charge_may_be_of_any_type() -> None:
    expected = energy(molecule("H2O"), CalculatorSpec("gfn1-xtb", {"charge": 1}).make())
    for charge in (1.0, np.int64(1), np.float32(1)):
        assert energy(molecule("H2O"), CalculatorSpec("gfn1-xtb", {"charge": charge}).make()) == expected


# Names.


@pytest.mark.parametrize("name", ["gfn1-xtb", "gfn2-xtb", "xwch"])
def test_every_calculator_that_comes_along_finds_that_a_carbon_dimer_is_bound(name: str) -> None:
    calculator = CalculatorSpec(name).make()
    bound, apart = (energy(Atoms("C2", [[0, 0, 0], [0, 0, z]]), calculator) for z in (1.3, 2.2))
    assert bound < apart < 0


def test_the_default_is_the_first_of_the_names() -> None:
    assert names()[0] == DEFAULT == "gfn1-xtb"
    assert names()[1:] == ("gfn2-xtb", "xwch", "gpaw", "dftb+")


@pytest.mark.parametrize(
    ("name", "known", "foreign"),
    [
        ("gfn1-xtb", ["H", "C", "Rn"], ["U"]),
        ("gfn2-xtb", ["H", "C", "Rn"], ["Fr", "U"]),
        ("xwch", ["C"], ["B", "H"]),
        ("gpaw", ["H", "C", "Au", "Lu", "Rn"], ["At", "Po", "Tc", "U"]),
    ],
)
def test_a_calculator_knows_its_species_and_no_others(name: str, known: list[str], foreign: list[str]) -> None:
    spec = CalculatorSpec(name)
    spec.check_species(known)
    with pytest.raises(ValueError, match=rf"`symbols` has {', '.join(foreign)} but must be .* that '{name}' knows"):
        spec.check_species(["C", *reversed(foreign)])


@pytest.mark.parametrize("setting", [{"accuracy": 1000.0}, {"electronic_temperature": 20_000.0}, {"charge": 1}])
def test_a_setting_of_xtb_changes_the_energy(setting: dict[str, Any]) -> None:
    atoms = sheet("CO", [(0, 0), (1.3, 0)])
    changed = energy(atoms, CalculatorSpec("gfn1-xtb", setting).make())
    assert changed != energy(atoms, CalculatorSpec("gfn1-xtb").make())


def test_too_few_iterations_are_a_failure_of_xtb() -> None:
    with pytest.raises(CalculationFailed):
        energy(sheet("C2", [(0, 0), (1.3, 0)]), CalculatorSpec("gfn1-xtb", {"max_iterations": 1}).make())


def test_a_missing_tblite_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    with pytest.raises(ImportError, match="pip install tblite"):
        CalculatorSpec("gfn1-xtb").make()


# Side by side with torch, whose OpenMP runtime is another one.

BEFORE_AND_AFTER_TORCH = """
import json, sys
from ase import Atoms
from ase.build import molecule, nanotube
from asla_env.calculator_spec import CalculatorSpec

def energy():
    atoms = Atoms("C24", positions=json.loads(sys.argv[1]), cell=json.loads(sys.argv[2]), pbc=True)
    return float(CalculatorSpec("gfn1-xtb").make().get_potential_energy(atoms))

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


def test_a_tube_without_cell_across_is_refused_with_its_rule() -> None:
    tube = nanotube(3, 0, length=1)
    assert "but it must have a volume" in str(Evaluator("gfn1-xtb").evaluate(tube).error)
    flat = Atoms("H2", [(0, 0, 0), (0.7, 0, 0)], cell=[(5, 0, 0), (10, 0, 0), (0, 0, 10)], pbc=(True, False, False))
    assert "but it must have a volume" in str(Evaluator("gfn1-xtb").evaluate(flat).error)
    tube.center(vacuum=5, axis=(0, 1))
    assert Evaluator("gfn1-xtb").evaluate(tube).error is None
