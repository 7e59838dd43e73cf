"""Fig. 3: Q-maps of networks that have seen two pieces of data, and how wrong they are elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asla_agents.experiments import generalisation
from asla_agents.figures.style import COLOURS, GREY, bare, new_figure
from asla_agents.row_file import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def errors(rows: Sequence[Row]) -> Figure:
    """Draw image and Q-map of the first seed of each arm, and the errors of all seeds at sites not seen.

    Raises
    ------
    ValueError
        If there are no rows.
    """
    by_arm = {arm: [row["unseen_error"] for row in rows if row["arm"] == arm] for arm in generalisation.ARMS}
    if not all(by_arm.values()):
        raise ValueError(f"`rows` holds none of {generalisation.NAME}: run `asla study {generalisation.NAME}`")
    figure = new_figure(columns=1.9, rows=1.7)
    panels = figure.subplots(2, 3, width_ratios=(1, 1, 0.8))
    structure = generalisation.sample()
    for (above, below), arm in zip(panels[:, :2].T, generalisation.ARMS, strict=True):
        image = generalisation.drawn(arm, structure)
        _draw(above, image, structure, "cividis", 0).set_title(arm)
        picture = _draw(below, generalisation.q_map(image, structure, seed=0), structure, "RdBu_r", -1)
    figure.colorbar(picture.images[0], ax=panels[1, :2], label="Q", shrink=0.7, ticks=[-1, 0, 1])
    grid = panels[0, 2].get_gridspec()
    for axes in panels[:, 2]:
        axes.remove()
    _draw_errors(figure.add_subplot(grid[:, 2]), by_arm)
    return figure


def _draw(
    axes: Axes, values: NDArray[np.float64], structure: generalisation.Sample, colours: str, lowest: float
) -> Axes:
    """Draw an image (x, y) with the windows that were trained on."""
    from matplotlib.patches import Rectangle

    axes.imshow(values.T, origin="lower", cmap=colours, vmin=lowest, vmax=1, interpolation="nearest")
    half, colour = generalisation.WINDOW / 2, "white" if lowest == 0 else "black"
    for site, target in zip(structure.sites[:, 0], generalisation.TARGETS, strict=True):
        x, y = np.unravel_index(site, structure.grid.shape)
        corner = (x - half, y - half)
        axes.add_patch(Rectangle(corner, 2 * half, 2 * half, fill=False, edgecolor=colour, linestyle=(0, (3, 2))))
        if lowest == 0:
            axes.annotate(f"{target:+g}", (x, y), color=colour, ha="center", va="center")
    bare(axes)
    return axes


def _draw_errors(axes: Axes, by_arm: dict[str, list[float]]) -> None:
    """Draw a point for each network, and the mean of each arm."""
    for i, (values, colour) in enumerate(zip(by_arm.values(), COLOURS, strict=False)):
        aside = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else [0]
        axes.plot(i + np.asarray(aside), values, "o", color=colour, markersize=3, alpha=0.6, markeredgewidth=0)
        axes.plot([i - 0.3, i + 0.3], [np.mean(values)] * 2, color=colour)
    axes.axhline(1, color=GREY, linewidth=0.7, linestyle=":")
    axes.annotate("Q = 0 everywhere", (0.5, 1.01), color=GREY, ha="center", va="bottom", fontsize=6.5)
    names = [f"{arm.split(',')[0]}\nn = {len(values)}" for arm, values in by_arm.items()]
    axes.set_xticks(range(len(by_arm)), names)
    axes.set(ylim=(0, 1.15), xlim=(-0.5, len(by_arm) - 0.5), ylabel="rms error of Q at like sites, not seen")
