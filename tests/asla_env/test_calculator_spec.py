"""A calculator with its settings: what it makes, what it refuses, and what it is to other processes."""

import importlib
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from asla_env import AtomPlacementEnv, Evaluator, calculators
from asla_env.calculator_spec import CalculatorSpec

EMT_PATH = "ase.calculators.emt:EMT"
LJ_PATH = "ase.calculators.lj:LennardJones"

OWN = """
from ase.calculators.lj import LennardJones

made = lambda: LennardJones()
number = 1

def argon(epsilon=0.0104):
    return LennardJones(sigma=3.4, epsilon=epsilon, rc=10.0)

class Nested:
    @staticmethod
    def make():
        return argon()
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module of a user, outside of any library."""
    (tmp_path / "calculators_of_mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "calculators_of_mine"
    sys.modules.pop("calculators_of_mine", None)


def energy(spec: CalculatorSpec) -> float:
    return float(spec.make().get_potential_energy(Atoms("Ar2", [(0, 0, 0), (0, 0, 3.8)])))


def fingerprint_elsewhere(arguments: str) -> str:
    """Fingerprint in a new process."""
    code = f"from asla_env.calculator_spec import CalculatorSpec; print(CalculatorSpec({arguments}).fingerprint)"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


# What it makes


@pytest.mark.parametrize(
    "calculator", [LJ_PATH, LennardJones, partial(LennardJones), lambda **given: LennardJones(**given)]
)
def test_a_class_by_path_or_by_itself_or_a_function_gets_the_settings(calculator: Any) -> None:
    settings = {"sigma": 3.4, "epsilon": 0.0104, "rc": 10.0}
    expected = LennardJones(**settings).get_potential_energy(Atoms("Ar2", [(0, 0, 0), (0, 0, 3.8)]))
    assert expected < 0
    assert energy(CalculatorSpec(calculator, settings)) == expected


def test_an_evaluator_takes_an_import_path_with_settings() -> None:
    water = molecule("H2O")
    expected = EMT(asap_cutoff=True).get_potential_energy(water)
    assert Evaluator(EMT_PATH, settings={"asap_cutoff": True}).evaluate(water).energy == expected
    assert Evaluator(EMT_PATH).evaluate(water).energy != expected


def test_each_calculator_that_is_made_is_new() -> None:
    spec = CalculatorSpec("gfn1-xtb")
    assert spec.make() is not spec.make()


def test_a_function_in_a_class_has_an_import_path(own: str) -> None:
    assert energy(CalculatorSpec(f"{own}:Nested.make")) == energy(CalculatorSpec(f"{own}:argon")) < 0


@pytest.mark.parametrize(
    ("calculator", "name"),
    [("gpaw", "gpaw"), (EMT_PATH, EMT_PATH), (EMT, "EMT"), (partial(EMT, asap_cutoff=True), "EMT")],
)
def test_a_calculator_has_a_name_for_display(calculator: Any, name: str) -> None:
    assert CalculatorSpec(calculator).name == name


def test_settings_given_do_not_change_with_what_they_were_given_as() -> None:
    given = {"occupations": {"name": "fermi-dirac", "width": 0.2}}
    spec = CalculatorSpec("gpaw", given)
    before = replace(spec).fingerprint
    given["occupations"]["width"] = 0.3
    assert replace(spec).fingerprint == before


def test_only_xwch_has_a_form_for_batches() -> None:
    assert [name for name in calculators.names() if CalculatorSpec(name).batch is not None] == ["xwch"]


def test_calculators_that_are_not_ours_may_know_any_species() -> None:
    CalculatorSpec(EMT_PATH).check_species(["U", "Xx"])


def test_an_environment_takes_settings_with_an_evaluator() -> None:
    hot = AtomPlacementEnv("graphene-mini", Evaluator("gfn1-xtb", settings={"electronic_temperature": 5000}))
    assert hot.reference_energy != AtomPlacementEnv("graphene-mini", "gfn1-xtb").reference_energy


# What it refuses


@pytest.mark.parametrize(
    ("calculator", "error", "message"),
    [
        ("pm7", ValueError, r"'pm7' but must be one of 'gfn1-xtb', .*'dftb\+' or an import path such as 'ase\."),
        (":EMT", ValueError, "':EMT' but must be one of"),
        ("ase.calculators.emt:", ValueError, "must be one of"),
        ("no_such_module:EMT", ImportError, r"'no_such_module' cannot be imported: ModuleNotFoundError"),
        ("ase.calculators.emt:EMTT", ImportError, r"'ase.calculators.emt' has no 'EMTT'"),
        ("ase.calculators.emt:parameters", TypeError, "is of type dict but must be a name or a function"),
        (EMT(), TypeError, r"EMT but must be .*lambda: EMT"),
        (1, TypeError, "int but must be"),
    ],
)
def test_what_cannot_make_a_calculator_is_refused_at_once(calculator: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        CalculatorSpec(calculator)


def test_a_module_that_fails_as_it_is_imported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_calculators.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="'broken_calculators' cannot be imported: ZeroDivisionError"):
        CalculatorSpec("broken_calculators:EMT")


def test_why_a_calculator_cannot_be_made_is_said() -> None:
    def licensed() -> Calculator:
        return {}["LICENCE"]

    with pytest.raises(ValueError, match=r"`calculator` is .*licensed.* but cannot be made: KeyError: 'LICENCE'"):
        CalculatorSpec(licensed).make()


def test_what_makes_no_calculator_is_refused_as_it_is_made() -> None:
    with pytest.raises(TypeError, match="returned an object of type str but must return an ASE calculator"):
        CalculatorSpec("os:getcwd").make()


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("gfn1-xtb", "must be one of accuracy, electronic_temperature, max_iterations, "),
        ("gpaw", "must be one of mode, basis, xc, h, "),
        ("dftb+", "must be one of command, slako_dir, "),
        ("xwch", "must be left out: it has none"),
    ],
)
def test_a_setting_that_does_not_exist_is_told_those_that_do(name: str, rule: str) -> None:
    with pytest.raises(
        TypeError, match=rf"`settings` of '{name}' has 'temprature' but a setting {rule}".replace("+", r"\+")
    ):
        Evaluator(name, settings={"temprature": 1.0})


# What it is to other processes


@pytest.mark.parametrize("calculator", [*calculators.names(), EMT_PATH, EMT, partial(EMT, asap_cutoff=True)])
def test_it_goes_to_another_process(calculator: Any) -> None:
    copy = pickle.loads(pickle.dumps(CalculatorSpec(calculator)))
    assert (copy.name, copy.settings) == (CalculatorSpec(calculator).name, {})


def test_equal_ones_are_equal_and_have_one_hash() -> None:
    first, second, other = (CalculatorSpec("gfn1-xtb", {"accuracy": accuracy}) for accuracy in (2.0, 2.0, 3.0))
    assert (first, hash(first)) == (second, hash(second))
    assert first != other


@pytest.mark.parametrize(
    "arguments", ["'gfn1-xtb'", "'gpaw', {'xc': 'LDA', 'kpts': (1, 2, 3)}", f"'{EMT_PATH}', {{'asap_cutoff': True}}"]
)
def test_the_fingerprint_is_the_same_in_another_process(arguments: str) -> None:
    here = eval(f"CalculatorSpec({arguments})").fingerprint
    assert here is not None
    assert fingerprint_elsewhere(arguments) == here


def test_the_default_said_aloud_has_the_fingerprint_of_the_default() -> None:
    said = {"electronic_temperature": 300, "max_iterations": 250}  # an integer, as JSON has it
    assert CalculatorSpec("gfn1-xtb", said).fingerprint == CalculatorSpec("gfn1-xtb").fingerprint


@pytest.mark.parametrize(
    "same",
    [
        CalculatorSpec(EMT, {"asap_cutoff": True}),
        CalculatorSpec(partial(EMT, asap_cutoff=True)),
        CalculatorSpec(partial(partial(EMT, asap_cutoff=False), asap_cutoff=True)),
        CalculatorSpec(partial(EMT, asap_cutoff=False), {"asap_cutoff": True}),
    ],
)
def test_path_class_and_partial_have_one_fingerprint(same: CalculatorSpec) -> None:
    assert same.fingerprint == CalculatorSpec(EMT_PATH, {"asap_cutoff": True}).fingerprint


OTHER = {
    "accuracy": 2.0, "electronic_temperature": 301.0, "max_iterations": 251, "mixer_damping": 0.3, "charge": 1,
    "multiplicity": 3, "most_charge": 2.0, "mode": "fd", "basis": "sz", "xc": "LDA", "h": 0.2, "kpts": (2, 1, 1),
    "spinpol": True, "symmetry": {}, "occupations": {"width": 0.2}, "maxiter": 61, "convergence": {}, "txt": "out.txt",
}  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other"), [({1: 2}, {"1": 2}), ({True: 2}, {"true": 2}), ({True: 2}, {1: 2}), ({None: 2}, {"null": 2})]
)
def test_names_of_other_kinds_are_told_apart_by_the_fingerprint(one: dict[Any, int], other: dict[Any, int]) -> None:
    ours, theirs = (CalculatorSpec(EMT, {"parameters": named}).fingerprint for named in (one, other))
    assert None not in (ours, theirs)
    assert ours != theirs


@pytest.mark.parametrize(
    ("of_numpy", "plain"), [(np.int64(2), 2), (np.float64(0.3), 0.3), (np.arange(3.0), [0, 1, 2]), (np.True_, True)]
)
def test_the_fingerprint_takes_numbers_of_numpy_for_what_they_are(of_numpy: Any, plain: Any) -> None:
    said = CalculatorSpec(EMT, {"parameters": plain}).fingerprint
    assert CalculatorSpec(EMT, {"parameters": of_numpy}).fingerprint == said is not None


@pytest.mark.parametrize("name", ["gfn1-xtb", "gpaw"])
def test_each_setting_is_part_of_the_fingerprint(name: str) -> None:
    specs = [CalculatorSpec(name, {setting: OTHER[setting]}) for setting in calculators.defaults(name)]
    fingerprints = {spec.fingerprint for spec in [CalculatorSpec(name), *specs]}
    assert None not in fingerprints
    assert len(fingerprints) == len(specs) + 1 > 6


def test_named_calculators_have_fingerprints_of_their_own() -> None:
    assert len({CalculatorSpec(name).fingerprint for name in ("gfn1-xtb", "gfn2-xtb", "xwch", "gpaw")}) == 4


def test_the_version_of_the_library_is_part_of_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = CalculatorSpec("gfn1-xtb").fingerprint
    monkeypatch.setattr("asla_env.calculator_spec.installed_version", lambda library: "99.9")
    assert CalculatorSpec("gfn1-xtb").versions == {"tblite": "99.9"}
    assert CalculatorSpec("gfn1-xtb").fingerprint != before


def test_what_one_s_own_module_says_is_part_of_the_fingerprint(own: str, tmp_path: Path) -> None:
    before = CalculatorSpec(f"{own}:argon").fingerprint
    assert CalculatorSpec(f"{own}:argon").fingerprint == before is not None
    path = tmp_path / f"{own}.py"
    path.write_text(path.read_text().replace("3.4", "3.35"))
    assert CalculatorSpec(f"{own}:argon").fingerprint == before  # this process has imported what it said
    importlib.reload(sys.modules[own])
    assert CalculatorSpec(f"{own}:argon").fingerprint != before


def closure() -> Any:
    cutoff = True

    def factory() -> Calculator:
        return EMT(asap_cutoff=cutoff)

    return factory


class Callable:
    def __call__(self) -> Calculator:
        return EMT()


@pytest.mark.parametrize(
    "calculator",
    [lambda: EMT(), closure(), Callable(), partial(lambda **_: EMT(), a=1), partial(closure()), Callable().__call__],
)
def test_what_no_other_process_can_import_has_no_fingerprint(calculator: Any) -> None:
    assert CalculatorSpec(calculator).fingerprint is None
    assert CalculatorSpec(calculator).versions == {}


def test_a_lambda_with_a_name_has_no_fingerprint(own: str) -> None:
    made = CalculatorSpec(f"{own}:made")
    assert energy(made) < 1
    assert CalculatorSpec(made._factory).fingerprint is None


def test_an_object_among_the_settings_leaves_no_fingerprint() -> None:
    assert CalculatorSpec(EMT_PATH, {"atoms": object()}).fingerprint is None
    assert CalculatorSpec(partial(EMT, object())).fingerprint is None


def test_a_file_that_a_setting_names_counts_with_what_it_says(tmp_path: Path) -> None:
    model = tmp_path / "trained.model"
    spec = CalculatorSpec(LJ_PATH, {"label": str(model)})
    without = replace(spec).fingerprint
    model.write_text("first")
    first = replace(spec).fingerprint
    model.write_text("second")
    assert len({without, first, replace(spec).fingerprint}) == 3
    listed = CalculatorSpec(LJ_PATH, {"models": [str(model)], "cutoffs": {"C": str(model)}, "number": 3.0})
    before = replace(listed).fingerprint
    model.write_text("third")
    assert replace(listed).fingerprint != before
