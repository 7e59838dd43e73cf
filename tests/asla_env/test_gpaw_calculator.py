"""What GPAW is asked for, with a stand-in for GPAW; `tests/gpaw` has tests of the real one."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from asla_env.calculator_spec import CalculatorSpec


class StandIn:
    """Keeps what it was made with."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments

    def get_potential_energy(self, atoms: Any) -> float:
        return 0.0


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpaw", SimpleNamespace(GPAW=StandIn))


def arguments(**settings: Any) -> dict[str, Any]:
    return CalculatorSpec("gpaw", settings).make().arguments


def test_the_defaults_are_those_of_the_paper_and_a_stated_grid() -> None:
    assert arguments() == {
        "mode": "lcao",
        "basis": "dzp",
        "xc": "PBE",
        "h": 0.25,
        "kpts": (1, 1, 1),
        "spinpol": False,
        "symmetry": "off",
        "occupations": {"name": "fermi-dirac", "width": 0.1},
        "charge": 0.0,
        "maxiter": 60,
        "convergence": {"density": 1e-3, "energy": 1e-3, "eigenstates": 1e-3},
        "txt": None,
    }


def test_settings_replace_defaults() -> None:
    settings = {"xc": "LDA", "h": 0.3, "occupations": {"name": "fermi-dirac", "width": 0.2}, "spinpol": True}
    assert arguments(**settings) == {**arguments(), **settings}


def test_text_goes_to_a_new_file_for_each_calculator(tmp_path: Path) -> None:
    files = [Path(arguments(txt=str(tmp_path / "gpaw.txt"))["txt"]) for _ in range(3)]
    assert [file.name for file in files] == ["gpaw.txt", "gpaw-1.txt", "gpaw-2.txt"]
    assert all(file.is_file() for file in files)


def test_a_directory_for_text_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        arguments(txt=str(tmp_path / "nowhere" / "gpaw.txt"))


def test_a_missing_gpaw_says_where_its_installation_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpaw", None)
    with pytest.raises(ImportError, match=r"gpaw needs GPAW, which cannot be imported .*docs/calculators\.md"):
        arguments()
