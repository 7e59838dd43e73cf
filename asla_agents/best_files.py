"""The best structure of a search as files, picture and film."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from asla_agents.asla import ASLA
from asla_agents.explorer import BestBuild
from asla_env import film, render
from asla_env.action import ActionMask
from asla_env.observation import one_hot
from asla_env.whole_file import whole_file


def write_best(best: BestBuild, model: ASLA, directory: Path) -> None:
    """Write the best structure as files, picture and film, with the Q-maps of the network that built it."""
    problem, placed = model.problem, best.placed
    atoms = problem.structure(placed)
    atoms.info = {key: value for key, value in atoms.info.items() if _can_be_written(key, value)}
    atoms.calc = SinglePointCalculator(atoms, energy=best.energy)
    for name, kind in (("best.xyz", "extxyz"), ("best.traj", "traj")):
        with whole_file(directory / name) as partial:
            write(partial, atoms, format=kind)
    render.save_structure(directory / "best.png", atoms, problem, energy=best.energy)
    film_of_build = film_arguments(best, model)
    film.save_film(directory / "assembly.gif", **film_of_build)
    film.save_film_strip(directory / "assembly.png", **film_of_build)


def _can_be_written(key: Any, value: Any) -> bool:
    """Whether the files of ASE can hold an entry of `info`, and it is no result of a calculator, such as an energy."""
    is_plain = isinstance(value, bool | int | float | np.number | np.bool_)
    is_plain |= isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    is_plain |= isinstance(value, str) and value.isprintable() and '"' not in value
    return is_plain and isinstance(key, str) and key.isidentifier() and key not in all_properties


def film_arguments(best: BestBuild, model: ASLA) -> dict[str, Any]:
    """What `asla_env.film` needs to show a build: its actions, and the Q-maps of the network of that time."""
    problem, placed = model.problem, best.placed
    above = np.isfinite(best.energy_above_reference)
    title = f"{problem.name}, " + (f"{best.energy_above_reference:+.3f} eV" if above else f"{best.energy:.3f} eV")
    images = np.array([one_hot(placed[:i], problem) for i in range(len(placed))])
    q_maps = model.q_values(images, best.weights).reshape(images.shape)
    masks = _legal_masks(placed, model)
    return {"placed": placed, "q_maps": q_maps, "problem": problem, "legal_masks": masks, "title": title}


def _legal_masks(placed: Sequence[int], model: ASLA) -> np.ndarray:
    """Legal actions before each placement, shape (steps, actions)."""
    mask, masks = ActionMask(model.problem), []
    for action in placed:
        masks.append(mask.legal)
        mask.place(action)
    return np.array(masks)
