"""Pictures of an agent: what it thinks of the empty template, and how its representation draws atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from asla_agents.drawing import Representation
from asla_agents.representations import AGR, Displaced
from asla_env.action import action_mask
from asla_env.observation import one_hot
from asla_env.problem import Problem
from asla_env.render import draw_q_map, draw_structure, panel_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from asla_agents.asla import ASLA

_PANEL = 2.6  # inches
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def first_q_map(model: ASLA) -> Figure:
    """Draw the Q-map from which the first atom is chosen, a panel for each species to place."""
    problem = model.problem
    q_maps = model.q_values(one_hot([], problem)[None]).reshape(len(problem.species), *problem.grid.shape)
    legal = action_mask([], problem).reshape(q_maps.shape)
    channels = np.flatnonzero(problem.counts)
    figure = panel_figure(problem, 3.4, columns=len(channels), dpi=100)
    for axes, channel in zip(figure.subplots(1, len(channels), squeeze=False)[0], channels, strict=True):
        draw_q_map(axes, q_maps[channel], problem, legal[channel], colour_bar=channel == channels[-1])
        axes.set_title(f"Q-map of {problem.species[channel]}, template alone")
    return figure


def structure(placed: tuple[int, ...], problem: Problem, title: str = "", longest: float = 3.4) -> Figure:
    """Draw a structure with a title, given the inches of its longer side."""
    figure = panel_figure(problem, longest, dpi=110)
    axes = figure.subplots()
    draw_structure(axes, placed, problem)
    axes.set_title(title)
    return figure


def kernels(representation: Representation, species: tuple[str, ...]) -> Figure | None:
    """Draw the kernels as they are now, and their profiles along x; None if there are none, as of single pixels.

    Of a kernel with three axes the plane through its middle is shown, of a complex one its real part.

    Parameters
    ----------
    representation
        What draws the atoms.
    species
        Chemical symbols of its channels.
    """
    if not hasattr(representation, "kernel"):
        return None
    images = _planes(representation)
    names = species if len(images) == len(species) else [f"channel {i}" for i in range(1, len(images) + 1)]
    figure = _row(len(images) + 1)
    *panels, profile = figure.subplots(1, len(images) + 1, squeeze=False)[0]
    step = representation.grid.spacing
    x = (np.arange(images.shape[1]) - images.shape[1] // 2) * step[0]
    reach = [side for n, s in zip(images.shape[1:], step, strict=False) for side in (-n * s / 2, n * s / 2)]
    highest = float(np.abs(images).max()) or 1.0
    for i, (axes, name, image) in enumerate(zip(panels, names, images, strict=True)):
        limits: Any = {"vmin": -highest, "vmax": highest, "extent": reach}
        picture = axes.imshow(image.T, origin="lower", cmap="RdBu_r", interpolation="nearest", **limits)
        axes.set(title=f"kernel of {name}" if name in species else name, xlabel="x (Å)", ylabel="" if i else "y (Å)")
        profile.plot(x, image[:, image.shape[1] // 2], color=_COLOURS[i % len(_COLOURS)], label=name)
    figure.colorbar(picture, ax=panels, shrink=0.75)
    profile.set(title="profile along x", xlabel="x (Å)", xlim=(x[0], x[-1]))
    profile.axhline(0, color="0.6", linewidth=0.7)
    if len(images) > 1:
        profile.legend(frameon=False, fontsize=8)
    return figure


def learned(representation: Representation, species: tuple[str, ...]) -> list[tuple[str, str, list[float]]]:
    """What a representation has learned: name, species, and numbers; the species is empty where it is of none.

    Parameters
    ----------
    representation, species
        As for `kernels`.
    """
    told = []
    for name, values in representation.learned().items():
        entries = np.atleast_1d(np.asarray(values, dtype=float))
        if len(entries) == len(species):
            told += [(name, symbol, np.ravel(entry).tolist()) for symbol, entry in zip(species, entries, strict=True)]
        else:
            told.append((name, "", np.ravel(entries).tolist()))
    return told


def coefficients(representation: Representation, species: tuple[str, ...]) -> Figure | None:
    """Draw the coefficients c_i as they are now, a panel for each species; None if there are none.

    Parameters
    ----------
    representation, species
        As for `kernels`.
    """
    if not isinstance(representation, AGR | Displaced):
        return None
    is_agr = isinstance(representation, AGR)
    places = representation.widths if isinstance(representation, AGR) else representation.centers
    ticks = [f"{place:.2g}" for place in (places / representation.spacing).tolist()]
    figure = _row(len(species))
    for axes, name, values in zip(
        figure.subplots(1, len(species), squeeze=False)[0], species, representation.coefficient_values, strict=True
    ):
        _bars(axes, values, ticks)
        axes.set(title=f"coefficients of {name}", xlabel=r"$\lambda_i$ / Δ" if is_agr else r"$r_i$ / Δ", ylabel="$c_i$")
    return figure


def _planes(representation: Representation) -> NDArray[np.float64]:
    """Kernels as images, shape (channel, x, y)."""
    kernel = np.asarray(representation.kernel().numpy(force=True)).real  # type: ignore[operator]  # all but OneHot
    images = kernel.reshape(-1, *kernel.shape[-representation.grid.ndim :])
    return images if images.ndim == 3 else images[..., images.shape[-1] // 2]


def _row(n_panels: int) -> Figure:
    """A figure for so many panels beside each other."""
    from matplotlib.figure import Figure

    return Figure((1.25 * _PANEL * n_panels, _PANEL), dpi=110, layout="constrained", facecolor="white")


def _bars(axes: Axes, values: NDArray[np.floating[Any]], ticks: list[str]) -> None:
    """Draw numbers as bars, negative ones in blue, as the paper does."""
    axes.bar(range(len(values)), values, color=np.where(values > 0, _COLOURS[1], _COLOURS[0]))
    axes.set_xticks(range(len(values)), ticks, fontsize=7)
    axes.axhline(0, color="0.6", linewidth=0.7)
